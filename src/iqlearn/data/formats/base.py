"""Shared parts of the readers of demonstrations: the reading options, and the conversion of episodes to arrays."""

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
"""Episodes that take more than this many GiB are thinned out, unless `max_gib` sets another limit."""
BLOCK = 2**22
"""Largest number of values that are read from a dataset on disk at once."""
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
    """The options for reading a source, as a run folder stores them."""

    columns: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """The columns, or keys, that make up each field."""
    max_gib: float | None = None
    """The size in GiB that demonstrations may take. None for the default."""


class Found(NamedTuple):
    """The result of a reader."""

    arrays: Arrays
    """The fields of the documented format, unchecked."""
    assumed: tuple[str, ...] = ()
    """Remarks on missing information in the source, and what was assumed instead."""


class Opened(NamedTuple):
    """An open source. Its size is known before its rows are read."""

    size: float
    """Number of bytes that its arrays take in the documented format."""
    read: Callable[[int], Found]
    """Function that takes `every` and reads every `every`-th transition and each terminal transition."""
    thins: bool = True
    """Whether `read` can leave rows out. An `.npz` file is read whole or refused."""


@dataclass(frozen=True)
class Episode:
    """One episode of a source. Its arrays are NumPy arrays, or datasets on disk, which are read in blocks."""

    steps: int
    """T, the number of actions."""
    obs: Any
    """A tree of arrays: T + 1 rows, or T where the last observation is missing."""
    act: Any = None
    """T rows. None where actions were not recorded."""
    next_obs: Any = None
    """T rows, where the source holds them."""
    rew: Any = None
    """T rows, where the source holds them."""
    term: bool = False
    """Whether the episode terminated."""
    trunc: bool = False
    """Whether the episode was truncated by its time limit."""


@dataclass(frozen=True)
class Section:
    """The rows `start` to `stop` − 1 of a dataset on disk."""

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
    """The kept rows of an array. They are indexed by their numbers in the whole array."""

    values: np.ndarray
    rows: Int[np.ndarray, " n"]
    """The numbers of the kept rows, in ascending order."""
    steps: int
    """The number of rows of the whole array."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.steps, *self.values.shape[1:])

    @property
    def dtype(self) -> Any:
        return self.values.dtype

    def __getitem__(self, at: Int[np.ndarray, " n"]) -> np.ndarray:
        return self.values[np.searchsorted(self.rows, at)]


def selected(place: str, tree: Any, reading: Reading) -> Any:
    """Return the parts of a dictionary of arrays that the column map names for observations, such as `object` or
    `proprio/pos`. Without a map, return the whole dictionary. A single name gives its array alone.

    Args:
        place: the name of the dictionary in messages.
        tree: arrays, or dictionaries of these.
        reading: the column map.

    Raises:
        InputError: a named part does not exist, one name lies inside another, or `tree` is not a dictionary.
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
    """Check that a column map names only the fields in `meanings`. On others it would have no effect.

    Raises:
        InputError: the map names another field.
    """
    for field in (field for field, _ in reading.columns if field not in meanings):
        wanted = " and ".join(f"{name} ({what})" for name, what in meanings.items())
        raise InputError(f"--columns {field}=… has no effect on {source}; expected {wanted}.")


def step_of(size: float, reading: Reading) -> int:
    """Return the thinning step for sources of `size` bytes in total: 1 keeps all transitions, n every n-th one."""
    return max(1, math.ceil(size / GIB / (LARGE if reading.max_gib is None else reading.max_gib)))


def thinned(size: float, every: int) -> tuple[str, ...]:
    """Return the remark on sources of `size` bytes in total that are thinned by the step `every`. Empty if it is 1."""
    more = f"allow more with --max-demos-gib {math.ceil(size / GIB)} (in Python max_gib=...)"
    return (f"{size / GIB:.3g} GiB: one of every {every} transitions is kept, {more}",) if every > 1 else ()


