"""What the actor-critics share, the expert's critic on a problem solved by hand, and cloning of a known policy."""

from dataclasses import replace
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from iqlearn.algorithms import ContinuousCloning, SoftActorCritic
from iqlearn.algorithms.actor_critic import actor_loss, averaged, descend, follow, temperature_loss
from iqlearn.algorithms.descent import polyak
from iqlearn.data.scale import NO_LIMIT, standard, whitening
from iqlearn.settings import SAC, BCContinuous, IQLearnContinuous, Network, from_dict, to_dict
from iqlearn.types import Batch, Bounds, ObservationScale, Rewarded, TaskSpec, Transitions

SPEC = TaskSpec((1,), Bounds((-1.0,), (3.0,)))
SCALE = ObservationScale(jnp.zeros(1), jnp.ones(1), jnp.float32(10.0))
TINY = Network(hidden=(16,), ensemble=2)


@jax.jit
def state_of():
    return SoftActorCritic(SAC(network=TINY, actor=Network(hidden=(4,)))).init(SPEC, SCALE, jr.key(0))


def shifted(model, amount: float):
    return jax.tree.map(lambda x: x + amount, model)


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_what_is_kept_has_the_newest_critics_and_the_averaged_actor():
    state = state_of()
    state = eqx.tree_at(lambda s: s.target, state, shifted(state.model, 1.0))
    kept = averaged(state)
    assert same(kept.critic, state.model.critic)
    assert same(kept.actor, state.target.actor)
    assert not same(kept.actor, state.model.actor)
    assert same((kept.log_temperature, kept.scale), (state.model.log_temperature, state.model.scale))


def test_steps_shrink_as_one_over_the_updates_once_they_settle():
    settings = SAC(network=TINY, actor=Network(hidden=(4,)), learn_temperature=False, settle_after=10)
    gradient = jax.tree.map(jnp.ones_like, state_of().model)
    for step, share in ((0, 1.0), (9, 1.0), (19, 0.5), (99, 0.1)):
        state = eqx.tree_at(lambda s: s.step, state_of(), jnp.int32(step))
        full, _ = descend(replace(settings, settle_after=0), gradient, state)
        less, _ = descend(settings, gradient, state)
        moved, whole = ((m.actor.layers[0].weight - state.model.actor.layers[0].weight) for m in (less, full))
        np.testing.assert_allclose(moved, share * whole, atol=1e-7)  # of 3e-4


def test_critics_and_actor_follow_at_their_own_rates():
    settings = SAC(target_rate=0.25, average_rate=0.5)
    old = state_of().model
    new = eqx.tree_at(
        lambda m: (m.critic, m.actor, m.log_temperature), old, shifted((old.critic, old.actor, old.log_temperature), 1)
    )
    moved = follow(settings, old, new)
    for part, share in (("critic", 0.25), ("actor", 0.5), ("log_temperature", 1.0)):
        wanted = shifted(getattr(old, part), share)
        for a, b in zip(jax.tree.leaves(getattr(moved, part)), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
    assert same((moved.scale, moved.actions), (old.scale, old.actions))


@pytest.mark.parametrize("scale", [whitening, standard, partial(standard, limit=NO_LIMIT)])
def test_a_slow_copy_of_a_scale_is_that_scale(scale):
    """A target network averages all that a model holds; what does not change must stay, ∞ − ∞ would not."""
    obs = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    made = scale(obs)
    assert same(polyak(made, made, 0.1), made)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(made))


def test_actor_and_temperature_loss_by_hand():
    q, log_prob = jnp.array([[1.0, 5.0], [2.0, 3.0]]), jnp.array([-1.0, 2.0])
    assert float(actor_loss(q, log_prob, jnp.float32(0.5))) == pytest.approx((-0.5 - 1.0 + 1.0 - 3.0) / 2)
    assert float(temperature_loss(jnp.float32(2.0), log_prob, -1.5)) == pytest.approx(-2.0 * (0.5 - 1.5))
    slope = jax.grad(temperature_loss)(jnp.float32(0.0), log_prob, 1.0)
    assert float(slope) < 0.0, "entropy −0.5 is below the target 1: descent raises the temperature"


def test_the_experts_critic_learns_the_reward_of_a_problem_of_one_step():
    """One state, every step ends: Q(s, a) is the reward 1 − (a − 2)²/4, and the actor finds its best action, 2."""
    action = jnp.linspace(-1.0, 3.0, 64)[:, None]
    state_rows = jnp.zeros((64, 1))
    reward = 1.0 - (action[:, 0] - 2.0) ** 2 / 4
    batch = Rewarded(Transitions(state_rows, action, state_rows, jnp.ones(64, bool)), reward)
    settings = SAC(
        network=TINY,
        actor=Network(hidden=()),
        learning_rate=1e-2,
        actor_learning_rate=1e-2,
        temperature=0.01,
        learn_temperature=False,
        average_rate=0.1,
    )
    learner = SoftActorCritic(settings)

    @jax.jit
    def learnt(key):
        state = learner.init(SPEC, SCALE, key)
        return jax.lax.fori_loop(0, 1000, lambda i, s: learner.update(s, batch, jr.fold_in(key, i))[0], state)

    state = learnt(jr.key(0))
    for member in np.asarray(state.model.member_q(state_rows, action)):
        np.testing.assert_allclose(member, reward, atol=0.1)
    assert float(learner.answer(state).act(state_rows[:1])[0, 0]) == pytest.approx(2.0, abs=0.25)


