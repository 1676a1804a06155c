"""Make the demonstrations of the package's own worlds that ship with it.

    python benchmarks/make_world_demos.py src/iqlearn/data/builtin

`GridWorld-v0.npz`: 30 episodes of the policy that is exactly soft-optimal for the true reward at temperature 1 and
discount 0.99, found by soft value iteration, its actions drawn. `PointMazeWall-v0.npz`: 10 episodes of the most likely
actions of a soft actor-critic, trained on the true reward for 20,000 steps by this library. Both are recorded from
reset seeds that neither training nor any benchmark uses. Takes about 10 minutes, nearly all of it the second.
"""

from pathlib import Path
from typing import Literal

import gymnasium as gym
import numpy as np
import tyro
from jaxtyping import Float, Int

from iqlearn.beginning import begin_expert
from iqlearn.data import Demos
from iqlearn.envs import tabular
from iqlearn.envs.grid import GridWorld
from iqlearn.evaluation import Evaluator
from iqlearn.evaluation.returns import as_arrays
from iqlearn.learning import continue_runs
from iqlearn.settings import SAC, Interaction, Schedule

GRID, MAZE = "iqlearn/GridWorld-v0", "iqlearn/PointMazeWall-v0"
TEMPERATURE, GAMMA = 1.0, 0.99
"""Of the grid world's expert."""
RECORDING_SEED = 6_000_000


def grid_expert(world: GridWorld) -> tabular.SoftSolution:
    """The exact soft-optimal solution of the true reward."""
    mdp = world.tabular(GAMMA)
    cells = np.arange(world.cells)
    paid = world.true_reward(world.observe(cells), cells, world.observe(cells))  # of entering each cell
    return tabular.soft_optimal(mdp, mdp.transition @ paid, TEMPERATURE)


def grid_demos(episodes: int, seed: int) -> Demos:
    """Episodes of the grid world's expert."""
    world = gym.make(GRID).unwrapped
    assert isinstance(world, GridWorld)
    policy, rng = grid_expert(world).policy, np.random.default_rng(seed)

    def act(obs: Float[np.ndarray, "n S"]) -> Int[np.ndarray, " n"]:
        below = np.cumsum(policy[world.cells_of(obs)], axis=1) < rng.random((len(obs), 1))
        return np.minimum(below.sum(axis=1), policy.shape[1] - 1)

    evaluator = Evaluator(GRID)
    played = evaluator.play(act, episodes, seed)
    evaluator.close()
    return Demos.from_arrays({**as_arrays(played), "env": np.array(GRID)}, GRID)


def maze_demos(episodes: int, seed: int, steps: int = 20_000, training_seed: int = 0) -> Demos:
    """Episodes of a soft actor-critic that was trained on the maze's true reward."""
    run = begin_expert(SAC(), Schedule(steps, evaluations=10, seed=training_seed), MAZE, Interaction())
    run = continue_runs([run], [], [None])[0]
    for row in run.rows:
        print(f"step {row['step']}: mean return {row['return_mean']:.1f}, least {row['return_min']:.1f}", flush=True)
    evaluator = Evaluator(MAZE)
    played = evaluator.play(run.policy, episodes, seed)
    evaluator.close()
    return Demos.from_arrays({**as_arrays(played), "env": np.array(MAZE)}, MAZE)


def main(folder: Path, /, only: Literal["grid", "maze", "both"] = "both") -> None:
    """Write the files into `folder`."""
    if only != "maze":
        save(grid_demos(30, RECORDING_SEED), folder / "GridWorld-v0.npz")
    if only != "grid":
        save(maze_demos(10, RECORDING_SEED), folder / "PointMazeWall-v0.npz")


def save(demos: Demos, path: Path) -> None:
    """Write them, and say what they are."""
    demos.save(path)
    print(demos.summary(), f"{path.stat().st_size} bytes", flush=True)


if __name__ == "__main__":
    tyro.cli(main)
