"""Seconds of `iqlearn train`, start and evaluation included, to what a few steps give: `results/wallclock.csv`.

    python benchmarks/wallclock.py --demos DIR --steps 5000        # on an idle machine

One run at a time, with default settings, one demonstration, all cores.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tables
import tyro
from online import EASY, RESULTS, Job

from iqlearn.records import RESULT, read_json

COLUMNS = ("task", "seed", "steps", "seconds", "normalised")


def timed(job: Job, folder: Path) -> tables.Row:
    """One run from the command to its exit."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "iqlearn", *job.command(folder)], check=True, capture_output=True)
    seconds, reached = time.perf_counter() - started, read_json(folder / RESULT)["normalised_return"]
    figures = (job.task, job.seed, job.steps, round(seconds, 1), round(reached, 4))
    return dict(zip(COLUMNS, figures, strict=True))


def main(demos: Path, tasks: tuple[str, ...] = EASY[:3], seeds: int = 3, steps: int = 5_000) -> None:
    """Time each task and seed.

    Args:
        demos: folder with the demonstrations of each task.
        tasks: which.
        seeds: how many, from 0 up.
        steps: of the environment.
    """
    for seed in range(seeds):
        for task in tasks:
            job = Job("wallclock", task, demos / f"{task}.npz", 1, 1, seed, steps, evaluations=1)
            with tempfile.TemporaryDirectory() as folder:
                row = timed(job, Path(folder) / "run")
            print(*row.values(), flush=True)
            tables.merge(RESULTS / "wallclock.csv", COLUMNS, [row], key=3)


if __name__ == "__main__":
    tyro.cli(main)
