"""Returns: what a policy earns in the environment, episode by episode."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from iqlearn.envs import gym

Act = Callable[[Shaped[np.ndarray, "n *obs"]], Shaped[np.ndarray, "n *act"]]
"""Actions for a batch of observations, on the host."""

LANES = 50
"""Episodes played side by side at most, so that the policy is asked for many actions at once."""


class Episode(NamedTuple):
    """One episode as it was played: T transitions."""

    obs: Shaped[np.ndarray, "T *obs"]
    act: Shaped[np.ndarray, "T *act"]
    next_obs: Shaped[np.ndarray, "T *obs"]
    rew: Float[np.ndarray, " T"]
    terminated: bool
    """Whether it truly ended (or else met its time limit)."""


class Evaluator:
    """Plays episodes of one environment, its lanes kept for the next evaluation.

    Episode i begins from reset seed `seed + i`, whatever the number of lanes: a result depends on policy and seed
    alone.
    """

    def __init__(self, env_id: str, lanes: int = LANES) -> None:
        self.env_id = env_id
        self.lanes = lanes
        self._envs: list[gym.Env] = []

    def returns(self, act: Act, episodes: int, seed: int) -> Float[np.ndarray, " episodes"]:
        """Undiscounted true return of each episode."""
        return np.array([e.rew.sum() for e in self.play(act, episodes, seed)], np.float64)

    def random_returns(self, episodes: int, seed: int) -> Float[np.ndarray, " episodes"]:
        """Returns of the policy that draws its actions uniformly: the zero of the normalised return."""
        self._open(1)
        space = self._envs[0].action_space
        space.seed(seed)
        return self.returns(lambda obs: np.stack([space.sample() for _ in obs]), episodes, seed)

    def play(self, act: Act, episodes: int, seed: int) -> list[Episode]:
        """Play `episodes` episodes; the batch that `act` sees has the same number of rows in every call."""
        lanes = min(self.lanes, episodes)
        self._open(lanes)
        records: list[list[tuple[np.ndarray, np.ndarray, np.ndarray, float]]] = [[] for _ in range(episodes)]
        ended = [False] * episodes
        playing = list(range(lanes))
        obs = np.stack([env.reset(seed=seed + i)[0] for i, env in enumerate(self._envs[:lanes])])
        waiting = lanes
        while any(episode >= 0 for episode in playing):
            actions = act(obs)
            for lane, episode in enumerate(playing):
                if episode < 0:
                    continue
                next_obs, reward, terminated, truncated, _ = self._envs[lane].step(actions[lane])
                records[episode].append((obs[lane].copy(), actions[lane], np.array(next_obs), float(reward)))
                obs[lane] = next_obs
                if terminated or truncated:
                    ended[episode] = terminated
                    playing[lane] = waiting if waiting < episodes else -1
                    if waiting < episodes:
                        obs[lane] = self._envs[lane].reset(seed=seed + waiting)[0]
                        waiting += 1
        return [
            Episode(*(np.stack(column) for column in zip(*rows, strict=True)), terminated=end)
            for rows, end in zip(records, ended, strict=True)
        ]

    def close(self) -> None:
        for env in self._envs:
            env.close()
        self._envs = []

    def _open(self, lanes: int) -> None:
        while len(self._envs) < lanes:
            self._envs.append(gym.make(self.env_id))


def normalised(mean: float | None, expert: float | None, random: float | None) -> float | None:
    """The return with the expert's mean as 1 and a random policy's as 0; none where one is unknown or they agree."""
    if mean is None or expert is None or random is None or expert == random:
        return None
    return (mean - random) / (expert - random)


def as_arrays(episodes: Sequence[Episode]) -> dict[str, np.ndarray]:
    """Played episodes in the format of demonstrations."""
    lengths = [len(e.rew) for e in episodes]
    last = np.cumsum(lengths) - 1
    term, trunc = np.zeros((2, sum(lengths)), bool)
    ended = np.array([e.terminated for e in episodes])
    term[last], trunc[last] = ended, ~ended
    return {
        "obs": np.concatenate([e.obs for e in episodes]),
        "act": np.concatenate([e.act for e in episodes]),
        "next_obs": np.concatenate([e.next_obs for e in episodes]),
        "rew": np.concatenate([e.rew for e in episodes]).astype(np.float32),
        "term": term,
        "trunc": trunc,
        "ep": np.repeat(np.arange(len(episodes)), lengths),
    }
