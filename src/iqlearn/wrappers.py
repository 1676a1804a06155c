"""Gymnasium wrappers that pay a learned reward, so that any library of reinforcement learning can train on it."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from jaxtyping import Float, Shaped

from iqlearn.errors import InputError
from iqlearn.types import RewardFunction, on_host

TRUE_REWARD = "true_reward"
"""Key of `info` under which the environment's own reward stays visible."""


class RewardWrapper(gym.Wrapper[Any, Any, Any, Any]):
    """Replaces the environment's reward by `reward`; `info["true_reward"]` keeps the other one.

    A monitor that is to see the true return goes inside, one that is to see the learned one outside.

    >>> reward = iq.Run.load("runs/hopper").reward.at_discount(0.99)  # the agent's
    >>> env = iq.RewardWrapper(gym.make("Hopper-v5"), reward)
    >>> stable_baselines3.SAC("MlpPolicy", env, gamma=0.99).learn(50_000)
    """

    def __init__(self, env: gym.Env[Any, Any], reward: RewardFunction) -> None:
        super().__init__(env)
        check_fits(reward, env.observation_space)
        self._reward = reward
        self._obs = np.zeros(0)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        self._obs = np.array(obs)
        return obs, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, true, terminated, truncated, info = self.env.step(action)
        acted = within(self.env.action_space, np.asarray(action))[None]
        rows = on_host(self._obs[None], acted, np.asarray(obs)[None], np.array([terminated]))
        self._obs = np.array(obs)
        return obs, float(self._reward(rows)[0]), terminated, truncated, {**info, TRUE_REWARD: float(true)}


class VectorRewardWrapper(gym.vector.VectorWrapper):
    """`RewardWrapper` for vector environments, in each of Gymnasium's autoreset modes.

    No transition crosses the border of an episode: at an end s' is the episode's last observation, and a step that only
    resets pays 0.

    >>> env = iq.VectorRewardWrapper(gym.make_vec("Hopper-v5", num_envs=8), run.reward)
    """

    def __init__(self, env: gym.vector.VectorEnv[Any, Any, Any], reward: RewardFunction) -> None:
        super().__init__(env)
        check_fits(reward, env.single_observation_space)
        self._reward = reward
        self._mode = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self._obs = np.zeros(0)
        self._ended = np.zeros(env.num_envs, bool)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)  # pyright: ignore[reportArgumentType]
        self._obs = np.array(obs)
        self._ended = np.zeros(self.num_envs, bool)
        return obs, info

    def step(self, actions: Any) -> tuple[Any, Float[np.ndarray, " n"], Any, Any, dict[str, Any]]:
        obs, true, terminated, truncated, info = self.env.step(actions)
        arrived = np.array(obs)
        for row in np.flatnonzero(info.get("_final_obs", np.zeros(self.num_envs, bool))):
            arrived[row] = info["final_obs"][row]
        acted = within(self.single_action_space, np.asarray(actions))
        paid = np.asarray(self._reward(on_host(self._obs, acted, arrived, terminated)), np.float64)
        if self._mode == AutoresetMode.NEXT_STEP:
            paid = np.where(self._ended, 0.0, paid)
            self._ended = terminated | truncated
        self._obs = np.array(obs)
        return obs, paid, terminated, truncated, {**info, TRUE_REWARD: np.asarray(true)}


def check_fits(reward: RewardFunction, space: gym.Space[Any]) -> None:
    """Whether a reward can judge what the environment shows, as far as both say.

    Raises:
        InputError: it is none, or it is of another task.
    """
    if not callable(reward):
        raise InputError(
            f"{type(reward).__name__} is no reward of transitions; expected run.reward, or a distilled one."
        )
    spec = getattr(reward, "spec", None)
    if spec is not None and space.shape != spec.obs_shape:
        raise InputError(
            f"The reward is of observations of shape {spec.obs_shape}; the environment's have {space.shape}, "
            "expected those of the task that it was learnt from."
        )


def within(space: gym.Space[Any], action: Shaped[np.ndarray, "*n_act"]) -> Shaped[np.ndarray, "*n_act"]:
    """The action that the environment will have taken: continuous ones within their bounds."""
    return np.clip(action, space.low, space.high) if isinstance(space, gym.spaces.Box) else action
