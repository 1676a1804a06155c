"""What an environment is to a learner, and each environment that does not do in one sentence."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Tuple

from iqlearn import InputError
from iqlearn.envs.gym import task_spec
from iqlearn.types import Bounds, TaskSpec

SMALL = Box(-1.0, 1.0, (2,))


class Bare(gym.Env):
    """Spaces and nothing else."""

    def __init__(self, observations: gym.Space, actions: gym.Space) -> None:
        self.observation_space, self.action_space = observations, actions


@pytest.fixture
def spec_of():
    """`spec_of(observations, actions)` is the `TaskSpec` of an environment with these spaces."""

    def told(observations: gym.Space, actions: gym.Space) -> TaskSpec:
        gym.register("IqlearnBare-v0", entry_point=lambda: Bare(observations, actions))
        return task_spec("IqlearnBare-v0")

    yield told
    gym.registry.pop("IqlearnBare-v0", None)


def test_continuous_and_discrete_actions():
    assert task_spec("Pendulum-v1") == TaskSpec((3,), Bounds((-2.0,), (2.0,)))
    assert task_spec("CartPole-v1") == TaskSpec((4,), 2)
    assert not task_spec("Pendulum-v1").discrete
    assert task_spec("CartPole-v1").discrete


def test_each_coordinate_has_its_own_bounds(spec_of):
    actions = Box(np.array([-2.0, 0.0], np.float32), np.array([1.0, 5.0], np.float32))
    assert spec_of(SMALL, actions) == TaskSpec((2,), Bounds((-2.0, 0.0), (1.0, 5.0)))


@pytest.mark.parametrize(
    "actions",
    [
        Box(-np.inf, np.inf, (2,)),
        Box(np.array([-1.0, -1.0], np.float32), np.array([1.0, np.inf], np.float32)),
        Box(-1.0, 1.0, (2, 2)),
        Tuple([Discrete(2), SMALL]),
        Dict({"a": SMALL}),
        MultiDiscrete([2, 3]),
        Discrete(3, start=1),
    ],
    ids=["unbounded", "half bounded", "a matrix", "a tuple", "a dict", "several choices", "from 1 up"],
)
def test_actions_that_do_not_do_are_one_sentence(spec_of, actions):
    with pytest.raises(InputError, match=r"^Actions of 'IqlearnBare-v0' are .*; expected .*\.$") as caught:
        spec_of(SMALL, actions)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("observations", [Discrete(5), Tuple([SMALL, SMALL]), Dict({"a": SMALL})])
def test_observations_that_do_not_do_are_one_sentence(spec_of, observations):
    with pytest.raises(
        InputError, match=r"^Observations of 'IqlearnBare-v0' are .*; expected a Box: register .*flattens.*\.$"
    ) as caught:
        spec_of(observations, SMALL)
    assert "\n" not in str(caught.value)


def test_a_coordinate_that_cannot_vary_is_refused(spec_of):
    actions = Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, 0.0], np.float32))
    with pytest.raises(InputError, match="IqlearnBare-v0"):
        spec_of(SMALL, actions)


def test_an_unknown_environment_is_one_sentence():
    with pytest.raises(InputError, match=r"'Nonsense-v0'.*expected a Gymnasium id") as caught:
        task_spec("Nonsense-v0")
    assert "\n" not in str(caught.value)
