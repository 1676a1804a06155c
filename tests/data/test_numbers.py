"""Numbers that suit files but not networks: too many choices, out of range, constant, imprecise or extreme."""

import warnings

import numpy as np
import pytest

import iqlearn as iq
from iqlearn.data.demos import Demos
from iqlearn.errors import InputError
from iqlearn.types import ArraySpec, TaskSpec

SHORT = {"steps": 4, "evaluations": 1, "quiet": True}


def test_with_choices_sets_the_number_of_actions(counting):
    assert counting.task_spec().actions == 3
    stated = counting.with_choices(5)
    assert stated.task_spec().actions == stated.take(1).subsample(2).task_spec().actions == 5
    assert stated.sha256() == counting.sha256()


@pytest.mark.parametrize(("n", "told"), [(2, r"'act' at index 2 is 2; expected 0 to 1, as --actions"), (0, "at least")])
def test_with_choices_rejects_invalid_numbers(counting, n, told):
    with pytest.raises(InputError, match=told):
        counting.with_choices(n)


def test_stated_number_of_actions_must_match_the_environment(counting, counting_arrays):
    counting.with_choices(4).check_task(TaskSpec(ArraySpec((2,)), 4), "Toy-v0")
    with pytest.raises(InputError, match=r"--actions is 4; expected 3 as Toy-v0 has, leave --actions out"):
        counting.with_choices(4).check_task(TaskSpec(ArraySpec((2,)), 3), "Toy-v0")
    with pytest.raises(InputError, match=r"--actions is 4; expected none, because .* continuous"):
        Demos.from_arrays({**counting_arrays, "act": np.zeros((15, 1))}).with_choices(4)


@pytest.mark.parametrize(
    ("value", "field", "remedy"),
    [
        (10_000, "act", "below 1,000 where .*--actions"),
        (10_000, "obs", "below 1,000 where .*--env"),
        (10_000, "next_obs", "below 1,000 where .*--env"),
        (10**6, "act", r"below 100,000\."),
        (10**6, "obs", r"below 100,000\."),
    ],
)
def test_huge_action_and_category_numbers_are_rejected(counting_arrays, value, field, remedy):
    cells = np.arange(15) % 4
    huge = np.where(np.arange(15) == 5, value, cells)
    demos = Demos.from_arrays({**counting_arrays, "obs": cells, "next_obs": cells, field: huge}, "cells.npz")
    with pytest.raises(InputError, match=rf"cells.npz: field '{field}' at index 5 is {value}; expected .*{remedy}"):
        iq.learn(iq.BC(), demos, **SHORT)
    if field == "act" and value < 10**6:
        assert demos.with_choices(value + 1).task_spec().actions == value + 1


@pytest.mark.parametrize("make", [lambda n: TaskSpec(ArraySpec((2,)), n), lambda n: ArraySpec((), "int32", n)])
def test_specs_with_more_than_100_000_choices_are_rejected(make):
    make(100_000)
    with pytest.raises(InputError, match=r"There are 100,001 .*; expected at most 100,000, describe .* a Box"):
        make(100_001)


def test_with_choices_rejects_a_billion_actions(counting):
    with pytest.raises(InputError, match=r"There are 1,000,000,000 discrete actions \(--actions\); expected at most"):
        counting.with_choices(10**9)


@pytest.mark.parametrize(
    ("field", "value", "dtype"),
    [
        ("act", 2**32 + 1, np.int64),
        ("act", 2**31, np.uint32),
        ("ep", 2**63, np.uint64),
        ("obs", 2**31, np.int64),
        ("obs", -(2**31) - 1, np.int64),
        ("rew", 1e39, np.float64),
    ],
)
def test_out_of_range_numbers_are_rejected_with_their_original_value(counting_arrays, field, value, dtype):
    array = counting_arrays[field].astype(dtype)
    array[-1] = value
    arrays = {**counting_arrays, field: array}
    if field == "obs":
        arrays["next_obs"] = arrays["next_obs"].astype(dtype)
    with pytest.raises(
        InputError, match=rf"'{field}' at index .*is {str(value)[:8]}.*; expected .* of \d\d bits".replace("+", ".")
    ):
        Demos.from_arrays(arrays)


