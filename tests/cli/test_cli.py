"""The command line: what it writes and prints, with what exit code."""

import csv
import json
import re
import subprocess
import sys
import time
from dataclasses import fields

import numpy as np
import pytest

import iqlearn as iq
from iqlearn import algorithms, cli, files
from iqlearn.cli.flags import parse_assignment
from iqlearn.cli.parser import families
from iqlearn.data.demos import Demos
from iqlearn.evaluation.returns import Evaluator, reset_seed
from iqlearn.extensions import EXTENSIONS

SHORT = ("--steps", "6", "--evaluations", "2", "--eval-episodes", "2", "--network.hidden", "8", "--batch-size", "8")
FILES = {
    "config.json",
    "metrics.csv",
    "result.json",
    "model.safetensors",
    "last.safetensors",
    "checkpoint.safetensors",
    "checkpoint.previous.safetensors",
    "curves.png",
    "manifest.json",
    ".lock",
}


def iqlearn(*arguments: object) -> None:
    cli.main([str(argument) for argument in arguments])


@pytest.fixture
def printed(capsys):
    """`printed(*arguments)` runs a command with --json and returns the strict JSON object that it prints."""

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
    config = files.read_json(trained / "config.json")
    assert config["settings"]["name"] == "iq"
    assert config["settings"]["batch_size"] == 8
    assert config["settings"]["network"]["hidden"] == [8]
    given = {"steps": 6, "evaluations": 2, "eval_episodes": 2, "sampled": False, "seed": 0}
    assert config["schedule"] == {**given, "eval_envs": 20, "max_episode_steps": None}
    part = cartpole.take(3, seed=0).subsample(2, seed=0)
    assert config["origin"]["sha256"] == part.sha256()
    assert (config["origin"]["transitions"], config["origin"]["episodes"]) == (len(part), 3)
    assert config["origin"]["environment"] == {"id": "CartPole-v1", "kwargs": {}}
    assert {"python", "jax", "iqlearn"} <= set(config["versions"])


def test_train_reports_its_result(trained, cartpole):
    result = files.read_json(trained / "result.json")
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
    assert printed("evaluate", trained, "--episodes", 3, "--max-episode-steps", 4)["max_return"] == 4.0


def test_the_result_holds_the_returns_of_the_last_evaluation(trained):
    """The most likely actions, with the reset seed of evaluations in training, earn the same returns."""
    run, evaluator = iq.Run.load(trained), Evaluator("CartPole-v1")
    returns = evaluator.returns(run.player(), 2, reset_seed("in_training", 0))
    evaluator.close()
    assert returns.tolist() == files.read_json(trained / "result.json")["returns"]


def test_evaluate_collect_reward_and_training_share_no_reset_seed(trained, tmp_path, monkeypatch):
    """Every command runs with its default seed."""
    play, begun = Evaluator.play, []

    def watched(self, act, episodes, seed, *more):
        begun.append(range(seed, seed + episodes))
        return play(self, act, episodes, seed, *more)

    monkeypatch.setattr(Evaluator, "play", watched)
    iqlearn("evaluate", trained, "--episodes", 2, "--json")
    iqlearn("demos", "collect", trained, "--episodes", 2, "--out", tmp_path / "a.npz")
    iqlearn("reward", trained, "--rollouts", "policy", "--episodes", 2, "--out", tmp_path / "judged", "--json")
    begun.append(range(reset_seed("in_training", 0), reset_seed("in_training", 0) + 2))
    assert len(begun) == 4
    assert len({seed for seeds in begun for seed in seeds}) == 8


def test_evaluate_rejects_unsuitable_environments_and_episode_limits(trained, sentence):
    assert "'Nonsense-v0'" in sentence("evaluate", trained, "--env", "Nonsense-v0")
    assert "as the run was trained on" in sentence("evaluate", trained, "--env", "Acrobot-v1")
    assert "--max-episode-steps is 0; expected" in sentence("evaluate", trained, "--max-episode-steps", 0)


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
    assert {path.name for path in out.iterdir()} == {"seed-4", "seed-5", "manifest.json", ".lock"}
    configs = [files.read_json(out / f"seed-{seed}" / "config.json") for seed in (4, 5)]
    assert [config["schedule"]["seed"] for config in configs] == [4, 5]
    assert configs[0]["origin"]["sha256"] != configs[1]["origin"]["sha256"]
    for seed in (4, 5):
        assert {path.name for path in (out / f"seed-{seed}").iterdir()} == FILES
    models = [(out / f"seed-{seed}" / "model.safetensors").read_bytes() for seed in (4, 5)]
    assert models[0] != models[1]


