"""Agreement of the reward-free figures with the true return: which evaluation each figure would have picked, and
whether it orders evaluations and runs as the return does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from iqlearn.benchmark.results import Evaluated, task_of
from iqlearn.evaluation.diagnostics import BETTER, misfit
from iqlearn.evaluation.statistics import LEVELS, RESAMPLES, Interval, estimate, mean
from iqlearn.rewards.correlations import spearman

LEAST = 3
"""The smallest number of evaluations of a run, or of runs of a task, for a correlation."""
LAST = "last evaluation"
"""The name of the baseline that always picks the last evaluation."""
Row = Mapping[str, Any]
Merit = Callable[[Row], float]
"""A function that scores an evaluation: higher is better, minus infinity where the figure is unknown."""


def replay_gap(row: Row) -> float:
    """Return the mean recovered reward of the learner's transitions in training minus that of the expert's.

    The reward of DAC is the logit of its discriminator, and that of CSIL is its coherent reward. Minus infinity where
    either mean is unknown.
    """
    expert, visited = row.get("expert_reward"), row.get("visited_reward")
    return -math.inf if expert is None or visited is None else visited - expert


def merit(name: str) -> Merit:
    """Return the function that scores an evaluation by a column of `metrics.csv`."""
    return lambda row: -misfit(dict(row), name)


MERITS: dict[str, Merit] = {**{name: merit(name) for name in BETTER}, "replay_reward_gap": replay_gap}
"""The figures by name. All are columns of `metrics.csv` but the last, which is the difference of two columns."""


class Picked(NamedTuple):
    """The normalised return of the evaluation that a figure picks in a run, beside the best and the last one."""

    value: float
    """The normalised return of the picked evaluation."""
    best: float
    """The highest normalised return among the evaluations that have the figure."""
    last: float
    """The normalised return of the last evaluation that has the figure."""


def trained(rows: Sequence[Row]) -> list[Row]:
    """Return the evaluations after the first update that have a normalised return."""
    return [row for row in rows if row.get("updates", row["step"]) and row["normalised"] is not None]


def known(rows: Sequence[Row], merit: Merit) -> list[tuple[float, float]]:
    """Return the pairs (figure, normalised return) of the trained evaluations whose figure is finite."""
    pairs = ((merit(row), row["normalised"]) for row in trained(rows))
    return [pair for pair in pairs if math.isfinite(pair[0])]


def within(rows: Sequence[Row], merit: Merit) -> float | None:
    """Return Spearman's correlation of a figure with the true return over the evaluations of a run.

    1: the figure orders the evaluations as the true return does. None with fewer than three evaluations, or where the
    figure or the return is constant.
    """
    pairs = known(rows, merit)
    return spearman(*np.transpose(pairs)) if len(pairs) >= LEAST else None


def picked(rows: Sequence[Row], merit: Merit) -> Picked | None:
    """Return the evaluation that a figure picks, the latest one on ties; None where no evaluation has the figure."""
    pairs = known(rows, merit)
    if not pairs:
        return None
    _, value = max(reversed(pairs), key=lambda pair: pair[0])
    return Picked(value, max(earned for _, earned in pairs), pairs[-1][1])


def across(pairs: Mapping[str, Sequence[tuple[float, float]]]) -> Interval | None:
    """Return Spearman's correlation over the runs of a task, averaged over tasks, with its bootstrap interval.

    The bootstrap draws runs within each task. Draws in which one side is constant do not count.

    Args:
        pairs: for each task, two numbers of each run.

    Returns:
        The mean and its interval; None where no task has at least three runs in which both numbers vary.
    """
    sides = [np.asarray(each, np.float64) for each in pairs.values() if len(each) >= LEAST]
    sides = [each for each in sides if (np.ptp(each, axis=0) > 0.0).all()]
    if not sides:
        return None
    rng = np.random.default_rng(0)
    drawn = [each[rng.integers(len(each), size=(RESAMPLES, len(each)))] for each in sides]
    with np.errstate(invalid="ignore"):
        found = np.array([rank_correlation(each) for each in drawn])
    there = np.isfinite(found)
    means = np.sum(np.where(there, found, 0.0), axis=0) / np.maximum(there.sum(axis=0), 1)
    low, high = np.quantile(means[there.any(axis=0)], LEVELS)
    return Interval(float(np.mean([rank_correlation(each[None])[0] for each in sides])), float(low), float(high))


def rank_correlation(pairs: Float[np.ndarray, "draws n 2"]) -> Float[np.ndarray, " draws"]:
    """Return Spearman's correlation of each draw; NaN where one side is constant."""
    ranks = rankdata(pairs, axis=1)
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    return (centred[..., 0] * centred[..., 1]).sum(axis=1) / np.sqrt((centred**2).sum(axis=1).prod(axis=1))


class Judged(NamedTuple):
    """The agreement of one figure with the true return. Averaged over the runs of each task, then over tasks."""

    name: str
    runs: int
    """Number of runs that have the figure."""
    within: Interval | None
    """Correlation over the evaluations of a run."""
    across: Interval | None
    """Correlation over the last evaluations of the runs of a task."""
    picked: Interval | None
    """Normalised return of the picked evaluation."""
    regret: Interval | None
    """Normalised return of the best evaluation minus that of the picked one."""
    gain: Interval | None
    """Normalised return of the picked evaluation minus that of the last one."""


def judge(name: str, merit: Merit, cells: Sequence[Evaluated]) -> Judged:
    """Return how well a figure agrees with the true return in these runs."""
    runs = [(task_of(cell), cell.rows) for cell in cells]
    picks = [(task, picked(rows, merit)) for task, rows in runs]
    ends: dict[str, list[tuple[float, float]]] = {}
    for task, rows in runs:
        final = trained(rows)[-1:]
        if pair := known(final, merit):
            ends.setdefault(task, []).append(pair[0])
    return Judged(
        name,
        sum(one is not None for _, one in picks),
        over(within_runs(cells, merit)),
        across(ends),
        over(by_task((task, None if one is None else one.value) for task, one in picks)),
        over(by_task((task, None if one is None else one.best - one.value) for task, one in picks)),
        over(by_task((task, None if one is None else one.value - one.last) for task, one in picks)),
    )


def within_runs(cells: Sequence[Evaluated], merit: Merit) -> dict[str, list[float]]:
    """Return for each task the correlations within its runs, without the unknown ones."""
    return by_task((task_of(cell), within(cell.rows, merit)) for cell in cells)


def judged(cells: Sequence[Evaluated]) -> list[Judged]:
    """Return the agreement of each figure that at least one run has, and last that of the baseline `LAST`."""
    each = [judge(name, merit, cells) for name, merit in MERITS.items()]
    constant = judge(LAST, lambda row: 0.0, cells)
    return [one for one in (*each, constant) if one.picked is not None]


def by_task(values: Iterable[tuple[str, float | None]]) -> dict[str, list[float]]:
    """Group the values by task, without those that are None."""
    found: dict[str, list[float]] = {}
    for task, value in values:
        if value is not None:
            found.setdefault(task, []).append(value)
    return found


def over(values: Mapping[str, Sequence[float]]) -> Interval | None:
    """Return the mean over tasks of the mean over runs, with an interval if a task has several; None without values."""
    return estimate(values, mean) if values else None
