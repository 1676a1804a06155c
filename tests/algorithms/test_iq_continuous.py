"""The objective for continuous actions: its gradients, the values of ends, and numbers computed by hand."""

from dataclasses import replace
from typing import get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from iqlearn import Cloning, InputError, IQLearnContinuous, Network
from iqlearn.algorithms.base import TrainState
from iqlearn.algorithms.common import Slow, next_value
from iqlearn.algorithms.objective import critic_loss, next_values
from iqlearn.data.replay import filled
from iqlearn.data.sources import Demonstrations
from iqlearn.networks import encoders
from iqlearn.objectives import SoftValues
from iqlearn.objectives.divergences import DivergenceName
from iqlearn.objectives.iq import ValueTerm
from iqlearn.types import ArraySpec, Batch, Bounds, TaskSpec, Transitions

TINY = Network(hidden=(8,))
SETTINGS = replace(IQLearnContinuous.recommended(True, False), critic=TINY, actor=TINY, batch_size=4)
SPEC = TaskSpec(ArraySpec((3,)), Bounds((-2.0, 0.0), (2.0, 10.0)))
ENCODER = encoders.blank(SPEC.obs, "standard", 10.0)
BOUND = 1.0 / (1.0 - 0.9)
KEY = jr.key(7)


def rows(seed: int, terminal: bool | None = None) -> Transitions:
    """Four transitions. Every other one ends, unless `terminal` is given for all."""
    rng = np.random.default_rng(seed)
    obs, next_obs = (jnp.asarray(rng.normal(size=(4, 3)), jnp.float32) for _ in range(2))
    action = jnp.asarray(rng.uniform(SPEC.bounds.low, SPEC.bounds.high, (4, 2)), jnp.float32)
    ends = jnp.arange(4) % 2 == 0 if terminal is None else jnp.full(4, terminal)
    return Transitions(obs, action, next_obs, ends)


def batch(terminal: bool | None = None) -> Batch:
    return Batch(rows(0, terminal), rows(1, terminal), rows(2).obs)


START = eqx.filter_jit(lambda: SETTINGS.init(SPEC, ENCODER, jr.key(0)))()


def grown(factor: float) -> TrainState:
    """The first state with the critics' last layers multiplied by `factor`."""
    layer = jax.tree.map(lambda w: factor * w, START.model.critic.members.layers[-1])
    return replace(START, model=eqx.tree_at(lambda m: m.critic.members.layers[-1], START.model, layer))


STATE = grown(30.0)


@eqx.filter_jit
def evaluated(settings: IQLearnContinuous, state: TrainState, batch: Batch) -> tuple[dict, dict]:
    """The metrics of the loss, and the gradients of the critics' and of the actor's part of it."""

    def parts(model):
        metrics = settings.loss(model, state, batch, KEY)[1]
        return {name: metrics[name] for name in ("critic_loss", "actor_loss")}, metrics

    gradients, metrics = jax.jacrev(parts, has_aux=True)(state.model)
    return metrics, gradients


