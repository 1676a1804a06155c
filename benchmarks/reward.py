"""Measure the recovered reward: against the true reward, as the reward of a new agent, and in another maze.

    python benchmarks/reward.py --demos DIR --only truth       # correlation with the true reward
    python benchmarks/reward.py --demos DIR --only refit       # the same for the reward of states (refit)
    python benchmarks/reward.py --demos DIR --only retrain     # SAC from scratch on the frozen refit
    python benchmarks/reward.py --demos DIR --only state-only  # imitation without expert actions
    python benchmarks/reward.py --demos DIR --only maze        # reward of one maze, agent in another
    python benchmarks/reward.py --demos DIR --only speed       # on an idle machine

`truth`, `refit`, `retrain` and `speed` evaluate imitators: runs of `iqlearn train` with one demonstration and the
recommended settings. Imitators that are missing in --work are trained first, for --steps steps. Rows go to
`results/reward.csv`, pictures to the same folder. If the script is stopped, call it again to continue.
"""

import json
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
import tables
import tyro

from iqlearn import Run, Transitions
from iqlearn.benchmark.local import one_core
from iqlearn.evaluation.returns import Evaluator
from iqlearn.files import read_json
from iqlearn.runs.folder import RESULT

COLUMNS = ("what", "task", "seed", "steps", "figure", "commit", "value")
TASKS = ("Hopper-v5", "HalfCheetah-v5", "Walker2d-v5", "Ant-v5")
RETRAINED = TASKS[:2]
MAZE, MIRRORED = "iqlearn/PointMazeWall-v0", "iqlearn/PointMazeMirrored-v0"
ANYWHERE = "iqlearn/PointMazeMirroredAnywhere-v0"
DECAY = ("--decay-after", 60_000)
"""Flags of agents that are trained from scratch. With a constant learning rate, one agent fell from 0.79 of the
expert's return to standing still."""
REFIT = "refit-state.safetensors"
Part = Literal["truth", "refit", "retrain", "state-only", "maze", "speed"]
Rows = list[tables.Row]


