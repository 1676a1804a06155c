"""Which way the figures of an evaluation point."""

import math

import pytest

from iqlearn.evaluation.diagnostics import BETTER, CHOSEN_BY, misfit


@pytest.mark.parametrize("name", BETTER)
def test_less_misfit_is_better(name):
    better, worse = sorted(({name: 0.2}, {name: 0.7}), key=lambda row: -BETTER[name] * row[name])
    assert misfit(better, name) < misfit(worse, name)


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_unknown_or_not_finite_is_never_chosen(value):
    assert misfit({CHOSEN_BY: value}) == math.inf
    assert misfit({}) == math.inf
