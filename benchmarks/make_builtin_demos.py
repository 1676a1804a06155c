"""Make the demonstrations that ship with the package.

    python benchmarks/make_builtin_demos.py src/iqlearn/data/builtin

- `CartPole-v1.npz`: 6 episodes of the most likely actions of a soft Q-learning expert, trained on the true reward. The
  expert is that of the last perfect evaluation during training. The file in the package was made by the version of this
  script in commit 690f487, whose replay drew other batches; now the script makes another expert of the same kind.
- `GridWorld-v0.npz`: 30 episodes of the policy that is exactly soft-optimal for the true reward at temperature 1 and
  discount 0.99, found by soft value iteration. Actions are sampled.
- `PointMazeWall-v0.npz`: 10 episodes of the most likely actions of a soft actor-critic, trained on the true reward for
  20,000 steps.
- `Pendulum-v1.npz`: 20 episodes of a controller that pumps energy up to that of the upright position, then holds it.

Episodes are recorded from reset seeds that neither training nor any benchmark uses. The script takes about 10 minutes,
nearly all of it for the maze.
"""

from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import tabular
import tyro
from guard import swing_up
from jaxtyping import Float, Int

import iqlearn as iq
from iqlearn.envs.worlds.grid import GridWorld
from iqlearn.evaluation.returns import Act, Evaluator, as_arrays

CARTPOLE, GRID, MAZE = "CartPole-v1", "iqlearn/GridWorld-v0", "iqlearn/PointMazeWall-v0"
PENDULUM = "Pendulum-v1"
EXPERT = iq.SoftQLearning(temperature=2.0, learning_rate=5e-4, network=iq.Network((64, 64), "relu"))
ACTING = iq.Interaction(num_envs=8, random_steps=4_096, update_ratio=1 / 8, round_steps=512)
TEMPERATURE, GAMMA = 1.0, 0.99
"""Temperature and discount of the grid world's expert."""
RECORDING_SEED = 6_000_000


def cartpole_expert(steps: int, seed: int = 0) -> Act:
    """Train a CartPole expert and return its policy at the last perfect evaluation.

    Raises:
        SystemExit: no evaluation was perfect.
    """
    perfect: list[iq.Policy] = []

    def remember(training: Any) -> None:
        run = training.runs[0]
        print(f"step {training.done}: mean return {run.rows[-1]['return_mean']:.1f}", flush=True)
        perfect.extend([run.policy] if run.rows[-1]["return_min"] == 500.0 else [])

    options = {"evaluations": 12, "eval_episodes": 40, "interaction": ACTING, "quiet": True}
    iq.train_expert(CARTPOLE, EXPERT, steps=steps, seed=seed, callbacks=[remember], **options)
    if not perfect:
        raise SystemExit("No perfect expert on the way; expected one, try another seed.")
    return perfect[-1]


def grid_expert() -> Act:
    """Return the exact soft-optimal policy of the true reward, with sampled actions."""
    world = gym.make(GRID).unwrapped
    assert isinstance(world, GridWorld)
    mdp, cells = tabular.of_grid(world, GAMMA), np.arange(world.cells)
    paid = world.true_reward(world.observe(cells), cells, world.observe(cells))  # reward of entering each cell
    policy = tabular.soft_optimal(mdp, mdp.transition @ paid, TEMPERATURE).policy
    rng = np.random.default_rng(RECORDING_SEED)

    def act(obs: Float[np.ndarray, "n S"]) -> Int[np.ndarray, " n"]:
        below = np.cumsum(policy[world.cells_of(obs)], axis=1) < rng.random((len(obs), 1))
        return np.minimum(below.sum(axis=1), policy.shape[1] - 1)

    return act


def maze_expert(steps: int) -> Act:
    """Train a soft actor-critic on the true reward and return its policy."""
    return iq.train_expert(MAZE, steps=steps, evaluations=10).policy


def record(env: str, act: Act, episodes: int, folder: Path) -> None:
    """Play the episodes, write them to a file, and print their summary."""
    evaluator = Evaluator(env, lanes=episodes)
    played = evaluator.play(act, episodes, RECORDING_SEED)
    evaluator.close()
    demos = iq.Demos.from_arrays({**as_arrays(played), "env": np.array(env)}, env)
    path = folder / f"{env.rpartition('/')[2]}.npz"
    demos.save(path)
    print(demos.summary(), f"{path.stat().st_size} bytes", flush=True)


def main(
    folder: Path,
    /,
    only: tuple[Literal["cartpole", "grid", "maze", "pendulum"], ...] = ("cartpole", "grid", "maze", "pendulum"),
    cartpole_steps: int = 307_200,
    maze_steps: int = 20_000,
) -> None:
    """Write the files into `folder`.

    Args:
        folder: folder of the files.
        only: files to write.
        cartpole_steps: environment steps of the CartPole expert's training.
        maze_steps: environment steps of the maze expert's training.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if "cartpole" in only:
        record(CARTPOLE, cartpole_expert(cartpole_steps), 6, folder)
    if "grid" in only:
        record(GRID, grid_expert(), 30, folder)
    if "maze" in only:
        record(MAZE, maze_expert(maze_steps), 10, folder)
    if "pendulum" in only:
        record(PENDULUM, swing_up, 20, folder)


if __name__ == "__main__":
    tyro.cli(main)
