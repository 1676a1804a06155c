"""Action inference: online, from states alone, actions are inferred, and the best guess is kept."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import iqlearn as iq
from iqlearn.algorithms.base import Now
from iqlearn.checks import visible
from iqlearn.data.replay import NewTransitions, empty_replay, filled
from iqlearn.data.sources import Demonstrations, Experience
from iqlearn.envs.stepper import Step
from iqlearn.evaluation.occupancy import ExpertStates
from iqlearn.extensions.action_inference import ActionInference, InverseModel, _loss
from iqlearn.networks import encoders
from iqlearn.networks.descent import fit

TINY = iq.Network((8,))
INFERENCE = ActionInference(steps=40, rounds=4, updates=5, clone_updates=5)
SETTINGS = iq.IQLearnContinuous(
    state_only=True, critic=TINY, actor=TINY, average_rate=0.1, batch_size=4, extensions=(INFERENCE,)
)
ACTING = iq.Interaction(round_steps=5, random_steps=5)
SHORT = {"env": "Pendulum-v1", "env_kwargs": {"max_episode_steps": 10}, "eval_episodes": 1, "quiet": True}


class Look(iq.Callback):
    """Records after each round: updates, the replay, the newest and the best guess, actions in use, and actors."""

    def __init__(self) -> None:
        self.seen = []

    def on_round(self, training):
        group = training.groups[0]
        state, source = group.states, group.sources
        aux = state.aux["action_inference"]
        kept = aux["newest"], aux["best"], source.demos.transitions.rows.action, state.model.actor, state.target.actor
        figures = int(state.step), int(source.replay.size), np.asarray(source.replay.action[:20])
        self.seen.append((*figures, *jax.tree.map(np.asarray, kept)))


@pytest.fixture(scope="module")
def looked(pendulum):
    """A run whose three clones have the distances 3, 1 and 2, and the records after each round."""
    distances, look = iter([3.0, 1.0, 2.0]), Look()
    original = ExpertStates.distance

    def judged(self, obs):
        return original(self, obs) if len(jax.tree.leaves(obs)[0]) != INFERENCE.round_steps // 2 else next(distances)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExpertStates, "distance", judged)
        run = iq.learn(
            SETTINGS,
            pendulum.without_actions(),
            interaction=ACTING,
            steps=60,
            evaluations=3,
            callbacks=[look],
            **SHORT | {"env_kwargs": {"max_episode_steps": 12}},
        )
    return [run, *map(list, zip(*look.seen, strict=True))]


def test_the_guess_that_led_closest_to_the_expert_is_kept(looked):
    """Learning begins with the second guess's actions and clone."""
    run, updates, sizes, _, newest, best, actions, actors, _ = looked
    second = newest[3]  # made after 20 steps
    np.testing.assert_array_equal(actions[3], second.action)
    settled = best[-1]
    jax.tree.map(np.testing.assert_array_equal, (settled.action, settled.actor), (second.action, second.actor))
    assert float(settled.distance) == 1.0
    np.testing.assert_array_equal(actions[7], second.action)
    jax.tree.map(np.testing.assert_array_equal, actors[7], second.actor)
    assert not np.array_equal(newest[1].action, second.action)
    assert updates[8:] == [0, 0, 5, 10], "while actions are inferred no critic learns"
    assert sizes == [5, 10, 15, 20, 25, 30, 35, 0, 5, 10, 15, 20], "what led there is no part of what follows"
    assert run.rows[1]["guess_distance"] == 2.0


def test_the_clone_acts_and_is_evaluated(looked):
    run, _, _, acted, newest, _, _, actors, slow = looked
    for actor in (actors[1], slow[1]):
        jax.tree.map(np.testing.assert_array_equal, actor, newest[1].actor)
    assert any(np.any(a != b) for a, b in zip(*(jax.tree.leaves(actors[i]) for i in (0, 1)), strict=True))
    assert run.rows[0]["inverse_error"] > 0.0
    random, cloned = acted[3][:10], acted[3][10:15]  # ten random steps, then the mode of the first clone
    assert len(np.unique(random)) == 10
    assert cloned.std() < random.std()


@pytest.mark.slow
def test_actions_are_inferred_from_random_transitions(pendulum):
    """Pendulum's torque is a smooth function of two states."""
    found = {}

    def look(training):
        found["guess"] = training.groups[0].states.aux["action_inference"]["newest"]
        return True

    inference = ActionInference(steps=2_000, rounds=2, updates=2_000, clone_updates=0)
    iq.learn(
        replace(SETTINGS, extensions=(inference,)),
        pendulum.without_actions(),
        env="Pendulum-v1",
        interaction=iq.Interaction(round_steps=250),
        steps=4_000,
        evaluations=4,
        eval_episodes=1,
        callbacks=[look],
        quiet=True,
    )
    inferred, true = np.asarray(found["guess"].action), pendulum.actions
    assert np.abs(inferred).max() <= 2.0
    assert np.sqrt(np.mean((inferred - true) ** 2)) < 0.4 * true.std()


