"""CSIL: its clone, its reward, which is high near the expert and near zero far away, and its start from the clone."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import iqlearn as iq
from iqlearn import InputError, algorithms
from iqlearn.algorithms.base import Now
from iqlearn.data.replay import filled
from iqlearn.data.sources import Demonstrations
from iqlearn.networks import encoders
from iqlearn.objectives import discounted
from iqlearn.training.learner import Learner
from iqlearn.training.streams import Streams
from iqlearn.types import ArraySpec, Bounds, TaskSpec, Transitions

TASK = TaskSpec(ArraySpec((2,)), Bounds((-1.0,), (1.0,)))
SMALL = iq.CSIL(
    critic=iq.Network((16,)),
    actor=iq.Network((256,), "silu"),
    scaling="none",
    batch_size=8,
    cloning_updates=1_500,
    critic_updates=0,
)


def rows(offset=0.0, slope=0.5, n=64, ended=False):
    """States around an offset, each of which leads to itself; actions are linear in the state."""
    obs = jnp.asarray(np.random.default_rng(0).normal(size=(n, 2)), jnp.float32)
    return Transitions(obs + offset, slope * obs[:, :1], obs + offset, jnp.full(n, ended))


def begun(settings):
    return settings.init(TASK, encoders.blank(TASK.obs, "none"), jr.key(0))


def prepared(settings, expert=None):
    expert = rows() if expert is None else expert
    known = Demonstrations(filled(expert), filled(expert.obs))
    return settings.prepare(Now(TASK, settings, known, begun(settings), known, jr.key(1)))


@pytest.fixture(scope="module")
def cloned():
    return prepared(SMALL)


def test_policy_begins_as_the_clone_and_the_clone_imitates_the_expert(cloned):
    action = cloned.model.act(rows().obs)
    assert float(jnp.mean((action - rows().action) ** 2)) < 0.1 * float(jnp.mean(rows().action ** 2))
    for net in (cloned.beside.net, cloned.beside.first):
        assert eqx.tree_equal(net, cloned.model.actor)
    assert cloned.target.actor is None
    assert eqx.tree_equal(cloned.model.critic, begun(SMALL).model.critic), "without critic_updates"


def test_far_from_demonstrations_the_clone_is_the_prior_and_the_reward_is_near_zero(cloned):
    near, far = (cloned.model.policy(rows(d).obs, cloned.beside.net) for d in (0.0, 300.0))
    assert float(jnp.exp(near.log_std).mean()) == pytest.approx(0.05, abs=0.02)
    assert 0.3 < float(jnp.exp(far.log_std).mean()) < 2.0
    assert float(jnp.abs(far.mean).mean()) < 0.5
    paid = [float(SMALL.rewards(cloned.model, cloned.beside.net, rows(d)).mean()) for d in (0.0, 300.0)]
    assert paid[0] > 2.0
    assert abs(paid[1]) < 0.3 * paid[0]
    np.testing.assert_array_equal(cloned.model.actor.layers[-1].bias, begun(SMALL).model.actor.layers[-1].bias)


def test_policy_with_zero_output_weights_is_the_prior():
    state = begun(SMALL)
    net = eqx.tree_at(lambda n: n.layers[-1].weight, state.model.actor, jnp.zeros((256, 2)))
    policy = state.model.policy(rows().obs, net)
    np.testing.assert_allclose(policy.mean, 0.0)
    np.testing.assert_allclose(policy.log_std, 0.0, atol=1e-5)


def test_wrong_actions_in_expert_states_have_a_lower_reward(cloned):
    wrong = rows()._replace(action=-rows().action)
    expert, other = (SMALL.rewards(cloned.model, cloned.beside.net, one).mean() for one in (rows(), wrong))
    assert float(other) < float(expert) - 1.0


@pytest.mark.parametrize(("ended", "share"), [(False, 2.0), (True, 1.0)])
def test_the_critics_begin_with_the_value_of_the_clone(ended, share):
    """Each state leads to itself, so its value is near the mean reward divided by 1 − γ. At an end it is the reward."""
    settings = replace(SMALL, critic_updates=3_000, gamma=0.5)
    state = prepared(settings, rows(ended=ended))
    reward = settings.rewards(state.model, state.beside.net, rows())
    value = state.model.q(rows().obs, rows().action)
    assert float(value.mean()) == pytest.approx(share * float(reward.mean()), rel=0.15)
    assert eqx.tree_equal(state.target.critic, state.model.critic)


def refined(settings, state, updates=150):
    batch = jax.tree.map(lambda *x: jnp.concatenate(x), rows(), rows(slope=0.55))
    step, figures = eqx.filter_jit(lambda state: settings.refined(state, batch, 64)), {}
    for _ in range(updates):
        coherent, _, figures = step(state)
        state = replace(state, beside=coherent)
    return state, {name: float(value) for name, value in figures.items()}


def test_refinement_widens_the_reward_gap_and_regularisation_limits_the_change(cloned):
    start = refined(SMALL, cloned, 1)[1]
    found = {}
    for weight in (0.3, 30.0):
        settings = replace(SMALL, reward_regularisation=weight)
        state, found[weight] = refined(settings, cloned)
        assert eqx.tree_equal(state.beside.first, cloned.beside.first)
        biases = (net.layers[-1].bias for net in (state.beside.net, cloned.beside.net))
        np.testing.assert_array_equal(*biases, "far from the demonstrations q stays the prior")
    gap = {w: f["expert_reward"] - f["visited_reward"] for w, f in found.items()}
    assert gap[0.3] > start["expert_reward"] - start["visited_reward"]
    assert found[0.3]["reward_distance"] > 2.0 * found[30.0]["reward_distance"]


def test_zero_reward_learning_rate_keeps_the_reward(cloned):
    state, _ = refined(replace(SMALL, reward_learning_rate=0.0), cloned, 2)
    assert eqx.tree_equal(state.beside.net, cloned.beside.net)


def test_loss_matches_the_hand_computed_value(cloned):
    """½·E[(Q − r − γ·(min Q(s',a') − τ·log(π/q)))²], without the γ term at an end, and E[τ·log(π/q) − min Q]."""
    both = jax.tree.map(lambda *x: jnp.concatenate(x), rows(), rows(0.5, ended=True))
    reward = jnp.linspace(-1.0, 2.0, 128)
    settings = replace(SMALL, temperature=0.3)
    state = replace(cloned, model=eqx.tree_at(lambda m: m.log_temperature, cloned.model, jnp.log(0.3)))
    state = replace(state, beside=state.beside._replace(first=begun(SMALL).model.actor))
    _, figures = settings.loss(state.model, state, both, reward, jr.key(2))
    model, keys = state.model, jr.split(jr.key(2))

    def drawn(obs, key):
        unit, log_prob = model.policy(obs).sample(key)
        clone = model.policy(obs, state.beside.first)
        return unit, 0.3 * (log_prob - clone.log_prob(unit))

    after, cost = drawn(both.next_obs, keys[1])
    next_v = model.unit_q(both.next_obs, after, state.target.critic).min(axis=0) - cost
    target = reward + discounted(next_v, both.terminal, settings.gamma)
    critic = 0.5 * jnp.mean((model.unit_q(both.obs, both.action) - target) ** 2)
    assert float(figures["critic_loss"]) == pytest.approx(float(critic), rel=1e-4)
    here, cost = drawn(both.obs, keys[0])
    actor = jnp.mean(cost - model.unit_q(both.obs, here).min(axis=0))
    assert float(figures["actor_loss"]) == pytest.approx(float(actor), rel=1e-4)


TINY = iq.CSIL(critic=iq.Network((8,)), actor=iq.Network((8,)), batch_size=4, cloning_updates=20, critic_updates=20)
ONLINE = {
    "env": "Pendulum-v1",
    "env_kwargs": {"max_episode_steps": 10},
    "interaction": iq.Interaction(random_steps=10, round_steps=10),
    "steps": 40,
    "evaluations": 2,
    "eval_episodes": 1,
    "quiet": True,
}
"""Updates are due from step 10 on. The first ones are made while the learner acts from step 20 on."""


@pytest.fixture(scope="module")
def whole(pendulum, tmp_path_factory):
    """An uninterrupted run, its folder, and for each round of acting the steps done, the behaviour and the clone."""
    out, acted, act = tmp_path_factory.mktemp("csil") / "whole", [], Learner.act

    def watched(self, behaviour, steps):
        acted.append((self.done, behaviour, self.state.beside.first))
        return act(self, behaviour, steps)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "act", watched)
        return iq.learn(TINY, pendulum, out=out, **ONLINE), out, acted


def test_clone_acts_from_the_first_environment_step_until_the_first_update(whole):
    """No action is random."""
    run, _, acted = whole
    assert [(done, behaviour.random) for done, behaviour, _ in acted] == [(0, 0.0), (10, 0.0), (20, 0.0), (30, 0.0)]
    assert [eqx.tree_equal(behaviour.model.actor, clone) for _, behaviour, clone in acted] == [True, True, True, False]
    blank = TINY.init(run.task, run.model.encoder, Streams.of(0).weights).model.actor
    assert not eqx.tree_equal(acted[0][1].model.actor, blank), "the clone has learnt"


def test_first_evaluation_is_of_the_clone_and_a_resumed_run_is_identical(pendulum, whole, tmp_path, stop_at, same_run):
    """A resumed run equals the uninterrupted one. A CSIL run has no reward to return."""
    run, out, _ = whole
    assert [(row["step"], row["updates"]) for row in run.rows] == [(0, 0), (20, 0), (40, 20)]
    stop_at(2)
    with pytest.warns(RuntimeWarning, match="before its time"):
        iq.learn(TINY, pendulum, out=tmp_path / "part", **ONLINE)
    iq.resume(tmp_path / "part", pendulum, quiet=True)
    same_run(tmp_path / "part", out)
    with pytest.raises(InputError, match="learns no reward"):
        run.reward(pendulum)


def test_csil_supports_only_continuous_actions_and_online_runs():
    with pytest.raises(InputError, match="No algorithm 'csil' for discrete actions"):
        algorithms.of("csil", True)
    assert algorithms.of("csil", False).acts == "must"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"actor": iq.Network(())}, r"actor\.hidden is \(\); expected one layer at least"),
        ({"target_entropy": -1.0}, "target_entropy is -1.0; expected none"),
        ({"target_rate": 0.0}, "target_rate is 0.0; expected above 0"),
        ({"action_noise": 0.0}, "action_noise is 0.0"),
    ],
)
def test_invalid_settings_are_refused(changes, told):
    with pytest.raises(InputError, match=told):
        replace(SMALL, **changes)
