"""Many copies of an environment stepped together, and what they experienced as plain arrays."""

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from jaxtyping import Bool, Float, Shaped

from iqlearn.envs.gym import make


class Step(NamedTuple):
    """One step of every copy; a row each. `next_obs` is the true s', also where the episode ended."""

    obs: Shaped[np.ndarray, "n *obs"]
    action: Shaped[np.ndarray, "n *act"]
    next_obs: Shaped[np.ndarray, "n *obs"]
    reward: Float[np.ndarray, " n"]
    terminal: Bool[np.ndarray, " n"]
    ended: Bool[np.ndarray, " n"]
    """The episode is over: it ended or met its time limit."""


class VectorEnv:
    """Environments that restart by themselves; `obs` is what each shows now."""

    def __init__(self, env_id: str, copies: int, seed: int) -> None:
        make(env_id).close()  # an unknown id or a missing package is told in one sentence
        self._envs: gym.vector.VectorEnv[Any, Any, Any] = gym.make_vec(
            env_id,
            num_envs=copies,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        )
        self._envs.action_space.seed(seed)
        self.obs: Shaped[np.ndarray, "n *obs"] = self._envs.reset(seed=seed)[0]

    def random_actions(self) -> Shaped[np.ndarray, "n *act"]:
        """Actions drawn uniformly."""
        return np.asarray(self._envs.action_space.sample())

    def step(self, action: Shaped[np.ndarray, "n *act"]) -> Step:
        """Act once in every copy. No transition crosses the border of an episode."""
        before = self.obs
        self.obs, reward, terminal, truncated, info = self._envs.step(action)
        next_obs, ended = self.obs.copy(), terminal | truncated
        for row in np.flatnonzero(ended):
            next_obs[row] = info["final_obs"][row]
        return Step(before, action, next_obs, np.asarray(reward, np.float32), terminal, ended)

    def close(self) -> None:
        self._envs.close()
