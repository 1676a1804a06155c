"""The interval of a mean."""

import numpy as np
import pytest

from iqlearn.evaluation.statistics import mean_interval


def test_the_interval_is_about_two_standard_errors_of_a_large_sample():
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    mean, low, high = mean_interval(values)
    error = 1.96 * values.std() / 20
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((mean - error, mean + error), abs=0.02)


def test_one_value_and_equal_values_have_no_width():
    assert mean_interval([4.0]) == (4.0, 4.0, 4.0)
    assert mean_interval([2.0, 2.0]) == (2.0, 2.0, 2.0)


def test_it_repeats_and_stays_within_the_values():
    interval = mean_interval([1.0, 2.0, 10.0])
    assert interval == mean_interval(np.array([1.0, 2.0, 10.0]))
    assert 1.0 <= interval.low < interval.mean < interval.high <= 10.0


def test_it_holds_the_mean_nearly_as_often_as_it_says():
    rng = np.random.default_rng(1)
    intervals = [mean_interval(rng.normal(size=20)) for _ in range(200)]
    assert 0.88 < np.mean([interval.low <= 0.0 <= interval.high for interval in intervals]) < 0.99
