"""Measure every divergence on four tasks, into `results/divergences.csv`.

    python benchmarks/divergences.py --demos DIR                      # everything
    python benchmarks/divergences.py --demos DIR --only CartPole-v1

CartPole-v1 (one demonstration, every 20th step) and LunarLander-v3 (three, every 5th) offline, 10,000 updates, seeds
1000 to 1002; Hopper-v5 and HalfCheetah-v5 online from one demonstration, --steps steps, seed 1000. Everything but the
divergence is as `iq.recommended` chooses. Rows of this commit are not measured again, so a stopped script can be called
again. A run whose loss became infinite or NaN has no return.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import tables
import tyro
from offline import learn_each

import iqlearn as iq
from iqlearn.envs.gym import Environment
from iqlearn.objectives.divergences import DivergenceName

COLUMNS = ("task", "mode", "divergence", "seed", "steps", "commit", "normalised", "seconds")
KEY = 6
VARIANTS: dict[str, dict[str, Any]] = {
    **{name: {"divergence": name} for name in get_args(DivergenceName)},
    "chi2+w1": {"divergence": "chi2", "gradient_penalty": 1.0},
    "chi2_mixture+w1": {"divergence": "chi2_mixture", "gradient_penalty": 1.0},
}
PARTS = {"CartPole-v1": (1, 20), "LunarLander-v3": (3, 5), "Hopper-v5": (1, 1), "HalfCheetah-v5": (1, 1)}
"""Number of trajectories, and sub-sampling factor (every n-th transition is kept)."""
OFFLINE, UPDATES = ("CartPole-v1", "LunarLander-v3"), 10_000
FIRST_SEED, OFFLINE_SEEDS = 1000, 3
Only = Literal["CartPole-v1", "LunarLander-v3", "Hopper-v5", "HalfCheetah-v5", "all"]


@dataclass(frozen=True)
class Job:
    """The runs of one divergence on one task, one for each seed."""

    task: str
    divergence: str
    seeds: tuple[int, ...]
    steps: int

    @property
    def mode(self) -> Literal["offline", "online"]:
        return "offline" if self.task in OFFLINE else "online"

    def key(self, seed: int) -> tuple[str, ...]:
        return (self.task, self.mode, self.divergence, str(seed), str(self.steps), tables.COMMIT)

    def runs(self, demos: iq.Demos) -> list[iq.Run]:
        count, every = PARTS[self.task]
        parts = [demos.take(count, seed=seed).subsample(every, seed=seed) for seed in self.seeds]
        shared: dict[str, Any] = {"env": Environment.of(self.task), "mode": self.mode, "steps": self.steps}
        settings = [iq.recommended(part, quiet=True, **shared, **VARIANTS[self.divergence]) for part in parts]
        return learn_each(settings, parts, self.seeds, evaluations=1 if self.mode == "offline" else 2, **shared)


def jobs(only: Only, steps: int) -> Iterator[Job]:
    """Yield the jobs of the table, task by task."""
    for task in PARTS if only == "all" else (only,):
        seeds, length = (OFFLINE_SEEDS, UPDATES) if task in OFFLINE else (1, steps)
        for divergence in VARIANTS:
            yield Job(task, divergence, tuple(range(FIRST_SEED, FIRST_SEED + seeds)), length)


def rows(job: Job, demos: iq.Demos) -> Iterator[tables.Row]:
    """Train the runs of a job and yield a row for each seed."""
    for run in job.runs(demos):
        done = run.result["status"] == "completed"
        value = round(run.result["normalised_return"], 4) if done else ""
        seconds = round(run.result["seconds"]) if done else ""
        yield dict(zip(COLUMNS, (*job.key(run.schedule.seed), value, seconds), strict=True))


def main(demos: Path, only: Only = "all", steps: int = 20_000, out: Path = tables.RESULTS / "divergences.csv") -> None:
    """Train the missing runs. The table is written after every divergence.

    Args:
        demos: folder with the demonstrations of each task.
        only: one task, or all.
        steps: environment steps of the online tasks.
        out: the table.
    """
    there = {tuple(row.get(name, "") for name in COLUMNS[:KEY]) for row in tables.read(out)}
    for job in jobs(only, steps):
        if all(job.key(seed) in there for seed in job.seeds):
            continue
        found = list(rows(job, iq.Demos.load(demos / f"{job.task}.npz")))
        tables.merge(out, COLUMNS, found, KEY)
        print(job.task, job.mode, job.divergence, [row["normalised"] for row in found], flush=True)


if __name__ == "__main__":
    tyro.cli(main)
