"""`iqlearn demos`: convert, split, merge, inspect, plot and record, and training on tables."""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import iqlearn as iq
from iqlearn import cli
from iqlearn.cli import recording
from iqlearn.data.demos import Demos
from iqlearn.envs.gym import Environment
from iqlearn.errors import EnvironmentFault, InputError
from iqlearn.evaluation.record import Recorder, play_by_hand
from iqlearn.evaluation.sb3 import zip_of

pytest.importorskip("pyarrow", reason="needs the extra tables")
SHORT = ("--steps", "4", "--evaluations", "1", "--network.hidden", "8", "--batch-size", "8", "--preset", "paper")


@pytest.fixture
def table(cartpole, tmp_path):
    """A CSV table whose columns have other names than the fields."""
    columns = {f"x{i}": cartpole.obs[:, i] for i in range(4)} | {f"y{i}": cartpole.next_obs[:, i] for i in range(4)}
    columns |= {"u": cartpole.act, "trial": cartpole.ep, "fell": cartpole.term, "r": cartpole.rew}
    lines = [",".join(columns), *(",".join(str(v) for v in row) for row in zip(*columns.values(), strict=True))]
    (tmp_path / "runs.csv").write_text("\n".join(lines))
    return tmp_path / "runs.csv"


FLAGS = ("--columns", "obs=x0,x1,x2,x3", "next_obs=y0,y1,y2,y3", "act=u", "ep=trial", "term=fell", "rew=r")


def test_train_resume_and_evaluate_accept_a_csv_table(table, tmp_path, capsys):
    run = tmp_path / "run"
    cli.main(["train", "--demos", str(table), *FLAGS, "--out", str(run), *SHORT])
    model = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").unlink()
    cli.main(["resume", str(run)])
    assert (run / "model.safetensors").read_bytes() == model
    capsys.readouterr()
    cli.main(["evaluate", str(run), "--demos", str(table), *FLAGS, "--json"])
    assert json.loads(capsys.readouterr().out)["demos"] == "runs.csv"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--columns", "obs"), "--columns is 'obs'; expected FIELD=NAME,NAME"),
        (("--columns", "obs=x0", "obs=x1"), "--columns is 'obs=x1'; expected FIELD=NAME,NAME once"),
        (("--columns", "state=x0"), "--columns names 'state'; expected fields among obs"),
        (("--columns", "obs=z"), "has no column 'z'"),
    ],
)
def test_invalid_column_maps_are_rejected(table, sentence, words, part):
    assert part in sentence("train", "--demos", table, *words)
    assert part in sentence("demos", "inspect", table, *words)


def test_columns_without_effect_are_refused(cartpole_file, sentence):
    assert "--columns has no effect without --demos" in sentence("train", "--columns", "obs=x")
    assert "--columns has no effect on" in sentence("train", "--demos", cartpole_file, "--columns", "obs=x")


def test_convert_split_and_merge_keep_the_data(table, cartpole, tmp_path, sentence, capsys):
    whole, some, rest, again = (tmp_path / name for name in ("whole.npz", "a.parquet", "b.arrow", "again.csv"))
    convert = ["demos", "convert", str(table), str(whole), *FLAGS, "--env", "CartPole-v1"]
    cli.main(convert)
    assert Demos.load(whole).env == "CartPole-v1"
    np.testing.assert_array_equal(Demos.load(whole).obs, cartpole.obs)
    cli.main(["demos", "split", str(whole), str(some), "--rest", str(rest), "--trajectories", "2", "--seed", "3"])
    parts = Demos.load(some), Demos.load(rest)
    assert [part.episodes for part in parts] == [2, cartpole.episodes - 2]
    np.testing.assert_array_equal(parts[0].obs, Demos.load(whole).take(2, seed=3).obs)
    cli.main(["demos", "merge", "--sources", str(some), str(rest), "--out", str(again)])
    merged = Demos.load(again)
    assert (merged.episodes, len(merged)) == (cartpole.episodes, len(cartpole))
    np.testing.assert_array_equal(merged.obs, np.concatenate([part.obs for part in parts]))
    assert np.unique(merged.ep).tolist() == list(range(cartpole.episodes))
    assert "exists; choose another file" in sentence(*convert)
    assert "expected a number from 1 to" in sentence(
        "demos", "split", whole, some, "--rest", rest, "--trajectories", 99, "--overwrite"
    )
    assert "has the suffix '.pkl'; expected one of .npz" in sentence("demos", "convert", whole, tmp_path / "x.pkl")
    capsys.readouterr()


