"""The agreement of figures with the true return, on small tables made by hand."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from iqlearn.benchmark.agreement import (
    LAST,
    MERITS,
    across,
    judge,
    judged,
    merit,
    picked,
    rank_correlation,
    replay_gap,
    trained,
    within,
)
from iqlearn.benchmark.grid import Cell
from iqlearn.benchmark.results import Evaluated

DISTANCE = merit("occupancy_distance")


def rows(returns, **columns):
    """Evaluations with these normalised returns and figures."""
    names = columns.keys()
    table = zip(returns, *columns.values(), strict=True)
    return [
        {"step": 10.0 * (i + 1), "normalised": row[0], **dict(zip(names, row[1:], strict=True))}
        for i, row in enumerate(table)
    ]


def cell(task, seed, evaluations, method="a"):
    return Evaluated(Cell(method, task, None, seed, {}), evaluations, {})


def test_evaluations_before_the_first_update_do_not_count():
    found = [{"step": 0, "normalised": 0.1}, {"step": 10, "updates": 0, "normalised": 0.2}]
    found += [{"step": 20, "updates": 5, "normalised": 0.3}, {"step": 30, "updates": 9, "normalised": None}]
    assert [row["step"] for row in trained(found)] == [20]


def test_correlation_is_one_if_a_figure_orders_evaluations_as_the_return_does():
    assert within(rows([0.1, 0.5, 0.9], occupancy_distance=[3.0, 2.0, 1.0]), DISTANCE) == pytest.approx(1.0)
    assert within(rows([0.1, 0.5, 0.9], occupancy_distance=[1.0, 2.0, 3.0]), DISTANCE) == pytest.approx(-1.0)
    likely = rows([0.1, 0.5, 0.9], held_out_log_likelihood=[-3.0, -2.0, -1.0])
    assert within(likely, merit("held_out_log_likelihood")) == pytest.approx(1.0), "more is better"
    # Ranks 1 2 3 4 and 2 1 4 3: 1 − 6·4/(4·15) = 0.6.
    assert within(rows([1.0, 2.0, 3.0, 4.0], occupancy_distance=[3.0, 4.0, 1.0, 2.0]), DISTANCE) == pytest.approx(0.6)


def test_too_few_missing_or_constant_values_give_no_correlation():
    assert within(rows([0.1, 0.5], occupancy_distance=[3.0, 2.0]), DISTANCE) is None
    assert within(rows([0.1, 0.5, 0.9], occupancy_distance=[2.0, None, float("nan")]), DISTANCE) is None
    assert within(rows([0.5, 0.5, 0.5], occupancy_distance=[3.0, 2.0, 1.0]), DISTANCE) is None
    assert within(rows([0.1, 0.2, 0.3]), DISTANCE) is None
    assert picked(rows([0.1, 0.2, 0.3]), DISTANCE) is None


def test_picked_evaluation_is_the_one_with_the_best_figure():
    found = rows([0.2, 0.9, 0.8, 0.4], occupancy_distance=[3.0, 1.5, 1.0, 2.0])
    assert picked(found, DISTANCE) == (0.8, 0.9, 0.4)
    assert picked(found, lambda row: 0.0) == (0.4, 0.9, 0.4), "the last of equals"
    hidden = rows([0.2, 0.9, 0.8, 0.4], occupancy_distance=[3.0, None, 1.0, 2.0])
    assert picked(hidden, DISTANCE) == (0.8, 0.8, 0.4), "evaluations without the figure are not there"


def test_replay_gap_is_visited_reward_minus_expert_reward():
    assert replay_gap({"expert_reward": 0.75, "visited_reward": -0.5}) == -1.25
    assert replay_gap({"expert_reward": 0.75}) == -np.inf
    assert replay_gap({"expert_reward": 0.75, "visited_reward": None}) == -np.inf


def test_correlation_across_runs_ranks_each_task_separately():
    """Tasks have different scales, so ranks over all tasks together would be different."""
    pairs = {"a": [(1.0, 0.1), (2.0, 0.2), (3.0, 0.3)], "b": [(100.0, 0.0), (200.0, 0.1), (300.0, 0.2)]}
    assert across(pairs).mean == pytest.approx(1.0)
    half = {"a": pairs["a"], "b": [(3.0, 0.0), (2.0, 0.1), (1.0, 0.2)], "few": [(0.0, 0.0), (1.0, 1.0)]}
    estimate, low, high = across(half)
    assert estimate == pytest.approx(0.0, abs=1e-12)
    assert low <= estimate <= high
    assert across({"few": [(0.0, 0.0), (1.0, 1.0)], "same": [(1.0, 0.0), (1.0, 1.0), (1.0, 2.0)]}) is None


def test_interval_of_the_correlation_across_runs_matches_fishers_formula():
    rng = np.random.default_rng(3)
    x = rng.normal(size=200)
    pairs = np.stack([x, x + rng.normal(size=200)], axis=1)
    estimate, low, high = across({"a": pairs.tolist()})
    assert estimate == pytest.approx(spearmanr(*pairs.T).statistic)
    # Fisher's z with the variance of Bonett and Wright for Spearman's correlation.
    error = 1.96 * np.sqrt((1 + estimate**2 / 2) / 197)
    wanted = np.tanh(np.arctanh(estimate) + np.array([-error, error]))
    assert (low, high) == pytest.approx(wanted, abs=0.04)


def test_rank_correlation_with_ties_matches_scipy():
    pairs = np.random.default_rng(0).integers(0, 4, size=(20, 7, 2)).astype(float)
    wanted = [spearmanr(*each.T).statistic for each in pairs]
    np.testing.assert_allclose(rank_correlation(pairs), wanted)


def test_judge_averages_each_figure_over_tasks():
    a = rows([0.2, 0.8, 0.4], occupancy_distance=[3.0, 1.0, 2.0])  # picks the best
    b = rows([0.6, 0.2, 0.4], occupancy_distance=[3.0, 1.0, 2.0])  # picks the worst
    cells = [cell("x", 0, a), cell("x", 1, a), cell("y", 0, b)]
    found = judge("occupancy_distance", DISTANCE, cells)
    assert found.runs == 3
    assert found.within.mean == pytest.approx(0.0), "the mean over tasks of 1 and −1"
    assert found.picked.mean == pytest.approx((0.8 + 0.2) / 2)
    assert found.regret.mean == pytest.approx((0.0 + 0.4) / 2)
    assert found.gain.mean == pytest.approx((0.4 - 0.2) / 2)
    assert found.across is None, "no task has three runs"
    assert math.isfinite(found.picked.low)
    assert math.isnan(judge("occupancy_distance", DISTANCE, cells[1:]).picked.low), "one run of each task: no interval"


def test_judged_omits_missing_figures_and_adds_the_last_evaluation():
    cells = [cell("x", seed, rows([0.2, 0.8, 0.4], occupancy_distance=[3.0, 1.0, 2.0])) for seed in range(3)]
    assert [one.name for one in judged(cells)] == ["occupancy_distance", LAST]
    last = judged(cells)[-1]
    assert (last.within, last.across) == (None, None)
    assert last.picked.mean == pytest.approx(0.4)
    assert last.regret.mean == pytest.approx(0.4)
    assert last.gain.mean == 0.0
    assert {"reward_gap", "held_out_log_likelihood", "replay_reward_gap"} <= MERITS.keys()
    assert judged([]) == []
