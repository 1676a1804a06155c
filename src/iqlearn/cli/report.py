"""The command `iqlearn report`."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from iqlearn.cli.flags import as_flag
from iqlearn.errors import InputError


def report(o: Namespace) -> None:
    """Write one HTML page about runs: settings, data, curves of every seed, episodes, reward, video, comparison.

    The page is a single file that opens without a network. The command plays the policies as `iqlearn evaluate` does.

    DIR DIR...  Run folders, or folders of several seeds, to compare.
    --out FILE  File to write (default: report.html in DIR; for several DIR, in the current folder).
    --episodes N [10]  Episodes that each policy plays. With 0, the page has no returns of episodes and no reward.
    --seed N  Seed of the episodes, which differ from those of training and `iqlearn demos collect` (default: 0).
    --video N [1]  Episodes in the video of each DIR; 0 for no video.
    --max-episode-steps N  Steps after which every episode is truncated (default: as in training).
    --last  Use policies and rewards of the last evaluation (default: those whose states were closest to the expert's).
    --trust  Import the modules that the run folders name for their environments, wherever they are. This runs code.
    --overwrite  Replace the file.
    """
    from iqlearn import report as pages
    from iqlearn.cli.demos import free
    from iqlearn.runs.folder import REPORT
    from iqlearn.training.callbacks import working

    for name, least in (("episodes", 0), ("seed", 0), ("video", 0), ("max_episode_steps", 1)):
        value = getattr(o, name)
        if value is not None and value < least:
            raise InputError(f"{as_flag(name)} is {value}; expected a number of at least {least}.")
        if value is not None and name in ("seed", "max_episode_steps") and not (o.episodes or o.video):
            raise InputError(f"{as_flag(name)} has no effect with --episodes 0 and --video 0; leave it out.")
    folders = [Path(folder) for folder in o.dir]
    out = o.out or (folders[0] if len(folders) == 1 else Path()) / REPORT
    free(out, o.overwrite)
    with working("reading …") as tell:
        how = o.episodes, o.seed or 0, o.video, o.max_episode_steps, o.last, o.trust
        left_out = pages.report(folders, out, *how, tell)
    for told in left_out:
        print(f"iqlearn: {told}", file=sys.stderr)
    print(f"written: {out}")
