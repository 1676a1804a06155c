"""The same policy has the same returns and the same record in an odd environment as in a plain one."""

import sys
from collections import OrderedDict, UserDict
from functools import partial, reduce

import cloudpickle
import gymnasium as gym
import jax
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Tuple
from gymnasium.wrappers import Autoreset, PassiveEnvChecker, RecordEpisodeStatistics, ReshapeObservation, TimeLimit
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from iqlearn.envs.gym import Environment
from iqlearn.envs.stepper import Stepper
from iqlearn.evaluation.returns import Evaluator

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # so that processes need not import it


class Plain(gym.Env):
    """A walk on quarters, exact in every floating-point type. Episodes end, or meet a limit of their own."""

    observation_space = Box(-64.0, 64.0, (2,), np.float32)
    action_space = Box(-2.0, 2.0, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.time = self.np_random.integers(-4, 5, 2).astype(np.float32), 0
        self.length = 3 + int(self.np_random.integers(4))
        return self.place.copy(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        moved = np.round(4 * (self.place + np.asarray(action, np.float64).reshape(2))) / 4
        self.place, self.time = np.clip(moved, -16, 16).astype(np.float32), self.time + 1
        over = self.time >= self.length
        return self.place.copy(), float(moved.sum()), bool(over and moved[0] > 0), bool(over), {}


def act(obs):
    """A policy: some actions exceed the bounds, and some are no whole numbers."""
    while isinstance(obs, dict):
        obs = obs[min(obs)]
    return np.float32(-0.6) * obs.reshape(len(obs), 2) + np.float32(0.1)


class Odd(gym.Wrapper):
    """Changes observations, results and actions of an environment by one function each."""

    def __init__(self, env, shown=None, result=None, taken=None, space=None):
        super().__init__(env)
        self.shown, self.result, self.taken = shown or (lambda obs, first: obs), result or (lambda *r: r), taken
        if space is not None:
            self.observation_space = space

    def reset(self, *, seed=None, options=None):
        obs, info = self.env.reset(seed=seed, options=options)
        return self.shown(obs, True), info

    def step(self, action):
        obs, *rest = self.env.step(action)
        if self.taken is not None:
            self.taken(action)
        return self.result(self.shown(obs, False), *rest)


class Reuser(gym.Wrapper):
    """Returns the same array every time, and overwrites it."""

    def __init__(self, env):
        super().__init__(env)
        self.array = None

    def written(self, obs):
        if self.array is None:
            self.array = np.zeros_like(obs)
        self.array[...] = obs
        return self.array

    def reset(self, *, seed=None, options=None):
        obs, info = self.env.reset(seed=seed, options=options)
        return self.written(obs), info

    def step(self, action):
        obs, *rest = self.env.step(action)
        return self.written(obs), *rest


class Keeper(gym.Wrapper):
    """Keeps every action, and overwrites all of them after each step."""

    def __init__(self, env):
        super().__init__(env)
        self.kept = []

    def step(self, action):
        result = self.env.step(action)
        self.kept.append(action)
        for kept in self.kept:
            kept[...] = 99.0
        return result


def readonly(obs):
    obs.flags.writeable = False
    return obs


def halved(action):
    action *= 0.5


def typed(dtype):
    return partial(Odd, shown=lambda obs, first: obs.astype(dtype))


def rewarded(form):
    return partial(Odd, result=lambda obs, reward, *rest: (obs, form(float(np.ravel(reward)[0])), *rest))


def ended(form):
    return partial(Odd, result=lambda o, r, *ends: (o, r, *(form(bool(np.ravel(e)[0])) for e in ends[:2]), ends[2]))


PARTS = Dict({"place": Plain.observation_space, "zero": Discrete(3)})
OBSERVATIONS = {
    "one array": Reuser,
    "a list": partial(Odd, shown=lambda obs, first: obs.tolist()),
    "a tuple": partial(Odd, shown=lambda obs, first: (*obs,)),
    "float64": typed(np.float64),
    "float16": typed(np.float16),
    "big-endian": typed(">f4"),
    "whole numbers at reset": partial(Odd, shown=lambda obs, first: obs.astype(int) if first else obs),
    "Python's whole numbers at reset": partial(Odd, shown=lambda o, first: [*map(int, o)] if first else o),
    "read-only": partial(Odd, shown=lambda obs, first: readonly(obs)),
    "strided": partial(Odd, shown=lambda obs, first: np.repeat(obs, 3)[::3]),
    "reversed": partial(Odd, shown=lambda obs, first: obs[::-1].copy()[::-1]),
    "a space of float64": partial(Odd, space=Box(-64.0, 64.0, (2,), np.float64)),
    "a space of float16": partial(Odd, space=Box(-64.0, 64.0, (2,), np.float16)),
    "a space that is too small": partial(Odd, space=Box(-1.0, 1.0, (2,), np.float32)),
    "a row": partial(ReshapeObservation, shape=(1, 2)),
    "a dictionary": partial(Odd, shown=lambda o, first: OrderedDict(zero=0, place=o), space=PARTS),
    "a mapping of lists": partial(Odd, shown=lambda o, _: UserDict({"place": [*o], "zero": [0]}), space=PARTS),
    "a tuple of parts": partial(Odd, shown=lambda o, _: (o, 1), space=Tuple([Plain.observation_space, Discrete(2)])),
    "a list of parts": partial(Odd, shown=lambda o, _: [o, 1], space=Tuple([Plain.observation_space, Discrete(2)])),
}
REST = {
    "halves its action": partial(Odd, taken=halved),
    "keeps its actions": Keeper,
    "rewards of shape (1,)": rewarded(lambda r: np.array([r])),
    "0-d rewards": rewarded(np.float64),
    "rewards in lists": rewarded(lambda r: [[r]]),
    "float32 rewards": rewarded(lambda r: np.array(r, np.float32)),
    "flags of NumPy": ended(np.bool_),
    "flags 0 and 1": ended(int),
    "flags of shape (1,)": ended(lambda flag: np.array([flag])),
    "a list of results": partial(Odd, result=lambda *result: [*result]),
    "crowded info": partial(Odd, result=lambda *r: (*r[:4], {"final_obs": r[0], "TimeLimit.truncated": None, 3: r})),
    "resets itself": Autoreset,
    "statistics": RecordEpisodeStatistics,
    "a checker": PassiveEnvChecker,
    "a long time limit": partial(TimeLimit, max_episode_steps=50),
}
ODD = OBSERVATIONS | REST


def stepped(stepper):
    """The numbers that a learner sees in 40 steps."""
    stepper.reset(7)
    steps = [stepper.step(act(stepper.obs)) for _ in range(40)]
    seen = [(act(s.obs), act(s.next_obs), s.action, s.reward[:, None], s.terminal[:, None]) for s in steps]
    return np.array([np.concatenate(parts, axis=1) for parts in seen])


def record(make):
    """The returns of five episodes, and all numbers that a learner and an evaluator see."""
    environment = Environment.of(make)
    evaluator, stepper = Evaluator(environment, 2), Stepper(environment, 2)
    seen, episodes = stepped(stepper), evaluator.play(act, 5, seed=3)
    evaluator.close()
    stepper.close()
    played = [(act(e.obs), act(e.next_obs), e.act, e.rew, np.array(e.terminated)) for e in episodes]
    return [float(episode.rew.sum()) for episode in episodes], (seen, played)


@pytest.fixture(scope="module")
def plain():
    return record(Plain)


def check(found, plain):
    assert found[0] == plain[0]
    jax.tree.map(np.testing.assert_array_equal, found[1], plain[1])


def test_plain_record_matches_steps_of_the_environment():
    returns, (seen, played) = record(Plain)
    assert len(set(returns)) == 5
    assert {bool(e[4]) for e in played} == {True, False}
    env = Plain()
    for i, (_, _, actions, rewards, _) in enumerate(played):
        obs = env.reset(seed=3 + i)[0]
        for action, reward in zip(actions, rewards, strict=True):
            np.testing.assert_array_equal(action, np.clip(act(obs[None])[0], -2.0, 2.0))
            obs, paid, *_ = env.step(action)
            assert paid == reward
    assert seen[..., -1].any()


@pytest.mark.parametrize("odd", ODD)
def test_odd_environment_gives_the_same_record_as_the_plain_one(odd, plain):
    check(record(lambda: ODD[odd](Plain())), plain)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(OBSERVATIONS)), st.lists(st.sampled_from(sorted(REST)), max_size=4, unique=True))
