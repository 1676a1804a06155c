"""Learning while acting: stopped and resumed is the whole run, no reward is read, a time limit is no end."""

import os
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import jax
import jax.random as jr
import numpy as np
import pytest
from gymnasium.envs.classic_control import PendulumEnv

import iqlearn as iq
from iqlearn import records, session
from iqlearn.acting import Online
from iqlearn.beginning import begin
from iqlearn.data import Demos
from iqlearn.settings import BCContinuous, Interaction, IQLearn, IQLearnContinuous, Network, Schedule
from iqlearn.settings.continuous import Imitation
from iqlearn.training import on_device

CRITIC, ACTOR = Network(hidden=(4,), ensemble=2), Network(hidden=(4,))
CONTINUOUS = IQLearnContinuous(network=CRITIC, actor=ACTOR, batch_size=4, online=Imitation())
DISCRETE = IQLearn(network=ACTOR, batch_size=4)
ACTING = Interaction(random_steps=15, round_steps=10)
LENGTH = {"steps": 60, "evaluations": 3, "eval_episodes": 1, "quiet": True}
"""Evaluations after 20, 40 and 60 steps; the first update is due at step 15."""
TASKS = {"Pendulum-v1": CONTINUOUS, "CartPole-v1": DISCRETE}


@pytest.fixture(autouse=True)
def few_random_episodes(monkeypatch):
    monkeypatch.setattr(session, "RANDOM_EPISODES", 1)


@pytest.fixture(scope="module")
def demos_of(pendulum, cartpole):
    return {"Pendulum-v1": pendulum, "CartPole-v1": cartpole}


@pytest.fixture(scope="module")
def whole(demos_of, tmp_path_factory):
    """`whole(task)` is the folder of an uninterrupted run."""
    folders: dict[str, Path] = {}

    def run(task: str) -> Path:
        if task not in folders:
            folders[task] = tmp_path_factory.mktemp("runs") / task
            learnt(task, demos_of, folders[task])
        return folders[task]

    return run


def learnt(task: str, demos_of: dict[str, Demos], out: Path, acting: Interaction = ACTING) -> iq.Run:
    return iq.learn(TASKS[task], demos_of[task], env=task, interaction=acting, seed=3, out=out, **LENGTH)


def same_files(a: Path, b: Path) -> None:
    for name in (records.MODEL, records.METRICS, records.CONFIG, records.CHECKPOINT):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    other = ("seconds", "updates_per_second", "best_step")
    results = [{k: v for k, v in records.read_json(x / records.RESULT).items() if k not in other} for x in (a, b)]
    assert results[0] == results[1]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("number", [2, 3])
def test_an_interrupted_run_resumed_is_the_whole_run(task, number, demos_of, whole, tmp_path, stop_at):
    stop_at(number)
    stopped = learnt(task, demos_of, tmp_path / "run")
    assert stopped.result["status"] == "interrupted"
    assert [row["step"] for row in stopped.rows] == [20, 40][: number - 1]
    resumed = iq.resume(tmp_path / "run", demos_of[task], quiet=True)
    assert resumed.result["status"] == "completed"
    assert [row["step"] for row in resumed.rows] == [20, 40, 60]
    same_files(tmp_path / "run", whole(task))


@pytest.mark.parametrize(
    "task",
    [
        "Pendulum-v1",
        "CartPole-v1",
    ],
)
def test_the_best_policy_of_a_resumed_run_is_that_of_the_whole_run(task, demos_of, whole, tmp_path, stop_at):
    calls = stop_at(3)
    learnt(task, demos_of, tmp_path / "run")
    assert calls == [20, 40, 60]
    iq.resume(tmp_path / "run", demos_of[task], quiet=True)
    folders = tmp_path / "run", whole(task)
    steps = [records.read_json(folder / records.RESULT)["best_step"] for folder in folders]
    assert steps[0] == steps[1]
    assert (folders[0] / records.BEST).read_bytes() == (folders[1] / records.BEST).read_bytes()


def test_a_run_counts_steps_and_updates(whole):
    run = iq.Run.load(whole("Pendulum-v1"))
    assert (run.result["env_steps"], run.result["updates"]) == (60, int(run.state.step))
    # The updates of the newest round are still due: they overlap with the next round's steps.
    assert [row["updates"] for row in run.rows] == [0, 15, 35]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(run.state.model))
    assert run.rows[-1]["occupancy_distance"] >= 0.0


