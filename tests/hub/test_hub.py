"""Runs are pushed to the Hub and pulled again. Every request is a real one, to a Hub on this machine."""

import json
from pathlib import Path

import pytest

import iqlearn as iq
from iqlearn import cli

constants = pytest.importorskip("huggingface_hub.constants", reason="needs the extra hub")
SAME = ("model.safetensors", "last.safetensors", "metrics.csv", "result.json")


def iqlearn(*arguments: object) -> None:
    cli.main([str(argument) for argument in arguments])


def newest(hub, repo: str) -> Path:
    """The folder of the last commit."""
    return hub.files / repo / hub.commits(repo)[-1]


def test_pulled_run_equals_the_pushed_run(hub, trained, tmp_path):
    out = tmp_path / "back"
    pushed = json.loads(hub.run("push", trained, "ada/cart-pole", "--private", "--message", "First", "--json"))
    assert pushed["published"].startswith(f"{hub.url}/ada/cart-pole/commit/")
    assert not any("checkpoint" in name or name == ".lock" for name in pushed["files"])
    assert hub.messages == ["initial commit", "First"]
    assert (hub.files / "ada" / "cart-pole" / "private").is_file()
    pulled = json.loads(hub.run("pull", "ada/cart-pole", "--out", out, "--json", HF_TOKEN=""))
    assert pulled["go_on"] == f"iqlearn evaluate {out}"
    assert {path.name for path in out.iterdir()} == {*pushed["files"], ".lock"}
    for name in SAME:
        assert (out / name).read_bytes() == (trained / name).read_bytes(), name
    played = json.loads(hub.run("evaluate", out, "--episodes", 2, "--json"))
    assert played["returns"] == iq.Run.load(trained).evaluate(2).tolist()
    iqlearn("export", out, "--format", "npz", "--out", tmp_path / "policy.npz")
    iqlearn("reward", out, "--rollouts", "policy", "--episodes", 1)


def test_second_push_replaces_the_first_and_keeps_other_files(hub, trained, two_seeds, tmp_path):
    iqlearn("push", two_seeds, "ada/agent")
    (newest(hub, "ada/agent") / "notes.txt").write_text("mine")
    hub.run("push", trained, "ada/agent", HF_HUB_DISABLE_XET="1")
    iqlearn("pull", "ada/agent", "--out", tmp_path / "one")
    assert (newest(hub, "ada/agent") / "notes.txt").is_file()
    assert not (newest(hub, "ada/agent") / "seed-0").exists()
    assert not (tmp_path / "one" / "notes.txt").exists()
    iqlearn("pull", "ada/agent", "--revision", hub.commits("ada/agent")[1], "--out", tmp_path / "two")
    assert {path.name for path in (tmp_path / "two").glob("seed-*")} == {"seed-0", "seed-1"}
    iqlearn("evaluate", tmp_path / "two", "--episodes", 1)


def test_hub_errors_are_one_sentence_and_leave_no_files(hub, trained, sentence, monkeypatch, tmp_path):
    out = "--out", tmp_path / "out"
    for repo, words in (
        ("ada/none", "No repository ada/none on the Hub, or it is private"),
        ("ada/gated", "is gated; ask"),
        ("ada/broken", "try again later"),
        ("../ada/none", "expected USER/NAME"),
        ("a--b/c", "expected USER/NAME"),
    ):
        assert words in sentence("pull", repo, *out)
    assert "rights to create a model" in sentence("push", trained, "bob/other")
    assert "limit reached" in sentence("push", trained, "ada/full")
    assert "expected USER/NAME" in sentence("push", trained, "agent")
    for token in ("", "hf_wrong"):
        monkeypatch.setenv("HF_TOKEN", token)
        assert "hf auth login" in sentence("push", trained, "ada/new")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    assert "cannot be reached" in sentence("push", trained, "ada/new")
    assert "cannot be reached" in sentence("pull", "ada/none", *out)
    told = hub.run("pull", "ada/none", *out, code=2, HF_HUB_OFFLINE="1")
    assert "cannot be reached" in told
    assert told.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == []


def test_pull_rejects_unknown_revisions_and_repositories_without_a_usable_run(hub, trained, sentence, tmp_path):
    iqlearn("push", trained, "ada/agent")
    with (newest(hub, "ada/agent") / "model.safetensors").open("ab") as file:
        file.write(b"x")
    pull = "pull", "ada/agent", "--out", tmp_path / "out"
    assert "is there and public" in sentence("push", trained, "ada/agent", "--private")
    assert "has no revision 'v9'" in sentence(*pull, "--revision", "v9")
    told = sentence(*pull, "--revision", hub.commits("ada/agent")[0])
    assert "ada/agent holds no run that can be used: No config.json in ada/agent" in told
    assert "ada/agent/model.safetensors is damaged or was replaced" in sentence(*pull)
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["hub"]
