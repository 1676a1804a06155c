"""The grid world: a Gymnasium environment, and the table of its transitions."""

import gymnasium as gym
import numpy as np
import pytest
import tabular
from gymnasium.utils.env_checker import check_env

from iqlearn.data.demos import Demos
from iqlearn.envs import worlds
from iqlearn.envs.gym import Environment
from iqlearn.envs.worlds.grid import ACTIONS, GridWorld
from iqlearn.types import ArraySpec, TaskSpec

ENV = "iqlearn/GridWorld-v0"


def played(world: GridWorld, steps: int, seed: int) -> list[tuple]:
    """(cell, action, next cell, reward) of random play."""
    rng = np.random.default_rng(seed)
    cell, rows = int(world.reset(seed=seed)[0].argmax()), []
    for _ in range(steps):
        action = int(rng.integers(len(ACTIONS)))
        obs, reward, *_ = world.step(action)
        rows.append((cell, action, int(obs.argmax()), reward))
        cell = rows[-1][2]
    return rows


def test_grid_world_is_a_valid_gymnasium_environment_with_a_task():
    check_env(Environment.of(ENV).make().unwrapped, skip_render_check=True)
    assert Environment.of(ENV).task == TaskSpec(ArraySpec((25,)), 5)
    assert Environment.of(ENV).time_limit == 50


def test_environment_finds_the_true_reward_and_passes_arguments():
    """The id may name its module, too; keyword arguments reach the world."""
    small = Environment.of(f"iqlearn.envs:{ENV}", {"size": 3, "goal": (0, 0)})
    assert small.task.obs == ArraySpec((9,))
    world = GridWorld(size=3, goal=(0, 0))
    obs = world.observe(np.arange(9))
    assert small.true_reward(obs, np.zeros(9, int), obs).tolist() == [1.0] + 8 * [0.0]


def test_registering_again_changes_nothing():
    before = dict(gym.registry)
    worlds.register()
    assert dict(gym.registry) == before


def test_episodes_end_only_at_the_time_limit():
    env = Environment.of(ENV).make()
    env.reset(seed=0)
    ends = [env.step(4)[2:4] for _ in range(50)]
    assert [terminated for terminated, _ in ends] == [False] * 50
    assert [truncated for _, truncated in ends] == [False] * 49 + [True]


@pytest.mark.parametrize("slip", [0.0, 0.5])
def test_play_is_reproducible_by_seed(slip):
    assert played(GridWorld(slip=slip), 100, seed=3) == played(GridWorld(slip=slip), 100, seed=3)
    assert played(GridWorld(slip=slip), 100, seed=3) != played(GridWorld(slip=slip), 100, seed=4)


def test_episodes_start_in_every_cell():
    world = GridWorld(size=3, goal=(0, 0))
    assert {int(world.reset(seed=seed)[0].argmax()) for seed in range(200)} == set(range(9))


def test_moves_match_the_names_of_the_actions():
    world = GridWorld(size=3, goal=(0, 2))
    to = dict(zip(ACTIONS, world.moves().T, strict=True))
    assert to["up"].tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 5]
    assert to["left"].tolist() == [0, 0, 1, 3, 3, 4, 6, 6, 7]
    assert to["right"][4] == 5
    assert to["down"][4] == 7
    assert (to["stay"] == np.arange(9)).all()


@pytest.mark.parametrize("slip", [0.0, 0.3])
def test_transition_table_matches_the_frequencies_of_play(slip):
    world = GridWorld(size=3, goal=(1, 1), slip=slip)
    mdp = tabular.of_grid(world, 0.9)
    np.testing.assert_allclose(mdp.transition.sum(axis=2), 1.0)
    counts = np.zeros_like(mdp.transition)
    for cell, action, following, _ in played(world, 20_000, seed=0):
        counts[cell, action, following] += 1
    frequencies = counts / counts.sum(axis=2, keepdims=True)
    assert np.abs(frequencies - mdp.transition).max() < (1e-9 if slip == 0.0 else 0.08)


def test_true_reward_equals_the_step_reward():
    world = GridWorld()
    cells, actions, following, rewards = map(np.array, zip(*played(world, 500, seed=1), strict=True))
    told = world.true_reward(world.observe(cells), actions, world.observe(following))
    assert told.dtype == np.float32
    np.testing.assert_array_equal(told, rewards)
    assert 0 < rewards.sum() < 500


def test_cells_of_inverts_observe():
    world = GridWorld(size=4)
    np.testing.assert_array_equal(world.cells_of(world.observe(np.arange(16))), np.arange(16))


@pytest.mark.parametrize("wrong", [{"size": 1}, {"goal": (5, 0)}, {"slip": 1.5}])
def test_invalid_grid_is_rejected(wrong):
    with pytest.raises(ValueError, match="expected"):
        GridWorld(**wrong)


def test_builtin_demonstrations_match_rewards_and_moves_of_the_world():
    demos = Demos.builtin(ENV)
    assert (demos.episodes, len(demos), demos.env) == (30, 1_500, ENV)
    world = GridWorld()
    np.testing.assert_array_equal(demos.rew, world.true_reward(demos.obs, demos.act, demos.next_obs))
    assert (world.moves()[world.cells_of(demos.obs), demos.act] == world.cells_of(demos.next_obs)).all()
