"""Exported policies and rewards return the numbers of the run, for one row or many, near the data and far away."""

import json
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import iqlearn as iq
from iqlearn import cli, exports, portable
from iqlearn.errors import InputError
from iqlearn.networks import encoders
from iqlearn.networks.mlp import MLP
from iqlearn.networks.policy import Policy
from iqlearn.networks.soft_q import ContinuousSoftQ, DiscreteSoftQ
from iqlearn.rewards.base import Ends
from iqlearn.rewards.recovered import RecoveredReward
from iqlearn.types import ArraySpec, Bounds, TaskSpec

pytest.importorskip("onnxruntime", reason="needs the extra onnx")
pytest.importorskip("jax2onnx", reason="needs the extra onnx")
VECTOR = ArraySpec((3,))
PARTS = {"arm": {"angle": ArraySpec((2,))}, "cell": ArraySpec((), "int32", 4), "image": ArraySpec((2, 2), "uint8")}
TANH, SILU = iq.Network((8, 8), "tanh"), iq.Network((8, 8), "silu")
BOUNDS = Bounds((-1.0, 0.0), (1.0, 5.0))


def seen(spec, n=64):
    rng = np.random.default_rng(0)

    def part(one):
        if one.dtype == "float32":
            return rng.normal(1.0, 2.0, (n, *one.shape)).astype(np.float32)
        return rng.integers(0, one.choices or 255, (n, *one.shape)).astype(one.dtype)

    return jax.tree.map(part, spec)


def discrete(spec=VECTOR, scaling="whiten", members=3, network=TANH, **more):
    encoder = encoders.fit(spec, seen(spec), scaling, 5.0 if scaling == "standard" else 0.0)
    return DiscreteSoftQ(TaskSpec(spec, 4), network, members, encoder, jr.key(0), 0.5, 0.1, **more), TaskSpec(spec, 4)


def continuous(spec=VECTOR, actions=BOUNDS, squash="clip", network=SILU, span=None, **more):
    task = TaskSpec(spec, actions, span)
    encoder = encoders.fit(spec, seen(spec), "standard", 5.0)
    model = ContinuousSoftQ(
        task, iq.Network((8,), layer_norm=True), 2, network, encoder, jr.key(0), squash=squash, **more
    )
    last = model.actor.layers[-1]
    louder = jax.tree.map(lambda x: 200.0 * x + 0.3, last)  # otherwise every action is in the middle
    return eqx.tree_at(lambda m: m.actor.layers[-1], model, louder), TaskSpec(spec, actions)


def stationary():
    model, task = continuous()
    net = MLP(3, 4, SILU, jr.key(0), stationary=True)
    return eqx.tree_at(lambda m: m.actor, model, net), task


MODELS = {
    "discrete": discrete,
    "discrete, one member, layer norm": lambda: discrete(members=1, network=iq.Network((8,), "elu", layer_norm=True)),
    "discrete, bounded weights": lambda: discrete(spectral=True),
    "continuous, bounded weights": lambda: continuous(spectral=True),
    "discrete, unscaled": lambda: discrete(scaling="none"),
    "discrete, dictionaries": lambda: discrete(PARTS, "standard"),
    "discrete, categories": lambda: discrete(ArraySpec((), "int32", 5), "none"),
    "discrete, images": lambda: discrete(ArraySpec((3, 3), "uint8"), "none"),
    "continuous": continuous,
    "continuous, tanh": lambda: continuous(squash="tanh", network=iq.Network((8,), "relu")),
    "continuous, stationary": stationary,
    "continuous, whole numbers": lambda: continuous(actions=Bounds((-3.0,), (9.0,), True)),
    "continuous, a span": lambda: continuous(span=Bounds((-0.01, 2.0), (0.02, 2.5))),
    "continuous, dictionaries": lambda: continuous(PARTS),
    "continuous, no hidden layer": lambda: continuous(network=iq.Network((), "relu")),
}


@pytest.mark.parametrize("form", exports.FORMATS)
@pytest.mark.parametrize("name", MODELS)
def test_exported_policy_returns_the_same_actions(name, form, tmp_path):
    model, task = MODELS[name]()
    exported = exports.policy(model, task)
    path = tmp_path / f"policy.{form}"
    recorded = jax.tree.leaves(seen(task.obs))
    errors = exports.export(exported, form, path, {"task": name}, recorded)
    assert errors.keys() == {"random", "demonstrations"}
    assert max(errors.values()) <= 1e-5
    function = exports.FORMATS[form].opened(path)
    policy = Policy(model)
    for rows in (1, 2, 5):
        obs = seen(task.obs, rows)
        np.testing.assert_allclose(function(*jax.tree.leaves(obs))[0], policy(obs), rtol=1e-5, atol=1e-5)


