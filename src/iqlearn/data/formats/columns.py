"""Conversion of the columns of a table to episodes. A column map names the columns of each field."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8

from iqlearn.data.fields import FIELDS, OBSERVED, Arrays, nested, root
from iqlearn.data.formats.base import Episode, Found, Kept, Opened, Reading, joined, size_of
from iqlearn.errors import InputError

NAMES = (*FIELDS, "rew")
"""The fields that can be made of columns."""
ALONE = ("ep", "term", "trunc", "rew")
"""The fields that are made of exactly one column."""
OBSERVATION = "observation."
"""LeRobot's prefix of the names of observations. It is removed from the keys of a dictionary."""
NO_EPISODES = "no column says where episodes begin (ep); all rows are read as one episode"
TRUE, FALSE = ("1", "true", "True", "TRUE", "yes"), ("0", "false", "False", "FALSE", "no", "")
Pictures = Callable[[Int[np.ndarray, " n"]], UInt8[np.ndarray, "n height width 3"]]
"""Function that takes row numbers in ascending order and returns images stored outside of the table, in videos."""
NO_PICTURES: Mapping[str, Pictures] = MappingProxyType({})


class Table(NamedTuple):
    """A table on disk, which is read a batch of rows at a time."""

    source: str
    """Its name in messages."""
    names: list[str]
    batches: Callable[[Sequence[str]], Iterator[Any]]
    """Function that takes column names and yields batches of rows with these columns, from the first row on."""
    pictures: Mapping[str, Pictures] = NO_PICTURES
    widened: Callable[[Sequence[str]], Table] | None = None
    """Function that takes column names and returns the same table with types that hold all values of these columns.
    None for tables whose types are not taken from the first batch."""

    def numbered(self, names: Sequence[str]) -> Iterator[tuple[int, Any]]:
        """Yield batches with the number of their first row. Columns that are `pictures` are left out.

        Raises:
            InputError: a value is missing.
        """
        first, wanted = 0, list(dict.fromkeys(name for name in names if name not in self.pictures))
        for batch in self.batches(wanted or self.names[:1]):
            for name in wanted:
                check_gaps(self.source, batch, name, first)
            if batch.num_rows:
                yield first, batch
            first += batch.num_rows


class Plan(NamedTuple):
    """The boundaries and ends of the episodes of a table."""

    stops: Int[np.ndarray, " episodes"]
    """For each episode, the number of the row after its last one."""
    ends: dict[str, Bool[np.ndarray, " episodes"]]
    """`term` and `trunc` of each episode, if there are columns of them."""
    assumed: tuple[str, ...]


def episodes_of(table: Table, reading: Reading, assumed: Sequence[str] = ()) -> Opened:
    """Return the episodes of a table as an open source.

    Raises:
        InputError: columns are missing, have gaps or do not hold numbers.
    """
    import pyarrow as pa

    columns = mapped(table, reading)
    names = {field: names for field, names in columns.items() if field not in ("ep", "term", "trunc")}

    def wider(error: pa.ArrowInvalid) -> Opened:
        if table.widened is None:
            raise error
        return episodes_of(table.widened([*{name: 0 for each in columns.values() for name in each}]), reading, assumed)

    try:
        plan = planned(table, columns)
    except pa.ArrowInvalid as error:
        return wider(error)
    row = first_row(table, names)
    whole = Episode(int(plan.stops[-1]), nested(row, "obs"), row.get("act"), nested(row, "next_obs"), row.get("rew"))

    def found(every: int) -> Found:
        each = episodes(table, names, row, plan, every)
        try:
            return joined(table.source, each, every, None, (*assumed, *plan.assumed))
        except pa.ArrowInvalid as error:
            return wider(error).read(every)

    return Opened(size_of([whole]), found)


