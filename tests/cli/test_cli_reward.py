"""The recovered reward on the command line: it is judged, distilled, and used to train experts."""

import json
import shutil
from dataclasses import replace
from functools import partialmethod
from pathlib import Path
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.envs.classic_control import PendulumEnv

from iqlearn import DistilledReward, RecoveredReward, Run, api, cli, files, origins
from iqlearn.runs import manifest
from iqlearn.training.learner import Learner
from iqlearn.types import Transitions

NETWORKS = ("--critic.hidden", "4", "--actor.hidden", "4", "--batch-size", "4")
SHORT = ("--steps", "40", "--evaluations", "2", "--eval-episodes", "1", "--random-steps", "10", "--round-steps", "10")
COLD = ("--cloning.updates", "3")
KINDS = ("--rollouts", "policy,random,noisy", "--episodes", "2")


def iqlearn(*arguments: object) -> None:
    cli.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def trained(pendulum_file, tmp_path_factory):
    """The run folder of a short training online; tests read it only."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    iqlearn("train", "--env", "Pendulum-v1", "--demos", pendulum_file, "--out", folder, *SHORT, *NETWORKS, *COLD)
    return folder


@pytest.fixture(scope="module")
def judged(trained, pendulum_file, tmp_path_factory):
    """The folder that `iqlearn reward` writes for `trained`, with a distilled state reward."""
    out = tmp_path_factory.mktemp("judged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RecoveredReward, "distil", partialmethod(RecoveredReward.distil, updates=50))
        iqlearn("reward", trained, "--demos", pendulum_file, *KINDS, "--distil", "state", "--out", out)
    return out


def test_reward_writes_the_figures_and_the_picture(trained, pendulum_file, judged, capsys) -> None:
    iqlearn("reward", trained, "--demos", pendulum_file, *KINDS, "--out", judged, "--json")
    facts = json.loads(capsys.readouterr().out)
    assert list(facts["kinds"]) == ["demos", "policy", "random", "noisy"]
    assert facts["episodes"] == 2 + 3 * 2
    assert facts["transitions"] == 200 * facts["episodes"]
    for name in ("pearson_transition", "spearman_transition", "pearson_episode", "spearman_episode"):
        assert -1.0 <= facts[name] <= 1.0
        assert -1.0 <= facts["kinds"]["noisy"][name] <= 1.0
    assert files.read_json(judged / "reward.json")["pearson_episode"] == facts["pearson_episode"]
    assert (judged / "reward.png").read_bytes().startswith(b"\x89PNG")


def test_rollouts_repeat_with_the_same_seed_and_differ_with_another(trained, tmp_path, capsys) -> None:
    said = []
    for seed in (0, 0, 1):
        iqlearn(
            "reward", trained, "--rollouts", "noisy", "--episodes", "1", "--seed", seed, "--out", tmp_path, "--json"
        )
        said.append(json.loads(capsys.readouterr().out)["mean"])
    assert said[0] == said[1] != said[2]


def test_reward_without_json_prints_a_line_per_kind(trained, tmp_path, capsys) -> None:
    iqlearn("reward", trained, "--rollouts", "random,noisy", "--episodes", "1", "--out", tmp_path)
    out = capsys.readouterr().out
    assert "pearson episode" in out
    assert "noisy" in out


def test_refit_writes_the_refitted_reward_with_its_own_figures_and_picture(
    trained, judged, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(RecoveredReward, "refit", partialmethod(RecoveredReward.refit, updates=20))
    words = ("--rollouts", "random,noisy", "--episodes", "2", "--refit", "state", "--out", tmp_path, "--json")
    iqlearn("reward", trained, *words)
    facts = json.loads(capsys.readouterr().out)
    assert {path.name for path in tmp_path.iterdir()} == {
        f"refit-state.{kind}" for kind in ("json", "png", "safetensors")
    }
    told = DistilledReward.load(facts["refitted"])
    assert (told.kind, told.ends) == ("state", Run.load(trained).reward.ends)
    assert facts["max"] <= 1.0
    assert facts["pearson_episode"] != files.read_json(judged / "reward.json")["pearson_episode"]


def test_a_refit_refuses_other_demonstrations_than_the_runs_own(trained, tmp_path, sentence) -> None:
    shutil.copytree(trained, tmp_path / "run")
    config = files.read_json(tmp_path / "run" / "config.json")
    config["origin"]["sha256"] = "0" * 64
    manifest.update(tmp_path / "run", {"config.json": files.json_bytes(config)})
    words = ("--rollouts", "random", "--episodes", "1", "--refit", "state")
    assert "is not what" in sentence("reward", tmp_path / "run", *words)


@pytest.mark.parametrize("source", ["run", "distilled"])
def test_an_expert_learns_from_the_recovered_reward(source, trained, judged, tmp_path) -> None:
    path = trained if source == "run" else judged / "reward-state.safetensors"
    out = tmp_path / "expert"
    iqlearn("expert", "--env", "Pendulum-v1", "--reward", path, "--out", out, *SHORT, *NETWORKS)
    run = Run.load(out)
    assert run.origin.reward == str(path)
    assert run.result["mean_return"] < -100.0  # the reported return is the environment's own
    batch, paid = remembered(out)
    assert len(paid) == 40
    np.testing.assert_allclose(
        paid, origins.load_reward(path, run.task)[0].at_discount(run.settings.gamma)(batch), atol=1e-5
    )


def remembered(folder: Path) -> tuple[Transitions, np.ndarray]:
    """The transitions in the replay of an expert's run, and the reward of each."""
    run = Run.load(folder)
    learner = Learner(run, None)
    learner.restore(files.read_arrays(folder / "checkpoint.safetensors"))
    replay: Any = learner.source
    found = replay.replay._rows(jnp.arange(int(replay.replay.size)))
    return jax.tree.map(np.asarray, found.transitions), np.asarray(found.reward)


