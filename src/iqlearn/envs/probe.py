"""A first test of an environment, before anything depends on it: its spaces, one reset and a few steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import TimeLimit
from jaxtyping import Float

from iqlearn.envs.copies import Local
from iqlearn.envs.spaces import actions_seed, executed, task_of
from iqlearn.envs.worker import brief
from iqlearn.errors import EnvironmentFault, InputError
from iqlearn.types import TaskSpec

TrueReward = Callable[..., Float[np.ndarray, " n"]]
"""Function that returns the rewards of a batch (s, a, s'), one number per row."""
STEPS = 3
"""Number of test steps, with random actions, unless the episode ends before."""


class Facts(NamedTuple):
    """The properties of an environment that a learner needs."""

    task: TaskSpec
    actions: gym.Space[Any]
    time_limit: int | None
    """Steps after which an episode is truncated; none if it never is."""
    true_reward: TrueReward | None
    """The environment's own method `true_reward`; none if it has none."""


def look(env: gym.Env[Any, Any], name: str, seed: int = 0) -> Facts:
    """Test an environment with one reset and a few steps, close it, and return its facts.

    `name` is the environment's name in messages.

    Raises:
        InputError: its spaces are not supported, it raises, or it returns an invalid value.
    """
    at = "reset"
    try:
        for what in ("observation_space", "action_space"):
            if not isinstance(getattr(env, what, None), gym.Space):
                told = f"Environment {name!r} has {brief(getattr(env, what, None))} as {what}"
                raise InputError(f"{told}; expected a space of gymnasium.spaces.")
        task = task_of(env.observation_space, env.action_space, name)
        copy = Local(lambda: env, task.obs)
        copy.ask("reset", seed)
        copy.answer()
        env.action_space.seed(actions_seed(seed))
        for step in range(1, STEPS + 1):
            at = f"step {step}"
            copy.ask("step", executed(env.action_space, env.action_space.sample()))
            if any(copy.answer()[2:]):
                break
    except EnvironmentFault as fault:
        raise InputError(f"Environment {name!r}, reset seed {seed}, {at}: {fault}.") from fault
    finally:
        with suppress(Exception, SystemExit):  # the facts are valid even if closing fails
            env.close()
    limits = [layer._max_episode_steps for layer in layers(env) if isinstance(layer, TimeLimit)]
    return Facts(task, env.action_space, min(limits, default=None), getattr(env.unwrapped, "true_reward", None))


def layers(env: Any) -> Iterator[Any]:
    """Yield an environment, or a vector environment, and all environments that it wraps, the outermost first."""
    while isinstance(env, gym.Wrapper | gym.vector.VectorWrapper):
        yield env
        env = env.env
    yield env
