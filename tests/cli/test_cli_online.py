"""The command line with continuous actions, online and with experts."""

import csv
import json
import shutil
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import iqlearn as iq
from iqlearn import api, cli, files
from iqlearn.data.demos import Demos
from iqlearn.extensions import reward_first
from iqlearn.runs import manifest

NETWORKS = ("--critic.hidden", "4", "--actor.hidden", "4", "--batch-size", "4")
COLD = ("--cloning.updates", "3")
SHORT = ("--steps", "40", "--evaluations", "2", "--eval-episodes", "1")
ACTING = ("--random-steps", "10", "--round-steps", "10")


def iqlearn(*arguments: object) -> None:
    cli.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def trained(pendulum_file, tmp_path_factory):
    """The run folder of a short training online; tests read it only."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    start = ("train", "--env", "Pendulum-v1", "--demos", pendulum_file, "--out", folder)
    iqlearn(*start, *SHORT, *ACTING, *NETWORKS, *COLD)
    return folder


@pytest.fixture(scope="module")
def expert(tmp_path_factory):
    """The run folder of a very short training of an expert; tests read it only."""
    folder = tmp_path_factory.mktemp("cli") / "expert"
    iqlearn("expert", "--env", "Pendulum-v1", "--out", folder, *SHORT, *ACTING, *NETWORKS)
    return folder


def helped(capsys, *arguments: str) -> str:
    """The whole help, without its line breaks."""
    iqlearn(*arguments, "--help-all")
    return " ".join(capsys.readouterr().out.split())


def test_train_with_env_learns_continuous_actions_online(trained):
    config, result = (files.read_json(trained / name) for name in ("config.json", "result.json"))
    assert config["settings"]["name"] == "iq-continuous"
    assert config["settings"]["temperature"] == 0.002
    assert config["settings"]["actor"]["hidden"] == config["settings"]["critic"]["hidden"] == [4]
    assert (config["interaction"]["random_steps"], config["interaction"]["round_steps"]) == (10, 10)
    assert config["task"]["actions"] == {"low": [-2.0], "high": [2.0]}
    assert (result["status"], result["env_steps"]) == ("completed", 40)
    assert 0 < result["updates"] < 40
    with (trained / "metrics.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["0", "20", "40"]
    assert (trained / "last.safetensors").is_file()


@pytest.mark.parametrize("arguments", [("--env", "Pendulum-v1", "--mode", "offline"), ()])
def test_train_is_offline_on_request_or_without_env(pendulum_file, tmp_path, arguments):
    out = tmp_path / "run"
    iqlearn("train", *arguments, "--demos", pendulum_file, "--out", out, *SHORT, *NETWORKS, *COLD)
    config, result = (files.read_json(out / name) for name in ("config.json", "result.json"))
    assert config["interaction"] is None
    assert config["settings"]["name"] == "iq-continuous"
    assert (result["status"], result["updates"], result["env_steps"]) == ("completed", 40, 0)
    assert result["mean_return"] < 0.0


def test_behavioural_cloning_trains_only_offline(pendulum_file, tmp_path, sentence):
    start = ("train", "--algorithm", "bc", "--env", "Pendulum-v1", "--demos", pendulum_file, "--out", tmp_path / "bc")
    assert "expected mode offline" in sentence(*start, "--mode", "online")
    assert not (tmp_path / "bc").exists()
    iqlearn(*start, *SHORT, "--actor.hidden", "4")
    assert files.read_json(tmp_path / "bc" / "config.json")["settings"]["name"] == "bc-continuous"
    assert "learns no reward" in sentence("reward", tmp_path / "bc", "--demos", pendulum_file)


def test_demonstrations_with_the_wrong_kind_of_actions_are_rejected(pendulum_arrays, tmp_path, sentence):
    """The observations fit. Discrete actions are given for continuous ones, and the other way round."""
    numbers = {**pendulum_arrays, "act": np.zeros(len(pendulum_arrays["act"]), np.int64)}
    Demos.from_arrays(numbers).save(tmp_path / "numbers.npz")
    text = sentence("train", "--env", "Pendulum-v1", "--demos", tmp_path / "numbers.npz", "--out", tmp_path / "run")
    assert "holds integers; expected vectors, Pendulum-v1 has continuous actions" in text
    rows = len(pendulum_arrays["act"])
    vectors = {**pendulum_arrays, "obs": np.zeros((rows, 4), np.float32), "next_obs": np.zeros((rows, 4), np.float32)}
    Demos.from_arrays(vectors).save(tmp_path / "vectors.npz")
    text = sentence("train", "--env", "CartPole-v1", "--demos", tmp_path / "vectors.npz", "--out", tmp_path / "run")
    assert "holds vectors; expected integers, CartPole-v1 has discrete actions" in text
    assert not (tmp_path / "run").exists()


def test_action_out_of_bounds_is_reported_with_its_index(pendulum_arrays, tmp_path, sentence):
    arrays = {**pendulum_arrays, "act": pendulum_arrays["act"].copy()}
    arrays["act"][17] = 2.5
    Demos.from_arrays(arrays).save(tmp_path / "far.npz")
    start = ("train", "--env", "Pendulum-v1", "--demos", tmp_path / "far.npz", "--out", tmp_path / "run")
    for more in ((), ("--mode", "offline")):
        text = sentence(*start, *more)
        assert "far.npz: field 'act' at index 17, coordinate 0 is 2.5; expected -2 to 2" in text
    assert not (tmp_path / "run").exists()


def test_actions_of_the_wrong_size_are_rejected(pendulum_arrays, tmp_path, sentence):
    Demos.from_arrays({**pendulum_arrays, "act": np.zeros((len(pendulum_arrays["act"]), 2))}).save(tmp_path / "two.npz")
    text = sentence("train", "--env", "Pendulum-v1", "--demos", tmp_path / "two.npz", "--out", tmp_path / "run")
    assert "vectors of 2 numbers; expected 1" in text


def test_invalid_online_settings_and_environments_are_rejected(pendulum_file, tmp_path, sentence):
    start = ("train", "--env", "Pendulum-v1", "--demos", pendulum_file, "--out", tmp_path / "run")
    assert "update_ratio is 0.0" in sentence(*start, "--update-ratio", 0)
    assert "random_steps is -1" in sentence(*start, "--random-steps", -1)
    assert "average_rate is 2.0" in sentence(*start, "--average-rate", 2)
    assert "'Nonsense-v0'" in sentence("expert", "--env", "Nonsense-v0")
    assert not (tmp_path / "run").exists()


def test_diverged_run_reports_the_steps_and_keeps_its_last_state(pendulum_file, tmp_path, capsys):
    out = tmp_path / "run"
    start = ("train", "--env", "Pendulum-v1", "--demos", pendulum_file, "--out", out, "--learning-rate", "1e30")
    with pytest.raises(SystemExit) as caught:
        iqlearn(*start, "--steps", 60, *SHORT[2:], *ACTING[2:], "--random-steps", 30, *NETWORKS, *COLD)
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert "not finite between steps " in err
    assert f"the state after step 30 is in {out}" in err
    assert "--learning-rate" in err
    assert files.read_json(out / "result.json")["status"] == "diverged"
    iqlearn("evaluate", out, "--episodes", 1)


def test_evaluate_plays_the_best_policy_or_the_last_one(trained, capsys):
    found = []
    for more in ((), ("--last",)):
        capsys.readouterr()
        iqlearn("evaluate", trained, "--episodes", 2, "--json", *more)
        found.append(json.loads(capsys.readouterr().out))
    assert all(np.isfinite(facts["mean_return"]) and facts["env"] == "Pendulum-v1" for facts in found)
    result = files.read_json(trained / "result.json")
    assert (found[0]["returns"] == found[1]["returns"]) == (result["best_step"] == 40)


@pytest.mark.parametrize(("last", "told"), [(0.3, True), (0.15, False), (0.1, False)])
def test_resume_warns_if_the_last_policy_drifted_from_the_expert(trained, tmp_path, capsys, last, told):
    """The hint appears if the last states are more than twice as far from the expert's as those of the kept policy."""
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    path = folder / "checkpoint.safetensors"
    kept = files.read_arrays(path)
    for row, distance in zip(kept.about["rows"], (0.2, 0.1, last), strict=True):
        row["occupancy_distance"] = distance
    kept.about["result"]["best_step"] = 20
    manifest.update(folder, {path.name: files.arrays_bytes(kept.arrays, kept.about)})
    capsys.readouterr()
    iqlearn("resume", folder)
    hint = "as far from the expert's as after 20 steps; the run returns the policy of that step"
    assert (f"3.0 times {hint}" in capsys.readouterr().err) == told


