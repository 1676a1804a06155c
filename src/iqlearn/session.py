"""The live side of training: arrays on the device, environments, a clock. `learning` drives it."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from iqlearn.algorithms import Imitator, TrainState, imitator
from iqlearn.data import Demos
from iqlearn.evaluation import Evaluator, normalised
from iqlearn.models import Policy
from iqlearn.records import Row
from iqlearn.run import Run, keys_of
from iqlearn.settings import IQLearn
from iqlearn.training import Data, in_imagination, on_device, train, train_seeds

EVALUATION_SEED = 1_000_000
"""Evaluation episodes of seed s begin from reset seeds 1,000,000 + 1,000·s on, far from those of demonstrations."""
RANDOM_EPISODES = 50
"""Episodes of the random policy that sets the zero of the normalised return."""


class Group:
    """Some of the runs, stacked into one program."""

    def __init__(self, algorithm: Imitator, runs: Sequence[Run], data: Sequence[Data]) -> None:
        self._algorithm, self._n = algorithm, len(runs)
        self._states = self._join([run.state for run in runs])
        self._keys = self._join([keys_of(run.schedule.seed)[2] for run in runs])
        self._data = self._join(data)
        self._program: Any = None

    @property
    def states(self) -> list[TrainState]:
        return self._split(self._states)

    def compile(self) -> None:
        if self._program is None:
            loop = train if self._n == 1 else train_seeds
            self._program = loop.lower(self._algorithm, self._states, self._data, self._keys, 1).compile()

    def advance(self, steps: int) -> list[dict[str, float]]:
        """Do that many updates; unless every loss stays finite, keep the states from before and return nothing."""
        states, metrics = self._program(self._states, self._data, self._keys, steps)
        metrics = jax.device_get(metrics)
        if not np.all(np.isfinite(metrics["loss"])):
            return []
        self._states = states
        return [{name: float(x) for name, x in of_run.items()} for of_run in self._split(metrics)]

    def _join(self, trees: Sequence[Any]) -> Any:
        """One tree with a leading axis of runs; a single run goes without."""
        return trees[0] if len(trees) == 1 else jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

    def _split(self, tree: Any) -> list[Any]:
        return [tree] if self._n == 1 else [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(self._n)]


class Session:
    """Runs that differ only in seed and demonstrations, trained side by side."""

    def __init__(self, runs: Sequence[Run], demos: Sequence[Demos]) -> None:
        self.runs = list(runs)
        first = runs[0]
        demonstrations = on_device(demos)
        data: Sequence[Data] = demonstrations
        if first.imagines and isinstance(first.settings, IQLearn):
            data = in_imagination(demonstrations, demos, first.settings.imagination, first.spec)
        algorithm = imitator(first.settings, first.imagines)
        bounds = np.linspace(0, len(runs), min(len(runs), workers()) + 1).round().astype(int)
        self._groups = [Group(algorithm, runs[a:b], data[a:b]) for a, b in pairwise(bounds)]
        self.done = int(first.state.step)
        """Updates done by each run."""
        self._metrics: list[dict[str, float]] = []
        self._evaluator = None if first.origin.env is None else Evaluator(first.origin.env)
        self._expert = demos[0].expert_return
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
        """Updates a second of all runs together, compilation left out."""
        return self._updates / max(self._update_seconds, 1e-9)

    def advance(self, steps: int) -> bool:
        """Do that many updates in every run; False if a loss was not finite, the states from before are kept then."""
        with ThreadPoolExecutor(len(self._groups)) as pool:
            list(pool.map(Group.compile, self._groups))
            started = time.perf_counter()
            metrics = list(pool.map(lambda group: group.advance(steps), self._groups))
        self._update_seconds += time.perf_counter() - started
        self._updates += steps * len(self.runs)
        if not all(metrics):
            return False
        self._metrics = [m for group in metrics for m in group]
        self.done += steps
        return True

    def evaluate(self) -> None:
        """Add a row to each run: the mean metrics since the last one, and the returns of its policy now."""
        for i, (run, state) in enumerate(zip(self.runs, self.states, strict=True)):
            run = replace(run, state=state)
            row: Row = {"step": self.done, **self._metrics[i]}
            returns = np.zeros(0)
            if self._evaluator is not None:
                seed = EVALUATION_SEED + 1_000 * run.schedule.seed
                act = partial(Policy(run.model, seed), deterministic=not run.schedule.sampled)
                returns = self._evaluator.returns(act, run.schedule.eval_episodes, seed)
                row |= {"return_mean": returns.mean(), "return_std": returns.std()}
                row |= {"return_min": returns.min(), "return_max": returns.max()}
            self.runs[i] = replace(run, rows=[*run.rows, row], result=self._result(returns))

    def finish(self, status: str) -> None:
        """Set the status in every result: `running`, `completed`, `interrupted` or `diverged`."""
        self.runs = [replace(run, result={**run.result, "status": status}) for run in self.runs]

    def close(self) -> None:
        if self._evaluator is not None:
            self._evaluator.close()

    def _result(self, returns: np.ndarray) -> dict[str, Any]:
        mean = float(returns.mean()) if len(returns) else None
        if self._evaluator is not None and self._random is None:
            self._random = float(self._evaluator.random_returns(RANDOM_EPISODES, EVALUATION_SEED).mean())
        return {
            "status": "running",
            "returns": returns.tolist(),
            "mean_return": mean,
            "normalised_return": normalised(mean, self._expert, self._random),
            "expert_return": self._expert,
            "random_return": self._random,
            "updates": self.done,
            "env_steps": 0,
            "seconds": self._seconds_before + time.perf_counter() - self._started,
            "updates_per_second": self.rate,
            "seeds_together": len(self.runs),
        }


def workers() -> int:
    """Programs that run at a time: a core each, because small matrices keep no more than one busy; on a GPU one."""
    return (os.cpu_count() or 1) if jax.default_backend() == "cpu" else 1
