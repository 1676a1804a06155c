"""Send signals at random moments of small runs; count lost signals, and trials that leave processes or broken runs.

    python benchmarks/signals.py --trials 200

A signal is lost if the process still runs after `--patience` seconds. After each trial the exit code is compared with
the status in the run folder, and the processes of the session are counted. If there is a run folder, `iqlearn resume`
must finish the run, except for the kinds that hang.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tyro

from iqlearn.data.demos import Demos
from iqlearn.evaluation.returns import Evaluator, as_arrays
from iqlearn.files import read_json
from iqlearn.runs.folder import CONFIG, RESULT

HANGING = """
import time

import gymnasium as gym
from gymnasium.envs.classic_control import CartPoleEnv


class Hanging(CartPoleEnv):
    steps = 0

    def step(self, action):
        Hanging.steps += 1
        time.sleep(3600 * (Hanging.steps > 300))
        return super().step(action)


gym.register("Hanging-v0", entry_point=Hanging, max_episode_steps=50)
"""
ONLINE = "--mode online --steps 3000 --evaluations 3 --eval-episodes 2 --random-steps 100"
KINDS = {
    "offline": "--steps 4000 --evaluations 4 --eval-episodes 2",
    "online": ONLINE,
    "seeds": f"{ONLINE} --seeds 2",
    "async": f"{ONLINE} --num-envs 2 --vectorization async",
    "hanging": f"--env hanging:Hanging-v0 --demos builtin.npz {ONLINE}",
    "hanging async": f"--env hanging:Hanging-v0 --demos builtin.npz {ONLINE} --num-envs 2 --vectorization async",
    "hanging seeds": f"--env hanging:Hanging-v0 --demos builtin.npz {ONLINE} --seeds 2",
    "pretraining": "--env Pendulum-v1 --demos random.npz --steps 100 --evaluations 1 --eval-episodes 1 "
    "--random-steps 0 --cloning.updates 8000",
}
"""Arguments of `iqlearn train` for each kind of run."""


class Trial(NamedTuple):
    """The outcome of one trial."""

    code: int | None
    """Exit code of the process, or None if it did not end."""
    statuses: tuple[str | None, ...]
    """Status of each run folder, or None if it has no result."""
    left: int
    """Number of processes that were left over."""
    seconds: float
    """Seconds from the signal to the end."""
    refused: bool
    """Whether `iqlearn resume` failed to finish the run."""


def prepare(folder: Path) -> None:
    """Write demonstrations and the module of the environment that hangs."""
    (folder / "hanging.py").write_text(HANGING, encoding="utf-8")
    Demos.builtin("CartPole-v1").save(folder / "builtin.npz")
    evaluator, rng = Evaluator("Pendulum-v1"), np.random.default_rng(0)
    episodes = evaluator.play(lambda obs: rng.uniform(-2, 2, (len(obs), 1)).astype(np.float32), 2, 0)
    evaluator.close()
    Demos.from_arrays(as_arrays(episodes)).save(folder / "random.npz")


def begin(folder: Path, words: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start an `iqlearn` command in a session of its own."""
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # background jobs ignore SIGINT, and children would inherit that
    environ = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(folder / "programs")}
    environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    command = [sys.executable, "-m", "iqlearn", *words]
    with (folder / "said.txt").open("wb") as said:
        return subprocess.Popen(command, cwd=folder, env=environ, stdout=said, stderr=said, start_new_session=True)


def ended(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Wait for a process and return its exit code, or None if it still runs after `seconds`."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def session(number: int) -> list[int]:
    """Return the ids of the live processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = path.read_text(encoding="utf-8").rpartition(")")[2].split()[:4]
        except OSError:
            continue
        found += [int(path.parent.name)] if int(of) == number and state != "Z" else []
    return found


def trial(folder: Path, kind: str, number: int, group: bool, delay: float, patience: float) -> Trial:
    """Start a run, send the signal `number` after `delay` seconds, and return the outcome.

    Args:
        folder: where the run folders are.
        kind: kind of the run, a key of `KINDS`.
        number: the signal.
        group: send the signal to the whole process group instead of the process.
        delay: seconds before the signal.
        patience: seconds after which the signal counts as lost.
    """
    out = folder / "runs" / f"{kind.replace(' ', '-')}-{time.time_ns()}"
    process = begin(folder, ["train", *KINDS[kind].split(), "--out", str(out)])
    ended(process, delay)
    started = time.perf_counter()
    if process.poll() is None:
        (os.killpg if group else os.kill)(process.pid, number)
    code = ended(process, patience)
    seconds = time.perf_counter() - started
    time.sleep(1.0 if code is not None else 0.0)
    left = session(process.pid)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    process.wait()
    folders = sorted(path.parent for path in out.glob(f"**/{CONFIG}"))
    results = [part / RESULT for part in folders]  # a run that stopped during pretraining has none yet
    statuses = tuple(read_json(path).get("status") if path.is_file() else None for path in results)
    refused = False
    if folders and not kind.startswith("hanging"):
        refused = ended(begin(folder, ["resume", str(out)]), 600.0) != 0
    return Trial(code, statuses, len(left), seconds, refused)


def main(
    trials: int = 40,
    kinds: tuple[str, ...] = tuple(KINDS),
    seed: int = 0,
    patience: float = 60.0,
    verbose: bool = False,
) -> None:
    """Run the trials and print the counts.

    Args:
        trials: total number of trials.
        kinds: kinds of runs.
        seed: seed of the moments, signals and targets.
        patience: seconds after which a signal counts as lost.
        verbose: print each trial, and the output of the process if something is wrong.
    """
    rng, counts, worst = random.Random(seed), Counter(), 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        took = {}
        for kind in kinds:
            started = time.perf_counter()  # two runs: the first one compiles, the second is timed
            for i in range(2 * (not kind.startswith("hanging"))):
                started = time.perf_counter()
                begin(folder, ["train", *KINDS[kind].split(), "--out", str(folder / f"{kind}-{i}")]).wait()
            took[kind] = time.perf_counter() - started if not kind.startswith("hanging") else 20.0
        for i in range(trials):
            kind, number = kinds[i % len(kinds)], rng.choice((signal.SIGINT, signal.SIGTERM))
            group, delay = rng.random() < 0.5, rng.uniform(0.0, took[kind])
            found = trial(folder, kind, number, group, delay, patience)
            completed = bool(found.statuses) and set(found.statuses) == {"completed"}
            wrong = {
                "lost": found.code is None,
                "exit code 0 without completed": found.code == 0 and not completed,
                "completed, but another exit code": completed and found.code != 0,
                "processes left over": found.left > 0 and found.code is not None,
                "resume refused": found.refused,
                "another exit code": found.code not in (None, 0, 130, -signal.SIGINT, -signal.SIGTERM),
            }
            counts.update({name: int(is_so) for name, is_so in wrong.items()})
            counts.update([f"ended with {found.code}"])
            worst = max(worst, found.seconds)
            if verbose:
                print(kind, number.name, "group" if group else "process", f"{delay:.1f} s", *found, flush=True)
                if any(wrong.values()):
                    print((folder / "said.txt").read_text(encoding="utf-8"), flush=True)
    print(f"{trials} signals, the longest end took {worst:.1f} s")
    for name, number in sorted(counts.items()):
        print(f"{number:5} {name}")


if __name__ == "__main__":
    tyro.cli(main)
