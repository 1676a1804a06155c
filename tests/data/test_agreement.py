"""Demonstrations that do not fit the task are rejected in one sentence."""

import numpy as np
import pytest

from iqlearn.data.demos import Demos
from iqlearn.errors import InputError
from iqlearn.types import ArraySpec, TaskSpec

DISAGREEMENTS = {
    "width of observations": (TaskSpec(ArraySpec((4,)), 3), ("'obs'", "(2,)", "expected (4,)")),
    "images": (TaskSpec(ArraySpec((2, 1)), 3), ("'obs'", "(2,)", "expected (2, 1)")),
    "too few actions": (TaskSpec(ArraySpec((2,)), 2), ("'act'", "index 2 is 2", "expected 0 to 1")),
}


@pytest.mark.parametrize("case", DISAGREEMENTS)
def test_task_mismatch_error_names_the_field_and_the_expected_value(counting, case):
    spec, facts = DISAGREEMENTS[case]
    with pytest.raises(InputError) as caught:
        counting.check_task(spec, "Toy-v0")
    text = str(caught.value)
    assert "\n" not in text
    for fact in ("counting.npz", "Toy-v0", *facts):
        assert fact in text


def test_continuous_actions_are_rejected_for_a_discrete_task(counting_arrays):
    demos = Demos.from_arrays({**counting_arrays, "act": np.zeros((15, 1))}, source="floats.npz")
    with pytest.raises(
        InputError, match=r"floats\.npz: field 'act' holds vectors; expected integers, Toy-v0 has discrete actions"
    ):
        demos.check_task(TaskSpec(ArraySpec((2,)), 3), "Toy-v0")


def test_matching_task_is_accepted(counting):
    counting.check_task(TaskSpec(ArraySpec((2,)), 3), "Toy-v0")
    counting.check_task(TaskSpec(ArraySpec((2,)), 10), "Toy-v0")
