"""The form that finds the reward first: Q follows from it, as far as there is a learner that acts."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import iqlearn as iq
from iqlearn.algorithms import InverseSoftActorCritic
from iqlearn.models.reward import RewardNet
from iqlearn.settings import Imitation
from iqlearn.types import Batch, Bounds, ObservationScale, TaskSpec, Transitions

NETWORK = iq.Network(hidden=(8,))
SETTINGS = iq.IQLearnContinuous(
    form="regressed", network=replace(NETWORK, ensemble=2), actor=NETWORK, batch_size=4, gamma=0.9
)
SPEC = TaskSpec((3,), Bounds((-2.0, 0.0), (2.0, 10.0)))
SCALE = ObservationScale(jnp.zeros(3), jnp.ones(3), jnp.float32(10.0))
KEY = jr.key(7)
LEARNER = InverseSoftActorCritic(SETTINGS)
START = eqx.filter_jit(lambda: LEARNER.init(SPEC, SCALE, jr.key(0)))()


def rows(seed: int) -> Transitions:
    rng = np.random.default_rng(seed)
    obs, next_obs = (jnp.asarray(rng.normal(size=(4, 3)), jnp.float32) for _ in range(2))
    action = jnp.asarray(rng.uniform(SPEC.bounds.low, SPEC.bounds.high, (4, 2)), jnp.float32)
    return Transitions(obs, action, next_obs, jnp.arange(4) == 3)


BATCH = Batch(rows(0), rows(1), rows(2).obs)


@eqx.filter_jit
def metrics(reward: RewardNet | None) -> dict:
    return LEARNER.loss(START.model, START.target, BATCH, KEY, None, reward)[1]


def test_the_critics_descend_the_squared_bellman_error_of_that_reward():
    """½·E[(Q(s,a) − r − γV(s'))²] over expert and visited rows, the value of s' fixed, the mean of the critics."""
    reward, both = START.reward, jax.tree.map(lambda *x: jnp.concatenate(x), BATCH.expert, BATCH.visited)
    told = reward(both.obs, both.action)
    q = START.model.member_q(both.obs, both.action)
    next_v = LEARNER.next_value(START.model, START.target, both, 4, jr.split(KEY, 4)[1])
    error = 0.5 * np.mean((q - told - next_v) ** 2)
    assert float(metrics(reward)["critic_loss"]) == pytest.approx(float(error), rel=1e-4)
    assert not np.isclose(float(metrics(None)["critic_loss"]), float(error), rtol=1e-2)


def test_the_reward_stays_as_it_is_while_critics_and_actor_learn():
    state, _ = eqx.filter_jit(LEARNER.update)(START, BATCH, KEY)
    jax.tree.map(np.testing.assert_array_equal, state.reward, START.reward)
    for part in ("critic", "actor"):
        old, new = (jax.tree.leaves(getattr(s.model, part)) for s in (START, state))
        assert any(np.any(a != b) for a, b in zip(old, new, strict=True)), part


@pytest.mark.parametrize(
    "learner",
    [
        InverseSoftActorCritic(SETTINGS, learner_acts=False),
        InverseSoftActorCritic(replace(SETTINGS, form="inverse")),
    ],
    ids=["offline", "another form"],
)
def test_nothing_is_regressed_without_a_learner_or_in_another_form(learner):
    assert learner.init(SPEC, SCALE, KEY).reward is None


def test_with_discrete_actions_there_is_no_such_form():
    with pytest.raises(iq.InputError, match=r"form is 'regressed'; expected least_squares or inverse with discrete"):
        iq.IQLearn(form="regressed")


@pytest.mark.parametrize(("reward", "trust"), [(1.0, 1.0), (0.0, 1.0), (-0.25, 0.75), (-1.0, 0.0), (-3.0, 0.0)])
def test_the_actor_is_held_to_its_clone_as_far_as_the_reward_says_that_it_does_well(reward, trust):
    learner = InverseSoftActorCritic(replace(SETTINGS, online=Imitation(warm_start=1, anchor=3.0)))
    both = jax.tree.map(lambda *x: jnp.concatenate(x), BATCH.expert, BATCH.visited)
    inputs, unit = START.model.inputs(both.obs), START.model.to_unit(both.action)
    bias = START.model.actor.layers[-1].bias
    clone = eqx.tree_at(lambda a: a.layers[-1].bias, START.model.actor, bias.at[: len(bias) // 2].add(-0.25))
    policy = START.model.policy(inputs)
    held, _ = learner.guidance(policy, inputs, unit, 4, clone, jnp.full(8, reward))
    assert float(held) == pytest.approx(3.0 * trust * 2 * 0.25**2, rel=1e-4)  # two actions, 0.25 off each
