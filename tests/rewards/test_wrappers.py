"""The learned reward as an environment's reward, step by step."""

from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import DtypeObservation, NormalizeObservation, RescaleAction, TimeLimit, TransformAction
from gymnasium.wrappers.vector import NormalizeObservation as NormalizeObservations

from iqlearn.errors import InputError
from iqlearn.rewards.wrappers import RewardWrapper, VectorRewardWrapper
from iqlearn.types import ArraySpec, Bounds, TaskSpec, Transitions


class Counter(gym.Env[np.ndarray, np.ndarray]):
    """The observation counts the steps; the third step terminates the episode if `ends`, else truncates it."""

    observation_space = gym.spaces.Box(-100.0, 100.0, (1,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, ends: bool = True) -> None:
        self._ends, self._at = ends, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self._at = 0
        return np.array([0.0], np.float32), {}

    def step(self, action: np.ndarray):
        self._at += 1
        over = self._at == 3
        return np.array([self._at], np.float32), 7.0, over and self._ends, over and not self._ends, {"at": self._at}


def told(batch: Transitions) -> np.ndarray:
    """A number that encodes all inputs: 1000·s + 10·s' + a, with −1 in place of s' after termination."""
    after = np.where(batch.terminal, -1.0, np.asarray(batch.next_obs)[:, 0])
    return 1000.0 * np.asarray(batch.obs)[:, 0] + 10.0 * after + np.asarray(batch.action)[:, 0]


@pytest.mark.parametrize(("ends", "last"), [(True, -10.0), (False, 30.0)])
def test_each_step_returns_the_reward_of_its_transition(ends: bool, last: float) -> None:
    env = RewardWrapper(Counter(ends), told)
    for _ in range(2):
        env.reset()
        paid = [env.step(np.array([0.5], np.float32)) for _ in range(3)]
        assert [step[1] for step in paid] == [10.5, 1020.5, 2000.5 + last]
        assert [step[4]["true_reward"] for step in paid] == [7.0] * 3
        assert paid[0][4]["at"] == 1


@pytest.mark.parametrize("true", [np.array([7.0]), np.float32(7.0), 7, [7.0]], ids=repr)
def test_the_true_reward_may_be_an_array_of_one(true) -> None:
    class Paying(Counter):
        def step(self, action: np.ndarray):
            obs, _, *rest = super().step(action)
            return obs, true, *rest

    env = RewardWrapper(Paying(), told)
    env.reset()
    assert env.step(np.array([0.5], np.float32))[4]["true_reward"] == 7.0


def test_out_of_bounds_actions_are_clipped_for_the_reward() -> None:
    env = RewardWrapper(Counter(), told)
    env.reset()
    assert env.step(np.array([40.0], np.float32))[1] == 11.0


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
@pytest.mark.parametrize(("ends", "last"), [(True, 1990.0), (False, 2030.0)])
def test_vector_rewards_do_not_cross_episode_borders(mode: AutoresetMode, ends: bool, last: float) -> None:
    env = VectorRewardWrapper(SyncVectorEnv([lambda: Counter(ends)] * 2, autoreset_mode=mode), told)
    env.reset(seed=0)
    action = np.zeros((2, 1), np.float32)
    paid = [env.step(action)[1].tolist() for _ in range(7)]
    episode = [10.0, 1020.0, last]
    expected = [*episode, *episode, 10.0] if mode == AutoresetMode.SAME_STEP else [*episode, 0.0, *episode]
    assert paid == [[x, x] for x in expected]


def test_vector_rewards_are_correct_without_autoreset() -> None:
    env = VectorRewardWrapper(SyncVectorEnv([lambda: Counter(True)] * 2, autoreset_mode=AutoresetMode.DISABLED), told)
    env.reset(seed=0)
    action = np.zeros((2, 1), np.float32)
    first = [env.step(action)[1][0] for _ in range(3)]
    env.reset(options={"reset_mask": np.array([True, True])})
    assert [env.step(action)[1][0] for _ in range(3)] == first == [10.0, 1020.0, 1990.0]


def test_reward_of_another_task_is_rejected_when_wrapping() -> None:
    class OfAnotherTask:
        spec = TaskSpec(ArraySpec((3,)), 2)

        def __call__(self, transitions: Transitions) -> np.ndarray:
            return np.zeros(len(transitions.obs))

    reward = OfAnotherTask()
    for wrapped in (
        lambda: RewardWrapper(gym.make("CartPole-v1"), reward),
        lambda: VectorRewardWrapper(gym.make_vec("CartPole-v1", num_envs=2), reward),
    ):
        with pytest.raises(InputError, match=r"observations of shape \(3,\) and .*has observations of shape \(4,\)"):
            wrapped()


class Careless(Counter):
    """A counter that changes the action and its last observation in place."""

    def __init__(self) -> None:
        super().__init__()
        self._seen = np.zeros(1, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        self._seen[:] = super().reset(seed=seed)[0]
        return self._seen, {}

    def step(self, action: np.ndarray):
        action *= 0.5
        obs, *rest = super().step(action)
        self._seen[:] = obs
        return self._seen, *rest


def test_in_place_changes_by_the_environment_do_not_affect_the_reward() -> None:
    env = RewardWrapper(Careless(), told)
    env.reset()
    assert [env.step(np.array([0.5], np.float32))[1] for _ in range(2)] == [10.5, 1020.5]
    lanes = SyncVectorEnv([Careless] * 2, autoreset_mode=AutoresetMode.SAME_STEP, copy=False)
    vector = VectorRewardWrapper(lanes, told)
    vector.reset(seed=0)
    action = np.full((2, 1), 0.5, np.float32)
    assert [vector.step(action)[1].tolist() for _ in range(2)] == [[10.5] * 2, [1020.25] * 2]  # action is 0.25 by now


class OfParts(gym.Wrapper):
    """The counter's observations as a dictionary of a number and a tuple of categories."""

    def __init__(self) -> None:
        super().__init__(Counter())
        cells = gym.spaces.Tuple([gym.spaces.Discrete(9), gym.spaces.Box(0.0, 100.0, (1,), np.float64)])
        self.observation_space = gym.spaces.Dict({"at": gym.spaces.Box(-9.0, 9.0, (1,), np.float32), "cells": cells})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        obs, info = self.env.reset(seed=seed, options=options)
        return self._parts(obs), info

    def step(self, action):
        obs, *rest = self.env.step(action)
        return self._parts(obs), *rest

    @staticmethod
    def _parts(obs: np.ndarray) -> dict[str, Any]:
        return {"at": obs, "cells": (int(obs[0]), obs.astype(np.float64))}


class ToldOfParts:
    """`told` of the category of such observations. Checks that they are arrays of the reward's task."""

    spec = TaskSpec(
        {"at": ArraySpec((1,)), "cells": {"0": ArraySpec((), "int32", 9), "1": ArraySpec((1,))}},
        Bounds((-1.0,), (1.0,)),
    )

    def __call__(self, rows: Transitions) -> np.ndarray:
        for obs in (rows.obs, rows.next_obs):
            assert obs["cells"]["1"].dtype == np.float32
            np.testing.assert_array_equal(obs["at"], obs["cells"]["1"])
        here, there = (obs["cells"]["0"][:, None] for obs in (rows.obs, rows.next_obs))
        return told(rows._replace(obs=here, next_obs=there))


def test_nested_observations_are_rewarded_in_single_and_vector_environments() -> None:
    env = RewardWrapper(OfParts(), ToldOfParts())
    env.reset()
    assert [env.step(np.array([0.5], np.float32))[1] for _ in range(3)] == [10.5, 1020.5, 1990.5]
    for mode in (AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP):
        vector = VectorRewardWrapper(SyncVectorEnv([OfParts] * 2, autoreset_mode=mode), ToldOfParts())
        vector.reset(seed=0)
        paid = [vector.step(np.zeros((2, 1), np.float32))[1].tolist() for _ in range(4)]
        assert paid == [[x] * 2 for x in (10.0, 1020.0, 1990.0, 10.0 if mode == AutoresetMode.SAME_STEP else 0.0)]


def test_reward_without_a_task_receives_the_raw_observations() -> None:
    env = RewardWrapper(OfParts(), lambda rows: np.asarray(rows.next_obs["cells"][1][:, 0]))
    env.reset()
    assert [env.step(np.zeros(1, np.float32))[1] for _ in range(2)] == [1.0, 2.0]


def test_nested_reward_is_rejected_for_flat_observations() -> None:
    with pytest.raises(InputError, match=r"cells: .*has observations of shape \(1,\)"):
        RewardWrapper(Counter(), ToldOfParts())


class ToldOfCounter:
    """`told` with the task of the counter."""

    spec = TaskSpec(ArraySpec((1,)), Bounds((-1.0,), (1.0,)))

    def __call__(self, rows: Transitions) -> np.ndarray:
        return told(rows)


@pytest.mark.parametrize(
    "changed",
    [
        partial(RescaleAction, min_action=np.float32(0.0), max_action=np.float32(1.0)),
        NormalizeObservation,
        lambda env: TimeLimit(NormalizeObservation(env), 5),
        partial(TransformAction, func=lambda action: action[0], action_space=gym.spaces.Box(-1.0, 1.0, (2,))),
        partial(DtypeObservation, dtype=np.int32),
    ],
)
def test_reward_wrapper_outside_input_changing_wrappers_is_rejected(changed: Any) -> None:
    with pytest.raises(InputError, match=r"put .* around the reward's wrapper, not inside\.$"):
        RewardWrapper(changed(Counter()), ToldOfCounter())
    with pytest.raises(InputError, match=r"put .* around the reward's wrapper, not inside\.$"):
        VectorRewardWrapper(SyncVectorEnv([lambda: changed(Counter())]), ToldOfCounter())
    inside = changed(RewardWrapper(Counter(), ToldOfCounter()))
    inside.reset()
    assert inside.step(inside.action_space.sample() * 0)[1] in (10.0, 9.0), "the counter's own units"


def test_reward_wrapper_outside_vector_normalisation_is_rejected() -> None:
    vectors = NormalizeObservations(SyncVectorEnv([Counter]))
    with pytest.raises(InputError, match="NormalizeObservation changes the scale"):
        VectorRewardWrapper(vectors, ToldOfCounter())


def test_integer_actions_are_rounded_for_the_reward() -> None:
    class Whole(Counter):
        action_space = gym.spaces.Box(-1, 3, (1,), np.int64)

    env = RewardWrapper(Whole(), told)
    env.reset()
    assert env.step(np.array([1.6]))[1] == 12.0
