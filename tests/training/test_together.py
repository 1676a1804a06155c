"""Runs stacked into one program, as on a GPU, equal the single runs in data, learning and saved files."""

import shutil
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from safetensors.numpy import load_file

import iqlearn as iq
from iqlearn import files
from iqlearn.algorithms.base import Extension
from iqlearn.envs.stepper import Stepper
from iqlearn.extensions import EXTENSIONS
from iqlearn.runs import folder
from iqlearn.training import trainer
from iqlearn.training.learner import Learner

SMALL = iq.Network((8,))
PLAIN = iq.IQLearnContinuous(critic=SMALL, actor=SMALL, average_rate=0.1, batch_size=4)
DISCRETE = iq.IQLearn(network=SMALL, batch_size=4)
ACTING = iq.Interaction(random_steps=10, round_steps=10)
LENGTH = {"steps": 60, "evaluations": 3, "eval_episodes": 1, "quiet": True}
SHORT = {"max_episode_steps": 25}
ONLINE = {"env_kwargs": SHORT, "interaction": ACTING, **LENGTH}


@dataclass(frozen=True)
class Memory(Extension):
    """A user-defined extension that pulls the actor to the mean action seen before the first update."""

    steps: int = 20
    name: ClassVar[str] = "memory"
    needs: ClassVar[tuple[str, ...]] = ("actor_loss",)

    @property
    def phase(self) -> int:
        return self.steps

    def begin(self, task, algorithm, state, demos, key):
        return {"mean": jnp.zeros(1), "noise": jr.normal(key, (1,))}

    def prepare(self, now):
        mean = jnp.mean(now.demos.expert().action, axis=0)
        return replace(now.state, aux={"memory": now.state.aux["memory"] | {"mean": mean}})

    def actor_loss(self, aux, rows):
        away = jnp.mean((rows.policy.mode - aux["mean"] - 0.1 * aux["noise"]) ** 2)
        return away, {"away": away}

    def wakes(self, before, done, phase):
        return before < phase <= done

    def after_round(self, now):
        mean = jnp.mean(now.source.replay.newest(now.done).action, axis=0) + 0.1 * jr.normal(now.key, (1,))
        aux = {"memory": now.state.aux["memory"] | {"mean": mean}}
        return replace(now.state, aux=aux), now.source, {"met": float(mean[0])}


EXTENDED = replace(PLAIN, extensions=(Memory(),))


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(EXTENSIONS, "memory", Memory)