def test_reward_of_continuous_actions_prints_json(trained, pendulum_file, capsys):
    capsys.readouterr()
    iqlearn("reward", trained, "--demos", pendulum_file, "--json")
    facts = json.loads(capsys.readouterr().out)
    assert (facts["transitions"], facts["episodes"]) == (400, 2)
    assert facts["min"] < facts["mean"] < facts["max"]


def test_expert_learns_from_the_environment_and_collects_demonstrations(expert, tmp_path, sentence):
    config = files.read_json(expert / "config.json")
    assert config["settings"]["name"] == "sac"
    assert config["origin"]["demos"] is None
    assert files.read_json(expert / "result.json")["status"] == "completed"
    path = tmp_path / "played.npz"
    iqlearn("demos", "collect", expert, "--out", path, "--episodes", 2, "--seed", 5)
    demos = Demos.load(path)
    assert (demos.episodes, demos.env, demos.discrete) == (2, "Pendulum-v1", False)
    assert (int(demos.term.sum()), int(demos.trunc.sum())) == (0, 2)
    assert np.abs(demos.act).max() <= 2.0
    iqlearn("demos", "inspect", path, "--env", "Pendulum-v1")
    assert "learns no reward" in sentence("reward", expert, "--demos", path)


def test_stopped_expert_resumes_to_the_result_of_an_uninterrupted_run(expert, tmp_path, stop_at, capsys, same_run):
    out = tmp_path / "expert"
    calls = stop_at(2)
    with pytest.raises(SystemExit) as caught:
        iqlearn("expert", "--env", "Pendulum-v1", "--out", out, *SHORT, *ACTING, *NETWORKS)
    assert calls == [20, 40]
    assert caught.value.code == 130
    assert f"iqlearn resume {out}" in capsys.readouterr().out
    iqlearn("resume", out)
    same_run(out, expert)


