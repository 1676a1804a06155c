"""How close a policy comes to the expert, measured without a reward: the states of one beside those of the other."""

import jax
import numpy as np
from jaxtyping import Float

from iqlearn.networks import encoders
from iqlearn.types import Obs, ObsSpec, rows

SAMPLE = 1_000
"""States that are compared on each side."""
SATURATION = 10.0
"""Standardised coordinates are clipped to ±10."""


class ExpertStates:
    """The states of an expert, and how far the states of a policy are from them.

    Args:
        obs: the expert's states, a batch.
        spec: what a single state is.
    """

    def __init__(self, obs: Obs, spec: ObsSpec) -> None:
        self._encoder = encoders.fit(spec, obs, "standard", SATURATION)
        self._expert = self._inputs(obs)
        self._within = mean_distance(self._expert, self._expert)

    def distance(self, obs: Obs) -> float:
        """Energy distance between these states and the expert's, in standardised coordinates: 0 if they agree.

        2·E|X − Y| − E|X − X'| − E|Y − Y'| (Székely & Rizzo, 2013) of at most 1,000 states a side, evenly spread.
        """
        visited = self._inputs(obs)
        between = 2.0 * mean_distance(visited, self._expert)
        return max(between - self._within - mean_distance(visited, visited), 0.0)

    def _inputs(self, obs: Obs) -> Float[np.ndarray, "n inputs"]:
        return np.asarray(self._encoder(thinned(obs)))


def thinned(obs: Obs) -> Obs:
    """At most `SAMPLE` of the rows, evenly spread."""
    n = rows(obs)
    index = np.linspace(0, n - 1, min(n, SAMPLE)).astype(int)
    return jax.tree.map(lambda part: part[index], obs)


def mean_distance(a: Float[np.ndarray, "n inputs"], b: Float[np.ndarray, "m inputs"]) -> float:
    """Mean Euclidean distance of all pairs."""
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * a @ b.T
    return float(np.sqrt(np.maximum(squared, 0.0)).mean())
