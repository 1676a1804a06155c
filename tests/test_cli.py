"""The command line: what it writes and prints, with what exit code."""

import csv
import json
import subprocess
import sys
import time

import numpy as np
import pytest

from iqlearn import cli, records
from iqlearn.data import Demos

SHORT = ("--steps", "6", "--evaluations", "2", "--eval-episodes", "2", "--network.hidden", "8", "--batch-size", "8")
FILES = {
    "config.json",
    "metrics.csv",
    "result.json",
    "model.safetensors",
    "best.safetensors",
    "checkpoint.safetensors",
    "curves.png",
}


def iqlearn(*arguments: object) -> None:
    cli.main([str(argument) for argument in arguments])


@pytest.fixture
def printed(capsys):
    """`printed(*arguments)` runs a command with --json and gives the one strict JSON object that it printed."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    def run(*arguments: object) -> dict:
        capsys.readouterr()
        iqlearn(*arguments, "--json")
        return json.loads(capsys.readouterr().out, parse_constant=refuse)

    return run


@pytest.fixture(scope="module")
def trained(cartpole_file, tmp_path_factory):
    """The run folder of a short training; tests read it only."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    iqlearn("train", "--demos", cartpole_file, "--trajectories", 3, "--subsample", 2, "--out", folder, *SHORT)
    return folder


def test_train_writes_the_run_folder(trained, cartpole):
    assert {path.name for path in trained.iterdir()} == FILES
    config = records.read_json(trained / "config.json")
    assert config["settings"]["algorithm"] == "iq"
    assert config["settings"]["batch_size"] == 8
    assert config["settings"]["network"]["hidden"] == [8]
    assert config["schedule"] == {"steps": 6, "evaluations": 2, "eval_episodes": 2, "sampled": False, "seed": 0}
    part = cartpole.take(3, seed=0).subsample(2, seed=0)
    assert config["origin"]["sha256"] == part.sha256()
    assert (config["origin"]["transitions"], config["origin"]["episodes"]) == (len(part), 3)
    assert config["origin"]["env"] == "CartPole-v1"
    assert {"python", "jax", "iqlearn"} <= set(config["versions"])


