"""Many copies of an environment stepped together, and what they experienced as plain arrays."""

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from jaxtyping import Bool, Float, Shaped

from iqlearn.envs.gym import make
from iqlearn.settings import Vectorization


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
    """Environments that start again by themselves; `obs` is what each shows now.

    `async` steps each copy in a process of its own. A failure there is told where it happened.
    """

    def __init__(self, env_id: str, copies: int, seed: int, vectorization: Vectorization = "sync") -> None:
        make(env_id).close()  # an unknown id or a missing package is told in one sentence
        options: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP}
        if vectorization == "async":
            options["context"] = "spawn"  # a fork of a process that computes on several threads may hang
        self._envs: gym.vector.VectorEnv[Any, Any, Any] = gym.make_vec(
            env_id, num_envs=copies, vectorization_mode=vectorization, vector_kwargs=options
        )
        space = self._envs.single_action_space
        self._dtype = space.dtype
        self._bounds = (space.low, space.high) if isinstance(space, gym.spaces.Box) else None
        self.copies = copies
        self.obs: Shaped[np.ndarray, "n *obs"]
        self.restart(seed)

    def restart(self, seed: int) -> None:
        """Begin a new episode in every copy; copy i's reset seed is `seed + i`. The random actions begin anew too."""
        self._envs.action_space.seed(seed)
        self.obs = self._envs.reset(seed=seed)[0]

    def random_actions(self) -> Shaped[np.ndarray, "n *act"]:
        """Actions drawn uniformly."""
        return np.asarray(self._envs.action_space.sample())

    def step(self, action: Shaped[np.ndarray, "n *act"]) -> Step:
        """Act once in every copy. No transition crosses the border of an episode."""
        before = self.obs.copy()
        action = np.asarray(action, self._dtype)
        if self._bounds is not None:
            action = np.clip(action, *self._bounds)
        self.obs, reward, terminal, truncated, info = self._envs.step(action)
        next_obs, ended = self.obs.copy(), terminal | truncated
        for row in np.flatnonzero(ended):
            next_obs[row] = info["final_obs"][row]
        return Step(before, action, next_obs, np.asarray(reward, np.float32), terminal, ended)

    def close(self) -> None:
        self._envs.close()


def random_observations(env_id: str, n: int, seed: int) -> Float[np.ndarray, "n *obs"]:
    """What a policy sees that draws its actions uniformly."""
    env = VectorEnv(env_id, 1, seed)
    try:
        return np.concatenate([env.step(env.random_actions()).next_obs for _ in range(n)])
    finally:
        env.close()
