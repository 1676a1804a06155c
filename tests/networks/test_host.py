"""Input arrays: every kind of array gives the same numbers, and batches of every size need few compiled programs."""

import jax
import jax.random as jr
import numpy as np
import pytest

from iqlearn import InputError, Network, Policy
from iqlearn.data.demos import Demos
from iqlearn.networks import encoders, host, policy
from iqlearn.networks.host import as_arrays, in_blocks
from iqlearn.networks.soft_q import DiscreteSoftQ
from iqlearn.rewards import recovered
from iqlearn.rewards.base import Ends
from iqlearn.rewards.recovered import RecoveredReward
from iqlearn.types import ArraySpec, TaskSpec, Transitions

TASK = TaskSpec(ArraySpec((2,)), 3)


@pytest.fixture(scope="module")
def model() -> DiscreteSoftQ:
    return DiscreteSoftQ(TASK, Network(hidden=(16,)), 1, encoders.blank(TASK.obs, "none"), jr.key(0), 1.0, 5.0)


def mapped(array: np.ndarray, folder) -> np.ndarray:
    path = folder / f"{array.dtype}{array.ndim}{len(list(folder.iterdir()))}.npy"
    np.save(path, array)
    return np.load(path, mmap_mode="r")


def frozen(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


KINDS = {
    "big-endian": lambda x, _: x.astype(x.dtype.newbyteorder(">")),
    "Fortran order": lambda x, _: np.asfortranarray(x),
    "wide": lambda x, _: x.astype(np.float64 if x.dtype.kind == "f" else np.int64 if x.dtype.kind == "i" else x.dtype),
    "narrow": lambda x, _: x.astype(np.float16 if x.dtype.kind == "f" else np.int8 if x.dtype.kind == "i" else x.dtype),
    "read-only": lambda x, _: frozen(x),
    "memory-mapped": mapped,
    "strided": lambda x, _: np.repeat(x, 3, axis=0)[::3],
    "negative strides": lambda x, _: x[::-1].copy()[::-1],
    "lists": lambda x, _: x.tolist(),
    "of the device": lambda x, _: jax.numpy.asarray(x),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_array_kind_gives_the_same_demonstrations_actions_and_rewards(model, counting_arrays, tmp_path, kind):
    """All numbers are multiples of ½, so that narrow types are exact."""
    arrays = {**counting_arrays, "obs": counting_arrays["obs"] / 2, "next_obs": counting_arrays["next_obs"] / 2}
    other = {name: KINDS[kind](array, tmp_path) for name, array in arrays.items()}
    demos, same = Demos.from_arrays(arrays), Demos.from_arrays(other)
    assert same.sha256() == demos.sha256()
    for one, two in zip(demos.arrays().values(), same.arrays().values(), strict=True):
        assert (one.dtype, one.tolist()) == (two.dtype, two.tolist())
        assert two.dtype.isnative
        assert two.flags.c_contiguous
    act, reward = Policy(model), RecoveredReward(model, Ends(0.9, True), TASK)
    np.testing.assert_array_equal(act(other["obs"]), act(arrays["obs"]))
    np.testing.assert_array_equal(act.predict(other["obs"][3])[0], act.predict(arrays["obs"][3])[0])
    rows, others = (Transitions(a["obs"], a["act"], a["next_obs"], a["term"]) for a in (arrays, other))
    np.testing.assert_array_equal(reward(others), reward(rows))
    np.testing.assert_array_equal(reward(same), reward(rows))


def test_demonstrations_are_copies(counting_arrays):
    """Writing into the arrays afterwards does not change the demonstrations."""
    images = np.zeros((15, 2, 2), np.uint8)
    arrays = {**counting_arrays, "obs": images, "next_obs": images}
    demos = Demos.from_arrays(arrays)
    before = demos.sha256()
    for array in arrays.values():
        array[...] = array[::-1]
    images += 1
    assert demos.sha256() == before


def test_discrete_actions_may_be_a_single_column(model, counting_arrays):
    column = counting_arrays["act"][:, None]
    demos = Demos.from_arrays({**counting_arrays, "act": column})
    assert demos.discrete
    assert demos.sha256() == Demos.from_arrays(counting_arrays).sha256()
    reward = RecoveredReward(model, Ends(0.9, True), TASK)
    given = Transitions(demos.obs, column, demos.next_obs, demos.term)
    np.testing.assert_array_equal(reward(given), reward(demos))


@pytest.mark.parametrize(
    ("spec", "values"),
    [
        (ArraySpec((2,), "uint8"), [[256, 0]]),
        (ArraySpec((2,), "uint8"), [[-1, 0]]),
        (ArraySpec((2,), "int32"), [[2**31, 0]]),
        (ArraySpec((2,), "int32"), [[0.5, 0.0]]),
        (ArraySpec((2,), "int32"), [[np.nan, 0.0]]),
        (ArraySpec((2,)), [[1e300, 0.0]]),
        (ArraySpec((2,)), [["1.0", "2.0"]]),
        (ArraySpec((2,)), [[1.0, 2.0], [3.0]]),
        (ArraySpec((2,)), [[1j, 2.0]]),
        (ArraySpec((2,)), None),
        (ArraySpec((2,), "bool"), [[2, 0]]),
        (ArraySpec((), "int32", 3), [3]),
        (ArraySpec((), "int32", 3), [-1]),
    ],
)
def test_values_that_do_not_fit_are_refused_and_never_wrapped(spec, values):
    with pytest.raises(InputError, match=r"^Observations: values are .*; expected .*\.$"):
        as_arrays(values, spec, "Observations")


def test_batches_of_every_size_need_few_programs(model):
    """Otherwise 5,000 sizes would need more mapped memory regions than a process may have."""
    act, reward = Policy(model), RecoveredReward(model, Ends(0.9, True), TASK)
    x = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    before = policy._act._cache_size(), recovered._steps._cache_size()
    for n in range(40):
        assert act(x[:n]).shape == (n,)
        assert reward(Transitions(x[:n], np.zeros(n, int), x[:n], np.zeros(n, bool))).shape == (n,)
    assert policy._act._cache_size() - before[0] <= 7
    assert recovered._steps._cache_size() - before[1] <= 7


def test_padding_does_not_change_results(model):
    """Batches padded to one size give rows and samples that are equal bit for bit. Others are equal to rounding."""
    x = np.random.default_rng(0).normal(size=(256, 2)).astype(np.float32)
    for n in (129, 200, 255):
        np.testing.assert_array_equal(Policy(model)(x[:n], False), Policy(model)(x, False)[:n])
    whole = in_blocks(model.all_q, x)
    for n in (1, 2, 3, 5, 8, 100):
        np.testing.assert_allclose(in_blocks(model.all_q, x[:n]), whole[:n], atol=1e-5)


def test_large_batches_go_in_blocks(monkeypatch):
    monkeypatch.setattr(host, "BLOCK", 4)
    seen = []

    def double(tree):
        seen.append(len(tree["a"]))
        return 2 * tree["a"]

    tree = {"a": np.arange(11), "b": np.zeros((11, 3))}
    assert in_blocks(double, tree).tolist() == [2 * i for i in range(11)]
    assert seen == [4, 4, 4]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinite_observations_are_refused_by_policy_and_reward(model, counting_arrays, value):
    broken = counting_arrays["obs"].astype(np.float32)
    broken[1, 0] = value
    arrays = {name: counting_arrays[name] for name in ("act", "next_obs", "term")}
    reward = RecoveredReward(model, Ends(0.9, True), TASK)
    transitions = Transitions(broken, arrays["act"], arrays["next_obs"], arrays["term"])
    for door in (lambda: Policy(model)(broken[1]), lambda: Policy(model).predict(broken), lambda: reward(transitions)):
        with pytest.raises(InputError, match="NaN or infinite values"):
            door()
