"""Published runs: a model card whose commands and programs run, and no path of this machine."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv

import iqlearn as iq
from iqlearn import cli, hub
from iqlearn.envs.gym import Environment
from iqlearn.hub.published import _without_places

huggingface_hub = pytest.importorskip("huggingface_hub", reason="needs the extra hub")
SHORT = {"steps": 4, "evaluations": 2, "eval_episodes": 1, "quiet": True}
SMALL = iq.Network((8,))


def iqlearn(*arguments: object) -> None:
    cli.main([str(argument) for argument in arguments])


def published(run: Path, out: Path) -> str:
    """Publish a run to a folder and return its card."""
    iqlearn("push", run, "ada/agent", "--out", out)
    return (out / "README.md").read_text(encoding="utf-8")


def codes(card: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", card, re.DOTALL)


def dictionaries() -> gym.Env:
    """CartPole-v1 whose observations are dictionaries."""
    env = gym.wrappers.TimeLimit(CartPoleEnv(), 10)
    space = gym.spaces.Dict({"all": env.observation_space, "odd": gym.spaces.Discrete(2)})
    return gym.wrappers.TransformObservation(env, lambda obs: {"all": obs, "odd": 1}, space)


@pytest.fixture(scope="module")
def runs(trained, two_seeds, pendulum_file, tmp_path_factory):
    """Run folders of every kind."""
    folder = tmp_path_factory.mktemp("kinds")
    pendulum = iq.Demos.load(pendulum_file)
    iq.learn(iq.BCContinuous(actor=SMALL), pendulum, out=folder / "named by the file", **SHORT)
    free = iq.Demos.from_arrays(
        {name: getattr(pendulum, name) for name in ("obs", "act", "next_obs", "term", "trunc", "ep")}, "memory"
    )
    iq.learn(iq.BCContinuous(actor=SMALL), free, out=folder / "no environment", **SHORT)
    few = iq.Interaction(random_steps=4, round_steps=4)
    settings = iq.SoftQLearning(network=SMALL)
    iq.train_expert(dictionaries, settings, interaction=few, out=folder / "function", **SHORT | {"steps": 12})
    return {path.name: path for path in folder.iterdir()} | {"one": trained, "seeds": two_seeds}


@pytest.mark.parametrize("kind", ["named by the file", "no environment", "function", "one", "seeds"])
def test_card_metadata_is_valid_and_its_commands_and_programs_run(kind, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = published(runs[kind], tmp_path / "look")
    data = huggingface_hub.ModelCard(text).data
    assert data.library_name == "iqlearn"
    assert data.pipeline_tag == "reinforcement-learning"
    assert ("inverse-reinforcement-learning" in data.tags) == (kind in ("one", "seeds"))
    assert (data.eval_results is None) == (kind == "no environment")
    (pull, evaluate) = codes(text, "sh")[0].splitlines()
    assert pull == "iqlearn pull ada/agent --out agent"
    iqlearn("pull", "look", "--out", "agent")  # test_hub.py pulls ada/agent itself
    if kind in ("named by the file", "one", "seeds"):
        iqlearn(*evaluate.split()[1:], "--episodes", 1)
    else:
        assert re.fullmatch("iqlearn evaluate agent --(demos FILE|env MODULE:ID)", evaluate)
    for program in codes(text, "python"):
        exec(program, {})


def test_card_results_match_the_run(trained, two_seeds, tmp_path):
    one = huggingface_hub.ModelCard(published(trained, tmp_path / "one")).data.eval_results
    returns = iq.Run.load(trained).result["returns"]
    assert [result.metric_value for result in one] == [f"{np.mean(returns):.1f} ± {np.std(returns):.1f}"]
    assert one[0].dataset_name == "CartPole-v1"
    both = huggingface_hub.ModelCard(published(two_seeds, tmp_path / "two")).data.eval_results
    means = [iq.Run.load(two_seeds / f"seed-{seed}").result["mean_return"] for seed in range(2)]
    assert [result.metric_value for result in both] == [f"{np.mean(means):.1f} ± {np.std(means):.1f}"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("diverged", "diverged: a loss"),
        ("interrupted", "was interrupted"),
        ("stopped", "early"),
        ("running", "not end"),
    ],
)
@pytest.mark.parametrize("kept", [True, False])
def test_card_of_an_incomplete_run_begins_with_its_status(status, words, kept, trained, tmp_path):
    run = iq.Run.load(trained)
    rows, result = (run.rows[:1], run.result) if kept else ([], {})
    replace(run, rows=rows, result=result | {"status": status}).save(tmp_path / "run")
    card = huggingface_hub.ModelCard(published(tmp_path / "run", tmp_path / "out"))
    first = card.text.strip().splitlines()[2]
    assert first.startswith("**Not completed.** The training of seed 0 ")
    assert words in first
    assert ("up to 3 of 6 updates" in first) == kept
    assert ("learnt offline" in card.text) == kept
    assert ("It is not trained" in card.text) != kept
    assert (card.data.eval_results is None) != kept


def test_card_names_only_the_incomplete_seeds(two_seeds, tmp_path):
    shutil.copytree(two_seeds, tmp_path / "runs")
    run = iq.Run.load(two_seeds / "seed-1")
    replace(run, result=run.result | {"status": "diverged"}).save(tmp_path / "runs" / "seed-1", overwrite=True)
    card = published(tmp_path / "runs", tmp_path / "out")
    assert card.count("**Not completed.**") == 1
    assert "The training of seed 1 diverged" in card
    assert "**Not completed.**" not in published(two_seeds, tmp_path / "whole")


def test_settings_that_differ_from_the_defaults_come_first(trained, tmp_path):
    before, after = published(trained, tmp_path / "out").split("<details>")
    assert "| `network.hidden` | `8` | `64 64` |" in before
    assert "| `steps` | `6` | `10000` |" in before
    assert "| `gamma` | `0.99` |" in after


def test_the_licence_and_the_video_are_in_the_card(trained, tmp_path):
    run = tmp_path / "run"
    iqlearn("pull", trained, "--out", run)
    (run / "replay.mp4").write_bytes(b"film")
    iqlearn("push", run, "ada/agent", "--license", "mit", "--out", tmp_path / "out")
    card = huggingface_hub.ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.license == "mit"
    assert "(replay.mp4)" in card.text
    assert (tmp_path / "out" / "replay.mp4").read_bytes() == b"film"


def test_no_path_of_this_machine_is_published(trained, tmp_path, monkeypatch, capsys):
    run, out = tmp_path / "run", tmp_path / "out"
    home = Path(json.loads((trained / "config.json").read_text())["origin"]["path"]).parents[1]
    monkeypatch.setattr(Path, "home", lambda: home)
    model = tmp_path / "model.xml"
    model.write_text("<mujoco/>")
    environment = Environment.of("CartPole-v1", {"render_mode": None})
    loaded = iq.Run.load(trained)
    monkeypatch.setattr(Environment, "to_dict", lambda self: {"id": self.name, "kwargs": {"file": str(model)}})
    iq.Run.save(loaded, run)
    (run / "report.html").write_text(f"<p>{run.resolve()}</p>")
    published(run, out)
    told = capsys.readouterr().err
    assert "report.html names a folder of this machine; it is not published" in told
    assert "the environment's arguments name places of this machine" in told
    assert not (out / "report.html").exists()
    config = json.loads((out / "config.json").read_text())
    assert config["origin"]["path"] == "random.npz"
    assert config["origin"]["environment"]["kwargs"] == {"file": "model.xml"}
    for file in out.iterdir():
        assert str(home).encode() not in file.read_bytes(), file
        assert str(tmp_path).encode() not in file.read_bytes(), file
    assert iq.Run.load(out).origin.environment.name == environment.name


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("minari:mujoco/hopper/expert-v0", "minari:mujoco/hopper/expert-v0"),
        ("--model=/home/ada/robots/arm.xml", "--model=arm.xml"),
        (["/home/ada/x.npz", 3, None], ["x.npz", 3, None]),
        ({"ALE/Pong-v5": "/home/ada"}, {"ALE/Pong-v5": "ada"}),
    ],
)
def test_paths_in_the_home_folder_become_names(value, kept, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ada"))
    assert _without_places(value) == kept


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("/nowhere/at/all/other.json", "other.json"),
        ("/nowhere/my files/x.json", "x.json"),
        ("C:\\Users\\ada\\x.json", "x.json"),
        ("D:/data", "data"),
        ("\\\\server\\share\\x.json", "x.json"),
        ("file:///mnt/data/x.json", "file://x.json"),
        ("from /mnt/data/x.npz, and D:\\old\\y.npz.", "from x.npz, and y.npz."),
        ("path=/mnt/data/x.npz", "path=x.npz"),
        ({"a": ["/mnt/data/x", {"b": "/mnt/y"}]}, {"a": ["x", {"b": "y"}]}),
        ("https://example.org/a/b.json", "https://example.org/a/b.json"),
        ("obs/proprio/pos", "obs/proprio/pos"),
        ("gymnasium.envs:CartPole", "gymnasium.envs:CartPole"),
        ("models/x.xml", "models/x.xml"),
        ("/one", "/one"),
        ("m/s and 1/2 / 3/4", "m/s and 1/2 / 3/4"),
    ],
)
def test_absolute_paths_become_names_even_if_they_do_not_exist(value, kept, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ada"))
    assert _without_places(value) == kept


def test_paths_in_the_texts_of_a_config_are_reported_and_become_names(trained, tmp_path, recwarn):
    run, out = iq.Run.load(trained), tmp_path / "out"
    far = "/nowhere/at/all"
    columns = (("obs", ("/state/position",)),)  # the key of an HDF5 file
    origin = replace(run.origin, demos=f"{far}/made by hand", path=None, environment=None, columns=columns)
    settings = replace(run.settings, reason=f"As {far}/notes.txt says.")
    replace(run, origin=origin, settings=settings).save(tmp_path / "run")
    text = hub.write(tmp_path / "run", out, "ada/agent") and (out / "README.md").read_text(encoding="utf-8")
    assert [str(w.message).partition(": ")[2].partition(" name")[0] for w in recwarn] == [
        "texts of the settings",
        "texts of the origin",
    ]
    assert "As notes.txt says." in text
    assert "made by hand" in text
    for file in out.iterdir():
        assert far.encode() not in file.read_bytes(), file
    assert iq.Run.load(out).settings.reason == "As notes.txt says."
    assert iq.Run.load(out).origin.columns == columns


@pytest.mark.parametrize("place", ["demos", "reward", "current"])
def test_report_page_with_a_local_folder_is_not_published(place, trained, tmp_path, monkeypatch):
    folder = tmp_path / place
    folder.mkdir()
    monkeypatch.chdir(folder if place == "current" else trained)
    run = iq.Run.load(trained)
    more = {"demos": {"path": str(folder / "gone.npz")}, "reward": {"reward": str(folder / "run")}}.get(place, {})
    replace(run, origin=replace(run.origin, **more)).save(tmp_path / "run")
    (tmp_path / "run" / "report.html").write_text(f"No demonstrations at {folder}/gone.npz")
    with pytest.warns(UserWarning, match="report.html names a folder of this machine"):
        hub.write(tmp_path / "run", tmp_path / "out", "ada/agent")
    assert not (tmp_path / "out" / "report.html").exists()


def test_pull_does_not_import_a_module_named_by_the_run(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(Environment, "to_dict", lambda self: {"id": "evil_module:Evil-v0", "kwargs": {}})
    run, elsewhere = tmp_path / "run", tmp_path / "path"
    iq.Run.load(trained).save(run)
    assert "evaluate agent --trust" in published(run, tmp_path / "look")
    elsewhere.mkdir()
    (elsewhere / "evil_module.py").write_text("raise SystemExit('imported')")
    command = [sys.executable, "-m", "iqlearn", "pull", str(tmp_path / "look"), "--out", str(tmp_path / "got")]
    monkeypatch.setenv("PYTHONPATH", str(elsewhere), prepend=os.pathsep)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--trust" in done.stdout
    (tmp_path / "look" / "evil_module.py").write_text("")
    iqlearn("pull", tmp_path / "look", "--out", tmp_path / "again")
    assert not (tmp_path / "again" / "evil_module.py").exists()


@pytest.mark.parametrize("kind", ["one", "seeds"])
def test_pull_rejects_a_damaged_or_missing_file_other_than_the_card(kind, runs, tmp_path, told):
    run, look = tmp_path / "run", tmp_path / "look"
    shutil.copytree(runs[kind], run)
    (run / "replay.mp4").write_bytes(b"film")
    (run / "report.html").write_text("a page, which is not taken")
    for part in (run, *run.glob("seed-*")):
        (part / "reward.json").write_text("{}")
        (part / "refit-state.safetensors").write_bytes(b"weights")
    published(run, look)
    files = [path for path in look.rglob("*") if path.is_file() and path.name != ".lock"]
    assert {"policy.npz", "replay.mp4", "reward.json", "refit-state.safetensors"} <= {path.name for path in files}
    for file in files:
        whole = file.read_bytes()
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]) if whole else b"x")
        if file.name in ("README.md", "report.html"):
            iqlearn("pull", look, "--out", tmp_path / "got", "--overwrite")
        else:
            assert f"{file} is damaged or was replaced" in told("pull", look, "--out", tmp_path / "none")
            if file.name != "manifest.json":
                file.unlink()
                assert str(file.parent) in told("pull", look, "--out", tmp_path / "none")
        file.write_bytes(whole)
    assert not (tmp_path / "none").exists()
    for part in iq.runs.folder.runs_in(tmp_path / "got"):
        iq.Run.load(part)
    iqlearn("pull", tmp_path / "got", "--out", tmp_path / "again")


def test_pull_and_push_keep_existing_files(trained, two_seeds, tmp_path, sentence):
    look, got = tmp_path / "look", tmp_path / "got"
    published(trained, look)
    got.mkdir()
    (got / "notes.txt").write_text("mine")
    for command in (("pull", look, "--out", got), ("push", trained, "ada/agent", "--out", got)):
        assert "exists and is not empty" in sentence(*command)
    iqlearn("pull", look, "--out", got, "--overwrite")
    assert (got / "notes.txt").read_text() == "mine"
    published(two_seeds, tmp_path / "two")
    iqlearn("pull", tmp_path / "two", "--out", got, "--overwrite")
    assert not (got / "model.safetensors").exists()
    assert (got / "seed-1" / "model.safetensors").is_file()
    before = {path: path.read_bytes() for path in got.rglob("*") if path.is_file()}
    (look / "model.safetensors").write_bytes(b"")
    assert f"{look}/model.safetensors is damaged" in sentence("pull", look, "--out", got, "--overwrite")
    assert {path: path.read_bytes() for path in got.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["got", "look", "two"]


@pytest.mark.parametrize(
    "repo",
    ["agent", "bad name", "x/y z", "a/b/c", "ada/", "/x", "ada/-x", "ada/x; rm", "ada/$(x)", "../x", "a--b/c", ""],
)
def test_push_rejects_an_invalid_repository_name(repo, trained, tmp_path, sentence):
    for more in ((), ("--out", tmp_path / "out")):
        assert f"The repository is {repo!r}; expected USER/NAME" in sentence("push", trained, repo, *more)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("licence", ["not a: licence", "", ".x", "mit\ntags: x", "a/b", "é"])
def test_push_rejects_an_invalid_licence(licence, trained, tmp_path, sentence):
    for more in ((), ("--out", tmp_path / "out")):
        assert f"--license is {licence!r}; expected letters" in sentence(
            "push", trained, "ada/agent", "--license", licence, *more
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("source", "out"),
    [
        ("run", "run"),
        ("run", "./run"),
        ("run", "link"),
        ("runs", "runs/seed-0"),
        ("runs/seed-1", "runs"),
        ("link", "run"),
    ],
)
def test_a_run_is_not_written_over_itself(source, out, trained, two_seeds, tmp_path, monkeypatch, sentence):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, "run")
    shutil.copytree(two_seeds, "runs")
    (tmp_path / "link").symlink_to("run")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for words in (("push", source, "ada/agent"), ("pull", source)):
        assert "would replace" in sentence(*words, "--out", out, "--overwrite")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_push_and_pull_refuse_flags_without_effect(trained, tmp_path, sentence):
    out = tmp_path / "out"
    for flags in (("--private",), ("--message", "Hello")):
        assert f"{flags[0]} has no effect with --out" in sentence("push", trained, "ada/agent", "--out", out, *flags)
    assert "--overwrite has no effect without --out" in sentence("push", trained, "ada/agent", "--overwrite")
    assert "--revision has no effect" in sentence("pull", trained, "--out", out, "--revision", "main")
    assert not out.exists()


def test_resume_rejects_a_published_run_without_a_checkpoint(trained, tmp_path, sentence):
    published(trained, tmp_path / "out")
    told = sentence("resume", tmp_path / "out")
    assert "No checkpoint.safetensors in" in told
    assert "iqlearn pull write" in told
