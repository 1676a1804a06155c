"""The live side of training: arrays on the device, environments, a clock. `learning` drives it."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import jax
import numpy as np

from iqlearn.acting import Online
from iqlearn.algorithms import TrainState
from iqlearn.data import Demos
from iqlearn.evaluation import Episode, Evaluator, Familiar, normalised
from iqlearn.groups import Diverged, Figures, Group, Offline
from iqlearn.models import Policy
from iqlearn.records import Row
from iqlearn.run import Run
from iqlearn.settings import IQLearn, IQLearnContinuous
from iqlearn.training import Data, in_imagination, on_device

EVALUATION_SEED = 1_000_000
"""Evaluation episodes of seed s begin from reset seeds 1,000,000 + 1,000·s on, far from those of demonstrations."""
RANDOM_EPISODES = 50
"""Episodes of the random policy that sets the zero of the normalised return."""


class Session:
    """Runs that differ only in seed and demonstrations, trained side by side."""

    def __init__(self, runs: Sequence[Run], demos: Sequence[Demos], folders: Sequence[Path | None]) -> None:
        self.runs, self._folders = list(runs), list(folders)
        first = runs[0]
        self._groups: Sequence[Group] = online(runs, demos, folders) if first.interaction else offline(runs, demos)
        self.done = self._groups[0].done
        """Steps done by each run: of the environment online, updates offline."""
        self._metrics: list[Figures] = []
        self._evaluator = None if first.origin.env is None else Evaluator(first.origin.env)
        self._expert = [part.expert_return for part in demos] or [None] * len(runs)
        self._familiar = [Familiar(part.obs, part.observation_scale()) for part in demos]
        self._random: float | None = None
        self._seconds_before = first.result.get("seconds", 0.0)
        self._started = time.perf_counter()
        self._updates, self._update_seconds = 0, 0.0

    @property
    def states(self) -> list[TrainState]:
        """The state of each run now."""
        return [state for group in self._groups for state in group.states]

    @property
    def rate(self) -> float:
        """Updates a second of all runs together, acting included and compilation left out."""
        return self._updates / max(self._update_seconds, 1e-9)

    def advance(self, steps: int) -> None:
        """Do that many steps in every run.

        Raises:
            Diverged: a loss was not finite; the states from before are kept, of all runs.
        """
        before = sum(int(state.step) for state in self.states)
        for group in self._groups:  # one after the other: threads that compile at once have ended the process in XLA
            group.compile()
        with ThreadPoolExecutor(len(self._groups)) as pool:
            started = time.perf_counter()
            metrics = self._all(pool, partial(self._attempt, steps=steps))
        lost = [found for found in metrics if isinstance(found, Diverged)]
        if lost:
            which = [found.which if isinstance(found, Diverged) else [False] * len(found) for found in metrics]
            raise Diverged(min(e.first for e in lost), max(e.last for e in lost), chain.from_iterable(which))
        jax.block_until_ready(self.states)
        self._update_seconds += time.perf_counter() - started
        self._updates += sum(int(state.step) for state in self.states) - before
        self._metrics = [m for group in metrics for m in group]
        self.done = self._groups[0].done

    def _attempt(self, group: Group, steps: int) -> list[Figures] | Diverged:
        """What `advance` gives, or why it gave nothing; the others need not go on then."""
        try:
            return group.advance(steps)
        except Diverged as error:
            for other in self._groups:
                other.interrupt()
            return error

    def _all(self, pool: ThreadPoolExecutor, work: Callable[[Group], Any]) -> list[Any]:
        """What `work` gives of each group, side by side. Ctrl-C makes them stop, and waits until they have."""
        futures = [pool.submit(work, group) for group in self._groups]
        try:
            return [future.result() for future in futures]
        except KeyboardInterrupt:
            if sys.stderr.isatty():
                print("stopping when what is under way is done …", file=sys.stderr)
            for group in self._groups:
                group.interrupt()
            while not all(future.done() for future in futures):
                with suppress(KeyboardInterrupt):  # environments are never closed under a thread that steps them
                    wait(futures)
            raise

    def evaluate(self) -> None:
        """Add a row to each run: the mean metrics since the last one, and what its policy does now."""
        found = []
        for i, (run, state) in enumerate(zip(self.runs, self.states, strict=True)):
            run = replace(run, state=state)
            row: Row = {"step": self.done}
            if run.interaction:
                row["updates"] = int(state.step)
            returns = np.zeros(0)
            if self._evaluator is not None:
                seed = EVALUATION_SEED + 1_000 * run.schedule.seed
                act = partial(Policy(run.model, seed), deterministic=not run.schedule.sampled)
                played = self._evaluator.play(act, run.schedule.eval_episodes, seed)
                returns = np.array([episode.rew.sum() for episode in played])
                row |= {"return_mean": returns.mean(), "return_std": returns.std()}
                row |= {"return_min": returns.min(), "return_max": returns.max()}
                row |= self._strangeness(i, played)
            row |= self._metrics[i]
            result = {**run.result, **self._result(i, returns, int(state.step))}
            found.append(replace(run, rows=[*run.rows, row], result=result))
        # Only now, so that an interrupted evaluation leaves all as it was.
        self.runs = [remember_best(run, folder) for run, folder in zip(found, self._folders, strict=True)]

    def write(self) -> None:
        """Bring every run folder up to date, with what is needed to go on."""
        if not any(self._folders):
            return
        extras = [extra for group in self._groups for extra in group.extras]
        for run, folder, extra in zip(self.runs, self._folders, extras, strict=True):
            if folder is not None:
                run.write(folder, extra)

    def finish(self, status: str) -> None:
        """Set the status in every result: `running`, `completed` or `interrupted`."""
        self._settle([{"status": status} for _ in self.runs])

    def give_up(self, error: Diverged) -> None:
        """Set the status of the runs that diverged, `diverged`; the others were but interrupted."""
        lost = {"status": "diverged", "diverged_between": [error.first, error.last]}
        self._settle([lost if it else {"status": "interrupted"} for it in error.which])

    def _settle(self, facts: Sequence[dict[str, Any]]) -> None:
        results = [{**run.result, **more} for run, more in zip(self.runs, facts, strict=True)]
        self.runs = [replace(run, result=result) for run, result in zip(self.runs, results, strict=True)]
        for run, folder in zip(self.runs, self._folders, strict=True):
            if folder is not None:
                run.conclude(folder)

    def close(self) -> None:
        for group in self._groups:
            group.close()
        if self._evaluator is not None:
            self._evaluator.close()

    def _strangeness(self, i: int, played: Sequence[Episode]) -> Row:
        """How far the states that the policy visits are from the expert's; no reward is read."""
        if not self._familiar:
            return {}
        distance = self._familiar[i].distance(np.concatenate([episode.obs for episode in played]))
        return {"occupancy_distance": round(distance, 6)}  # as `metrics.csv` keeps it, so that a resumed run agrees

    def _result(self, i: int, returns: np.ndarray, updates: int) -> dict[str, Any]:
        mean = float(returns.mean()) if len(returns) else None
        if self._evaluator is not None and self._random is None:
            self._random = float(self._evaluator.random_returns(RANDOM_EPISODES, EVALUATION_SEED).mean())
        return {
            "status": "running",
            "returns": returns.tolist(),
            "mean_return": mean,
            "normalised_return": normalised(mean, self._expert[i], self._random),
            "expert_return": self._expert[i],
            "random_return": self._random,
            "updates": updates,
            "env_steps": self.done if self.runs[i].interaction else 0,
            "seconds": self._seconds_before + time.perf_counter() - self._started,
            "updates_per_second": self.rate,
            "seeds_together": len(self.runs),
        }


