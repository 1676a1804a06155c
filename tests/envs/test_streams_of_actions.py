"""Random actions are independent of the episode that they are played in, although one seed gives both."""

import gymnasium as gym
import numpy as np
import pytest

from iqlearn.envs.gym import Environment
from iqlearn.envs.stepper import Stepper
from iqlearn.evaluation.returns import uniform

SEEDS = range(200)
PENDULUM = Environment.of("Pendulum-v1")


def of_stepper(seed):
    stepper = Stepper(PENDULUM, 1)
    stepper.reset(seed)
    stepper.seed_actions(seed)
    action = stepper.random_actions()
    stepper.close()
    return action


def of_policy(seed):
    return uniform(PENDULUM.task, seed)(np.zeros((1, 3), np.float32))


@pytest.mark.parametrize("first_action", [of_stepper, of_policy])
def test_first_random_action_does_not_follow_from_the_first_angle(first_action):
    env = gym.make("Pendulum-v1")
    angles = [float(np.arctan2(obs[1], obs[0])) for obs in (env.reset(seed=seed)[0] for seed in SEEDS)]
    actions = [float(first_action(seed)[0, 0]) for seed in SEEDS]
    assert abs(np.corrcoef(angles, actions)[0, 1]) < 0.3
    assert len(set(actions)) == len(SEEDS)
    assert actions == [float(first_action(seed)[0, 0]) for seed in SEEDS], "the same seed gives the same actions"
