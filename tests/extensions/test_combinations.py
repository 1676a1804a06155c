"""Every extension alone, in pairs, all, and none: each trains, and stopped and resumed is the whole run."""

from dataclasses import replace

import jax
import numpy as np
import pytest

import iqlearn as iq
from iqlearn.algorithms.base import Extension
from iqlearn.api import check
from iqlearn.envs.gym import Environment, Stepper
from iqlearn.extensions import EXTENSIONS
from iqlearn.runs.provenance import settings_of, to_dict
from iqlearn.training.learner import waiting
from iqlearn.training.streams import Streams

SMALL = iq.Network((8,))
ACTING = iq.Interaction(random_steps=10, round_steps=10)
CONTINUOUS = iq.IQLearnContinuous(critic=SMALL, actor=SMALL, average_rate=0.1, batch_size=4)
DISCRETE = iq.IQLearn(network=SMALL, batch_size=4)
INFERENCE = iq.ActionInference(steps=30, rounds=3, updates=5, clone_updates=5)
REGRESSION = iq.RewardRegression(steps=30, updates=20)
CLONING = iq.Cloning(updates=10)
ROLLOUTS = iq.ModelRollouts(particles=5)
OFFLINE = replace(CLONING, regularisation=0.0)


def of(*extensions: Extension, offline: bool = False) -> tuple[object, bool]:
    """Settings with these extensions, and whether they are for an online run."""
    hidden = any(extension.labels for extension in extensions)
    return replace(CONTINUOUS, extensions=extensions, state_only=hidden), not offline


COMBINATIONS = {
    "none": of(),
    "cloning": of(CLONING),
    "reward_regression": of(REGRESSION),
    "action_inference": of(INFERENCE),
    "reward_regression, cloning": of(REGRESSION, CLONING),
    "action_inference, cloning": of(replace(INFERENCE, clone_updates=0), CLONING),
    "action_inference, reward_regression": of(INFERENCE, REGRESSION),
    "all": of(replace(INFERENCE, clone_updates=0), REGRESSION, CLONING),
    "cloning, offline": of(OFFLINE, offline=True),
    "model_rollouts": (replace(DISCRETE, extensions=(ROLLOUTS,)), False),
}
pytestmark = pytest.mark.usefixtures("few_random_episodes")


def first_random_actions(n: int) -> np.ndarray:
    """The random actions with which a run of seed 0 begins."""
    stepper = Stepper(Environment.of("Pendulum-v1"), 1)
    stepper.seed_actions(Streams.of(0).reset_seed(1))
    actions = [stepper.random_actions()[0] for _ in range(n)]
    stepper.close()
    return np.stack(actions)


@pytest.mark.parametrize("name", COMBINATIONS)
def test_a_combination_trains_and_goes_on_where_it_was_stopped(name, pendulum, cartpole, tmp_path, snapshots, same_run):
    settings, online = COMBINATIONS[name]
    demos, env = (cartpole, "CartPole-v1") if settings.discrete else (pendulum, "Pendulum-v1")
    paid = replace(demos, rew=np.full(len(demos), np.nan, np.float32))  # no reward of the expert is read
    copies, acted = snapshots(tmp_path / "run"), []

    class Look(iq.Callback):
        def on_round(self, training) -> None:
            if online and not acted:
                acted.append(np.asarray(training.groups[0].sources.replay.newest(10).action))

    run = iq.learn(
        settings,
        paid,
        env=env,
        env_kwargs={"max_episode_steps": 25},
        mode="online" if online else "offline",
        interaction=ACTING if online else None,
        steps=60 if online else 6,
        evaluations=3,
        eval_episodes=1,
        callbacks=[copies, Look()],
        out=tmp_path / "run",
        quiet=True,
    )
    assert run.result["status"] == "completed"
    assert int(run.state.step) > 0
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((run.state.model, run.rows[-1]["loss"])))
    assert list(run.state.aux) == sorted(extension.name for extension in settings.extensions)
    assert iq.Run.load(tmp_path / "run").settings == settings == settings_of(to_dict(settings))
    for copy in copies.copies[: 2 if name == "all" else 1]:
        assert iq.resume(copy, demos, quiet=True).result["status"] == "completed"
        same_run(copy, tmp_path / "run")
    # What each extension is for.
    first, last = run.rows[0], run.rows[-1]
    names = {extension.name for extension in settings.extensions}
    if online:
        random = np.array_equal(acted[0][::-1], first_random_actions(10))
        assert random == (names != {"cloning"}), "a clone acts from the first step on"
        assert run.rows[1]["updates"] == (0 if names & {"action_inference", "reward_regression"} else 20)
    assert ("inverse_error" in first) == ("action_inference" in names)
    assert ("clone_distance" in last) == (online and "cloning" in names)
    assert ("squared_error" in last) == (not settings.discrete and not settings.state_only)


@pytest.mark.parametrize(
    ("settings", "online", "told"),
    [
        (
            replace(CONTINUOUS, extensions=(CLONING, REGRESSION)),
            True,
            "expected the order action_inference, reward_reg",
        ),
        (replace(CONTINUOUS, extensions=(CLONING, CLONING)), True, "expected each extension once"),
        (replace(CONTINUOUS, extensions=(INFERENCE,)), True, "infers continuous actions online, with state_only"),
        (replace(CONTINUOUS, extensions=(CLONING,), state_only=True), True, "none of it with state_only"),
        (replace(CONTINUOUS, extensions=(CLONING,)), False, r"cloning\.regularisation is 1\.0; expected 0 offline"),
        (replace(CONTINUOUS, extensions=(REGRESSION,)), False, "needs states of the learner; expected an online run"),
        (replace(CONTINUOUS, extensions=(ROLLOUTS,)), False, "model_rollouts is for discrete actions"),
        (replace(DISCRETE, extensions=(ROLLOUTS,)), True, "model_rollouts is for discrete actions, offline"),
        (replace(DISCRETE, extensions=(CLONING,)), True, "cloning has no effect on iq"),
        (replace(DISCRETE, extensions=(REGRESSION,)), True, "expected chi2_mixture and inverse with reward_regression"),
        (replace(CONTINUOUS, extensions=(REGRESSION,), divergence="tv"), True, "expected chi2_mixture and inverse"),
    ],
)
def test_wrong_combinations_are_refused_with_a_sentence(settings, online, told, pendulum, cartpole):
    task = (cartpole if settings.discrete else pendulum).task_spec()
    with pytest.raises(iq.InputError, match=told) as caught:
        check(settings, task, iq.Interaction() if online else None, 100_000)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_the_longest_phase_decides_when_updates_begin():
    extensions = (replace(INFERENCE, steps=300), replace(REGRESSION, steps=200))
    assert waiting(replace(CONTINUOUS, extensions=extensions[1:]), ACTING) == (200, 200)
    assert waiting(replace(CONTINUOUS, extensions=extensions), ACTING) == (300, 310), (
        "an emptied replay is filled first"
    )
    assert waiting(replace(CONTINUOUS, extensions=extensions[:1]), replace(ACTING, random_steps=50)) == (300, 350)


@pytest.mark.parametrize("kind", EXTENSIONS.values())
def test_the_registry_holds_settings_with_defaults_that_print_and_compare(kind):
    assert kind() == kind()
    assert hash(kind()) == hash(kind())
    assert EXTENSIONS[kind.name] is kind
    assert kind.__doc__
