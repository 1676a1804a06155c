"""Imitation from states alone, online: actions are inferred from the learner's own, and the best guess is kept."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import iqlearn as iq
from iqlearn import Demos, InputError, records, session
from iqlearn.acting import Online
from iqlearn.beginning import begin
from iqlearn.evaluation.diagnostics import Familiar
from iqlearn.models.inverse import InverseModel
from iqlearn.settings import Imitation, Inference, Interaction, IQLearnContinuous, Network, Schedule
from iqlearn.sources import seen
from iqlearn.training import on_device
from iqlearn.training.watching import fitted, with_inferred

TINY = Network(hidden=(8,))
SETTINGS = IQLearnContinuous(
    state_only=True,
    network=replace(TINY, ensemble=2),
    actor=TINY,
    batch_size=8,
    online=Imitation(warm_start=5, cloning=1.0),
    inference=Inference(steps=40, rounds=4, updates=5),
)
ACTING = Interaction(round_steps=5, random_steps=5)
LENGTH = {"steps": 60, "evaluations": 4, "eval_episodes": 1, "quiet": True}


@pytest.fixture(autouse=True)
def few_random_episodes(monkeypatch):
    monkeypatch.setattr(session, "RANDOM_EPISODES", 1)


def group_of(pendulum, settings: IQLearnContinuous = SETTINGS, acting: Interaction = ACTING) -> Online:
    run = begin(settings, pendulum.without_actions(), Schedule(steps=4_000), "Pendulum-v1", interaction=acting)
    group = Online([run], on_device([seen(run, pendulum)]))
    group.compile()
    return group


@pytest.mark.slow
def test_actions_are_inferred_from_what_random_ones_led_to(pendulum):
    """Pendulum's torque is a smooth function of two states; the demonstrations' own actions are never shown."""
    long = replace(SETTINGS, inference=Inference(steps=2_000, rounds=2))
    group = group_of(pendulum, long, Interaction(round_steps=250))
    group.advance(500)
    (state,), demos = group.states, group.data.demos
    assert not np.any(demos.transitions.rows.action)
    task = begin(long, pendulum, Schedule(steps=4_000), "Pendulum-v1", interaction=Interaction()).spec
    labelled, error = with_inferred(demos, group.data.replay, state, task, 2_000, jr.key(0))
    inferred, true = np.asarray(labelled.transitions.rows.action), pendulum.actions
    assert np.abs(inferred).max() <= 2.0
    assert np.sqrt(np.mean((inferred - true) ** 2)) < 0.4 * true.std()
    assert float(error) < 0.05
    group.close()


def test_fitting_moves_the_network_alone(pendulum):
    group = group_of(pendulum)
    group.advance(5)
    expert = on_device([pendulum])[0].transitions.rows
    task = begin(SETTINGS, pendulum, Schedule(steps=4_000), "Pendulum-v1", interaction=ACTING).spec
    model = InverseModel(task, group.states[0].model.scale, expert, jr.key(0))
    moved, _ = fitted(model, group.data.replay, jr.key(1), 3)
    shown = jax.jit(lambda m: m(expert.obs, expert.next_obs))
    assert shown(moved).shape == expert.action.shape
    assert np.abs(shown(moved) - shown(model)).max() > 1e-5
    same = (moved.change, moved.scale, moved.actions), (model.change, model.scale, model.actions)
    jax.tree.map(np.testing.assert_array_equal, *same)
    group.close()


def test_the_guess_that_led_closest_to_the_expert_is_kept(pendulum, monkeypatch):
    """Three clones are judged, 3, 1 and 2 away; learning begins with the second one's actions and clone."""
    distances = iter([3.0, 1.0, 2.0])
    monkeypatch.setattr(Familiar, "distance", lambda self, obs: next(distances))
    group, guesses, updates = group_of(pendulum), [], []
    for _ in range(11):
        group.advance(5)
        guesses.append(group.extras[0]["guesses"][0])
        updates.append(int(group.states[0].step))
    second = guesses[3]  # made after 20 steps
    np.testing.assert_array_equal(group.data.demos.transitions.rows.action, second.action)
    settled = group.extras[0]["guesses"][1]
    jax.tree.map(np.testing.assert_array_equal, (settled.action, settled.clone), (second.action, second.clone))
    assert float(settled.distance) == 1.0
    assert not np.array_equal(guesses[1].action, second.action)
    assert updates[9] == 0, "while it watches no critic learns"
    assert updates[10] == 5
    assert int(group.data.replay.size) == 15, "what led there is no part of what follows"
    group.close()


def test_the_clone_is_what_acts_and_is_evaluated(pendulum):
    group = group_of(pendulum)
    before = group.states[0].model.actor
    group.advance(10)
    state, guess = group.states[0], group.extras[0]["guesses"][0]
    for actor in (state.model.actor, state.target.actor):
        jax.tree.map(np.testing.assert_array_equal, actor, guess.clone)
    assert any(np.any(a != b) for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(guess.clone), strict=True))
    group.advance(5)  # the first half of a part: by the mode
    newest = np.asarray(group.data.replay.newest(5).obs)
    acted = np.asarray(group.data.replay.action[10:15])
    np.testing.assert_allclose(acted[::-1], state.target.act(jnp.asarray(newest)), atol=1e-4)
    group.close()


def learnt(demos: Demos, out: Path) -> iq.Run:
    return iq.learn(SETTINGS, demos.without_actions(), env="Pendulum-v1", interaction=ACTING, seed=3, out=out, **LENGTH)


@pytest.fixture(scope="module")
def whole(pendulum, tmp_path_factory) -> Path:
    """The folder of a run that was never stopped."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    learnt(pendulum, folder)
    return folder


@pytest.mark.parametrize("number", [2, 4])
def test_an_interrupted_run_resumed_is_the_whole_run(number, pendulum, whole, tmp_path, stop_at):
    """Stopped while it watches, and after the change to learning."""
    stop_at(number)
    assert learnt(pendulum, tmp_path / "run").result["status"] == "interrupted"
    iq.resume(tmp_path / "run", pendulum, quiet=True)
    for name in (records.MODEL, records.METRICS, records.CONFIG, records.CHECKPOINT):
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes(), name


def test_parts_that_are_over_before_a_round_of_steps_are_refused(pendulum):
    with pytest.raises(
        InputError, match=r"inference\.steps / inference\.rounds is 10; expected at least round_steps, 50"
    ):
        begin(SETTINGS, pendulum, Schedule(steps=2_000), "Pendulum-v1", interaction=Interaction())
    with pytest.raises(InputError, match=r"replay is 9; expected room for a round of inference, 10 steps"):
        begin(SETTINGS, pendulum, Schedule(steps=60), "Pendulum-v1", interaction=replace(ACTING, replay=9))
    for rounds in (1, 11):
        with pytest.raises(InputError, match=rf"inference\.rounds is {rounds}; expected 2 to inference\.steps, 10"):
            Inference(steps=10, rounds=rounds)
