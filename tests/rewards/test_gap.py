"""The mean learnt reward of expert and policy, by hand: the reward of a step is its observation."""

from types import SimpleNamespace

import numpy as np
import pytest

from iqlearn.evaluation.returns import Episode
from iqlearn.rewards.base import Ends
from iqlearn.rewards.gap import Steps, gaps
from iqlearn.rewards.recovered import RecoveredReward
from iqlearn.types import ArraySpec, TaskSpec


class Shown(RecoveredReward):
    """The reward of a step is its observation."""

    def steps(self, batch):
        return np.asarray(batch.obs)[:, 0]


def reward(absorb: bool, pays: float | None, limit: float = 2.0) -> RecoveredReward:
    found = object.__new__(Shown)
    for name, value in {
        "model": SimpleNamespace(),
        "ends": Ends(0.9, absorb, pays),
        "spec": TaskSpec(ArraySpec((1,)), 2),
        "limit": limit,
    }.items():
        object.__setattr__(found, name, value)
    return found


def episode(values, terminated=False) -> Episode:
    obs = np.array(values, np.float32)[:, None]
    return Episode(obs, np.zeros(len(obs), np.int64), obs, np.zeros(len(obs)), terminated)


def steps(*episodes, horizon=4):
    return Steps.of_episodes(episodes, horizon)


def test_reward_gap_is_the_difference_of_mean_rewards_in_units_of_r_max():
    expert, policy, held = steps(episode([1, 2])), steps(episode([0, 0, -3])), steps(episode([0.5]))
    found = gaps(reward(True, None), expert, policy, held)
    assert found == pytest.approx({"reward_gap": 1.25, "held_out_reward_gap": 0.75, "largest_reward": 3.0})
    assert gaps(reward(True, None), expert, policy, None).keys() == {"reward_gap", "largest_reward"}


@pytest.mark.parametrize(
    ("absorb", "pays", "mean"),
    [
        (True, None, (1 + 2 + 2 + 2) / 4),  # the reward of the last step goes on
        (True, -2.0, (1 + 2 - 2 - 2) / 4),
        (False, None, (1 + 2) / 4),  # nothing follows
    ],
)
def test_absorbing_state_pays_after_termination_up_to_the_horizon(absorb, pays, mean):
    paid = steps(episode([1, 2], terminated=True)).paid(reward(absorb, pays))
    assert paid.mean() == pytest.approx(mean)
    cut = steps(episode([1, 2], terminated=False)).paid(reward(absorb, pays))
    assert cut.mean() == pytest.approx(1.5), "a time limit is no end"
    assert steps(episode([1, 2], terminated=True), horizon=0).paid(reward(absorb, pays)).tolist() == [1, 2]


def test_steps_of_demonstrations_include_absorbing_steps(counting):
    """Episode 2 terminates after 5 steps; the others are truncated. Their observations are (episode, time)."""
    found = Steps.of_demos(counting, 8)
    assert len(found.absorbed) == 5 + 3 + 3 + 7
    assert found.transitions.obs[found.absorbed].tolist() == [[2, 4]] * 3
    assert found.transitions.terminal[~found.absorbed].tolist() == counting.term.tolist()


def test_terminal_flags_match_the_episodes():
    found = steps(episode([1, 2], terminated=True), episode([3]), horizon=0)
    assert np.asarray(found.transitions.terminal).tolist() == [False, True, False]
