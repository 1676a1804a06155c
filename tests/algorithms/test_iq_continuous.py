"""The continuous objective: what its gradients reach, what ends are worth, and the numbers it gives."""

from dataclasses import replace
from typing import get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from iqlearn.algorithms import InverseSoftActorCritic, TrainState
from iqlearn.errors import InputError
from iqlearn.objectives import SoftValues
from iqlearn.settings import DivergenceName, IQLearnContinuous, Network, ValueTerm
from iqlearn.settings.continuous import Imitation
from iqlearn.types import Batch, Bounds, ObservationScale, TaskSpec, Transitions

TINY = Network(hidden=(8,), ensemble=2)
SETTINGS = IQLearnContinuous(network=TINY, actor=Network(hidden=(8,)), batch_size=4, gamma=0.9)
SPEC = TaskSpec((3,), Bounds((-2.0, 0.0), (2.0, 10.0)))
SCALE = ObservationScale(jnp.zeros(3), jnp.ones(3), jnp.float32(10.0))
BOUND = 1.0 / (1.0 - 0.9)
KEY = jr.key(7)


def rows(seed: int, terminal: bool | None = None) -> Transitions:
    """Four transitions; every other one ends unless `terminal` says of all whether they do."""
    rng = np.random.default_rng(seed)
    obs, next_obs = (jnp.asarray(rng.normal(size=(4, 3)), jnp.float32) for _ in range(2))
    action = jnp.asarray(rng.uniform(SPEC.bounds.low, SPEC.bounds.high, (4, 2)), jnp.float32)
    ends = jnp.arange(4) % 2 == 0 if terminal is None else jnp.full(4, terminal)
    return Transitions(obs, action, next_obs, ends)


def batch(terminal: bool | None = None) -> Batch:
    return Batch(rows(0, terminal), rows(1, terminal), rows(2).obs)


START = eqx.filter_jit(lambda: InverseSoftActorCritic(SETTINGS).init(SPEC, SCALE, jr.key(0)))()


def grown(factor: float):
    """A state whose critics' last layers are `factor` times what they begin with."""
    layer = jax.tree.map(lambda w: factor * w, START.model.critic.members.layers[-1])
    model = eqx.tree_at(lambda m: m.critic.members.layers[-1], START.model, layer)
    return eqx.tree_at(lambda s: (s.model, s.target), START, (model, model))


STATE = grown(30.0)


@eqx.filter_jit
def told(settings: IQLearnContinuous, state: TrainState, batch: Batch) -> dict:
    """The metrics of the loss."""
    return InverseSoftActorCritic(settings).loss(state.model, state.target, batch, KEY)[1]


@eqx.filter_jit
def gradient_of(name: str, settings: IQLearnContinuous, state: TrainState, batch: Batch):
    learner = InverseSoftActorCritic(settings)
    return jax.grad(lambda model: learner.loss(model, state.target, batch, KEY)[1][name])(state.model)


