"""The occupancy distance: how far the states of a policy are from the expert's states, measured without a reward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from iqlearn.data.demos import Demos
from iqlearn.evaluation.returns import Episode
from iqlearn.networks import encoders
from iqlearn.types import Obs, ObsSpec, rows

SAMPLE = 1_000
"""Largest number of states that are compared on each side."""
SATURATION = 10.0
"""Standardised coordinates grow logarithmically beyond ±10."""
NOISE = 0.02
"""Distances below this share of the expert's own spread count as noise."""


class Visited(NamedTuple):
    """The states of episodes, one episode after another."""

    obs: Obs
    lengths: Int[np.ndarray, " episodes"]
    """Rows of each episode."""
    ended: Bool[np.ndarray, " episodes"]
    """Whether each episode truly ended. A time limit is no true end."""
    every: int = 1
    """Steps of the environment between two rows."""

    def after(self, horizon: int) -> Int[np.ndarray, " episodes"]:
        """Return the number of rows of each episode in the absorbing state, from its true end to `horizon` steps."""
        return np.maximum(horizon // self.every - self.lengths, 0) * self.ended


def alone(obs: Obs) -> Visited:
    """Return states as those of one episode that did not end."""
    return Visited(obs, np.array([rows(obs)]), np.array([False]))


def demonstrated(demos: Demos) -> Visited:
    """Return the states of demonstrations."""
    return Visited(demos.obs, demos.lengths, demos.term[np.cumsum(demos.lengths) - 1], demos.every)


def visited(episodes: Sequence[Episode]) -> Visited:
    """Return the states of episodes that were played."""
    obs = jax.tree.map(lambda *parts: np.concatenate(parts), *(episode.obs for episode in episodes))
    lengths, ended = zip(*((len(episode.rew), episode.terminated) for episode in episodes), strict=True)
    return Visited(obs, np.array(lengths), np.array(ended))


class ExpertStates:
    """The states of an expert, and how far the states of a policy are from them.

    After a true end an episode stays in one absorbing state up to the horizon, so that a policy that ends its episodes
    too early, or too late, is far from the expert.

    Args:
        expert: the expert's states.
        spec: the specification of a single state.
        horizon: steps of an episode that reaches its time limit; 0 ignores true ends.
    """

    def __init__(self, expert: Visited, spec: ObsSpec, horizon: int = 0) -> None:
        self._encoder, self._horizon = encoders.fit(spec, expert.obs, "standard", SATURATION), horizon
        self._expert = self._inputs(expert)
        self._within = mean_distance(self._expert, self._expert)

    @property
    def noise(self) -> float:
        """The distance that counts as noise: a fiftieth of the mean distance between two of the expert's states."""
        return NOISE * self._within

    def distance(self, visited: Visited) -> float:
        """Return the energy distance between these states and the expert's, in standardised coordinates: 0 if equal.

        2·E|X − Y| − E|X − X'| − E|Y − Y'| (Székely & Rizzo, 2013) of at most 1,000 states per side, evenly spread.
        """
        inputs = self._inputs(visited)
        between = 2.0 * mean_distance(inputs, self._expert)
        return max(between - self._within - mean_distance(inputs, inputs), 0.0)

    def _inputs(self, visited: Visited) -> Float[np.ndarray, "n inputs"]:
        """Return standardised states with a further coordinate that is 0 except in the absorbing state.

        The absorbing state is as far from the mean state as two random states are from each other.
        """
        row, absorbed = timeline(visited.lengths, visited.after(self._horizon))
        inputs = np.asarray(self._encoder(jax.tree.map(lambda part: part[row], visited.obs)))
        far = np.sqrt(2.0 * inputs.shape[1])
        return np.hstack([np.where(absorbed[:, None], 0.0, inputs), np.where(absorbed, far, 0.0)[:, None]])


def timeline(
    lengths: Int[np.ndarray, " episodes"], after: Int[np.ndarray, " episodes"]
) -> tuple[Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Choose at most `SAMPLE` steps, evenly spread over all episodes, each with `after` steps past its end.

    Returns:
        The row of each step, and whether the step lies past the end. The row of such a step is its episode's last row.
    """
    sizes = lengths + after
    step = np.linspace(0, sizes.sum() - 1, min(sizes.sum(), SAMPLE)).astype(int)
    episode = np.searchsorted(np.cumsum(sizes), step, side="right")
    offset = step - (np.cumsum(sizes) - sizes)[episode]
    first, last = np.cumsum(lengths) - lengths, lengths - 1
    return first[episode] + np.minimum(offset, last[episode]), offset > last[episode]


def mean_distance(a: Float[np.ndarray, "n inputs"], b: Float[np.ndarray, "m inputs"]) -> float:
    """Return the mean Euclidean distance of all pairs of rows."""
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * a @ b.T
    return float(np.sqrt(np.maximum(squared, 0.0)).mean())