ENDS = [Ends(0.9, True), Ends(0.9, False), Ends(0.9, True, -1.0, 0.99)]
USUAL = ("discrete", "continuous")
RARE = ("discrete, dictionaries", "continuous, a span", "continuous, bounded weights")


@pytest.mark.parametrize("form", ["onnx", "stablehlo"])
@pytest.mark.parametrize(
    ("name", "ends"), [*product(USUAL, ENDS), *((name, ENDS[i]) for i, name in enumerate(RARE))], ids=str
)
def test_exported_reward_returns_the_same_rewards(name, form, ends, tmp_path):
    model, task = MODELS[name]()
    reward = RecoveredReward(model, ends, task)
    path = tmp_path / f"reward.{form}"
    exported = exports.reward(reward)
    assert exports.export(exported, form, path, {})["random"] <= 1e-5
    batch = exports.random_inputs(exported)
    assert not task.discrete or set(batch[-2 - len(jax.tree.leaves(task.obs))]) == {*range(task.choices)}
    n = len(jax.tree.leaves(task.obs))
    structure = jax.tree.structure(task.obs)
    parts = jax.tree.unflatten(structure, batch[:n]), batch[n], jax.tree.unflatten(structure, batch[n + 1 : -1])
    wanted = reward(iq.Transitions(*parts, batch[-1]))
    np.testing.assert_allclose(exports.FORMATS[form].opened(path)(*batch)[0], wanted, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", ["state", "state-action"])
def test_a_distilled_reward_is_exported_without_the_next_state(kind, cartpole, tmp_path):
    run = iq.learn(iq.IQLearn(network=iq.Network((8,))), cartpole, steps=2, evaluations=1, quiet=True)
    distilled = run.reward.distil(cartpole, kind, updates=5)
    exported = exports.reward(distilled)
    assert [*exported.inputs] == ["obs", "action", "terminal"]
    function = exports.FORMATS["onnx"]
    exports.export(exported, "onnx", tmp_path / "reward.onnx", {}, exported.of(cartpole))
    found = function.opened(tmp_path / "reward.onnx")(*exported.of(cartpole))[0]
    np.testing.assert_allclose(found, distilled(cartpole), rtol=1e-5, atol=1e-5)


def test_npz_for_rewards_and_unknown_formats_are_rejected(tmp_path):
    model, task = discrete()
    with pytest.raises(InputError, match="Format npz is for policies; expected format onnx or stablehlo"):
        exports.export(exports.reward(RecoveredReward(model, Ends(0.9, False), task)), "npz", tmp_path / "r.npz", {})
    with pytest.raises(InputError, match="format is 'pt'; expected one of onnx, stablehlo, npz"):
        exports.export(exports.policy(model, task), "pt", tmp_path / "p.pt", {})


def test_export_with_other_numbers_than_the_run_is_refused(tmp_path, monkeypatch):
    model, task = continuous()
    act = portable.Policy.act
    monkeypatch.setattr(portable.Policy, "act", lambda *given: act(*given) + np.float32(0.01))
    with pytest.raises(InputError, match=r"gives other numbers than the run: .* on random inputs; it is not written"):
        exports.export(exports.policy(model, task), "npz", tmp_path / "p.npz", {})


def test_portable_policy_samples_the_same_distribution(tmp_path):
    for model, task in (discrete(), continuous()):
        Policy(model).save(tmp_path / "p.npz")
        obs = jnp.repeat(seen(task.obs, 1), 20_000, axis=0)
        ours, theirs = (p(np.asarray(obs), False) for p in (Policy(model), portable.Policy(tmp_path / "p.npz", seed=1)))
        if task.discrete:
            np.testing.assert_allclose(*(np.bincount(x, minlength=4) / len(x) for x in (ours, theirs)), atol=0.02)
        else:
            np.testing.assert_allclose(ours.mean(0), theirs.mean(0), atol=0.05)
            np.testing.assert_allclose(ours.std(0), theirs.std(0), rtol=0.05)


WITHOUT_JAX = """
import json, sys

class Blocked:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("jax", "jaxlib", "equinox", "optax", "gymnasium", "scipy"):
            raise ImportError(name)

sys.meta_path.insert(0, Blocked())
{load}
policy = Policy("p.npz")
print(json.dumps([policy([0.5, 1.0, -2.0]).tolist(), policy.predict([[0.5, 1.0, -2.0]])[0].tolist()]))
"""
LOADS = {
    "of the package": "from iqlearn.portable import Policy",
    "copied on its own": "sys.path.insert(0, '.'); from portable import Policy",
}


@pytest.mark.parametrize("how", LOADS)
def test_the_portable_policy_needs_neither_jax_nor_equinox(how, tmp_path):
    model, _ = continuous()
    policy = Policy(model)
    policy.save(tmp_path / "p.npz")
    (tmp_path / "portable.py").write_bytes(Path(portable.__file__).read_bytes())
    words = [sys.executable, "-c", WITHOUT_JAX.replace("{load}", LOADS[how])]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    single, batch = json.loads(done.stdout)
    np.testing.assert_allclose(single, policy([0.5, 1.0, -2.0]), atol=1e-6)
    np.testing.assert_allclose(batch, [single], atol=1e-6)


def test_policies_can_be_pickled_and_shared_by_threads_and_processes(tmp_path):
    model, task = discrete(PARTS, "standard")
    policy = Policy(model)
    policy.save(tmp_path / "p.npz")
    obs = [seen(task.obs, n) for n in range(1, 9)]
    wanted = [policy(one) for one in obs]
    for one in (policy, iq.Policy.load(tmp_path / "p.npz")):
        with ThreadPoolExecutor(4) as pool:
            for found, expected in zip(pool.map(one, obs), wanted, strict=True):
                np.testing.assert_array_equal(found, expected)
        for found, expected in zip(map(pickle.loads(pickle.dumps(one)), obs), wanted, strict=True):
            np.testing.assert_array_equal(found, expected)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        found = pool.submit(iq.Policy.load(tmp_path / "p.npz"), obs[3]).result()
        np.testing.assert_array_equal(found, wanted[3])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"nonsense"])