def test_train_help_shows_the_settings_for_the_kind_of_actions(pendulum_file, capsys):
    weight = "Weight of the entropy in the soft value. (default: {})"
    continuous = helped(capsys, "train", "--env", "Pendulum-v1", "--demos", str(pendulum_file))
    assert weight.format(0.002) in continuous
    assert "--actor-learning-rate" in continuous
    assert "--no-absorbing" in continuous
    assert weight.format(0.01) in helped(capsys, "train", "--demos", str(pendulum_file), "--preset", "paper")
    discrete = helped(capsys, "train")
    assert weight.format(0.001) in discrete
    assert "--actor-learning-rate" not in discrete


@pytest.mark.parametrize(
    ("env", "flag", "other"),
    [("Pendulum-v1", "--target-entropy", "--divergence"), ("CartPole-v1", "--network.hidden", "--actor")],
)
def test_expert_help_shows_the_settings_for_the_kind_of_actions(capsys, env, flag, other):
    text = helped(capsys, "expert", "--env", env)
    assert flag in text
    assert other not in text


def test_too_few_steps_for_an_update_are_rejected(pendulum_file, tmp_path, sentence):
    out = ("--steps", 30, "--out", tmp_path / "run", "--random-steps", 30)
    train = ("train", "--env", "Pendulum-v1", "--demos", pendulum_file, *out)
    expected = "steps is 30; expected at least 81: there is no update in the first 30 (random_steps)"
    assert expected in sentence(*train)
    assert expected in sentence("expert", "--env", "Pendulum-v1", *out)
    at_once = "steps is 30; expected at least 51: there is no update in the first round of 50 steps (round_steps)"
    assert at_once in sentence(*train[:-1], 0)
    inferred = "at least 10101: there is no update in the first 10050 (action_inference and random_steps)"
    assert inferred in sentence(*train, "--state-only", "--extensions", "action-inference")
    regressed = "at least 5051: there is no update in the first 5000 (reward_regression and random_steps)"
    assert regressed in sentence(*train, "--extensions", "reward-regression")
    offline = ("--mode", "offline", "--extensions", "reward_regression")
    assert "expected an online run" in sentence(*train[:5], *out[2:4], *offline)
    assert not (tmp_path / "run").exists()