def test_environment_with_several_oddities_gives_the_same_record(plain, seen, rest):
    for refused in ({"statistics", "rewards in lists"}, {"a checker", "a list of results"}):  # by Gymnasium's wrappers
        assume(not refused <= {*rest})

    def make():
        return ODD[seen](reduce(lambda env, odd: ODD[odd](env), rest, Plain()))

    check(record(make), plain)


def test_odd_environments_in_subprocesses_give_the_same_steps(plain):
    def make():
        return Reuser(ODD["halves its action"](ODD["rewards of shape (1,)"](Plain())))

    stepper = Stepper(Environment.of(make), 2, "async")
    try:
        np.testing.assert_array_equal(stepped(stepper), plain[1][0])
    finally:
        stepper.close()


class Bounded(Plain):
    """Accepts only actions within the bounds of its space."""

    def __init__(self, low, high, dtype):
        self.action_space = Box(np.array(low, dtype), np.array(high, dtype), dtype=dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.int64])
def test_actions_are_clipped_to_uneven_bounds_and_rounded_for_integer_spaces(dtype):
    """A float32 action may lie outside of float64 bounds by one rounding error. Integer actions are rounded."""
    low, high = ([-1.2, -2.0], [0.7, 0.1]) if np.issubdtype(dtype, np.floating) else ([-1, -2], [1, 0])
    played = []
    for chosen in (lambda obs: 100 * act(obs), lambda obs: np.clip(100 * act(obs), low, high), act):
        evaluator = Evaluator(lambda: Bounded(low, high, dtype), 2)
        played.append([episode.act.tolist() for episode in evaluator.play(chosen, 5, seed=3)])
        evaluator.close()
    assert played[0] == played[1]
    whole = Bounded(low, high, dtype).action_space.dtype.kind == "i"
    for episode in played[2]:
        actions = np.array(episode)
        assert (actions >= np.float32(low)).all()
        assert (actions <= np.float32(high)).all()
        assert (actions == np.rint(actions)).all() == whole


def test_scalar_observation_equals_an_array_of_one():
    class Single(Odd):
        def __init__(self, form):
            super().__init__(Plain(), lambda obs, first: form(obs[0]), space=Box(-64.0, 64.0, (1,), np.float32))

    def first(obs):
        return np.stack([obs[:, 0], -obs[:, 0]], axis=1)

    found = []
    for form in (lambda x: np.array([x]), float, np.float32, np.array, lambda x: [[x]]):
        evaluator = Evaluator(lambda form=form: Single(form), 2)
        found.append(evaluator.returns(first, 4, seed=0).tolist())
        evaluator.close()
    assert all(returns == found[0] for returns in found)
