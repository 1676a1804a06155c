"""Encoders: how observations of any structure become scaled and finite inputs of networks."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iqlearn import Demos, InputError, IQLearn, Network
from iqlearn.networks import encoders
from iqlearn.networks.descent import polyak
from iqlearn.networks.encoders import LARGEST, FlatEncoder
from iqlearn.runs.provenance import Origin, Schedule
from iqlearn.runs.run import Run
from iqlearn.training.learner import Learner
from iqlearn.types import ArraySpec

SCALINGS = ["none", "standard", "whiten"]
SPEC = {
    "position": ArraySpec((2,)),
    "camera": {"left": ArraySpec((2, 3), "uint8"), "cell": ArraySpec((), "int32", 5)},
    "count": ArraySpec((), "int32"),
}
"""Inputs in the order of the names: camera.cell (5), camera.left (6), count (1), position (2)."""


def observations(n: int = 40, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    return {
        "position": rng.normal(3.0, 50.0, (n, 2)).astype(np.float32),
        "camera": {
            "left": rng.integers(0, 256, (n, 2, 3), np.uint8),
            "cell": rng.integers(0, 5, n).astype(np.int32),
        },
        "count": rng.integers(-9, 9, n).astype(np.int32),
    }


def encoded(spec, obs, scaling: str, saturation: float = 0.0) -> np.ndarray:
    return np.asarray(encoders.fit(spec, obs, scaling, saturation)(obs))


def vectors(obs: np.ndarray, scaling: str = "whiten") -> np.ndarray:
    return encoded(ArraySpec(obs.shape[1:]), obs.astype(np.float32), scaling)


def test_without_scaling_vectors_pass_and_bytes_are_divided_by_255():
    obs = observations()
    inputs = encoded(SPEC, obs, "none")
    assert inputs.dtype == np.float32
    np.testing.assert_array_equal(inputs[:, :5], np.eye(5)[obs["camera"]["cell"]])
    np.testing.assert_allclose(inputs[:, 5:11], obs["camera"]["left"].reshape(40, 6) / 255.0, rtol=1e-6)
    np.testing.assert_array_equal(inputs[:, 11], obs["count"])
    np.testing.assert_array_equal(inputs[:, 12:], obs["position"])


def test_standard_scales_each_coordinate_and_leaves_categories_alone():
    obs = observations()
    inputs = encoded(SPEC, obs, "standard")
    np.testing.assert_array_equal(inputs[:, :5], np.eye(5)[obs["camera"]["cell"]])
    np.testing.assert_allclose(inputs[:, 5:].mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(inputs[:, 5:].std(axis=0), 1.0, rtol=1e-4)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_encoder_reports_its_input_size_and_specification(scaling):
    encoder = encoders.fit(SPEC, observations(), scaling)
    assert encoder.size == 14
    assert encoder.spec == SPEC
    assert encoder(observations(3, seed=1)).shape == (3, 14)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_order_of_observation_names_does_not_matter(scaling):
    obs = observations()
    turned = {name: obs[name] for name in sorted(obs, reverse=True)}
    encoder = encoders.fit({name: SPEC[name] for name in sorted(SPEC, reverse=True)}, turned, scaling)
    np.testing.assert_array_equal(encoder(obs), encoder(turned))
    np.testing.assert_array_equal(encoder(obs), encoders.fit(SPEC, obs, scaling)(obs))


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("spec", [SPEC, ArraySpec((3,)), ArraySpec((), "int32", 4)], ids=["tree", "vector", "category"])
def test_a_blank_encoder_has_the_shapes_and_the_structure_of_a_fitted_one(spec, scaling):
    obs = jax.tree.map(lambda s: np.zeros((5, *s.shape), s.dtype), spec)
    blank, fitted = encoders.blank(spec, scaling, 3.0), encoders.fit(spec, obs, scaling, 3.0)
    assert jax.tree.structure(blank) == jax.tree.structure(fitted)
    for a, b in zip(jax.tree.leaves(blank), jax.tree.leaves(fitted), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
    assert blank.size == fitted.size


def test_far_inputs_grow_logarithmically_and_zero_saturation_keeps_them():
    scale = np.array([[-1.0], [1.0]], np.float32)
    far = jnp.array([[1.5], [-30.0], [-31.0]])
    bent = [-10.0 - np.log(21.0), -10.0 - np.log(22.0)], [-2.0 - np.log(29.0), -2.0 - np.log(30.0)], [-30.0, -31.0]
    for saturation, outer in zip((10.0, 0.5, 0.0), bent, strict=True):
        encoder = encoders.fit(ArraySpec((1,)), scale, "standard", saturation)
        np.testing.assert_allclose(encoder(far)[:, 0], [1.5, *outer], rtol=1e-6)


def test_observations_used_for_fitting_are_not_saturated():
    obs = np.zeros((500, 1), np.float32)
    obs[0] = 1.0  # 22 standard deviations from the mean
    encoder = encoders.fit(ArraySpec((1,)), obs, "standard", 10.0)
    assert float(encoder(obs[:1])[0, 0]) > 20.0


@pytest.mark.parametrize("scaling", ["none", "standard"])
def test_many_inputs_are_accepted_without_whitening(scaling):
    obs = np.random.default_rng(0).normal(size=(3, LARGEST + 1)).astype(np.float32)
    assert vectors(obs, scaling).shape == obs.shape


def test_too_many_inputs_are_refused_with_whitening():
    obs = np.zeros((3, LARGEST + 1), np.float32)
    with pytest.raises(InputError, match=r"1025 coordinates; expected at most 1024 with scaling whiten, use standard"):
        vectors(obs, "whiten")


@pytest.mark.parametrize("scaling", SCALINGS)
def test_the_scale_has_no_gradient_and_observations_have_one(scaling):
    obs = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    encoder = encoders.fit(ArraySpec((3,)), obs, scaling, 5.0)

    @jax.jit
    def gradients(encoder: FlatEncoder, obs: jax.Array):
        return jax.grad(lambda e, x: jnp.sum(e(x) ** 2), argnums=(0, 1))(encoder, obs)

    of_scale, of_obs = gradients(encoder, jnp.asarray(obs))
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(of_scale))
    assert np.any(of_obs)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_polyak_average_of_an_encoder_with_itself_is_unchanged(scaling):
    """A target network averages every array of a model."""
    encoder = encoders.fit(SPEC, observations(), scaling)
    for a, b in zip(jax.tree.leaves(polyak(encoder, encoder, 0.1)), jax.tree.leaves(encoder), strict=True):
        assert np.isfinite(b).all()
        np.testing.assert_array_equal(a, b)


def test_compiled_encoder_matches_the_plain_one():
    encoder, obs = encoders.fit(SPEC, observations(), "standard"), observations()
    np.testing.assert_allclose(eqx.filter_jit(lambda e, x: e(x))(encoder, obs), encoder(obs), atol=1e-5)


def test_whitened_observations_are_centred_and_of_unit_size():
    """The columns have different units, and the first one is shifted in half of the rows."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=(2_000, 2))
    obs = np.stack([3 + 200 * base[:, 0], -0.5 + 0.01 * base[:, 1], 7 + base @ [0.9, 0.4]], axis=1)
    obs[1_000:, 0] += 500.0
    seen = vectors(obs)
    assert seen.mean(axis=0) == pytest.approx(0.0, abs=1e-3)
    assert (np.abs(seen.std(axis=0) - 0.93) < 0.1).all()


