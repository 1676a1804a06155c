"""Copies of an environment: the same seeds give the same experience, and no transition crosses two episodes."""

from itertools import pairwise

import gymnasium as gym
import jax
import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit

from iqlearn.envs.gym import Environment
from iqlearn.envs.stepper import Step, Stepper, random_observations
from iqlearn.errors import InputError

LIMIT = 4


class Counter(gym.Env):
    """Observes (reset number, time). Overwrites its array and its actions. Every third episode terminates at time 3."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, 2.0], np.float32))
    resets = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.resets += 1
        self.shown = np.array([self.resets, 0], np.float32)
        return self.shown, {}

    def step(self, action):
        assert self.action_space.contains(action)
        reward = float(action[0])
        action[:] = 77.0
        self.shown[1] += 1
        return self.shown, reward, bool(self.resets % 3 == 0 and self.shown[1] == 3), False, {}


def nested() -> Environment:
    """Observes a tree of (reset seed or −1, time) in several forms. The class is local, yet works in a subprocess."""

    class Nested(gym.Env):
        observation_space = gym.spaces.Dict(
            {
                "place": gym.spaces.Tuple([gym.spaces.Discrete(9), gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)]),
                "pixels": gym.spaces.Box(0, 255, (2, 2), np.uint8),
            }
        )
        action_space = gym.spaces.Discrete(2)

        def shown(self):
            pixels = np.full((2, 2), self.time, np.uint8)
            return {"place": (self.time, np.array([self.begun, self.time], np.float64)), "pixels": pixels}

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.begun, self.time = -1 if seed is None else seed, 0
            return self.shown(), {}

        def step(self, action):
            self.time += 1
            return self.shown(), 1.0, self.time == 3, False, {}

    return Environment.of(Nested)


def counter() -> Environment:
    return Environment.of(lambda: TimeLimit(Counter(), LIMIT))


def stepper(env, copies: int, seed: int = 0, vectorization="sync") -> Stepper:
    made = Stepper(Environment.of(env), copies, vectorization)
    made.seed_actions(seed)
    made.reset(seed)
    return made


def played(env: Stepper, steps: int) -> list[Step]:
    return [env.step(env.random_actions()) for _ in range(steps)]


def same(a: list[Step], b: list[Step]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_reset_with_the_same_seed_repeats_the_experience():
    env = stepper("Pendulum-v1", 2, seed=5)
    first = played(env, 6)
    env.reset([6, 7])
    other = played(env, 6)
    env.reset([5, 6])
    env.seed_actions(5)
    assert same(played(env, 6), first)
    assert not same(other, first)
    env.close()


def test_copies_start_from_consecutive_seeds():
    env, single = stepper("Pendulum-v1", 3, seed=10), gym.make("Pendulum-v1")
    for i in range(3):
        np.testing.assert_array_equal(env.obs[i], single.reset(seed=10 + i)[0])
    env.close()
    single.close()


def test_subprocesses_give_the_same_transitions():
    """Also for an id that only this process registers; episodes end on the way."""
    gym.register("IqlearnLocal-v0", entry_point="iqlearn.envs.worlds.maze:PointMaze", max_episode_steps=3)
    try:
        envs = [stepper("IqlearnLocal-v0", 2, seed=3, vectorization=kind) for kind in ("sync", "async")]
    finally:
        del gym.registry["IqlearnLocal-v0"]
    try:
        runs = [[env.step(env.random_actions(), lambda copy: 100 + copy) for _ in range(7)] for env in envs]
    finally:
        for env in envs:
            env.close()
    assert same(*runs)
    assert any(step.ended.any() for step in runs[0])


def test_actions_are_clipped_to_the_bounds_and_recorded_as_executed():
    env = stepper("Pendulum-v1", 2)
    beyond = env.step(np.array([[50.0], [-1.0]]))
    env.reset(0)
    within = env.step(np.array([[2.0], [-1.0]], np.float32))
    assert beyond.action.tolist() == [[2.0], [-1.0]]
    assert same([beyond], [within])
    env.close()


def test_environment_that_overwrites_its_action_changes_neither_record_nor_policy():
    env = stepper(counter(), 2)
    action = np.array([[0.5, 1.0], [-1.0, 2.0]], np.float32)
    step = env.step(action)
    assert step.action.tolist() == action.tolist() == [[0.5, 1.0], [-1.0, 2.0]]
    assert step.reward.tolist() == [0.5, -1.0]
    env.close()


def test_no_transition_crosses_an_episode_boundary():
    env = stepper(counter(), 2)
    steps = played(env, 30)
    env.close()
    for before, after in pairwise(steps):
        for i in range(2):
            assert before.next_obs[i].tolist() == [before.obs[i, 0], before.obs[i, 1] + 1]
            if before.ended[i]:
                assert after.obs[i].tolist() == [before.obs[i, 0] + 1, 0]
            else:
                assert after.obs[i].tolist() == before.next_obs[i].tolist()


def test_time_limit_is_not_terminal():
    env = stepper(counter(), 1)
    steps = played(env, 30)
    env.close()
    ends = [(int(s.obs[0, 0]) % 3, int(s.next_obs[0, 1]), bool(s.terminal[0])) for s in steps if s.ended[0]]
    assert len(ends) >= 7
    assert set(ends) == {(0, 3, True), (1, LIMIT, False), (2, LIMIT, False)}
    assert not any(s.terminal[0] for s in steps if not s.ended[0])


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_tree_observations_keep_their_parts_and_dtypes(vectorization):
    env = stepper(nested(), 2, seed=4, vectorization=vectorization)
    try:
        steps = played(env, 4)
    finally:
        env.close()
    assert [step.obs["place"]["0"].tolist() for step in steps] == [[0, 0], [1, 1], [2, 2], [0, 0]]
    assert [step.next_obs["place"]["0"].tolist() for step in steps] == [[1, 1], [2, 2], [3, 3], [1, 1]]
    assert steps[2].next_obs["place"]["1"].tolist() == [[4, 3], [5, 3]]
    assert [step.terminal.all() for step in steps] == [False, False, True, False]
    types = {"pixels": np.uint8, "place": {"0": np.int32, "1": np.float32}}
    assert jax.tree.map(lambda part: part.dtype, steps[2].next_obs) == types
    assert steps[2].next_obs["pixels"].tolist() == [[[3, 3], [3, 3]]] * 2


def test_copy_restarts_from_the_given_seed():
    env = stepper(nested(), 2)
    seeds = iter([30, None, None, 50])
    asked = []
    begun = []
    for _ in range(7):
        step = env.step(np.zeros(2, int), lambda copy: (asked.append(copy), next(seeds))[1])
        begun.append(step.obs["place"]["1"][:, 0].tolist())
    env.close()
    assert asked == [0, 1, 0, 1]
    assert begun == [[0, 1]] * 3 + [[30, -1]] * 3 + [[-1, 50]]


def test_discrete_actions_lead_to_true_terminal_observations():
    env = stepper("CartPole-v1", 3)
    steps = played(env, 60)
    env.close()
    assert steps[0].action.shape == (3,)
    assert {int(a) for s in steps for a in s.action} == {0, 1}
    assert any(s.terminal.any() for s in steps)
    for s in steps:  # s' of a terminal step is the state that ended it: the pole is down
        assert ((np.abs(s.next_obs[:, 2]) > 0.2095) == s.terminal).all()


def test_random_observations_are_reproducible_by_seed():
    a, b, other = (random_observations(Environment.of("Pendulum-v1"), 5, seed) for seed in (1, 1, 2))
    assert a.shape == (5, 3)
    np.testing.assert_array_equal(a, b)
    assert (a != other).any()
    assert random_observations(nested(), 5, 0)["pixels"].shape == (5, 2, 2)


def test_unknown_environment_is_rejected_with_async_vectorization():
    with pytest.raises(InputError, match="Nonsense-v0"):
        stepper("Nonsense-v0", 2, vectorization="async")