def test_train_reports_its_result(trained, cartpole):
    result = records.read_json(trained / "result.json")
    assert (result["status"], result["updates"], result["env_steps"]) == ("completed", 6, 0)
    assert len(result["returns"]) == 2
    assert result["mean_return"] == np.mean(result["returns"])
    assert result["expert_return"] == pytest.approx(cartpole.expert_return)
    with (trained / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["3", "6"]
    assert all(np.isfinite(float(row["loss"])) for row in rows)
    assert float(rows[-1]["return_mean"]) == result["mean_return"]


def test_evaluate_prints_json(trained, printed):
    facts = printed("evaluate", trained, "--episodes", 3, "--seed", 7)
    assert (facts["env"], facts["episodes"], facts["seed"]) == ("CartPole-v1", 3, 7)
    assert len(facts["returns"]) == 3
    assert facts["min_return"] <= facts["mean_return"] <= facts["max_return"]
    assert printed("evaluate", trained, "--episodes", 3, "--seed", 7) == facts


def test_evaluate_repeats_the_returns_of_training(trained, printed):
    from iqlearn.session import EVALUATION_SEED

    facts = printed("evaluate", trained, "--episodes", 2, "--seed", EVALUATION_SEED)
    assert facts["returns"] == records.read_json(trained / "result.json")["returns"]


def test_evaluate_refuses_an_environment_that_does_not_do(trained, sentence):
    assert "'Nonsense-v0'" in sentence("evaluate", trained, "--env", "Nonsense-v0")
    assert "policy is for observations of shape (4,)" in sentence("evaluate", trained, "--env", "Acrobot-v1")


def test_reward_prints_json(trained, cartpole_file, cartpole, printed):
    facts = printed("reward", trained, "--demos", cartpole_file)
    assert (facts["transitions"], facts["episodes"]) == (len(cartpole), 6)
    assert facts["min"] < facts["mean"] < facts["max"]
    assert facts["pearson_transition"] is None  # CartPole pays 1 in every step
    assert -1.0 <= facts["pearson_episode"] <= 1.0


def test_inspect_prints_json(cartpole_file, cartpole, printed):
    assert printed("demos", "inspect", cartpole_file) == {**cartpole.summary(), "source": cartpole_file.name}
    assert printed("demos", "inspect", cartpole_file, "--env", "CartPole-v1")["sha256"] == cartpole.sha256()


def test_inspect_prints_a_table(cartpole_file, cartpole, capsys):
    iqlearn("demos", "inspect", cartpole_file)
    out = capsys.readouterr().out
    assert cartpole_file.name in out
    assert str(len(cartpole)) in out


def test_collect_writes_demonstrations(trained, tmp_path, sentence):
    path = tmp_path / "played.npz"
    iqlearn("demos", "collect", trained, "--out", path, "--episodes", 2, "--seed", 3)
    demos = Demos.load(path)
    assert (demos.episodes, demos.env) == (2, "CartPole-v1")
    assert demos.summary()["contiguous"]
    before = path.read_bytes()
    assert "--overwrite" in sentence("demos", "collect", trained, "--out", path)
    assert path.read_bytes() == before


def test_several_seeds_get_a_folder_each(cartpole_file, tmp_path):
    out = tmp_path / "runs"
    iqlearn("train", "--demos", cartpole_file, "--trajectories", 2, "--seeds", 2, "--seed", 4, "--out", out, *SHORT)
    assert {path.name for path in out.iterdir()} == {"seed-4", "seed-5"}
    configs = [records.read_json(out / f"seed-{seed}" / "config.json") for seed in (4, 5)]
    assert [config["schedule"]["seed"] for config in configs] == [4, 5]
    assert configs[0]["origin"]["sha256"] != configs[1]["origin"]["sha256"]
    for seed in (4, 5):
        assert {path.name for path in (out / f"seed-{seed}").iterdir()} == FILES
    models = [(out / f"seed-{seed}" / "model.safetensors").read_bytes() for seed in (4, 5)]
    assert models[0] != models[1]


def test_behavioural_cloning_trains_and_has_no_reward(cartpole_file, tmp_path, printed, sentence):
    iqlearn("train", "--algorithm", "bc", "--demos", cartpole_file, "--out", tmp_path / "bc", *SHORT)
    assert records.read_json(tmp_path / "bc" / "config.json")["settings"]["algorithm"] == "bc"
    assert printed("evaluate", tmp_path / "bc", "--episodes", 1)["episodes"] == 1
    assert "learns no reward" in sentence("reward", tmp_path / "bc", "--demos", cartpole_file)


def test_a_stopped_run_resumes_to_the_whole_run(cartpole_file, trained, tmp_path, stop_at, capsys):
    calls = stop_at(2)
    out = tmp_path / "run"
    with pytest.raises(SystemExit) as caught:
        iqlearn("train", "--demos", cartpole_file, "--trajectories", 3, "--subsample", 2, "--out", out, *SHORT)
    assert caught.value.code == 130
    assert f"iqlearn resume {out}" in capsys.readouterr().out
    assert records.read_json(out / "result.json")["status"] == "interrupted"
    iqlearn("resume", out)
    assert calls == [3, 6, 6]
    for name in ("checkpoint.safetensors", "model.safetensors", "metrics.csv", "config.json"):
        assert (out / name).read_bytes() == (trained / name).read_bytes(), name


def test_stopped_seeds_resume_together_to_the_whole_runs(cartpole_file, tmp_path, stop_at, capsys):
    """Also where one of them has gone on alone meanwhile."""
    train = ("train", "--demos", cartpole_file, "--trajectories", 2, "--seeds", 2, *SHORT, "--out")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    iqlearn(*train, whole)
    for ahead in (False, True):
        stop_at(2)
        with pytest.raises(SystemExit) as caught:
            iqlearn(*train, parts, "--overwrite")
        assert caught.value.code == 130
        assert f"Go on with: iqlearn resume {parts}\n" in capsys.readouterr().out
        if ahead:
            iqlearn("resume", parts / "seed-1")
        iqlearn("resume", parts)
        out = capsys.readouterr().out
        for seed in ("seed-0", "seed-1"):
            assert f"{parts / seed}: completed after" in out
            for name in ("checkpoint.safetensors", "model.safetensors", "metrics.csv", "config.json"):
                assert (parts / seed / name).read_bytes() == (whole / seed / name).read_bytes(), name


def test_a_loss_that_is_not_finite_ends_the_run(cartpole_file, tmp_path, capsys):
    out = tmp_path / "run"
    with pytest.raises(SystemExit) as caught:
        iqlearn("train", "--demos", cartpole_file, "--out", out, "--learning-rate", "1e30", *SHORT)
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert "not finite between steps 0 and 3" in err
    assert "--learning-rate" in err
    assert err.count("\n") == 1


def test_a_loss_that_is_not_finite_at_once_is_told_in_the_folder(cartpole_file, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(SystemExit):
        iqlearn("train", "--demos", cartpole_file, "--out", out, "--learning-rate", "1e30", *SHORT)
    assert records.read_json(out / "result.json")["status"] == "diverged"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("train", "expert", "resume", "evaluate", "reward", "demos")),
        (("train",), ("--env", "--demos", "--trajectories", "--out", "--divergence", "--gamma", "--steps")),
        (("train", "--algorithm", "bc"), ("--weight-decay", "--learning-rate")),
        (("evaluate",), ("--episodes", "--seed", "--json")),
        (("demos", "collect"), ("--out", "--episodes", "--overwrite")),
    ],
)
def test_help_names_the_flags(arguments, words, capsys):
    with pytest.raises(SystemExit) as caught:
        iqlearn(*arguments, "--help")
    assert caught.value.code == 0
    out = capsys.readouterr().out
    for word in words:
        assert word in out
    assert ("--gamma" in out) == ("--gamma" in words)


