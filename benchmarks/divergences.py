"""Every divergence on four tasks, into `results/divergences.csv`.

    python benchmarks/divergences.py --demos ../shared/demos                      # everything
    python benchmarks/divergences.py --demos ../shared/demos --only CartPole-v1

CartPole-v1 (one demonstration, every 20th step) and LunarLander-v3 (three, every 5th) offline, 10,000 updates, seeds
1000 to 1002; Hopper-v5 and HalfCheetah-v5 online from one demonstration, --steps steps, seed 1000. Everything but the
divergence is at its default. Rows that are there are kept: stopped and called again, the script goes on where it was.
A run whose loss stopped being finite has no return.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import tables
import tyro

import iqlearn as iq
from iqlearn.settings import DivergenceName

RESULTS = Path(__file__).parent / "results"
COLUMNS = ("task", "mode", "divergence", "seed", "steps", "normalised", "seconds")
VARIANTS: dict[str, dict[str, Any]] = {
    **{name: {"divergence": name} for name in get_args(DivergenceName)},
    "chi2+w1": {"divergence": "chi2", "gradient_penalty": 1.0},
    "chi2_mixture+w1": {"divergence": "chi2_mixture", "gradient_penalty": 1.0},
}
PARTS = {"CartPole-v1": (1, 20), "LunarLander-v3": (3, 5), "Hopper-v5": (1, 1), "HalfCheetah-v5": (1, 1)}
"""Trajectories, and every which transition of them."""
OFFLINE, UPDATES = ("CartPole-v1", "LunarLander-v3"), 10_000
FIRST_SEED, OFFLINE_SEEDS = 1000, 3
Only = Literal["CartPole-v1", "LunarLander-v3", "Hopper-v5", "HalfCheetah-v5", "all"]


@dataclass(frozen=True)
class Job:
    """The seeds of one divergence on one task."""

    task: str
    divergence: str
    seeds: tuple[int, ...]
    steps: int

    @property
    def mode(self) -> str:
        return "offline" if self.task in OFFLINE else "online"

    def key(self, seed: int) -> tuple[str, ...]:
        return (self.task, self.mode, self.divergence, str(seed), str(self.steps))

    def runs(self, demos: iq.Demos) -> Sequence[iq.Run]:
        """Offline the seeds are one program, online a run each."""
        count, every = PARTS[self.task]
        parts = [demos.take(count, seed=seed).subsample(every, seed=seed) for seed in self.seeds]
        variant = VARIANTS[self.divergence]
        if self.mode == "offline":
            settings = replace(iq.IQLearn(), **variant)
            return iq.learn_seeds(
                settings, parts, seeds=self.seeds, env=self.task, steps=self.steps, evaluations=1, quiet=True
            )
        settings = replace(iq.IQLearnContinuous(), **variant)
        return [
            iq.learn(settings, part, env=self.task, online=True, steps=self.steps, evaluations=2, seed=seed, quiet=True)
            for part, seed in zip(parts, self.seeds, strict=True)
        ]


def jobs(only: Only, steps: int) -> Iterator[Job]:
    """The table, task by task."""
    for task in PARTS if only == "all" else (only,):
        seeds, length = (OFFLINE_SEEDS, UPDATES) if task in OFFLINE else (1, steps)
        for divergence in VARIANTS:
            yield Job(task, divergence, tuple(range(FIRST_SEED, FIRST_SEED + seeds)), length)


def rows(job: Job, demos: iq.Demos) -> Iterator[tables.Row]:
    """Train, and tell what came out; a row a seed."""
    for run in job.runs(demos):
        done = run.result["status"] == "completed"
        value = round(run.result["normalised_return"], 4) if done else ""
        seconds = round(run.result["seconds"]) if done else ""
        yield dict(zip(COLUMNS, (*job.key(run.schedule.seed), value, seconds), strict=True))


def main(demos: Path, only: Only = "all", steps: int = 20_000, out: Path = RESULTS / "divergences.csv") -> None:
    """Train what is missing; the table is written after every divergence.

    Args:
        demos: folder with the demonstrations of each task.
        only: one task.
        steps: of the environment, for the online tasks.
        out: the table.
    """
    there = {tuple(row[name] for name in COLUMNS[:5]) for row in tables.read(out)}
    for job in jobs(only, steps):
        if all(job.key(seed) in there for seed in job.seeds):
            continue
        found = list(rows(job, iq.Demos.load(demos / f"{job.task}.npz")))
        tables.merge(out, COLUMNS, found, key=5)
        print(job.task, job.mode, job.divergence, [row["normalised"] for row in found], flush=True)


if __name__ == "__main__":
    tyro.cli(main)