def remember_best(run: Run, folder: Path | None) -> Run:
    """Keep the policy beside the last one if its states are the closest to the expert's so far."""
    distances = [row["occupancy_distance"] for row in run.rows if row.get("occupancy_distance") is not None]
    if not distances or run.rows[-1].get("occupancy_distance") != min(d for d in distances if d is not None):
        return run
    if folder is not None:
        run.write_best(folder)
    return replace(run, result={**run.result, "best_step": run.rows[-1]["step"]})


def online(runs: Sequence[Run], demos: Sequence[Demos], folders: Sequence[Path | None]) -> list[Online]:
    """On a GPU the runs stacked into one program, else a group a run. What infers actions always goes alone."""
    first, data = runs[0], on_device(demos) if demos else []
    alone = isinstance(first.settings, IQLearnContinuous) and first.settings.state_only
    n = len(runs) if alone or jax.default_backend() == "cpu" else 1
    bounds = np.linspace(0, len(runs), n + 1).round().astype(int)
    return [Online(runs[a:b], data[a:b], folders[a:b]) for a, b in pairwise(bounds)]


def offline(runs: Sequence[Run], demos: Sequence[Demos]) -> list[Offline]:
    """The runs stacked into as many programs as there are workers."""
    first, demonstrations = runs[0], on_device(demos)
    data: Sequence[Data] = demonstrations
    if first.imagines and isinstance(first.settings, IQLearn):
        data = in_imagination(demonstrations, demos, first.settings.imagination, first.spec)
    bounds = np.linspace(0, len(runs), min(len(runs), workers()) + 1).round().astype(int)
    return [Offline(runs[a:b], data[a:b]) for a, b in pairwise(bounds)]


def workers() -> int:
    """Programs that run at a time: a core each, because small matrices keep no more than one busy; on a GPU one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if jax.default_backend() == "cpu" else 1


__all__ = ["Diverged", "Session", "workers"]