MAIN = "import sys; from iqlearn.cli import main; main()"


def test_process_asked_to_terminate_keeps_the_run(cartpole_file, tmp_path):
    """As after Ctrl-C; services and queues end programs so."""
    out = tmp_path / "run"
    arguments = (
        "train",
        "--demos",
        cartpole_file,
        "--out",
        out,
        *SHORT[4:],
        "--steps",
        200_000,
        "--evaluations",
        1_000,
    )
    with subprocess.Popen([sys.executable, "-m", "iqlearn", *map(str, arguments)], stdout=subprocess.PIPE) as running:
        while not (out / "best.safetensors").is_file():  # written at the first evaluation
            assert running.poll() is None
            time.sleep(0.1)
        running.terminate()
        said, _ = running.communicate(timeout=300)
    assert running.returncode == 130
    assert f"iqlearn resume {out}" in said.decode()
    assert records.read_json(out / "result.json")["status"] == "interrupted"


def process(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_process_help_does_not_load_what_is_heavy():
    program = MAIN.replace("main()", "import atexit; atexit.register(lambda: print(sorted(sys.modules))); main()")
    done = process(program, "train", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    modules = done.stdout.splitlines()[-1]
    assert "'iqlearn.cli'" in modules
    for heavy in ("jax", "gymnasium", "matplotlib", "equinox"):
        assert f"'{heavy}'" not in modules


def test_process_ends_with_code_2_and_one_sentence(tmp_path):
    done = process(MAIN, "train", "--demos", tmp_path / "none.npz", "--out", tmp_path / "run")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("iqlearn: No demonstrations at")
    assert done.stderr.count("\n") == 1


def test_process_prints_nothing_but_json(cartpole_file):
    done = process(MAIN, "demos", "inspect", cartpole_file, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["episodes"] == 6