GIVEN = {
    "--gamma": 0.9,
    "--temperature": 0.3,
    "--decay-after": 7,
    "--target-rate": 0.5,
    "--target-entropy": -0.5,
    "--average-rate": 1.0,
    "--batch-size": 5,
    "--learning-rate": 0.1,
    "--actor-learning-rate": 0.2,
    "--weight-decay": 0.0,
    "--scaling": "none",
    "--saturation": 0.0,
    "--squash": "tanh",
    "--critics": 1,
    "--chi2-alpha": 0.25,
}
"""Values of settings, some of them the defaults of the class or of one of the presets."""
PRESETS = [(), ("--preset", "paper"), ("--preset", "ls-iq"), ("--extensions", "reward-regression", "cloning")]


@pytest.mark.parametrize("flag", GIVEN)
@pytest.mark.parametrize("more", PRESETS)
def test_given_flag_overrides_every_preset(pendulum, more, flag):
    settings = settled(pendulum, flag, GIVEN[flag], *more)
    name = flag.strip("-").replace("-", "_")
    assert getattr(settings, name) == GIVEN[flag]
    others = settled(pendulum, *more)
    if name != "average_rate":
        assert replace(settings, **{name: getattr(others, name)}) == others


@pytest.mark.parametrize("more", PRESETS)
def test_given_network_and_extension_flags_override_every_preset(pendulum, more):
    """All other settings keep the preset's values."""
    plain = settled(pendulum, *more)
    layers = settled(pendulum, "--critic.hidden", 3, 4, "--no-actor.layer-norm", *more)
    assert layers == replace(plain, critic=replace(plain.critic, hidden=(3, 4)))
    for extension in plain.extensions:
        changed = settled(pendulum, f"--{extension.name}.updates", 77, *more)
        expected = [replace(e, updates=77) if e == extension else e for e in plain.extensions]
        assert changed == replace(plain, extensions=tuple(expected))


def test_recommended_switches_can_be_turned_off(pendulum):
    """Reward regression has its own discount factor, target rate and target entropy."""
    for flag in ("absorbing", "clip-value", "critic.layer-norm"):
        settings = settled(pendulum, f"--no-{flag}")
        part = settings.critic if "." in flag else settings
        assert getattr(part, flag.rpartition(".")[2].replace("-", "_")) is False
    regressed = settled(pendulum, "--extensions", "reward_regression")
    assert (regressed.gamma, regressed.target_rate, regressed.target_entropy) == (0.97, 0.005, -1.0)
    assert settled(pendulum, "--extensions", "none").extensions == ()
    offline = settled(pendulum, "--mode", "offline", "--extensions", "cloning").extensions
    assert offline == (iq.Cloning(weight=1_000.0, regularisation=0.0),)  # as recommended


def settled(demos: Demos, *words: object) -> Any:
    """The settings that `learn` receives."""
    received = []

    class Enough(Exception):
        pass

    def learn(settings: Any, *_: Any, **__: Any) -> None:
        received.append(settings)
        raise Enough

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder, suppress(Enough):
        demos.save(Path(folder) / "demos.npz")
        patch.setattr(api, "learn", learn)
        patch.setattr(reward_first, "leave_one_out_error", lambda *_: 0.0)
        iqlearn("train", "--env", "Pendulum-v1", "--demos", f"{folder}/demos.npz", "--out", f"{folder}/run", *words)
    return received[0]