def stopped_between(monkeypatch, name: str, task: str, demos_of, out: Path, acting: Interaction) -> None:
    """Let the run stop just before this file is written for the second time, as a power cut would."""
    original, seen = os.replace, []

    def stopped(source: Path, target: Path) -> None:
        seen.append(Path(target).name)
        if seen.count(name) == 2:
            raise MemoryError
        original(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stopped)
        with pytest.raises(MemoryError):
            learnt(task, demos_of, out, acting)


@pytest.mark.parametrize("name", [records.CHECKPOINT, records.METRICS])
def test_a_stop_between_two_files_loses_no_evaluation(name, demos_of, whole, tmp_path, monkeypatch):
    stopped_between(monkeypatch, name, "Pendulum-v1", demos_of, tmp_path / "run", ACTING)
    iq.resume(tmp_path / "run", demos_of["Pendulum-v1"], quiet=True)
    same_files(tmp_path / "run", whole("Pendulum-v1"))


def test_a_stop_between_two_files_before_the_first_update_repeats_no_row(demos_of, tmp_path, monkeypatch):
    acting = Interaction(random_steps=45, round_steps=10)
    stopped_between(monkeypatch, records.CHECKPOINT, "Pendulum-v1", demos_of, tmp_path / "run", acting)
    resumed = iq.resume(tmp_path / "run", demos_of["Pendulum-v1"], quiet=True)
    assert [row["step"] for row in resumed.rows] == [20, 40, 60]


class Otherwise(gym.RewardWrapper):
    """Pendulum that pays something else."""

    def __init__(self) -> None:
        super().__init__(PendulumEnv())

    def reward(self, reward):
        return 1e3 - 7.0 * float(reward)