def first_row(table: Table, names: Mapping[str, tuple[str, ...]]) -> Arrays:
    """Return the arrays of the first row, which set the shapes and types of all rows. If an array of `obs` and that of
    `next_obs` differ in type (one has whole numbers), both become float64."""
    _, batch = next(table.numbered([name for each in names.values() for name in each]))
    at = np.zeros(1, int)
    row = {n: x for field in names for n, x in values(table, names, field, batch.slice(0, 1), at).items()}
    for name, after in ((name, f"next_{name}") for name in [*row] if root(name) == "obs"):
        if after in row and row[name].dtype != row[after].dtype:
            row |= {n: row[n].astype(np.float64) for n in (name, after)}
    return row


def planned(table: Table, columns: Mapping[str, tuple[str, ...]]) -> Plan:
    """Find the episodes of a table in one pass over the columns `ep`, `term` and `trunc`.

    Raises:
        InputError: there is no row, an episode continues after another one, or an end is marked before its last row.
    """
    import pyarrow as pa
    from pyarrow import compute

    pc: Any = compute  # type checkers do not know its functions, which are created at import
    ends = {end: columns[end][0] for end in ("term", "trunc") if end in columns}
    flags: dict[str, list[np.ndarray]] = {end: [] for end in ends}
    begun, last, steps = {}, None, 0
    begins: list[np.ndarray] = []
    for first, batch in table.numbered([*columns.get("ep", ()), *ends.values()] or columns["obs"]):
        steps = first + batch.num_rows
        for end, name in ends.items():
            flags[end].append(first + np.flatnonzero(numbers(table.source, batch.column(name), name)))
        if "ep" in columns:
            ep = batch.column(columns["ep"][0])
            ep = ep.dictionary_decode() if pa.types.is_dictionary(ep.type) else ep
            new = 1 + np.flatnonzero(np.asarray(pc.not_equal(ep[1:], ep[:-1])))
            new = np.append(0, new) if ep[0].as_py() != last else new
            begins.append(first + new)
            for row in new.tolist():
                last = ep[row].as_py()
                if begun.setdefault(last, first + row) != first + row:
                    told = f"an episode goes on at row {first + row} after another one (column {columns['ep'][0]!r})"
                    raise InputError(
                        f"{table.source}: {told}; expected the rows of an episode together, in order of time."
                    )
    if steps == 0:
        raise InputError(f"{table.source} has no rows; expected one for each step.")
    at = {end: np.concatenate(rows) for end, rows in flags.items()}
    if "ep" in columns:
        stops = np.append(np.concatenate(begins)[1:], steps)
        for end, rows in at.items():
            for row in rows[~np.isin(rows + 1, stops)][:1]:
                told = f"{table.source}: column {ends[end]!r} ({end}) is true at row {row}"
                raise InputError(f"{told}; expected false, because the episode goes on in the next row.")
    else:
        stops = np.unique(np.concatenate([*(rows + 1 for rows in at.values()), [steps]])).astype(int)
    assumed = () if "ep" in columns or ends else (NO_EPISODES,)
    return Plan(stops, {end: np.isin(stops - 1, rows) for end, rows in at.items()}, assumed)


