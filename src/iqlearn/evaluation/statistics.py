"""Statistics of a few runs, as Agarwal et al. recommend them (NeurIPS 2021, "Deep RL at the edge of the statistical
precipice"): aggregates over tasks and seeds with stratified bootstrap intervals, profiles, and comparisons of methods.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

RESAMPLES = 10_000
LEVELS = 0.025, 0.975
"""The quantiles of a 95 % interval."""
Values = Sequence[float] | Float[np.ndarray, " _"]
Scores = Mapping[str, Values]
"""The scores of a method, for instance normalised returns: task → one score for each seed."""
Drawn = list[Float[np.ndarray, "draws _"]]
"""Scores of each task, a row for each resample."""
Aggregate = Callable[[Drawn], Float[np.ndarray, " draws"]]


class Interval(NamedTuple):
    """An estimate with its 95 % confidence interval. The limits are NaN where they were not computed."""

    mean: float
    low: float = math.nan
    high: float = math.nan


def mean_interval(values: Values) -> Interval:
    """Return the mean and its 95 % percentile bootstrap interval (Efron, 1979), the same in every call.

    The interval of a single value has zero width: its spread is unknown.
    """
    return interval({"": values}, mean)


def interval(scores: Scores, aggregate: Aggregate) -> Interval:
    """Return an aggregate over tasks and seeds with its interval. Seeds are drawn within each task (section 4.1)."""
    low, high = np.quantile(aggregate(resampled(scores)), LEVELS)
    return Interval(_value(scores, aggregate), float(low), float(high))


def estimate(scores: Scores, aggregate: Aggregate) -> Interval:
    """Return an aggregate over tasks and seeds with its interval, or alone if each task has one run: the spread over
    seeds is unknown then."""
    if any(len(runs) > 1 for runs in scores.values()):
        return interval(scores, aggregate)
    return Interval(_value(scores, aggregate))


def _value(scores: Scores, aggregate: Aggregate) -> float:
    return float(aggregate(as_they_are(scores))[0])


def as_they_are(scores: Scores) -> Drawn:
    """Return the scores as a single resample."""
    return [np.asarray(values, np.float64)[None] for values in scores.values()]


def resampled(scores: Scores, stream: int = 0) -> Drawn:
    """Return scores drawn with replacement within each task. Different values of `stream` draw independently."""
    rng = np.random.default_rng(stream)
    known = [np.asarray(values, np.float64) for values in scores.values()]
    return [values[rng.integers(len(values), size=(RESAMPLES, len(values)))] for values in known]


def mean(tasks: Drawn) -> Float[np.ndarray, " draws"]:
    """Return the mean over tasks of the mean over seeds."""
    return np.mean([scores.mean(axis=1) for scores in tasks], axis=0)


def median(tasks: Drawn) -> Float[np.ndarray, " draws"]:
    """Return the median over tasks of the mean over seeds."""
    return np.median([scores.mean(axis=1) for scores in tasks], axis=0)


def interquartile_mean(tasks: Drawn) -> Float[np.ndarray, " draws"]:
    """Return the mean of the middle half of all runs. A quarter, rounded down, is left out on either side."""
    runs = np.sort(np.concatenate(tasks, axis=1), axis=1)
    cut = runs.shape[1] // 4
    return runs[:, cut : runs.shape[1] - cut].mean(axis=1)


def optimality_gap(tasks: Drawn) -> Float[np.ndarray, " draws"]:
    """Return the mean distance of runs below 1, the expert's score. Scores above 1 count as 1."""
    return np.maximum(1.0 - np.concatenate(tasks, axis=1), 0.0).mean(axis=1)


AGGREGATES: dict[str, Aggregate] = {
    "iqm": interquartile_mean,
    "median": median,
    "mean": mean,
    "optimality gap": optimality_gap,
}


def performance_profile(
    scores: Scores, thresholds: Float[np.ndarray, " thresholds"]
) -> Float[np.ndarray, " thresholds"]:
    """Return the score distribution of a method (section 4.2): for each threshold, the share of all runs above it."""
    runs = np.concatenate(as_they_are(scores), axis=1)
    return (runs > thresholds[:, None]).mean(axis=1)


def probability_of_improvement(ours: Scores, theirs: Scores) -> Interval:
    """Return the probability that a run of ours is better than one of theirs, as the mean over their common tasks.

    Ties count half.
    """
    common = [task for task in ours if task in theirs]
    sides = [{task: side[task] for task in common} for side in (ours, theirs)]

    def better(a: Drawn, b: Drawn) -> Float[np.ndarray, " draws"]:
        return np.mean([wins(x, y) for x, y in zip(a, b, strict=True)], axis=0)

    low, high = np.quantile(better(resampled(sides[0]), resampled(sides[1], 1)), LEVELS)
    return Interval(float(better(*map(as_they_are, sides))[0]), float(low), float(high))


def wins(a: Float[np.ndarray, "draws n"], b: Float[np.ndarray, "draws m"]) -> Float[np.ndarray, " draws"]:
    """Return the share of pairs in which a is greater; ties count half.

    This is Mann and Whitney's U, divided by the number of pairs.
    """
    greater: Bool[np.ndarray, "draws n m"] = a[:, :, None] > b[:, None, :]
    equal: Bool[np.ndarray, "draws n m"] = a[:, :, None] == b[:, None, :]
    return (greater + 0.5 * equal).mean(axis=(1, 2))