@pytest.mark.parametrize(
    "words",
    [
        ("split", "whole.npz", "a.npz", "--rest", "./a.npz", "--trajectories", 2),
        ("split", "whole.npz", "a.npz", "--rest", "link.npz", "--trajectories", 2),
        ("split", "whole.npz", "whole.npz", "--rest", "b.npz", "--trajectories", 2),
        ("split", "whole.npz", "b.npz", "--rest", "sub/../whole.npz", "--trajectories", 2),
        ("merge", "--sources", "whole.npz", "a.npz", "--out", "./a.npz"),
    ],
)
def test_split_and_merge_refuse_a_file_given_twice(cartpole_file, tmp_path, monkeypatch, sentence, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for name in ("whole.npz", "a.npz"):
        (tmp_path / name).write_bytes(cartpole_file.read_bytes())
    (tmp_path / "link.npz").symlink_to("a.npz")
    assert "are one file; expected another one" in sentence("demos", *words, "--overwrite")
    for name in ("whole.npz", "a.npz"):
        assert (tmp_path / name).read_bytes() == cartpole_file.read_bytes()
    assert not (tmp_path / "b.npz").exists()


def test_split_checks_both_outputs_before_writing(cartpole_file, tmp_path, sentence):
    words = ("demos", "split", cartpole_file, tmp_path / "a.npz", "--trajectories", 2, "--rest")
    (tmp_path / "there.npz").write_text("mine")
    assert "has the suffix '.foo'" in sentence(*words, tmp_path / "b.foo")
    assert "there.npz exists; choose another file" in sentence(*words, tmp_path / "there.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["there.npz"]


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".arrow", ".parquet"])
def test_convert_in_place_keeps_the_data(cartpole, tmp_path, suffix):
    file = str(tmp_path / f"a{suffix}")
    cartpole.save(file)
    cli.main(["demos", "convert", file, file, "--env", "Other-v0", "--overwrite"])
    np.testing.assert_array_equal(Demos.load(file).obs, cartpole.obs)


def test_merge_rejects_files_with_different_fields(cartpole, pendulum, cartpole_file, tmp_path, sentence):
    pendulum.save(tmp_path / "p.npz")
    told = sentence("demos", "merge", "--sources", cartpole_file, tmp_path / "p.npz", "--out", tmp_path / "m.npz")
    assert "field 'act' has rows of shape" in told
    cartpole.without_actions().save(tmp_path / "w.npz")
    told = sentence("demos", "merge", "--sources", cartpole_file, tmp_path / "w.npz", "--out", tmp_path / "m.npz")
    assert "differ: only one has field 'act'" in told
    assert not (tmp_path / "m.npz").exists()


def test_inspect_reports_each_episode_and_repeated_coordinates(cartpole_arrays, tmp_path, capsys):
    doubled = {name: np.concatenate([cartpole_arrays[name]] * 2, axis=1) for name in ("obs", "next_obs")}
    np.savez(tmp_path / "d.npz", **cartpole_arrays | doubled)
    facts = Demos.load(tmp_path / "d.npz").summary()
    assert any("4 of 8 coordinates of field 'obs' repeat another one (the first is 4)" in r for r in facts["remarks"])
    np.savez(tmp_path / "e.npz", **cartpole_arrays)
    capsys.readouterr()
    cli.main(["demos", "inspect", str(tmp_path / "e.npz"), "--episodes", "--json"])
    each = json.loads(capsys.readouterr().out)["each_episode"]
    lengths = np.unique(cartpole_arrays["ep"], return_counts=True)[1]
    assert [one["steps"] for one in each] == lengths.tolist()
    assert [one["return"] for one in each] == lengths.tolist()
    assert {one["end"] for one in each} == {"ended"}
    cli.main(["demos", "inspect", str(tmp_path / "e.npz"), "--episodes"])
    assert "steps" in capsys.readouterr().out