def episodes(
    table: Table, names: Mapping[str, tuple[str, ...]], like: Arrays, plan: Plan, every: int
) -> Iterator[Episode]:
    """Yield the episodes of a table, read in one pass. Only the needed rows of each episode are kept: every `every`-th
    row, the row after it if there is no `next_obs`, and the last row. All rewards are kept, for the return.

    Args:
        table: the table.
        names: the columns of each field.
        like: the arrays of the first row, which set the types of all rows.
        plan: the boundaries and ends of the episodes.
        every: 1 keeps all rows.
    """
    starts = np.append(0, plan.stops[:-1])
    held: dict[str, list[np.ndarray]] = {}
    number = 0
    for first, batch in table.numbered([name for each in names.values() for name in each]):
        row = np.arange(first, first + batch.num_rows)
        episode = np.searchsorted(plan.stops, row, "right")
        needed = (0,) if "next_obs" in names else (0, 1 % every)
        keep = np.isin((row - starts[episode]) % every, needed) | (row + 1 == plan.stops[episode])
        part = batch if keep.all() else batch.filter(keep)
        held.setdefault("row", []).append(row[keep])
        for field in names:
            rows = (batch, row) if field == "rew" else (part, row[keep])
            for name, array in (values(table, names, field, *rows) if len(rows[1]) else {}).items():
                if array.shape[1:] != like[name].shape[1:]:
                    wide = (
                        f"rows of {like[name].shape[1:]} and of {array.shape[1:]} (columns {listed([*names[field]])})"
                    )
                    raise InputError(f"{table.source}: {field} has {wide}; expected one shape.")
                held.setdefault(name, []).append(array.astype(like[name].dtype, casting="safe", copy=False))
        done = int(np.searchsorted(plan.stops, first + len(row), "right"))
        if done == number:
            continue
        whole = {name: np.concatenate(parts) if len(parts) > 1 else parts[0] for name, parts in held.items()}
        begin, rew = starts[number], whole.pop("rew", None)
        cuts = np.searchsorted(whole["row"], np.append(starts[number:done], plan.stops[done - 1]))
        for i, (a, b) in enumerate(pairwise(cuts.tolist()), number):
            start, stop = int(starts[i]), int(plan.stops[i])
            kept = {n: Kept(x[a:b], whole["row"][a:b] - start, stop - start) for n, x in whole.items() if n != "row"}
            yield Episode(
                stop - start,
                nested(kept, "obs"),
                kept.get("act"),
                nested(kept, "next_obs"),
                None if rew is None else rew[start - begin : stop - begin],
                **{end: bool(flags[i]) for end, flags in plan.ends.items()},
            )
        held = {name: [array[cuts[-1] :]] for name, array in whole.items()}
        held |= {} if rew is None else {"rew": [rew[plan.stops[done - 1] - begin :]]}
        number = done


def mapped(table: Table, reading: Reading) -> dict[str, tuple[str, ...]]:
    """Return the columns of each field: those of the column map, else those named after a field, as `obs`, `obs_0`,
    `obs.x`, ….

    Raises:
        InputError: the column map is invalid or names a missing column, two columns have the same name, or no columns
            are observations.
    """
    has = [*table.names, *(name for name in table.pictures if name not in table.names)]
    columns = dict(reading.columns)
    for field, names in columns.items():
        if field not in NAMES:
            raise InputError(f"--columns names {field!r}; expected fields among {', '.join(NAMES)}.")
        for name in names:
            if name not in has:
                raise InputError(f"{table.source} has no column {name!r} (--columns {field}=…); it has {listed(has)}.")
    for field in ALONE:
        if len(columns.get(field, "x")) != 1:
            raise InputError(f"--columns {field}={','.join(columns[field])} names several; expected one column.")
    if not columns:
        for field in NAMES:
            parts = () if field in ALONE else tuple(f"{field}{mark}" for mark in "_./")
            names = [field] if field in has else [name for name in has if name.startswith(parts)]
            columns |= {field: tuple(names)} if names else {}
    for name in (name for names in columns.values() for name in names if has.count(name) > 1):
        raise InputError(f"{table.source} has two columns {name!r}; expected names that differ.")
    if "obs" not in columns:
        raise InputError(
            f"{table.source} has the columns {listed(has)}; say which are observations and which actions with "
            f"--columns, for instance --columns obs={','.join(has[:2])} act={has[-1] if has else 'u'} ep=run."
        )
    return columns


