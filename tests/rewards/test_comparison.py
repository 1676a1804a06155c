"""Correlations and returns of a learned reward, on numbers computed by hand."""

import numpy as np
import pytest
from scipy import stats

from iqlearn.rewards.correlations import baselines, by_episode, in_absorbing_state, pearson, report, spearman


def test_correlations_match_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=50), rng.integers(0, 5, 50).astype(float)
    assert pearson(a, b) == pytest.approx(stats.pearsonr(a, b).statistic)
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)


@pytest.mark.parametrize("values", [np.zeros(0), np.zeros(1), np.zeros(3), np.full(7, 0.1, np.float32)])
def test_correlation_of_constant_or_empty_values_is_none(values) -> None:
    assert pearson(values, np.arange(len(values), dtype=float)) is None
    assert spearman(values, np.arange(len(values), dtype=float)) is None


def test_correlation_ignores_float64_rounding_but_not_the_smallest_float32_step() -> None:
    assert pearson(0.1 + 1e-16 * np.arange(9), np.arange(9.0)) is None
    values = np.ones(1_000, np.float32)
    values[3] = np.nextafter(np.float32(1), np.float32(2))
    assert pearson(values, (np.arange(1_000) == 3).astype(np.float32)) == pytest.approx(1.0)


def test_correlation_ignores_rows_of_zero_weight() -> None:
    """If the other rows are constant, there is no correlation, whatever the rows of weight 0 hold."""
    a, b, weights = np.array([1.0, 1.0, 5.0]), np.array([1.0, 2.0, 9.0]), np.array([1.0, 2.0, 0.0])
    assert pearson(a, b, weights) is None
    assert pearson(b, 3.0 - b, weights) == pytest.approx(-1.0)


def test_terminated_episode_continues_in_the_absorbing_state_up_to_the_limit() -> None:
    learned, episode = np.array([1.0, -2.0, 3.0, 4.0]), np.array([5, 5, 7, 7])
    terminal = np.array([False, True, False, False])  # the second episode was cut by its time limit
    after = in_absorbing_state(learned, episode, terminal, limit=6)
    assert after.tolist() == [0.0, 4 * -2.0, 0.0, 0.0]
    assert by_episode(learned + after, episode).tolist() == [-9.0, 7.0]
    facts = report(learned, np.array([0.0, 1.0, 2.0, 3.0]), episode, after)
    assert facts["pearson_episode"] == pytest.approx(1.0)
    assert (facts["episodes"], facts["mean"]) == (2, 1.5)
    assert in_absorbing_state(learned, episode, terminal, limit=0).tolist() == [0.0] * 4


def test_baselines_correlate_episode_length_and_mean_reward_with_the_return() -> None:
    learned, episode = np.array([3.0, 1.0, 1.0, 2.0, 2.0, 2.0]), np.array([0, 1, 1, 2, 2, 2])
    facts = baselines(learned, np.array([1.0, 1.0, 2.0, 2.0, 2.0, 2.0]), episode)
    assert facts["pearson_length"] == pytest.approx(pearson(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 6.0])))
    assert facts["pearson_mean"] == pytest.approx(pearson(np.array([3.0, 1.0, 2.0]), np.array([1.0, 3.0, 6.0])))
