"""Gymnasium environments: made, described and checked against the demonstrations, each fault in one sentence."""

from typing import Any

import gymnasium as gym
import numpy as np

from iqlearn.errors import InputError
from iqlearn.types import Bounds, TaskSpec

Env = gym.Env[Any, Any]
EXTRAS = {"box2d": "box2d", "mujoco": "mujoco"}
"""Part of a missing dependency's message → the extra that brings it."""


def make(env_id: str) -> Env:
    """The environment of that Gymnasium id.

    Raises:
        InputError: no such environment, or a package it needs is not installed.
    """
    try:
        return gym.make(env_id, disable_env_checker=True)
    except gym.error.DependencyNotInstalled as error:
        extra = next((EXTRAS[word] for word in EXTRAS if word in str(error).lower()), None)
        remedy = f"pip install 'iqlearn[{extra}]'" if extra else " ".join(str(error).split())
        raise InputError(f"Environment {env_id!r} needs a package that is not installed: {remedy}.") from error
    except (gym.error.Error, ImportError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(
            f"No environment {env_id!r}: {reason}; expected a Gymnasium id such as CartPole-v1, or MODULE:ID."
        ) from error


def time_limit(env_id: str) -> int | None:
    """Steps after which an episode is cut off; none where it never is.

    Raises:
        InputError: as `make`.
    """
    env = make(env_id)
    env.close()
    return None if env.spec is None else env.spec.max_episode_steps


def roomy(actions: gym.spaces.Box) -> bool:
    """Whether every coordinate has a finite range that is more than a point."""
    width = actions.high.astype(np.float64) - actions.low
    return bool(np.all((width > 0.0) & (width < 1e30)))


def task_spec(env_id: str) -> TaskSpec:
    """Shapes and actions of an environment.

    Raises:
        InputError: as `make`, or its spaces are not a Box of observations with a Discrete choice or a bounded flat Box
            of actions.
    """
    env = make(env_id)
    try:
        observations, actions = env.observation_space, env.action_space
        if not isinstance(observations, gym.spaces.Box):
            raise InputError(
                f"Observations of {env_id!r} are {observations}; expected a Box: register an environment that flattens "
                "them (gymnasium.wrappers.FlattenObservation) and name that."
            )
        if isinstance(actions, gym.spaces.Discrete) and actions.start == 0:
            return TaskSpec(observations.shape, int(actions.n))
        if isinstance(actions, gym.spaces.Box) and len(actions.shape) == 1 and roomy(actions):
            return TaskSpec(observations.shape, Bounds(tuple(actions.low.tolist()), tuple(actions.high.tolist())))
        raise InputError(
            f"Actions of {env_id!r} are {actions}; expected Discrete actions from 0 up, or a flat Box with finite "
            "bounds (gymnasium.wrappers.RescaleAction sets them)."
        )
    finally:
        env.close()