def values(
    table: Table, columns: Mapping[str, tuple[str, ...]], field: str, batch: Any, at: Int[np.ndarray, " n"]
) -> Arrays:
    """Return the arrays of a field: its columns side by side. A column of lists holds vectors.

    A single column of whole numbers in `act` holds discrete actions. Observations with images are dictionaries, whose
    keys are the names of the columns of `obs`. A single column of images is an array without a key.

    Args:
        table: the table.
        columns: the columns of each field.
        field: the field.
        batch: rows of the table.
        at: the numbers of these rows.

    Raises:
        InputError: a value is not a number, lists differ in length, or images are not observations.
    """
    names = columns[field]
    parts = [
        table.pictures[name](at) if name in table.pictures else numbers(table.source, batch.column(name), name)
        for name in names
    ]
    if len(parts) == 1 and parts[0].ndim == 1:
        alone = field in ("term", "trunc", "rew") or (field == "act" and parts[0].dtype.kind in "iu")
        return {field: parts[0] if alone else parts[0][:, None]}
    wide = [part[:, None] if part.ndim == 1 else part for part in parts]
    if len(parts) == 1 or max(part.ndim for part in wide) == 2:
        return {field: np.concatenate(wide, axis=1)}
    keys = [name.removeprefix(OBSERVATION) for name in columns["obs"]]
    if root(field) not in OBSERVED or len(keys) != len(names):
        told = f"{table.source}: images of {field} (columns {listed([*names])})"
        raise InputError(f"{told} have no place; expected images in obs, and as many columns in next_obs.")
    return {f"{field}/{key}": part for key, part in zip(keys, wide, strict=True)}


def check_gaps(source: str, batch: Any, name: str, first: int) -> None:
    """Check that a column has no gaps.

    Raises:
        InputError: a value is missing.
    """
    from pyarrow import compute

    pc: Any = compute  # type checkers do not know its functions, which are created at import
    column = batch.column(name)
    gaps = pc.is_null(column, nan_is_null=True) if str(column.type) in ("float", "double") else pc.is_null(column)
    for row in np.flatnonzero(np.asarray(gaps))[:1]:
        raise InputError(f"{source}: column {name!r} has no value at row {first + row}; expected one in every row.")


def numbers(source: str, column: Any, name: str) -> np.ndarray:
    """Return a column as an array with one axis, two axes if it holds lists, or four axes if it holds images.

    Raises:
        InputError: a value is not a number, lists differ in length, or images differ in size or are missing.
    """
    import pyarrow as pa
    from pyarrow import compute

    pc: Any = compute  # type checkers do not know its functions, which are created at import
    kind = column.type
    if pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths = np.unique(np.asarray(pc.list_value_length(column)))
        if len(lengths) != 1:
            raise InputError(
                f"{source}: column {name!r} holds lists of several lengths; expected vectors of one length."
            )
        return numbers(source, pc.list_flatten(column), name).reshape(len(column), int(lengths[0]))
    if pa.types.is_struct(kind) and "bytes" in kind.names:
        return images(source, column.field("bytes").to_pylist(), name)
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return column.to_numpy(zero_copy_only=False)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        words = column.to_pylist()
        if all(word in TRUE + FALSE for word in words):
            return np.array([word in TRUE for word in words])
    raise InputError(f"{source}: column {name!r} holds {kind}; expected numbers.")


def images(source: str, files: Sequence[bytes | None], name: str) -> UInt8[np.ndarray, "n height width 3"]:
    """Decode image files, for instance PNG, as RGB. All must have the size of the first one.

    Raises:
        InputError: an image is not in the table, or has another size.
    """
    from PIL import Image

    found: np.ndarray | None = None
    for row, content in enumerate(files):
        if content is None:
            raise InputError(f"{source}: column {name!r} names files of images; expected images inside the table.")
        image = Image.open(io.BytesIO(content))
        shape = (image.height, image.width, 3)
        found = np.empty((len(files), *shape), np.uint8) if found is None else found
        if found.shape[1:] != shape:
            raise InputError(
                f"{source}: column {name!r} holds images of {found.shape[1:]} and {shape}; expected one size."
            )
        found[row] = image.convert("RGB")
    return np.empty((0, 0, 0, 3), np.uint8) if found is None else found


def listed(names: list[str]) -> str:
    """Return the names as text for a message, at most 20 of them."""
    more = f", … ({len(names)} in all)" if len(names) > 20 else ""
    return ", ".join(map(repr, names[:20])) + more or "none"