def test_summary_reports_the_share_of_actions_at_their_bounds(pendulum):
    clipped = iq.Demos.from_arrays(pendulum.arrays() | {"act": np.clip(pendulum.act, -1.0, 1.0)})
    assert clipped.summary()["actions_at_bounds"] == pytest.approx(np.mean(np.abs(pendulum.act) >= 1.0))
    assert pendulum.summary()["actions_at_bounds"] == 0.0


def test_plot_writes_a_png_and_rejects_invalid_outputs(table, tmp_path, sentence):
    out = tmp_path / "demos.png"
    cli.main(["demos", "plot", str(table), "--out", str(out), *FLAGS])
    assert out.read_bytes().startswith(b"\x89PNG")
    assert out.stat().st_size > 20_000
    assert "exists; choose another file" in sentence("demos", "plot", table, "--out", out, *FLAGS)
    told = sentence("demos", "plot", tmp_path / "none.csv", "--out", tmp_path / "pic.jpg")
    assert "pic.jpg has the suffix '.jpg'; expected .png" in told


@pytest.fixture
def run(cartpole_file, tmp_path):
    cli.main(["train", "--demos", str(cartpole_file), "--out", str(tmp_path / "run"), *SHORT])
    return tmp_path / "run"


def test_record_with_append_equals_one_longer_recording(run, tmp_path, sentence, capsys):
    out = tmp_path / "mine.npz"
    cli.main(["demos", "record", "--run", str(run), "--out", str(out), "--episodes", "2", "--hidden"])
    first = Demos.load(out)
    assert (first.episodes, first.env) == (2, "CartPole-v1")
    assert first.remarks() == []
    act = iq.Run.load(run).player()
    np.testing.assert_array_equal(act(first.obs), first.act)
    assert "exists; choose another --out" in sentence("demos", "record", "--run", run, "--out", out, "--hidden")
    cli.main(["demos", "record", "--run", str(run), "--out", str(out), "--episodes", "1", "--hidden", "--append"])
    assert Demos.load(out).episodes == 3
    assert Demos.load(out).take(2).sha256() == first.sha256()
    cli.main(["demos", "record", "--run", str(run), "--out", str(out), "--episodes", "2", "--hidden", "--append"])
    at_once = tmp_path / "at once.npz"
    cli.main(["demos", "record", "--run", str(run), "--out", str(at_once), "--episodes", "5", "--hidden"])
    assert Demos.load(out).sha256() == Demos.load(at_once).sha256()
    assert "--keys has no effect with --run" in sentence(
        "demos", "record", "--run", run, "--out", out, "--append", "--keys", "a=0"
    )
    assert "--env is missing" in sentence("demos", "record", "--out", tmp_path / "x.npz")
    capsys.readouterr()