def zero(tree) -> bool:
    return all(not np.any(leaf) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("form", ["inverse", "least_squares"])
def test_critic_loss_has_gradients_only_in_the_critic(form):
    settings = replace(SETTINGS, form=form, gradient_penalty=10.0 if form == "inverse" else None)
    gradient = evaluated(settings, STATE, batch())[1]["critic_loss"]
    assert not zero(gradient.critic)
    assert zero(gradient.actor)
    assert zero((gradient.encoder, gradient.actions))
    assert zero(gradient.log_temperature), "else the objective pulls a learnt temperature off its target entropy"


def test_actor_loss_has_gradients_only_in_the_actor():
    gradient = evaluated(SETTINGS, STATE, batch())[1]["actor_loss"]
    assert not zero(gradient.actor)
    assert zero((gradient.critic, gradient.log_temperature, gradient.encoder, gradient.actions))


value_of_policy = eqx.filter_jit(next_value)


def value_after(settings: IQLearnContinuous, state: TrainState, rows: Transitions):
    """γV(s'), where the first four rows are the expert's and the others are the learner's."""
    actor = state.target.actor if settings.next_policy == "averaged" else None
    value = value_of_policy(state.model, state.target.critic, actor, rows, KEY)
    ends = jnp.where(jnp.arange(len(rows.terminal)) < 4, 1.0, -1.0)
    return next_values(settings, value, rows.terminal, ends)


def test_expert_ends_have_the_highest_value_and_learner_ends_the_lowest():
    both = jax.tree.map(lambda *x: jnp.concatenate(x), rows(0, True), rows(1, True))
    ends = 0.9 * BOUND * np.repeat([[1, -1]] * 2, 4, axis=1)  # a row a critic
    np.testing.assert_allclose(value_after(SETTINGS, STATE, both), ends, rtol=1e-5)
    np.testing.assert_allclose(value_after(replace(SETTINGS, chi2_alpha=2.0), STATE, both), 4 * ends, rtol=1e-5)


def test_ends_without_absorbing_states_have_value_zero():
    settings = replace(SETTINGS, absorbing=False)
    both = jax.tree.map(lambda *x: jnp.concatenate(x), rows(0, True), rows(1, None))
    value = value_after(settings, STATE, both)
    assert not np.any(value[:, :4])
    for member in value[:, 4:]:
        np.testing.assert_array_equal(member == 0.0, both.terminal[4:])


def test_time_limits_keep_the_next_value():
    """A row that is not terminal keeps the value of s', with and without absorbing states."""
    both = rows(0, False)
    values = [value_after(replace(SETTINGS, absorbing=flag), STATE, both) for flag in (True, False)]
    np.testing.assert_array_equal(*values)
    assert np.abs(values[0]).max() < 0.9 * BOUND


@pytest.mark.parametrize("factor", [1e4, -1e4])
def test_the_next_value_is_clipped_to_the_bound(factor):
    state, four = grown(factor), rows(0, False)
    assert np.abs(value_after(SETTINGS, state, four)).max() == pytest.approx(0.9 * BOUND, rel=1e-5)
    assert np.abs(value_after(replace(SETTINGS, clip_value=False), state, four)).max() > 10 * BOUND


def test_clip_value_is_refused_with_unbounded_divergences():
    for divergence in ("w1", "unbiased_kl"):
        with pytest.raises(InputError, match="clip_value is True; expected False with divergence"):
            replace(SETTINGS, divergence=divergence)


@pytest.mark.parametrize(("divergence", "bounded"), [("tv", True), ("w1", False), ("unbiased_kl", False)])
def test_next_value_bound_follows_the_divergence(divergence, bounded):
    """A divergence that bounds no reward leaves V(s') as it is."""
    settings = replace(SETTINGS, divergence=divergence, chi2_alpha=2.5, clip_value=bounded)
    value = np.asarray(value_after(settings, grown(1e4), rows(0, False)))
    if bounded:
        assert np.abs(value).max() == pytest.approx(0.9 * 5 * BOUND, rel=1e-5)
    else:
        assert np.abs(value).max() > 10 * BOUND
    ends = np.asarray(value_after(settings, STATE, rows(0, True)))
    np.testing.assert_allclose(ends, 0.9 * 5 * BOUND, rtol=1e-6)


def critics_of(rows: Transitions) -> np.ndarray:
    """Q of each critic."""
    model = STATE.model
    return np.asarray(model.unit_q(model.encoder(rows.obs), model.actions.to_unit(rows.action)), np.float64)


def test_least_squares_loss_matches_the_hand_computed_value():
    """Where every row ends, γV(s') is known: +γ·r_max/(1−γ) for the expert, −γ·r_max/(1−γ) for the learner."""
    settings, b = replace(SETTINGS, form="least_squares"), batch(True)
    end = 0.9 * BOUND
    expert, visited = critics_of(b.expert) - end, critics_of(b.visited) + end
    wanted = 0.5 * (((expert - 1.0) ** 2).mean() + ((visited + 1.0) ** 2).mean())
    assert float(evaluated(settings, STATE, b)[0]["critic_loss"]) == pytest.approx(wanted, rel=1e-5)


def test_inverse_form_loss_matches_the_hand_computed_value():
    """χ² on the expert, and the expert's states as initial states: J = E[r − r²/2] − (1−γ)·E[V(s)]."""
    settings, b = replace(SETTINGS, divergence="chi2", value_term="expert_states", clip_value=False), batch(True)
    metrics = evaluated(settings, STATE, b)[0]
    reward = critics_of(b.expert) - 0.9 * BOUND
    wanted = 0.1 * float(metrics["value"]) - (reward - reward**2 / 2).mean()
    assert float(metrics["critic_loss"]) == pytest.approx(wanted, rel=1e-4)
    assert float(metrics["expert_reward"]) == pytest.approx(reward.mean(), rel=1e-4)


def test_every_divergence_and_value_term_has_finite_loss_and_gradients():
    """The loss and its gradients in the networks' outputs, for ordinary and for huge values. `mixture` is also tested
    offline, where every row is the expert's."""
    pairs = [(d, t) for d in get_args(DivergenceName) for t in get_args(ValueTerm)]
    draw = np.random.default_rng(3).normal

    def values(size: float) -> tuple[SoftValues, jax.Array]:
        q, v, next_v, initial_v = (
            jnp.asarray(size * draw(size=s), jnp.float32) for s in ((2, 8), (2, 8), (2, 8), (2, 4))
        )
        return SoftValues(q, v, next_v), initial_v

    @jax.jit
    def all_pairs(values, initial_v):
        def loss(values, initial_v, divergence, term):
            settings = replace(SETTINGS, divergence=divergence, value_term=term, clip_value=False)
            online = critic_loss(settings, values, 4, initial_v, None)[0]
            return online + (critic_loss(settings, values, 8, initial_v, None)[0] if term == "mixture" else 0.0)

        return [jax.value_and_grad(loss, argnums=(0, 1))(values, initial_v, *pair) for pair in pairs]

    for size in (1.0, 1e3):
        found = all_pairs(*values(size))
        for pair, result in zip(pairs, found, strict=True):
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result)), pair
            assert np.any(result[1][0].q), pair
        assert len({float(loss) for loss, _ in found}) > 30, "they are different losses"


