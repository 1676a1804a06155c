"""Measure whether training ends with a worse policy than the pretrained one, into `results/guard.csv`.

    python benchmarks/guard.py --demos DIR                                  # five tasks, five seeds
    python benchmarks/guard.py --demos DIR --only InvertedPendulum-v5

One demonstration, the recommended settings. Column `start` is the return of the pretrained policy, `final` that of the
policy that the run returns, `last` that of the last evaluation. Each is the mean of the 20 episodes of an evaluation of
the run. `guard` is the number of rollbacks. The experts of Pendulum-v1 and MountainCarContinuous-v0 are the controllers
below.
"""

from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import numpy as np
import tables
import tyro

import iqlearn as iq
from iqlearn.envs.gym import Environment
from iqlearn.evaluation.returns import Evaluator, as_arrays

COLUMNS = ("task", "seed", "commit", "steps", "expert", "start", "final", "last", "guard")
STEPS = {
    "InvertedPendulum-v5": 10_000,
    "Pendulum-v1": 10_000,
    "MountainCarContinuous-v0": 10_000,
    "Hopper-v5": 20_000,
    "Walker2d-v5": 20_000,
}


def swing_up(obs: np.ndarray) -> np.ndarray:
    """Pendulum: pump energy up to that of the upright position, then hold it there."""
    cos, sin, speed = obs.T
    angle, missing = np.arctan2(sin, cos), 15.0 - (0.5 * speed**2 + 15.0 * cos)
    hold = -12.0 * angle - 3.0 * speed
    pump = 2.0 * np.sign(np.where(speed == 0.0, 1.0, speed) * missing)
    return np.clip(np.where(cos > 0.9, hold, pump), -2.0, 2.0)[:, None].astype(np.float32)


def rock(obs: np.ndarray) -> np.ndarray:
    """MountainCarContinuous: push in the direction of the motion."""
    return np.where(obs[:, 1:] >= 0.0, 1.0, -1.0).astype(np.float32)


CONTROLLERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"Pendulum-v1": swing_up, "MountainCarContinuous-v0": rock}


def demonstrations(task: str, folder: Path) -> iq.Demos:
    """Read the demonstrations of the task from `folder`, or record five episodes of its controller."""
    if task not in CONTROLLERS:
        return iq.Demos.load(folder / f"{task}.npz")
    played = Evaluator(Environment.of(lambda: gym.make(task))).play(CONTROLLERS[task], 5, 1_000)
    return iq.Demos.from_arrays(as_arrays(played), f"{task} controller")


def main(demos: Path, only: str = "", seeds: int = 5, first: int = 0, out: Path = tables.RESULTS / "guard.csv") -> None:
    """Train each task and compare the final and last returns with that of the start.

    Args:
        demos: folder with the demonstrations of the MuJoCo tasks.
        only: one of the tasks; by default all.
        seeds: number of seeds.
        first: the first seed; settings are tuned on seeds from 1000 up.
        out: the table.
    """
    for task, steps in STEPS.items():
        if only not in ("", task):
            continue
        for seed in range(first, first + seeds):
            part = demonstrations(task, demos).take(1, seed=seed)
            settings = iq.recommended(part, task, steps=steps)
            run = iq.learn(settings, part, env=task, steps=steps, seed=seed)
            result = run.result
            ends = run.rows[0]["return_mean"], result["mean_return"], result["last_mean_return"]
            values = (task, seed, tables.COMMIT, steps, result["expert_return"], *ends)
            values += (len(result.get("guard", [])),)
            row = [round(x, 1) if isinstance(x, float) else x for x in values]
            print(*row, flush=True)
            tables.merge(out, COLUMNS, [dict(zip(COLUMNS, row, strict=True))], key=4)


if __name__ == "__main__":
    tyro.cli(main)
