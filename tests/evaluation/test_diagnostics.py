"""Whether a higher or a lower value of an evaluation figure is better."""

import math

import pytest

from iqlearn.evaluation.diagnostics import BETTER, CHOSEN_BY, misfit
from iqlearn.training import guard


@pytest.mark.parametrize("name", BETTER)
def test_better_figures_have_a_smaller_misfit(name):
    better, worse = sorted(({name: 0.2}, {name: 0.7}), key=lambda row: -BETTER[name] * row[name])
    assert misfit(better, name) < misfit(worse, name)


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_missing_or_nonfinite_figures_have_infinite_misfit(value):
    assert misfit({CHOSEN_BY: value}) == math.inf
    assert misfit({}) == math.inf


@pytest.mark.parametrize("figure", [{CHOSEN_BY: value} for value in (None, math.nan, math.inf, -math.inf)] + [{}])
def test_evaluations_with_missing_or_nonfinite_figures_are_never_chosen(figure):
    """Whether they are the first, the last or the pretrained one."""
    for first in (0, 1):
        unknown = [{"step": 10 * i, "updates": 10 * i} | figure for i in range(first, first + 4)]
        assert guard.best(unknown, noise=0.01) is None
        for i in range(4):
            rows = [*unknown]
            rows[i] = rows[i] | {CHOSEN_BY: 0.5}
            assert guard.best(rows, noise=0.01) == i
