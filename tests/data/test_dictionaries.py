"""Observations that are dictionaries, categories or bytes: reading, checking, selecting and saving."""

import json

import jax
import numpy as np
import pytest

from iqlearn.data.demos import Demos
from iqlearn.errors import InputError
from iqlearn.types import ArraySpec, TaskSpec

NESTED = {
    "goal": ArraySpec((2,)),
    "arm": {"camera": ArraySpec((2, 2), "uint8"), "cell": ArraySpec((), "int32", 9), "flags": ArraySpec((3,), "int32")},
}


@pytest.fixture
def nested_arrays(counting_arrays) -> dict[str, np.ndarray]:
    """`counting_arrays` with observations of several arrays, each of which encodes the time."""
    arrays = {name: array for name, array in counting_arrays.items() if name not in ("obs", "next_obs")}
    for field in ("obs", "next_obs"):
        seen = counting_arrays[field]
        time = seen[:, 1].astype(np.int64)
        arrays[f"{field}/goal"] = seen.astype(np.float64)
        arrays[f"{field}/arm/camera"] = np.repeat(time, 4).reshape(-1, 2, 2).astype(np.uint8)
        arrays[f"{field}/arm/cell"] = time
        arrays[f"{field}/arm/flags"] = np.arange(3) < time[:, None]
    return arrays


@pytest.fixture
def nested(nested_arrays) -> Demos:
    return Demos.from_arrays(nested_arrays, source="nested.npz")


def same(a: object, b: object) -> bool:
    """Whether two trees have the same parts, dtypes and numbers."""
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def test_dtypes_are_converted_to_those_of_a_task(nested):
    dtypes = jax.tree.map(lambda x: str(x.dtype), nested.obs)
    assert dtypes == {"goal": "float32", "arm": {"camera": "uint8", "cell": "int32", "flags": "int32"}}
    assert nested.obs_spec == {**NESTED, "arm": {**NESTED["arm"], "cell": ArraySpec((), "int32", 8)}}


def test_saved_dictionary_observations_load_unchanged(nested, tmp_path):
    nested.subsample(2, 1).save(tmp_path / "nested.npz")
    with np.load(tmp_path / "nested.npz") as file:
        assert {"obs/goal", "next_obs/arm/cell", "initial_obs/arm/camera"} <= set(file)
    loaded = Demos.load(tmp_path / "nested.npz")
    for name in ("obs", "next_obs", "initial_obs"):
        assert same(getattr(loaded, name), getattr(nested.subsample(2, 1), name))
    assert loaded.sha256() == nested.subsample(2, 1).sha256()


def test_from_arrays_accepts_nested_dictionaries(nested, nested_arrays):
    arrays = {name: array for name, array in nested_arrays.items() if "/" not in name}
    given = Demos.from_arrays({**arrays, "next_obs": nested.next_obs, "obs": nested.obs}, source="python")
    assert given.sha256() == nested.sha256()


def test_take_and_subsample_keep_every_array(nested, counting):
    part, plain = (demos.take(2, seed=3).subsample(2, seed=5) for demos in (nested, counting))
    np.testing.assert_array_equal(part.obs["goal"], plain.obs)
    np.testing.assert_array_equal(part.next_obs["arm"]["cell"], plain.next_obs[:, 1])
    np.testing.assert_array_equal(part.initial_obs["goal"], plain.initial_obs)
    assert (len(part), part.episodes, part.lengths.tolist()) == (len(plain), 2, plain.lengths.tolist())


def test_transitions_are_trees_of_jax_arrays(nested):
    seen = nested.transitions
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(seen))
    assert same(jax.device_get(seen.obs), nested.obs)
    assert same(jax.device_get(seen.next_obs), nested.next_obs)


def test_sha256_depends_on_every_array_and_its_name(nested_arrays):
    known = {Demos.from_arrays(nested_arrays).sha256()}
    for name in (name for name in nested_arrays if "/" in name):
        changed = nested_arrays[name].copy()
        changed.flat[0] = not changed.flat[0]
        known.add(Demos.from_arrays({**nested_arrays, name: changed}).sha256())
    renamed = {name.replace("goal", "aim"): array for name, array in nested_arrays.items()}
    assert len(known | {Demos.from_arrays(renamed).sha256()}) == 10


