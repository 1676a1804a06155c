"""One run in training: how it acts, and when its first update is due."""

import jax
import numpy as np
import pytest

import iqlearn as iq
from iqlearn.algorithms.base import Behaviour
from iqlearn.envs.gym import Environment
from iqlearn.runs.provenance import Origin, Schedule
from iqlearn.runs.run import Run
from iqlearn.training.learner import Learner, steps_before_updates

SMALL = iq.Network((4,))
SETTINGS = iq.IQLearnContinuous(critic=SMALL, actor=SMALL, batch_size=4)


@pytest.fixture
def learner(pendulum):
    environment = Environment.of("Pendulum-v1")
    interaction = iq.Interaction(num_envs=2, random_steps=10, round_steps=10)
    origin = Origin(environment, pendulum.source)
    run = Run(SETTINGS, Schedule(100, seed=1), origin, environment.task, interaction)
    learner = Learner(run, pendulum)
    learner.connect()
    learner.begin_episodes()
    yield learner
    learner.close()


def actions(learner: Learner, behaviour: Behaviour, steps: int) -> np.ndarray:
    return np.stack([step.action for step in learner.act(behaviour, steps)])


def test_a_share_of_the_actions_is_random(learner):
    """The others are the most likely actions of the policy."""
    model = learner.state.model
    for share in (0.0, 0.25, 1.0):
        steps = learner.act(Behaviour(model, random=share, deterministic=True), 100)
        likely = model.act(np.concatenate([step.obs for step in steps]))
        away = np.abs(np.concatenate([step.action for step in steps]) - likely) > 1e-4
        assert away.mean() == pytest.approx(share, abs=0.08)


def test_each_step_and_environment_copy_draws_its_own_actions(learner):
    drawn = actions(learner, Behaviour(learner.state.model), 10)
    assert len(np.unique(drawn)) == drawn.size
    assert len(np.unique(actions(learner, Behaviour(learner.state.model, deterministic=True), 3))) > 3


def test_actions_depend_only_on_the_seed_and_the_step(learner):
    """Earlier steps do not matter, so a resumed run acts as an uninterrupted one."""
    behaviour, drawn = Behaviour(learner.state.model, random=0.5), []
    for before in (0, 7):
        learner.begin_episodes()
        learner.act(behaviour, before)
        learner.begin_episodes()
        drawn.append(actions(learner, behaviour, 5))
    np.testing.assert_array_equal(*drawn)


def test_initial_observations_depend_on_the_steps_done(learner):
    first = np.array(learner.stepper.obs)
    learner.done = 20
    learner.begin_episodes()
    assert np.any(first != learner.stepper.obs)


def test_actions_are_random_before_the_first_update(learner):
    assert learner.behaviour(learner.state).random == 1.0
    learner.done = 10
    assert learner.behaviour(learner.state).random == 0.0


def test_networks_of_one_seed_begin_with_weights_of_their_own(learner):
    """One key per network: equal shapes do not make equal weights."""
    settings = iq.IQLearnContinuous(critic=SMALL, critics=2, actor=SMALL)
    state = settings.init(learner.task, learner.state.model.encoder, learner.streams.weights)
    first, second = (np.asarray(state.model.critic.members.layers[0].weight[i]) for i in (0, 1))
    assert np.any(first != second)


def test_the_first_update_is_due_after_the_random_steps():
    acting = iq.Interaction(random_steps=40, round_steps=10)
    assert steps_before_updates(SETTINGS, acting) == (0, 40)
    assert jax.tree.leaves(steps_before_updates(SETTINGS, iq.Interaction(random_steps=0))) == [0, 0]
