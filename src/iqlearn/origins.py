"""What a run began with: its demonstrations, its held-out episodes and its reward, found again and compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from iqlearn.checks import visible
from iqlearn.data.demos import Demos
from iqlearn.errors import InputError
from iqlearn.files import sha256
from iqlearn.rewards.distil import DistilledReward
from iqlearn.rewards.recovered import RecoveredReward
from iqlearn.runs import folder as run_folder
from iqlearn.runs.run import Run
from iqlearn.types import TaskSpec

MOVED = " If that was moved, name it with --{0} (in Python {0}=...)."


def demos_of(
    run: Run, folder: Path, demos: Demos | str | Path | None = None, max_gib: float | None = None, hint: str = ""
) -> Demos:
    """Return the demonstrations that a run learnt from, as its learner saw them.

    `demos` is the demonstrations or their file. By default they are read again from the source that the run names.
    `hint` is the end of the error message if they cannot be read.

    Raises:
        InputError: the demonstrations cannot be read, or are not those that the run began with.
    """
    origin = run.origin
    if not isinstance(demos, Demos):
        path = origin.path if demos is None else str(demos)
        try:
            limit = origin.max_gib if max_gib is None else max_gib
            demos = Demos.find(str(origin.demos), path, origin.selection, limit, origin.columns)
        except InputError as error:
            raise InputError(f"{folder} learns from demonstrations: {error}{hint}") from error
    demos = visible(run.settings, demos)
    require_same(demos.source, folder, origin.sha256, demos.sha256(), "; put the old demonstrations back")
    return demos


def same_held_out(run: Run, folder: Path, demos: Demos) -> Demos:
    """Return the demonstrations, with the held-out episodes that the run began with, or without any if it had none.

    Raises:
        InputError: the held-out episodes are missing, or are not those that the run began with.
    """
    if not run.origin.held_out_sha256:
        return replace(demos, held_out=None)
    what = f"The part of {demos.source} that was held out from learning"
    if demos.held_out is None:
        raise InputError(f"{what} is missing; expected the same `take` of the demonstrations that {folder} began with.")
    require_same(what, folder, run.origin.held_out_sha256, demos.held_out.sha256(), "; put the old episodes back")
    return demos


def load_reward(path: str | Path, task: TaskSpec) -> tuple[RecoveredReward | DistilledReward, str]:
    """Return the reward of a run folder, or the distilled reward in a file, and the SHA-256 of the file that holds it.

    Raises:
        InputError: there is no reward at the path, or the reward is of another task.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(
            f"No reward at {path}; expected a run folder, or a file of iqlearn reward --distil or --refit."
        )
    reward = Run.load(path).reward if path.is_dir() else DistilledReward.load(path)
    if reward.spec != task:
        raise InputError(
            f"The reward at {path} is of a task with {reward.spec}; expected {task}, as the environment has."
        )
    return reward, sha256(path / run_folder.MODEL if path.is_dir() else path)


def same_reward(run: Run, folder: Path, path: str | Path | None = None) -> RecoveredReward | DistilledReward:
    """Return the reward that an expert began with, at the discount of its settings.

    `path` is the run folder or file that now holds the reward, by default the one that the run names.

    Raises:
        InputError: the reward is missing, or is not the one that the run began with.
    """
    path = str(run.origin.reward) if path is None else path
    try:
        reward, found = load_reward(path, run.task)
    except InputError as error:
        raise InputError(f"{folder} learns from a reward: {error}{MOVED.format('reward')}") from error
    remedy = "; put the old one back, or begin anew with iqlearn expert"
    require_same(f"The reward at {path}", folder, run.origin.reward_sha256, found, remedy)
    return reward.at_discount(cast(Any, run.settings).gamma)


def require_same(what: str, folder: Path, expected: str, found: str, remedy: str) -> None:
    """Raise `InputError` unless two SHA-256 agree. Its message ends with `remedy`."""
    if found != expected:
        digests = f"expected SHA-256 {expected[:12]}…, found {found[:12]}…"
        raise InputError(f"{what} is not what {folder} began with; {digests}{remedy}.")
