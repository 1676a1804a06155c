"""Mistakes on the command line give one sentence on the error stream and exit code 2; nothing is written."""

import json
import shutil

import numpy as np
import pytest

import iqlearn as iq
from iqlearn import cli

SHORT = ("--steps", "6", "--evaluations", "2", "--eval-episodes", "2", "--network.hidden", "8", "--batch-size", "8")


@pytest.fixture(scope="module")
def cartpole_run(cartpole_file, tmp_path_factory):
    """The run folder of a very short training; tests read it only."""
    folder = tmp_path_factory.mktemp("mistakes") / "run"
    cli.main(["train", "--demos", str(cartpole_file), "--out", str(folder), *SHORT])
    return folder


def test_settings_out_of_range_are_rejected(cartpole_file, tmp_path, sentence):
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
def test_nonfinite_settings_are_rejected(cartpole_file, tmp_path, sentence, flag, value):
    text = sentence("train", "--demos", cartpole_file, "--out", tmp_path / "run", flag, value, *SHORT)
    assert flag.strip("-").replace("-", "_") in text


def test_missing_or_insufficient_demonstrations_are_rejected(cartpole_file, cartpole_arrays, tmp_path, sentence):
    start = ("train", "--out", tmp_path / "run", "--demos")
    assert "none.npz" in sentence(*start, tmp_path / "none.npz")
    empty = {name: array[:0] if array.shape else array for name, array in cartpole_arrays.items()}
    np.savez(tmp_path / "empty.npz", **empty)
    assert "empty.npz: field 'ep' is empty" in sentence(*start, tmp_path / "empty.npz")
    assert "holds 6" in sentence(*start, cartpole_file, "--trajectories", 7)
    assert "0 trajectories" in sentence(*start, cartpole_file, "--trajectories", 0)
    assert "every 0" in sentence(*start, cartpole_file, "--subsample", 0)
    assert not (tmp_path / "run").exists()


def test_unknown_or_mismatched_environments_are_rejected(cartpole_file, tmp_path, sentence):
    start = ("train", "--demos", cartpole_file, "--out", tmp_path / "run", "--env")
    assert "'Nonsense-v0'" in sentence(*start, "Nonsense-v0")
    assert "'Cart Pole'" in sentence(*start, "Cart Pole")
    assert "expected (6,) as Acrobot-v1 has" in sentence(*start, "Acrobot-v1")
    assert "Pendulum-v1" in sentence(*start, "Pendulum-v1")
    assert "'Nonsense-v0'" in sentence("demos", "inspect", cartpole_file, "--env", "Nonsense-v0")
    assert "'Acrobot-v1'" in sentence("train", "--env", "Acrobot-v1")  # iqlearn has no built-in demonstrations for it
    assert not (tmp_path / "run").exists()


def test_online_behavioural_cloning_is_rejected(cartpole_file, tmp_path, sentence):
    start = ("train", "--demos", cartpole_file, "--out", tmp_path / "run")
    assert "expected mode offline" in sentence(*start, "--mode", "online", "--algorithm", "bc")
    assert not (tmp_path / "run").exists()


def test_wrong_environment_or_file_is_reported_before_other_flags(tmp_path, sentence):
    """The environment or the file decides which flags exist, also for --help."""
    for more in (("--decay-after", 100), ("--help",), ("--help-all",)):
        assert "'Hoper-v5'" in sentence("train", "--env", "Hoper-v5", *more)
        assert "none.npz" in sentence("train", "--demos", tmp_path / "none.npz", *more)
        assert "'Hoper-v5'" in sentence("expert", "--env", "Hoper-v5", *more)


