"""What the readers of demonstrations share: how a source is read, and how its episodes become arrays."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from iqlearn import interrupts
from iqlearn.data.fields import Arrays, flat, nested, root
from iqlearn.errors import InputError

GIB = 2**30
LARGE = 4.0
"""Episodes that take more GiB than these are thinned out, unless `max_gib` allows more."""
BLOCK = 2**22
"""Numbers that are read from a dataset on disk at once."""
NO_LAST = (
    "{n} of {of} episodes lack the observation after their last action: {n} of {rows} transitions are left out, the "
    "last of each of these episodes"
)
NO_LAST_ENDED = (
    "{n} of {of} episodes lack the observation after their last action; they truly ended, so s' repeats s in {n} of "
    "{rows} transitions"
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


class Opened(NamedTuple):
    """A source that is open. Its size is known before its rows are read."""

    size: float
    """How many bytes its arrays take as the documented format keeps them."""
    read: Callable[[int], Found]
    """The arrays of every so many transitions, and of each true end."""
    thins: bool = True
    """Whether `read` leaves rows out. An `.npz` file is read whole, or refused."""


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


@dataclass(frozen=True)
class Kept:
    """Rows of an array of which others were left out."""

    values: np.ndarray
    rows: Int[np.ndarray, " n"]
    """The numbers of the rows that were kept, rising."""
    steps: int
    """The number of all rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.steps, *self.values.shape[1:])

    @property
    def dtype(self) -> Any:
        return self.values.dtype

    def __getitem__(self, at: Int[np.ndarray, " n"]) -> np.ndarray:
        return self.values[np.searchsorted(self.rows, at)]


def selected(place: str, tree: Any, reading: Reading) -> Any:
    """The parts of a dictionary of arrays that the column map names for observations, such as `object` or
    `proprio/pos`; the whole of it without a map. One name alone gives its array.

    Args:
        place: what messages call the dictionary.
        tree: arrays, or dictionaries of these.
        reading: the column map.

    Raises:
        InputError: there is no part of a name, or a name lies inside another one.
    """
    keys = dict(reading.columns).get("obs", ())
    if keys and not isinstance(tree, dict):
        raise InputError(f"--columns has no effect on {place}, one array without names; leave it out.")
    parts: dict[str, Any] = {}
    for key in keys:
        part = tree
        for name in key.split("/"):
            if not isinstance(part, dict) or name not in part:
                has = ", ".join(name.removeprefix("/") for name in flat("", tree))
                raise InputError(f"{place} lacks {key!r} (--columns obs=…); it has {has}.")
            part = part[name]
        parts[f"obs/{key}"] = part
    for outer in keys:
        for inner in (key for key in keys if key.startswith(f"{outer}/")):
            raise InputError(f"--columns obs=… names {outer!r} and {inner!r}, which lies in it; leave one of them out.")
    if len(keys) > 1:
        return nested(parts, "obs")
    return next(iter(parts.values()), tree)


def only(reading: Reading, source: str, **meanings: str) -> None:
    """Refuse a column map of fields on which it has no effect.

    Raises:
        InputError: there is such a field.
    """
    for field in (field for field, _ in reading.columns if field not in meanings):
        wanted = " and ".join(f"{name} ({what})" for name, what in meanings.items())
        raise InputError(f"--columns {field}=… has no effect on {source}; expected {wanted}.")


def step_of(size: float, reading: Reading) -> int:
    """Every how many transitions are kept of sources that take so many bytes together."""
    return max(1, math.ceil(size / GIB / (LARGE if reading.max_gib is None else reading.max_gib)))


def thinned(size: float, every: int) -> tuple[str, ...]:
    """The remark on sources that take so many bytes together and of which every so many transitions are kept."""
    more = f"allow more with --max-demos-gib {math.ceil(size / GIB)} (in Python max_gib=...)"
    return (f"{size / GIB:.3g} GiB: every {every}th transition is kept, {more}",) if every > 1 else ()


def opened_as(source: str, episodes: list[Episode], assumed: Iterable[str] = ()) -> Opened:
    """Episodes whose arrays say their shapes and types before they are read."""
    return Opened(size_of(episodes), lambda every: joined(source, episodes, every, None, assumed))


def joined(
    source: str, episodes: Iterable[Episode], every: int, env: str | None = None, assumed: Iterable[str] = ()
) -> Found:
    """The arrays of every so many transitions of episodes, and of their true ends, one episode after another.

    Args:
        source: what messages call the source.
        episodes: read one at a time.
        every: 1 keeps all transitions.
        env: id of the environment, if the source names it.
        assumed: what was assumed before.

    Raises:
        InputError: there is no transition.
    """
    told: Counter[str] = Counter()
    parts: dict[str, list[np.ndarray]] = {}
    count = steps = 0
    for number, episode in enumerate(episodes):
        interrupts.check()
        count, steps = count + 1, steps + episode.steps
        whole = with_ends(episode, told)
        if whole.steps > 0:
            for name, rows in rows_of(whole, number, every).items():
                parts.setdefault(name, []).append(rows)
    if not parts:
        raise InputError(f"{source} holds no transition; expected at least one episode of one step.")
    n = sum(map(len, parts["ep"]))
    arrays = {name: np.concatenate(parts.pop(name)) for name in [*parts]}
    for name in sorted(name for name, rows in arrays.items() if name in ("act", "rew") and len(rows) < n):
        raise InputError(f"{source}: some episodes lack {name!r}; expected it in all of them, or in none.")
    remarks = tuple(what.format(n=times, of=count, rows=steps) for what, times in told.items())
    return Found(arrays | ({} if env is None else {"env": np.array(env)}), (*assumed, *remarks))


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
    last = at == steps - 1
    arrays: Arrays = {
        **observed(episode, at),
        **({} if episode.act is None else picked("act", episode.act, at)),
        "term": last & episode.term,
        "trunc": last & episode.trunc,
        "ep": np.full(len(at), number),
    }
    rew = None if episode.rew is None else np.asarray(episode.rew[0:steps]).reshape(steps)
    if every > 1:
        arrays |= {
            name.replace("obs", "initial_obs", 1): rows[:1] for name, rows in arrays.items() if root(name) == "obs"
        }
        arrays |= {} if rew is None else {"episode_return": np.add.reduceat(rew, [0], dtype=np.float32)}
    return arrays | ({} if rew is None else {"rew": rew[at]})


def observed(episode: Episode, at: Int[np.ndarray, " n"]) -> Arrays:
    """The observations of transitions and those after them. Each row is read once."""
    if episode.next_obs is not None:
        return picked("obs", episode.obs, at) | picked("next_obs", episode.next_obs, at)
    after = np.minimum(at + 1, len_of(episode.obs) - 1)
    rows = np.union1d(at, after)
    seen = picked("obs", episode.obs, rows)
    here, there = np.searchsorted(rows, at), np.searchsorted(rows, after)
    return {n: x[here] for n, x in seen.items()} | {f"next_{n}": x[there] for n, x in seen.items()}


def picked(name: str, tree: Any, at: Int[np.ndarray, " n"]) -> Arrays:
    """The rows `at` of each array of a tree, by field."""
    return {field: rows_at(array, at) for field, array in flat(name, tree).items()}


def rows_at(array: Any, at: Int[np.ndarray, " n"]) -> np.ndarray:
    """The rows with these rising numbers. A dataset on disk is read in blocks."""
    if isinstance(array, np.ndarray | Kept):
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