LEAST, GREATEST = -(2**63), 2**63 - 1


def test_episode_numbers_may_be_any_64_bit_integers(counting_arrays):
    demos = Demos.from_arrays({**counting_arrays, "ep": np.repeat([LEAST, 0, GREATEST], (5, 3, 7))})
    assert demos.lengths.tolist() == [5, 3, 7]
    assert demos.initial_obs.tolist() == [[2, 0], [3, 0], [9, 0]]
    assert demos.leave_out(0).ep.tolist() == [LEAST] * 5 + [GREATEST] * 7
    assert demos.take(2).subsample(2).episodes == 2
    with pytest.raises(InputError, match=r"'ep' at index 5 is -9223372036854775808; expected .* never fall"):
        Demos.from_arrays({**counting_arrays, "ep": np.repeat([GREATEST, LEAST, 0], (5, 3, 7))})


def remarks(counting_arrays, **changes) -> list[str]:
    return Demos.from_arrays({**counting_arrays, **changes}).remarks()


def test_ordinary_numbers_have_no_remarks(counting_arrays):
    assert remarks(counting_arrays) == []
    angles = np.sin(np.linspace(0, 9, 30)).reshape(15, 2)
    assert remarks(counting_arrays, act=angles) == []
    flags = np.stack([np.arange(15) == 7, counting_arrays["obs"][:, 1]], axis=1)
    assert remarks(counting_arrays, obs=flags, next_obs=np.roll(flags, -1, axis=0))[1:] == []


def test_constant_coordinates_are_reported(counting_arrays):
    act = np.zeros((15, 3))
    act[:, 1] = np.arange(15)
    assert remarks(counting_arrays, act=act) == ["2 of 3 coordinates of field 'act' are constant (the first is 0)"]


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_timestamps_that_lose_precision_in_float32_are_reported(counting_arrays, dtype):
    """At 1.7e9 seconds, float32 values are 128 seconds apart."""
    time = 1_700_000_000 + np.arange(16, dtype=dtype) * 60
    obs, next_obs = (np.stack([counting_arrays["obs"][:, 1], t], axis=1) for t in (time[:-1], time[1:]))
    (told,) = (line for line in remarks(counting_arrays, obs=obs, next_obs=next_obs) if "rows" not in line)
    assert told.startswith("1 of 2 coordinates of field 'obs' are nearly constant relative to their size")
    assert "subtract an offset" in told
    obs[:, 1] -= 1_700_000_000
    assert remarks(counting_arrays, obs=obs, next_obs=obs)[1:] == []


@pytest.mark.parametrize("field", ["obs", "next_obs", "act"])
@pytest.mark.parametrize("value", [1e30, -3e38])
def test_extreme_outliers_are_reported(counting_arrays, field, value):
    arrays = {**counting_arrays, "act": np.sin(np.arange(30)).reshape(15, 2)}
    arrays[field] = arrays[field].copy()
    arrays[field][11, 1] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = remarks(arrays)
    assert any(f"field {field!r} at row 11, coordinate 1 is {value:g}, an outlier" in line for line in found)


def test_training_warns_of_remarks(counting_arrays):
    act = np.where(np.arange(15) == 3, 1e30, np.sin(np.arange(15)))[:, None]
    demos = Demos.from_arrays({**counting_arrays, "act": act}, "wild.npz")
    with pytest.warns(UserWarning, match=r"^wild.npz: field 'act' at row 3, coordinate 0 is 1e\+30, an outlier"):
        iq.learn(iq.BCContinuous(), demos, **SHORT)


def test_unusual_but_valid_demonstrations_can_be_trained_on(counting_arrays):
    """One-step episodes, a constant column, actions that the expert never took."""
    arrays = {**counting_arrays, "ep": np.arange(15), "term": np.ones(15, bool), "trunc": np.zeros(15, bool)}
    arrays["obs"][:, 0] = arrays["next_obs"][:, 0] = 7.0
    arrays["act"] = arrays["act"] % 2 * 4
    demos = Demos.from_arrays(arrays).with_choices(6)
    run = iq.learn(iq.IQLearn(), demos, **SHORT)
    assert run.task.actions == 6
    assert np.isfinite(run.reward(demos)).all()