@pytest.mark.parametrize(
    "flags",
    [
        ("--num-envs", 2),
        ("--random-steps", 5),
        ("--mode", "online", "--value-term", "expert"),  # the recommended online form is the squared Bellman error
        ("--cloning.updates", 5),
        ("--action-inference.steps", 5),
        ("--extensions", "none", "--model-rollouts.particles", 4),
        ("--preset", "paper", "--model-rollouts.particles", 4),
        ("--extensions", "cloning"),
        ("--extensions", "reward-regression"),
        ("--form", "least_squares", "--preset", "paper"),
        ("--preset", "ls-iq"),
        ("--preset", "ls-iq", "--mode", "online", "--value-term", "expert"),
        ("--preset", "ls-iq", "--mode", "online", "--algorithm", "sqil"),
        ("--preset", "paper", "--algorithm", "bc"),
        ("--algorithm", "csil"),
        ("--form", "least_squares", "--divergence", "tv", "--mode", "online"),
        ("--env-arg", "x=1"),
        ("--algorithm", "bc", "--extensions", "model_rollouts"),
    ],
)
def test_flags_without_effect_are_refused(cartpole_file, tmp_path, sentence, flags):
    told = sentence("train", "--demos", cartpole_file, "--out", tmp_path / "run", *flags)
    named = [part for flag in map(str, flags) for part in (flag, flag.strip("-").replace("-", "_"))]
    assert any(part in told for part in [*named, "mode online"]), "the message names a flag, or the remedy"
    assert not (tmp_path / "run").exists()


def test_overwrite_without_out_is_refused(cartpole_file, sentence):
    assert "--out" in sentence("train", "--demos", cartpole_file, "--overwrite")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (("train", "--lerning-rate", 3), "--learning-rate"),
        (("train", "--batchsize", 3), "--batch-size"),
        (("train", "--model-rollouts.horizn", 3), "--model-rollouts.horizon"),
        (("expert", "--env", "CartPole-v1", "--target-rte", 3), "--target-rate"),
        (("evaluate", "runs", "--episods", 3), "--episodes"),
        (("demos", "collect", "runs", "--otu", "x"), "--out"),
        (("tran",), "train"),
        (("demos", "inspct"), "demos inspect"),
    ],
)
def test_misspelt_word_is_rejected_with_the_nearest_known_word(sentence, wrong, right):
    assert f"the nearest is {right};" in sentence(*wrong)


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ("train 400", "'400'; see"),
        ("train --steps 200 400", "'400' after --steps"),
        ("train --steps 200 --overwrite yes", "'yes' after --overwrite"),
        ("evaluate run --episodes 3 other", "'other' after --episodes"),
        ("evaluate run other", "'other'; see"),
        ("evaluate run --video 3 --episodes 3 3", "'3' after --episodes"),
    ],
)
def test_word_that_belongs_to_no_flag_is_named_with_the_flag_before_it(sentence, words, place):
    assert f"Unexpected argument {place}" in sentence(*words.split())


@pytest.mark.parametrize("words", ["--steps 1.5", "--steps many", "--network.hidden 8.5", "--seeds inf", "--gamma x"])
def test_invalid_numbers_are_rejected(sentence, words):
    assert words.split()[0] in sentence("train", *words.split())


@pytest.mark.parametrize("seeds", [1, 2])
def test_train_refuses_a_nonempty_folder(cartpole_file, tmp_path, sentence, seeds):
    (tmp_path / "notes.txt").write_text("mine")
    text = sentence("train", "--demos", cartpole_file, "--out", tmp_path, "--seeds", seeds, *SHORT)
    assert "--overwrite" in text
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_folders_without_a_run_are_rejected(tmp_path, sentence, cartpole_file):
    for command in (("evaluate",), ("resume",), ("reward", "--demos", cartpole_file)):
        assert "config.json" in sentence(command[0], tmp_path / "none", *command[1:])
    assert "config.json" in sentence("demos", "collect", tmp_path, "--out", tmp_path / "x.npz")


