"""Imitation from observations only: no action of the expert is read, whatever the model and the mode."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import iqlearn as iq
from iqlearn import Demos, InputError, session
from iqlearn.algorithms.iq import without_expert_actions
from iqlearn.beginning import begin
from iqlearn.models import DiscreteSoftQ
from iqlearn.settings import Imitation, Inference, Interaction, Schedule, from_dict, to_dict
from iqlearn.types import Batch, ObservationScale, TaskSpec, Transitions

NETWORK = iq.Network(hidden=(8,))
DISCRETE = iq.IQLearn(state_only=True, network=NETWORK, batch_size=8)
CONTINUOUS = iq.IQLearnContinuous(
    state_only=True,
    network=NETWORK,
    actor=NETWORK,
    batch_size=8,
    online=Imitation(warm_start=5, cloning=1.0),
    inference=Inference(steps=20, rounds=2, updates=5),
)
ACTING = Interaction(random_steps=10, round_steps=10)


@pytest.fixture(autouse=True)
def few_random_episodes(monkeypatch):
    monkeypatch.setattr(session, "RANDOM_EPISODES", 1)


def learnt(settings, demos: Demos, online: bool) -> iq.Run:
    acting = ACTING if online else None
    return iq.learn(
        settings, demos, online=online, interaction=acting, steps=45, evaluations=1, eval_episodes=1, quiet=True
    )


@pytest.mark.parametrize("online", [False, True])
@pytest.mark.parametrize("discrete", [True, False])
def test_a_run_does_not_depend_on_the_experts_actions(discrete, online, cartpole, pendulum):
    """Scrambled, of zeros, or missing: the same run, bit for bit."""
    settings, demos = (DISCRETE, cartpole) if discrete else (CONTINUOUS, pendulum)
    scrambled = replace(demos, act=np.random.default_rng(0).permutation(demos.actions))
    assert not np.array_equal(scrambled.act, demos.act)
    others = [scrambled, replace(demos, act=np.zeros_like(demos.act)), demos.without_actions()]
    first, *rest = (learnt(settings, part, online) for part in (demos, *others))
    for run in rest:
        for a, b in zip(jax.tree.leaves(first.state), jax.tree.leaves(run.state), strict=True):
            np.testing.assert_array_equal(a, b)
        assert run.rows == first.rows
        assert run.origin == first.origin


def test_with_actions_the_run_does_depend_on_them(cartpole):
    """What the law above would miss if nothing was learnt."""
    scrambled = replace(cartpole, act=1 - cartpole.actions)
    a, b = (learnt(replace(DISCRETE, state_only=False), part, False) for part in (cartpole, scrambled))
    assert any(np.any(x != y) for x, y in zip(jax.tree.leaves(a.model), jax.tree.leaves(b.model), strict=True))


def test_the_learners_own_choice_stands_for_the_experts_action():
    spec, scale = TaskSpec((2,), 3), ObservationScale(jnp.zeros(2), jnp.eye(2), jnp.float32(1e9))
    model = DiscreteSoftQ(spec, NETWORK, scale, jr.key(0), 1.0, 1.0)
    obs = jr.normal(jr.key(1), (600, 2))
    expert = Transitions(obs, jnp.full(600, 2), obs, jnp.zeros(600, bool))
    alone = without_expert_actions(model, Batch(expert, expert, obs), jr.key(2))
    assert alone.visited is alone.expert
    share = np.bincount(alone.expert.action, minlength=3) / 600
    np.testing.assert_allclose(share, np.exp(model.log_prob(obs[:1].repeat(3, 0), jnp.arange(3))), atol=0.1)
    mixed = without_expert_actions(model, Batch(expert, jax.tree.map(jnp.copy, expert), obs), jr.key(3))
    assert (mixed.visited.action == 2).all()
    assert (mixed.expert.action != alone.expert.action).any()


def test_no_model_of_the_dynamics_is_fitted_to_actions(cartpole):
    run = begin(DISCRETE, cartpole, Schedule(), cartpole.env)
    assert run.origin.dynamics_error is None
    assert not run.imagines


def test_metrics_do_not_speak_of_the_experts_actions(cartpole, pendulum):
    for run in (learnt(DISCRETE, cartpole, False), learnt(CONTINUOUS, pendulum, False)):
        assert "entropy" in run.rows[-1]
        assert not {"log_likelihood", "squared_error"} & set(run.rows[-1])


def test_offline_the_actor_is_told_nothing():
    assert CONTINUOUS.offline == Imitation()
    assert iq.IQLearnContinuous(state_only=True).online == iq.IQLearnContinuous().online
    assert iq.IQLearnContinuous().offline != Imitation()
    assert from_dict(to_dict(CONTINUOUS)) == CONTINUOUS


@pytest.mark.parametrize(("setting", "value"), [("warm_start", 7), ("reach", 0.2), ("cloning", 0.5), ("anchor", 0.5)])
def test_offline_state_only_and_cloning_contradict_each_other(setting, value):
    with pytest.raises(InputError, match=rf"offline\.{setting} is {value}; expected 0 with state_only"):
        iq.IQLearnContinuous(state_only=True, offline=Imitation(**{setting: value}))


@pytest.mark.parametrize("settings", [replace(DISCRETE, state_only=False), iq.BC()])
def test_other_learners_need_actions(settings, cartpole):
    with pytest.raises(InputError, match=r"random\.npz: field 'act' is missing; expected .*--state-only"):
        learnt(settings, cartpole.without_actions(), False)
    with pytest.raises(InputError, match=r"'act' is missing"):
        iq.learn_seeds(settings, [cartpole.without_actions()], seeds=[0])


def test_without_an_environment_the_tasks_actions_are_unknown(cartpole):
    with pytest.raises(InputError, match=r"random\.npz tells nothing of the task's actions .*--env"):
        learnt(DISCRETE, replace(cartpole, env=None), False)


def test_seeds_side_by_side(cartpole):
    runs = iq.learn_seeds(DISCRETE, [cartpole.without_actions()] * 2, seeds=[0, 1], steps=5, evaluations=1)
    assert all(np.isfinite(run.rows[-1]["loss"]) for run in runs)
