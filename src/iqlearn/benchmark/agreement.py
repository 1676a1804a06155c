"""How far figures that read no reward agree with the true return: which evaluation each would have picked, and whether
it orders evaluations and runs as the return does.
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
from iqlearn.evaluation.statistics import LEVELS, RESAMPLES, Interval, interval, mean
from iqlearn.rewards.correlations import spearman

LEAST = 3
"""Evaluations of a run, or runs of a task, that a correlation takes at least."""
LAST = "last evaluation"
"""The choice without any figure."""
Row = Mapping[str, Any]
Merit = Callable[[Row], float]
"""How good an evaluation seems: more is better, minus infinity where it is unknown."""


def replay_gap(row: Row) -> float:
    """Minus the mean reward of the expert's rows in training, less that of the learner's."""
    expert, visited = row.get("expert_reward"), row.get("visited_reward")
    return -math.inf if expert is None or visited is None else visited - expert


def merit(name: str) -> Merit:
    """That of a column of `metrics.csv`."""
    return lambda row: -misfit(dict(row), name)


MERITS: dict[str, Merit] = {**{name: merit(name) for name in BETTER}, "replay_reward_gap": replay_gap}
"""The figures by name, those of `metrics.csv` first. The last one is the difference of two columns."""


class Picked(NamedTuple):
    """The normalised return of the evaluation that a figure picks in a run."""

    value: float
    best: float
    """That of the best evaluation, as far as the figure is known."""
    last: float
    """That of the last one."""


def trained(rows: Sequence[Row]) -> list[Row]:
    """The evaluations after the first update that have a normalised return."""
    return [row for row in rows if row.get("updates", row["step"]) and row["normalised"] is not None]


def known(rows: Sequence[Row], merit: Merit) -> list[tuple[float, float]]:
    """What a figure says of each evaluation, and its normalised return, where it is known."""
    pairs = ((merit(row), row["normalised"]) for row in trained(rows))
    return [pair for pair in pairs if math.isfinite(pair[0])]


def within(rows: Sequence[Row], merit: Merit) -> float | None:
    """Spearman's correlation over the evaluations of a run; none with fewer than three, or where one side is constant.

    1: the figure orders them as the true return does.
    """
    pairs = known(rows, merit)
    return spearman(*np.transpose(pairs)) if len(pairs) >= LEAST else None


def picked(rows: Sequence[Row], merit: Merit) -> Picked | None:
    """The evaluation that a figure picks, the later one of equals; none where it is unknown in the whole run."""
    pairs = known(rows, merit)
    if not pairs:
        return None
    _, value = max(reversed(pairs), key=lambda pair: pair[0])
    return Picked(value, max(earned for _, earned in pairs), pairs[-1][1])


def across(pairs: Mapping[str, Sequence[tuple[float, float]]]) -> Interval | None:
    """Spearman's correlation over the runs of a task, its mean over tasks, and its interval: runs are drawn within each
    task.

    Args:
        pairs: of each task two numbers of each run.

    Returns:
        None where no task has three runs whose numbers differ.
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
    """Spearman's correlation of each draw; NaN where one side is constant."""
    ranks = rankdata(pairs, axis=1)
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    return (centred[..., 0] * centred[..., 1]).sum(axis=1) / np.sqrt((centred**2).sum(axis=1).prod(axis=1))


class Judged(NamedTuple):
    """What one figure is worth, over all runs. Means are over tasks, and in these over runs."""

    name: str
    runs: int
    """Runs that have it."""
    within: Interval | None
    across: Interval | None
    picked: Interval | None
    regret: Interval | None
    """How much lower the return of the picked evaluation is than that of the best one."""
    gain: Interval | None
    """How much higher it is than that of the last one."""


def judge(name: str, merit: Merit, cells: Sequence[Evaluated]) -> Judged:
    """What a figure is worth in these runs."""
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
    """The correlation within each run, by task."""
    return by_task((task_of(cell), within(cell.rows, merit)) for cell in cells)


def judged(cells: Sequence[Evaluated]) -> list[Judged]:
    """What each figure is worth that at least one run has, and after them the choice of the last evaluation."""
    each = [judge(name, merit, cells) for name, merit in MERITS.items()]
    constant = judge(LAST, lambda row: 0.0, cells)
    return [one for one in (*each, constant) if one.picked is not None]


def by_task(values: Iterable[tuple[str, float | None]]) -> dict[str, list[float]]:
    """Numbers by task, without those that are unknown."""
    found: dict[str, list[float]] = {}
    for task, value in values:
        if value is not None:
            found.setdefault(task, []).append(value)
    return found


def over(values: Mapping[str, Sequence[float]]) -> Interval | None:
    """The mean over tasks with its interval; none without values."""
    return interval(values, mean) if values else None
