"""Online learning: a resumed run equals the whole run, no reward is read, a time limit is not a termination."""

import os
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import jax
import jax.random as jr
import numpy as np
import pytest
from gymnasium.envs.classic_control import PendulumEnv
from safetensors.numpy import load_file

import iqlearn as iq
from iqlearn.files import read_json
from iqlearn.runs import folder

SMALL = iq.Network((8,))
CONTINUOUS = iq.IQLearnContinuous(critic=SMALL, actor=SMALL, average_rate=0.1, batch_size=4)
DISCRETE = iq.IQLearn(network=SMALL, batch_size=4)
ACTING = iq.Interaction(random_steps=10, round_steps=10)
LENGTH = {"steps": 60, "evaluations": 3, "eval_episodes": 1, "quiet": True}
"""Evaluations after 20, 40 and 60 steps; the first update is due at step 10."""
TASKS = {"Pendulum-v1": CONTINUOUS, "CartPole-v1": DISCRETE}
SHORT = {"max_episode_steps": 25}


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


def learnt(task: str, demos_of, out: Path, acting: iq.Interaction = ACTING) -> iq.Run:
    known = {"env": task, "env_kwargs": SHORT, "interaction": acting, "seed": 3, "out": out}
    return iq.learn(TASKS[task], demos_of[task], **known, **LENGTH)


@pytest.mark.parametrize(("task", "number"), [("Pendulum-v1", 3), ("CartPole-v1", 2)])
@pytest.mark.filterwarnings("ignore:Ended before its time")
def test_resumed_run_equals_the_uninterrupted_run(task, number, demos_of, whole, tmp_path, stop_at, same_run):
    calls = stop_at(number)
    stopped = learnt(task, demos_of, tmp_path / "run")
    assert calls == [20, 40, 60][:number]
    assert stopped.result["status"] == "interrupted"
    assert [row["step"] for row in stopped.rows] == [20, 40][: number - 1]
    resumed = iq.resume(tmp_path / "run", demos_of[task], quiet=True)
    assert resumed.result["status"] == "completed"
    assert [row["step"] for row in resumed.rows] == [20, 40, 60]
    same_run(tmp_path / "run", whole(task))
    folders = tmp_path / "run", whole(task)
    steps = [read_json(path / folder.RESULT)["best_step"] for path in folders]
    assert steps[0] == steps[1]
    assert (folders[0] / folder.LAST).read_bytes() == (folders[1] / folder.LAST).read_bytes()


def test_a_run_counts_steps_and_updates(whole):
    run = iq.Run.load(whole("Pendulum-v1"))
    assert (run.result["env_steps"], run.result["updates"]) == (60, 40)
    # The updates of the newest round are still due: they overlap with the next round's steps.
    assert [row["updates"] for row in run.rows] == [0, 20, 40]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(run.model))
    assert run.rows[-1]["occupancy_distance"] >= 0.0


def stopped_between(monkeypatch, name: str, task: str, demos_of, out: Path, acting: iq.Interaction) -> None:
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


@pytest.mark.parametrize("name", [folder.CHECKPOINT, folder.METRICS])
def test_power_cut_between_two_writes_loses_no_evaluation(name, demos_of, whole, tmp_path, monkeypatch, same_run):
    stopped_between(monkeypatch, name, "Pendulum-v1", demos_of, tmp_path / "run", ACTING)
    iq.resume(tmp_path / "run", demos_of["Pendulum-v1"], quiet=True)
    same_run(tmp_path / "run", whole("Pendulum-v1"))


def test_power_cut_before_the_first_update_repeats_no_row(demos_of, tmp_path, monkeypatch):
    acting = iq.Interaction(random_steps=45, round_steps=10)
    stopped_between(monkeypatch, folder.CHECKPOINT, "Pendulum-v1", demos_of, tmp_path / "run", acting)
    resumed = iq.resume(tmp_path / "run", demos_of["Pendulum-v1"], quiet=True)
    assert [row["step"] for row in resumed.rows] == [20, 40, 60]


class Otherwise(gym.RewardWrapper):
    """Pendulum with other rewards."""

    def __init__(self) -> None:
        super().__init__(gym.wrappers.TimeLimit(PendulumEnv(), 25))

    def reward(self, reward):
        return 1e3 - 7.0 * float(reward)


def test_no_reward_ever_reaches_an_imitator(pendulum, cartpole, whole, tmp_path):
    """Neither that of the environment nor that of the demonstrations, online or offline."""
    one, length = iq.Run.load(whole("Pendulum-v1")), {"interaction": ACTING, "seed": 3, "out": tmp_path / "run"}
    paid = replace(pendulum, rew=np.full(len(pendulum), np.nan, np.float32), episode_return=None)
    two = iq.learn(CONTINUOUS, paid, env=Otherwise, **length, **LENGTH)
    assert one.result["mean_return"] < 0.0 < two.result["mean_return"]
    assert one.result["best_step"] == two.result["best_step"]
    told = [[v for k, v in run.rows[-1].items() if not k.startswith("return")] for run in (one, two)]
    np.testing.assert_allclose(*told, rtol=1e-8)  # `metrics.csv` has nine digits
    found = [load_file(out / folder.CHECKPOINT) for out in (whole("Pendulum-v1"), tmp_path / "run")]
    assert any(np.any(found[0][part] != found[1][part]) for part in found[0] if part.endswith("reward"))
    for part in found[0]:
        if not part.endswith("replay.reward") and not part.endswith("['source'].reward"):
            np.testing.assert_array_equal(found[0][part], found[1][part], err_msg=part)

    paid = replace(cartpole, rew=7.0 - 3.0 * cartpole.rew, expert_return=None)
    length = {"env": "CartPole-v1", "env_kwargs": SHORT, "steps": 5, "evaluations": 1, "eval_episodes": 1}
    one, two = (iq.learn(DISCRETE, demos, quiet=True, **length) for demos in (cartpole, paid))
    jax.tree.map(np.testing.assert_array_equal, one.state, two.state)
    assert one.origin == two.origin