@pytest.mark.parametrize("term", get_args(ValueTerm))
def test_offline_critic_loss_has_the_expert_rows_in_place_of_the_learner_rows(term):
    """Without learner rows, the loss is that of the expert's rows on both sides, for every divergence."""
    draw = np.random.default_rng(4).normal
    q, v, next_v, initial_v = (jnp.asarray(draw(size=(2, 4)), jnp.float32) for _ in range(4))
    alone = SoftValues(q, v, next_v)
    twice = SoftValues(*(jnp.concatenate([x, x], axis=1) for x in alone))
    mixed = SoftValues(*(jnp.concatenate([x, 2.0 * x], axis=1) for x in alone))
    moved = set()
    for name in get_args(DivergenceName):
        settings = replace(SETTINGS, divergence=name, value_term=term, clip_value=False)
        offline, both, other = (float(critic_loss(settings, x, 4, initial_v, None)[0]) for x in (alone, twice, mixed))
        assert offline == pytest.approx(both, rel=1e-5), name
        moved |= {name} if abs(other - both) > 1e-3 else set()
    assert {"chi2_mixture", "tv"} <= moved, "these read the learner's rows"


def test_offline_batch_gives_the_loss_of_the_expert_divergence_and_value_term():
    """`chi2_mixture` is then `chi2`, and the value term `mixture` is `expert`."""
    offline = Batch(rows(0), None, rows(2).obs)
    assert (SETTINGS.divergence, SETTINGS.value_term) == ("chi2_mixture", "mixture")
    expert = replace(SETTINGS, divergence="chi2", value_term="expert", clip_value=False)
    loss = eqx.filter_jit(lambda settings: settings.loss(STATE.model, STATE, offline, KEY)[1]["critic_loss"])
    assert float(loss(replace(SETTINGS, clip_value=False))) == pytest.approx(float(loss(expert)), rel=1e-5)


@pytest.mark.parametrize("term", get_args(ValueTerm))
def test_every_value_term_gives_finite_gradients_of_critic_and_actor(term):
    divergence = "chi2" if term == "expert_states" else "chi2_mixture"
    settings = replace(SETTINGS, value_term=term, divergence=divergence, clip_value=False)
    metrics, gradients = evaluated(settings, STATE, batch(True))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((metrics, gradients)))
    assert not zero(gradients["critic_loss"].critic)
    assert not zero(gradients["actor_loss"].actor)


@pytest.mark.parametrize("acts", [True, False])
def test_gradient_penalty_is_finite_and_positive_only_for_steep_critics(acts):
    b = batch()
    points = jax.tree.map(lambda *x: jnp.concatenate(x), *([b.expert, b.visited] if acts else [b.expert]))

    @jax.jit
    def penalty(model):
        def of(model):
            unit = model.actions.to_unit(points.action)
            return SETTINGS.roughness(model, model.encoder(points.obs), unit, 4, KEY)

        return jax.value_and_grad(of)(model)

    for factor in (0.0, 1.0, 1e3):
        value, gradient = penalty(grown(factor).model)
        assert np.isfinite(value)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
        assert (value > 0.0) == (factor == 1e3), "only a critic steeper than 1 is penalised"


