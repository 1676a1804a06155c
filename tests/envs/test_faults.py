"""Environments that fail: reported at the first check or when they fail, with environment, copy, seed and step."""

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from itertools import product

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest

from iqlearn.envs.gym import Environment
from iqlearn.envs.stepper import Stepper
from iqlearn.errors import EnvironmentFault, InputError
from iqlearn.evaluation.returns import Evaluator

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # so that processes need not import it
OBS = np.zeros(2, np.float32)
SHAPE = gym.spaces.Box(-9.0, 9.0, (2,), np.float32)
PARTS = gym.spaces.Dict({"a": SHAPE, "b": gym.spaces.Discrete(3)})
BYTES = gym.spaces.Box(0, 255, (2,), np.uint8)
LATE = 5
"""The first check does not reach this step."""


def fail(how):
    """Fail in the named way, or return `how`. Some ways end the process, so they are only for subprocesses."""
    if not isinstance(how, str):
        return how
    if how == "raises":
        raise ZeroDivisionError("division by zero")
    if how == "ends the program":
        sys.exit(0)
    if how == "ends a generator":
        raise GeneratorExit
    if how == "interrupts":
        raise KeyboardInterrupt
    if how == "hangs":
        time.sleep(1_000)
    if how == "ends its process":
        os._exit(0)
    if how == "crashes":
        ctypes.string_at(0)
    return how


class Failing(gym.Env):
    """Works until step `at`, where 0 is the reset. There it returns `how`, or fails in the way that `how` names."""

    action_space = gym.spaces.Discrete(2)

    def __init__(self, how, at, space=SHAPE, heal=None):
        self.observation_space, self.how, self.at, self.heal = space, how, at, heal

    def good(self):
        return {"a": OBS, "b": 1} if isinstance(self.observation_space, gym.spaces.Dict) else OBS.astype(int)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.now((self.good(), {}))

    def step(self, action):
        self.time += 1
        return self.now((self.good(), 1.0, False, self.time == 7, {}))

    def now(self, result):
        if self.time != self.at or (self.heal is not None and self.heal.exists()):
            return result
        if self.heal is not None:
            self.heal.touch()
        failed = fail(self.how)
        if isinstance(failed, dict) and failed.keys() <= {"obs", "reward", "terminated"}:
            place = {"obs": 0, "reward": 1, "terminated": 2}
            named = {place[name]: value for name, value in failed.items()}
            return tuple(named.get(i, value) for i, value in enumerate(result))
        return failed


BAD = {
    "raises": ("raises", "raised ZeroDivisionError: division by zero"),
    "ends the program": ("ends the program", "raised SystemExit: 0"),
    "ends a generator": ("ends a generator", "raised GeneratorExit: no message"),
    "nothing": (None, "returned None; expected"),
    "an observation alone": (OBS, r"returned array\(\[0\., 0\.\].*; expected \(observation, "),
    "None": ({"obs": None}, r"the observation is None; expected numbers of shape \(2,\)"),
    "a string": ({"obs": "left"}, "the observation is 'left'; expected numbers"),
    "numbers as strings": ({"obs": ["1", "2"]}, r"the observation is \['1', '2'\]; expected numbers"),
    "unequal rows": ({"obs": [[1.0], [1.0, 2.0]]}, "expected numbers"),
    "another shape": ({"obs": np.zeros(3)}, r"the observation has shape \(3,\); expected \(2,\)"),
    "a batch": ({"obs": np.zeros((1, 2))}, r"the observation has shape \(1, 2\); expected \(2,\)"),
    "NaN": ({"obs": [0.0, np.nan]}, "the observation has values that are not finite: .*nan"),
    "too large": ({"obs": [0.0, 1e300]}, "the observation has values that are not finite: .*inf"),
}
BAD_STEP = {
    "a four-tuple": ((OBS, 1.0, False, {}), r"step returned 4 values; expected \(observation, reward, terminated"),
    "a reward of two": ({"reward": np.ones(2)}, r"the reward is array\(\[1\., 1\.\]\); expected one finite number"),
    "no reward": ({"reward": None}, "the reward is None; expected"),
    "a NaN reward": ({"reward": float("nan")}, "the reward is nan; expected one finite"),
    "a huge reward": ({"reward": 1e300}, r"the reward is 1e\+300; expected a number that float32 can hold"),
    "an infinite reward": ({"reward": np.float32("inf")}, "the reward is .*inf.*; expected one finite"),
    "a flag that is a string": ({"terminated": "False"}, "the flag terminated is 'False'; expected"),
}