def test_the_environments_reward_never_reaches_an_imitator(pendulum):
    gym.register("IqlearnPays-v0", entry_point=PendulumEnv, max_episode_steps=200)
    gym.register("IqlearnOtherwise-v0", entry_point=Otherwise, max_episode_steps=200)
    try:
        one, other = (
            iq.learn(CONTINUOUS, pendulum, env=env, interaction=ACTING, **LENGTH)
            for env in ("IqlearnPays-v0", "IqlearnOtherwise-v0")
        )
    finally:
        del gym.registry["IqlearnPays-v0"], gym.registry["IqlearnOtherwise-v0"]
    assert one.result["mean_return"] < 0.0 < other.result["mean_return"]
    assert int(one.state.step) > 0
    for a, b in zip(jax.tree.leaves(one.state), jax.tree.leaves(other.state), strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.result["best_step"] == other.result["best_step"]
    told = [{k: v for k, v in run.rows[-1].items() if not k.startswith("return")} for run in (one, other)]
    assert told[0] == told[1]


class Steps(gym.Env):
    """Shows (reset number, time); ends truly at time 3 in every third episode, else at the time limit of 5."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)
    resets = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.resets, self.time = self.resets + 1, 0
        return np.array([self.resets, 0], np.float32), {}

    def step(self, action):
        self.time += 1
        over = self.resets % 3 == 0 and self.time == 3
        return np.array([self.resets, self.time], np.float32), 1.0, over, False, {}


def test_the_replay_holds_true_ends_only_and_no_border(counting_arrays):
    demos = Demos.from_arrays({**counting_arrays, "act": counting_arrays["act"] % 2})
    gym.register("IqlearnSteps-v0", entry_point=Steps, max_episode_steps=5)
    try:
        run = begin(DISCRETE, demos, Schedule(steps=40), "IqlearnSteps-v0", interaction=ACTING)
        group = Online([run], on_device([demos]))
        group.compile()
        for _ in range(2):
            group.advance(20)
        group.close()
    finally:
        del gym.registry["IqlearnSteps-v0"]
    assert (group.done, int(group.states[0].step)) == (40, 15)
    replay = group.data.replay
    assert int(replay.size) == 40
    rows = jax.device_get(replay.sample(jr.key(0), 500))
    np.testing.assert_array_equal(rows.next_obs, rows.obs + np.array([0, 1], np.float32))
    np.testing.assert_array_equal(rows.terminal, (rows.obs[:, 0] % 3 == 0) & (rows.next_obs[:, 1] == 3))
    assert rows.terminal.any()
    assert ((rows.next_obs[:, 1] == 5) & ~rows.terminal).any(), "a time limit was met"


@pytest.mark.parametrize("task", TASKS)
def test_a_run_that_diverges_keeps_its_last_good_evaluation(task, demos_of, tmp_path):
    settings = replace(TASKS[task], learning_rate=1e30)
    out = tmp_path / "run"
    run = iq.learn(settings, demos_of[task], env=task, interaction=ACTING, out=out, **LENGTH)
    assert run.result["status"] == "diverged"
    first, last = run.result["diverged_between"]
    assert 10 <= first < last <= 60
    assert [row["step"] for row in run.rows] == [20]
    kept = iq.Run.load(out)
    assert kept.result["status"] == "diverged"
    assert all(
        np.isfinite(leaf).all() for leaf in jax.tree.leaves((kept.state.model.temperature, kept.rows[0]["step"]))
    )
    observations = demos_of[task].obs[:5]
    np.testing.assert_array_equal(kept.policy(observations), run.policy(observations))
    assert np.isfinite(kept.policy(observations)).all()
    assert np.isfinite(kept.reward(demos_of[task])).all()


def test_a_run_diverges_after_the_state_that_is_kept(pendulum):
    """A user reads "not finite between steps 10 and 20; the state after step 20 is in DIR"."""
    settings = replace(CONTINUOUS, learning_rate=1e30)
    run = iq.learn(settings, pendulum, env="Pendulum-v1", interaction=ACTING, **LENGTH)
    assert run.result["diverged_between"][0] >= run.rows[-1]["step"]


def test_an_actor_that_begins_as_a_clone_acts_from_the_first_step(pendulum):
    runs = [
        begin(
            replace(CONTINUOUS, online=Imitation(warm_start=n, anchor=1.0)),
            pendulum,
            Schedule(steps=30),
            "Pendulum-v1",
            interaction=ACTING,
        )
        for n in (0, 20)
    ]
    groups = [Online([run], on_device([pendulum])) for run in runs]
    for group in groups:
        group.compile()
        group.advance(10)  # before the first update is due
        group.close()
    random, cloned = (np.asarray(group.data.replay.action[:10]) for group in groups)
    assert np.abs(random - cloned).max() > 1e-3
    before, after = (jax.tree.leaves(run.state.model.actor) for run in runs)
    assert max(np.abs(a - b).max() for a, b in zip(before, after, strict=True)) > 1e-3
    assert runs[0].state.clone is None
    jax.tree.map(np.testing.assert_array_equal, runs[1].state.clone, runs[1].state.model.actor)
    assert [int(run.state.step) for run in runs] == [0, 0]


def test_copies_side_by_side_learn_too(pendulum):
    acting = Interaction(num_envs=2, random_steps=20, round_steps=10)
    run = iq.learn(CONTINUOUS, pendulum, env="Pendulum-v1", interaction=acting, **LENGTH)
    assert run.result["status"] == "completed"
    assert (run.result["env_steps"], run.result["updates"]) == (60, 30)


def test_the_same_seed_repeats_and_another_differs(pendulum):
    runs = [
        iq.learn(CONTINUOUS, pendulum, env="Pendulum-v1", interaction=ACTING, seed=seed, **LENGTH) for seed in (1, 1, 2)
    ]
    models = [np.concatenate([np.ravel(x) for x in jax.tree.leaves(run.model.actor)]) for run in runs]
    np.testing.assert_array_equal(models[0], models[1])
    assert np.abs(models[0] - models[2]).max() > 1e-4


def test_acting_needs_an_environment_and_an_algorithm_that_acts(pendulum):
    nameless = Demos.from_arrays({k: v for k, v in pendulum.arrays().items() if k != "env"})
    with pytest.raises(iq.InputError, match=r"^Learning online needs an environment.*--env\.$"):
        iq.learn(CONTINUOUS, nameless, online=True)
    with pytest.raises(iq.InputError, match="Behavioural cloning learns from the demonstrations alone"):
        iq.learn(BCContinuous(), pendulum, env="Pendulum-v1", online=True)
    with pytest.raises(iq.InputError, match="actions are continuous; expected IQLearnContinuous"):
        iq.learn(DISCRETE, pendulum, env="Pendulum-v1")
