"""Networks of bounded slope: against NumPy's singular values, and as functions."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from iqlearn import InputError, Network
from iqlearn.models.networks import Ensemble, Linear, spectral_norm


def largest(weight) -> float:
    return float(np.linalg.svd(np.asarray(weight), compute_uv=False)[0])


@pytest.mark.parametrize("shape", [(4, 64), (64, 64), (256, 256), (17, 256), (256, 1), (1, 8), (1, 1)])
def test_the_spectral_norm_is_the_largest_singular_value(shape):
    """Never above it, and at most two per cent below for random matrices, whose singular values lie close."""
    for seed in range(3):
        weight = jr.normal(jr.key(seed), shape)
        ratio = float(jax.jit(spectral_norm)(weight)) / largest(weight)
        assert 0.98 < ratio < 1.0 + 1e-5


def test_the_gradient_of_the_spectral_norm_is_that_of_the_largest_singular_value():
    weight = jnp.diag(jnp.array([3.0, 1.0, 0.5])) + 0.1 * jr.normal(jr.key(0), (3, 3))
    u, _, vt = np.linalg.svd(np.asarray(weight))
    np.testing.assert_allclose(jax.grad(spectral_norm)(weight), np.outer(u[:, 0], vt[0]), atol=1e-4)


def test_a_matrix_of_zeros_is_no_fault():
    value, gradient = jax.value_and_grad(spectral_norm)(jnp.zeros((3, 2)))
    assert value == 0.0
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(("size", "expected"), [(0.1, 0.1), (50.0, 1.0)])
def test_a_matrix_is_scaled_down_but_never_up(size, expected):
    layer = Linear(8, 8, 1.0, jr.key(0))
    weight = layer.weight * size / largest(layer.weight)
    layer = jax.tree.map(lambda leaf: weight if leaf.ndim == 2 else leaf, layer)
    assert largest(layer.bounded().weight) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("activation", ["relu", "tanh", "elu"])
def test_a_spectrally_normalised_network_is_lipschitz(activation):
    """However large its weights grow."""
    network = Network(hidden=(16, 16), activation=activation, spectral_norm=True, ensemble=2)
    net = jax.tree.map(lambda w: 30.0 * w, Ensemble(3, 2, network, jr.key(0)))
    x, y = jr.normal(jr.key(1), (200, 3)), jr.normal(jr.key(2), (200, 3))
    rise = np.linalg.norm(np.asarray(net(x) - net(y)), axis=-1)
    assert (rise <= 1.06 * np.linalg.norm(np.asarray(x - y), axis=-1)).all()
    assert rise.max() > 0.0


def test_without_it_nothing_is_bounded():
    net = jax.tree.map(lambda w: 30.0 * w, Ensemble(3, 2, Network(hidden=(16, 16)), jr.key(0)))
    x, y = jr.normal(jr.key(1), (200, 3)), jr.normal(jr.key(2), (200, 3))
    assert (np.abs(net(x) - net(y)).max(axis=-1) > np.linalg.norm(np.asarray(x - y), axis=-1)).any()


def test_layer_norm_and_a_bounded_slope_contradict_each_other():
    with pytest.raises(InputError, match=r"network\.spectral_norm is True; expected layer_norm off"):
        Network(layer_norm=True, spectral_norm=True)
