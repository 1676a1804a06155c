"""Aggregates over tasks and seeds, with their intervals, and comparisons of methods."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, trim_mean

from iqlearn.evaluation.statistics import (
    AGGREGATES,
    interval,
    mean_interval,
    performance_profile,
    probability_of_improvement,
)


def test_interval_of_a_large_sample_is_mean_plus_minus_1_96_standard_errors():
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    mean, low, high = mean_interval(values)
    error = 1.96 * values.std() / 20
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((mean - error, mean + error), abs=0.02)


def test_interval_of_one_or_equal_values_has_zero_width():
    assert mean_interval([4.0]) == (4.0, 4.0, 4.0)
    assert mean_interval([2.0, 2.0]) == (2.0, 2.0, 2.0)


def test_interval_is_deterministic_and_within_the_values():
    found = mean_interval([1.0, 2.0, 10.0])
    assert found == mean_interval(np.array([1.0, 2.0, 10.0]))
    assert 1.0 <= found.low < found.mean < found.high <= 10.0


def test_interval_covers_the_mean_at_about_its_nominal_rate():
    rng = np.random.default_rng(1)
    found = [mean_interval(rng.normal(size=20)) for _ in range(200)]
    assert 0.88 < np.mean([one.low <= 0.0 <= one.high for one in found]) < 0.99


SMALL = {"a": [0.1, 0.9, 0.5, 1.3], "b": [0.0, 1.0, 2.0, 0.6], "c": [0.7, 0.7, 0.8, 0.2]}


def test_aggregates_match_values_by_hand_and_scipy():
    """A quarter of 12 runs is 3: of the sorted scores 0 .1 .2 | .5 .6 .7 .7 .8 .9 | 1 1.3 2 the middle ones count."""
    runs = np.concatenate([*SMALL.values()])
    found = {name: interval(SMALL, aggregate).mean for name, aggregate in AGGREGATES.items()}
    assert found["iqm"] == pytest.approx((0.5 + 0.6 + 0.7 + 0.7 + 0.8 + 0.9) / 6)
    assert found["iqm"] == pytest.approx(trim_mean(runs, 0.25))
    assert found["mean"] == pytest.approx(runs.mean())
    assert found["median"] == pytest.approx(0.7), "of the tasks' means 0.7, 0.9 and 0.6"
    assert found["optimality gap"] == pytest.approx((1.0 + 0.9 + 0.8 + 0.5 + 0.4 + 0.3 + 0.3 + 0.2 + 0.1) / 12)


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_iqm_matches_scipy_trim_mean(tasks, seeds, seed):
    scores = {str(i): np.random.default_rng(seed + i).normal(size=seeds) for i in range(tasks)}
    wanted = trim_mean(np.concatenate([*scores.values()]), 0.25)
    assert interval(scores, AGGREGATES["iqm"]).mean == pytest.approx(wanted)


def test_bootstrap_resamples_seeds_within_tasks():
    """Different tasks with equal seeds have an interval of zero width."""
    apart = {"easy": [1.0, 1.0, 1.0], "hard": [0.0, 0.0, 0.0]}
    for aggregate in AGGREGATES.values():
        estimate, low, high = interval(apart, aggregate)
        assert low == estimate == high


def test_performance_profile_is_the_share_of_runs_above_each_score():
    share = performance_profile(SMALL, np.array([-1.0, 0.65, 2.0]))
    assert share.tolist() == pytest.approx([1.0, 7 / 12, 0.0])


def test_probability_of_improvement_matches_mann_whitney():
    ours, theirs = {"a": [0.2, 0.9, 0.9], "b": [1.0, 2.0], "ours": [9.0]}, {"a": [0.1, 0.9], "b": [3.0, 1.0, 0.0]}
    estimate, low, high = probability_of_improvement(ours, theirs)
    by_task = [mannwhitneyu(ours[task], theirs[task]).statistic / 6 for task in ("a", "b")]
    assert estimate == pytest.approx(np.mean(by_task))
    assert 0.0 <= low < estimate < high <= 1.0
    assert probability_of_improvement(SMALL, SMALL).mean == pytest.approx(0.5)
    assert probability_of_improvement({"a": [2.0]}, {"a": [1.0]}) == (1.0, 1.0, 1.0)
