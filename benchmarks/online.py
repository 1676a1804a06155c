"""Online results: continuous control from one demonstration, one setting, returns per seed into `results/online.csv`.

    python benchmarks/online.py --demos ../shared/demos                       # everything: days on two cores
    python benchmarks/online.py --demos ../shared/demos --only easy --seeds 3

Every run is an `iqlearn train` of its own with default settings, in a folder under --work, pinned to one core where the
system can do that. Stopped and called again, the script goes on where it was. Seeds start at 0; settings were tuned on
seeds from 1000 up. The last evaluation of a run is of its final policy. --ablation NAME with further flags after `--`
writes to `results/ablations.csv` instead and starts from seed 1000.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

import tables
import tyro
from matplotlib.figure import Figure

from iqlearn.records import METRICS, RESULT, read_json, read_rows

RESULTS = Path(__file__).parent / "results"
COLUMNS = (
    "setting",
    "task",
    "demos",
    "trajectories",
    "subsample",
    "seed",
    "step",
    "normalised",
    "least",
    "seconds",
    "distance",
)
EASY = ("Hopper-v5", "HalfCheetah-v5", "Walker2d-v5", "Ant-v5")
Only = Literal["easy", "warm-start", "hard5", "hard1", "sparse", "offline", "offline-bc"]


@dataclass(frozen=True)
class Job:
    """One run."""

    setting: str
    task: str
    file: Path
    trajectories: int
    subsample: int
    seed: int
    steps: int
    flags: tuple[str, ...] = ()
    evaluations: int = 0
    """0: ten, and in long runs one every 5,000 steps."""
    episodes: int = 20
    seeds: int = 1
    """From `seed` up, side by side in one call: on a GPU one program."""

    @property
    def name(self) -> str:
        seeds = self.seed if self.seeds == 1 else f"{self.seed}to{self.seed + self.seeds - 1}"
        parts = (self.setting, self.file.stem, self.trajectories, self.subsample, seeds)
        return "-".join(str(part) for part in parts)

    def runs(self, folder: Path) -> dict[int, Path]:
        """The run folder of each seed."""
        if self.seeds == 1:
            return {self.seed: folder}
        return {seed: folder / f"seed-{seed}" for seed in range(self.seed, self.seed + self.seeds)}

    def completed(self, folder: Path) -> bool:
        results = [path / RESULT for path in self.runs(folder).values()]
        return all(path.is_file() and read_json(path).get("status") == "completed" for path in results)

    def command(self, folder: Path) -> list[str]:
        if all((run / RESULT).is_file() and (run / METRICS).is_file() for run in self.runs(folder).values()):
            return ["resume", str(folder)]
        values = {
            "--env": self.task,
            "--demos": self.file,
            "--trajectories": self.trajectories,
            "--subsample": self.subsample,
            "--seed": self.seed,
            "--seeds": self.seeds,
            "--steps": self.steps,
            "--evaluations": self.evaluations or max(10, self.steps // 5_000),
            "--eval-episodes": self.episodes,
            "--out": folder,
        }
        return ["train", *(str(word) for pair in values.items() for word in pair), "--overwrite", *self.flags]


def jobs(
    folder: Path, only: Sequence[Only], first: int, seeds: int, setting: str, flags: tuple[str, ...], steps: int
) -> Iterator[Job]:
    """The table, run by run; seed by seed, so that a stop leaves whole rows."""
    for seed in range(first, first + seeds):
        for part in only:
            tasks = EASY[:3] if part in ("sparse", "hard5", "hard1") else EASY
            for task in tasks:
                easy, hard = folder / f"{task}.npz", folder / f"{task}-hard.npz"
                if part == "easy":
                    yield Job(setting, task, easy, 1, 1, seed, steps or 100_000, flags)
                elif part == "warm-start":  # what learning begins from
                    yield Job(part, task, easy, 1, 1, seed, 1, ("--offline", *flags), evaluations=1)
                elif part == "sparse":
                    yield Job(setting, task, easy, 1, 20, seed, steps or 100_000, flags)
                elif part == "hard5":
                    yield Job(setting, task, hard, 5, 1, seed, steps or 100_000, flags)
                elif part == "hard1":
                    yield Job(setting, task, hard, 1, 1, seed, steps or 200_000, flags)
                else:
                    algorithm = ("--algorithm", "bc") if part == "offline-bc" else ("--offline",)
                    for file, counts in ((easy, (1, 10)), (hard, (1, 5))):
                        for count in counts if file.is_file() else ():
                            flags_of = (*algorithm, *flags)
                            yield Job(part, task, file, count, 1, seed, steps or 10_000, flags_of, evaluations=2)


def run(job: Job, work: Path, cores: SimpleQueue[int]) -> None:
    """Train in a process of its own; what it says goes to a log beside the folder."""
    folder = work / job.name
    if job.completed(folder):
        return
    core = cores.get()
    try:
        with (work / f"{job.name}.log").open("a") as log:
            command = [sys.executable, "-m", "iqlearn", *job.command(folder)]
            process = subprocess.Popen(command, stdout=log, stderr=log)
            if job.seeds == 1 and hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(process.pid, {core})
            process.wait()
    finally:
        cores.put(core)


def rows(job: Job, folder: Path) -> list[tables.Row]:
    """One row an evaluation."""
    return [row for seed, path in job.runs(folder).items() for row in rows_of(job, seed, path)]


def rows_of(job: Job, seed: int, folder: Path) -> list[tables.Row]:
    """Those of one seed."""
    if not (folder / METRICS).is_file():
        return []
    result = read_json(folder / RESULT)
    expert, random = result["expert_return"], result["random_return"]
    found = []
    for row in read_rows(folder / METRICS):
        mean, least = ((float(row[name] or 0.0) - random) / (expert - random) for name in ("return_mean", "return_min"))
        key = (job.setting, job.task, job.file.stem, job.trajectories, job.subsample, seed, int(row["step"] or 0))
        distance = row.get("occupancy_distance")  # what the kept policy is chosen by: no reward
        values = (
            *key,
            round(mean, 4),
            round(least, 4),
            round(result["seconds"]),
            "" if distance is None else round(distance, 5),
        )
        found.append(dict(zip(COLUMNS, values, strict=True)))
    return found


def main(
    demos: Path,
    only: tuple[Only, ...] = ("easy", "warm-start", "sparse", "hard5", "hard1", "offline", "offline-bc"),
    seeds: int = 3,
    work: Path = Path("runs/online"),
    parallel: int = os.cpu_count() or 1,
    together: bool = False,
    ablation: str | None = None,
    form: Literal["default", "inverse", "regressed"] = "default",
    steps: int = 0,
    flags: tyro.conf.Suppress[tuple[str, ...]] = (),
) -> None:
    """Train what is missing, then write the table of all that is there.

    Args:
        demos: folder with the demonstrations of each task.
        only: parts of the table.
        seeds: how many, from 0 up (an ablation: from 1000 up).
        work: where the run folders are.
        parallel: runs at a time; with --together calls.
        together: the seeds of a task side by side in one call, which on a GPU is one program.
        ablation: name of a setting that is tried; rows go to `ablations.csv`.
        form: one form for all in the place of the default, which chooses; its rows and picture go by this name.
        steps: instead of each part's own number.
        flags: further flags of `iqlearn train`: what follows `--` on the command line.
    """
    first = 0 if ablation is None else 1000
    flags = flags if form == "default" else ("--form", form, *flags)
    table = list(jobs(demos, only, first, 1 if together else seeds, ablation or form, flags, steps))
    table = [replace(job, seeds=seeds) for job in table] if together else table
    work.mkdir(parents=True, exist_ok=True)
    cores: SimpleQueue[int] = SimpleQueue()
    for i in range(parallel):
        cores.put(i % (os.cpu_count() or 1))
    out = RESULTS / ("online.csv" if ablation is None else "ablations.csv")

    def done(job: Job) -> None:
        run(job, work, cores)
        found = rows(job, work / job.name)
        print(job.name, [row["normalised"] for row in found], flush=True)

    with ThreadPoolExecutor(parallel) as pool:
        list(pool.map(done, table))
    tables.merge(out, COLUMNS, [row for job in table for row in rows(job, work / job.name)], key=6)
    if ablation is None:
        draw(out, form, RESULTS / ("online.png" if form == "default" else f"online-{form}.png"))


def draw(table: Path, setting: str, picture: Path) -> None:
    """A panel a task and kind of demonstrations, a line a seed: the normalised return over the steps."""
    found = [row for row in tables.read(table) if row["setting"] == setting]
    kinds = list(dict.fromkeys((row["demos"], row["trajectories"], row["subsample"]) for row in found))
    columns = min(4, len(kinds))
    figure = Figure(figsize=(3.4 * columns, 2.8 * -(-len(kinds) // columns)), layout="constrained")
    panels = figure.subplots(-(-len(kinds) // columns), columns, squeeze=False, sharey=True).flatten()
    for panel, kind in zip(panels, kinds, strict=False):
        of_kind = [row for row in found if (row["demos"], row["trajectories"], row["subsample"]) == kind]
        for seed in dict.fromkeys(row["seed"] for row in of_kind):
            points = sorted((int(r["step"]) / 1000, float(r["normalised"])) for r in of_kind if r["seed"] == seed)
            panel.plot(*zip(*points, strict=True), marker="o", markersize=3, label=f"seed {seed}")
        panel.axhline(1.0, linestyle="--", color="grey")
        title = f"{kind[0]}, {kind[1]} {'trajectory' if kind[1] == '1' else 'trajectories'}"
        title += f", every {kind[2]}th step" if kind[2] != "1" else ""
        panel.set_title(title, fontsize="small")
        panel.set_xlabel("thousand steps of the environment")
        panel.set_ylim(-0.1, 1.15)
        panel.grid(alpha=0.3)
        panel.legend(fontsize="x-small")
    for panel in panels[len(kinds) :]:
        panel.set_axis_off()
    panels[0].set_ylabel("normalised return")
    figure.savefig(picture, dpi=120)


if __name__ == "__main__":
    words, further = sys.argv[1:], []
    if "--" in words:
        words, further = words[: words.index("--")], words[words.index("--") + 1 :]
    tyro.cli(partial(main, flags=tuple(further)), args=words)
