"""How well it goes, told without a reward: where the learner is beside where the expert was."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from iqlearn.types import ObservationScale

SAMPLE = 1_000
"""States compared on either side."""


class Familiar:
    """An expert's states, to measure others against."""

    def __init__(self, obs: Shaped[np.ndarray, "n *obs"], scale: ObservationScale) -> None:
        """The expert's states, and how the networks see them."""
        self._scale = scale
        self._expert = thinned(self._inputs(obs))
        self._within = mean_distance(self._expert, self._expert)

    def distance(self, obs: Shaped[np.ndarray, "n *obs"]) -> float:
        """Energy distance between these states and the expert's, as the networks see them: 0 where they agree.

        2·E|X − Y| − E|X − X'| − E|Y − Y'| (Székely & Rizzo, 2013) on at most 1,000 states of each, evenly spread.
        """
        visited = thinned(self._inputs(thinned(obs)))
        between = 2.0 * mean_distance(visited, self._expert)
        return max(between - self._within - mean_distance(visited, visited), 0.0)

    def _inputs(self, obs: Shaped[np.ndarray, "n *obs"]) -> Float[np.ndarray, "n inputs"]:
        return np.asarray(self._scale(jnp.asarray(obs, jnp.float32)))


def thinned(rows: Shaped[np.ndarray, "n *row"]) -> Shaped[np.ndarray, "few *row"]:
    """At most `SAMPLE` of the rows, evenly spread."""
    return rows if len(rows) <= SAMPLE else rows[np.linspace(0, len(rows) - 1, SAMPLE).astype(int)]


def mean_distance(a: Float[np.ndarray, "n inputs"], b: Float[np.ndarray, "m inputs"]) -> float:
    """Mean Euclidean distance of all pairs."""
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * a @ b.T
    return float(np.sqrt(np.maximum(squared, 0.0)).mean())
