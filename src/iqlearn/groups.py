"""What a session advances: runs together, stacked into one program. Here offline; `acting` has those that act."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from iqlearn.algorithms import TrainState
from iqlearn.run import Run
from iqlearn.start import keys_of
from iqlearn.training import Data, compiled, join, split

Figures = dict[str, float]


class Diverged(Exception):
    """A loss was not finite; the states from before are kept."""

    def __init__(self, first: int, last: int, which: Iterable[bool]) -> None:
        super().__init__(first, last)
        self.first, self.last = first, last
        """Steps between which it happened."""
        self.which = list(which)
        """Whether it happened to each of the runs."""


@runtime_checkable
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
        self._states = join([run.state for run in runs])
        self._keys = join([keys_of(run.schedule.seed)[2] for run in runs])
        self._data = join(data)
        self._program: Any = None

    @property
    def states(self) -> list[TrainState]:
        return split(self._states, self._n)

    @property
    def extras(self) -> list[dict[str, Any]]:
        return [{} for _ in range(self._n)]

    def compile(self) -> None:
        if self._program is None:
            begun = self._states, self._data, self._keys
            self._program = compiled(self._algorithm, *begun, seeds=self._n > 1)

    def advance(self, steps: int) -> list[Figures]:
        states, metrics = self._program(self._states, self._data, self._keys, steps)
        metrics = jax.device_get(metrics)
        of_each = split(metrics, self._n)
        if not finite(metrics):
            raise Diverged(self.done, self.done + steps, [not finite(of_run) for of_run in of_each])
        self._states, self.done = states, self.done + steps
        return [{name: float(x) for name, x in of_run.items()} for of_run in of_each]

    def interrupt(self) -> None:
        """One call of the compiled program is not interrupted."""

    def close(self) -> None:
        """Nothing is held."""


def finite(metrics: Mapping[str, Any]) -> bool:
    """Whether every metric, the loss and the norms of its gradients among them, is a number."""
    return all(np.all(np.isfinite(value)) for value in metrics.values())


def mean(seen: Sequence[tuple[int, Mapping[str, Any]]], n: int) -> list[Figures]:
    """Mean metrics of each of `n` runs over the updates of several calls; nothing before the first one."""
    if not seen:
        return [{} for _ in range(n)]
    total = sum(due for due, _ in seen)
    fetched = [(due, jax.device_get(metrics)) for due, metrics in seen]
    means = {name: sum(due * m[name] for due, m in fetched) / total for name in fetched[0][1]}
    return [{name: float(x) for name, x in of_run.items()} for of_run in split(means, n)]