def test_output_folder_that_is_a_file_is_rejected(cartpole_run, tmp_path, sentence):
    (tmp_path / "taken").write_text("mine")
    assert "taken" in sentence("demos", "collect", cartpole_run, "--episodes", 1, "--out", tmp_path / "taken" / "x.npz")
    assert "taken cannot be made" in sentence("reward", cartpole_run, "--out", tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "mine"


def test_evaluate_rejects_an_environment_of_another_task(cartpole_run, sentence):
    text = sentence("evaluate", cartpole_run, "--env", "Acrobot-v1")
    assert "Acrobot-v1 has" in text
    assert "as the run was trained on" in text


def test_metrics_without_steps_are_reported_as_damaged(cartpole_run, tmp_path, sentence):
    copy = tmp_path / "run"
    shutil.copytree(cartpole_run, copy)
    (copy / "metrics.csv").write_text("loss\n1.0\n")
    assert "metrics.csv is damaged" in sentence("evaluate", copy)


def test_inspect_accepts_a_single_transition(cartpole_arrays, tmp_path, capsys):
    one = {name: array[:1] if array.shape else array for name, array in cartpole_arrays.items()}
    np.savez(tmp_path / "one.npz", **one | {"trunc": np.ones(1, bool), "term": np.zeros(1, bool)})
    cli.main(["demos", "inspect", str(tmp_path / "one.npz"), "--json"])
    assert json.loads(capsys.readouterr().out)["transitions"] == 1


def test_version_flag_prints_the_version(capsys):
    cli.main(["--version"])
    assert capsys.readouterr().out == f"iqlearn {iq.__version__}\n"


def test_error_message_names_the_invalid_argument(told):
    assert "'nope'" in told("train", "--algorithm", "nope")
    assert "'nope'" in told("train", "--algorithm=nope")
    assert "--gamma" in told("train", "--algorithm", "bc", "--gamma", 0.5)
    assert "--divergence" in told("train", "--divergence", "nope")
    assert "--nonsense" in told("train", "--nonsense")
    assert "steps" in told("train", "--steps", "many")
    assert "nonsense" in told("nonsense")


def test_train_without_the_environment_of_the_file_skips_evaluation(cartpole_arrays, tmp_path, capsys):
    """The demonstrations may come from a machine with more environments."""
    np.savez(tmp_path / "far.npz", **{**cartpole_arrays, "env": np.array("Elsewhere-v0")})
    cli.main(["train", "--demos", str(tmp_path / "far.npz"), "--out", str(tmp_path / "run"), *SHORT])
    out, err = capsys.readouterr()
    assert "not evaluated" in out
    told = "far.npz names an environment that cannot be made, so no returns are measured. No environment 'Elsewhere"
    assert told in err
    with pytest.warns(UserWarning, match="Elsewhere-v0"):
        run = iq.learn(iq.BC(), iq.Demos.load(tmp_path / "far.npz"), steps=1, quiet=True)
    assert run.result["mean_return"] is None


def test_reward_rejects_a_negative_seed_and_episodes_without_rollouts(cartpole_run, sentence):
    assert "--seed is -1" in sentence("reward", cartpole_run, "--rollouts", "random", "--seed", -1)
    assert "--episodes has no effect without --rollouts" in sentence("reward", cartpole_run, "--episodes", 3)


def test_reward_and_collect_reject_a_folder_of_several_seeds(cartpole_run, tmp_path, sentence):
    """The error names the folder of one seed."""
    for seed in range(2):
        shutil.copytree(cartpole_run, tmp_path / f"seed-{seed}")
    for command in (["reward"], ["demos", "collect", "--out", tmp_path / "d.npz"]):
        assert f"holds the runs of 2 seeds; expected one, such as {tmp_path}/seed-0" in sentence(*command, tmp_path)


def test_run_on_demonstrations_from_python_resumes_only_in_python(tmp_path, sentence):
    arrays = iq.Demos.builtin("CartPole-v1").take(1).subsample(20).arrays()
    demos = iq.Demos.from_arrays(arrays)
    iq.learn(iq.IQLearn(network=iq.Network(hidden=(4,))), demos, steps=1, eval_episodes=1, out=tmp_path, quiet=True)
    assert "put together in Python" in sentence("resume", tmp_path)
    assert iq.resume(tmp_path, demos, quiet=True).result["status"] == "completed"


def test_reward_rejects_an_output_file_that_is_a_folder(cartpole_run, tmp_path, sentence):
    (tmp_path / "reward.json").mkdir()
    text = sentence("reward", cartpole_run, "--rollouts", "random", "--episodes", 1, "--out", tmp_path)
    assert "reward.json is a folder; expected the name of a file" in text


def test_inspect_rejects_a_folder_without_dataset_and_unknown_fields(tmp_path, cartpole_arrays, sentence):
    assert f"{tmp_path} is a folder without a dataset; expected one of" in sentence("demos", "inspect", tmp_path)
    np.savez(tmp_path / "d4rl.npz", observations=cartpole_arrays["obs"], terminals=cartpole_arrays["term"])
    assert "it has observations, terminals; expected" in sentence("demos", "inspect", tmp_path / "d4rl.npz")


def test_train_and_inspect_report_remarks_on_demonstrations(tmp_path, cartpole_arrays, capsys):
    np.savez(
        tmp_path / "cut.npz",
        **{
            **cartpole_arrays,
            "trunc": np.zeros(len(cartpole_arrays["ep"]), bool),
            "term": np.zeros(len(cartpole_arrays["ep"]), bool),
        },
    )
    cli.main(["train", "--demos", str(tmp_path / "cut.npz"), "--out", str(tmp_path / "run"), *SHORT])
    assert "cut.npz: 6 of 6 episodes have neither term" in capsys.readouterr().err
    cli.main(["demos", "inspect", str(tmp_path / "cut.npz"), "--env", "CartPole-v0", "--json"])
    assert "the file names another environment, CartPole-v1" in json.loads(capsys.readouterr().out)["remarks"]


def writers(run, demos):
    """Every command that writes one file, up to the name of that file, and the suffix of the name."""
    return {
        "export onnx": (("export", run, "--format", "onnx", "--out"), ".onnx"),
        "export stablehlo": (("export", run, "--format", "stablehlo", "--out"), ".stablehlo"),
        "export npz": (("export", run, "--format", "npz", "--out"), ".npz"),
        "collect": (("demos", "collect", run, "--episodes", 1, "--out"), ".npz"),
        "record": (("demos", "record", "--run", run, "--hidden", "--episodes", 1, "--out"), ".npz"),
        "convert": (("demos", "convert", demos), ".npz"),
        "merge": (("demos", "merge", "--sources", demos, "--out"), ".npz"),
        "split": (("demos", "split", demos, "--trajectories", 1, "--rest", "rest.npz"), ".npz"),
        "rest": (("demos", "split", demos, "first.npz", "--trajectories", 1, "--rest"), ".npz"),
        "plot": (("demos", "plot", demos, "--out"), ".png"),
    }


@pytest.mark.parametrize("name", ["model.safetensors", "./config.json", "reward-state.json"])
def test_an_export_is_not_written_over_a_file_of_the_run(cartpole_run, sentence, name):
    words = ("export", cartpole_run, "--format", "npz", "--out", f"{cartpole_run}/{name}", "--overwrite")
    assert "is a file of the run itself" in sentence(*words)
    iq.Run.load(cartpole_run)


@pytest.mark.parametrize("name", writers("", ""))
def test_unwritable_output_is_rejected_before_reading_and_missing_folders_are_made(
    name, cartpole_run, cartpole_file, tmp_path, monkeypatch, sentence
):
    monkeypatch.chdir(tmp_path)
    words, suffix = writers(cartpole_run, cartpole_file)[name]
    (tmp_path / f"folder{suffix}").mkdir()
    (tmp_path / "taken").write_text("mine")
    for kind in (iq.Demos, iq.Run):
        monkeypatch.setattr(kind, "load", lambda *_, **__: pytest.fail("something is read before"))
    for out, told in (
        (f"folder{suffix}", f"folder{suffix} is a folder; expected the name of a file"),
        (f"taken/x{suffix}", "taken is a file; expected a folder"),
        (f"{'n' * 300}{suffix}", "n"),
        ("", "invalid "),
    ):
        for flags in ((), ("--overwrite",)):
            assert told in sentence(*words, out, *flags)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    if name == "export onnx":
        pytest.importorskip("jax2onnx", reason="needs the extra onnx")
        pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    cli.main([*map(str, words), f"new/deep/x{suffix}"])
    assert (tmp_path / "new" / "deep" / f"x{suffix}").is_file()
    assert [path.name for path in (tmp_path / "new" / "deep").iterdir()] == [f"x{suffix}"]
