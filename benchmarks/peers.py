"""Compare the speed of this project with that of peers, alternately in one call, on an idle machine.

    python benchmarks/peers.py speed                    # results/peers_speed.csv, five minutes
    python benchmarks/peers.py wallclock --demos DIR    # results/peers_wallclock.csv, up to 35 minutes

`speed`: environment steps per second on Hopper-v5 with one update per step, two critics, two layers of 256 and 512 rows
per update. `wallclock`: seconds from the command to an evaluation with a normalised return of 0.9, from one
demonstration. The peers run the scripts in `peers/`, in their own virtual environments (`ENVIRONMENTS`, about 3 GB).
Missing ones are created.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import NamedTuple

import tables
import tyro
from speed import COLUMNS

import iqlearn as iq
from iqlearn.benchmark.results import GOAL
from iqlearn.evaluation.returns import Evaluator
from iqlearn.files import read_rows
from iqlearn.runs.folder import METRICS
from iqlearn.training.trainer import RANDOM_EPISODES

HERE = Path(__file__).with_name("peers")
SHARED = ("torch==2.13.0", "stable-baselines3==2.9.2", "gymnasium[mujoco]==1.4.0", "mujoco==4.0.0")


class Packages(NamedTuple):
    """The packages of a virtual environment."""

    wanted: tuple[str, ...]
    alone: tuple[str, ...] = ()
    """Packages that are installed without their dependencies."""


ENVIRONMENTS = {
    "sb3": Packages(SHARED),
    "sbx": Packages((*SHARED, "jax==0.10.2", "sbx-rl==0.28.0")),
    # `imitation` requires Gymnasium 0.29, which has no Hopper-v5. It also works with 1.4.
    "imitation": Packages((*SHARED, "tensorboard==2.21.0", "tqdm", "rich"), ("imitation==1.0.1",)),
}
CONTENDERS = {
    "IQLearnContinuous": (None, "iq.py", "iq"),
    "SAC": (None, "iq.py", "sac"),
    "Stable-Baselines3 SAC": ("sb3", "sac.py", "stable_baselines3"),
    "SBX SAC": ("sbx", "sac.py", "sbx"),
}
"""Virtual environment (None: this project's), script and first argument of the script."""
EPISODES, STEPS, POLL = 10, 10_000, 0.1
"""Episodes of an evaluation; updates or environment steps of `iqlearn train`; seconds between two readings of its
metrics."""
CACHE = Path.home() / ".cache" / "iqlearn-peers"
WALLCLOCK = (
    *("task", "seed", "commit", "seconds", "return", "gail_seconds", "gail_return", "gail_steps", "gail_reached"),
    *("expert_return", "ratio"),
)


def interpreter(folder: Path, name: str) -> Path:
    """Return the Python of a virtual environment. The environment is created unless it exists with these packages."""
    home, packages = folder / name, ENVIRONMENTS[name]
    python, done, words = home / "bin" / "python", home / "packages.json", json.dumps(packages)
    if not done.is_file() or done.read_text() != words:
        print(f"installing {', '.join([*packages.wanted, *packages.alone])} into {home}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        install = [python, "-m", "pip", "install", "--quiet"]
        subprocess.run([*install, *packages.wanted], check=True)
        if packages.alone:
            subprocess.run([*install, "--no-deps", *packages.alone], check=True)
        done.write_text(words)
    return python


@contextmanager
def running(command: list[str | Path], told: int | None = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """Start a process with a pipe to its standard input, and kill it at the end of the block.

    Args:
        command: the program and its arguments.
        told: the `stdout` of `subprocess.Popen`; by default a pipe.
    """
    environment = {**os.environ, "PYTHONPATH": str(tables.ROOT / "src")}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=told, text=True, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def said(process: subprocess.Popen[str]) -> str:
    """Return the next line that a process prints.

    Raises:
        SystemExit: the process ended.
    """
    assert process.stdout is not None
    if not (line := process.stdout.readline()):
        raise SystemExit(f"{process.args[1]} ended with code {process.wait()}")
    return line


def speed(
    environments: Path = CACHE,
    steps: int = 500,
    turns: int = 7,
    threads: int = os.cpu_count() or 1,
    out: Path = tables.RESULTS / "peers_speed.csv",
) -> None:
    """Time the contenders in turns. Print and write the medians of the turns and of the ratios within a turn.

    Args:
        environments: folder of the peers' virtual environments.
        steps: environment steps in each turn, a multiple of 50, because this project acts in rounds of 50 steps.
        turns: number of turns.
        threads: number of cores that each contender is pinned to, if the system supports it.
        out: the table.
    """
    pythons = {name: interpreter(environments, name) for name, _, _ in CONTENDERS.values() if name}
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])  # child processes inherit it
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    with ExitStack() as stack:
        processes = {}
        for name, (where, script, what) in CONTENDERS.items():
            command = [pythons.get(where, sys.executable), HERE / script, what, str(steps)]
            processes[name] = stack.enter_context(running(command))
            said(processes[name])  # wait for the warm-up, so that the contenders warm up one after the other
        for turn in range(turns):
            for name, process in processes.items():
                process.stdin.write("\n")
                process.stdin.flush()
                rates[name].append(steps / float(said(process)))
            print(f"{turn + 1} of {turns}: " + ", ".join(f"{name} {rates[name][-1]:.1f}" for name in rates), flush=True)
    found = [(f"steps of {name}", each, "1/s") for name, each in rates.items()]
    ours = [name for name, (where, _, _) in CONTENDERS.items() if where is None]
    for mine, peer in product(ours, CONTENDERS.keys() - ours):
        ratios = [a / b for a, b in zip(rates[mine], rates[peer], strict=True)]
        found.append((f"{mine} against {peer}", ratios, "ratio"))
    rows: list[tables.Row] = []
    for what, values, unit in found:
        row = (what, tables.COMMIT, f"{statistics.median(values):.4g}", unit, turns, threads)
        rows.append(dict(zip(COLUMNS, row, strict=True)))
        print(f"{what:50} {statistics.median(values):10.4g} {unit}, {min(values):.4g} to {max(values):.4g}")
    tables.merge(out, COLUMNS, rows, key=2)


def wallclock(
    demos: Path,
    tasks: tuple[str, ...] = ("CartPole-v1", "Hopper-v5"),
    seeds: int = 1,
    limit: float = 1_800.0,
    environments: Path = CACHE,
    out: Path = tables.RESULTS / "peers_wallclock.csv",
) -> None:
    """Time `iqlearn train` with recommended settings, then GAIL, for each task and seed.

    Args:
        demos: folder with the demonstrations of each task.
        tasks: the tasks.
        seeds: number of seeds, from 0 up.
        limit: seconds after which GAIL is stopped. If it has not reached the return then, the ratio is a lower bound.
        environments: folder of the peers' virtual environments.
        out: the table.
    """
    python = interpreter(environments, "imitation")
    for seed in range(seeds):
        for task in tasks:
            with tempfile.TemporaryDirectory() as name:
                folder, one = Path(name), iq.Demos.load(demos / f"{task}.npz").take(1, seed)
                one.save(folder / "one.npz")
                wanted = goal(task, one.expert_return)
                ours = our_time(task, seed, folder, wanted)
                theirs = gail_time(python, task, seed, folder, wanted, limit)
            values = (task, seed, tables.COMMIT, *ours, *theirs, one.expert_return, theirs[0] / ours[0])
            rounded = (round(value, 2) if isinstance(value, float) else value for value in values)
            row = dict(zip(WALLCLOCK, rounded, strict=True))
            print(row, flush=True)
            tables.merge(out, WALLCLOCK, [row], key=3)


def goal(task: str, expert: float) -> float:
    """Return the return that is `GOAL` when it is normalised (0: random policy, 1: expert)."""
    evaluator = Evaluator(task)
    random = float(evaluator.random_returns(RANDOM_EPISODES, 0).mean())
    evaluator.close()
    return random + GOAL * (expert - random)


def our_time(task: str, seed: int, folder: Path, wanted: float) -> tuple[float, float]:
    """Return the seconds from the command to the first evaluation with at least the return `wanted`, and its return."""
    words = {"--env": task, "--demos": folder / "one.npz", "--out": folder / "run", "--seed": seed}
    words |= {"--steps": STEPS, "--eval-episodes": EPISODES}
    command = [sys.executable, "-m", "iqlearn", "train", *(str(word) for pair in words.items() for word in pair)]
    metrics, started = folder / "run" / METRICS, time.perf_counter()
    with running(command, subprocess.DEVNULL) as process:
        while True:
            ended = process.poll() is not None
            reached = [row["return_mean"] for row in (read_rows(metrics) if metrics.is_file() else [])]
            if reached and reached[-1] >= wanted:
                return time.perf_counter() - started, reached[-1]
            if ended:
                raise SystemExit(f"{task}, seed {seed}: the run ended with returns {reached}; wanted {wanted}")
            time.sleep(POLL)


def gail_time(
    python: Path, task: str, seed: int, folder: Path, wanted: float, limit: float
) -> tuple[float, float, int, int]:
    """Return the same for GAIL, then its environment steps, and 1 if it reached the return within the limit, else 0."""
    started = time.perf_counter()
    command = [python, HERE / "gail.py", task, folder / "one.npz", str(seed)]
    with running(command) as process:
        while True:
            found = json.loads(said(process))
            seconds, reached = time.perf_counter() - started, found["return"] >= wanted
            print(f"GAIL, {task}: {found} after {seconds:.0f} s", flush=True)
            if reached or seconds > limit:
                return seconds, found["return"], found["steps"], int(reached)


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"speed": speed, "wallclock": wallclock})
