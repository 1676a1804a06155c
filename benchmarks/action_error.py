"""Measure how well expert actions can be predicted, by which `iq.recommended` decides on reward regression.

Writes `results/action_error.csv`.

    python benchmarks/action_error.py --demos DIR                # the tuning seeds
    python benchmarks/action_error.py --demos DIR --seeds 0 1 2
    python benchmarks/action_error.py --demos DMC    # the folder with DeepMind Control demonstrations

A Gaussian process predicts each of the expert's actions from the others. The error, after the noise variance is
subtracted, is a share of the actions' standard deviation. Demonstrations that are not in DIR are left out.
"""

from pathlib import Path

import tables
import tyro

import iqlearn as iq
from iqlearn.extensions.reward_first import leave_one_out_error

COLUMNS = ("demos", "trajectories", "subsample", "seed", "commit", "transitions", "error")
MUJOCO = ("Hopper-v5", "HalfCheetah-v5", "Walker2d-v5", "Ant-v5")
DMC = ("walker_walk", "walker_stand", "quadruped_walk")
KINDS = (
    *((task, "", 1, 1) for task in (*MUJOCO, *DMC)),
    *((task, "", 1, every) for every in (5, 20) for task in MUJOCO[:3]),
    *((task, "-hard", count, 1) for count in (1, 5) for task in MUJOCO[:3]),
)
"""Stem of the file without its suffix, suffix, number of trajectories, and sub-sampling factor."""


def main(demos: Path, seeds: tuple[int, ...] = (1000, 1001), out: Path = tables.RESULTS / "action_error.csv") -> None:
    """Fit a Gaussian process to each kind of demonstrations.

    Args:
        demos: folder with the demonstrations of each task.
        seeds: seeds that draw the trajectories and the sub-sampling offsets.
        out: the table.
    """
    for task, suffix, count, every in KINDS:
        file = demos / f"{task}{suffix}.npz"
        if not file.is_file():
            continue
        recorded = iq.Demos.load(file)
        for seed in seeds:
            part = recorded.take(count, seed=seed).subsample(every, seed=seed)
            error = leave_one_out_error(part, part.task_spec().spanned(part.act))
            values = (f"{task}{suffix}", count, every, seed, tables.COMMIT, len(part), round(error or 0.0, 4))
            print(*values, flush=True)
            tables.merge(out, COLUMNS, [dict(zip(COLUMNS, values, strict=True))], key=5)


if __name__ == "__main__":
    tyro.cli(main)
