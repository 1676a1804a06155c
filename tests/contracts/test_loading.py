"""Loading reads data only: it never unpickles, and never compiles the content of a file."""

import pickle
import sys

import jax.random as jr
import numpy as np
import pytest

import iqlearn as iq
from iqlearn.rewards import distil
from iqlearn.rewards.base import Ends

CANARY = "canary()"
seen: list[str] | None = None


def watch(event: str, details: tuple) -> None:
    """Records unpickled classes, and code that is compiled from the content of a file."""
    if seen is None:
        return
    if event == "pickle.find_class" or (event == "compile" and CANARY in str(details[0])):
        seen.append(f"{event} {details}")


sys.addaudithook(watch)


@pytest.fixture
def watched():
    global seen
    seen = []
    yield seen
    seen = None


def test_audit_hook_detects_unpickling_and_compiling(watched):
    pickle.loads(pickle.dumps(np.float32))
    compile(CANARY, "name", "exec")
    assert {event.split()[0] for event in watched} == {"pickle.find_class", "compile"}


def test_loading_never_unpickles_or_compiles_file_content(cartpole_arrays, tmp_path, watched, stop_at):
    settings = iq.IQLearn(network=iq.Network(hidden=(4,)), batch_size=4, reason=CANARY)
    iq.Demos.from_arrays(cartpole_arrays | {"env": np.array(CANARY)}).save(tmp_path / "demos.npz")
    demos, more = iq.Demos.load(tmp_path / "demos.npz"), {"evaluations": 2, "eval_episodes": 1, "quiet": True}
    stop_at(2)
    with pytest.warns(RuntimeWarning, match="interrupted"):
        iq.learn(settings, demos, env="CartPole-v1", steps=4, out=tmp_path / "run", **more)
    net = distil.blank(demos.task_spec(), "state", 1.0, jr.key(0))
    distil.DistilledReward(net, demos.task_spec(), Ends(0.9, absorb=False)).save(tmp_path / "reward.safetensors")
    watched.clear()  # drop what the type checks compiled
    distil.DistilledReward.load(tmp_path / "reward.safetensors")
    assert iq.Run.load(tmp_path / "run", last=True).settings.reason == CANARY
    assert iq.resume(tmp_path / "run", quiet=True).result["status"] == "completed"
    assert watched == []
