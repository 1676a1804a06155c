"""The tanh-Gaussian: a density on (−1, 1), exact where it can be and finite everywhere."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from iqlearn.models import distributions
from iqlearn.models.distributions import EDGE, LOG_STD_MAX, LOG_STD_MIN


def column(*numbers: float) -> jax.Array:
    return jnp.array(numbers, jnp.float32)[:, None]


def log_prob_at(unit: np.ndarray, mean: float, log_std: float) -> np.ndarray:
    rows = jnp.asarray(unit, jnp.float32)[:, None]
    return np.asarray(distributions.log_prob(jnp.full_like(rows, mean), jnp.full_like(rows, log_std), rows))


@pytest.mark.parametrize(("mean", "log_std"), [(0.0, -1.5), (0.7, -0.5), (-1.0, -2.0)])
def test_the_density_integrates_to_one_over_the_open_interval(mean, log_std):
    """In the coordinate before the tanh, where the integrand is smooth: ∫ p(tanh u)·(1 − tanh²u) du."""
    edge = np.arctanh(EDGE)
    u = np.linspace(-edge, edge, 4001)
    density = np.exp(log_prob_at(np.tanh(u), mean, log_std)) / np.cosh(u) ** 2
    assert np.trapezoid(density, u) == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize(("mean", "log_std"), [(0.0, -1.5), (0.7, -0.5)])
@pytest.mark.parametrize(("a", "b"), [(-0.5, 0.2), (0.1, 0.9)])
def test_the_density_is_that_of_the_pushed_forward_normal(mean, log_std, a, b):
    """P(a < action < b) from the density, and from the normal distribution before the tanh."""
    total = quad(lambda x: float(np.exp(log_prob_at(np.array([x]), mean, log_std)[0])), a, b, limit=20, epsabs=1e-4)[0]
    gauss = norm(mean, np.exp(log_std))
    assert total == pytest.approx(gauss.cdf(np.arctanh(b)) - gauss.cdf(np.arctanh(a)), abs=1e-3)


def test_a_sample_tells_its_own_density():
    mean, log_std = 0.3 * jr.normal(jr.key(0), (500, 3)), jnp.full((500, 3), -1.5)
    unit, density = distributions.sample(mean, log_std, jr.key(1))
    inside = np.abs(np.asarray(unit)).max(axis=1) < 0.99
    assert inside.mean() > 0.9
    given = distributions.log_prob(mean, log_std, unit)
    np.testing.assert_allclose(density[inside], given[inside], atol=5e-3)


def test_samples_are_tanh_of_a_normal():
    unit, _ = distributions.sample(jnp.full((20_000, 1), 0.4), jnp.full((20_000, 1), -1.0), jr.key(2))
    before = np.arctanh(np.asarray(unit, np.float64))
    assert before.mean() == pytest.approx(0.4, abs=0.02)
    assert before.std() == pytest.approx(np.exp(-1.0), abs=0.02)


def test_dimensions_are_independent():
    mean, log_std = jnp.array([[0.3, -0.7]]), jnp.array([[-1.0, 0.5]])
    unit = jnp.array([[0.2, -0.4]])
    each = [distributions.log_prob(*(x[:, i : i + 1] for x in (mean, log_std, unit)))[0] for i in range(2)]
    assert float(distributions.log_prob(mean, log_std, unit)[0]) == pytest.approx(float(sum(each)), abs=1e-5)


@pytest.mark.parametrize("unit", [-1.0, 1.0, 0.999999, 0.0])
@pytest.mark.parametrize("mean", [0.0, -1e3, 1e3])
def test_value_and_gradients_are_finite_at_the_bounds_and_for_huge_means(unit, mean):
    def value(mean, log_std, unit):
        return distributions.log_prob(mean, log_std, unit)[0]

    for log_std in (LOG_STD_MIN, LOG_STD_MAX):
        arguments = column(mean), column(log_std), column(unit)
        result, gradients = jax.value_and_grad(value, argnums=(0, 1, 2))(*arguments)
        assert np.isfinite(result)
        assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("mean", [0.0, -1e3, 1e3])
def test_a_sample_of_a_huge_mean_is_in_bounds_with_a_finite_density_and_gradients(mean):
    def density(mean, log_std):
        unit, log_prob = distributions.sample(mean, log_std, jr.key(3))
        return log_prob.sum() + unit.sum(), unit

    gradients, unit = jax.grad(density, argnums=(0, 1), has_aux=True)(jnp.full((50, 2), mean), jnp.zeros((50, 2)))
    assert np.abs(unit).max() <= 1.0
    assert all(np.isfinite(g).all() for g in gradients)


def test_recorded_actions_at_the_bound_pull_the_mean_outwards():
    slope = jax.grad(lambda m: distributions.log_prob(m, column(-1.0), column(1.0))[0])(column(0.0))
    assert float(slope[0, 0]) > 0.0


def test_log_slope_is_exact():
    """log(1 − tanh²u) = −2·log cosh u, which the naive form loses where tanh u rounds to ±1."""
    u = np.linspace(-40.0, 40.0, 161)
    exact = -2.0 * (np.logaddexp(u, -u) - np.log(2.0))
    np.testing.assert_allclose(distributions.log_slope(jnp.asarray(u, jnp.float32)[:, None])[:, 0], exact, atol=2e-5)


def test_split_keeps_the_mean_and_squashes_the_deviation_into_its_range():
    outputs = jnp.array([[3.0, -50.0, -1e9, 0.0], [0.0, 0.0, 1e9, 1.0]])
    mean, log_std = distributions.split(outputs)
    np.testing.assert_array_equal(mean, outputs[:, :2])
    assert float(log_std.min()) == LOG_STD_MIN
    assert float(log_std.max()) == LOG_STD_MAX
    assert float(log_std[0, 1]) == pytest.approx((LOG_STD_MIN + LOG_STD_MAX) / 2)
