"""Environments side by side: the same seed is the same experience, and no transition crosses an episode's border."""

from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest

from iqlearn import InputError
from iqlearn.envs.vector import Step, VectorEnv, random_observations

LIMIT = 4


class Counter(gym.Env):
    """Shows (reset number, time), writing over one array; ends truly at time 3 in every third episode."""

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
        self.shown[1] += 1
        return self.shown, float(action[0]), bool(self.resets % 3 == 0 and self.shown[1] == 3), False, {}


@pytest.fixture
def counter():
    gym.register("IqlearnCounter-v0", entry_point=Counter, max_episode_steps=LIMIT)
    yield "IqlearnCounter-v0"
    del gym.registry["IqlearnCounter-v0"]


def played(env: VectorEnv, steps: int) -> list[Step]:
    return [env.step(env.random_actions()) for _ in range(steps)]


def same(a: list[Step], b: list[Step]) -> bool:
    return all(np.array_equal(x, y) for s, t in zip(a, b, strict=True) for x, y in zip(s, t, strict=True))


def test_a_restart_begins_the_same_again():
    env = VectorEnv("Pendulum-v1", 2, seed=5)
    first = played(env, 6)
    env.restart(6)
    other = played(env, 6)
    env.restart(5)
    assert same(played(env, 6), first)
    assert not same(other, first)
    env.close()


def test_copies_begin_from_seeds_that_count_up():
    env, single = VectorEnv("Pendulum-v1", 3, seed=10), gym.make("Pendulum-v1")
    for i in range(3):
        np.testing.assert_array_equal(env.obs[i], single.reset(seed=10 + i)[0])
    env.close()
    single.close()


def test_processes_of_their_own_give_the_same_transitions():
    envs = [VectorEnv("Pendulum-v1", 2, seed=3, vectorization=kind) for kind in ("sync", "async")]
    try:
        assert same(*(played(env, 5) for env in envs))
    finally:
        for env in envs:
            env.close()


def test_actions_are_clipped_to_the_bounds_and_remembered_as_they_were_done():
    env = VectorEnv("Pendulum-v1", 2, seed=0)
    beyond = env.step(np.array([[50.0], [-1.0]]))
    env.restart(0)
    within = env.step(np.array([[2.0], [-1.0]], np.float32))
    assert beyond.action.tolist() == [[2.0], [-1.0]]
    assert same([beyond], [within])
    env.close()


def test_no_transition_crosses_the_border_of_an_episode(counter):
    env = VectorEnv(counter, 2, seed=0)
    steps = played(env, 30)
    env.close()
    for before, after in pairwise(steps):
        for i in range(2):
            assert before.next_obs[i].tolist() == [before.obs[i, 0], before.obs[i, 1] + 1]
            if before.ended[i]:
                assert after.obs[i].tolist() == [before.obs[i, 0] + 1, 0]
            else:
                assert after.obs[i].tolist() == before.next_obs[i].tolist()


def test_a_time_limit_is_no_end(counter):
    env = VectorEnv(counter, 1, seed=0)
    steps = played(env, 30)
    env.close()
    ends = [(int(s.obs[0, 0]) % 3, int(s.next_obs[0, 1]), bool(s.terminal[0])) for s in steps if s.ended[0]]
    assert len(ends) >= 7
    assert set(ends) == {(0, 3, True), (1, LIMIT, False), (2, LIMIT, False)}
    assert not any(s.terminal[0] for s in steps if not s.ended[0])


def test_discrete_actions():
    env = VectorEnv("CartPole-v1", 3, seed=0)
    steps = played(env, 60)
    env.close()
    assert steps[0].action.shape == (3,)
    assert {int(a) for s in steps for a in s.action} == {0, 1}
    assert any(s.terminal.any() for s in steps)
    for s in steps:  # s' of an end is the state that ended it: the pole is down
        assert ((np.abs(s.next_obs[:, 2]) > 0.2095) == s.terminal).all()


def test_what_a_random_policy_sees_repeats_by_seed():
    a, b, other = (random_observations("Pendulum-v1", 5, seed) for seed in (1, 1, 2))
    assert a.shape == (5, 3)
    np.testing.assert_array_equal(a, b)
    assert (a != other).any()


def test_an_unknown_environment_is_told_before_anything_starts():
    with pytest.raises(InputError, match="Nonsense-v0"):
        VectorEnv("Nonsense-v0", 2, seed=0)