def zero(tree) -> bool:
    return all(not np.any(leaf) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("form", ["inverse", "least_squares"])
def test_the_critic_loss_reaches_the_critic_only(form):
    gradient = gradient_of("critic_loss", replace(SETTINGS, form=form, gradient_penalty=1.0), STATE, batch())
    assert not zero(gradient.critic)
    assert zero(gradient.actor)
    assert zero((gradient.scale, gradient.actions))


def test_the_actor_loss_reaches_the_actor_only():
    gradient = gradient_of("actor_loss", SETTINGS, STATE, batch())
    assert not zero(gradient.actor)
    assert zero((gradient.critic, gradient.log_temperature, gradient.scale, gradient.actions))


def test_the_critic_loss_does_not_reach_the_temperature():
    """Else a learnt temperature is pulled off its target entropy by the objective."""
    assert zero(gradient_of("critic_loss", SETTINGS, STATE, batch()).log_temperature)


@eqx.filter_jit
def next_value(settings: IQLearnContinuous, state: TrainState, rows: Transitions, n: int):
    learner = InverseSoftActorCritic(settings)
    return learner.next_value(state.model, state.target, rows, n, KEY)


def test_an_end_of_the_expert_is_worth_the_most_and_one_of_the_learner_the_least():
    both = jax.tree.map(lambda *x: jnp.concatenate(x), rows(0, True), rows(1, True))
    ends = 0.9 * BOUND * np.repeat([[1, -1]] * 2, 4, axis=1)  # a row a critic
    np.testing.assert_allclose(next_value(SETTINGS, STATE, both, 4), ends, rtol=1e-5)
    np.testing.assert_allclose(next_value(replace(SETTINGS, chi2_alpha=2.0), STATE, both, 4), 4 * ends, rtol=1e-5)


def test_without_absorbing_states_an_end_is_worth_nothing():
    settings = replace(SETTINGS, absorbing=False)
    both = jax.tree.map(lambda *x: jnp.concatenate(x), rows(0, True), rows(1, None))
    value = next_value(settings, STATE, both, 4)
    assert not np.any(value[:, :4])
    for member in value[:, 4:]:
        np.testing.assert_array_equal(member == 0.0, both.terminal[4:])


def test_a_time_limit_is_no_end():
    """A row that is not terminal keeps the value of s', whatever absorbing states are worth."""
    both = rows(0, False)
    values = [next_value(replace(SETTINGS, absorbing=flag), STATE, both, 4) for flag in (True, False)]
    np.testing.assert_array_equal(*values)
    assert np.abs(values[0]).max() < 0.9 * BOUND


@pytest.mark.parametrize("factor", [1e4, -1e4])
def test_the_next_value_is_clipped_to_the_bound(factor):
    value = np.asarray(next_value(SETTINGS, grown(factor), rows(0, False), 4))
    assert np.abs(value).max() == pytest.approx(0.9 * BOUND, rel=1e-5)


@pytest.mark.parametrize(("divergence", "bound"), [("tv", 5.0 * BOUND), ("w1", None), ("unbiased_kl", None)])
def test_the_bound_is_that_of_the_divergence(divergence, bound):
    """TV has its own, which ends are worth as well; a divergence that bounds no reward leaves V(s') as it is."""
    settings = replace(SETTINGS, divergence=divergence, reward_bound=5.0, gradient_penalty=10.0)
    value = np.asarray(next_value(settings, grown(1e4), rows(0, False), 4))
    if bound is None:
        assert np.abs(value).max() > 10 * BOUND
    else:
        assert np.abs(value).max() == pytest.approx(0.9 * bound, rel=1e-5)
        ends = np.asarray(next_value(settings, STATE, rows(0, True), 4))
        np.testing.assert_allclose(ends, 0.9 * bound, rtol=1e-6)


def test_least_squares_is_the_value_computed_by_hand():
    """Where every row ends, γV(s') is known: +γ·r_max/(1−γ) for the expert, −γ·r_max/(1−γ) for the learner."""
    settings, b = replace(SETTINGS, form="least_squares"), batch(True)
    expert, visited = (np.asarray(STATE.model.member_q(x.obs, x.action), np.float64) for x in (b.expert, b.visited))
    end = 0.9 * BOUND
    wanted = 0.5 * (((expert - end - 1.0) ** 2).mean() + ((visited + end + 1.0) ** 2).mean())
    assert float(told(settings, STATE, b)["critic_loss"]) == pytest.approx(wanted, rel=1e-5)


def test_the_inverse_form_is_the_value_computed_by_hand():
    """χ² on the expert, and (1−γ)·V of initial states that are the expert's: J = E[r − r²/2] − (1−γ)·E[V(s)]."""
    settings, b = replace(SETTINGS, divergence="chi2", value_term="expert_states"), batch(True)
    metrics = told(settings, STATE, b)
    reward = np.asarray(STATE.model.member_q(b.expert.obs, b.expert.action), np.float64) - 0.9 * BOUND
    wanted = 0.1 * float(metrics["value"]) - (reward - reward**2 / 2).mean()
    assert float(metrics["critic_loss"]) == pytest.approx(wanted, rel=1e-4)
    assert float(metrics["expert_reward"]) == pytest.approx(reward.mean(), rel=1e-4)


def test_every_divergence_with_every_value_term_is_finite_with_finite_gradients():
    """Of ordinary values and of huge ones: the objective and what flows back into the networks' outputs."""
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
            learner = InverseSoftActorCritic(replace(SETTINGS, divergence=divergence, value_term=term))
            return learner.critic_loss(values, 4, initial_v)[0]

        return [jax.value_and_grad(loss, argnums=(0, 1))(values, initial_v, *pair) for pair in pairs]

    for size in (1.0, 1e3):
        found = all_pairs(*values(size))
        for pair, result in zip(pairs, found, strict=True):
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result)), pair
            assert np.any(result[1][0].q), pair
        assert len({float(loss) for loss, _ in found}) > 30, "they are different losses"


def test_every_value_term_gives_finite_gradients_of_critic_and_actor():
    @jax.jit
    def all_terms(model, target):
        learners = [InverseSoftActorCritic(replace(SETTINGS, value_term=term)) for term in get_args(ValueTerm)]
        return [jax.grad(lambda m, of=x.loss: of(m, target, batch(), KEY)[0])(model) for x in learners]

    for gradient in all_terms(STATE.model, STATE.target):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
        assert not zero(gradient.critic)
        assert not zero(gradient.actor)