class Falling(gym.Wrapper):
    """Pendulum that terminates at every seventh step."""

    def __init__(self) -> None:
        super().__init__(PendulumEnv())

    def reset(self, *, seed=None, options=None):
        self.at = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action):
        self.at += 1
        obs, reward, _, _, info = self.env.step(action)
        return obs, reward, self.at == 7, False, info


def test_terminal_reward_of_an_expert_uses_its_own_discount(trained, tmp_path) -> None:
    """No demonstration of Pendulum terminates, so a termination is a failure: every later step has reward −r_max."""
    gym.register("IqlearnFalling-v0", entry_point=Falling, max_episode_steps=200)
    out, words = tmp_path / "expert", (*SHORT, *NETWORKS, "--gamma", "0.8")
    try:
        iqlearn("expert", "--env", "IqlearnFalling-v0", "--reward", trained, "--out", out, *words)
        batch, paid = remembered(out)
    finally:
        del gym.registry["IqlearnFalling-v0"]
    ends = np.asarray(batch.terminal)
    assert ends.any()
    np.testing.assert_allclose(paid[ends], -1.0 / (1.0 - 0.8), rtol=1e-5)
    assert (np.abs(paid[~ends]) < 5.0).all()


def test_an_interrupted_expert_goes_on_with_its_reward(trained, tmp_path, stop_at) -> None:
    start = ("expert", "--env", "Pendulum-v1", "--reward", trained, *SHORT, *NETWORKS)
    iqlearn(*start, "--out", tmp_path / "whole")
    stop_at(2)
    with pytest.raises(SystemExit):
        iqlearn(*start, "--out", tmp_path / "stopped")
    iqlearn("resume", tmp_path / "stopped")
    whole, again = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "stopped"))
    assert whole == again


@pytest.mark.parametrize("source", ["run", "distilled"])
def test_resume_refuses_a_changed_or_missing_reward(source, trained, judged, tmp_path, sentence) -> None:
    path, out = tmp_path / "reward", tmp_path / "expert"
    if source == "run":
        shutil.copytree(trained, path)
    else:
        shutil.copy(judged / "reward-state.safetensors", path)
    iqlearn("expert", "--env", "Pendulum-v1", "--reward", path, "--out", out, *SHORT, *NETWORKS)
    origin = Run.load(out).origin
    if source == "run":
        run = Run.load(path)
        replace(run, model=jax.tree.map(lambda x: x + 1, run.model)).save(path, overwrite=True)
    else:
        DistilledReward.load(path).at_discount(0.5).save(path)
    text = sentence("resume", out)
    for fact in (path, out, origin.reward_sha256[:12], "put the old one back"):
        assert str(fact) in text
    path.rename(tmp_path / "elsewhere")
    assert "No reward at" in sentence("resume", out)


def test_reward_without_builtin_demonstrations_asks_for_rollouts(sentence, trained, monkeypatch) -> None:
    monkeypatch.setattr("iqlearn.data.demos.BUILTIN", ())
    assert "--rollouts" in sentence("reward", trained)


def test_invalid_reward_arguments_are_rejected(sentence, trained, judged, tmp_path, cartpole_file) -> None:
    assert "clever" in sentence("reward", trained, "--rollouts", "policy,clever")
    assert "at least 1" in sentence("reward", trained, "--rollouts", "random", "--episodes", "0")
    both = ("--distil", "state", "--refit", "state")
    assert "expected one of them" in sentence("reward", trained, "--rollouts", "random", *both)
    assert "observations" in sentence("reward", trained, "--demos", cartpole_file)
    start = ("expert", "--env", "MountainCarContinuous-v0", *SHORT, *NETWORKS, "--out", tmp_path / "none", "--reward")
    assert "is of a task" in sentence(*start, trained)
    assert "is of a task" in sentence(*start, judged / "reward-state.safetensors")
    assert "No reward at" in sentence(*start, tmp_path / "nothing")
    assert "no distilled reward" in sentence(*start, trained / "model.safetensors")
    for reward in (trained, judged / "reward-state.safetensors"):  # replacing the folder would destroy the reward
        out = trained if reward == trained else judged
        start = ("expert", "--env", "Pendulum-v1", "--reward", reward, *SHORT, *NETWORKS)
        assert "holds the reward" in sentence(*start, "--out", out, "--overwrite")
        assert reward.exists()


def test_each_expert_of_a_folder_goes_on_with_its_own_reward(trained, tmp_path, monkeypatch) -> None:
    for seed, reward in enumerate((("--reward", trained), ())):
        out = tmp_path / f"seed-{seed}"
        iqlearn("expert", "--env", "Pendulum-v1", *reward, "--seed", seed, "--out", out, *SHORT, *NETWORKS)
    resumed = []

    def train(learners, *_: Any) -> list[Run]:
        resumed.extend(learners)
        return [learner.run for learner in learners]

    monkeypatch.setattr(api, "train", train)
    api.resume(tmp_path)
    assert [learner.reward is None for learner in resumed] == [False, True]