def test_sha256_does_not_depend_on_the_order_of_arrays(nested, nested_arrays):
    assert Demos.from_arrays(dict(reversed(nested_arrays.items()))).sha256() == nested.sha256()


def test_summary_reports_shape_and_dtype_of_each_array(nested):
    facts = nested.summary()
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["observation_shape"] == {"goal": [2], "arm": {"camera": [2, 2], "cell": [], "flags": [3]}}
    assert facts["observation_dtype"]["arm"] == {"camera": "uint8", "cell": "int32", "flags": "int32"}
    assert facts["contiguous"]
    assert facts["remarks"] == []
    assert not nested.subsample(2).summary()["contiguous"]


def without(*names):
    return lambda a: {name: array for name, array in a.items() if name not in names}


def put(name, change):
    return lambda a: {**a, name: change(a.get(name))}


def spoilt(value, *place):
    def change(array):
        array = array.copy()
        array[place] = value
        return array

    return change


FAULTS = {
    "no observations": (without("obs/goal", "obs/arm/camera", "obs/arm/cell", "obs/arm/flags"), "'obs' is missing"),
    "missing in next_obs": (without("next_obs/goal"), "'next_obs/goal' is missing; expected it beside 'obs/goal'"),
    "missing in obs": (without("obs/arm/cell"), "'obs/arm/cell' is missing; expected it beside 'next_obs/arm/cell'"),
    "missing in initial_obs": (put("initial_obs/goal", lambda _: np.zeros((3, 2))), "'initial_obs/arm/camera' is mis"),
    "array and dictionary": (put("obs", lambda _: np.zeros((15, 2))), "'obs' stands beside 'obs/arm/camera'"),
    "array and dictionary within": (put("obs/arm", lambda _: np.zeros((15, 2))), "'obs/arm' stands beside 'obs/arm/"),
    "dtype": (put("obs/goal", lambda a: a.astype(str)), "'obs/goal' has dtype <U32; expected floats or integers"),
    "two dtypes": (put("next_obs/arm/camera", lambda a: a.astype(float)), "'next_obs/arm/camera' has shape (15, 2, 2)"),
    "flat floats": (put("obs/goal", lambda a: a[:, 0]), "'obs/goal' has shape (15,); expected (15, coordinates); arr"),
    "too few": (put("obs/arm/cell", lambda a: a[1:]), "'obs/arm/cell' has shape (14,); expected (15,)."),
    "one too many": (
        put("obs/goal", lambda a: np.concatenate([a, a[:1]])),
        "'obs/goal' has shape (16, 2); expected (15, coordinates); of an episode's T + 1 observations obs/goal[:-1]",
    ),
    "number of initial_obs": (
        lambda a: {**a, **{f"initial_{name}": array[:2] for name, array in a.items() if name.startswith("obs/")}},
        "'initial_obs/goal' has shape (2, 2) and dtype float32; expected (3, 2) and float32 as in 'obs/goal'",
    ),
    "nothing": (put("obs/goal", lambda a: a[:, :0]), "'next_obs/goal' has shape (15, 2)"),
    "NaN": (put("obs/goal", spoilt(np.nan, 3, 1)), "'obs/goal' at index [3, 1] is nan; expected a finite number"),
    "below the first": (put("next_obs/arm/cell", spoilt(-1, 4)), "'next_obs/arm/cell' at index 4 is -1; expected the"),
    "beyond int32": (put("obs/arm/cell", spoilt(2**31, 4)), "'obs/arm/cell' at index 4 is 2147483648; expected an int"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_message_names_the_file_and_the_field(nested_arrays, tmp_path, fault):
    change, words = FAULTS[fault]
    np.savez(tmp_path / "bad.npz", **change(nested_arrays))
    with pytest.raises(InputError) as caught:
        Demos.load(tmp_path / "bad.npz")
    text = str(caught.value)
    assert f"bad.npz: field {words}" in text
    assert "\n" not in text
    assert "expected" in text
    assert text.endswith(".")


def test_matching_task_is_accepted(nested):
    nested.check_task(TaskSpec(NESTED, 3), "Toy-v0")
    nested.check_task(nested.task_spec(), "Toy-v0")


def with_part(name: str, part: ArraySpec) -> dict:
    return {**NESTED, "arm": {**NESTED["arm"], name: part}}


WORDS = "{goal: (2,), arm: {camera: (2, 2), cell: one of 9, flags: (3,)}}"
DISAGREEMENTS = {
    "one array": (ArraySpec((2,)), "field 'obs' is missing; expected (2,) as Toy-v0 has."),
    "missing part": ({**NESTED, "wind": ArraySpec((1,))}, "field 'obs/wind' is missing; expected {goal: (2,), arm"),
    "part too many": ({"goal": NESTED["goal"]}, "'obs/arm/camera' is no part of the environment's observations; expec"),
    "shape": ({**NESTED, "goal": ArraySpec((3,))}, "'obs/goal' holds observations of shape (2,); expected (3,) as Toy"),
    "kind": (with_part("camera", ArraySpec((2, 2))), "'obs/arm/camera' holds uint8; expected float32 as Toy-v0 has"),
    "no category": ({**NESTED, "goal": ArraySpec((), "int32", 4)}, "shape (2,); expected () (one of 4) as Toy-v0 has"),
    "categories": (
        with_part("cell", ArraySpec((), "int32", 7)),
        "field 'next_obs/arm/cell' at index 14 is 7; expected 0 to 6, the categories of Toy-v0.",
    ),
}


@pytest.mark.parametrize("case", DISAGREEMENTS)
def test_task_mismatch_error_names_the_field_and_the_expected_value(nested, case):
    spec, words = DISAGREEMENTS[case]
    with pytest.raises(InputError) as caught:
        nested.check_task(TaskSpec(spec, 3), "Toy-v0")
    text = str(caught.value)
    assert text.startswith("nested.npz: ")
    assert words in text
    assert "\n" not in text


def test_task_with_integers_of_another_width_is_accepted(nested):
    nested.check_task(TaskSpec(with_part("camera", ArraySpec((2, 2), "int32")), 3), "Toy-v0")


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8, np.uint64])
def test_integers_of_one_dimension_are_categories(counting_arrays, dtype):
    cell, after = (counting_arrays[name][:, 1].astype(dtype) for name in ("obs", "next_obs"))
    demos = Demos.from_arrays({**counting_arrays, "obs": cell, "next_obs": after}, source="cells.npz")
    assert demos.task_spec() == TaskSpec(ArraySpec((), "int32", 8), 3)
    assert demos.transitions.obs.dtype == np.int32
    assert demos.initial_obs.tolist() == [0, 0, 0]
    demos.check_task(TaskSpec(ArraySpec((), "int32", 8), 3), "Toy-v0")
    with pytest.raises(InputError, match=r"^cells\.npz: field 'obs' at index 14 is 6; expected 0 to 5, the categories"):
        demos.check_task(TaskSpec(ArraySpec((), "int32", 6), 3), "Toy-v0")
    with pytest.raises(InputError, match=r"^cells\.npz: field 'obs' holds observations of shape \(\); expected \(1,\)"):
        demos.check_task(TaskSpec(ArraySpec((1,)), 3), "Toy-v0")


def test_boolean_observations_become_categories_or_int32_vectors(counting_arrays):
    flags = counting_arrays["obs"] > 3
    one = Demos.from_arrays({**counting_arrays, "obs": flags[:, 0], "next_obs": flags[:, 0]})
    assert one.obs_spec == ArraySpec((), "int32", 2)
    several = Demos.from_arrays({**counting_arrays, "obs": flags, "next_obs": flags})
    assert several.obs_spec == ArraySpec((2,), "int32")


def test_uint16_observations_become_int32(counting_arrays):
    obs = counting_arrays["obs"].astype(np.uint16)
    demos = Demos.from_arrays({**counting_arrays, "obs": obs, "next_obs": obs}, source="whole.npz")
    assert demos.obs_spec == ArraySpec((2,), "int32")
    with pytest.raises(InputError, match=r"^whole\.npz: field 'obs' holds int32; expected float32 as Toy-v0 has"):
        demos.check_task(TaskSpec(ArraySpec((2,)), 3), "Toy-v0")
