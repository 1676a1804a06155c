"""The command `iqlearn evaluate`."""

from __future__ import annotations

import sys
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any

import iqlearn as iq
from iqlearn.cli.demos import check_suffix, free
from iqlearn.cli.flags import as_flag, capped, check_episodes, read_demos
from iqlearn.errors import InputError


def evaluate(o: Namespace) -> None:
    """Evaluate the policy of a run: play episodes and report the returns, or predict an expert's actions.

    For several seeds it reports the mean over the seeds with a 95 % confidence interval. With --demos it needs no
    environment. It then compares the policy's most likely actions with the expert's: the root mean squared error, in
    the units of the actions and relative to the standard deviation of the expert's (continuous actions), or the share
    of states in which they agree (discrete actions). It also reports the mean log-likelihood of the expert's actions.

    DIR  Run folder, or the folder of several seeds.
    --episodes N  Episodes to play (default: 20).
    --seed N  Seed of the episodes, which differ from those of training and `iqlearn demos collect` (default: 0).
    --env ID  Environment to play in, with the spaces of the run (default: that of the run).
    --max-episode-steps N  Steps after which every episode is truncated (default: as in training).
    --trust  Import the module that the run folder names for its environment, wherever it is. This runs its code.
    --sampled  Sample the actions from the policy (default: as in the evaluations of the training).
    --deterministic  Play the policy's most likely actions.
    --demos SOURCE  Predict the actions of these demonstrations instead. Episodes that the run learnt from are left out.
    --columns FIELD=NAME...  The table columns, or dictionary keys, of each field: obs=x,y act=u ep=run.
    --trajectories K  Use the first K of these episodes (default: all).
    --max-demos-gib X  Largest size of the demonstrations in GiB (default: 4; for an .npz file 0.25, or 100 times
        the size of the file if that is more).
    --video FILE  Write the first --episodes episodes (default: 3) as MP4, with the recovered reward and the return in
        the picture.
    --overwrite  Replace the file of --video.
    --render MODE  Show the first --episodes episodes (default: 3) in a window. MODE is human.
    --last  Use the policy of the last evaluation (default: of the one whose states were closest to the expert's).
    --json  Print one JSON object.
    """
    from iqlearn.cli.output import show, tabulate
    from iqlearn.evaluation.statistics import mean_interval
    from iqlearn.runs.folder import runs_in

    idle = (
        ("trajectories", "max_demos_gib", "columns")
        if o.demos is None
        else ("episodes", "seed", "env", "max_episode_steps", "sampled", "deterministic", "video", "render")
    )
    for name in idle:
        if getattr(o, name) not in (None, False):
            raise InputError(f"{as_flag(name)} has no effect with{'out' * (o.demos is None)} --demos; leave it out.")
    if o.overwrite and not o.video:
        raise InputError("--overwrite has no effect without --video; leave it out.")
    folders = runs_in(o.dir)
    if o.video or o.render:
        check_watched(o, folders)  # refused before any episode is played
    runs = {folder: iq.Run.load(folder, o.last, o.trust) for folder in folders}
    shown = o.episodes or FIRST
    facts, each = played(o, runs) if o.demos is None else predicted(o, runs)
    if o.dir in runs:
        show(facts | each[o.dir.name], o.json, ("returns",))
        if o.video or o.render:
            sys.stdout.flush()
            watched(o, runs[o.dir], shown)
        return
    for name in filter(next(iter(each.values())).__contains__, MEANS):
        values = [one[name] for one in each.values() if one[name] is not None]
        mean, *interval = mean_interval(values) if values else (None, None, None)
        facts |= {name: mean, f"{name}_interval": interval}
    show(facts | {"seeds": each}, o.json, ("seeds",))
    if not o.json:
        tabulate({seed: {name: one[name] for name in one if name != "returns"} for seed, one in each.items()})


FIRST = 3
"""The default number of episodes that `evaluate` shows with --video or --render."""
MEANS = ("mean_return", "normalised_return", "agreement", "action_error", "relative_error", "log_likelihood")
"""The figures that `evaluate` averages over seeds."""


def check_watched(o: Namespace, folders: list[Path]) -> None:
    """Check that a video or a window is possible, before any episode is played.

    Raises:
        InputError: there are several runs, --render is not human, the file cannot be written, or a package is not
            installed.
    """
    from iqlearn.evaluation.video import require

    if o.dir not in folders:
        raise InputError(
            f"--{'video' if o.video else 'render'} shows one run; expected one seed, such as {folders[0]}."
        )
    if o.render not in (None, "human"):
        raise InputError(f"--render is {o.render!r}; expected human.")
    if not o.video:
        return
    check_suffix(o.video, ".mp4")
    free(o.video, o.overwrite)
    require()


def watched(o: Namespace, run: Any, count: int) -> None:
    """Show the first episodes of `evaluate` in a window, or write them as a video."""
    from iqlearn.evaluation.returns import reset_seed
    from iqlearn.evaluation.video import video, window

    first = reset_seed("evaluate", o.seed or 0)
    environment = capped(run.environment(o.env), o)
    say = partial(print, file=sys.stderr)  # the standard output may be one JSON object
    act = run.player(sampled_of(o))
    if o.render:
        window(environment, act, count, first, say)
    if o.video:
        learns = run.settings.reward(run.model) is not None
        video(environment, act, run.reward if learns else None, o.video, count, first, say)
        say(f"written: {o.video}")


def sampled_of(o: Namespace) -> bool | None:
    """Return whether to sample the actions of the policy; None if neither flag is given."""
    return True if o.sampled else False if o.deterministic else None


def played(o: Namespace, runs: dict[Path, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Play episodes with each run. Return the facts that all runs share, and the figures of each run by folder name."""
    from iqlearn.evaluation.returns import normalised

    o.episodes, o.seed = 20 if o.episodes is None else o.episodes, o.seed or 0
    check_episodes(o)
    if o.sampled and o.deterministic:
        raise InputError("--sampled and --deterministic are both given; expected one of them.")
    first = next(iter(runs.values()))
    environment, sampled = capped(first.environment(o.env), o), sampled_of(o)
    each: dict[str, dict[str, Any]] = {}
    for folder, run in runs.items():
        returns, same = run.evaluate(o.episodes, o.seed, environment, sampled), environment == run.origin.environment
        spread = {f"{name}_return": float(getattr(returns, name)()) for name in ("mean", "std", "min", "max")}
        ends = (run.result.get(f"{name}_return") if same else None for name in ("expert", "random"))
        share = {"normalised_return": normalised(spread["mean_return"], *ends)}
        each[folder.name] = spread | share | {"returns": returns.tolist()}
    return {"env": environment.name, "episodes": o.episodes, "seed": o.seed}, each


def predicted(o: Namespace, runs: dict[Path, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Measure how well each run predicts the expert's actions. Returns as `played`."""
    demos, each = read_demos(o), {}
    for folder, run in runs.items():
        held_out = run.held_out(demos)
        if held_out is None:
            print(f"iqlearn: {folder} learnt from every episode of {demos.source}; none is held out.", file=sys.stderr)
        part = demos if held_out is None else held_out
        part = part if o.trajectories is None else part.take(o.trajectories)
        counts = {"episodes": part.episodes, "transitions": len(part), "held_out": held_out is not None}
        each[folder.name] = run.imitation(part) | counts
    return {"demos": demos.source}, each
