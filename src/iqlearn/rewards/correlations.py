"""A learned reward beside the true one: correlations by transition and by episode."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import rankdata

Values = Float[np.ndarray, " n"]
Episodes = Int[np.ndarray, " n"]
"""The episode number of each transition."""
CONSTANT = 1e-12
"""Numbers count as equal up to this standard deviation, as a share of the largest magnitude: rounding of float64."""


def pearson(a: Values, b: Values, weights: Values | None = None) -> float | None:
    """Return the weighted linear correlation.

    None if one side is constant up to rounding, or has fewer than two values. Without weights, all values count alike.
    """
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
    """Return the correlation of the ranks. Equal values share the mean of their ranks. None as for `pearson`."""
    return pearson(rankdata(a), rankdata(b))


def by_episode(values: Values, episode: Episodes) -> Float[np.ndarray, " episodes"]:
    """Return the undiscounted sum of each episode's values, in the order of the episode numbers."""
    return np.bincount(np.unique(episode, return_inverse=True)[1], weights=values)


def report(learned: Values, true: Values | None, episode: Episodes, after: Values) -> dict[str, Any]:
    """Return the range of the learned reward, and its correlation with the true one if that is known.

    `after` is the reward that follows each transition, 0 except at true ends. Only the returns of episodes include it.
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
    pairs = {} if true is None else {"transition": (learned, true), "episode": (returns, by_episode(true, episode))}
    for what, pair in pairs.items():
        facts |= {f"pearson_{what}": pearson(*pair), f"spearman_{what}": spearman(*pair)}
    return facts


def baselines(learned: Values, true: Values, episode: Episodes) -> dict[str, float | None]:
    """Return figures that show how much of a correlation by episode comes from the length of the episodes.

    `pearson_length` is the correlation of the number of steps with the true return. `pearson_mean` is that of the mean
    learned reward per step, without the rewards after an end.
    """
    earned, length = by_episode(true, episode), by_episode(np.ones(len(true)), episode)
    mean = by_episode(learned, episode) / length
    return {"pearson_length": pearson(length, earned), "pearson_mean": pearson(mean, earned)}


def in_absorbing_state(each: Values, episode: Episodes, terminal: Bool[np.ndarray, " n"], limit: int) -> Values:
    """Return the sum of the absorbing state's rewards from a true end to the time limit, `each` per step; 0 elsewhere.

    An episode that ended early then has as many rewards as one that lasted, so their undiscounted sums are comparable.
    """
    _, group, lengths = np.unique(episode, return_inverse=True, return_counts=True)
    return np.where(terminal, np.maximum(limit - lengths[group], 0) * each, 0.0)
