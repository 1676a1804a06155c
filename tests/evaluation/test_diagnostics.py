"""Whether a higher or a lower value of an evaluation figure is better."""

import math

import pytest

from iqlearn.evaluation.diagnostics import BETTER, CHOSEN_BY, misfit


@pytest.mark.parametrize("name", BETTER)
def test_better_figures_have_a_smaller_misfit(name):
    better, worse = sorted(({name: 0.2}, {name: 0.7}), key=lambda row: -BETTER[name] * row[name])
    assert misfit(better, name) < misfit(worse, name)


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_missing_or_nonfinite_figures_have_infinite_misfit(value):
    assert misfit({CHOSEN_BY: value}) == math.inf
    assert misfit({}) == math.inf
