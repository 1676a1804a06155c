"""What the readers of demonstrations share: how a source is read, and how its episodes become arrays."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from iqlearn.data.fields import Arrays, flat
from iqlearn.errors import InputError

GIB = 2**30
LARGE = 4.0
"""Episodes that take more GiB than these are thinned out, unless `max_gib` allows more."""
BLOCK = 2**22
"""Numbers that are read from a dataset on disk at once."""
NO_LAST = "{n} of {of} episodes lack the observation after their last action, so their last transition is left out"
NO_LAST_ENDED = (
    "{n} of {of} episodes lack the observation after their last action; they truly ended, so s' repeats s there"
)
NO_ENDS = "{n} of {of} episodes do not say how they ended; a time limit is assumed"


@dataclass(frozen=True)
class Reading:
    """How a source is read, as a run folder keeps it."""

    columns: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """The columns, or keys, of which each field is made."""
    max_gib: float | None = None
    """The size in GiB that demonstrations may take."""


class Found(NamedTuple):
    """What a reader found."""

    arrays: Arrays
    """The fields of the documented format, unchecked."""
    assumed: tuple[str, ...] = ()
    """What the source does not say, and what was assumed instead."""


@dataclass(frozen=True)
class Episode:
    """One episode as a source holds it. Its arrays are NumPy's, or datasets on disk, which are read in blocks."""

    steps: int
    """T, the number of actions."""
    obs: Any
    """A tree of arrays: T + 1 rows, or T where the last observation is missing."""
    act: Any = None
    """T rows; none where actions were not recorded."""
    next_obs: Any = None
    """T rows, where the source holds them."""
    rew: Any = None
    """T rows, where the source holds them."""
    term: bool = False
    """The episode truly ended."""
    trunc: bool = False
    """The episode met its time limit."""


@dataclass(frozen=True)
class Section:
    """Rows of a dataset on disk."""

    dataset: Any
    start: int
    stop: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.stop - self.start, *self.dataset.shape[1:])

    @property
    def dtype(self) -> Any:
        return self.dataset.dtype

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self.dataset[self.start + rows.start : self.start + rows.stop]


def joined(
    source: str,
    episodes: Iterable[Episode],
    size: float,
    reading: Reading,
    env: str | None = None,
    assumed: Iterable[str] = (),
) -> Found:
    """The arrays of episodes, one after another.

    Args:
        source: what messages call the source.
        episodes: read one at a time.
        size: how many bytes they take.
        reading: how they are read. What takes more than it allows is thinned out.
        env: id of the environment, if the source names it.
        assumed: what was assumed before.

    Raises:
        InputError: there is no transition.
    """
    limit = LARGE if reading.max_gib is None else reading.max_gib
    every = max(1, math.ceil(size / GIB / limit))
    told: Counter[str] = Counter(assumed)
    parts: dict[str, list[np.ndarray]] = {}
    count = 0
    for number, episode in enumerate(episodes):
        count += 1
        whole = with_ends(episode, told)
        if whole.steps > 0:
            for name, rows in rows_of(whole, number, every).items():
                parts.setdefault(name, []).append(rows)
    if not parts:
        raise InputError(f"{source} holds no transition; expected at least one episode of one step.")
    n = sum(map(len, parts["ep"]))
    arrays = {name: np.concatenate(rows) for name, rows in parts.items()}
    lacking = sorted(name for name, rows in arrays.items() if name in ("act", "rew") and len(rows) < n)
    for name in lacking:
        raise InputError(f"{source}: some episodes lack {name!r}; expected it in all of them, or in none.")
    remarks = [what.format(n=times, of=count) for what, times in told.items()]
    if every > 1:
        more = f"allow more with --max-demos-gib {math.ceil(size / GIB)} (in Python max_gib=...)"
        remarks.append(f"{size / GIB:.3g} GiB: every {every}th transition is kept, {more}")
    return Found(arrays | ({} if env is None else {"env": np.array(env)}), tuple(remarks))


def with_ends(episode: Episode, told: Counter[str]) -> Episode:
    """The episode without what is missing at its end. What that is, is counted."""
    if not (episode.term or episode.trunc):
        told[NO_ENDS] += 1
        episode = replace(episode, trunc=True)
    rows = len_of(episode.obs)
    if episode.next_obs is not None or rows > episode.steps:
        return episode
    if episode.term:
        told[NO_LAST_ENDED] += 1
        return episode
    told[NO_LAST] += 1
    return replace(episode, steps=episode.steps - 1)


def rows_of(episode: Episode, number: int, every: int) -> Arrays:
    """The fields of every so many transitions of an episode, and of its true end."""
    steps = episode.steps
    at = np.arange(0, steps, every)
    if episode.term and at[-1] != steps - 1:
        at = np.append(at, steps - 1)
    after = np.minimum(at + 1, len_of(episode.obs) - 1)
    last = at == steps - 1
    arrays: Arrays = {
        **picked("obs", episode.obs, at),
        **(
            picked("next_obs", episode.obs, after)
            if episode.next_obs is None
            else picked("next_obs", episode.next_obs, at)
        ),
        **({} if episode.act is None else picked("act", episode.act, at)),
        "term": last & episode.term,
        "trunc": last & episode.trunc,
        "ep": np.full(len(at), number),
    }
    rew = None if episode.rew is None else np.asarray(episode.rew[0:steps]).reshape(steps)
    if every > 1:
        arrays |= picked("initial_obs", episode.obs, at[:1])
        arrays |= {} if rew is None else {"episode_return": np.array([np.sum(rew, dtype=np.float32)])}
    return arrays | ({} if rew is None else {"rew": rew[at]})


def picked(name: str, tree: Any, at: Int[np.ndarray, " n"]) -> Arrays:
    """The rows `at` of each array of a tree, by field."""
    return {field: rows_at(array, at) for field, array in flat(name, tree).items()}


def rows_at(array: Any, at: Int[np.ndarray, " n"]) -> np.ndarray:
    """The rows with these rising numbers. A dataset on disk is read in blocks."""
    if isinstance(array, np.ndarray):
        return array[at]
    block = max(1, BLOCK // max(1, math.prod(array.shape[1:])))
    blocks = np.split(at, np.flatnonzero(np.diff(at // block)) + 1)
    return np.concatenate([array[int(i[0]) : int(i[-1]) + 1][i - i[0]] for i in blocks])


def len_of(tree: Any) -> int:
    """The number of rows of a tree of arrays."""
    return next(iter(flat("", tree).values())).shape[0]


def size_of(episodes: Iterable[Episode]) -> float:
    """How many bytes the arrays of episodes take as the documented format keeps them."""

    def row(tree: Any) -> int:
        arrays = flat("", tree).values()
        return sum(math.prod(array.shape[1:]) * (1 if array.dtype == np.uint8 else 4) for array in arrays)

    return float(sum(e.steps * (2 * row(e.obs) + (0 if e.act is None else row(e.act)) + 14) for e in episodes))


@contextmanager
def parsing(path: Path | str, what: str) -> Iterator[None]:
    """Tell every error of a library that reads `what` in one sentence.

    Raises:
        InputError: there was one.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        short = "takes more memory than there is, or " if isinstance(error, MemoryError) else ""
        told = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise InputError(f"{path} {short}is damaged, or no {what} ({told}); expected one that opens.") from error
