"""Actions that were recorded some steps early or late are reported; correctly recorded ones are not."""

import re
from dataclasses import replace

import numpy as np
import pytest

import iqlearn as iq
from iqlearn.data.alignment import effects, shifted
from iqlearn.data.demos import Demos


@pytest.fixture(scope="module")
def driven():
    """A linear system under feedback control with noise."""
    rng = np.random.default_rng(0)
    a, b = np.array([[1.0, 0.1], [-0.1, 0.95]]), np.array([[0.0, 0.02], [0.3, 0.0]])
    state, rows = np.zeros(2), []
    for _ in range(600):
        act = -0.8 * state + rng.normal(size=2)
        after = a @ state + b @ act + 0.01 * rng.normal(size=2)
        rows.append((state, act, after))
        state = after
    obs, act, after = (np.array(part, np.float32) for part in zip(*rows, strict=True))
    last = np.arange(600) % 200 == 199
    ends = {"term": np.zeros(600, bool), "trunc": last, "ep": np.arange(600) // 200}
    return Demos.from_arrays({"obs": obs, "act": act, "next_obs": after, **ends})


def moved(demos, by):
    """The demonstrations with each action moved `by` rows later."""
    return replace(demos, act=np.roll(demos.act, by, axis=0))


@pytest.mark.parametrize(
    ("by", "told"),
    [
        (0, ""),
        (1, "1 step late: .* 1 row after"),
        (2, "2 steps late: .* 2 rows after"),
        (-1, "1 step early"),
        (-2, "2 s"),
    ],
)
def test_action_shift_of_a_linear_system_is_reported(driven, by, told):
    found = shifted(moved(driven, by))
    assert (found == "") == (told == "")
    assert re.search(told, found)


@pytest.mark.parametrize(("by", "told"), [(0, ""), (1, "1 step late"), (-1, "1 step early")])
def test_shift_of_discrete_actions_is_reported(by, told):
    found = shifted(moved(iq.Demos.builtin("CartPole-v1"), by))
    assert told in found
    assert bool(found) == bool(told)


@pytest.mark.parametrize(
    "task", ["Ant-v5", "HalfCheetah-v5", "HalfCheetah-v5-hard", "Hopper-v5", "InvertedPendulum-v5", "LunarLander-v3",
             "Walker2d-v5", "Walker2d-v5-hard"]
)  # fmt: skip
def test_no_shift_is_reported_for_correctly_recorded_experts(task, expert_demos):
    demos = expert_demos(task)
    assert shifted(demos) == ""
    assert shifted(demos.take(1)) == ""


def test_no_shift_is_reported_for_insufficient_data(driven):
    assert effects(driven.take(1).subsample(2)) == {}
    assert effects(driven.without_actions()) == {}
    still = replace(driven, obs=np.zeros_like(driven.obs), next_obs=np.zeros_like(driven.obs))
    assert effects(still) == {}
    assert shifted(still) == ""


def test_shift_appears_in_remarks_and_summary(driven):
    assert any("recorded 1 step late" in remark for remark in moved(driven, 1).remarks())
    assert any("recorded 1 step late" in remark for remark in moved(driven, 1).summary()["remarks"])
    assert not any("recorded" in remark for remark in driven.remarks())