def test_fitting_the_inverse_model_changes_its_predictions(pendulum):
    task, expert = pendulum.task_spec(), pendulum.transitions
    encoder = encoders.fit(task.obs, pendulum.obs, "standard")
    state = SETTINGS.init(task, encoder, jr.key(0))
    model = InverseModel(task, state.model, expert.obs, expert.next_obs, jr.key(1))
    known = model.features(expert.obs, expert.next_obs), model.actions.to_unit(expert.action)
    net, error = fit(_loss, model.net, (filled(known), model.actions.unit_limits), jr.key(2), 3)
    assert error > 0.0
    shown = jax.jit(lambda m: m(expert.obs, expert.next_obs))
    moved = eqx.tree_at(lambda m: m.net, model, net)
    assert shown(moved).shape == expert.action.shape
    assert np.abs(shown(moved) - shown(model)).max() > 1e-5
    np.testing.assert_allclose(jnp.std(encoder(expert.next_obs) - encoder(expert.obs), axis=0), model.change, rtol=1e-5)


def test_a_round_without_cloning_changes_only_the_newest_guess(looked, pendulum):
    """The inverse model is fitted to the replay. Networks, optimisers and the best guess stay as they are."""
    state, task, known = looked[0].state, pendulum.task_spec(), Demonstrations.of(pendulum)
    rows = jax.tree.map(lambda x: np.asarray(x)[:10], pendulum.transitions)
    parts = *rows[:3], pendulum.rew, rows.terminal, np.arange(10) == 9, np.zeros(10, bool)
    met = [Step(*(part[i : i + 1] for part in parts)) for i in range(10)]
    source = Experience(known, empty_replay(task, 40).extend(NewTransitions.of(met)))
    now = Now(task, SETTINGS, known, state, source, jr.key(2), labelled=False, done=10, phase=40)
    after, drawn, figures = replace(INFERENCE, clone_updates=0).after_round(now)
    before, found = (one.aux["action_inference"] for one in (state, after))
    assert figures["inverse_error"] > 0.0
    assert np.any(found["newest"].action != before["newest"].action)
    assert np.any(found["newest"].action != pendulum.actions)
    assert eqx.tree_equal(found["newest"].actor, state.model.actor)
    kept = found | {"newest": before["newest"]}
    assert eqx.tree_equal(replace(after, aux=after.aux | {"action_inference": kept}), state)
    np.testing.assert_array_equal(drawn.demos.transitions.rows.action, found["newest"].action)
    put_back = eqx.tree_at(lambda s: s.demos.transitions.rows.action, drawn, known.transitions.rows.action)
    assert eqx.tree_equal(put_back, source)


def test_expert_actions_are_hidden_from_the_learner(pendulum):
    """Demonstrations with and without actions look the same to the learner."""
    seen = [visible(SETTINGS, demos) for demos in (pendulum, pendulum.without_actions())]
    assert seen[0].act is None
    assert seen[0].sha256() == seen[1].sha256()


def test_round_replay_and_inference_sizes_that_do_not_fit_are_refused(pendulum):
    with pytest.raises(
        iq.InputError, match="round_steps is 50; expected at most 10, the steps of a round of action_inf"
    ):
        iq.learn(SETTINGS, pendulum, interaction=iq.Interaction(), steps=2_000, **SHORT)
    with pytest.raises(iq.InputError, match="replay is 39; expected at least 40, the steps that extensions collect"):
        iq.learn(SETTINGS, pendulum, interaction=replace(ACTING, replay=39), steps=60, **SHORT)
    for rounds in (1, 11):
        with pytest.raises(iq.InputError, match=rf"rounds is {rounds}; expected 2 to action_inference\.steps, 10"):
            ActionInference(steps=10, rounds=rounds)


@pytest.mark.parametrize(
    ("settings", "online"),
    [(SETTINGS, False), (replace(SETTINGS, state_only=False), True), (iq.IQLearn(state_only=True), True)],
)
def test_action_inference_is_refused_in_unsupported_runs(settings, online):
    with pytest.raises(iq.InputError, match="action_inference infers continuous actions online, with state_only"):
        INFERENCE.check(settings, online, 10_000)


def test_action_inference_is_recommended_online_with_state_only(pendulum):
    task = pendulum.task_spec()

    def suggested(settings, online: bool):
        return ActionInference.suggest(pendulum, task, settings, online, 100_000)[0]

    assert suggested(SETTINGS, True) == ActionInference(clone_updates=0)
    assert suggested(SETTINGS, False) is suggested(replace(SETTINGS, state_only=False), True) is None
    assert suggested(iq.IQLearn(state_only=True), True) is None
