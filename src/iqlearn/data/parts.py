"""Which episodes, and which of their rows, a part of demonstrations has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Int

from iqlearn.errors import InputError

if TYPE_CHECKING:
    from iqlearn.data.demos import Demos


def episodes(demos: Demos, n: int, seed: int | None) -> Int[np.ndarray, " n"]:
    """What `Demos.take` takes, as places among the episodes."""
    if not 1 <= n <= demos.episodes:
        raise InputError(
            f"{n} trajectories asked for, but {demos.source} holds {demos.episodes}; "
            f"expected a number from 1 to {demos.episodes}."
        )
    if seed is None:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).permutation(demos.episodes)[:n])


def rows(demos: Demos, every: int, offset: int, seed: int | None) -> Bool[np.ndarray, " rows"]:
    """What `Demos.subsample` keeps."""
    if every < 1 or not 0 <= offset < every:
        wanted = "every (--subsample) ≥ 1 and 0 ≤ offset < every"
        raise InputError(f"Sub-sampling every {every} from {offset}; expected {wanted}.")
    lengths = demos.lengths
    place = np.arange(len(demos)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    start = np.full(demos.episodes, offset)
    if seed is not None:
        start = np.random.default_rng(seed).integers(np.minimum(every, lengths))
    keep = (place % every == np.repeat(start, lengths)) | demos.term
    if len(np.unique(demos.ep[keep])) < demos.episodes:
        raise InputError(
            f"Sub-sampling {demos.source} from offset {offset} leaves an episode without transitions; "
            f"the shortest has {lengths.min()}, expected an offset below that."
        )
    return keep
