"""φ: concave, finite everywhere, right in value and slope."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iqlearn.objectives import divergences as d

PHI = {
    "chi2": d.chi2(0.5),
    "tv": d.total_variation(1.0),
    "forward_kl": d.forward_kl,
    "unbiased_kl": d.unbiased_kl,
    "reverse_kl": d.reverse_kl,
    "hellinger": d.squared_hellinger,
    "jensen_shannon": d.jensen_shannon,
    "w1": d.wasserstein,
}
EDGES = {
    "chi2": 0.0,
    "tv": 1.0,
    "forward_kl": -11.0,
    "unbiased_kl": -10.0,
    "reverse_kl": 0.01,
    "hellinger": -0.9,
    "jensen_shannon": -0.68,
    "w1": 0.0,
}
NEUTRAL = {"forward_kl": -1.0, "reverse_kl": 1.0}
"""The reward at which φ' = 1, so that an expert transition keeps its weight. For the others it is 0."""


def slope(phi, x):
    return float(jax.grad(lambda y: phi(y[None])[0])(jnp.float32(x)))


@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [
        ("chi2", 1.0, 0.5),
        ("tv", -0.75, -0.75),
        ("tv", 2.0, 1.0),
        ("forward_kl", 0.0, -np.exp(-1.0)),
        ("unbiased_kl", 0.5, 1.0 - np.exp(-0.5)),
        ("reverse_kl", 2.0, 1.0 + np.log(2.0)),
        ("hellinger", 1.0, 0.5),
        ("jensen_shannon", 0.0, 0.0),
        ("w1", -7.5, -7.5),
    ],
)
def test_values_by_hand(name, x, expected):
    assert float(PHI[name](jnp.array([x]))[0]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", PHI)
def test_neutral_reward_has_slope_one(name):
    assert slope(PHI[name], NEUTRAL.get(name, 0.0)) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("name", PHI)
@given(x=st.floats(-1e4, 1e4, width=32), gap=st.floats(2.0**-7, 100.0, width=32))
@settings(max_examples=60, deadline=None)
def test_concave_and_finite_everywhere(name, x, gap):
    left, middle, right = (np.float64(v) for v in PHI[name](jnp.array([x - gap, x, x + gap])))
    assert np.isfinite([left, middle, right]).all()
    scale = 1.0 + max(abs(left), abs(middle), abs(right))
    assert middle >= 0.5 * (left + right) - 1e-5 * scale


@pytest.mark.parametrize("name", PHI)
def test_phi_continues_smoothly_beyond_its_domain(name):
    """Value and slope are continuous at the edge. Far outside the slope is finite and points back in."""
    phi, edge = PHI[name], EDGES[name]
    h = 1e-4
    below, above = (float(phi(jnp.array([edge + sign * h]))[0]) for sign in (-1, 1))
    steep = max(1.0, abs(slope(phi, edge)))
    assert abs(above - below) < 4 * h * steep + 1e-5 * abs(above)
    assert slope(phi, edge - h) == pytest.approx(slope(phi, edge + h), rel=0.1, abs=1e-3)
    for far in (edge - 1.0, edge - 1e3, edge - 1e6):
        assert np.isfinite(slope(phi, far))
        assert slope(phi, far) >= 1.0


def test_donsker_varadhan_is_the_log_mean_of_exponentials_and_does_not_overflow():
    x = jnp.array([0.5, -0.25, 1.0])
    assert float(d.donsker_varadhan(x, x)) == pytest.approx(-float(np.log(np.mean(np.exp(-np.asarray(x))))), rel=1e-6)
    huge = jnp.array([-1e4, 0.0])
    assert float(d.donsker_varadhan(huge, huge)) == pytest.approx(-1e4 + np.log(2.0), rel=1e-6)


def test_chi2_on_the_mixture_penalises_both_halves_alike():
    expert, visited = jnp.array([1.0, 1.0]), jnp.array([2.0])
    assert float(d.chi2_mixture(0.5)(expert, visited)) == pytest.approx(1.0 - 0.5 * (0.5 * 1.0 + 0.5 * 4.0))
    offline = d.chi2_mixture(0.5)(expert, expert)
    assert float(offline) == pytest.approx(float(d.expected(d.chi2(0.5))(expert, expert)))


def test_tv_penalises_visited_rewards_beyond_the_bound():
    inside, outside = jnp.array([0.5]), jnp.array([3.0])
    assert float(d.tv_mixture(1.0)(inside, outside)) == pytest.approx(0.5 - 4.0)
