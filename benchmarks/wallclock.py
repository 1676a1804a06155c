"""Seconds of `iqlearn train`, start and evaluation included, to what a few steps give: `results/wallclock.csv`.

    python benchmarks/wallclock.py --demos DIR --steps 5000        # on an idle machine

One run at a time, with recommended settings, one demonstration, all cores.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tables
import tyro
from online import EASY, Job

from iqlearn.files import read_json
from iqlearn.runs.folder import RESULT

COLUMNS = ("task", "seed", "steps", "commit", "seconds", "normalised")


def timed(job: Job, folder: Path) -> tables.Row:
    """One run from the command to its exit."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "iqlearn", *job.command(folder)], check=True, capture_output=True)
    seconds, reached = time.perf_counter() - started, read_json(folder / RESULT)["normalised_return"]
    figures = (job.task, job.seed, job.steps, tables.COMMIT, round(seconds, 1), round(reached, 4))
    return dict(zip(COLUMNS, figures, strict=True))


def main(
    demos: Path,
    tasks: tuple[str, ...] = EASY[:3],
    seeds: int = 3,
    steps: int = 5_000,
    out: Path = tables.RESULTS / "wallclock.csv",
) -> None:
    """Time each task and seed.

    Args:
        demos: folder with the demonstrations of each task.
        tasks: which.
        seeds: how many, from 0 up.
        steps: of the environment.
        out: the table.
    """
    for seed in range(seeds):
        for task in tasks:
            job = Job("wallclock", task, demos / f"{task}.npz", 1, 1, seed, steps, evaluations=1)
            with tempfile.TemporaryDirectory() as folder:
                row = timed(job, Path(folder) / "run")
            print(*row.values(), flush=True)
            tables.merge(out, COLUMNS, [row], key=4)


if __name__ == "__main__":
    tyro.cli(main)
