"""The Gaussian in [−1, 1], clipped or under tanh: a distribution, exact where it can be and finite everywhere."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from iqlearn.networks import distributions
from iqlearn.networks.distributions import EDGE, LOG_STD_MAX, LOG_STD_MIN, ClippedGaussian, TanhGaussian

LIMITS = jnp.array([[-1.0], [1.0]])
BOTH = pytest.mark.parametrize("kind", [ClippedGaussian, TanhGaussian])


def column(*numbers: float) -> jax.Array:
    return jnp.array(numbers, jnp.float32)[:, None]


@eqx.filter_jit
def call(policy, name: str, *arguments: jax.Array):
    """A method of the policy, compiled."""
    return getattr(policy, name)(*arguments)


def log_prob_at(kind, unit: np.ndarray, mean: float, log_std: float) -> np.ndarray:
    rows = jnp.asarray(unit, jnp.float32)[:, None]
    return np.asarray(call(kind(jnp.full_like(rows, mean), jnp.full_like(rows, log_std), LIMITS), "log_prob", rows))


@pytest.mark.parametrize(("mean", "log_std"), [(0.0, -1.5), (0.7, -0.5), (-1.0, -2.0)])
def test_the_density_under_tanh_integrates_to_one_over_the_open_interval(mean, log_std):
    """In the coordinate before the tanh, where the integrand is smooth: ∫ p(tanh u)·(1 − tanh²u) du."""
    edge = np.arctanh(EDGE)
    u = np.linspace(-edge, edge, 4001)
    density = np.exp(log_prob_at(TanhGaussian, np.tanh(u), mean, log_std)) / np.cosh(u) ** 2
    assert np.trapezoid(density, u) == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize(("mean", "log_std"), [(0.0, -1.5), (0.7, -0.5), (-1.4, -1.0), (0.0, 1.0)])
def test_clipped_density_inside_and_mass_at_the_bounds_sum_to_one(mean, log_std):
    u = np.linspace(-1.0, 1.0, 4001)[1:-1]
    inside = np.trapezoid(np.exp(log_prob_at(ClippedGaussian, u, mean, log_std)), u)
    bounds = np.exp(log_prob_at(ClippedGaussian, np.array([-1.0, 1.0]), mean, log_std))
    gauss = norm(mean, np.exp(log_std))
    np.testing.assert_allclose(bounds, [gauss.cdf(-1.0), gauss.sf(1.0)], rtol=1e-4)
    assert inside + bounds.sum() == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize(("mean", "log_std"), [(0.0, -1.5), (0.7, -0.5)])
@pytest.mark.parametrize(("a", "b"), [(-0.5, 0.2), (0.1, 0.9)])
@pytest.mark.parametrize(("kind", "before"), [(TanhGaussian, np.arctanh), (ClippedGaussian, lambda a: a)])
def test_density_matches_the_pushed_forward_normal(kind, before, mean, log_std, a, b):
    """P(a < action < b) from the density, and from the normal distribution before the squash."""

    def density(x: float) -> float:
        return float(np.exp(log_prob_at(kind, np.array([x]), mean, log_std)[0]))

    gauss = norm(mean, np.exp(log_std))
    expected = gauss.cdf(before(b)) - gauss.cdf(before(a))
    assert quad(density, a, b, limit=20, epsabs=1e-4)[0] == pytest.approx(expected, abs=1e-3)


@BOTH
def test_sample_returns_its_own_log_density(kind):
    policy = kind(0.3 * jr.normal(jr.key(0), (500, 3)), jnp.full((500, 3), -1.5), jnp.tile(LIMITS, 3))
    unit, density = call(policy, "sample", jr.key(1))
    inside = np.abs(np.asarray(unit)).max(axis=1) < 0.99
    assert inside.mean() > 0.9
    np.testing.assert_allclose(density[inside], call(policy, "log_prob", unit)[inside], atol=5e-3)


@BOTH
def test_samples_before_the_squash_have_the_mean_and_deviation_of_the_normal(kind):
    rows, std = jnp.full((20_000, 1), 0.1), np.exp(-1.8)
    unit = np.asarray(call(kind(rows, jnp.full_like(rows, -1.8), LIMITS), "sample", jr.key(2))[0], np.float64)
    before = np.arctanh(unit) if kind is TanhGaussian else unit
    assert before.mean() == pytest.approx(0.1, abs=0.01)
    assert before.std() == pytest.approx(std, abs=0.01)


@BOTH
def test_dimensions_are_independent(kind):
    mean, log_std, unit = jnp.array([[0.3, -0.7]]), jnp.array([[-1.0, 0.5]]), jnp.array([[0.2, -1.0]])
    one = [kind(mean[:, i : i + 1], log_std[:, i : i + 1], LIMITS) for i in range(2)]
    each = [call(policy, "log_prob", unit[:, i : i + 1])[0] for i, policy in enumerate(one)]
    assert float(call(kind(mean, log_std, jnp.tile(LIMITS, mean.shape[1])), "log_prob", unit)[0]) == pytest.approx(
        float(sum(each)), abs=1e-5
    )


@BOTH
@pytest.mark.parametrize("unit", [-1.0, 1.0, 0.999999, 0.0])
@pytest.mark.parametrize("mean", [0.0, -1e3, 1e3])
def test_value_and_gradients_are_finite_at_the_bounds_and_for_huge_means(kind, unit, mean):
    def value(mean, log_std, unit):
        return kind(mean, log_std, jnp.tile(LIMITS, mean.shape[1])).log_prob(unit)[0]

    compiled = jax.jit(jax.value_and_grad(value, argnums=(0, 1, 2)))
    for log_std in (LOG_STD_MIN, LOG_STD_MAX):
        arguments = column(mean), column(log_std), column(unit)
        result, gradients = compiled(*arguments)
        assert np.isfinite(result)
        assert all(np.isfinite(g).all() for g in gradients)


@BOTH
@pytest.mark.parametrize("mean", [0.0, -1e3, 1e3])
def test_samples_with_a_huge_mean_are_in_bounds_with_finite_density_and_gradients(kind, mean):
    def density(mean, log_std):
        unit, log_prob = kind(mean, log_std, jnp.tile(LIMITS, mean.shape[1])).sample(jr.key(3))
        return log_prob.sum() + unit.sum(), (unit, log_prob)

    gradients, (unit, log_prob) = jax.jit(jax.grad(density, argnums=(0, 1), has_aux=True))(
        jnp.full((50, 2), mean), jnp.zeros((50, 2))
    )
    assert np.abs(unit).max() <= 1.0
    assert log_prob.shape == (50,)
    assert np.isfinite(log_prob).all()
    assert all(np.isfinite(g).all() for g in gradients)


@BOTH
def test_recorded_actions_at_the_bound_pull_the_mean_outwards(kind):
    def log_prob(mean):
        return kind(mean, column(-1.0), LIMITS).log_prob(column(1.0))[0]

    def distance(mean):
        return kind(mean, column(-1.0), LIMITS).distance(column(1.0))[0]

    assert float(jax.grad(log_prob)(column(0.0))[0, 0]) > 0.0
    assert float(jax.grad(distance)(column(0.0))[0, 0]) < 0.0


@BOTH
def test_distance_is_the_squared_distance_of_the_mode(kind):
    mean, unit = jnp.array([[0.4, -3.0, 3.0, 0.0]]), jnp.array([[0.1, -1.0, 1.0, 1.0]])
    policy = kind(mean, jnp.zeros_like(mean), jnp.tile(LIMITS, 4))
    assert float(policy.distance(unit)[0]) == pytest.approx(float(jnp.sum((policy.mode - unit) ** 2)), abs=1e-6)


def test_clipped_mean_beyond_a_bound_is_pulled_back():
    slope = jax.grad(lambda m: ClippedGaussian(m, column(-1.0), LIMITS).distance(column(0.5))[0])
    assert float(slope(column(2.0))[0, 0]) > 0.0
    assert float(slope(column(-2.0))[0, 0]) < 0.0


def test_clip_passes_only_gradients_that_lead_back_inside():
    """Down the gradient of `slope·clip(u)`, u moves by −slope."""

    def passed(u: float, slope: float) -> float:
        return float(jax.grad(lambda x: jnp.sum(slope * distributions.clip(x, *LIMITS)))(column(u))[0, 0])

    assert passed(2.0, 3.0) == 3.0
    assert passed(2.0, -3.0) == 0.0
    assert passed(-2.0, -3.0) == -3.0
    assert passed(-2.0, 3.0) == 0.0
    assert passed(0.5, 3.0) == 3.0


def test_log_slope_is_exact():
    """log(1 − tanh²u) = −2·log cosh u, which the naive form loses where tanh u rounds to ±1."""
    u = np.linspace(-40.0, 40.0, 161)
    exact = -2.0 * (np.logaddexp(u, -u) - np.log(2.0))
    np.testing.assert_allclose(distributions.log_slope(jnp.asarray(u, jnp.float32)[:, None])[:, 0], exact, atol=2e-5)


def test_network_outputs_become_a_mean_and_a_bounded_deviation():
    outputs = jnp.array([[3.0, -50.0, -1e9, 0.0], [0.0, 0.0, 1e9, 1.0]])
    policy = distributions.policy(outputs, "clip", jnp.tile(LIMITS, 2))
    np.testing.assert_array_equal(policy.mean, outputs[:, :2])
    assert float(policy.log_std.min()) == LOG_STD_MIN
    assert float(policy.log_std.max()) == LOG_STD_MAX
    assert float(policy.log_std[0, 1]) == pytest.approx((LOG_STD_MIN + LOG_STD_MAX) / 2)
    assert isinstance(distributions.policy(outputs, "tanh", jnp.tile(LIMITS, 2)), TanhGaussian)
