"""Networks: spectral norm, bounded slopes, periodic features, layer norm, ensembles and gradients."""

import os
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from iqlearn import InputError, Network
from iqlearn.networks.mlp import MLP, SMOOTH, Ensemble, Linear, affine, layer_norm, spectral_norm

call = eqx.filter_jit(lambda net, x: net(x))


def largest(weight) -> float:
    return float(np.linalg.svd(np.asarray(weight), compute_uv=False)[0])


@pytest.mark.parametrize("shape", [(4, 64), (64, 64), (256, 256), (17, 256), (256, 1), (1, 8), (1, 1)])
def test_the_spectral_norm_is_the_largest_singular_value(shape):
    """Never above it, and at most two per cent below for random matrices, whose singular values lie close."""
    for seed in range(3):
        weight = jr.normal(jr.key(seed), shape)
        ratio = float(jax.jit(spectral_norm)(weight)) / largest(weight)
        assert 0.98 < ratio < 1.0 + 1e-5


def test_spectral_norm_gradient_matches_the_largest_singular_value():
    weight = jnp.diag(jnp.array([3.0, 1.0, 0.5])) + 0.1 * jr.normal(jr.key(0), (3, 3))
    u, _, vt = np.linalg.svd(np.asarray(weight))
    np.testing.assert_allclose(jax.grad(spectral_norm)(weight), np.outer(u[:, 0], vt[0]), atol=1e-4)


def test_spectral_norm_of_zeros_is_zero_with_a_finite_gradient():
    value, gradient = jax.value_and_grad(spectral_norm)(jnp.zeros((3, 2)))
    assert value == 0.0
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(("size", "expected"), [(0.1, 0.1), (50.0, 1.0)])
def test_bounded_layer_scales_its_weights_down_but_never_up(size, expected):
    layer = Linear(8, 8, 1.0, jr.key(0))
    weight = layer.weight * size / largest(layer.weight)
    layer = jax.tree.map(lambda leaf: weight if leaf.ndim == 2 else leaf, layer)
    assert largest(layer.bounded().weight) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("activation", ["relu", "tanh", "elu", "silu"])
def test_a_spectrally_normalised_network_is_lipschitz(activation):
    """The weights are 30 times as large as in a new network."""
    network = Network(hidden=(16, 16), activation=activation)
    net = jax.tree.map(lambda w: 30.0 * w, Ensemble(3, 2, network, 2, jr.key(0), spectral=True))
    x, y = jr.normal(jr.key(1), (200, 3)), jr.normal(jr.key(2), (200, 3))
    rise = np.linalg.norm(np.asarray(call(net, x)) - np.asarray(call(net, y)), axis=-1)
    assert (rise <= 1.06 * np.linalg.norm(np.asarray(x - y), axis=-1)).all()
    assert rise.max() > 0.0


def test_periodic_features_have_a_stationary_kernel():
    """E[φ(x)·φ(y)] = exp(−½·variance of the weights·‖x − y‖²), independent of the position of the inputs."""
    net = MLP(3, 1, Network((40_000,), "elu"), jr.key(0), stationary=True)
    x, step = jr.normal(jr.key(1), (3,)), jr.normal(jr.key(2), (3,))
    for shift in (0.0, 5.0):
        for length in (0.0, 1.0, 4.0):
            points = jnp.stack([x + shift, x + shift + length * step])
            inner = net.layers[0](points)
            features = jnp.sin(inner) + jnp.cos(inner)
            wanted = np.exp(-0.5 * SMOOTH / 3 * float(jnp.sum((length * step) ** 2)))
            assert float(jnp.mean(features[0] * features[1])) == pytest.approx(wanted, abs=0.03)
    assert net.last == "periodic"
    np.testing.assert_allclose(call(net, points), net.layers[1](features), atol=1e-5)


def test_network_without_spectral_norm_is_not_lipschitz():
    net = jax.tree.map(lambda w: 30.0 * w, Ensemble(3, 2, Network(hidden=(16, 16)), 2, jr.key(0)))
    x, y = jr.normal(jr.key(1), (200, 3)), jr.normal(jr.key(2), (200, 3))
    assert (np.abs(call(net, x) - call(net, y)).max(axis=-1) > np.linalg.norm(np.asarray(x - y), axis=-1)).any()


def test_layer_norm_gives_each_row_zero_mean_and_unit_variance():
    rows = np.asarray(jax.jit(layer_norm)(5.0 + 3.0 * jr.normal(jr.key(0), (7, 64))))
    np.testing.assert_allclose(rows.mean(axis=1), 0.0, atol=1e-5)
    np.testing.assert_allclose(rows.std(axis=1), 1.0, atol=1e-3)
    net = MLP(3, 2, Network(hidden=(16,), layer_norm=True), jr.key(0))
    x = jr.normal(jr.key(1), (5, 3))
    first = net.layers[0]
    wanted = net.layers[1](jax.nn.relu(layer_norm(first(x))))
    np.testing.assert_allclose(call(net, x), wanted, atol=1e-6)