def cloned(slopes: np.ndarray, settings: BCContinuous) -> tuple[np.ndarray, np.ndarray]:
    """What a clone of a linear policy that is clipped at its bounds, [-1, 1] and [0, 4], does; and what it should."""
    spec = TaskSpec((3,), Bounds((-1.0, 0.0), (1.0, 4.0)))
    obs = np.random.default_rng(0).uniform(-1, 1, (256, 3)).astype(np.float32)
    action = jnp.asarray(np.clip(obs @ slopes, -1.0, 1.0) * [1.0, 2.0] + [0.0, 2.0], jnp.float32)
    rows = Transitions(jnp.asarray(obs), action, jnp.asarray(obs), jnp.zeros(256, bool))
    learner = ContinuousCloning(settings)
    scale = ObservationScale(jnp.zeros(3), jnp.ones(3), jnp.float32(10.0))

    @jax.jit
    def learnt():
        state = learner.init(spec, scale, jr.key(0))
        batch = Batch(rows, rows, rows.obs)
        return jax.lax.fori_loop(0, 800, lambda _, s: learner.update(s, batch, jr.key(1))[0], state)

    state = learnt()
    assert int(state.step) == 800
    assert state.target is None
    return np.asarray(learner.answer(state).act(rows.obs)), np.asarray(action)


CLONE = BCContinuous(actor=Network(hidden=(16,)), learning_rate=1e-2, weight_decay=0.0)
SLOPES = np.array([[0.4, -0.1], [0.2, 0.3], [-0.2, 0.3]], np.float32)


def test_cloning_recovers_a_linear_policy():
    did, expected = cloned(SLOPES, CLONE)
    error = np.abs(did - expected)
    assert (error.max(axis=0) < [0.15, 0.3]).all()
    assert (error.mean(axis=0) < [0.03, 0.06]).all()


def test_an_expert_at_its_bounds_is_cloned_better_by_clipping_than_by_tanh():
    errors = {}
    for squash in ("clip", "tanh"):
        did, expected = cloned(8.0 * SLOPES, replace(CLONE, squash=squash))
        errors[squash] = float(np.mean((did - expected) ** 2))
    assert errors["clip"] < 0.7 * errors["tanh"]


def test_a_clone_s_steps_settle():
    """After 400 updates, a step that settles after 100 is 100/401 of the one that does not."""
    obs = jnp.linspace(-1.0, 1.0, 8)[:, None]
    rows = Transitions(obs, obs, obs, jnp.zeros(8, bool))
    moved = []
    for settle_after in (0, 100):
        learner = ContinuousCloning(replace(CLONE, settle_after=settle_after))
        state = learner.init(SPEC, SCALE, jr.key(0))
        state = eqx.tree_at(lambda s: s.step, state, jnp.asarray(400, jnp.int32))
        after, _ = learner.update(state, Batch(rows, rows, obs), jr.key(1))
        moved.append(after.model.actor.layers[0].weight - state.model.actor.layers[0].weight)
    assert float(jnp.abs(moved[0]).max()) > 1e-3
    np.testing.assert_allclose(moved[1], moved[0] * (100 / 401), rtol=1e-2, atol=1e-7)


def test_runs_of_earlier_commits_keep_their_head_target_and_steps():
    bc, iq = to_dict(BCContinuous()), to_dict(IQLearnContinuous())
    del bc["squash"], bc["settle_after"], iq["squash"], iq["target_update"]
    assert from_dict(bc) == BCContinuous(squash="tanh", settle_after=0)
    assert from_dict(iq) == IQLearnContinuous(squash="tanh", target_update="polyak")
    said = to_dict(IQLearnContinuous(target_update="none"))
    del said["squash"]
    assert from_dict(said) == IQLearnContinuous(squash="tanh", target_update="none")
    assert BCContinuous().squash == IQLearnContinuous().squash == "clip"
    assert SAC().squash == "tanh"


@pytest.mark.parametrize("state_only", [True, False])
def test_runs_of_earlier_commits_keep_their_anchor_and_their_clone(state_only):
    said = to_dict(IQLearnContinuous(state_only=state_only))
    for part in ("online", "offline"):
        said[part]["anchor"] = None
        del said[part]["reach"]
    read = from_dict(said)
    assert isinstance(read, IQLearnContinuous)
    assert (read.online.anchor, read.online.reach) == (float(state_only), 0.0)
    assert (read.offline.anchor, read.offline.reach) == (0.0, 0.0)
