"""The command `iqlearn report`."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from iqlearn.errors import InputError


def report(o: Namespace) -> None:
    """Write one HTML page about runs: settings, data, curves of every seed, episodes, reward, video, comparison.

    The page is a single file that opens without a network. Policies are played for it, as `iqlearn evaluate` does.

    DIR DIR...  Run folders, or folders of several seeds, to compare.
    --out FILE  File to write (default: report.html in DIR; of several, report.html here).
    --episodes N [10]  Episodes that each policy plays; 0 plays none, and judges no reward.
    --seed N [0]  Seed of the episodes. They differ from those of training and iqlearn demos collect.
    --video N [1]  Episodes of the video of each DIR; 0 makes none.
    --last  Use policies and rewards of the last evaluation, not those with the least occupancy distance.
    --trust  Import the modules that the run folders name for their environments, also from elsewhere.
    --overwrite  Replace the file.
    """
    from iqlearn import report as pages
    from iqlearn.cli.demos import free
    from iqlearn.runs.folder import REPORT
    from iqlearn.training.callbacks import working

    for name in ("episodes", "seed", "video"):
        if getattr(o, name) < 0:
            raise InputError(f"--{name} is {getattr(o, name)}; expected a number of at least 0.")
    folders = [Path(folder) for folder in o.dir]
    out = o.out or (folders[0] if len(folders) == 1 else Path()) / REPORT
    free(out, o.overwrite)
    with working("reading …") as tell:
        left_out = pages.report(folders, out, o.episodes, o.seed, o.video, o.last, o.trust, tell)
    for told in left_out:
        print(f"iqlearn: {told}", file=sys.stderr)
    print(f"written: {out}")