@contextmanager
def stacking():
    """Stacks runs, as on a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.jax, "default_backend", lambda: "gpu")
        patch.setitem(EXTENSIONS, "memory", Memory)
        yield


@pytest.fixture
def stacked():
    with stacking():
        yield


@pytest.fixture(scope="module")
def parts(pendulum) -> list[iq.Demos]:
    """Demonstrations of unequal length."""
    return [pendulum, pendulum.take(1, seed=0).subsample(3, seed=0)]


@pytest.fixture(scope="module")
def whole(parts, tmp_path_factory):
    """Two uninterrupted runs, their folder, and copies of it at each evaluation."""
    parent = tmp_path_factory.mktemp("whole")
    copies = []

    def copy(training) -> None:
        copies.append(parent / str(training.done))
        shutil.copytree(parent / "runs", copies[-1])

    length = {"seeds": [0, 1], "out": parent / "runs", "callbacks": [copy]}
    with stacking():
        return iq.learn(EXTENDED, parts, env="Pendulum-v1", **length, **ONLINE), parent / "runs", copies


def alike(together: tuple[iq.Run, Path], alone: tuple[iq.Run, Path]) -> None:
    """Check that both are the same run, up to the order of sums."""
    checkpoints = [load_file(path / folder.CHECKPOINT) for _, path in (together, alone)]
    assert checkpoints[0].keys() == checkpoints[1].keys()
    assert int(checkpoints[1]["['done']"]) == 60
    assert int(checkpoints[1]["['state'].step"]) > 0
    for part in checkpoints[1]:
        np.testing.assert_allclose(*(found[part] for found in checkpoints), rtol=1e-3, atol=1e-3, err_msg=part)
    runs = together[0], alone[0]
    assert runs[0].rows[-1].keys() == runs[1].rows[-1].keys()
    learnt = [[v for k, v in run.rows[-1].items() if "return" not in k] for run in runs]
    np.testing.assert_allclose(*learnt, rtol=1e-2, atol=1e-3)
    assert [run.result["seeds_together"] for run in runs] == [2, 1]
    assert runs[0].origin == runs[1].origin


@pytest.mark.slow
def test_stacked_continuous_runs_with_unequal_demonstrations_match_single_runs(parts, whole, tmp_path):
    runs, out, _ = whole
    alone = iq.learn(EXTENDED, parts[1], env="Pendulum-v1", seed=1, out=tmp_path / "1", **ONLINE)
    alike((runs[1], out / "seed-1"), (alone, tmp_path / "1"))


def test_stacked_discrete_runs_with_terminations_match_single_runs(cartpole, tmp_path):
    demos = [cartpole.take(1, seed=seed) for seed in range(2)]
    with stacking():
        runs = iq.learn(DISCRETE, demos, env="CartPole-v1", seeds=[0, 1], out=tmp_path, **ONLINE)
    alone = iq.learn(DISCRETE, demos[1], env="CartPole-v1", seed=1, out=tmp_path / "1", **ONLINE)
    alike((runs[1], tmp_path / "seed-1"), (alone, tmp_path / "1"))


def test_each_run_is_evaluated_and_written(pendulum, whole):
    runs, out, _ = whole
    for run, path in zip(runs, folder.runs_in(out), strict=True):
        kept = iq.Run.load(path)
        assert [row["step"] for row in kept.rows] == [20, 40, 60]
        assert kept.result["status"] == "completed"
        np.testing.assert_array_equal(kept.policy(pendulum.obs[:3]), run.policy(pendulum.obs[:3]))
    assert len({run.rows[0]["met"] for run in runs}) == 2, "each has met something else"
    assert np.any(runs[0].policy(pendulum.obs[:3]) != runs[1].policy(pendulum.obs[:3]))


@pytest.mark.usefixtures("stacked")
def test_resumed_stacked_runs_equal_the_uninterrupted_runs(parts, whole, same_run):
    """Bit for bit."""
    _, out, copies = whole
    resumed = iq.resume(copies[0], parts, quiet=True)
    assert [run.result["status"] for run in resumed] == ["completed"] * 2
    for ours, theirs in zip(folder.runs_in(copies[0]), folder.runs_in(out), strict=True):
        same_run(ours, theirs)


@pytest.mark.usefixtures("stacked")
def test_stacked_runs_at_different_steps_can_be_resumed(parts, whole, tmp_path):
    """A run that is killed while it writes leaves some seeds an evaluation behind."""
    _, out, copies = whole
    shutil.copytree(copies[1] / "seed-0", tmp_path / "seed-0")
    shutil.copytree(out / "seed-1", tmp_path / "seed-1")
    resumed = iq.resume(tmp_path, parts, quiet=True)
    assert [run.schedule.seed for run in resumed] == [0, 1]
    assert [run.result["status"] for run in resumed] == ["completed"] * 2
    assert [run.rows[-1]["step"] for run in resumed] == [60, 60]
    read = (files.read_arrays(path / "seed-0" / folder.MODEL).arrays for path in (tmp_path, out))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), *read)


@pytest.mark.parametrize("env", ["Pendulum-v1", "CartPole-v1", None])
@pytest.mark.filterwarnings("ignore:Ended before its time")
def test_diverged_run_does_not_spoil_the_other_runs(pendulum, cartpole, tmp_path, env, request, monkeypatch):
    """Online in parallel, online stacked, and offline: the other run can be resumed."""
    if env == "CartPole-v1":
        request.getfixturevalue("stacked")
    demos, settings = (pendulum, PLAIN) if env == "Pendulum-v1" else (cartpole, DISCRETE)
    prepare = Learner.prepare

    def broken(self, tell) -> None:
        prepare(self, tell)
        if self.run.schedule.seed == 0:
            bad = jax.tree.map(lambda x: x * np.nan if x.dtype == np.float32 else x, self.state.model)
            self.state = replace(self.state, model=bad)

    monkeypatch.setattr(Learner, "prepare", broken)
    length = LENGTH | {"out": tmp_path / "runs", "env_kwargs": SHORT, "env": env or "CartPole-v1"}
    length |= {} if env is None else {"interaction": ACTING}
    lost, kept = iq.learn(settings, demos, seeds=[0, 1], **length)
    assert (lost.result["status"], kept.result["status"]) == ("diverged", "interrupted")
    assert "diverged_between" not in kept.result
    assert iq.resume(tmp_path / "runs" / "seed-1", demos, quiet=True).result["status"] == "completed"


def test_every_run_acts_in_environments_of_its_own(pendulum, monkeypatch):
    made, begin = [], Learner.begin_episodes

    def begun(self) -> None:
        begin(self)
        made.append(self.stepper)

    monkeypatch.setattr(Learner, "begin_episodes", begun)
    closed, close = [], Stepper.close
    monkeypatch.setattr(Stepper, "close", lambda self: (closed.append(self), close(self)))
    iq.learn(PLAIN, pendulum, env="Pendulum-v1", seeds=[0, 1], **ONLINE)
    assert len(set(map(id, made))) == 2
    assert set(map(id, made)) <= set(map(id, closed))
