"""`--state-only` on the command line: files without actions are accepted with it and refused elsewhere."""

import json
from pathlib import Path

import numpy as np
import pytest

from iqlearn import cli, files

SHORT = ("--steps", "4", "--evaluations", "2", "--eval-episodes", "1", "--network.hidden", "8", "--batch-size", "8")


def iqlearn(*arguments: object) -> None:
    cli.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def watched(cartpole_arrays, pendulum_arrays, tmp_path_factory) -> dict[str, Path]:
    """Files without actions, by task; the last one does not name its environment."""
    folder, files = tmp_path_factory.mktemp("watched"), {}
    arrays = {"CartPole-v1": cartpole_arrays, "Pendulum-v1": pendulum_arrays}
    for name, of_task in arrays.items():
        files[name] = folder / f"{name}.npz"
        np.savez(files[name], **{key: value for key, value in of_task.items() if key != "act"})
    files["nameless"] = folder / "nameless.npz"
    np.savez(files["nameless"], **{k: v for k, v in cartpole_arrays.items() if k not in ("act", "env")})
    return files


def test_discrete_file_without_actions_trains_and_resumes(watched, tmp_path, stop_at, same_run):
    start = ("train", "--state-only", "--demos", watched["CartPole-v1"], "--trajectories", 2, "--subsample", 2, *SHORT)
    iqlearn(*start, "--out", tmp_path / "whole")
    assert files.read_json(tmp_path / "whole" / "config.json")["settings"]["state_only"] is True
    stop_at(2)
    with pytest.raises(SystemExit):
        iqlearn(*start, "--out", tmp_path / "stopped")
    iqlearn("resume", tmp_path / "stopped")
    same_run(tmp_path / "stopped", tmp_path / "whole")


def test_environment_named_by_the_file_determines_continuous_actions(watched, tmp_path):
    file = watched["Pendulum-v1"]
    layers = ("--critic.hidden", 8, "--actor.hidden", 8, *SHORT[-2:])
    iqlearn("train", "--state-only", "--demos", file, "--out", tmp_path / "run", *layers, *SHORT[:-4])
    settings = files.read_json(tmp_path / "run" / "config.json")["settings"]
    assert settings["name"] == "iq-continuous"
    assert settings["extensions"] == []


def test_file_without_actions_is_refused_without_state_only(watched, tmp_path, sentence):
    file, out = watched["CartPole-v1"], ("--out", tmp_path / "run")
    for words in ((), ("--algorithm", "bc")):
        text = sentence("train", "--demos", file, *words, *out)
        assert "CartPole-v1.npz: field 'act' is missing" in text
        assert "--state-only" in text
    assert not (tmp_path / "run").exists()


def test_file_without_actions_and_environment_is_refused_with_a_hint_to_env(watched, tmp_path, sentence):
    text = sentence("train", "--state-only", "--demos", watched["nameless"], "--out", tmp_path / "run")
    assert "nameless.npz: the actions of the task are unknown" in text
    assert "--env" in text


def test_reward_refuses_demonstrations_without_actions(watched, cartpole_file, tmp_path, sentence):
    iqlearn("train", "--state-only", "--demos", cartpole_file, "--out", tmp_path / "run", *SHORT)
    text = sentence("reward", tmp_path / "run", "--demos", watched["CartPole-v1"])
    assert "CartPole-v1.npz: field 'act' is missing" in text


def test_cloning_with_state_only_is_refused(watched, tmp_path, sentence):
    start = ("train", "--state-only", "--demos", watched["Pendulum-v1"], "--out", tmp_path / "run")
    assert "expected no cloning with state_only" in sentence(
        *start, "--extensions", "cloning", "--cloning.regularisation", 0
    )


def test_inspect_reports_missing_actions(watched, capsys):
    iqlearn("demos", "inspect", watched["CartPole-v1"], "--env", "CartPole-v1", "--json")
    assert json.loads(capsys.readouterr().out)["actions"] == "none"