@pytest.mark.parametrize("scaling", ["standard", "whiten"])
def test_encoder_of_a_run_is_fitted_to_both_ends_of_the_transitions(scaling, counting):
    """The last observation of an episode is a next observation only."""
    settings = IQLearn(network=Network((4,)), scaling=scaling)
    run = Run(settings, Schedule(1), Origin(None, counting.source), counting.task_spec())
    found = Learner(run, counting).state.model.encoder
    both = np.concatenate([counting.obs, counting.next_obs])
    assert eqx.tree_equal(found, encoders.fit(counting.obs_spec, both, scaling))
    np.testing.assert_allclose(found(both).mean(axis=0), 0.0, atol=1e-5)
    assert np.abs(found(counting.obs).mean(axis=0)).max() > 0.05


def test_whitening_decorrelates_and_maps_constants_to_zero():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(5000, 3)) * [1.0, 20.0, 0.1]
    z = vectors(np.column_stack([base, base[:, 0] + rng.normal(size=5000), np.full(5000, 12345.678)]))
    covariance = np.cov(z.T)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 0.12
    assert np.abs(z[:, -1]).max() < 0.01


@pytest.mark.parametrize("scaling", ["standard", "whiten"])
@pytest.mark.parametrize("value", [0.0, -0.1, 1e3, 12345.678, 1e6])
def test_constant_observations_become_zero(value, scaling):
    """Rounding of float32 sums of many equal numbers is not amplified."""
    assert vectors(np.full((6_000, 2), value), scaling) == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("scaling", ["standard", "whiten"])
def test_a_constant_coordinate_passes_unscaled(scaling, counting_arrays):
    counting_arrays["obs"][:, 0] = counting_arrays["next_obs"][:, 0] = 4.0
    demos = Demos.from_arrays(counting_arrays)
    encoder = encoders.fit(demos.obs_spec, np.concatenate([demos.obs, demos.next_obs]), scaling)
    inputs = np.asarray(encoder(jnp.array([[4.0, 2.0], [5.0, 2.0]])))
    assert inputs[1, 0] - inputs[0, 0] == pytest.approx(1.0, rel=1e-3)
    assert inputs[1, 1] == pytest.approx(inputs[0, 1], abs=1e-5)


def test_equal_coordinates_stay_finite():
    twin = np.repeat(np.random.default_rng(0).normal(size=(200, 1)), 3, axis=1)
    assert np.abs(vectors(twin)).max() < 10.0


def test_nearly_constant_column_passes_unscaled_with_whitening():
    rng = np.random.default_rng(0)
    obs = np.stack([rng.normal(size=200), 5.0 + 1e-8 * rng.normal(size=200)], axis=1)
    encoder = encoders.fit(ArraySpec((2,)), obs, "whiten")
    moved = encoder(jnp.array([[0.0, 5.0], [0.0, 6.0]]))
    assert float(moved[1, 1] - moved[0, 1]) == pytest.approx(1.0, rel=1e-3)
