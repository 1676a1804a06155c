"""Kill training at random and at chosen moments, resume it, and compare every bit with a run that was never stopped.

python benchmarks/kill.py [MOMENTS [POINTS]]

A process is killed (SIGKILL) at MOMENTS random moments between its start and its end, and just before its k-th
`os.replace`, which gives a file its final name, for POINTS random values of k. There are two runs: two seeds that train
online in Pendulum-v1 after behavioural cloning pretraining, and one seed that trains offline. Prints a line for each
run and kind of kill.
"""

import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import iqlearn as iq
from iqlearn.files import read_arrays
from iqlearn.runs import folder
from iqlearn.runs.manifest import CHECKPOINT, MODEL

FORK = multiprocessing.get_context("fork")
"""Children inherit the imports of this process, which does no JAX computation itself."""
SMALL = iq.Network((16,))


def online(out: Path) -> None:
    cloning = iq.Cloning(updates=300)
    settings = iq.IQLearnContinuous(critic=SMALL, actor=SMALL, batch_size=16, extensions=(cloning,))
    demos = iq.Demos.load(out.parent / "pendulum.npz")
    acting = iq.Interaction(round_steps=10, random_steps=20)
    more = {"steps": 60, "evaluations": 3, "eval_episodes": 1, "env_kwargs": {"max_episode_steps": 25}}
    iq.learn(settings, demos, env="Pendulum-v1", seeds=[0, 1], interaction=acting, out=out, quiet=True, **more)


def offline(out: Path) -> None:
    demos = iq.Demos.builtin("CartPole-v1").take(1).subsample(20)
    settings = iq.IQLearn(network=SMALL, batch_size=16)
    iq.learn(settings, demos, steps=400, evaluations=4, eval_episodes=1, out=out, quiet=True)


RUNS: dict[str, Callable[[Path], None]] = {"online, two seeds, pretraining": online, "offline": offline}


def child(work: Callable[..., object], *arguments: object) -> Any:
    """Start and return a process that calls `work`, with a cache of compiled programs."""

    def quietly() -> None:
        jax.config.update("jax_compilation_cache_dir", os.environ["PROGRAMS"])
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        warnings.simplefilter("error", UserWarning)  # a kill damages no file, so there must be no warning
        work(*arguments)

    process = FORK.Process(target=quietly)
    process.start()
    return process


def killed_at(number: int, learn: Callable[[Path], None], out: Path) -> None:
    """Train, and kill this process just before the `number`-th call of `os.replace`."""
    replace, seen = os.replace, []

    def dying(old: Path, new: Path) -> None:
        seen.append(new)
        if len(seen) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(old, new)

    os.replace = dying
    learn(out)


def go_on(learn: Callable[[Path], None], out: Path) -> None:
    """Resume the run. If nothing was learnt yet, start it again, which needs no `overwrite`."""
    try:
        iq.resume(out, quiet=True)
    except iq.InputError:
        learn(out)


def same(out: Path, whole: Path) -> bool:
    """Whether two folders contain the same runs, bit for bit, except for times."""
    for ours, theirs in zip(folder.runs_in(out), folder.runs_in(whole), strict=True):
        for name in (CHECKPOINT, MODEL):
            one, two = read_arrays(ours / name), read_arrays(theirs / name)
            for key, array in two.arrays.items():
                if one.arrays[key].tobytes() != array.tobytes():
                    return False
            if repr(one.about.get("rows")) != repr(two.about.get("rows")):
                return False
        if (ours / folder.METRICS).read_bytes() != (theirs / folder.METRICS).read_bytes():
            return False
    return True


def trial(learn: Callable[[Path], None], work: Path, kill: Callable[[Path], object]) -> str:
    """Kill one run, resume it, and return the outcome as text."""
    out = work / "run"
    shutil.rmtree(out, ignore_errors=True)
    kill(out)
    state = "after its first checkpoint" if [*out.glob(f"**/{CHECKPOINT}")] else "before its first checkpoint"
    process = child(go_on, learn, out)
    process.join()
    if process.exitcode != 0:
        return f"FAILED {state}"
    return f"bit-equal {state}" if same(out, work / "whole") else f"OTHER {state}"


def main(moments: int = 50, points: int = 40) -> None:
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder_of_all:
        os.environ["PROGRAMS"] = str(Path(folder_of_all) / "programs")
        for name, learn in RUNS.items():
            work = Path(folder_of_all) / learn.__name__
            work.mkdir()
            if learn is online:
                child(record, work / "pendulum.npz").join()
            child(learn, work / "first").join()
            started = time.monotonic()
            child(learn, work / "whole").join()  # the programs are already compiled
            length = time.monotonic() - started

            def at_random(out: Path, learn: Callable[[Path], None] = learn, length: float = length) -> None:
                process = child(learn, out)
                process.join(random.uniform(0.0, length))
                process.kill()
                process.join()

            def at_point(out: Path, learn: Callable[[Path], None] = learn) -> None:
                child(killed_at, int(random.integers(1, 60)), learn, out).join()

            for kind, kill, times in (("random moments", at_random, moments), ("between files", at_point, points)):
                found = Counter(trial(learn, work, kill) for _ in range(times))
                print(f"{name}, {length:.1f} s, {kind}: {dict(found)}", flush=True)


def record(path: Path) -> None:
    """Record demonstrations of a random policy to a file."""
    from iqlearn.evaluation.returns import Evaluator, as_arrays

    rng = np.random.default_rng(0)
    evaluator = Evaluator("Pendulum-v1", lanes=2)
    episodes = evaluator.play(lambda obs: rng.uniform(-2, 2, (len(obs), 1)).astype(np.float32), episodes=2, seed=0)
    iq.Demos.from_arrays({**as_arrays(episodes), "env": np.array("Pendulum-v1")}).save(path)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