def test_ensemble_members_equal_separate_networks():
    ensemble = Ensemble(3, 2, Network(hidden=(16,)), 3, jr.key(0))
    x = jr.normal(jr.key(1), (5, 3))
    outputs = call(ensemble, x)
    assert outputs.shape == (3, 5, 2)
    for k, key in enumerate(jr.split(jr.key(0), 3)):
        np.testing.assert_allclose(outputs[k], call(MLP(3, 2, Network(hidden=(16,)), key), x), atol=1e-6)
    assert np.abs(outputs[0] - outputs[1]).max() > 1e-3


@pytest.mark.parametrize("outputs", [1, 3, 8])
def test_layer_gradients_match_matmul(outputs):
    """For few and for many columns."""
    shapes = [(5, 4), (4, outputs), (outputs,), (5, outputs)]
    *inputs, slope = (jr.normal(jr.key(i), shape) for i, shape in enumerate(shapes))
    ours, plain = (jax.vjp(f, *inputs) for f in (affine, lambda x, weight, bias: x @ weight + bias))
    np.testing.assert_array_equal(ours[0], plain[0])
    for found, wanted in zip(ours[1](slope), plain[1](slope), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


OF_CORES = """
import os, sys
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[1])])
import hashlib, jax, jax.numpy as jnp, jax.random as jr
from iqlearn import Network
from iqlearn.networks.mlp import Ensemble
net, x = Ensemble(14, 1, Network((256, 256)), 2, jr.key(0)), jr.normal(jr.key(1), (512, 14))
gradient = jax.jit(jax.grad(lambda net: jnp.mean(net(x) ** 2)))(net)
print(hashlib.sha256(b"".join(bytes(jax.device_get(leaf)) for leaf in jax.tree.leaves(gradient))).hexdigest())
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_gradients_do_not_depend_on_the_number_of_cores():
    environment = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}
    found = set()
    for cores in range(1, min(4, len(os.sched_getaffinity(0))) + 1):
        command = [sys.executable, "-c", OF_CORES, str(cores)]
        found.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(found) == 1


@pytest.mark.parametrize("hidden", [(), (16,), (16, 8)])
@pytest.mark.parametrize("kind", [{}, {"layer_norm": True}, {"spectral": True}, {"activation": "silu"}])
@pytest.mark.parametrize("m", [0, 3, 5])
def test_apart_has_the_gradients_of_two_passes(hidden, kind, m):
    """One backward pass gives the gradient in the weights, from the first m rows, and the gradient in the inputs."""
    spectral = kind.get("spectral", False)
    network = Network(hidden, **{name: value for name, value in kind.items() if name != "spectral"})
    net = jax.tree.map(lambda w: 5.0 * w, Ensemble(3, 1, network, 2, jr.key(0), spectral=spectral))
    x, weight, pull = jr.normal(jr.key(1), (5, 3)), jr.normal(jr.key(2), (2, m, 1)), jr.normal(jr.key(3), (2, 5, 1))

    def apart(net, x):
        of_weights, of_inputs = net.apart(x, m)
        return jnp.sum(weight * jnp.sin(of_weights)) + jnp.sum(pull * of_inputs**2)

    def twice(net, x):
        stop = jax.lax.stop_gradient
        return jnp.sum(weight * jnp.sin(net(stop(x))[:, :m])) + jnp.sum(pull * stop(net)(x) ** 2)

    found, wanted = (jax.jit(jax.value_and_grad(f, argnums=(0, 1)))(net, x) for f in (apart, twice))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_a_list_of_hidden_layers_becomes_a_tuple():
    """The constructor is left out: in the tests it checks annotations, and these name tuples only."""
    network = object.__new__(Network)
    for name, value in {"hidden": [8, 4], "activation": "relu", "layer_norm": False}.items():
        object.__setattr__(network, name, value)
    network.__post_init__()
    assert network == Network(hidden=(8, 4))
    assert hash(network) == hash(Network(hidden=(8, 4)))


def test_hidden_layers_may_be_empty_but_not_of_size_zero():
    assert MLP(3, 2, Network(hidden=()), jr.key(0))(jnp.ones((4, 3))).shape == (4, 2)
    with pytest.raises(InputError, match=r"hidden is \(8, 0\); expected whole numbers above 0"):
        Network(hidden=(8, 0))
