"""Modules of environments: one that a file names is imported only if it lies beside the file or is trusted."""

import json
import sys

import gymnasium as gym
import numpy as np
import pytest

import iqlearn as iq
from iqlearn import cli
from iqlearn.envs.gym import Environment
from iqlearn.envs.modules import Untrusted
from iqlearn.errors import InputError

MODULE = """
from pathlib import Path
import gymnasium as gym
from gymnasium.envs.classic_control import CartPoleEnv

Path(__file__).with_suffix(".imported").touch()
gym.register("{name}-v0", entry_point=CartPoleEnv, max_episode_steps=20)
"""


@pytest.fixture
def module(tmp_path, monkeypatch, request):
    """An importable module that writes a file when it is imported. Its name is that of the test."""
    name = "".join(c for c in request.node.name if c.isalnum())
    path = tmp_path / "library" / f"{name}.py"
    path.parent.mkdir()
    path.write_text(MODULE.format(name=name), encoding="utf-8")
    monkeypatch.syspath_prepend(path.parent)
    yield path
    forget(path)


def forget(module):
    sys.modules.pop(module.stem, None)
    gym.registry.pop(f"{module.stem}-v0", None)
    module.with_suffix(".imported").unlink(missing_ok=True)


def imported(module):
    return module.with_suffix(".imported").exists()


@pytest.fixture
def sent(module, cartpole_arrays, tmp_path):
    """A run folder and a file of demonstrations that name the module."""
    (tmp_path / "sent").mkdir()
    path = tmp_path / "sent" / "demos.npz"
    demos = iq.Demos.from_arrays(cartpole_arrays | {"env": np.array(f"{module.stem}:{module.stem}-v0")})
    demos.save(path)
    settings = iq.BC(network=iq.Network(hidden=(4,)))
    more = {"steps": 1, "evaluations": 1, "eval_episodes": 1, "quiet": True}
    iq.learn(settings, demos, env=demos.env, out=tmp_path / "sent" / "run", **more)
    forget(module)
    return tmp_path / "sent"


def test_commands_import_no_untrusted_module(module, sent, tmp_path, told, capsys):
    run, demos, out = sent / "run", sent / "demos.npz", tmp_path / "out"
    cli.main(["train", "--demos", str(demos), "--help"])
    cli.main(["demos", "inspect", str(demos)])
    for words in (
        ("train", "--demos", demos, "--steps", 1, "--out", out),
        ("train", "--demos", demos, "--mode", "online", "--steps", 2000, "--out", out),
        ("evaluate", run),
        ("demos", "collect", run, "--out", tmp_path / "out.npz"),
    ):
        said = told(*words)
        assert f"Its module {module.stem!r} is not imported" in said, words
        assert "--trust" in said
    assert iq.Run.load(run).policy(np.zeros((1, 4), np.float32)).shape == (1,)
    assert not imported(module)
    assert not out.exists()
    capsys.readouterr()
    cli.main(["evaluate", str(run), "--episodes", "1", "--trust", "--json"])
    assert imported(module)
    assert json.loads(capsys.readouterr().out)["episodes"] == 1


@pytest.mark.parametrize("how", ["trusted", "named", "imported"])
def test_module_is_imported_if_trusted_named_or_loaded(module, sent, how):
    env = f"{module.stem}:{module.stem}-v0"
    if how == "imported":
        __import__(module.stem)
    run = iq.Run.load(sent / "run", trust=how == "trusted")
    assert run.evaluate(1, env=env if how == "named" else None).shape == (1,)
    assert imported(module)


def test_module_beside_a_run_warns_on_import(module, sent, monkeypatch):
    run = iq.Run.load(sent / "run")
    module.rename(sent / module.name)
    monkeypatch.syspath_prepend(sent)
    with pytest.warns(UserWarning, match=rf"names environment .*: {sent / module.name} is imported\."):
        assert run.evaluate(1).shape == (1,)


def test_a_module_in_the_current_folder_is_found(module, sent, monkeypatch):
    """Also without the current folder on Python's path, where the command `iqlearn` runs."""
    module.rename(sent / module.name)
    monkeypatch.setattr(sys, "path", [part for part in sys.path if part not in ("", str(sent), str(module.parent))])
    with pytest.raises(InputError, match=f"No module named '{module.stem}'"):
        _ = Environment.of(f"{module.stem}:{module.stem}-v0").task
    monkeypatch.chdir(sent)
    with pytest.warns(UserWarning, match=rf"{sent / module.name} is imported\."):
        assert iq.Run.load("run").evaluate(1).shape == (1,)
    forget(module)
    assert Environment.of(f"{module.stem}:{module.stem}-v0").task.actions == 2


@pytest.mark.parametrize("where", ["entry_point", "wrapper"])
def test_specification_calls_only_environments_and_wrappers(tmp_path, where):
    """Also if the module was imported before, as `os` was."""
    spec = json.loads(gym.spec("CartPole-v1").to_json())
    call = {"entry_point": "os:system", "kwargs": {"command": f"touch {tmp_path / 'called'}"}}
    spec |= call | {"id": "Other-v0"} if where == "entry_point" else {"additional_wrappers": [call | {"name": "x"}]}
    environment = Environment.from_dict({"spec": json.dumps(spec), "kwargs": {}}, tmp_path)
    with pytest.raises(Untrusted, match="'os' is not imported"):
        _ = environment.task
    assert not (tmp_path / "called").exists()


def test_a_specification_of_a_known_environment_needs_no_trust(tmp_path):
    env = gym.wrappers.TransformReward(gym.make("CartPole-v1"), None)
    kept = Environment.from_dict(Environment.of(env.unwrapped.spec).to_dict(), tmp_path)
    assert kept.task == Environment.of("CartPole-v1").task
    wrapped = gym.wrappers.FlattenObservation(gym.make("CartPole-v1")).spec
    assert Environment.from_dict(Environment.of(wrapped).to_dict(), tmp_path).task == kept.task


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("raise RuntimeError('no licence')", "line 2, raised RuntimeError: no licence"),
        ("import sys; sys.exit(0)", "line 2, raised SystemExit: 0"),
        ("1 +", r"test.*\.py, line 2, raised SyntaxError"),
        ("import nosuchpackage", "line 2, raised ModuleNotFoundError: No module named 'nosuchpackage'"),
    ],
)
def test_module_import_error_names_the_line(module, line, words):
    module.write_text(f"x = 1\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=words):
        _ = Environment.of(f"{module.stem}:X").task


@pytest.mark.parametrize("name", [":", "nosuch:X", "CartPole-v1:", ":CartPole-v1", "", "a:b:c"])
def test_invalid_environment_id_is_rejected(name):
    with pytest.raises(InputError, match="expected a Gymnasium id such as CartPole-v1, or MODULE:ID"):
        _ = Environment.of(name).task