@dataclass(frozen=True)
class Imitator:
    """A run of `iqlearn train` with one demonstration."""

    setting: str
    task: str
    demos: Path
    seed: int
    steps: int
    flags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of its run folder."""
        return f"{self.setting}-{self.task}-{self.steps}-{self.seed}"

    def train(self, folder: Path) -> None:
        """Train it, unless the run in `folder` is completed."""
        if finished(folder):
            return
        words = ("train", "--env", self.task, "--demos", self.demos, "--trajectories", 1, "--evaluations", 10)
        words += ("--eval-episodes", 20, *self.flags)
        begin_or_resume(*words, steps=self.steps, seed=self.seed, folder=folder)


def iqlearn(*words: object) -> str:
    """Run an `iqlearn` command on one core and return what it prints. End the script if the command fails."""
    command = [sys.executable, "-m", "iqlearn", *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=one_core())
    if done.returncode:
        raise SystemExit(f"iqlearn {words[0]} ended with exit code {done.returncode}; its message is above.")
    return done.stdout


def begin_or_resume(*words: object, steps: int, seed: int, folder: Path) -> None:
    """Start a run in `folder`, or resume the run that is there."""
    if (folder / RESULT).is_file():
        iqlearn("resume", folder)
    else:
        iqlearn(*words, "--steps", steps, "--seed", seed, "--out", folder, "--overwrite")


def finished(folder: Path) -> bool:
    return (folder / RESULT).is_file() and read_json(folder / RESULT).get("status") == "completed"


def normalised(folder: Path) -> float:
    return float(read_json(folder / RESULT)["normalised_return"])


def rows(what: str, task: str, seed: int, steps: int, figures: dict[str, Any]) -> Rows:
    key = {"what": what, "task": task, "seed": seed, "steps": steps}
    return [{**key, "figure": figure, "value": value} for figure, value in figures.items()]


def truth(imitator: Imitator, work: Path, pictures: Path, refit: bool = False) -> Rows:
    """Correlate the reward with the true reward, and return the rows.

    Pearson and Spearman correlations on new rollouts that were not used for training: of the run's policy, of a random
    policy, and of mixtures of both.
    """
    what, out = "refit" if refit else "truth", work / "judged" / imitator.name
    words = ("--rollouts", "policy,random,noisy", "--json", "--out", out, *(("--refit", "state") if refit else ()))
    facts = json.loads(iqlearn("reward", work / imitator.name, *words))
    names = ("pearson_transition", "spearman_transition", "pearson_episode", "spearman_episode")
    found = {name: facts[name] for name in (*names, "pearson_length", "pearson_mean")}
    found |= {f"{kind}_{name}": of_kind[name] for kind, of_kind in facts["kinds"].items() for name in names}
    if imitator.seed == 0:
        picture = "refit-state.png" if refit else "reward.png"
        shutil.copy(out / picture, pictures / f"{'refit' if refit else 'reward'}-{imitator.task}.png")
    return rows(what, imitator.task, imitator.seed, imitator.steps, found)


def retrain(imitator: Imitator, work: Path, pictures: Path, steps: int) -> Rows:
    """Train SAC from scratch on the refitted reward of states alone. Return its normalised true return (expert 1)."""
    folder, source = work / f"on-refit-{steps}-{imitator.name}", work / imitator.name
    reward = work / "judged" / imitator.name / REFIT
    if not reward.is_file():
        truth(imitator, work, pictures, refit=True)
    if not finished(folder):
        words = ("expert", "--env", imitator.task, "--reward", reward, *DECAY)
        begin_or_resume(*words, steps=steps, seed=imitator.seed, folder=folder)
    of_imitator, result = read_json(source / RESULT), read_json(folder / RESULT)
    random, expert = of_imitator["random_return"], of_imitator["expert_return"]
    figures = {"normalised": (result["mean_return"] - random) / (expert - random)}
    return rows("retrain on refit", imitator.task, imitator.seed, steps, figures)


def maze(seed: int, work: Path, pictures: Path, steps: int) -> Rows:
    """Learn a reward of states in one maze, and train an agent on it in the mirrored maze. Return the rows.

    A second agent is trained on the true reward for comparison. Both are trained on episodes that begin anywhere, so
    that the result depends on the reward and not on exploration. They are evaluated on episodes that begin at the
    bottom.
    """
    source = work / f"maze-{seed}"
    if not finished(source):
        begin_or_resume("train", "--env", MAZE, steps=steps, seed=seed, folder=source)
    judging = ("reward", source, "--rollouts", "policy,random,noisy", "--episodes", 50, "--json")
    facts = json.loads(iqlearn(*judging, "--refit", "state"))
    if seed == 0:
        iqlearn(*judging)
        shutil.copy(source / "reward.png", pictures / "reward-maze.png")
        shutil.copy(source / "refit-state.png", pictures / "refit-maze.png")
    earned = {}
    for name, reward in (("true", ()), ("learned", ("--reward", source / REFIT))):
        folder = work / f"anywhere-{name}-{steps}-{seed}"
        if not finished(folder):
            begin_or_resume("expert", "--env", ANYWHERE, *reward, steps=steps, seed=seed, folder=folder)
        judged = json.loads(iqlearn("evaluate", folder, "--env", MIRRORED, "--episodes", 50, "--json"))
        earned[name] = float(judged["mean_return"])
    evaluator = Evaluator(MIRRORED)
    random = float(evaluator.random_returns(50, seed).mean())
    evaluator.close()
    share = (earned["learned"] - random) / (earned["true"] - random)
    known = {name: facts[name] for name in ("pearson_transition", "pearson_episode", "epic")}
    figures = {"imitation": normalised(source), **earned, "random": random, "share": share, **known}
    return rows("maze on refit", MIRRORED, seed, steps, figures)


def state_only(imitator: Imitator, work: Path, _pictures: Path) -> Rows:
    figures = {"normalised": normalised(work / imitator.name)}
    return rows(imitator.setting, imitator.task, imitator.seed, imitator.steps, figures)


def speed(imitator: Imitator, work: Path, _pictures: Path, n: int = 1_000_000) -> Rows:
    """Measure the seconds for the rewards of `n` transitions, after compilation: the median of five."""
    run = Run.load(work / imitator.name)
    rng = np.random.default_rng(0)
    obs, next_obs = rng.normal(size=(2, n, *run.task.obs.shape)).astype(np.float32)
    action = rng.uniform(-1, 1, size=(n, *run.task.action_shape)).astype(np.float32)
    batch, reward, taken = Transitions(obs, action, next_obs, np.zeros(n, bool)), run.reward, []
    reward(batch)
    for _ in range(5):
        started = time.perf_counter()
        reward(batch)
        taken.append(time.perf_counter() - started)
    return rows("speed", imitator.task, imitator.seed, n, {"seconds": sorted(taken)[2]})


def main(
    demos: Path,
    only: tuple[Part, ...] = ("truth", "refit", "retrain", "state-only", "maze"),
    tasks: tuple[str, ...] = TASKS,
    seeds: int = 1,
    first_seed: int = 0,
    steps: int = 50_000,
    retrain_steps: int = 120_000,
    maze_steps: int = 20_000,
    work: Path = Path("runs/reward"),
    parallel: int = 2,
    out: Path = tables.RESULTS,
) -> None:
    """Measure some parts, with each imitator trained on one core.

    Args:
        demos: folder with the demonstrations of each task.
        only: parts to measure.
        tasks: tasks of all parts except the maze.
        seeds: number of seeds.
        first_seed: the first seed.
        steps: environment steps of each imitator.
        retrain_steps: environment steps of each agent that is trained from scratch.
        maze_steps: environment steps of each run in a maze.
        work: folder of the run folders.
        parallel: number of runs at a time.
        out: folder of the table and the pictures.
    """
    work.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    locks: defaultdict[str, Lock] = defaultdict(Lock)

    def imitators(setting: str, of: Sequence[str], flags: tuple[str, ...] = ()) -> Iterator[Imitator]:
        for seed in range(first_seed, first_seed + seeds):
            for task in (task for task in of if task in tasks):
                yield Imitator(setting, task, demos / f"{task}.npz", seed, steps, flags)

    def after(imitator: Imitator, measure: Callable[..., Rows], *more: object) -> Callable[[], Rows]:
        def both() -> Rows:
            with locks[imitator.name]:  # several parts measure the same imitator
                imitator.train(work / imitator.name)
                return measure(imitator, work, out, *more)

        return both

    todo: list[Callable[[], Rows]] = []
    for part in only:
        if part in ("truth", "refit"):
            todo += [after(one, truth, part == "refit") for one in imitators("recommended", TASKS)]
        elif part == "retrain":
            todo += [after(one, retrain, retrain_steps) for one in imitators("recommended", RETRAINED)]
        elif part == "state-only":
            todo += [after(one, state_only) for one in imitators(part, RETRAINED, ("--state-only",))]
        elif part == "maze":
            todo += [partial(maze, s, work, out, maze_steps) for s in range(first_seed, first_seed + seeds)]
        else:
            todo += [after(one, speed) for one in imitators("recommended", TASKS[:1])]
    with ThreadPoolExecutor(parallel) as pool:
        for found in pool.map(lambda measure: measure(), todo):
            for row in found:
                print(*row.values(), flush=True)
            tables.merge(out / "reward.csv", COLUMNS, found, key=6)


if __name__ == "__main__":
    tyro.cli(main)
