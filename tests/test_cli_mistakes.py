"""Mistakes on the command line are told on the error stream in a sentence, with exit code 2; nothing is written."""

import json
import shutil

import numpy as np
import pytest

import iqlearn as iq
from iqlearn import cli

SHORT = ("--steps", "6", "--evaluations", "2", "--eval-episodes", "2", "--network.hidden", "8", "--batch-size", "8")


@pytest.fixture(scope="module")
def cartpole_run(cartpole_file, tmp_path_factory):
    """The run folder of a moment's training; tests read it only."""
    folder = tmp_path_factory.mktemp("mistakes") / "run"
    cli.main(["train", "--demos", str(cartpole_file), "--out", str(folder), *SHORT])
    return folder


def test_settings_out_of_range_are_one_sentence(cartpole_file, tmp_path, sentence):
    start = ("train", "--demos", cartpole_file, "--out", tmp_path / "run")
    assert "gamma is 1.5; expected a number in [0, 1)" in sentence(*start, "--gamma", 1.5)
    assert "gamma is nan" in sentence(*start, "--gamma", "nan")
    assert "steps is 0" in sentence(*start, "--steps", 0)
    assert "learning_rate is 0.0" in sentence(*start, "--learning-rate", 0)
    assert "hidden" in sentence(*start, "--network.hidden", 0)
    assert "seeds is 0" in sentence(*start, "--seeds", 0)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", ["nan", "inf"])
@pytest.mark.parametrize("flag", ["--learning-rate", "--temperature", "--weight-decay", "--chi2-alpha"])
def test_settings_that_are_no_finite_number_are_one_sentence(cartpole_file, tmp_path, sentence, flag, value):
    text = sentence("train", "--demos", cartpole_file, "--out", tmp_path / "run", flag, value, *SHORT)
    assert flag.strip("-").replace("-", "_") in text


def test_demonstrations_that_do_not_do_are_one_sentence(cartpole_file, cartpole_arrays, tmp_path, sentence):
    start = ("train", "--out", tmp_path / "run", "--demos")
    assert "none.npz" in sentence(*start, tmp_path / "none.npz")
    empty = {name: array[:0] if array.shape else array for name, array in cartpole_arrays.items()}
    np.savez(tmp_path / "empty.npz", **empty)
    assert "empty.npz: field 'ep' is empty" in sentence(*start, tmp_path / "empty.npz")
    assert "holds 6" in sentence(*start, cartpole_file, "--trajectories", 7)
    assert "0 trajectories" in sentence(*start, cartpole_file, "--trajectories", 0)
    assert "every 0" in sentence(*start, cartpole_file, "--subsample", 0)
    assert not (tmp_path / "run").exists()


def test_environments_that_do_not_do_are_one_sentence(cartpole_file, tmp_path, sentence):
    start = ("train", "--demos", cartpole_file, "--out", tmp_path / "run", "--env")
    assert "'Nonsense-v0'" in sentence(*start, "Nonsense-v0")
    assert "'Cart Pole'" in sentence(*start, "Cart Pole")
    assert "expected (6,) as Acrobot-v1 has" in sentence(*start, "Acrobot-v1")
    assert "Pendulum-v1" in sentence(*start, "Pendulum-v1")
    assert "'Nonsense-v0'" in sentence("demos", "inspect", cartpole_file, "--env", "Nonsense-v0")
    assert "'Acrobot-v1'" in sentence("train", "--env", "Acrobot-v1")  # nothing ships for it
    assert not (tmp_path / "run").exists()


def test_flags_that_contradict_each_other_are_one_sentence(cartpole_file, tmp_path, sentence):
    start = ("train", "--demos", cartpole_file, "--out", tmp_path / "run")
    text = sentence(*start, "--offline", "--online")
    assert "--offline" in text
    assert "--online" in text
    assert "--online" in sentence(*start, "--online", "--algorithm", "bc")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_folder_that_is_taken_is_left_alone(cartpole_file, tmp_path, sentence, seeds):
    (tmp_path / "notes.txt").write_text("mine")
    text = sentence("train", "--demos", cartpole_file, "--out", tmp_path, "--seeds", seeds, *SHORT)
    assert "--overwrite" in text
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_folders_that_hold_no_run_are_one_sentence(tmp_path, sentence, cartpole_file):
    for command in (("evaluate",), ("resume",), ("reward", "--demos", cartpole_file)):
        assert "config.json" in sentence(command[0], tmp_path / "none", *command[1:])
    assert "config.json" in sentence("demos", "collect", tmp_path, "--out", tmp_path / "x.npz")


def test_files_in_the_way_of_folders_are_one_sentence(cartpole_run, tmp_path, sentence):
    (tmp_path / "taken").write_text("mine")
    assert "taken" in sentence("demos", "collect", cartpole_run, "--episodes", 1, "--out", tmp_path / "taken" / "x.npz")
    assert "taken cannot be made" in sentence("reward", cartpole_run, "--out", tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "mine"


def test_an_environment_of_another_task_is_one_sentence(cartpole_run, sentence):
    text = sentence("evaluate", cartpole_run, "--env", "Acrobot-v1")
    assert "Acrobot-v1 has observations of shape (6,)" in text
    assert "the run's policy is for observations of shape (4,)" in text


def test_metrics_without_steps_are_one_sentence(cartpole_run, tmp_path, sentence):
    copy = tmp_path / "run"
    shutil.copytree(cartpole_run, copy)
    (copy / "metrics.csv").write_text("loss\n1.0\n")
    assert "metrics.csv is damaged" in sentence("evaluate", copy)


def test_one_transition_is_described(cartpole_arrays, tmp_path, capsys):
    one = {name: array[:1] if array.shape else array for name, array in cartpole_arrays.items()}
    np.savez(tmp_path / "one.npz", **one | {"trunc": np.ones(1, bool), "term": np.zeros(1, bool)})
    cli.main(["demos", "inspect", str(tmp_path / "one.npz"), "--json"])
    assert json.loads(capsys.readouterr().out)["transitions"] == 1


def test_the_version(capsys):
    cli.main(["--version"])
    assert capsys.readouterr().out == f"iqlearn {iq.__version__}\n"


def test_wrong_words_are_told_with_what_is_right(told):
    assert "'nope'" in told("train", "--algorithm", "nope")
    assert "'nope'" in told("train", "--algorithm=nope")
    assert "--gamma" in told("train", "--algorithm", "bc", "--gamma", 0.5)
    assert "--divergence" in told("train", "--divergence", "nope")
    assert "--nonsense" in told("train", "--nonsense")
    assert "steps" in told("train", "--steps", "many")
    assert "nonsense" in told("nonsense")
