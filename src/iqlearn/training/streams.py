"""Random streams with names: each phase of training draws from its own."""

from __future__ import annotations

from typing import NamedTuple

import jax.random as jr
import numpy as np

from iqlearn.types import PRNGKey

MOST = 990_000
"""Reset seeds of training; up to 10,000 copies of the environment count up from one."""


class Streams(NamedTuple):
    """The random streams of one seed. Users fold the number of a step into a stream, so that a resumed run draws the
    numbers of an uninterrupted one.

    >>> key = jr.fold_in(Streams.of(0).updates, 17)
    """

    weights: PRNGKey
    """Initial weights of networks."""
    begin: PRNGKey
    """Initial states of extensions."""
    sources: PRNGKey
    """Initial states of sources."""
    preparation: PRNGKey
    """Preparation of extensions before the first update."""
    rounds: PRNGKey
    """Extensions between two rounds of acting."""
    updates: PRNGKey
    """Minibatches, and samples of the losses."""
    acting: PRNGKey
    """Samples of the policy that acts."""
    exploration: PRNGKey
    """Choice of the steps with random actions."""
    episodes: PRNGKey
    """Reset seeds of the environments, and random actions."""

    @classmethod
    def of(cls, seed: int) -> Streams:
        """The streams of a seed of any size. JAX would keep the lowest 32 bits of a large one."""
        word = seed if seed < 2**31 else int(np.random.SeedSequence(seed).generate_state(1)[0] >> 1)
        return cls(*jr.split(jr.key(word), len(cls._fields)))

    def reset_seed(self, done: int) -> int:
        """The first reset seed of episodes that begin after `done` steps, below `RESET_SEEDS` of evaluations."""
        return int(np.asarray(jr.bits(jr.fold_in(self.episodes, done)))) % MOST
