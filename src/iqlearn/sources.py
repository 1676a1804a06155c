"""What a run learns from, outside its folder: found, and still what it began with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from iqlearn import records
from iqlearn.data import Demos
from iqlearn.envs import gym
from iqlearn.errors import InputError
from iqlearn.reward import DistilledReward, RecoveredReward
from iqlearn.run import Origin, Run
from iqlearn.settings import IQLearn, IQLearnContinuous
from iqlearn.settings.presets import Expert, Imitator
from iqlearn.types import TaskSpec


def load_reward(path: str | Path, spec: TaskSpec) -> RecoveredReward | DistilledReward:
    """The reward of a run folder, or a distilled one of a file.

    Raises:
        InputError: there is neither, or the reward is of a task with other observations or actions.
    """
    path = existing(path)
    reward = Run.load(path).reward if path.is_dir() else DistilledReward.load(path)
    if reward.spec != spec:
        raise InputError(
            f"The reward at {path} is of a task with {reward.spec}; expected {spec}, as the environment has."
        )
    return reward


def reward_sha256(path: str | Path) -> str:
    """Fingerprint of a reward: of a run folder's model, or of the file that holds a distilled one.

    Raises:
        InputError: there is neither.
    """
    path = existing(path)
    return records.sha256(path / records.MODEL if path.is_dir() else path)


def check_reward(origin: Origin, folder: str | Path) -> None:
    """Make sure that the recovered reward, if any, is still the one that the run in `folder` began with.

    Raises:
        InputError: it is gone, or another one.
    """
    if origin.reward is None or not origin.reward_sha256:
        return
    expected, found = origin.reward_sha256, reward_sha256(origin.reward)
    if found != expected:
        raise InputError(
            f"The reward at {origin.reward} is not what {folder} began with; expected SHA-256 {expected[:12]}…, "
            f"found {found[:12]}…; put the old one back, or begin anew with iqlearn expert."
        )


def check_demos(origin: Origin, demos: Demos, folder: str | Path) -> None:
    """Make sure that these demonstrations, as far as the learner may see them, are what the run in `folder` began with.

    Raises:
        InputError: they are others.
    """
    if demos.sha256() != origin.sha256:
        raise InputError(
            f"{demos.source} is not what {folder} began with; expected SHA-256 {origin.sha256[:12]}…, "
            f"found {demos.sha256()[:12]}…."
        )


def existing(path: str | Path) -> Path:
    """Where a reward is, checked that something is there."""
    path = Path(path)
    if not path.exists():
        raise InputError(
            f"No reward at {path}; expected a run folder, or a file of iqlearn reward --distil or --refit."
        )
    return path


def evaluated_in(env: str | None, demos: Demos, online: bool) -> tuple[str | None, str | None]:
    """The environment that is asked for, else the one that the demonstrations name; offline none where that cannot be
    made here, and then a sentence that says why."""
    if env is not None or demos.env is None or online:
        return env or demos.env, None
    try:
        gym.task_spec(demos.env)
    except InputError as error:
        return None, f"{demos.source} names an environment that cannot be made, so nothing is evaluated. {error}"
    return demos.env, None


def visible(settings: Imitator, demos: Demos) -> Demos:
    """What a learner with these settings sees of the demonstrations: with `state_only` no actions.

    Raises:
        InputError: there are none, and the learner needs them.
    """
    if isinstance(settings, IQLearn | IQLearnContinuous) and settings.state_only:
        return demos.without_actions()
    return replace(demos, act=demos.actions)


def seen(run: Run, demos: Demos) -> Demos:
    """What a run trains on: what is `visible`, with placeholders for actions that are not."""
    assert not isinstance(run.settings, Expert)
    demos = visible(run.settings, demos)
    return demos.placeholders(run.spec) if demos.act is None else demos
