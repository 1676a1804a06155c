"""The penalty that keeps Q near Lipschitz: one-sided, and zero up to the constant."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iqlearn.objectives import steepness

GRADIENT = jnp.array([[[3.0, 4.0], [0.6, 0.8]], [[0.0, 0.0], [0.0, -2.0]]])
"""Two members, two rows; norms 5, 1, 0 and 2."""


@pytest.mark.parametrize(("lipschitz", "expected"), [(1.0, (16 + 1) / 4), (2.0, 9 / 4), (5.0, 0.0), (0.5, 22.75 / 4)])
def test_values_by_hand(lipschitz, expected):
    assert float(steepness(GRADIENT, lipschitz)) == pytest.approx(expected, abs=1e-6)


def test_penalty_pulls_back_only_steep_rows_and_is_finite_for_a_zero_gradient():
    pull = np.asarray(jax.grad(steepness)(GRADIENT))
    assert np.isfinite(pull).all()
    assert pull[0, 0] @ [3.0, 4.0] > 0.0
    assert not np.any(pull[0, 1])
    assert not np.any(pull[1, 0])
