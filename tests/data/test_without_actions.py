"""Demonstrations without actions support everything that does not need actions."""

import json

import numpy as np
import pytest

from iqlearn.data.demos import Demos
from iqlearn.errors import InputError
from iqlearn.types import ArraySpec, Bounds, TaskSpec


@pytest.fixture
def watched(counting_arrays) -> Demos:
    arrays = {name: array for name, array in counting_arrays.items() if name != "act"}
    return Demos.from_arrays(arrays, source="watched.npz")


def test_a_file_without_actions_is_read_and_written(watched, counting, tmp_path):
    watched.save(tmp_path / "watched.npz")
    loaded = Demos.load(tmp_path / "watched.npz")
    assert loaded.act is None
    assert set(loaded.arrays()) == set(counting.arrays()) - {"act"}
    assert loaded.sha256() == watched.sha256() == counting.without_actions().sha256()
    assert watched.sha256() != counting.sha256()


def test_take_and_subsample_work_without_actions(watched, counting):
    part, whole = (demos.take(2, seed=1).subsample(2, seed=1) for demos in (watched, counting))
    assert part.act is None
    np.testing.assert_array_equal(part.obs, whole.obs)
    assert part.sha256() == whole.without_actions().sha256()


def test_summary_reports_no_actions(watched):
    facts = watched.summary()
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert (facts["actions"], facts["action_range"]) == ("none", None)


def test_observations_are_checked_against_the_task(watched):
    watched.check_task(TaskSpec(ArraySpec((2,)), 3), "Toy-v0")
    watched.check_task(TaskSpec(ArraySpec((2,)), Bounds((-1.0,), (1.0,))), "Toy-v0")
    with pytest.raises(InputError, match=r"watched\.npz: field 'obs'"):
        watched.check_task(TaskSpec(ArraySpec((3,)), 3), "Toy-v0")


@pytest.mark.parametrize("name", ["transitions", "discrete", "actions"])
def test_reading_actions_raises_an_error_that_names_the_missing_field(watched, name):
    with pytest.raises(InputError, match=r"^watched\.npz: field 'act' is missing; expected .*--state-only"):
        getattr(watched, name)


def test_task_spec_without_actions_asks_for_the_environment(watched):
    with pytest.raises(
        InputError, match=r"watched\.npz: the actions of the task are unknown.*--env \(in Python env=\.\.\.\)\.$"
    ):
        watched.task_spec()


@pytest.mark.parametrize(
    ("actions", "shape", "dtype"), [(3, (15,), np.int64), (Bounds((-1.0, 0.0), (1.0, 2.0)), (15, 2), np.float32)]
)
def test_placeholder_actions_are_zeros_of_the_task_action_type(watched, counting, actions, shape, dtype):
    task = TaskSpec(ArraySpec((2,)), actions)
    filled = watched.with_placeholders(task)
    assert (filled.actions.shape, filled.actions.dtype) == (shape, dtype)
    assert not filled.actions.any()
    assert filled.transitions.action.shape == shape
    assert counting.with_placeholders(task) is counting, "actions that are there stay"
