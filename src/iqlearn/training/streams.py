"""Named random streams: each phase of training draws from its own stream."""

from __future__ import annotations

from typing import NamedTuple

import jax.random as jr
import numpy as np

from iqlearn.types import PRNGKey

MOST = 990_000
"""Number of first reset seeds in training. Up to 10,000 copies of the environment count up from one of them."""


class Streams(NamedTuple):
    """The random streams of one seed. Callers fold the number of a step into a stream, so that a resumed run draws the
    same numbers as an uninterrupted one.

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
        """Return the streams of a seed of any size. Large ones are hashed: JAX would keep only their lowest 32 bits."""
        word = seed if seed < 2**31 else int(np.random.SeedSequence(seed).generate_state(1)[0] >> 1)
        return cls(*jr.split(jr.key(word), len(cls._fields)))

    def reset_seed(self, done: int) -> int:
        """Return the first reset seed of episodes that begin after `done` steps. It is below all of `RESET_SEEDS`."""
        return int(np.asarray(jr.bits(jr.fold_in(self.episodes, done)))) % MOST
