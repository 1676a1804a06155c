"""A learned reward beside the true one: correlations by transition and by episode."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

Values = Float[np.ndarray, " n"]
CONSTANT = 1e-12
"""Spread, as a share of the greatest value, up to which numbers are the same one: rounding of float64."""


def pearson(a: Values, b: Values, weights: Values | None = None) -> float | None:
    """Linear correlation, with weights; none where one side is constant (to rounding) or has fewer than two values."""
    weights = np.ones(len(a)) if weights is None else weights
    share = weights / weights.sum()
    sides = []
    for side in (a.astype(np.float64), b.astype(np.float64)):
        centred = side - share @ side
        size = np.sqrt(share @ centred**2)
        if size <= CONSTANT * np.abs(side).max(initial=0.0):
            return None
        sides.append(centred / size)
    return float(np.clip(share @ (sides[0] * sides[1]), -1.0, 1.0))


def spearman(a: Values, b: Values) -> float | None:
    """Correlation of the ranks, equal values sharing the mean of theirs; none as for `pearson`."""
    return pearson(ranks(a), ranks(b))


def ranks(values: Values) -> Values:
    """The place of each value in order, from 0; equal values share the mean of their places.

    >>> ranks(np.array([3.0, 1.0, 1.0])).tolist()
    [2.0, 0.5, 0.5]
    """
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[group]


def by_episode(values: Values, episode: Int[np.ndarray, " n"]) -> Float[np.ndarray, " episodes"]:
    """The undiscounted sum of each episode's values, in the order of the episodes' numbers."""
    return np.bincount(np.unique(episode, return_inverse=True)[1], weights=values)


def report(learned: Values, true: Values | None, episode: Int[np.ndarray, " n"], after: Values) -> dict[str, Any]:
    """Range of the learned reward, and its correlation with the true one where that is known.

    `after`: what follows each transition, counted in the return of its episode only: not 0 where an episode ended.
    """
    returns = by_episode(learned + after, episode)
    facts: dict[str, Any] = {
        "transitions": len(learned),
        "mean": float(learned.mean()),
        "std": float(learned.std()),
        "min": float(learned.min()),
        "max": float(learned.max()),
        "episodes": len(returns),
        "episode_mean": float(returns.mean()),
    }
    if true is not None:
        facts |= correlations(learned, true, "transition") | correlations(returns, by_episode(true, episode), "episode")
    return facts


def baselines(learned: Values, true: Values, episode: Int[np.ndarray, " n"]) -> dict[str, float | None]:
    """How much of a correlation by episode is the episode's length.

    `pearson_length` is the correlation of the number of steps alone with the true return, `pearson_mean` that of the
    learned reward a step, without what follows an end.
    """
    earned, length = by_episode(true, episode), by_episode(np.ones(len(true)), episode)
    mean = by_episode(learned, episode) / length
    return {"pearson_length": pearson(length, earned), "pearson_mean": pearson(mean, earned)}


def in_absorbing_state(
    each: Values, episode: Int[np.ndarray, " n"], terminal: Bool[np.ndarray, " n"], limit: int
) -> Values:
    """What an absorbing state pays from a true end to the time limit: `each` step the same.

    An episode that ended early has then as many rewards as one that lasted, so that their undiscounted sums compare.
    """
    length = np.unique(episode, return_inverse=True, return_counts=True)
    left = np.maximum(limit - length[2][length[1]], 0)
    return np.where(terminal, left * each, 0.0)


def correlations(learned: Values, true: Values, what: str) -> dict[str, float | None]:
    """Pearson's and Spearman's, named after what is compared."""
    return {f"pearson_{what}": pearson(learned, true), f"spearman_{what}": spearman(learned, true)}
