"""Tables: Parquet, Arrow (IPC, Feather) and CSV. They are read one batch of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from iqlearn.data.fields import Arrays
from iqlearn.data.formats.base import Opened, Reading, parsing, summed
from iqlearn.data.formats.columns import NAMES, Table, episodes_of
from iqlearn.errors import InputError, missing
from iqlearn.files import replacing

SUFFIXES = (".parquet", ".arrow", ".feather", ".ipc", ".csv", ".tsv")
WRITTEN = (".parquet", ".arrow", ".csv")
ROWS, BYTES = 65_536, 2**25
"""Largest number of rows of a batch, and of its bytes without compression."""
BLOCK = 2**22
"""Number of bytes of a CSV file, or of a column of a Parquet file, that are read at once."""


def matches(path: Path) -> bool:
    """Return whether a file is a table, by its suffix."""
    return path.is_file() and path.suffix.lower() in SUFFIXES


@contextmanager
def opened(path: Path, reading: Reading) -> Iterator[Opened]:
    """Open the episodes of a table, which has one row for each step, in order of time.

    Raises:
        InputError: pyarrow is not installed, the table is damaged, or columns are missing or do not hold numbers.
    """
    with parsing(path, f"{path.suffix.lower()} table"):
        yield episodes_of(table_of(path), reading)


def table_of(path: Path) -> Table:
    """Return a file as a `Table`, without reading its rows."""
    try:
        import pyarrow as pa
        from pyarrow import feather
    except ImportError as error:
        raise missing("pyarrow, which reads tables,", "tables") from error
    kind, source = path.suffix.lower(), str(path)
    if kind == ".parquet":
        return parquet_of(source, [path])
    if kind in (".csv", ".tsv"):
        return csv_of(path, "\t" if kind == ".tsv" else ",")
    with path.open("rb") as file:
        magic = file.read(6)
    if magic.startswith(b"FEA1"):
        whole = feather.read_table(path, memory_map=True)
        return Table(source, whole.column_names, lambda names: iter(whole.select(names).to_batches()))
    from_file = magic == b"ARROW1"

    def batches(names: Sequence[str]) -> Iterator[Any]:
        options = pa.ipc.IpcReadOptions(included_fields=[i for i, name in enumerate(has) if name in names])
        with pa.memory_map(source) as content:
            if from_file:
                file = pa.ipc.open_file(content, options=options)
                yield from map(file.get_batch, range(file.num_record_batches))
            else:
                yield from pa.ipc.open_stream(content, options=options)

    with pa.memory_map(source) as content:
        has = (pa.ipc.open_file if from_file else pa.ipc.open_stream)(content).schema.names
    return Table(source, has, batches)


def parquet_of(source: str, files: Sequence[Path], rows: int = ROWS) -> Table:
    """Return the Parquet files of one table, one after another, in batches of at most `rows` rows."""
    from pyarrow import parquet

    def batches(names: Sequence[str]) -> Iterator[Any]:
        for path in files:
            with parquet.ParquetFile(path, buffer_size=BLOCK, pre_buffer=False) as file:
                groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
                row = sum(group.total_byte_size for group in groups) // max(1, file.metadata.num_rows)
                count = min(rows, max(1, BYTES // max(1, row)))
                for batch in file.iter_batches(count, columns=names):
                    yield batch.select([name for name in batch.schema.names if name in names])

    with parquet.ParquetFile(files[0]) as file:
        return Table(source, file.schema_arrow.names, batches)


def csv_of(path: Path, delimiter: str) -> Table:
    """Return a CSV file as a table. The types of its columns are taken from its first block."""
    import pyarrow as pa
    from pyarrow import csv

    def read(names: Sequence[str] = (), types: Mapping[str, Any] | None = None, gaps: bool = False) -> Any:
        return csv.open_csv(
            path,
            csv.ReadOptions(block_size=BLOCK),
            csv.ParseOptions(delimiter=delimiter),
            csv.ConvertOptions(column_types=types, include_columns=names, strings_can_be_null=gaps),
        )

    with read() as first:
        types = {column.name: column.type for column in first.schema}
        names = first.schema.names

    def widened(chosen: Sequence[str]) -> Table:
        wide = dict(types)
        for batch in read(chosen, dict.fromkeys(chosen, pa.string()), gaps=True):
            for name in chosen:
                wide[name] = wide_enough(batch.column(name), wide[name])
        return Table(str(path), names, lambda chosen: read(chosen, wide))

    return Table(str(path), names, lambda chosen: read(chosen, types), widened=widened)


def wide_enough(column: Any, kind: Any) -> Any:
    """Return the first type that holds all values of a text column: `kind`, int64 (if that is null), float64, text."""
    import pyarrow as pa

    for wider in (kind, pa.int64(), pa.float64()) if pa.types.is_null(kind) else (kind, pa.float64()):
        with suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):
            column.cast(wider)
            return wider
    return pa.string()


def in_words(table: Any) -> Any:
    """Return the table with floats as text, so that 1.0 stays a float. CSV would have 1, a whole number."""
    import pyarrow as pa

    def words(name: str) -> Any:
        column = table.column(name).to_numpy()
        return pa.array(column.astype(str)) if column.dtype.kind == "f" else table.column(name)

    return pa.table({name: words(name) for name in table.column_names})


def write(path: Path, arrays: Arrays) -> None:
    """Write a table with a row for each transition: obs_0, obs_1, …, act, next_obs_0, …, term, trunc, ep, rew.

    Raises:
        InputError: pyarrow is not installed, a field holds no numbers or vectors, or rows of an episode were left out.
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
    if not np.array_equal(arrays["initial_obs"], arrays["obs"][first]) or not summed(arrays):
        raise InputError(f"{path} cannot hold sub-sampled demonstrations; expected all rows, write an .npz file.")
    table = pa.table({name: np.ascontiguousarray(column) for name, column in columns.items()})
    with replacing(path) as partial:
        kind = path.suffix.lower()
        if kind == ".parquet":
            parquet.write_table(table, partial)
        elif kind == ".csv":
            csv.write_csv(in_words(table), partial, csv.WriteOptions(quoting_style="none"))
        else:
            feather.write_feather(table, str(partial))