@pytest.mark.parametrize("learner_acts", [True, False])
def test_the_gradient_penalty_is_finite_and_not_negative(learner_acts):
    learner, b = InverseSoftActorCritic(SETTINGS, learner_acts), batch()
    b = b if learner_acts else b._replace(visited=b.expert)
    points = jax.tree.map(lambda *x: jnp.concatenate(x), *([b.expert, b.visited] if learner_acts else [b.expert]))

    @jax.jit
    def penalty(model):
        def of(model):
            return learner.roughness(model, model.inputs(points.obs), model.to_unit(points.action), 4, KEY)

        return jax.value_and_grad(of)(model)

    for factor in (0.0, 1.0, 1e3):
        value, gradient = penalty(grown(factor).model)
        assert np.isfinite(value)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
        assert (value > 0.0) == (factor == 1e3), "only a critic steeper than 1 is penalised"


def test_the_gradient_penalty_is_added_to_the_critic_loss():
    with_it, without = (told(replace(SETTINGS, gradient_penalty=w), grown(1e3), batch()) for w in (10.0, 0.0))
    assert float(with_it["critic_loss"]) > float(without["critic_loss"])
    assert float(with_it["actor_loss"]) == pytest.approx(float(without["actor_loss"]))


@pytest.mark.parametrize("form", ["inverse", "least_squares"])
def test_offline_the_visited_batch_is_the_experts_and_the_actor_clones(form):
    learner = InverseSoftActorCritic(replace(SETTINGS, form=form, offline=Imitation(cloning=7.0)), learner_acts=False)
    alone = InverseSoftActorCritic(replace(SETTINGS, offline=Imitation()), learner_acts=False)
    expert = rows(0)

    @jax.jit
    def both(state: TrainState):
        offline = Batch(expert, expert, rows(2).obs)
        return learner.update(state, offline, KEY), alone.loss(state.model, state.target, offline, KEY)[1]

    (state, metrics), without = both(STATE)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state, metrics)))
    assert float(metrics["visited_reward"]) == float(metrics["expert_reward"])
    assert not learner.least_squares
    mean = model_mean(STATE.model, expert.obs)
    error = ((mean - STATE.model.to_unit(expert.action)) ** 2).sum(axis=1).mean()
    assert float(metrics["squared_error"]) == pytest.approx(float(error), rel=1e-4)
    cloned = float(without["actor_loss"]) + 7.0 * float(error)
    assert float(metrics["actor_loss"]) == pytest.approx(cloned, rel=1e-4)


def test_the_actor_hears_of_the_expert_what_its_mode_says():
    settings = replace(SETTINGS, online=Imitation(cloning=8.0), offline=Imitation(cloning=3.0))
    assert InverseSoftActorCritic(settings).imitation.cloning == 8.0
    assert InverseSoftActorCritic(settings, learner_acts=False).imitation.cloning == 3.0


