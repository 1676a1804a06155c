"""What a session advances: runs together. Offline they are seeds stacked into one program (online: `acting`)."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from iqlearn.algorithms import TrainState
from iqlearn.run import Run
from iqlearn.start import keys_of
from iqlearn.training import (
    Data,
    train,
    train_seeds,
)

Figures = dict[str, float]


class Diverged(Exception):
    """A loss was not finite; the states from before are kept."""

    def __init__(self, first: int, last: int) -> None:
        super().__init__(first, last)
        self.first, self.last = first, last


class Group(Protocol):
    """Runs that advance together."""

    done: int
    """Steps done: of the environment online, updates offline."""

    @property
    def states(self) -> list[TrainState]: ...

    @property
    def extras(self) -> list[dict[str, Any]]:
        """What a checkpoint of each run holds beside the state, as named trees."""
        ...

    def compile(self) -> None:
        """Make the program ready, so that time is measured without it."""
        ...

    def advance(self, steps: int) -> list[Figures]:
        """Do that many steps; mean metrics of each run.

        Raises:
            Diverged: a loss was not finite.
        """
        ...

    def interrupt(self) -> None:
        """Make `advance` in another thread come to an end soon."""
        ...

    def close(self) -> None: ...


class Offline:
    """Some of the runs, stacked into one program."""

    def __init__(self, runs: Sequence[Run], data: Sequence[Data]) -> None:
        self._algorithm, self._n = runs[0].algorithm, len(runs)
        self.done = int(runs[0].state.step)
        self._states = self._join([run.state for run in runs])
        self._keys = self._join([keys_of(run.schedule.seed)[2] for run in runs])
        self._data = self._join(data)
        self._program: Any = None

    @property
    def states(self) -> list[TrainState]:
        return self._split(self._states)

    @property
    def extras(self) -> list[dict[str, Any]]:
        return [{} for _ in range(self._n)]

    def compile(self) -> None:
        if self._program is None:
            loop = train if self._n == 1 else train_seeds
            self._program = loop.lower(self._algorithm, self._states, self._data, self._keys, 1).compile()

    def advance(self, steps: int) -> list[Figures]:
        states, metrics = self._program(self._states, self._data, self._keys, steps)
        metrics = jax.device_get(metrics)
        if not finite(metrics):
            raise Diverged(self.done, self.done + steps)
        self._states, self.done = states, self.done + steps
        return [{name: float(x) for name, x in of_run.items()} for of_run in self._split(metrics)]

    def interrupt(self) -> None:
        """One call of the compiled program is not interrupted."""

    def close(self) -> None:
        """Nothing is held."""

    def _join(self, trees: Sequence[Any]) -> Any:
        """One tree with a leading axis of runs; a single run goes without."""
        return trees[0] if len(trees) == 1 else jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

    def _split(self, tree: Any) -> list[Any]:
        return [tree] if self._n == 1 else [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(self._n)]


def finite(metrics: Mapping[str, Any]) -> bool:
    """Whether every metric, the loss and the norms of its gradients among them, is a number."""
    return all(np.all(np.isfinite(value)) for value in metrics.values())


def mean(seen: Sequence[tuple[int, Mapping[str, Any]]]) -> Figures:
    """Mean metrics over the updates of several calls; nothing before the first one."""
    if not seen:
        return {}
    total = sum(n for n, _ in seen)
    fetched = [(n, jax.device_get(metrics)) for n, metrics in seen]
    return {name: float(sum(n * m[name] for n, m in fetched)) / total for name in fetched[0][1]}
