"""Rollouts of mixed quality: their reset seeds and their share of random actions."""

import gymnasium as gym
import numpy as np
import pytest

from iqlearn.envs.gym import Environment
from iqlearn.envs.spaces import actions_seed
from iqlearn.errors import InputError
from iqlearn.evaluation.returns import disturbed, rollouts, uniform

MAZE = "iqlearn/PointMaze-v0"


def up(obs: np.ndarray) -> np.ndarray:
    return np.tile(np.float32([0.0, 1.0]), (len(obs), 1))


def test_each_rollout_kind_has_its_own_reset_seeds():
    played = rollouts(MAZE, up, ["policy", "noisy", "random", "policy"], episodes=2, seed=3)
    assert list(played) == ["policy", "noisy", "random"]
    maze = gym.make(MAZE)
    for kind, first in (("policy", 7_300_000), ("random", 7_310_000), ("noisy", 7_320_000)):
        for i, episode in enumerate(played[kind]):
            assert episode.obs[0].tolist() == maze.reset(seed=first + i)[0].tolist()


@pytest.mark.parametrize("episodes", [0, 10_001])
def test_more_episodes_than_reset_seeds_of_a_kind_are_rejected(episodes):
    with pytest.raises(InputError, match=f"{episodes} episodes a kind of rollouts; expected a number from 1 to 10,000"):
        rollouts(MAZE, up, ["policy"], episodes)


def test_kinds_differ_in_their_share_of_random_actions():
    played = rollouts(MAZE, up, ["policy", "random", "noisy"], episodes=4)
    shares = {kind: [(e.act != up(e.obs)).any(axis=1).mean() for e in episodes] for kind, episodes in played.items()}
    assert shares["policy"] == [0.0] * 4
    assert min(shares["random"]) > 0.99
    assert shares["noisy"] == pytest.approx(np.linspace(0.05, 0.75, 4), abs=0.15)


def test_one_lane_plays_the_same_rollouts_in_one_environment():
    made = []

    def make() -> gym.Env:
        made.append(1)
        return gym.make(MAZE)

    alone = rollouts(make, up, ["policy", "noisy"], 3, lanes=1)
    assert len(made) <= 2  # one to read the spaces
    beside = rollouts(MAZE, up, ["policy", "noisy"], 3)
    for kind in alone:
        for a, b in zip(alone[kind], beside[kind], strict=True):
            assert a.act.tolist() == b.act.tolist()


def test_rollouts_repeat_by_seed():
    first, again, other = (rollouts(MAZE, up, ["noisy"], 2, seed)["noisy"] for seed in (0, 0, 1))
    for a, b, c in zip(first, again, other, strict=True):
        assert a.act.tolist() == b.act.tolist() != c.act.tolist()


@pytest.mark.parametrize("env", ["CartPole-v1", MAZE])
def test_uniform_policy_matches_samples_of_the_action_space(env):
    task, space = Environment.of(env).task, gym.make(env).action_space
    space.seed(actions_seed(5))
    obs = np.zeros((3, 2), np.float32)
    act = uniform(task, 5)
    for _ in range(2):
        np.testing.assert_array_equal(act(obs), [space.sample() for _ in range(3)])
    assert act(obs).dtype == space.dtype


def test_disturbed_policy_randomises_a_share_of_discrete_actions():
    act = disturbed(lambda obs: np.zeros(len(obs), np.int64), Environment.of("CartPole-v1").task, 0.5, seed=0)
    drawn = np.concatenate([act(np.zeros((10, 4), np.float32)) for _ in range(100)])
    assert drawn.shape == (1_000,)
    assert 0.2 < drawn.mean() < 0.3


@pytest.mark.parametrize("share", [0.05, 0.25, 0.75])
def test_replaced_actions_are_uniform_whatever_the_share(share):
    """The draw that decides to replace an action does not choose the new one. One dimension shows it best."""
    act = disturbed(lambda obs: np.full((len(obs), 1), 9.0), Environment.of("Pendulum-v1").task, share, seed=0)
    drawn = act(np.zeros((20_000, 3), np.float32))[:, 0]
    replaced = drawn[drawn != 9.0]
    assert abs(len(replaced) / len(drawn) - share) < 0.02
    assert abs(replaced.mean()) < 0.15
    assert replaced.min() < -1.9
    assert replaced.max() > 1.9


@pytest.mark.parametrize(("kinds", "episodes"), [(["policy", "best"], 1), (["policy"], 0)])
def test_invalid_rollout_arguments_raise_a_one_line_error(kinds, episodes):
    with pytest.raises(InputError, match=r"; expected .*\.$") as caught:
        rollouts(MAZE, up, kinds, episodes)
    assert "\n" not in str(caught.value)