def opened_as(source: str, episodes: list[Episode], assumed: Iterable[str] = ()) -> Opened:
    """Return an open source of episodes whose arrays have known shapes and types before they are read."""
    return Opened(size_of(episodes), lambda every: joined(source, episodes, every, None, assumed))


def joined(
    source: str, episodes: Iterable[Episode], every: int, env: str | None = None, assumed: Iterable[str] = ()
) -> Found:
    """Return the arrays of every `every`-th transition of episodes, and of their terminal transitions, concatenated.

    Args:
        source: the name of the source in messages.
        episodes: the episodes, which are read one at a time.
        every: 1 keeps all transitions.
        env: id of the environment, if the source names it.
        assumed: the assumptions so far.

    Raises:
        InputError: there is no transition, or only some episodes have actions or rewards.
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
    """Return the episode with a marked end, and count the assumptions in `told`.

    If the observation after the last action is missing, an episode that did not terminate loses its last step.
    """
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
    """Return the fields of every `every`-th transition of an episode, and of its terminal transition."""
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
    """Return `obs` and `next_obs` of the transitions `at`. Each row is read only once."""
    if episode.next_obs is not None:
        return picked("obs", episode.obs, at) | picked("next_obs", episode.next_obs, at)
    after = np.minimum(at + 1, len_of(episode.obs) - 1)
    rows = np.union1d(at, after)
    seen = picked("obs", episode.obs, rows)
    here, there = np.searchsorted(rows, at), np.searchsorted(rows, after)
    return {n: x[here] for n, x in seen.items()} | {f"next_{n}": x[there] for n, x in seen.items()}


def picked(name: str, tree: Any, at: Int[np.ndarray, " n"]) -> Arrays:
    """Return the rows `at` of each array of a tree, by field."""
    return {field: rows_at(array, at) for field, array in flat(name, tree).items()}


def rows_at(array: Any, at: Int[np.ndarray, " n"]) -> np.ndarray:
    """Return the rows with the numbers `at`, which are in ascending order. A dataset on disk is read in blocks."""
    if isinstance(array, np.ndarray | Kept):
        return array[at]
    block = max(1, BLOCK // max(1, math.prod(array.shape[1:])))
    blocks = np.split(at, np.flatnonzero(np.diff(at // block)) + 1)
    return np.concatenate([array[int(i[0]) : int(i[-1]) + 1][i - i[0]] for i in blocks])


def summed(arrays: Arrays) -> bool:
    """Return whether the return of each episode is the sum of its rewards: no row with a reward was left out."""
    if "rew" not in arrays or "episode_return" not in arrays:
        return True
    first = np.unique(arrays["ep"], return_index=True)[1]
    sums = np.add.reduceat(arrays["rew"], first, dtype=np.float64)
    sizes = np.add.reduceat(np.abs(arrays["rew"]), first, dtype=np.float64)
    return bool((np.abs(sums - arrays["episode_return"]) <= 1e-4 * np.maximum(sizes, np.abs(sums))).all())


def len_of(tree: Any) -> int:
    """Return the number of rows of a tree of arrays."""
    return next(iter(flat("", tree).values())).shape[0]


def size_of(episodes: Iterable[Episode]) -> float:
    """Return the number of bytes that the arrays of episodes take in the documented format."""

    def row(tree: Any) -> int:
        arrays = flat("", tree).values()
        return sum(math.prod(array.shape[1:]) * (1 if array.dtype == np.uint8 else 4) for array in arrays)

    def action(act: Any) -> int:
        return 0 if act is None else 8 if act.dtype.kind in "iu" else row(act)

    return float(sum(e.steps * (2 * row(e.obs) + action(e.act) + 14) for e in episodes))


@contextmanager
def parsing(path: Path | str, what: str) -> Iterator[None]:
    """Turn every error of a library that reads `what` into an `InputError` of one sentence.

    Raises:
        InputError: an error occurred.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        short = "takes more memory than there is, or " if isinstance(error, MemoryError) else ""
        told = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise InputError(f"{path} {short}is damaged, or no {what} ({told}); expected one that opens.") from error
