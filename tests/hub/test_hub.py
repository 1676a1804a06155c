"""Runs go to the Hub and come back the same. Every request is a real one, to a Hub on this machine."""

import json

SAME = ("model.safetensors", "last.safetensors", "metrics.csv", "result.json")


def test_a_run_comes_back_the_same(hub, trained, tmp_path):
    out = tmp_path / "back"
    pushed = json.loads(hub.run("push", trained, "ada/cart-pole", "--private", "--message", "First", "--json"))
    assert pushed["published"].startswith(f"{hub.url}/ada/cart-pole/commit/")
    assert not any("checkpoint" in name or name == ".lock" for name in pushed["files"])
    assert hub.messages == ["initial commit", "First"]
    assert hub.asked[0].get("visibility", hub.asked[0].get("private")) in ("private", True)
    pulled = json.loads(hub.run("pull", "ada/cart-pole", "--out", out, "--json", token=None))
    assert pulled["go_on"] == f"iqlearn evaluate {out}"
    assert {path.name for path in out.iterdir()} == {*pushed["files"], ".lock"}
    for name in SAME:
        assert (out / name).read_bytes() == (trained / name).read_bytes(), name
    ours, theirs = (json.loads(hub.run("evaluate", path, "--episodes", 2, "--json")) for path in (trained, out))
    assert ours == theirs
    hub.run("export", out, "--format", "npz", "--out", tmp_path / "policy.npz")
    hub.run("reward", out, "--rollouts", "expert", "--episodes", 1)


def test_a_second_push_replaces_the_first_and_keeps_what_is_not_its_own(hub, trained, two_seeds, tmp_path):
    hub.run("push", two_seeds, "ada/agent")
    repo = hub.files / "ada" / "agent"
    (repo / (repo / "log").read_text().split()[-1] / "notes.txt").write_text("mine")
    seeds = (repo / "log").read_text().split()[-1]
    hub.run("push", trained, "ada/agent", HF_HUB_DISABLE_XET="1")
    hub.run("pull", "ada/agent", "--out", tmp_path / "one")
    last = repo / (repo / "log").read_text().split()[-1]
    assert (last / "notes.txt").is_file()
    assert not (last / "seed-0").exists()
    assert not (tmp_path / "one" / "notes.txt").exists()
    hub.run("pull", "ada/agent", "--revision", seeds, "--out", tmp_path / "two")
    assert {path.name for path in (tmp_path / "two").glob("seed-*")} == {"seed-0", "seed-1"}
    assert len(json.loads(hub.run("evaluate", tmp_path / "two", "--episodes", 1, "--json"))["seeds"]) == 2


def test_every_error_of_the_hub_is_one_sentence_and_leaves_nothing(hub, trained, tmp_path):
    out = ("--out", tmp_path / "out")
    cases = {
        "hf auth login": [
            hub.begin("push", trained, "ada/new", token=None),
            hub.begin("push", trained, "ada/new", token="hf_wrong"),
            hub.begin("pull", "ada/none", *out),
        ],
        "is gated; ask": [hub.begin("pull", "ada/gated", *out)],
        "rights to create a model": [hub.begin("push", trained, "bob/other")],
        "limit reached": [hub.begin("push", trained, "ada/full")],
        "try again later": [hub.begin("pull", "ada/broken", *out)],
        "cannot be reached": [
            hub.begin("pull", "ada/none", *out, HF_ENDPOINT="http://127.0.0.1:1"),
            hub.begin("push", trained, "ada/new", HF_ENDPOINT="http://127.0.0.1:1"),
            hub.begin("pull", "ada/none", *out, HF_HUB_OFFLINE="1"),
        ],
        "expected USER/NAME": [hub.begin("push", trained, "a--b"), hub.begin("pull", "../ada/none", *out)],
    }
    for words, processes in cases.items():
        for process in processes:
            printed, err = process.communicate(timeout=120)
            assert process.returncode == 2, err
            assert words in err
            assert printed == ""
            assert err.startswith("iqlearn: ")
            assert err.endswith(".\n")
            assert err.count("\n") == 1, err
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("hub", "home")] == []
    assert not hub.files.exists()


def test_a_revision_that_is_not_there_and_a_repository_without_a_run_are_refused(hub, trained, tmp_path):
    hub.run("push", trained, "ada/agent")
    repo = hub.files / "ada" / "agent"
    with (repo / (repo / "log").read_text().split()[-1] / "model.safetensors").open("ab") as file:
        file.write(b"x")
    empty = (repo / "log").read_text().split()[0]
    for arguments, words in (
        (("--revision", "v9"), "has no revision 'v9'"),
        (("--revision", empty), "ada/agent holds no run that can be used: No config.json in ada/agent"),
        ((), "ada/agent/model.safetensors is damaged or was replaced"),
    ):
        process = hub.begin("pull", "ada/agent", "--out", tmp_path / "out", *arguments)
        printed, err = process.communicate(timeout=120)
        assert (process.returncode, printed) == (2, "")
        assert words in err
        assert err.count("\n") == 1, err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "hub"]