def sentence(caught) -> str:
    told = str(caught.value)
    assert "\n" not in told
    assert told.endswith(".")
    assert not told.endswith("..")
    return told


def steps(stepper, n):
    return [stepper.step(np.zeros(stepper.copies, int)) for _ in range(n)]


@pytest.mark.parametrize(("bad", "at"), [*product(BAD, (0, 2)), *product(BAD_STEP, (2,))])
def test_first_check_reports_the_fault_and_its_place(bad, at):
    how, told = (BAD | BAD_STEP)[bad]
    place = rf"Failing.*', reset seed 0, {'reset' if at == 0 else 'step 2'}: .*"
    with pytest.raises(InputError, match=place + told) as caught:
        _ = Environment.of(Failing, {"how": how, "at": at}).task
    sentence(caught)


@pytest.mark.parametrize(
    ("shown", "space", "told"),
    [
        ({"a": OBS}, PARTS, "the observation is the parts a; expected the parts a, b"),
        ({"a": OBS, "b": 3}, PARTS, "the observation's part b is 3; expected 0 to 2"),
        ({"a": OBS, "b": 0.5}, PARTS, "the observation's part b is 0.5 .*; expected whole numbers"),
        ({"a": OBS, "b": [0, 1]}, PARTS, r"the observation's part b has shape \(2,\); expected \(\)"),
        (OBS, PARTS, "the observation is array.*; expected the parts a, b"),
        ([0.0, 0.4], BYTES, r"the observation is \[0.0, 0.4\] \(float64\); expected whole numbers that fit uint8"),
        ([0, 256], BYTES, r"the observation is \[0, 256\] \(int64\); expected whole numbers that fit uint8"),
        ({"a": OBS}, SHAPE, "the observation is .*; expected numbers of shape"),
    ],
)
def test_observations_that_do_not_fit_their_space_are_rejected(shown, space, told):
    with pytest.raises(InputError, match=told) as caught:
        _ = Environment.of(Failing, {"how": {"obs": shown}, "at": 1, "space": space}).task
    sentence(caught)


def test_four_tuple_step_inside_wrappers_is_reported():
    def make():
        return gym.wrappers.TimeLimit(Failing((OBS, 1.0, False, {}), 1), 9)

    with pytest.raises(InputError, match=r"step 1: .*to unpack.*; expected that step returns \(observation, reward"):
        _ = Environment.of(make).task


@pytest.mark.parametrize("error", [RuntimeError("no display"), SystemExit(3), KeyError("port")])
def test_environment_that_cannot_be_made_is_reported_in_one_sentence(error):
    def make():
        raise error

    with pytest.raises(InputError, match=rf"make' cannot be made with {{}}: {type(error).__name__}: .*; exp") as caught:
        _ = Environment.of(make).task
    sentence(caught)


@pytest.mark.parametrize("bad", [*BAD, *BAD_STEP])
def test_later_faults_name_environment_copy_seed_and_step(bad):
    how, told = (BAD | BAD_STEP)[bad]
    environment = Environment.of(Failing, {"how": how, "at": LATE})
    place = rf"^Environment '.*Failing', copy 0, reset seed 40, step {LATE}: .*"
    stepper, evaluator = Stepper(environment, 2), Evaluator(environment)
    stepper.reset(40)
    with pytest.raises(EnvironmentFault, match=place + told) as caught:
        steps(stepper, LATE)
    sentence(caught)
    with pytest.raises(EnvironmentFault, match=place + told):
        evaluator.play(lambda obs: np.zeros(len(obs), int), 2, seed=40)
    stepper.close()
    evaluator.close()


def test_fault_in_a_later_episode_names_the_seed_and_the_episode():
    """The third episode of copy 1 fails in its reset."""

    class Third(Failing):
        resets = 0

        def reset(self, *, seed=None, options=None):
            self.resets += 1
            self.how, self.at = ("raises", 0) if self.resets == 3 and self.np_random_seed == 41 else (None, -1)
            return super().reset(seed=seed)

    stepper = Stepper(Environment.of(lambda: Third(None, -1)), 2)
    stepper.reset(40)
    with pytest.raises(EnvironmentFault, match=r"copy 1, reset seed 41, episode 2 after it, reset: reset raised Zero"):
        steps(stepper, 14)
    stepper.close()


