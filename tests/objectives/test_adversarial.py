"""The losses of a discriminator, by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from iqlearn.objectives.adversarial import discrimination_loss, slope_loss


def test_the_loss_is_the_weighted_cross_entropy_of_both_sides():
    expert, visited = jnp.array([0.0, 2.0, 9.0]), jnp.array([-1.0, 5.0])
    weights = jnp.array([1.0, 1.0, 0.0]), jnp.array([3.0, 1.0])
    of_expert = 0.5 * (np.log(2.0) + np.log1p(np.exp(-2.0)))
    of_visited = 0.75 * np.log1p(np.exp(-1.0)) + 0.25 * np.log1p(np.exp(5.0))
    assert float(discrimination_loss(expert, visited, *weights)) == pytest.approx(of_expert + of_visited, rel=1e-5)


def test_slope_penalty_is_two_sided_around_norm_one():
    gradient = jnp.array([[3.0, 4.0], [0.0, 0.0], [0.6, 0.8]])
    assert float(slope_loss(gradient)) == pytest.approx((16.0 + 1.0 + 0.0) / 3.0, rel=1e-4)
