"""Gymnasium wrappers that pay a learned reward, so that any reinforcement-learning library can train on it."""

from itertools import chain
from typing import Any

import gymnasium as gym
import jax
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import NormalizeObservation
from gymnasium.wrappers.vector import NormalizeObservation as NormalizeObservations
from jaxtyping import Float

from iqlearn.envs.probe import layers
from iqlearn.envs.spaces import canonical, executed, task_of
from iqlearn.errors import InputError
from iqlearn.types import Obs, RewardFunction, Transitions

AROUND = "put wrappers that change actions or observations around the reward's wrapper, not inside"
TRUE_REWARD = "true_reward"
"""Key of `info` that holds the environment's own reward."""


class RewardWrapper(gym.Wrapper[Any, Any, Any, Any]):
    """Replaces the environment's reward by `reward`; `info["true_reward"]` holds the environment's own.

    Put a monitor of the true return inside this wrapper, and a monitor of the learned return outside.

    >>> reward = iq.Run.load("runs/hopper").reward.at_discount(0.99)  # the agent's discount
    >>> env = iq.RewardWrapper(gym.make("Hopper-v5"), reward)
    >>> stable_baselines3.SAC("MlpPolicy", env, gamma=0.99).learn(50_000)
    """

    def __init__(self, env: gym.Env[Any, Any], reward: RewardFunction) -> None:
        super().__init__(env)
        check_fits(reward, env, env.observation_space, env.action_space)
        self._reward = reward
        self._obs: Obs = np.zeros(0)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        self._obs = seen(self._reward, obs)
        return obs, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        acted = executed(self.env.action_space, action)  # before the environment can change the array
        obs, true, terminated, truncated, info = self.env.step(action)
        before, self._obs = self._obs, seen(self._reward, obs)
        row = jax.tree.map(lambda x: np.asarray(x)[None], (before, acted, self._obs, terminated))
        paid, earned = float(self._reward(Transitions(*row))[0]), float(np.asarray(true).item())
        return obs, paid, terminated, truncated, {**info, TRUE_REWARD: earned}


class VectorRewardWrapper(gym.vector.VectorWrapper):
    """`RewardWrapper` for vector environments, in each of Gymnasium's autoreset modes.

    If an environment overwrites the array that it returned, AutoresetMode.SAME_STEP of Gymnasium shows the first
    observation of the next episode in place of the last one. The other modes do not.

    No transition connects two episodes: at an end s' is the last observation of the episode, and a step
    that only resets pays 0.

    >>> env = iq.VectorRewardWrapper(gym.make_vec("Hopper-v5", num_envs=8), run.reward)
    """

    def __init__(self, env: gym.vector.VectorEnv[Any, Any, Any], reward: RewardFunction) -> None:
        super().__init__(env)
        check_fits(reward, env, env.single_observation_space, env.single_action_space)
        self._reward = reward
        self._mode = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self._obs: Obs = np.zeros(0)
        self._ended = np.zeros(env.num_envs, bool)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)  # pyright: ignore[reportArgumentType]
        self._obs = seen(self._reward, obs)
        self._ended = np.zeros(self.num_envs, bool)
        return obs, info

    def step(self, actions: Any) -> tuple[Any, Float[np.ndarray, " n"], Any, Any, dict[str, Any]]:
        acted = executed(self.single_action_space, actions)
        obs, true, terminated, truncated, info = self.env.step(actions)
        before, self._obs = self._obs, seen(self._reward, obs)
        arrived = jax.tree.map(np.copy, self._obs)
        for row in np.flatnonzero(info.get("_final_obs", np.zeros(self.num_envs, bool))):
            last = seen(self._reward, info["final_obs"][row])
            for array, value in zip(jax.tree.leaves(arrived), jax.tree.leaves(last), strict=True):
                array[row] = value
        paid = np.asarray(self._reward(Transitions(before, acted, arrived, terminated)), np.float64)
        if self._mode == AutoresetMode.NEXT_STEP:
            paid = np.where(self._ended, 0.0, paid)
            self._ended = terminated | truncated
        return obs, paid, terminated, truncated, {**info, TRUE_REWARD: np.asarray(true)}


def check_fits(reward: RewardFunction, env: Any, observations: gym.Space[Any], actions: gym.Space[Any]) -> None:
    """Check that the observations and actions of an environment are those of the reward's task, if it has a `spec`.

    Raises:
        InputError: `reward` is no reward, it is of another task, or NormalizeObservation changes its observations.
    """
    if not callable(reward):
        raise InputError(
            f"{type(reward).__name__} is no reward of transitions; expected run.reward, or a distilled one."
        )
    spec = getattr(reward, "spec", None)
    if spec is None:
        return
    try:
        has: Any = task_of(observations, actions, "the environment")
    except InputError as error:
        raise InputError(f"{str(error).rstrip('.')}, or {AROUND}.") from error
    if has != spec:
        raise InputError(
            f"The reward is of {spec}; the environment has {has}, expected those that the reward was learnt from: "
            f"{AROUND}."
        )
    each = chain.from_iterable(map(layers, (env, *getattr(env.unwrapped, "envs", ()))))
    if any(isinstance(layer, NormalizeObservation | NormalizeObservations) for layer in each):
        raise InputError(
            "NormalizeObservation changes the scale of observations while it runs, which no reward follows; expected "
            "the environment's own observations: put NormalizeObservation around the reward's wrapper, not inside."
        )


def seen(reward: RewardFunction, obs: Any) -> Obs:
    """Return a copy of observations, as the arrays of the reward's task if it has a `spec`."""
    spec = getattr(reward, "spec", None)
    return jax.tree.map(np.array, obs) if spec is None else canonical(obs, spec.obs)
