"""The mathematics of coherent soft imitation learning: its reward makes the clone optimal, and losses by hand."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.scipy.stats import norm

from iqlearn.objectives import soft_value
from iqlearn.objectives.coherent import coherent_reward, normal_kl, refinement_loss

ACTIONS = jnp.linspace(-8.0, 8.0, 4001)
WIDTH = float(ACTIONS[1] - ACTIONS[0])


@pytest.mark.parametrize("dimensions", [1, 4])
def test_clone_is_soft_optimal_for_its_reward_and_every_state_has_value_zero(dimensions):
    """π ∝ p·exp(r/α) = q, and V = α·log E_p[exp(r/α)] = 0, with α = 1/dim(A)."""
    alpha = 1.0 / dimensions
    log_clone, log_prior = norm.logpdf(ACTIONS, 0.4, 0.3), norm.logpdf(ACTIONS)
    reward = coherent_reward(log_clone, log_prior, dimensions)
    value = soft_value(reward + alpha * (log_prior + jnp.log(WIDTH)), alpha)
    assert float(value) == pytest.approx(0.0, abs=1e-4)
    policy = jnp.exp(log_prior + (reward - value) / alpha)
    np.testing.assert_allclose(policy, jnp.exp(log_clone), atol=1e-4)


def test_reward_is_zero_where_the_clone_is_the_prior():
    log_prior = norm.logpdf(ACTIONS)
    np.testing.assert_array_equal(coherent_reward(log_prior, log_prior, 2), 0.0)


def test_refinement_loss_matches_the_hand_computed_value():
    expert, visited = jnp.array([1.0, 3.0]), jnp.array([0.0, 0.5, 1.0])
    assert float(refinement_loss(expert, visited, jnp.float32(0.2), 5.0)) == pytest.approx(0.5 - 2.0 + 1.0)


def test_kl_of_normals_is_the_mean_log_ratio():
    mean, log_std = jnp.array([[0.5, -1.0]]), jnp.log(jnp.array([[0.5, 2.0]]))
    other, other_log_std = jnp.array([[0.0, 0.3]]), jnp.log(jnp.array([[1.5, 0.7]]))
    drawn = mean + jnp.exp(log_std) * jr.normal(jr.key(0), (200_000, 2))
    ratio = norm.logpdf(drawn, mean, jnp.exp(log_std)) - norm.logpdf(drawn, other, jnp.exp(other_log_std))
    found = normal_kl(mean, log_std, other, other_log_std)
    assert float(found[0]) == pytest.approx(float(ratio.sum(axis=1).mean()), rel=0.01)
    assert float(normal_kl(mean, log_std, mean, log_std)[0]) == pytest.approx(0.0, abs=1e-6)
