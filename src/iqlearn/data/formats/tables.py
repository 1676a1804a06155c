"""Tables: Parquet, Arrow (IPC, Feather) and CSV. A column map says which columns make up which field."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from iqlearn.data.fields import FIELDS, Arrays
from iqlearn.data.formats.base import Episode, Found, Reading, joined, parsing
from iqlearn.errors import InputError, missing
from iqlearn.files import replacing

SUFFIXES = (".parquet", ".arrow", ".feather", ".ipc", ".csv", ".tsv")
WRITTEN = (".parquet", ".arrow", ".csv")
NAMES = (*FIELDS, "rew")
"""The fields that columns may make up."""
ALONE = ("ep", "term", "trunc", "rew")
"""The fields of one column each."""
NO_EPISODES = "no column says where episodes begin (ep); all rows are taken for one"
TRUE, FALSE = ("1", "true", "True", "TRUE", "yes"), ("0", "false", "False", "FALSE", "no", "")


def matches(path: Path) -> bool:
    """Whether a file is a table, by its suffix."""
    return path.is_file() and path.suffix.lower() in SUFFIXES


def read(path: Path, reading: Reading) -> Found:
    """The episodes of a table, one row for each step, in order of time.

    Raises:
        InputError: pyarrow is not installed, the table is damaged, or columns are missing or no numbers.
    """
    with parsing(path, "table"):
        return episodes_of(str(path), table_of(path), reading)


def table_of(path: Path) -> Any:
    """A file as a table, mapped into memory where its format allows that."""
    try:
        import pyarrow as pa
        from pyarrow import csv, feather, parquet
    except ImportError as error:
        raise missing("pyarrow, which reads tables,", "tables") from error
    kind = path.suffix.lower()
    with parsing(path, f"{kind} table"):
        if kind == ".parquet":
            return parquet.read_table(path, memory_map=True)
        if kind in (".csv", ".tsv"):
            return csv.read_csv(path, parse_options=csv.ParseOptions(delimiter="\t" if kind == ".tsv" else ","))
        try:
            return feather.read_table(path, memory_map=True)
        except pa.ArrowInvalid:
            with pa.memory_map(str(path)) as source:
                return pa.ipc.open_stream(source).read_all()


def episodes_of(source: str, table: Any, reading: Reading) -> Found:
    """The episodes of a table that is open.

    Raises:
        InputError: columns are missing, have gaps or are no numbers.
    """
    columns = mapped(source, table, reading)
    steps = table.num_rows
    if steps == 0:
        raise InputError(f"{source} has no rows; expected one for each step.")
    assumed = []
    if "ep" in columns:
        number = whole_column(source, table, columns["ep"][0]).combine_chunks()
        _, ep = np.unique(np.asarray(number.to_pylist() if number.type == "string" else number), return_inverse=True)
        border = np.flatnonzero(np.diff(ep)) + 1
        seen = ep[np.append(0, border)]
        for again in np.flatnonzero(np.bincount(seen) > 1)[:1]:
            row = int(border[np.flatnonzero(seen[1:] == again)[-1]])
            told = f"{source}: an episode goes on at row {row} after another one (column {columns['ep'][0]!r})"
            raise InputError(f"{told}; expected the rows of an episode together, in order of time.")
    else:
        border = np.zeros(0, int)
        assumed.append(NO_EPISODES)
    values = {field: matrix(source, table, field, names) for field, names in columns.items() if field != "ep"}
    flags = {end: values.pop(end) != 0 for end in ("term", "trunc") if end in values}
    inside = np.ones(steps, bool)
    inside[np.append(border, steps) - 1] = False
    for end, flag in flags.items() if "ep" in columns else ():
        for row in np.flatnonzero(flag & inside)[:1]:
            told = f"{source}: column {columns[end][0]!r} ({end}) is true at row {row}"
            raise InputError(f"{told}; expected false, because the episode goes on in the next row.")
    if "ep" not in columns and flags:
        ends = np.logical_or.reduce([*flags.values()])
        border, assumed = np.flatnonzero(ends[:-1]) + 1, []
    if "next_obs" in values and values["obs"].dtype != values["next_obs"].dtype:  # a whole number among others
        values |= {name: values[name].astype(np.float64) for name in ("obs", "next_obs")}
    size = 4.0 * sum(v.size for v in values.values()) + 4.0 * values["obs"].size * ("next_obs" not in values)
    bounds = zip([0, *border.tolist()], [*border.tolist(), steps], strict=True)
    return joined(source, sliced(values, flags, bounds), size, reading, None, assumed)


def sliced(values: dict[str, np.ndarray], flags: dict[str, np.ndarray], bounds: Any) -> Iterator[Episode]:
    """The episodes between these rows."""
    for start, stop in bounds:
        part = {name: array[start:stop] for name, array in values.items()}
        ends = {name: bool(flag[start:stop].any()) for name, flag in flags.items()}
        yield Episode(stop - start, part["obs"], part.get("act"), part.get("next_obs"), part.get("rew"), **ends)


def mapped(source: str, table: Any, reading: Reading) -> dict[str, tuple[str, ...]]:
    """The columns of each field: those of the column map, else those with the name of a field, alone or as `obs_0`,
    `obs.x`, ….

    Raises:
        InputError: a column is missing, or nothing says which columns are observations.
    """
    has = table.column_names
    columns = dict(reading.columns)
    for field, names in columns.items():
        if field not in NAMES:
            raise InputError(f"--columns names {field!r}; expected fields among {', '.join(NAMES)}.")
        for name in names:
            if name not in has:
                raise InputError(f"{source} has no column {name!r} (--columns {field}=…); it has {listed(has)}.")
    for field in ALONE:
        if len(columns.get(field, "x")) != 1:
            raise InputError(f"--columns {field}={','.join(columns[field])} names several; expected one column.")
    if not columns:
        for field in NAMES:
            parts = () if field in ALONE else tuple(f"{field}{mark}" for mark in "_./")
            names = [field] if field in has else [name for name in has if name.startswith(parts)]
            columns |= {field: tuple(names)} if names else {}
    if "obs" not in columns:
        raise InputError(
            f"{source} has the columns {listed(has)}; say which are observations and which actions with --columns, for "
            f"instance --columns obs={','.join(has[:2])} act={has[-1] if has else 'u'} ep=run."
        )
    return columns


def matrix(source: str, table: Any, field: str, names: tuple[str, ...]) -> np.ndarray:
    """The columns of a field side by side. A column of lists is one of vectors.

    One column of whole numbers is that of discrete actions.

    Raises:
        InputError: a value is missing or no number, or lists have several lengths.
    """
    parts = [numbers(source, whole_column(source, table, name), name) for name in names]
    if len(parts) == 1 and parts[0].ndim == 1:
        alone = field in ("term", "trunc", "rew") or (field == "act" and parts[0].dtype.kind in "iu")
        return parts[0] if alone else parts[0][:, None]
    return np.concatenate([part[:, None] if part.ndim == 1 else part for part in parts], axis=1)


def whole_column(source: str, table: Any, name: str) -> Any:
    """A column without gaps.

    Raises:
        InputError: there are two of the name, or a value is missing or not a number.
    """
    from pyarrow import compute

    pc: Any = compute  # its functions are made when it is imported
    if table.column_names.count(name) > 1:
        raise InputError(f"{source} has two columns {name!r}; expected names that differ.")
    column = table.column(name)
    gaps = pc.is_null(column, nan_is_null=True) if str(column.type) in ("float", "double") else pc.is_null(column)
    for row in np.flatnonzero(np.asarray(gaps))[:1]:
        raise InputError(f"{source}: column {name!r} has no value at row {row}; expected one in every row.")
    return column


def numbers(source: str, column: Any, name: str) -> np.ndarray:
    """A column as an array of one or two axes.

    Raises:
        InputError: as `matrix`.
    """
    import pyarrow as pa
    from pyarrow import compute

    pc: Any = compute  # its functions are made when it is imported
    kind = column.type
    if pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        whole = column.combine_chunks()
        lengths = np.unique(np.asarray(pc.list_value_length(whole)))
        if len(lengths) != 1:
            raise InputError(
                f"{source}: column {name!r} holds lists of several lengths; expected vectors of one length."
            )
        return numbers(source, pa.chunked_array([pc.list_flatten(whole)]), name).reshape(len(column), int(lengths[0]))
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return column.to_numpy()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        words = column.to_pylist()
        if all(word in TRUE + FALSE for word in words):
            return np.array([word in TRUE for word in words])
    raise InputError(f"{source}: column {name!r} holds {kind}; expected numbers.")


def in_words(table: Any) -> Any:
    """The table with floats as text, of which 1.0 stays one: CSV would have 1, a whole number."""
    import pyarrow as pa

    def words(name: str) -> Any:
        column = table.column(name).to_numpy()
        return pa.array(column.astype(str)) if column.dtype.kind == "f" else table.column(name)

    return pa.table({name: words(name) for name in table.column_names})


def listed(names: list[str]) -> str:
    """Names for a message."""
    more = f", … ({len(names)} in all)" if len(names) > 20 else ""
    return ", ".join(map(repr, names[:20])) + more or "none"


def write(path: Path, arrays: Arrays) -> None:
    """Write a table with a row for each transition: obs_0, obs_1, …, act, next_obs_0, …, term, trunc, ep, rew.

    Raises:
        InputError: pyarrow is not installed, an observation is no vector of numbers, or rows were left out.
    """
    try:
        import pyarrow as pa
        from pyarrow import csv, feather, parquet
    except ImportError as error:
        raise missing("pyarrow, which writes tables,", "tables") from error
    columns: dict[str, np.ndarray] = {}
    first = np.unique(arrays["ep"], return_index=True)[1]
    for name in NAMES:
        array = arrays.get(name)
        if array is None and name in ("obs", "next_obs"):
            raise InputError(
                f"{path} cannot hold dictionaries of observations; expected one vector, write an .npz file."
            )
        if array is not None and (array.ndim > 2 or (array.ndim == 1 and name in ("obs", "next_obs"))):
            raise InputError(
                f"{path} cannot hold {name!r} of shape {array.shape}; expected vectors, write an .npz file."
            )
        if array is not None and array.ndim == 1:
            columns[name] = array
        elif array is not None:
            columns |= {f"{name}_{i}": column for i, column in enumerate(array.T)}
    if not np.array_equal(arrays["initial_obs"], arrays["obs"][first]):
        raise InputError(f"{path} cannot hold sub-sampled demonstrations; expected all rows, write an .npz file.")
    table = pa.table({name: np.ascontiguousarray(column) for name, column in columns.items()})
    with replacing(path) as partial:
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = path.suffix.lower()
        if kind == ".parquet":
            parquet.write_table(table, partial)
        elif kind == ".csv":
            csv.write_csv(in_words(table), partial, csv.WriteOptions(quoting_style="none"))
        else:
            feather.write_feather(table, str(partial))