class Steps(gym.Env):
    """Observes (reset number, time); terminates at time 3 in every third episode, else meets the time limit of 5."""

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


def test_replay_marks_only_terminations_and_never_crosses_episodes(counting_arrays):
    demos = iq.Demos.from_arrays({**counting_arrays, "act": counting_arrays["act"] % 2})
    kept = []

    def keep(training):
        kept.append(jax.tree.map(np.asarray, training.groups[0].sources.replay))

    iq.learn(
        DISCRETE,
        demos,
        env=lambda: gym.wrappers.TimeLimit(Steps(), 5),
        interaction=ACTING,
        steps=40,
        evaluations=2,
        eval_episodes=1,
        callbacks=[keep],
        quiet=True,
    )
    assert [int(replay.size) for replay in kept] == [20, 40]
    rows = jax.device_get(jax.tree.map(jax.numpy.asarray, kept[-1]).sample(jr.key(0), 500))
    np.testing.assert_array_equal(rows.next_obs, rows.obs + np.array([0, 1], np.float32))
    np.testing.assert_array_equal(rows.terminal, (rows.obs[:, 0] % 3 == 0) & (rows.next_obs[:, 1] == 3))
    assert rows.terminal.any()
    assert ((rows.next_obs[:, 1] == 5) & ~rows.terminal).any(), "a time limit was met"


def test_a_run_that_diverges_keeps_its_last_good_evaluation(demos_of, tmp_path):
    """A user reads "not finite between steps 20 and 30; the state after step 20 is in DIR"."""
    task, out = "Pendulum-v1", tmp_path / "run"
    settings = replace(TASKS[task], learning_rate=1e30)
    with pytest.warns(RuntimeWarning, match="before its time, after step 20: .* diverged"):
        run = iq.learn(settings, demos_of[task], env=task, env_kwargs=SHORT, interaction=ACTING, out=out, **LENGTH)
    assert run.result["status"] == "diverged"
    first, last = run.result["diverged_between"]
    assert 20 <= first < last <= 60
    assert [row["step"] for row in run.rows] == [20]
    kept = iq.Run.load(out)
    assert kept.result["status"] == "diverged"
    observations = demos_of[task].obs[:5]
    np.testing.assert_array_equal(kept.policy(observations), run.policy(observations))
    assert np.isfinite(kept.policy(observations)).all()
    assert np.isfinite(kept.reward(demos_of[task])).all()


def test_run_with_two_environment_copies_completes_and_learns(pendulum):
    """Every weight of critic and actor has changed since the evaluation before the first update."""
    acting, models = iq.Interaction(num_envs=2, random_steps=10, round_steps=10), []
    how = {"env_kwargs": SHORT, "interaction": acting, "callbacks": [lambda training: models.append(last(training))]}

    def last(training) -> list[np.ndarray]:
        model = training.runs[0].last
        return [np.asarray(layer.weight) for layer in (*model.critic.members.layers, *model.actor.layers)]

    run = iq.learn(CONTINUOUS, pendulum, env="Pendulum-v1", **how, **LENGTH)
    assert run.result["status"] == "completed"
    assert (run.result["env_steps"], run.result["updates"]) == (60, 40)
    assert [row["updates"] for row in run.rows] == [0, 20, 40]
    for before, after in zip(models[0], models[-1], strict=True):
        assert np.any(before != after)
        assert np.isfinite(after).all()


def test_the_same_seed_repeats_and_another_differs(pendulum, whole):
    known = {"env": "Pendulum-v1", "env_kwargs": SHORT, "interaction": ACTING}
    runs = [iq.learn(CONTINUOUS, pendulum, seed=seed, **known, **LENGTH) for seed in (3, 4)]
    runs.append(iq.Run.load(whole("Pendulum-v1")))
    models = [np.concatenate([np.ravel(x) for x in jax.tree.leaves(run.model.actor)]) for run in runs]
    np.testing.assert_array_equal(models[0], models[2])
    assert np.abs(models[0] - models[1]).max() > 1e-4


def test_resumed_expert_equals_the_uninterrupted_expert(tmp_path, snapshots, same_run):
    settings = iq.SAC(critic=SMALL, critics=1, actor=SMALL, batch_size=4)
    copies = snapshots(tmp_path / "run")
    known = {"env_kwargs": SHORT, "interaction": ACTING, "seed": 1, "out": tmp_path / "run", "callbacks": [copies]}
    run = iq.train_expert("Pendulum-v1", settings, **known, **LENGTH)
    assert run.result["expert_return"] is None
    assert run.result["normalised_return"] is None
    assert "occupancy_distance" not in run.rows[-1]
    iq.resume(copies.copies[1], quiet=True)
    same_run(copies.copies[1], tmp_path / "run")