def moved(actor, by: float):
    """An actor whose means are `by` from where they were; its spread stays."""
    bias = actor.layers[-1].bias
    return eqx.tree_at(lambda a: a.layers[-1].bias, actor, bias.at[: len(bias) // 2].add(by))


def test_an_anchored_actor_is_held_to_its_clone_where_the_learner_was():
    """The weight times the squared distance of the modes in visited rows, wherever the expert was, as far as the
    critics' reward there says that all is well."""
    learner = InverseSoftActorCritic(replace(SETTINGS, online=Imitation(warm_start=1, anchor=3.0)))
    clone = moved(STATE.model.actor, -0.25)  # two actions, 0.25 off each

    @jax.jit
    def both(state: TrainState, clone, batch: Batch):
        metrics = [learner.loss(state.model, state.target, batch, KEY, held)[1] for held in (clone, None)]
        slope = jax.grad(lambda m: learner.loss(m, state.target, batch, KEY, clone)[1]["clone_distance"])(state.model)
        return metrics, slope

    bias = STATE.model.critic.members.layers[-1].bias
    (held, free), slope = both(STATE, clone, batch())
    assert float(held["clone_distance"]) == pytest.approx(2 * 0.25**2, rel=1e-4)
    pull = float(held["actor_loss"]) - float(free["actor_loss"])
    assert 0.0 < pull <= 3.0 * 2 * 0.25**2
    bright = eqx.tree_at(lambda t: t.model.critic.members.layers[-1].bias, STATE, bias + 100.0)
    held, free = both(bright, clone, batch())[0]
    pull = float(held["actor_loss"]) - float(free["actor_loss"])
    assert pull == pytest.approx(3.0 * 2 * 0.25**2, rel=1e-2)
    assert float(held["critic_loss"]) == float(free["critic_loss"])
    assert "clone_distance" not in free
    assert not zero(slope.actor)
    assert zero(slope.critic)
    gloomy = eqx.tree_at(lambda t: t.model.critic.members.layers[-1].bias, STATE, bias - 100.0)
    held, free = both(gloomy, clone, batch())[0]
    assert float(held["visited_reward"]) < -1.0
    assert float(held["actor_loss"]) == pytest.approx(float(free["actor_loss"]), abs=1e-3)
    elsewhere = batch()._replace(expert=rows(5))
    assert float(both(STATE, clone, elsewhere)[0][0]["clone_distance"]) == pytest.approx(2 * 0.25**2, rel=1e-4)


def test_offline_there_is_nowhere_to_anchor():
    with pytest.raises(InputError, match=r"offline\.anchor is 2.*expected 0, offline the learner has no states"):
        replace(SETTINGS, offline=Imitation(warm_start=1, anchor=2.0))


def test_updates_leave_the_clone_as_it_is():
    settings = replace(SETTINGS, online=Imitation(warm_start=1, anchor=1.0))
    state = updated(settings, start=replace(START, clone=START.model.actor))
    assert zero(jax.tree.map(jnp.subtract, state.clone, START.model.actor))
    assert not zero(jax.tree.map(jnp.subtract, state.model.actor, state.clone))
    for imitation in (Imitation(anchor=1.0), Imitation(warm_start=1)):
        assert InverseSoftActorCritic(replace(SETTINGS, online=imitation)).init(SPEC, SCALE, KEY).clone is None


@pytest.mark.parametrize(("name", "share"), [("none", 1.0 - 0.9), ("polyak", 1.0)])
def test_raising_every_value_telescopes_without_a_target_copy(name, share):
    """Q + k raises r and V(s) − γV(s') by (1−γ)·k, so ∂(−J)/∂k = (1−γ)·E[r] for c = ½; by k where V(s') is fixed."""
    settings, b = replace(SETTINGS, target_update=name), batch(False)
    metrics = told(settings, STATE, b)
    reward = 0.5 * float(metrics["expert_reward"] + metrics["visited_reward"])
    gradient = gradient_of("critic_loss", settings, STATE, b).critic.members.layers[-1].bias
    assert abs(reward) > 1e-3
    assert float(gradient.sum()) == pytest.approx(share * reward, rel=1e-3)


def test_the_target_copy_gives_every_critic_the_least_of_the_slow_ones():
    both, state = rows(0, False), eqx.tree_at(lambda s: s.model, STATE, grown(3.0).model)
    slow = next_value(replace(SETTINGS, target_update="polyak"), state, both, 4)
    least = next_value(SETTINGS, STATE, both, 4).min(axis=0)  # there, the slow critics are the same
    np.testing.assert_allclose(slow, np.stack([least, least]), rtol=1e-5)
    assert not np.allclose(slow, next_value(SETTINGS, state, both, 4)), "without one it follows the newest critics"
    least_squares = next_value(replace(SETTINGS, form="least_squares"), state, both, 4)
    np.testing.assert_array_equal(least_squares, slow)


def test_the_next_value_is_that_of_the_averaged_actor():
    state = eqx.tree_at(lambda s: s.target.actor, STATE, jax.tree.map(lambda x: x + 0.5, STATE.target.actor))
    live = eqx.tree_at(lambda s: s.model.actor, state, jax.tree.map(lambda x: x - 0.5, STATE.model.actor))
    both = rows(0, False)
    np.testing.assert_array_equal(next_value(SETTINGS, state, both, 4), next_value(SETTINGS, live, both, 4))
    assert not np.array_equal(next_value(SETTINGS, state, both, 4), next_value(SETTINGS, STATE, both, 4))


def model_mean(model, obs: jax.Array) -> jax.Array:
    """The most likely action, in [−1, 1]."""
    return model.to_unit(model.act(obs))


def updated(settings: IQLearnContinuous, steps: int = 20, start: TrainState = START):
    learner = InverseSoftActorCritic(settings)
    update = jax.jit(lambda s, i: learner.update(s, batch(), jr.fold_in(KEY, i))[0])
    state = start
    for i in range(steps):
        state = update(state, i)
    return state


@pytest.mark.parametrize(("target_entropy", "direction"), [(0.6, 1), (-4.0, -1)])
def test_a_learnt_temperature_moves_towards_the_target_entropy(target_entropy, direction):
    """The entropy of the first actor is near −0.1 a dimension: below the one target, above the other."""
    settings = replace(SETTINGS, learn_temperature=True, target_entropy=target_entropy, actor_learning_rate=1e-2)
    state = updated(settings)
    assert direction * (float(state.model.log_temperature) - np.log(0.002)) > 0.1
    assert float(state.target.log_temperature) == float(state.model.log_temperature)


def test_a_fixed_temperature_stays():
    state = updated(replace(SETTINGS, actor_learning_rate=1e-2))
    assert float(state.model.log_temperature) == float(START.model.log_temperature)
    assert float(state.model.temperature) == pytest.approx(0.002)
    assert int(state.step) == 20
