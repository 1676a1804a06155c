"""Gradient steps: the optimiser, decays, slow copies, the compiled regression, and how many programs are kept."""

import gc
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from iqlearn import Network
from iqlearn.networks import descent, encoders
from iqlearn.networks.mlp import MLP
from iqlearn.networks.soft_q import DiscreteSoftQ
from iqlearn.types import ArraySpec, TaskSpec

MAPPED = Path("/proc/self/maps")


def squared_error(net, data, key):
    x, y = data
    row = jr.randint(key, (64,), 0, len(x))
    return jnp.mean((net(x[row])[:, 0] - y[row]) ** 2)


def test_fit_minimises_the_loss_and_is_deterministic():
    x = jr.normal(jr.key(0), (400, 2))
    y = jnp.sin(x[:, 0]) + 0.5 * x[:, 1]
    net = MLP(2, 1, Network((32,), "tanh"), jr.key(1))
    found, last = descent.fit(squared_error, net, (x, y), jr.key(2), 1_500, learning_rate=1e-2)
    error = float(jnp.mean((found(x)[:, 0] - y) ** 2))
    assert error < 0.01 * float(jnp.var(y))
    assert last < 0.02
    again, _ = descent.fit(squared_error, net, (x, y), jr.key(2), 1_500, learning_rate=1e-2)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)


def test_fit_does_any_number_of_updates_with_one_program():
    x = jnp.ones((4, 2))
    net = MLP(2, 1, Network(()), jr.key(1))
    descent._program.cache_clear()
    for updates in (1, 3, 7):
        descent.fit(squared_error, net, (x, x[:, 0]), jr.key(2), updates)
    assert descent._program.cache_info().misses == 1
    same, _ = descent.fit(squared_error, net, (x, x[:, 0]), jr.key(2), 0)
    np.testing.assert_array_equal(same.layers[0].weight, net.layers[0].weight)


def scaled(factor, x):
    return factor * x


def test_program_is_compiled_once_per_function_constants_and_shapes():
    descent._program.cache_clear()
    x = jnp.arange(3.0)
    np.testing.assert_array_equal(descent.compiled(scaled, (2.0,), x)(x), 2.0 * x)
    np.testing.assert_array_equal(descent.compiled(scaled, (2.0,), x + 1)(x + 1), 2.0 * (x + 1))
    assert descent._program.cache_info().misses == 1
    for factor, other in ((3.0, x), (2.0, jnp.arange(4.0)), (2.0, jnp.arange(3))):
        np.testing.assert_array_equal(descent.compiled(scaled, (factor,), other)(other), factor * other)
    assert descent._program.cache_info().misses == 4


def test_cache_keeps_at_most_32_programs():
    descent._program.cache_clear()
    x = jnp.ones(2)
    for factor in range(34):
        descent.compiled(scaled, (factor,), x)
    assert descent.KEPT == descent._program.cache_info().currsize == 32
    descent._program.cache_clear()


@pytest.mark.skipif(not MAPPED.is_file(), reason="only Linux tells which regions a process has mapped")
def test_released_program_frees_its_memory_regions():
    """A process has a limited number of memory regions. Nothing else holds those of a released program."""

    def regions() -> int:
        gc.collect()
        return len(MAPPED.read_text().splitlines())

    x = jnp.ones((4, 3))
    descent.compiled(scaled, (0.0,), x)
    descent._program.cache_clear()
    jax.clear_caches()
    before = regions()
    for factor in range(1, 13):
        descent.compiled(scaled, (factor,), x)
    held = regions()
    assert held > before + 16
    descent._program.cache_clear()
    assert regions() < before + (held - before) / 2


def test_only_weight_matrices_decay():
    task = TaskSpec(ArraySpec((4,)), 2)
    model = DiscreteSoftQ(task, Network((8,)), 1, encoders.blank(task.obs, "whiten"), jr.key(0))
    mask = descent.is_weight(model)
    assert all(jax.tree.leaves(layer.weight) == [True] for layer in mask.net.members.layers)
    assert all(jax.tree.leaves(layer.bias) == [False] for layer in mask.net.members.layers)
    assert not any(jax.tree.leaves(mask.encoder))

    still = jax.tree.map(jnp.zeros_like, model.net)
    grown = eqx.tree_at(lambda n: n.members.layers[0].bias, model.net, jnp.ones((1, 8)))
    optimiser = descent.optimizer(0.1, 0.5)
    moved, _ = descent.step_down(optimiser, still, grown, optimiser.init(grown))
    np.testing.assert_allclose(moved.members.layers[0].weight, 0.95 * grown.members.layers[0].weight, rtol=1e-5)
    np.testing.assert_array_equal(moved.members.layers[0].bias, 1.0)


def test_first_adam_step_is_the_learning_rate_times_the_share():
    model, gradient = {"w": jnp.zeros(3)}, {"w": jnp.array([5.0, -0.1, 0.0])}
    optimiser = descent.optimizer(0.1)
    for share in (1.0, 0.25):
        moved, _ = descent.step_down(optimiser, gradient, model, optimiser.init(model), share)
        np.testing.assert_allclose(moved["w"], share * np.array([-0.1, 0.1, 0.0]), rtol=1e-4)


@pytest.mark.parametrize(("step", "share"), [(0, 1.0), (9, 1.0), (19, 0.5), (99, 0.1)])
def test_rate_is_constant_and_then_decays_as_one_over_the_updates(step, share):
    assert float(descent.rate_left(10, jnp.int32(step))) == pytest.approx(share)
    assert descent.rate_left(0, jnp.int32(step)) == 1.0


@pytest.mark.parametrize(("step", "linear", "hyperbolic"), [(0, 1.0, 1.0), (19, 0.81, 1.0), (39, 0.61, 0.5)])
def test_linear_and_hyperbolic_decays_over_100_updates(step, linear, hyperbolic):
    assert float(descent.linear(jnp.int32(step), 100)) == pytest.approx(linear)
    assert float(descent.hyperbolic(jnp.int32(step), 100)) == pytest.approx(hyperbolic)
    assert float(descent.hyperbolic(jnp.int32(0), 1)) == 1.0


def test_polyak_moves_the_old_copy_towards_the_new_model():
    old, new = {"w": jnp.zeros(2)}, {"w": jnp.ones(2)}
    np.testing.assert_allclose(descent.polyak(old, new, 0.25)["w"], 0.25)
    np.testing.assert_allclose(descent.polyak(old, new, 1.0)["w"], 1.0)


def test_between_interpolates_points_and_takes_integers_from_the_nearer_row():
    expert = jnp.zeros((500, 2)), jnp.zeros(500, jnp.int32)
    visited = jnp.ones((30, 2)), jnp.ones(30, jnp.int32)
    points, action = jax.jit(descent.between)(expert, visited, jr.key(0))
    assert points.shape == (500, 2)
    assert action.dtype == jnp.int32
    share = np.asarray(points[:, 0])
    np.testing.assert_array_equal(points[:, 1], share)
    assert share.min() >= 0.0
    assert share.max() <= 1.0
    assert 0.4 < share.mean() < 0.6
    np.testing.assert_array_equal(action, share >= 0.5)
