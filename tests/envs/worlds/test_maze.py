"""The point mazes: walls stop the point, and the reward is the same in every maze."""

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from iqlearn.data.demos import Demos
from iqlearn.envs.gym import Environment
from iqlearn.envs.worlds.maze import GOAL, PointMaze
from iqlearn.types import ArraySpec, Bounds, TaskSpec

IDS = {"none": "iqlearn/PointMaze-v0", "right": "iqlearn/PointMazeWall-v0", "left": "iqlearn/PointMazeMirrored-v0"}
GAPS = pytest.mark.parametrize("gap", list(IDS))


def played(maze: PointMaze, steps: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Observations, actions, next observations, rewards of random play that drifts up and down."""
    rng = np.random.default_rng(seed)
    obs, rows = maze.reset(seed=seed)[0], []
    for step in range(steps):
        drift = [0.0, 0.6 if step // 40 % 2 == 0 else -0.6]
        action = np.clip(rng.uniform(-1, 1, 2) + drift, -1, 1).astype(np.float32)
        following, reward, *_ = maze.step(action)
        rows.append((obs, action, following, reward))
        obs = following
    before, actions, after, rewards = map(np.array, zip(*rows, strict=True))
    return before, actions, after, rewards


def side(p: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sign of the area of the triangle a, b, p: on which side of the line through a and b p lies."""
    return np.sign((b - a)[..., 0] * (p - a)[..., 1] - (b - a)[..., 1] * (p - a)[..., 0])


def crossings(maze: PointMaze, before: np.ndarray, after: np.ndarray) -> int:
    """The number of moves that cross the middle of the wall, computed by another method than the maze's own."""
    ends = (-1.0, 0.4) if maze.gap == "right" else (-0.4, 1.0)
    left, right = np.array([ends[0], 0.0]), np.array([ends[1], 0.0])
    before, after = before.astype(float), after.astype(float)
    parted = side(before, left, right) * side(after, left, right) < 0
    return int((parted & (side(left, before, after) * side(right, before, after) < 0)).sum())


@GAPS
def test_maze_is_a_valid_gymnasium_environment_with_a_task(gap):
    environment = Environment.of(IDS[gap])
    check_env(environment.make().unwrapped, skip_render_check=True)
    assert environment.task == TaskSpec(ArraySpec((2,)), Bounds((-1.0, -1.0), (1.0, 1.0)))
    assert environment.time_limit == 100
    assert environment.make().unwrapped.gap == gap


@GAPS
def test_episodes_end_only_at_the_time_limit(gap):
    env = Environment.of(IDS[gap]).make()
    env.reset(seed=0)
    ends = [env.step(np.zeros(2, np.float32))[2:4] for _ in range(100)]
    assert not any(terminated for terminated, _ in ends)
    assert [truncated for _, truncated in ends] == [False] * 99 + [True]


@pytest.mark.parametrize("gap", ["left", "right"])
@pytest.mark.parametrize("seed", range(3))
def test_walls_hold_under_random_play(gap, seed):
    maze = PointMaze(gap)
    before, _, after, _ = played(maze, 3_000, seed)
    assert crossings(maze, before, after) == 0
    assert not any(maze.inside(position) for position in after)
    assert (after[:, 1] > 0.2).any(), "play must find the gap"
    assert (np.abs(after[:, 1]) == np.float32(0.1)).any(), "play must touch the wall"
    assert (np.abs(after[:, 0]) == np.float32(0.4)).any(), "play must touch its end"
    assert np.abs(after).max() <= 1.0
    free, _, moved, _ = played(PointMaze("none"), 3_000, seed)
    assert crossings(maze, free, moved) > 0, "without a wall the same play crosses its place"


@settings(deadline=None, max_examples=300)
@given(
    gap=st.sampled_from(["left", "right"]),
    x=st.floats(-1, 1, width=32),
    y=st.floats(-0.25, 0.25, width=32),
    action=st.tuples(st.floats(-1, 1, width=32), st.floats(-1, 1, width=32)),
)
def test_no_single_step_crosses_a_wall(gap, x, y, action):
    maze = PointMaze(gap)
    before, _ = maze.reset(seed=0, options={"position": (x, y)})
    assume(not maze.inside(before))
    after, *_ = maze.step(np.array(action, np.float32))
    assert crossings(maze, before[None], after[None]) == 0
    assert not maze.inside(after)


def test_point_passes_the_gap_but_not_the_wall():
    up = np.array([0.0, 1.0], np.float32)
    for gap, open_x, closed_x in (("right", 0.7, -0.7), ("left", -0.7, 0.7)):
        maze = PointMaze(gap)
        for x, passes in ((open_x, True), (closed_x, False)):
            maze.reset(seed=0, options={"position": (x, -0.15)})
            heights = [float(maze.step(up)[0][1]) for _ in range(5)]
            assert heights[-1] == pytest.approx(0.35 if passes else -0.1)


def test_blocked_point_slides_along_the_wall():
    maze = PointMaze("right")
    for start, end in (((-0.5, -0.12), (-0.4, -0.1)), ((-0.5, 0.12), (-0.4, 0.22)), ((0.45, 0.0), (0.55, 0.1))):
        maze.reset(seed=0, options={"position": start})
        assert maze.step(np.ones(2, np.float32))[0] == pytest.approx(end, abs=1e-6)
    maze.reset(seed=0, options={"position": (0.45, -0.05)})
    assert maze.step(np.array([-1.0, 1.0], np.float32))[0] == pytest.approx((0.4, 0.05), abs=1e-6)


def test_episodes_start_at_the_bottom_or_at_any_free_position():
    for env_id, anywhere in ((IDS["left"], False), ("iqlearn/PointMazeMirroredAnywhere-v0", True)):
        maze = Environment.of(env_id).make().unwrapped
        starts = np.array([maze.reset(seed=seed)[0] for seed in range(300)])
        assert not any(maze.inside(start) for start in starts)
        assert (starts[:, 1].max() > 0.5) == anywhere
        assert starts[:, 1].min() < -0.7


def test_play_is_reproducible_by_seed():
    first, again, other = (played(PointMaze("right"), 50, seed)[2] for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@GAPS
def test_true_reward_equals_the_step_reward_and_ignores_walls(gap):
    maze = PointMaze(gap)
    before, actions, after, rewards = played(maze, 300, seed=0)
    np.testing.assert_array_equal(maze.true_reward(before, actions, after), rewards.astype(np.float32))
    np.testing.assert_array_equal(PointMaze("none").true_reward(before, actions, after), rewards.astype(np.float32))
    at_goal = maze.true_reward(GOAL[None], np.zeros((1, 2), np.float32), GOAL[None])
    assert at_goal == pytest.approx([0.0])
    assert (rewards < 0.0).all()


def test_the_mazes_are_mirror_images():
    flip = np.array([-1.0, 1.0], np.float32)
    wall, mirrored = PointMaze("right"), PointMaze("left")
    rng = np.random.default_rng(0)
    start, _ = wall.reset(seed=0)
    mirrored.reset(seed=0, options={"position": start * flip})
    for _ in range(500):
        action = rng.uniform(-1, 1, 2).astype(np.float32)
        (a, reward, *_), (b, mirrored_reward, *_) = wall.step(action), mirrored.step(action * flip)
        np.testing.assert_allclose(a, b * flip, atol=1e-6)
        assert reward == pytest.approx(mirrored_reward, abs=1e-5)


def test_builtin_demonstrations_respect_the_wall_and_reach_the_goal():
    demos = Demos.builtin(IDS["right"])
    maze = PointMaze("right")
    assert (demos.episodes, demos.env) == (10, IDS["right"])
    assert crossings(maze, demos.obs, demos.next_obs) == 0
    assert not any(maze.inside(position) for position in demos.next_obs)
    np.testing.assert_allclose(demos.rew, maze.true_reward(demos.obs, demos.act, demos.next_obs), atol=1e-6)
    last = demos.next_obs[demos.trunc]
    assert np.linalg.norm(last - GOAL, axis=1).max() < 0.1, "the expert ends at the goal"