def test_file_without_a_policy_is_rejected(tmp_path, content):
    (tmp_path / "p.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"p\.npz is no policy"):
        Policy.load(tmp_path / "p.npz")
    np.savez(tmp_path / "q.npz", a=np.zeros(3))
    with pytest.raises(InputError, match=r"q\.npz is no policy .*iqlearn export"):
        Policy.load(tmp_path / "q.npz")


@pytest.mark.parametrize("make", [discrete, continuous])
def test_incomplete_policy_file_is_rejected_on_load(make, tmp_path):
    Policy(make()[0]).save(tmp_path / "p.npz")
    with np.load(tmp_path / "p.npz") as file:
        whole = dict(file)
    about = json.loads(str(whole["about"]))
    broken = [{n: a for n, a in whole.items() if n != name} for name in whole if name != "limit"]
    facts = [{n: v for n, v in about.items() if n != name} for name in about if name not in ("activation", "whole")]
    broken += [whole | {"about": np.array(json.dumps(part))} for part in facts]
    broken += [whole | {name: np.full_like(whole[name], np.nan)} for name in whole if name.startswith("weight")]
    broken += [whole | {name: np.zeros((3, 7, 2))} for name in ("mean", "weight/0", "bias/1")]
    for arrays in broken:
        np.savez(tmp_path / "q.npz", **arrays)
        with pytest.raises(InputError, match=r"q\.npz is no policy .*iqlearn export"):
            Policy.load(tmp_path / "q.npz")
    first, second = (Policy.load(tmp_path / "p.npz", seed=3) for _ in range(2))
    obs = np.zeros((50, *first.about["obs"][0]["shape"]))
    np.testing.assert_array_equal(first(obs, False), portable.Policy(tmp_path / "p.npz", 3)(obs, False))
    np.testing.assert_array_equal(first(obs, False), (second(obs, False), second(obs, False))[1])


@pytest.mark.parametrize(
    ("obs", "told"),
    [
        ([1.0, 2.0], r"^observation has shape \(2,\); expected \(3,\), or rows"),
        ([[[1.0, 2.0, 3.0]]], r"observation has shape \(1, 1, 3\); expected"),
        ([1.0, 2.0, float("nan")], "not finite"),
        ([1.0, 2.0, 1e300], "not finite"),
        ([1.0, 2.0, 3j], "observation holds complex128; expected numbers"),
        (["a", "b", "c"], r"observation holds <U1; expected numbers"),
        (None, "observation holds object; expected numbers"),
        ({"x": [1.0, 2.0, 3.0]}, "the observation has the parts x; expected a single array"),
        (([1.0], [2.0]), "the observation has the parts 0, 1; expected a single array"),
    ],
)
def test_portable_policy_rejects_invalid_observations(obs, told, tmp_path):
    Policy(continuous()[0]).save(tmp_path / "p.npz")
    with pytest.raises(ValueError, match=told):
        Policy.load(tmp_path / "p.npz")(obs)


def test_portable_policy_rejects_the_same_observations_as_the_policy(tmp_path):
    """Values that the type cannot hold, invalid choices, and missing or extra parts."""
    spec = {"cell": ArraySpec((), "int32", 4), "image": ArraySpec((2, 2), "uint8")}
    policy = Policy(discrete(spec)[0])
    policy.save(tmp_path / "p.npz")
    loaded, image = Policy.load(tmp_path / "p.npz"), np.zeros((2, 2), np.uint8)
    good = {"cell": 3, "image": image}
    assert loaded(good) == policy(good)
    wrong = [{"cell": cell, "image": image} for cell in (4, -1, 1.5, 2**40)]
    wrong += [{"cell": 0, "image": image.astype(float) + value} for value in (300, -3, 0.5)]
    wrong += [{"cell": 0}, good | {"more": 1}, (3, image), None]
    for obs in wrong:
        with pytest.raises(InputError):
            policy(obs)
        with pytest.raises(ValueError, match="observation"):
            loaded(obs)


def test_damaged_policy_file_is_rejected(tmp_path):
    Policy(continuous()[0]).save(tmp_path / "p.npz")
    with np.load(tmp_path / "p.npz") as file:
        whole = dict(file)
    about = json.loads(str(whole["about"]))
    changes = [{name: None} for name in whole] + [
        {"weight/0": whole["weight/0"][:, 1:]},
        {"mean": whole["mean"] * np.nan},
    ]
    changes += [{"about": np.array(json.dumps({k: v for k, v in about.items() if k != name}))} for name in NEEDED]
    changes += [{"about": np.array(json.dumps(about | {"activation": "gelu"}))}, {"about": np.array("[1]")}]
    for change in changes:
        np.savez(tmp_path / "q.npz", **{name: x for name, x in (whole | change).items() if x is not None})
        with pytest.raises(ValueError, match=r"q\.npz is no exported policy, or damaged"):
            portable.Policy(tmp_path / "q.npz")
        with pytest.raises(InputError, match=r"q\.npz is no policy"):
            Policy.load(tmp_path / "q.npz")


NEEDED = ("format", "obs", "layers", "activation", "layer_norm", "limited", "discrete", "squash", "whole")
"""Facts that the file of a policy with continuous actions must hold."""


def test_export_command_prints_the_largest_error(cartpole_file, tmp_path, capsys, sentence):
    run, out = tmp_path / "run", tmp_path / "policy.onnx"
    short = ("--steps", "2", "--evaluations", "1", "--network.hidden", "8", "--preset", "paper")
    cli.main(["train", "--demos", str(cartpole_file), "--out", str(run), *short])
    capsys.readouterr()
    cli.main(["export", str(run), "--format", "onnx", "--out", str(out), "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert facts["inputs"] == {"obs": [4]}
    assert facts["outputs"] == ["action", "q"]
    assert max(facts["largest_error"].values()) <= 1e-5
    assert facts["largest_error"].keys() == {"random", "demonstrations"}
    assert "exists; choose another file" in sentence("export", run, "--format", "onnx", "--out", out)
    assert "invalid choice: 'pt'" in sentence("export", run, "--format", "pt", "--out", out, "--overwrite")


def test_largest_error_ignores_ties_and_is_infinite_for_nonfinite_numbers():
    ours = np.array([0, 1]), np.array([[1.0, 1.0 - 1e-6], [0.0, 2.0]])
    assert exports.base.largest_error(ours, (np.array([1, 1]), ours[1])) <= 1e-6
    assert exports.base.largest_error(ours, (np.array([0, 0]), ours[1])) == 1.0
    assert exports.base.largest_error([np.ones(1)], [np.array([np.nan])]) == float("inf")
    assert exports.base.largest_error([np.ones(1)], [np.ones(2)]) == float("inf")


def test_metadata_of_a_saved_policy_does_not_change_its_actions(tmp_path):
    model, task = continuous()
    Policy(model).save(tmp_path / "p.npz", {"format": "hopper", "obs": "x", "run": "r"})
    loaded = Policy.load(tmp_path / "p.npz")
    assert loaded.about["run"] == "r"
    np.testing.assert_allclose(loaded(seen(task.obs)), Policy(model)(seen(task.obs)), atol=1e-5)
    with pytest.raises(InputError, match="about holds what JSON cannot"):
        Policy(model).save(tmp_path / "q.npz", {"x": object()})
    np.save(tmp_path / "a.npy", np.zeros(3))
    np.savez(tmp_path / "three.npz", about=np.array("3"))
    np.savez(tmp_path / "none.npz", about=np.array("{}"))
    for name in ("a.npy", "three.npz", "none.npz"):
        with pytest.raises(InputError, match="is no policy"):
            Policy.load(tmp_path / name)