def test_keyboard_recording_keeps_an_episode_ended_by_escape(tmp_path, monkeypatch, sentence):
    """pygame runs without a screen. Right is held down, then left; then Escape is pressed."""
    pygame = pytest.importorskip("pygame", reason="needs gymnasium[classic-control]")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")
    get, calls = pygame.event.get, []

    def pressed(*given, **named):
        calls.append(1)
        events = get(*given, **named)
        for at, kind, key in (
            (1, pygame.KEYDOWN, pygame.K_RIGHT),
            (5, pygame.KEYUP, pygame.K_RIGHT),
            (5, pygame.KEYDOWN, pygame.K_LEFT),
            (8, pygame.KEYDOWN, pygame.K_ESCAPE),
        ):
            events += [pygame.event.Event(kind, key=key)] if len(calls) == at else []
        return events

    monkeypatch.setattr(pygame.event, "get", pressed)
    out = tmp_path / "mine.npz"
    words = ["demos", "record", "--env", "CartPole-v1", "--out", str(out), "--fps", "500"]
    cli.main([*words, "--keys", "left=0", "right=1"])
    demos = Demos.load(out)
    assert demos.episodes == 1
    assert demos.act.tolist()[:4] == [1, 1, 1, 1]
    assert demos.act.tolist()[-2:] == [0, 0]
    assert (demos.term.sum(), demos.trunc.sum()) == (0, 1)
    calls.clear()
    cli.main([*words, "--keys", "left=0", "right=1", "--append"])
    again = Demos.load(out)
    assert again.episodes == 2
    assert (again.initial_obs[0] == demos.initial_obs[0]).all()
    assert (again.initial_obs[1] != demos.initial_obs[0]).any()
    assert "expected a number from 0 to 1" in sentence(*words, "--overwrite", "--keys", "left=7")
    assert "expected a letter or one of left" in sentence(*words, "--overwrite", "--keys", "ctrl=0")


@pytest.mark.parametrize("keys", [(), ("--keys", "left=0"), ("--keys", "a=0")])
def test_keyboard_recording_without_pygame_says_how_to_install_pygame(tmp_path, sentence, monkeypatch, keys):
    monkeypatch.setitem(sys.modules, "pygame", None)
    monkeypatch.delitem(sys.modules, "gymnasium.utils.play", raising=False)
    told = sentence("demos", "record", "--env", "CartPole-v1", "--out", tmp_path / "r.npz", *keys)
    assert "pygame, which opens a window, is not installed; install it with: pip install" in told
    assert list(tmp_path.iterdir()) == []