def test_behavioural_cloning_trains_and_has_no_reward(cartpole_file, tmp_path, printed, sentence):
    iqlearn("train", "--algorithm", "bc", "--demos", cartpole_file, "--out", tmp_path / "bc", *SHORT)
    assert files.read_json(tmp_path / "bc" / "config.json")["settings"]["name"] == "bc"
    assert printed("evaluate", tmp_path / "bc", "--episodes", 1)["episodes"] == 1
    assert "learns no reward" in sentence("reward", tmp_path / "bc", "--demos", cartpole_file)


def test_w1_divergence_trains_without_further_flags(cartpole_file, tmp_path):
    iqlearn("train", "--divergence", "w1", "--demos", cartpole_file, "--out", tmp_path / "run", *SHORT)
    settings = files.read_json(tmp_path / "run" / "config.json")["settings"]
    assert (settings["divergence"], settings["gradient_penalty"]) == ("w1", None)


def test_stopped_run_resumes_to_the_result_of_an_uninterrupted_run(
    cartpole_file, trained, tmp_path, stop_at, capsys, same_run
):
    calls = stop_at(2)
    out = tmp_path / "run"
    with pytest.raises(SystemExit) as caught:
        iqlearn("train", "--demos", cartpole_file, "--trajectories", 3, "--subsample", 2, "--out", out, *SHORT)
    assert caught.value.code == 130
    assert f"iqlearn resume {out}" in capsys.readouterr().out
    assert files.read_json(out / "result.json")["status"] == "interrupted"
    iqlearn("resume", out)
    assert calls == [3, 6, 6]
    same_run(out, trained)


def test_stopped_seeds_resume_together_to_the_results_of_uninterrupted_seeds(
    cartpole_file, tmp_path, stop_at, capsys, same_run
):
    """This also holds if one seed was resumed alone before."""
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
        assert f"{parts / 'seed-0'}: completed after" in out
        for seed in ("seed-0", "seed-1"):
            same_run(parts / seed, whole / seed)


def test_nonfinite_loss_ends_training_with_an_error(cartpole_file, tmp_path, capsys):
    out = tmp_path / "run"
    with pytest.raises(SystemExit) as caught:
        iqlearn("train", "--demos", cartpole_file, "--out", out, "--learning-rate", "1e30", *SHORT)
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert "not finite between steps 0 and 3" in err
    assert "--learning-rate" in err
    assert [line.partition(" ")[0] for line in err.splitlines()] == [
        "iqlearn:",
        "iqlearn:",
    ]  # the preset's reason comes first


def test_nonfinite_loss_records_status_diverged_in_the_folder(cartpole_file, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(SystemExit):
        iqlearn("train", "--demos", cartpole_file, "--out", out, "--learning-rate", "1e30", *SHORT)
    assert files.read_json(out / "result.json")["status"] == "diverged"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("train", "expert", "resume", "evaluate", "reward", "demos")),
        (("train",), ("--env", "--demos", "--trajectories", "--out", "--divergence", "--gamma", "--steps")),
        (("train", "--algorithm", "bc"), ("--batch-size", "--learning-rate")),
        (("evaluate",), ("--episodes", "--seed", "--json")),
        (("demos", "collect"), ("--out", "--episodes", "--overwrite")),
    ],
)
def test_help_names_the_flags(arguments, words, capsys):
    iqlearn(*arguments, "--help")
    out = capsys.readouterr().out
    for word in words:
        assert word in out
    assert ("--gamma" in out) == ("--gamma" in words)


MAIN = "import sys; from iqlearn.cli import main; main()"


def test_process_asked_to_terminate_keeps_the_run(cartpole_file, tmp_path):
    """SIGTERM, which services and queues send, acts like Ctrl-C."""
    out = tmp_path / "run"
    arguments = (
        "train",
        "--demos",
        cartpole_file,
        "--out",
        out,
        *SHORT[4:],
        "--steps",
        2_000_000,
        "--evaluations",
        10_000,
    )
    with subprocess.Popen([sys.executable, "-m", "iqlearn", *map(str, arguments)], stdout=subprocess.PIPE) as running:
        while not (out / "last.safetensors").is_file():  # written at the first evaluation
            assert running.poll() is None
            time.sleep(0.1)
        running.terminate()
        said, _ = running.communicate(timeout=300)
    assert running.returncode == 130
    assert f"iqlearn resume {out}" in said.decode()
    assert files.read_json(out / "result.json")["status"] == "interrupted"


