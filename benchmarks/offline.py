"""Measure offline training: returns per seed and evaluation, into `results/offline.csv` and a picture.

    python benchmarks/offline.py --demos DIR                    # everything
    python benchmarks/offline.py --demos DIR --only cartpole --algorithm iq
    python benchmarks/offline.py --demos DIR --only lunarlander --trajectories 3 --seeds 5

Column `algorithm`: `iq` has the settings of `iq.recommended` for the demonstrations of each seed, `paper` is
`iq.IQLearn()`, `bc` is behavioural cloning. Seeds start at 0; settings were tuned on seeds from 1000 up. Each seed
draws its own trajectories, sub-sampling offsets, initial weights and batches. By default an evaluation is 100 episodes
of the most likely actions. CartPole-v1 has five evaluations, the other tasks have one, of the final policy.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tables
import tyro

import iqlearn as iq
from iqlearn.envs.gym import Environment

COLUMNS = (
    *("task", "demos", "algorithm", "trajectories", "subsample", "updates", "seed", "commit"),
    *("mean_return", "normalised"),
)
KEY = 8
Algorithm = Literal["iq", "paper", "bc"]
Only = Literal["cartpole", "acrobot", "lunarlander", "all"]


@dataclass(frozen=True)
class Job:
    """The runs of one algorithm on one selection of demonstrations, one for each seed."""

    task: str
    demos: iq.Demos
    trajectories: int
    subsample: int
    seeds: int
    algorithm: Algorithm
    steps: int = iq.Schedule.steps
    evaluations: int = 1


def jobs(folder: Path, only: Only, algorithms: Sequence[Algorithm]) -> Iterator[Job]:
    """Yield the jobs of the table."""
    for algorithm in algorithms:
        if only in ("cartpole", "all"):
            for demos in (iq.Demos.builtin("CartPole-v1"), iq.Demos.load(folder / "CartPole-v1.npz")):
                yield Job("CartPole-v1", demos, 1, 20, 20, algorithm, 5 * iq.Schedule.steps, evaluations=5)
        for task in ("Acrobot-v1", "LunarLander-v3"):
            if only in (task.partition("-")[0].lower(), "all"):
                demos = iq.Demos.load(folder / f"{task}.npz")
                for trajectories in (1, 3, 7, 10, 15):
                    yield Job(task, demos, trajectories, 5, 10, algorithm)


def learn_each(
    settings: Sequence[Any], parts: Sequence[iq.Demos], seeds: Sequence[int], **options: Any
) -> list[iq.Run]:
    """Train and return a run for each seed with its own settings. Seeds with equal settings train side by side."""
    found: dict[int, iq.Run] = {}
    for kind in dict.fromkeys(settings):
        mine = [i for i, other in enumerate(settings) if other == kind]
        runs = iq.learn(kind, [parts[i] for i in mine], seeds=[seeds[i] for i in mine], quiet=True, **options)
        found |= dict(zip(mine, runs, strict=True))
    return [found[i] for i in range(len(seeds))]


def rows(job: Job, seeds: int, steps: int, episodes: int, sampled: bool) -> list[tables.Row]:
    """Train all seeds and return a row for each seed and evaluation."""
    environment, chosen = Environment.of(job.task), range(seeds)
    parts = [job.demos.take(job.trajectories, seed=s).subsample(job.subsample, seed=s) for s in chosen]
    if job.algorithm == "iq":
        settings = [iq.recommended(part, environment, mode="offline", steps=steps, quiet=True) for part in parts]
    else:
        settings = [iq.IQLearn() if job.algorithm == "paper" else iq.BC()] * seeds
    options = {"evaluations": job.evaluations, "eval_episodes": episodes, "sampled": sampled}
    found = []
    for run in learn_each(settings, parts, chosen, env=environment, mode="offline", steps=steps, **options):
        expert, random = run.result["expert_return"], run.result["random_return"]
        for row in run.rows:
            mean = float(row["return_mean"] or 0.0)
            normalised = round((mean - random) / (expert - random), 4)
            key = (job.task, job.demos.source, job.algorithm, job.trajectories, job.subsample, int(row["step"] or 0))
            values = (*key, run.schedule.seed, tables.COMMIT, round(mean, 2), normalised)
            found.append(dict(zip(COLUMNS, values, strict=True)))
    return found


def plot(path: Path) -> None:
    """Plot the normalised return over the number of trajectories (CartPole-v1: of updates).

    One panel for each task; a dot for each seed, a line for their mean.
    """
    from matplotlib.figure import Figure

    table = tables.newest(tables.read(path), "task", "demos", "algorithm", "trajectories")
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    panels = figure.subplots(1, 3)
    names = {"iq": "IQ, recommended", "paper": "IQ, paper", "bc": "BC"}
    for panel, task in zip(panels, ("CartPole-v1", "Acrobot-v1", "LunarLander-v3"), strict=True):
        key = "updates" if task == "CartPole-v1" else "trajectories"
        of_task = [row for row in table if row["task"] == task and row["demos"] == f"{task}.npz"]
        ticks = sorted({int(row[key]) for row in of_task})
        for i, (algorithm, name) in enumerate(names.items()):
            mine = [row for row in of_task if row["algorithm"] == algorithm]
            groups = [[float(row["normalised"]) for row in mine if int(row[key]) == tick] for tick in ticks]
            for x, group in enumerate(groups):
                panel.scatter([x + 0.12 * (i - 1)] * len(group), group, s=8, alpha=0.4, color=f"C{i}")
            there = [(x, np.mean(group)) for x, group in enumerate(groups) if group]
            panel.plot([x for x, _ in there], [y for _, y in there], marker=".", color=f"C{i}", label=name)
        panel.set_xticks(range(len(ticks)), [f"{tick / 1000:g}" if key == "updates" else str(tick) for tick in ticks])
        panel.axhline(1.0, linestyle="--", color="grey", linewidth=1)
        title = f"{task}, chattering expert" if key == "updates" else task
        panel.set(
            title=title,
            xlabel="thousand updates (1 trajectory, every 20th step)" if key == "updates" else "trajectories",
        )
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("normalised return")
    panels[1].legend()
    figure.savefig(path.with_suffix(".png"), dpi=130)


def main(
    demos: Path,
    only: Only = "all",
    algorithm: tuple[Algorithm, ...] = ("iq", "paper", "bc"),
    trajectories: tuple[int, ...] = (),
    seeds: int = 0,
    steps: int = 0,
    episodes: int = 100,
    sampled: bool = False,
    out: Path = tables.RESULTS / "offline.csv",
) -> None:
    """Measure the table and draw it. Rows replace older ones of the same commit.

    Args:
        demos: folder with the demonstrations of each task.
        only: one task, or all.
        algorithm: algorithms to measure.
        trajectories: numbers of trajectories to measure; by default all.
        seeds: number of seeds, from 0 up; by default 20 for CartPole and 10 for the other tasks.
        steps: number of updates; by default the job's own number.
        episodes: episodes of an evaluation.
        sampled: evaluate samples of the soft policy; use another --out for it.
        out: the table.
    """
    for job in jobs(demos, only, algorithm):
        if trajectories and job.trajectories not in trajectories:
            continue
        last = steps or job.steps
        found = rows(job, seeds or job.seeds, last, episodes, sampled)
        tables.merge(out, COLUMNS, found, KEY)
        mean = np.mean([float(str(row["mean_return"])) for row in found if row["updates"] == last])
        print(job.task, job.demos.source, job.algorithm, job.trajectories, "mean", round(float(mean), 1), flush=True)
    plot(out)


if __name__ == "__main__":
    tyro.cli(main)
