"""How observations are scaled for a network: centred, of unit size, and finite whatever the data."""

import jax.numpy as jnp
import numpy as np
import pytest

from iqlearn.data import Demos


def scaled(obs: np.ndarray, next_obs: np.ndarray) -> np.ndarray:
    """Both ends of the transitions as a network sees them."""
    n = len(obs)
    counts, flags = np.zeros(n, np.int64), np.zeros(n, bool)
    demos = Demos.from_arrays(
        {"obs": obs, "next_obs": next_obs, "act": counts, "ep": counts, "term": flags, "trunc": flags}
    )
    return np.asarray(demos.observation_scale()(jnp.asarray(np.concatenate([obs, next_obs]), jnp.float32)))


def test_scaled_observations_are_centred_and_of_unit_size():
    """Whatever their units, and counting both ends of the transitions."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=(2_000, 2))
    obs = np.stack([3 + 200 * base[:, 0], -0.5 + 0.01 * base[:, 1], 7 + base @ [0.9, 0.4]], axis=1)
    seen = scaled(obs[:1_000], obs[1_000:] + np.array([500.0, 0.0, 0.0]))
    assert seen.mean(axis=0) == pytest.approx(0.0, abs=1e-3)
    assert (np.abs(seen.std(axis=0) - 0.93) < 0.1).all()


@pytest.mark.parametrize("value", [0.0, -0.1, 1e3, 12345.678, 1e6])
def test_constant_observations_are_scaled_to_nothing(value):
    """Also where float32 sums of many equal numbers would round: no noise is blown up."""
    still = np.full((3_000, 2), value)
    assert scaled(still, still) == pytest.approx(0.0, abs=1e-3)


def test_a_constant_coordinate_passes_unscaled(counting_arrays):
    counting_arrays["obs"][:, 0] = counting_arrays["next_obs"][:, 0] = 4.0
    scale = Demos.from_arrays(counting_arrays).observation_scale()
    inputs = np.asarray(scale(jnp.array([[4.0, 2.0], [5.0, 2.0]])))
    assert inputs[1, 0] - inputs[0, 0] == pytest.approx(1.0, rel=1e-3)
    assert inputs[1, 1] == pytest.approx(inputs[0, 1], abs=1e-5)


def test_equal_coordinates_stay_finite():
    rng = np.random.default_rng(0)
    twin = np.repeat(rng.normal(size=(200, 1)), 3, axis=1)
    assert np.abs(scaled(twin, twin)).max() < 10.0