def process(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_process_help_does_not_import_heavy_packages():
    program = MAIN.replace("main()", "import atexit; atexit.register(lambda: print(sorted(sys.modules))); main()")
    done = process(program, "train", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    modules = done.stdout.splitlines()[-1]
    assert "'iqlearn.cli.main'" in modules
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


@pytest.mark.parametrize("more", [(), ("--env", "CartPole-v1"), ("--env", "Pendulum-v1"), ("--algorithm", "bc")])
def test_short_help_stays_within_its_size_limits(more, pendulum_file, monkeypatch, capsys):
    """At most 90 lines, 100 columns and 30 flags, all of which are in the long help too."""
    monkeypatch.setenv("COLUMNS", "100")
    demos = ("--demos", str(pendulum_file)) if "Pendulum-v1" in more else ()
    texts = []
    for asked in ("--help", "--help-all"):
        iqlearn("train", *more, *demos, asked)
        texts.append(capsys.readouterr().out.splitlines())
    short, everything = texts
    flags, all_flags = (
        [flag for line in text if line.startswith("  -") for flag in re.findall(r"--[\w.-]+", line.split("  ")[1])]
        for text in (short, everything)
    )
    assert len(short) <= 90
    assert max(map(len, short)) <= 100
    assert 20 < len(flags) <= 30
    assert set(flags) <= set(all_flags)


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_long_help_lists_every_setting_of_algorithms_and_extensions(env, pendulum_file, capsys):
    demos = ("--demos", pendulum_file) if env == "Pendulum-v1" else ()
    for kind in (kind for kind in algorithms.ALGORITHMS.values() if kind.discrete == (env == "CartPole-v1")):
        family = kind.family
        verb = ("expert",) if family == algorithms.EXPERT else ("train", *demos, "--algorithm", family)
        capsys.readouterr()
        iqlearn(*verb, "--env", env, "--help-all")
        out = capsys.readouterr().out
        names = {f.name for f in fields(kind)} - {"extensions", "reason", "network", "critic", "actor"}
        for name in names:
            assert f"--{name.replace('_', '-')}" in out
        for name, extension in EXTENSIONS.items():
            flags = [f"--{name}.{f.name}".replace("_", "-") for f in fields(extension)]
            assert [flag in out for flag in flags] == [bool(kind.extensions == () and kind.hooks)] * len(flags)


def test_families_in_help_match_the_registered_imitators():
    assert sorted(algorithms.imitators()) == families()


def test_help_names_the_families_that_need_continuous_actions(capsys):
    discrete = {kind.family for kind in algorithms.ALGORITHMS.values() if kind.discrete}
    continuous = [family for family in families() if family not in discrete]
    iqlearn("train", "--help")
    assert f"{' and '.join(continuous)} need continuous actions" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("command", ["benchmark", "export", "pull", "demos split"])
def test_help_says_which_flags_are_required(capsys, command):
    iqlearn(*command.split(), "--help")
    usage, *rest = capsys.readouterr().out.splitlines()
    flags = [word for word in usage.split() if word.startswith("--")]
    assert flags
    assert " ".join(rest).count("(required)") == len(flags)


def test_too_few_steps_are_reported_before_the_settings_are_chosen(pendulum_file, tmp_path, sentence, monkeypatch):
    """With many transitions, the choice of the settings takes a while."""
    monkeypatch.setattr(iq, "recommended", lambda *_, **__: pytest.fail("settings were chosen"))
    words = "train", "--env", "Pendulum-v1", "--demos", pendulum_file, "--out", tmp_path / "run"
    said = sentence(*words, "--steps", 2)
    assert "steps is 2; expected at least" in said
    assert "; recommended extensions may need more" in said
    assert "--early-stopping is 0; expected a number of at least 1" in sentence(*words, "--early-stopping", 0)


def test_whole_numbers_accept_scientific_notation_and_underscores(cartpole_file, tmp_path):
    steps = ("--steps", "0.6e1", "--batch_size=1_0", "--evaluations", "2e0", "--eval-episodes", "1")
    iqlearn("train", "--demos", cartpole_file, "--out", tmp_path / "run", *steps, "--network.hidden", "8", "1e1")
    config = files.read_json(tmp_path / "run" / "config.json")
    assert (config["schedule"]["steps"], config["settings"]["batch_size"]) == (6, 10)
    assert config["settings"]["network"]["hidden"] == [8, 10]


def test_evaluate_reports_mean_and_interval_over_seeds(cartpole_file, tmp_path, printed, capsys):
    out = tmp_path / "runs"
    iqlearn("train", "--demos", cartpole_file, "--trajectories", 2, "--seeds", 2, "--out", out, *SHORT)
    facts = printed("evaluate", out, "--episodes", 2)
    means = [printed("evaluate", out / f"seed-{i}", "--episodes", 2)["mean_return"] for i in range(2)]
    assert facts["mean_return"] == pytest.approx(np.mean(means))
    assert [one["mean_return"] for one in facts["seeds"].values()] == means
    low, high = facts["mean_return_interval"]
    assert min(means) <= low <= facts["mean_return"] <= high <= max(means)
    iqlearn("evaluate", out, "--episodes", 1)
    assert "seed-1" in capsys.readouterr().out


def test_evaluate_samples_actions_as_in_training_unless_a_flag_overrides(cartpole_file, tmp_path, printed, sentence):
    """At a high temperature, samples and modes of the policy earn different returns."""
    found = {}
    for name, more in (("modes", ()), ("samples", ("--sampled",))):
        out = tmp_path / name
        iqlearn("train", "--demos", cartpole_file, "--out", out, *SHORT, "--temperature", 10, *more)
        for asked in ((), ("--sampled",), ("--deterministic",)):
            found[name, asked] = printed("evaluate", out, "--episodes", 5, *asked)["returns"]
    assert found["modes", ()] == found["modes", ("--deterministic",)] != found["modes", ("--sampled",)]
    assert found["samples", ()] == found["samples", ("--sampled",)] != found["samples", ("--deterministic",)]
    assert "--deterministic" in sentence("evaluate", out, "--sampled", "--deterministic")


def test_environment_arguments_are_stored_and_used_by_evaluate(tmp_path, printed, capsys):
    """Collected demonstrations name no environment, because the id without the arguments would name another one."""
    env = ("--env", "iqlearn.envs:iqlearn/GridWorld-v0", "--env-arg", "size=4", "--env-arg", "slip=0.5")
    assert [parse_assignment(word) for word in ("a=1", "a=[1, 2]", "a=true", "a=hot", "a=b=c")] == [
        ("a", 1),
        ("a", [1, 2]),
        ("a", True),
        ("a", "hot"),
        ("a", "b=c"),
    ]
    out = tmp_path / "expert"
    iqlearn("expert", *env, "--out", out, "--steps", 60, "--random-steps", 5, "--round-steps", 5, *SHORT[2:])
    assert files.read_json(out / "config.json")["origin"]["environment"]["kwargs"] == {"size": 4, "slip": 0.5}
    assert printed("evaluate", out, "--episodes", 1)["episodes"] == 1
    iqlearn("demos", "collect", out, "--out", tmp_path / "grid.npz", "--episodes", 1)
    assert "names no environment" in capsys.readouterr().err
    demos = Demos.load(tmp_path / "grid.npz")
    assert demos.env is None
    assert demos.obs.shape[1] == 4**2


def test_early_stopping_flag_ends_training_and_needs_an_environment(
    cartpole_file, cartpole_arrays, tmp_path, capsys, monkeypatch, sentence
):
    monkeypatch.setattr(iq.EarlyStopping, "_settled", lambda self, distances: len(distances) > self.patience)
    start = ("train", "--demos", cartpole_file, "--out", tmp_path / "run", *SHORT, "--evaluations", 3)
    iqlearn(*start, "--early-stopping", 1)
    assert "stopped after 4 updates" in capsys.readouterr().out
    nameless = tmp_path / "nameless.npz"
    np.savez(nameless, **{name: array for name, array in cartpole_arrays.items() if name != "env"})
    for flag in ("--early-stopping", "--eval-episodes"):
        assert f"{flag} has no effect without" in sentence("train", "--demos", nameless, flag, 1)