def test_the_gradient_penalty_is_added_to_the_critic_loss():
    steep = replace(SETTINGS, gradient_penalty=10.0), SETTINGS
    with_it, without = (evaluated(settings, grown(1e3), batch())[0] for settings in steep)
    assert float(with_it["critic_loss"]) > float(without["critic_loss"])
    assert float(with_it["actor_loss"]) == pytest.approx(float(without["actor_loss"]))


def test_offline_update_adds_the_cloning_error_to_the_actor_loss():
    alone, expert = replace(SETTINGS, value_term="expert"), rows(0)
    settings = replace(alone, extensions=(Cloning(weight=7.0, regularisation=0.0),))
    offline = Batch(expert, None, rows(2).obs)

    @jax.jit
    def both(state: TrainState):
        with_it = replace(state, aux={"cloning": {}})
        return settings.update(with_it, offline, KEY), alone.loss(state.model, state, offline, KEY)[1]

    (state, metrics), without = both(STATE)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state, metrics)))
    assert "visited_reward" not in metrics
    model = STATE.model
    mean = model.actions.to_unit(model.act(expert.obs))
    error = ((mean - model.actions.to_unit(expert.action)) ** 2).sum(axis=1).mean()
    assert float(metrics["squared_error"]) == pytest.approx(float(error), rel=1e-4)
    cloned = float(without["actor_loss"]) + 7.0 * float(error)
    assert float(metrics["actor_loss"]) == pytest.approx(cloned, rel=1e-4)


def test_least_squares_form_is_refused_offline():
    settings = replace(SETTINGS, form="least_squares")
    settings.check(True)
    with pytest.raises(InputError, match=r"form is 'least_squares'; expected inverse offline"):
        settings.check(False)


