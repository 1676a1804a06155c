"""Offline results: returns of the final policy per seed, with behavioural cloning beside, into `results/offline.csv`.

    python benchmarks/offline.py --demos ../shared/demos            # everything
    python benchmarks/offline.py --demos ../shared/demos --only cartpole

Every algorithm runs with its default settings on every task. Seeds start at 0; settings were tuned on seeds from
1000 up.
Each seed draws its own trajectories, sub-sampling offsets, initial weights and batches. 100 evaluation episodes of the
most likely actions.
"""

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tables
import tyro

import iqlearn as iq

RESULTS = Path(__file__).parent / "results"
COLUMNS = ("task", "demos", "algorithm", "trajectories", "subsample", "updates", "seed", "mean_return", "normalised")
SETTINGS = {"iq": iq.IQLearn(), "bc": iq.BC()}
Only = Literal["cartpole", "acrobot", "lunarlander", "all"]


@dataclass(frozen=True)
class Job:
    """One row of the table for every seed."""

    task: str
    demos: iq.Demos
    trajectories: int
    subsample: int
    seeds: int
    algorithm: str
    steps: int = iq.Schedule.steps
    looks: int = 1


def jobs(folder: Path, only: Only) -> Iterator[Job]:
    """The table, row by row."""
    for algorithm in SETTINGS:
        if only in ("cartpole", "all"):
            builtin = iq.Demos.builtin("CartPole-v1")
            yield Job("CartPole-v1", builtin, 1, 20, 20, algorithm, 5 * iq.Schedule.steps, looks=5)
            hard = iq.Demos.load(folder / "CartPole-v1.npz")
            yield Job("CartPole-v1", hard, 1, 20, 20, algorithm, 5 * iq.Schedule.steps, looks=5)
        for task in ("Acrobot-v1", "LunarLander-v3"):
            if only in (task.partition("-")[0].lower(), "all"):
                demos = iq.Demos.load(folder / f"{task}.npz")
                for trajectories in (1, 3, 7, 10, 15):
                    yield Job(task, demos, trajectories, 5, 10, algorithm)


def rows(job: Job, episodes: int, sampled: bool) -> list[tables.Row]:
    """Train all seeds as one program; one row a seed and look."""
    seeds = range(job.seeds)
    parts = [job.demos.take(job.trajectories, seed=s).subsample(job.subsample, seed=s) for s in seeds]
    runs = iq.learn_seeds(
        SETTINGS[job.algorithm],
        parts,
        seeds=seeds,
        env=job.task,
        steps=job.steps,
        evaluations=job.looks,
        eval_episodes=episodes,
        sampled=sampled,
    )
    found = []
    for run in runs:
        expert, random = run.result["expert_return"], run.result["random_return"]
        for row in run.rows:
            mean = float(row["return_mean"] or 0.0)
            normalised = round((mean - random) / (expert - random), 4)
            key = (job.task, job.demos.source, job.algorithm, job.trajectories, job.subsample, int(row["step"] or 0))
            found.append(dict(zip(COLUMNS, (*key, run.schedule.seed, round(mean, 2), normalised), strict=True)))
    return found


def plot(path: Path) -> None:
    """Normalised return over the number of trajectories, one panel a task; each seed a dot, their mean a line."""
    from matplotlib.figure import Figure

    table = tables.read(path)
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    panels = figure.subplots(1, 3)
    for panel, task in zip(panels, ("CartPole-v1", "Acrobot-v1", "LunarLander-v3"), strict=True):
        for shift, (algorithm, colour) in enumerate((("iq", "tab:blue"), ("bc", "tab:orange"))):
            mine = [r for r in table if r["task"] == task and r["algorithm"] == algorithm]
            if task == "CartPole-v1":
                key, values = "updates", [r for r in mine if r["demos"] == "CartPole-v1.npz"]
            else:
                key, values = "trajectories", mine
            ticks = sorted({int(r[key]) for r in values})
            groups = [[float(r["normalised"]) for r in values if int(r[key]) == tick] for tick in ticks]
            for x, group in enumerate(groups):
                panel.scatter([x + 0.12 * (shift - 0.5)] * len(group), group, s=8, alpha=0.4, color=colour)
            panel.plot(range(len(ticks)), [np.mean(g) for g in groups], color=colour, label=algorithm.upper())
            panel.set_xticks(range(len(ticks)), [f"{t:,}" for t in ticks])
        panel.axhline(1.0, linestyle="--", color="grey", linewidth=1)
        title = f"{task}, chattering expert" if key == "updates" else task
        panel.set(title=title, xlabel="updates (1 trajectory, every 20th step)" if key == "updates" else "trajectories")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("normalised return")
    panels[0].legend()
    figure.savefig(path.with_suffix(".png"), dpi=130)


def main(
    demos: Path, only: Only = "all", episodes: int = 100, sampled: bool = False, out: Path = RESULTS / "offline.csv"
) -> None:
    """Run the table and plot it; rows of the jobs that run replace older ones.

    `--sampled` plays samples of the soft policy; give it another --out.
    """
    for job in jobs(demos, only):
        found = rows(job, episodes, sampled)
        tables.merge(out, COLUMNS, found, key=4)
        last = [float(str(row["mean_return"])) for row in found if row["updates"] == job.steps]
        told = (job.task, job.demos.source, job.algorithm, job.trajectories, "mean", round(float(np.mean(last)), 1))
        print(*told, flush=True)
    plot(out)
    print(f"{out}: {len(tables.read(out))} rows, {os.cpu_count()} cores, {platform.machine()}")


if __name__ == "__main__":
    tyro.cli(main)
