"""ValueDICE: its objective, which ν minimises and the actor maximises, and its orthogonality penalty."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import iqlearn as iq
from iqlearn.algorithms import value_dice
from iqlearn.networks import encoders
from iqlearn.types import ArraySpec, Batch, Bounds, TaskSpec, Transitions

TASK = TaskSpec(ArraySpec((1,)), Bounds((-1.0,), (1.0,)))
SMALL = iq.Network((32,), "tanh")


def settings(**changes):
    return iq.ValueDICE(critic=SMALL, actor=SMALL, **{"slope_penalty": 0.0, "orthogonality": 0.0} | changes)


def rows(slope, ended=False, n=64):
    obs = jnp.asarray(np.random.default_rng(3).uniform(-1, 1, (n, 1)), jnp.float32)
    return Transitions(obs, slope * obs, jnp.roll(obs, 1, axis=0), jnp.full(n, ended))


def begun(method):
    return method.init(TASK, encoders.blank(TASK.obs, "none"), jr.key(0))


def constant(model, value):
    """The model with ν = value everywhere."""
    layer = model.critic.members.layers[-1]
    flat = jax.tree.map(jnp.zeros_like, layer)
    flat = eqx.tree_at(lambda one: one.bias, flat, jnp.full_like(layer.bias, value))
    return eqx.tree_at(lambda one: one.critic.members.layers[-1], model, flat)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("ended", [False, True])
def test_constant_nu_has_objective_zero(share, ended):
    """log E[exp(c − γc)] − (1−γ)c = 0, also where the absorbing state has the same ν."""
    method = settings(replay_share=share)
    batch = Batch(rows(0.5, ended), rows(-1.0, ended), rows(0.5).obs)
    _, figures = method.loss(constant(begun(method).model, 3.0), jnp.float32(3.0), batch, jr.key(1))
    assert float(figures["objective"]) == pytest.approx(0.0, abs=1e-5)


def test_offline_objective_equals_the_online_one_with_zero_replay_share():
    method = settings(replay_share=0.3)
    state, batch = begun(method), Batch(rows(0.5), None, rows(0.5).obs)
    alone = method.loss(state.model, state.beside, batch, jr.key(1))[1]
    same = settings(replay_share=0.0).loss(state.model, state.beside, batch._replace(visited=rows(-1.0)), jr.key(1))[1]
    assert float(alone["objective"]) == pytest.approx(float(same["objective"]), abs=1e-6)


def test_nu_descends_and_the_actor_ascends(monkeypatch):
    method, batch = settings(), Batch(rows(0.5), rows(-1.0), rows(0.5).obs)
    state = begun(method)

    def gradients():
        def loss(parts):
            return method.loss(value_dice.replaced(state.model, parts), parts.end, batch, jr.key(1))[0]

        return jax.grad(loss)(value_dice.Values(state.model.critic, state.model.actor, state.beside))

    trained = gradients()
    monkeypatch.setattr(value_dice, "reversed_gradient", lambda x: x)
    plain = gradients()
    for a, b in zip(jax.tree.leaves(trained.critic), jax.tree.leaves(plain.critic), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)
    moved = [
        (np.asarray(a), np.asarray(b)) for a, b in zip(*map(jax.tree.leaves, (trained.actor, plain.actor)), strict=True)
    ]
    assert any(np.abs(a).max() > 0.0 for a, _ in moved)
    for a, b in moved:
        np.testing.assert_allclose(a, -b, atol=1e-7)


def test_orthogonality_penalty_sums_squared_products_of_different_columns():
    model = begun(settings()).model
    weight = jnp.array([[1.0, 2.0], [0.0, 1.0]])
    layer = eqx.tree_at(lambda one: one.weight, model.actor.layers[0], weight)
    net = eqx.tree_at(lambda one: one.layers, model.actor, (layer,))
    assert float(value_dice.skewness(net)) == pytest.approx(2 * 2.0**2)