def moved(actor, by: float):
    """The actor with its means shifted by `by` and the same deviations."""
    bias = actor.layers[-1].bias
    return eqx.tree_at(lambda a: a.layers[-1].bias, actor, bias.at[: len(bias) // 2].add(by))


def test_policy_regularisation_pulls_the_actor_to_its_clone_in_visited_states():
    """The term is the weight times the squared distance of the modes in visited rows, times the trust from the critics'
    reward there. The expert's rows do not matter."""
    part = Cloning(updates=1, weight=0.0, regularisation=3.0)
    settings = replace(SETTINGS, extensions=(part,))
    clone = moved(STATE.model.actor, -0.25)  # two actions, 0.25 off each

    @jax.jit
    def both(state: TrainState, batch: Batch):
        held = replace(state, aux={"cloning": {"clone": clone}})
        metrics = [s.loss(state.model, held, batch, KEY)[1] for s in (settings, SETTINGS)]
        return metrics, jax.grad(lambda m: settings.loss(m, held, batch, KEY)[1]["clone_distance"])(state.model)

    def pull(state: TrainState, batch: Batch) -> float:
        (held, free), _ = both(state, batch)
        assert float(held["critic_loss"]) == float(free["critic_loss"])
        return float(held["actor_loss"]) - float(free["actor_loss"])

    bias = STATE.model.critic.members.layers[-1].bias
    (held, free), slope = both(STATE, batch())
    assert float(held["clone_distance"]) == pytest.approx(2 * 0.25**2, rel=1e-4)
    assert "clone_distance" not in free
    assert not zero(slope.actor)
    assert zero(slope.critic)
    assert 0.0 < pull(STATE, batch()) <= 3.0 * 2 * 0.25**2
    bright = eqx.tree_at(lambda t: t.model.critic.members.layers[-1].bias, STATE, bias + 100.0)
    assert pull(bright, batch()) == pytest.approx(3.0 * 2 * 0.25**2, rel=1e-2)
    gloomy = eqx.tree_at(lambda t: t.model.critic.members.layers[-1].bias, STATE, bias - 100.0)
    assert float(both(gloomy, batch())[0][0]["visited_reward"]) < -1.0
    assert pull(gloomy, batch()) == pytest.approx(0.0, abs=1e-3)
    elsewhere = batch()._replace(expert=rows(5))
    assert float(both(STATE, elsewhere)[0][0]["clone_distance"]) == pytest.approx(2 * 0.25**2, rel=1e-4)


def test_policy_regularisation_is_refused_offline():
    part = Cloning(updates=1, regularisation=2.0)
    settings = replace(SETTINGS, extensions=(part,))
    part.check(settings, True, 100)
    with pytest.raises(InputError, match=r"cloning\.regularisation is 2\.0; expected 0 offline"):
        part.check(settings, False, 100)


def test_updates_change_neither_the_clone_nor_a_fixed_temperature():
    part = Cloning(updates=1, regularisation=1.0)
    start = replace(START, aux={"cloning": {"clone": START.model.actor}})
    state = updated(replace(SETTINGS, extensions=(part,)), start)
    assert zero(jax.tree.map(jnp.subtract, state.aux["cloning"]["clone"], START.model.actor))
    assert not zero(jax.tree.map(jnp.subtract, state.model.actor, START.model.actor))
    assert float(state.model.log_temperature) == float(START.model.log_temperature)
    assert float(state.model.temperature) == pytest.approx(0.002)
    assert int(state.step) == 20
    known = Demonstrations(filled(rows(0)), filled(rows(2).obs))
    assert part.begin(SPEC, SETTINGS, START, known, KEY)["clone"] is START.model.actor
    assert not Cloning(regularisation=0.0).begin(SPEC, SETTINGS, START, known, KEY)


TARGETS = replace(STATE, target=Slow(STATE.model.critic, STATE.target.actor))
"""A state with target critics."""


@pytest.mark.parametrize(("rate", "share"), [(0.0, 1.0 - 0.9), (0.005, 1.0)])
def test_constant_shift_of_q_telescopes_without_target_critics(rate, share):
    """Q + k raises r and V(s) − γV(s') by (1−γ)·k, so ∂(−J)/∂k = (1−γ)·E[r] for c = ½, or E[r] with a fixed V(s')."""
    settings, b, state = replace(SETTINGS, target_rate=rate), batch(False), TARGETS if rate else STATE
    metrics, gradients = evaluated(settings, state, b)
    reward = 0.5 * float(metrics["expert_reward"] + metrics["visited_reward"])
    gradient = gradients["critic_loss"].critic.members.layers[-1].bias
    assert abs(reward) > 1e-3
    assert float(gradient.sum()) == pytest.approx(share * reward, rel=1e-3)


def test_every_critic_uses_the_minimum_of_the_target_critics():
    both, live = rows(0, False), grown(3.0)
    state = replace(live, target=TARGETS.target)
    slow = value_after(SETTINGS, state, both)
    least = value_after(SETTINGS, STATE, both).min(axis=0)  # the target critics are STATE's newest critics
    np.testing.assert_allclose(slow, np.stack([least, least]), rtol=1e-5)
    assert not np.allclose(slow, value_after(SETTINGS, live, both)), "without them it follows the newest critics"
    np.testing.assert_array_equal(value_after(replace(SETTINGS, form="least_squares"), state, both), slow)


def test_next_policy_selects_the_averaged_or_the_live_actor_for_the_next_value():
    """Moving the selected actor changes the next value. Moving the other one does not."""
    both = rows(0, False)
    averaged = replace(STATE, target=STATE.target._replace(actor=moved(STATE.target.actor, 0.5)))
    live = eqx.tree_at(lambda s: s.model.actor, STATE, moved(STATE.model.actor, -0.5))
    for policy, heard, unheard in (("averaged", averaged, live), ("live", live, averaged)):
        settings = replace(SETTINGS, next_policy=policy)
        value = value_after(settings, STATE, both)
        np.testing.assert_array_equal(value_after(settings, unheard, both), value)
        assert not np.array_equal(value_after(settings, heard, both), value)


@eqx.filter_jit
def updated(settings: IQLearnContinuous, start: TrainState) -> TrainState:
    """The state after 20 updates."""

    def step(i: jax.Array, state: TrainState) -> TrainState:
        return settings.update(state, batch(), jr.fold_in(KEY, i))[0]

    return jax.lax.fori_loop(0, 20, step, start)


@pytest.mark.parametrize(("spread", "direction"), [(-10.0, 1), (0.0, -1)])
def test_a_learnt_temperature_moves_towards_the_target_entropy(spread, direction):
    """The entropy per dimension is near −0.1 for the first actor, and near −3.6 with the smallest deviation."""
    settings = replace(SETTINGS, target_entropy=-1.5, actor_learning_rate=1e-2)
    start = eqx.tree_at(lambda s: s.model.actor.layers[-1].bias, START, jnp.array([0.0, 0.0, spread, spread]))
    state = updated(settings, start)
    assert direction * (float(state.model.log_temperature) - np.log(0.002)) > 0.1
    assert float(settings.policy(state).log_temperature) == float(state.model.log_temperature)