def test_keyboard_interrupt_is_not_treated_as_a_fault():
    def interrupted(*_):
        raise KeyboardInterrupt

    stepper = Stepper(Environment.of(Failing, {"how": None, "at": -1}), 1, faults="restart")
    stepper.reset(0)
    stepper._handles[0]._copy._env.step = interrupted
    with pytest.raises(KeyboardInterrupt):
        stepper.step(np.zeros(1, int))
    assert stepper.restarts == 0
    stepper.close()


def test_non_finite_action_raises_floating_point_error():
    stepper = Stepper(Environment.of("Pendulum-v1"), 2)
    stepper.reset(0)
    with pytest.raises(FloatingPointError, match="action is not finite"):
        stepper.step(np.array([[0.0], [np.nan]]))
    stepper.close()


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("crashes", f"its process ended by signal {signal.SIGSEGV.name}"),
        ("ends its process", "its process ended with exit code 0"),
        ("hangs", "it gave no answer within 1 seconds"),
        ("interrupts", "step raised KeyboardInterrupt: no message"),  # the user's Ctrl-C does not reach its process
    ],
)
def test_failed_process_is_reported_and_leaves_no_child_process(how, told):
    stepper = Stepper(Environment.of(Failing, {"how": how, "at": LATE}), 1, "async")
    stepper.reset(40)
    stepper._handles[0]._timeout = 1.0 if how == "hangs" else 60.0
    with pytest.raises(EnvironmentFault, match=rf"copy 0, reset seed 40, step {LATE}: {told}") as caught:
        steps(stepper, LATE)
    sentence(caught)
    stepper.close()
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("how", ["raises", "ends its process"])
def test_failed_process_is_restarted(how, tmp_path):
    """The lost step is no transition; the next step begins an episode."""
    environment = Environment.of(Failing, {"how": how, "at": LATE, "heal": tmp_path / "healed"})
    stepper = Stepper(environment, 1, "async", "restart")
    stepper.reset(40)
    seen = steps(stepper, LATE + 7)
    assert [bool(step.lost[0]) for step in seen] == [False] * (LATE - 1) + [True] + [False] * 7
    assert [bool(step.ended[0]) for step in seen] == [False] * (LATE + 6) + [True]
    assert stepper.restarts == 1
    stepper.close()
    assert multiprocessing.active_children() == []


class Flaky(gym.Env):
    """Observes (seed, time), and pays the time. Every second copy that is made fails in step 3."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)
    made = 0

    def __init__(self):
        type(self).made += 1
        self.fails = type(self).made % 2 == 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seed, self.time = self.np_random_seed, 0
        return np.array([self.seed, 0], np.float32), {}

    def step(self, action):
        self.time += 1
        if self.fails and self.time == 3:
            raise OSError("the simulator is gone")
        return np.array([self.seed, self.time], np.float32), float(self.time), self.time == 6, False, {}


def test_episode_of_a_failed_copy_is_replayed():
    evaluator = Evaluator(Flaky, 3, faults="restart")
    with pytest.warns(UserWarning, match="Flaky' has no time limit"):
        episodes = evaluator.play(lambda obs: np.zeros(len(obs), int), 5, seed=10)
    assert [episode.obs.tolist() for episode in episodes] == [[[10 + i, t] for t in range(6)] for i in range(5)]
    assert [episode.rew.sum() for episode in episodes] == [21.0] * 5
    assert evaluator.restarts > 0
    evaluator.close()


def test_copy_that_fails_again_right_after_a_restart_raises_the_fault():
    environment = Environment.of(Failing, {"how": "raises", "at": LATE})
    stepper = Stepper(environment, 1, faults="restart")
    stepper.reset(0)
    stepper._handles[0]._copy._env.at = 1
    assert stepper.step(np.zeros(1, int)).lost[0]
    stepper._handles[0]._copy._env.at = 1
    with pytest.raises(EnvironmentFault, match="step 1: step raised ZeroDivisionError"):
        stepper.step(np.zeros(1, int))
    stepper.close()
