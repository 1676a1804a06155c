"""Shared parts of the actor-critics, SAC on a problem solved by hand, and cloning of a known policy."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from iqlearn import SAC, BCContinuous, IQLearnContinuous, Network
from iqlearn.algorithms.bc import clone
from iqlearn.algorithms.common import Slow, actor_loss, descend_actor_critic, temperature_loss, with_actor
from iqlearn.networks import encoders
from iqlearn.networks.soft_q import Drawn
from iqlearn.types import ArraySpec, Batch, Bounds, Rewarded, TaskSpec, Transitions

SPEC = TaskSpec(ArraySpec((1,)), Bounds((-1.0,), (3.0,)))
ENCODER = encoders.blank(SPEC.obs, "none")
TINY = Network(hidden=(16,))
SETTINGS = SAC(critic=TINY, actor=Network(hidden=(4,)), target_rate=0.25, average_rate=0.5)
START = eqx.filter_jit(lambda: SETTINGS.init(SPEC, ENCODER, jr.key(0)))()


def shifted(model, amount: float):
    return jax.tree.map(lambda x: x + amount, model)


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@eqx.filter_jit
def stepped(settings, state, gradient):
    """One step of every part down a loss with this gradient."""

    def loss(model):
        products = jax.tree.map(lambda slope, x: jnp.sum(slope * x), gradient, model)
        return sum(jax.tree.leaves(products)), {}

    return descend_actor_critic(settings, state, loss)


def test_the_policy_has_the_newest_critics_and_the_averaged_actor():
    state = replace(START, target=shifted(START.target, 1.0))
    kept = SETTINGS.policy(state)
    assert same(kept.critic, state.model.critic)
    assert same(kept.actor, state.target.actor)
    assert not same(kept.actor, state.model.actor)
    assert same((kept.log_temperature, kept.encoder), (state.model.log_temperature, state.model.encoder))


def test_policy_without_averaging_is_the_model_itself():
    settings = replace(SETTINGS, average_rate=1.0, target_rate=0.0)
    state = jax.eval_shape(lambda: settings.init(SPEC, ENCODER, jr.key(0)))
    assert state.target == Slow(None, None)
    assert settings.policy(START.__class__(START.model, Slow(None, None), None, START.step, {})) is START.model


def test_step_size_decays_as_one_over_the_updates_after_decay_after():
    settings = replace(SETTINGS, target_entropy=None)
    gradient = jax.tree.map(jnp.ones_like, START.model)
    for step, share in ((0, 1.0), (9, 1.0), (19, 0.5), (99, 0.1)):
        state = replace(START, step=jnp.int32(step))
        full, less = (stepped(replace(settings, decay_after=n), state, gradient)[0].model for n in (0, 10))
        moved, whole = ((m.actor.layers[0].weight - START.model.actor.layers[0].weight) for m in (less, full))
        np.testing.assert_allclose(moved, share * whole, atol=1e-7)  # a full step is near 3e-4
        assert float(jnp.abs(whole).min()) > 1e-4


def test_slow_critics_and_actor_follow_at_their_own_rates():
    """With a gradient of zero only the slow copies move."""
    state = replace(START, target=shifted(START.target, -1.0))
    moved, figures = stepped(SETTINGS, state, jax.tree.map(jnp.zeros_like, START.model))
    assert same((moved.model.critic, moved.model.actor), (START.model.critic, START.model.actor))
    for part, share in (("critic", 0.25), ("actor", 0.5)):
        wanted = shifted(getattr(START.model, part), share - 1.0)
        for a, b in zip(jax.tree.leaves(getattr(moved.target, part)), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
    assert int(moved.step) == int(START.step) + 1
    assert float(figures["critic_gradient_norm"]) == float(figures["actor_gradient_norm"]) == 0.0


def test_with_actor_replaces_the_averaged_actor_too():
    other = shifted(START.model.actor, 1.0)
    state = with_actor(START, other)
    assert same((state.model.actor, state.target.actor), (other, other))
    alone = with_actor(replace(START, target=Slow(None, None)), other)
    assert alone.target == Slow(None, None)
    assert same(state.model.critic, START.model.critic)


def test_actor_and_temperature_loss_by_hand():
    inputs, unit, log_prob = jnp.array([[0.5], [-1.0]]), jnp.array([[0.2], [-0.7]]), jnp.array([-1.0, 2.0])
    warm = eqx.tree_at(lambda m: m.log_temperature, START.model, jnp.log(jnp.float32(0.5)))
    drawn = Drawn(unit, log_prob, warm.policy(inputs))
    q = warm.unit_q(inputs, unit)
    wanted = (0.5 * np.array([-1.0, 2.0]) - np.asarray(q).min(axis=0)).mean()
    assert float(actor_loss(warm, drawn, q)) == pytest.approx(float(wanted))
    hot = eqx.tree_at(lambda m: m.log_temperature, START.model, jnp.float32(2.0))
    settings = replace(SETTINGS, target_entropy=-1.5)
    assert float(temperature_loss(settings, hot, drawn)) == pytest.approx(-2.0 * (0.5 - 1.5))
    assert temperature_loss(replace(SETTINGS, target_entropy=None), hot, drawn) == 0.0
    eager = replace(SETTINGS, target_entropy=1.0)
    slope = jax.grad(lambda m: temperature_loss(eager, m, drawn))(hot).log_temperature
    assert float(slope) < 0.0, "entropy −0.5 is below the target 1: descent raises the temperature"


def test_sac_learns_the_reward_and_best_action_of_a_one_step_problem():
    """One state, every step ends: Q(s, a) is the reward 1 − (a − 2)²/4, and the actor finds its best action, 2."""
    action = jnp.linspace(-1.0, 3.0, 64)[:, None]
    state_rows = jnp.zeros((64, 1))
    reward = 1.0 - (action[:, 0] - 2.0) ** 2 / 4
    batch = Rewarded(Transitions(state_rows, action, state_rows, jnp.ones(64, bool)), reward)
    settings = SAC(
        critic=TINY,
        actor=Network(hidden=()),
        learning_rate=1e-2,
        actor_learning_rate=1e-2,
        temperature=0.01,
        target_entropy=None,
        average_rate=0.1,
    )

    @jax.jit
    def learnt(key):
        state = settings.init(SPEC, ENCODER, key)
        return jax.lax.fori_loop(0, 1000, lambda i, s: settings.update(s, batch, jr.fold_in(key, i))[0], state)

    state = learnt(jr.key(0))
    model = state.model
    for member in np.asarray(model.unit_q(model.encoder(state_rows), model.actions.to_unit(action))):
        np.testing.assert_allclose(member, reward, atol=0.1)
    assert float(settings.policy(state).act(state_rows[:1])[0, 0]) == pytest.approx(2.0, abs=0.25)


CLONED = TaskSpec(ArraySpec((3,)), Bounds((-1.0, 0.0), (1.0, 4.0)))


def linear_expert(slopes: np.ndarray) -> Transitions:
    """A linear policy that is clipped at its bounds, [-1, 1] and [0, 4]."""
    obs = np.random.default_rng(0).uniform(-1, 1, (256, 3)).astype(np.float32)
    action = jnp.asarray(np.clip(obs @ slopes, -1.0, 1.0) * [1.0, 2.0] + [0.0, 2.0], jnp.float32)
    return Transitions(jnp.asarray(obs), action, jnp.asarray(obs), jnp.zeros(256, bool))


def cloned(slopes: np.ndarray, settings: BCContinuous) -> tuple[np.ndarray, np.ndarray]:
    """The actions of a clone of a linear policy, and those of the policy."""
    rows = linear_expert(slopes)
    state = trained(settings, rows)
    assert int(state.step) == 800
    assert state.target is None
    return np.asarray(settings.policy(state).act(rows.obs)), np.asarray(rows.action)


@eqx.filter_jit
def trained(settings: BCContinuous, rows: Transitions):
    """The state after 800 updates on these rows."""
    state = settings.init(CLONED, encoders.blank(CLONED.obs, "none"), jr.key(0))
    batch = Batch(rows, None, rows.obs)
    return jax.lax.fori_loop(0, 800, lambda _, s: settings.update(s, batch, jr.key(1))[0], state)


CLONE = BCContinuous(actor=Network(hidden=(16,)), learning_rate=1e-2, weight_decay=0.0)
SLOPES = np.array([[0.4, -0.1], [0.2, 0.3], [-0.2, 0.3]], np.float32)


def test_cloning_recovers_a_linear_policy():
    did, expected = cloned(SLOPES, CLONE)
    error = np.abs(did - expected)
    assert (error.max(axis=0) < [0.15, 0.3]).all()
    assert (error.mean(axis=0) < [0.03, 0.06]).all()


def test_pretraining_recovers_a_linear_policy():
    rows, encoder = linear_expert(SLOPES), encoders.blank(CLONED.obs, "none")
    model = CLONE.init(CLONED, encoder, jr.key(0)).model
    actor, error = clone(model, rows.obs, rows.action, jr.key(1), 800)
    did = eqx.tree_at(lambda m: m.actor, model, actor).act(rows.obs)
    assert (np.abs(did - rows.action).mean(axis=0) < [0.06, 0.12]).all()
    assert 0.0 < error < 0.01


def test_an_expert_at_its_bounds_is_cloned_better_by_clipping_than_by_tanh():
    errors = {}
    for squash in ("clip", "tanh"):
        did, expected = cloned(8.0 * SLOPES, replace(CLONE, squash=squash))
        errors[squash] = float(np.mean((did - expected) ** 2))
    assert errors["clip"] < 0.7 * errors["tanh"]


def test_cloning_step_size_decays():
    """After 400 updates, a step with decay_after=100 is 100/401 of a step without decay."""
    obs = jnp.linspace(-1.0, 1.0, 8)[:, None]
    rows = Transitions(obs, obs, obs, jnp.zeros(8, bool))
    moved = []
    for decay_after in (0, 100):
        settings = replace(CLONE, decay_after=decay_after)
        state = replace(settings.init(SPEC, ENCODER, jr.key(0)), step=jnp.int32(400))
        after, _ = jax.jit(settings.update)(state, Batch(rows, None, obs), jr.key(1))
        moved.append(after.model.actor.layers[0].weight - state.model.actor.layers[0].weight)
    assert float(jnp.abs(moved[0]).max()) > 1e-3
    np.testing.assert_allclose(moved[1], moved[0] * (100 / 401), rtol=1e-2, atol=1e-7)


def test_bc_and_recommended_iq_clip_actions_but_sac_and_default_iq_use_tanh():
    assert BCContinuous().squash == IQLearnContinuous.recommended(True, False).squash == "clip"
    assert SAC().squash == IQLearnContinuous().squash == "tanh"