def test_record_leaves_no_temporary_folder_if_nothing_is_recorded(run, tmp_path, told, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(recording, "watch", lambda recorder, *_: recorder.close())
    words = ("demos", "record", "--run", run, "--hidden", "--out", tmp_path / "mine.csv")
    assert "No step was played, so nothing is written" in told(*words)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_record_writes_csv_at_the_end_and_rejects_invalid_flags(run, tmp_path, sentence, capsys):
    out = tmp_path / "mine.csv"
    words = ["demos", "record", "--run", str(run), "--hidden"]
    cli.main([*words, "--out", str(out), "--episodes", "2"])
    place = capsys.readouterr().err.partition("kept in ")[2].partition(" until")[0]
    assert Demos.load(out).episodes == 2
    assert place.endswith("demos.npz")
    assert not Path(place).exists()
    for flags, part in (
        (("--out", tmp_path / "x.foo"), "has the suffix '.foo'"),
        (("--out", "minari:x"), "is no id of a Minari dataset"),
        (("--out", tmp_path / "new.npz", "--append"), "--append has no effect, because"),
        (("--out", tmp_path / "new.npz", "--episodes", 0), "--episodes is 0; expected"),
        (("--out", tmp_path / "new.npz", "--fps", 3), "--fps has no effect with --run"),
        (("--out", "minari:me/x-v0", "--overwrite"), "is written once; leave --overwrite out"),
    ):
        assert part in sentence(*words, *flags)
    assert "--trust has no effect without --run" in sentence(
        "demos", "record", "--env", "CartPole-v1", "--out", tmp_path / "new.npz", "--trust"
    )


def test_environment_error_while_playing_is_distinguished_from_invalid_keys(monkeypatch):
    """The environment may raise the same exceptions as wrong keys. The steps before the error are kept."""
    pytest.importorskip("pygame", reason="needs gymnasium[classic-control]")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")

    class Worn(gym.Wrapper):
        done = 0

        def step(self, action):
            self.done += 1
            if self.done > 3:
                raise ValueError("worn out")
            return self.env.step(action)

    spec, kept = Environment.of("CartPole-v1").task.obs, []
    recorder = Recorder(Worn(gym.make("CartPole-v1", render_mode="rgb_array")), "Worn-v0", spec, 7, kept.append)
    with pytest.raises(
        EnvironmentFault, match="'Worn-v0', reset seed 7, after step 3: step raised ValueError: worn out"
    ):
        play_by_hand(recorder, {"a": 0}, 1, 500, 0)
    assert [len(part) for part in kept] == [3]
    recorder = Recorder(gym.make("CartPole-v1", render_mode="rgb_array"), "CartPole-v1", spec, 7, kept.append)
    with pytest.raises(InputError, match="The keys do not fit: "):
        play_by_hand(recorder, {"a": 5}, 1, 500, 0)


def test_collect_writes_npz_and_csv_and_rejects_invalid_outputs(run, tmp_path, sentence, capsys):
    for name in ("a.npz", "a.csv"):
        cli.main(["demos", "collect", str(run), "--out", str(tmp_path / name), "--episodes", "2"])
    capsys.readouterr()
    parts = Demos.load(tmp_path / "a.npz"), Demos.load(tmp_path / "a.csv")
    np.testing.assert_array_equal(parts[0].act, parts[1].act)
    np.testing.assert_array_equal(parts[0].obs, parts[1].obs)
    words = ("demos", "collect", run, "--out")
    assert "has the suffix '.foo'" in sentence(*words, tmp_path / "x.foo")
    assert "is no id of a Minari dataset" in sentence(*words, "minari:x")
    assert "is written once; leave --overwrite out" in sentence(*words, "minari:me/x-v0", "--overwrite")
    assert "exists; choose another file" in sentence(*words, tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ((), "DIR and --sb3 are both missing; expected a run folder, or --sb3"),
        (("runs", "--sb3", "p.zip"), "DIR and --sb3 are both given"),
        (("--sb3", "p.zip"), "--env is missing; expected the environment to play the policy of --sb3 in"),
        (("--sb3", "p.zip", "--last"), "--last has no effect with --sb3"),
        (("--sb3", "p.zip", "--env", "Gone-v0"), "No environment 'Gone-v0'"),
        (("runs", "--env", "CartPole-v1"), "--env has no effect without --sb3"),
        (("runs", "--env-arg", "a=1"), "--env-arg has no effect without --sb3"),
        (("runs", "--vecnormalize", "v.pkl"), "--vecnormalize has no effect without --sb3"),
    ],
)
def test_collect_rejects_conflicting_arguments(tmp_path, sentence, words, part):
    assert part in sentence("demos", "collect", *words, "--out", tmp_path / "x.npz")


def test_collect_says_how_to_install_stable_baselines3(tmp_path, sentence, monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    told = sentence("demos", "collect", "--sb3", "p.zip", "--env", "CartPole-v1", "--out", tmp_path / "x.npz")
    assert "stable-baselines3, which reads its policies, is not installed; install it with: pip install" in told
    assert "[sb3]" in told


@pytest.mark.parametrize(
    ("there", "given", "taken"),
    [
        ((), "ppo", "ppo"),
        (("ppo.zip",), "ppo", "ppo.zip"),
        (("ppo.zip",), "ppo.zip", "ppo.zip"),
        (("ppo", "ppo.zip"), "ppo", "ppo"),
        (("ppo.v2.zip",), "ppo.v2", "ppo.v2.zip"),
    ],
)
def test_sb3_path_may_omit_the_zip_suffix(tmp_path, there, given, taken):
    for name in there:
        (tmp_path / name).touch()
    assert zip_of(tmp_path / given) == tmp_path / taken


def test_record_refuses_to_append_to_a_file_of_another_environment(run, cartpole, tmp_path, sentence):
    replace(cartpole, env="Other-v0").save(tmp_path / "other.npz")
    words = ("demos", "record", "--run", run, "--hidden", "--out", tmp_path / "other.npz", "--append")
    assert "is of environment Other-v0; expected CartPole-v1" in sentence(*words)
