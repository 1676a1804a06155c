"""Measure online training on continuous control: returns per seed into `results/online.csv` and a picture.

    python benchmarks/online.py --demos DIR                       # everything: days on two cores
    python benchmarks/online.py --demos DIR --only easy --tasks Hopper-v5 --seeds 3 --steps 20000

Column `setting`: `recommended` is `iqlearn train` without further flags, `paper` has `--preset paper`, `default` is the
recommendation of commit a2a333b. Every run is a separate `iqlearn train` in a folder under --work, pinned to one core
if the system supports it. If the script is stopped, call it again to continue. Use another --work to measure another
commit. Seeds start at 0; settings were tuned on seeds from 1000 up. The last evaluation of a run is of its final
policy. --ablation NAME with further flags after `--` writes to `results/ablations.csv` instead and starts from seed
1000.

    PYTHONPATH=DIR:benchmarks MUJOCO_GL=disable python benchmarks/online.py --demos DIR --only dmc

For DeepMind Control, DIR contains the module `dmc_tasks` beside the demonstrations.
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
from typing import Literal, NamedTuple

import tables
import tyro
from matplotlib.figure import Figure

from iqlearn.files import read_json, read_rows
from iqlearn.runs.folder import METRICS, RESULT

COLUMNS = (
    *("setting", "task", "demos", "trajectories", "subsample", "seed", "commit", "step"),
    *("normalised", "least", "seconds", "distance"),
)
KEY = 7
EASY = ("Hopper-v5", "HalfCheetah-v5", "Walker2d-v5", "Ant-v5")
DMC = {
    "walker_walk": "dmc_tasks:dmc/walker-walk-v0",
    "walker_stand": "dmc_tasks:dmc/walker-stand-v0",
    "quadruped_walk": "dmc_rescaled:dmc-rescaled/quadruped-walk-v0",
}
"""The environment of each file of DeepMind Control demonstrations."""
STYLES = {"recommended": "-", "paper": "--"}
Only = Literal["easy", "paper", "sparse", "hard5", "hard1", "dmc", "offline", "offline-bc"]


class Part(NamedTuple):
    """A part of the table."""

    setting: str
    steps: int
    tasks: tuple[str, ...] = EASY
    demos: tuple[tuple[str, int], ...] = (("", 1),)
    """Pairs: suffix of the file name of each task, and number of trajectories."""
    subsample: int = 1
    flags: tuple[str, ...] = ()
    evaluations: int = 0
    """Number of evaluations. 0: one every 5,000 steps, but at least ten."""
    episodes: int = 20
    """Episodes of an evaluation."""


FILES = (("", 1), ("", 10), ("-hard", 1), ("-hard", 5))
PARTS: dict[Only, Part] = {
    "easy": Part("recommended", 100_000),
    "paper": Part("paper", 50_000, flags=("--preset", "paper")),
    "sparse": Part("recommended", 100_000, EASY[:3], subsample=20),
    "hard5": Part("recommended", 100_000, EASY[:3], (("-hard", 5),)),
    "hard1": Part("recommended", 200_000, EASY[:3], (("-hard", 1),)),
    "dmc": Part("recommended", 300_000, tuple(DMC), evaluations=30, episodes=5),
    "offline": Part("offline", 10_000, EASY, FILES, flags=("--mode", "offline"), evaluations=2),
    "offline-bc": Part("offline-bc", 10_000, EASY, FILES, flags=("--algorithm", "bc"), evaluations=2),
}


@dataclass(frozen=True)
class Job:
    """One call of `iqlearn train`: one run, or one for each of several seeds."""

    setting: str
    task: str
    file: Path
    trajectories: int
    subsample: int
    seed: int
    steps: int
    flags: tuple[str, ...] = ()
    evaluations: int = 0
    episodes: int = 20
    seeds: int = 1
    """Number of seeds, from `seed` up. They are trained side by side in one call, on a GPU in one program."""

    @property
    def name(self) -> str:
        seeds = self.seed if self.seeds == 1 else f"{self.seed}to{self.seed + self.seeds - 1}"
        parts = (self.setting, self.file.stem, self.trajectories, self.subsample, self.steps, seeds)
        return "-".join(str(part) for part in parts)

    def runs(self, folder: Path) -> dict[int, Path]:
        """Return the run folder of each seed."""
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
            "--env": DMC.get(self.task, self.task),
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


def jobs(folder: Path, only: Sequence[Only], tasks: Sequence[str], seeds: Sequence[int], steps: int) -> Iterator[Job]:
    """Yield the jobs of the table, seed by seed, so that a stop leaves whole rows. Jobs without a file are left out."""
    for seed in seeds:
        for name in only:
            part = PARTS[name]
            for task in (task for task in part.tasks if task in tasks or not tasks):
                for suffix, count in part.demos:
                    file, length = folder / f"{task}{suffix}.npz", steps or part.steps
                    if file.is_file():
                        shown = (task, file, count, part.subsample)
                        yield Job(part.setting, *shown, seed, length, part.flags, part.evaluations, part.episodes)


def commit_of(work: Path, job: Job) -> Path:
    """Return the path of the file with the commit at which a run started."""
    return work / f"{job.name}.commit"


def run(job: Job, work: Path, cores: SimpleQueue[int]) -> None:
    """Train in a separate process, unless the job is completed. The output goes to a log beside the run folder."""
    folder = work / job.name
    if job.completed(folder):
        return
    core, command = cores.get(), job.command(folder)
    if command[0] == "train":
        commit_of(work, job).write_text(tables.commit())
    try:
        with (work / f"{job.name}.log").open("a") as log:
            process = subprocess.Popen([sys.executable, "-m", "iqlearn", *command], stdout=log, stderr=log)
            if job.seeds == 1 and hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(process.pid, {core})
            process.wait()
    finally:
        cores.put(core)


def rows(job: Job, work: Path) -> list[tables.Row]:
    """Return one row for each evaluation of each seed."""
    return [row for seed, path in job.runs(work / job.name).items() for row in rows_of(job, seed, path, work)]


def rows_of(job: Job, seed: int, folder: Path, work: Path) -> list[tables.Row]:
    """Return one row for each evaluation of one seed."""
    if not (folder / METRICS).is_file():
        return []
    result, found = read_json(folder / RESULT), []
    expert, random = result["expert_return"], result["random_return"]
    shown = (job.setting, job.task, job.file.stem, job.trajectories, job.subsample)
    for row in read_rows(folder / METRICS):
        mean, least = ((float(row[name] or 0.0) - random) / (expert - random) for name in ("return_mean", "return_min"))
        distance = row.get("occupancy_distance")  # chooses the policy that the run returns, without any reward
        figures = (round(mean, 4), round(least, 4), round(result["seconds"]))
        key = (*shown, seed, commit_of(work, job).read_text(), int(row["step"] or 0))
        values = (*key, *figures, "" if distance is None else round(distance, 5))
        found.append(dict(zip(COLUMNS, values, strict=True)))
    return found


def main(
    demos: Path,
    only: tuple[Only, ...] = tuple(PARTS),
    tasks: tuple[str, ...] = (),
    seeds: int = 2,
    steps: int = 0,
    work: Path = Path("runs/online"),
    parallel: int = os.cpu_count() or 1,
    together: bool = False,
    ablation: str | None = None,
    out: Path = tables.RESULTS,
    flags: tyro.conf.Suppress[tuple[str, ...]] = (),
) -> None:
    """Train the missing runs, then write the table of all runs.

    Args:
        demos: folder with the demonstrations of each task.
        only: parts of the table.
        tasks: tasks of these parts; by default all.
        seeds: number of seeds, from 0 up (in an ablation from 1000 up).
        steps: steps of every run; by default each part's own number.
        work: folder of the run folders.
        parallel: number of runs at a time; with --together, of calls.
        together: train the seeds of a task side by side in one call, on a GPU in one program.
        ablation: name of a setting to try; rows go to `ablations.csv`.
        out: folder of the table and the picture.
        flags: further flags of `iqlearn train`: the words after `--` on the command line.
    """
    first = 0 if ablation is None else 1000
    table = list(jobs(demos, only, tasks, range(first, first + (1 if together else seeds)), steps))
    more = {"seeds": seeds if together else 1} | ({} if ablation is None else {"setting": ablation})
    table = [replace(job, flags=(*job.flags, *flags), **more) for job in table]
    work.mkdir(parents=True, exist_ok=True)
    cores: SimpleQueue[int] = SimpleQueue()
    for i in range(parallel):
        cores.put(i % (os.cpu_count() or 1))

    def done(job: Job) -> None:
        run(job, work, cores)
        print(job.name, [row["normalised"] for row in rows(job, work)], flush=True)

    with ThreadPoolExecutor(parallel) as pool:
        list(pool.map(done, table))
    path = out / ("online.csv" if ablation is None else "ablations.csv")
    tables.merge(path, COLUMNS, [row for job in table for row in rows(job, work)], KEY)
    if ablation is None:
        draw(path)


def draw(table: Path) -> None:
    """Plot the normalised return over the steps: a panel for each kind of demonstrations, a line for each seed. Lines
    of the paper's preset are dashed."""
    shown = ("demos", "trajectories", "subsample")
    found = [row for row in tables.read(table) if row["setting"] in STYLES]
    found = tables.newest(found, "setting", *shown, "seed")
    kinds = list(dict.fromkeys(tuple(row[name] for name in shown) for row in found))
    if not kinds:
        return
    columns = min(4, len(kinds))
    figure = Figure(figsize=(3.4 * columns, 2.8 * -(-len(kinds) // columns)), layout="constrained")
    panels = figure.subplots(-(-len(kinds) // columns), columns, squeeze=False, sharey=True).flatten()
    for panel, kind in zip(panels, kinds, strict=False):
        of_kind = [row for row in found if tuple(row[name] for name in shown) == kind]
        for setting, seed in dict.fromkeys((row["setting"], row["seed"]) for row in of_kind):
            mine = [row for row in of_kind if (row["setting"], row["seed"]) == (setting, seed)]
            points = sorted((int(row["step"]) / 1000, float(row["normalised"])) for row in mine)
            style = {"linestyle": STYLES[setting], "color": f"C{int(seed) % 10}", "marker": "o", "markersize": 3}
            panel.plot(*zip(*points, strict=True), label=f"{setting}, seed {seed}", **style)
        panel.axhline(1.0, linestyle=":", color="grey")
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
    figure.savefig(table.with_suffix(".png"), dpi=120)


if __name__ == "__main__":
    words, further = sys.argv[1:], []
    if "--" in words:
        words, further = words[: words.index("--")], words[words.index("--") + 1 :]
    tyro.cli(partial(main, flags=tuple(further)), args=words)
