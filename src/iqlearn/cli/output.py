"""The output of the commands: how runs ended, and facts as tables or JSON."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from iqlearn.errors import InputError
from iqlearn.runs.run import Run


def finish(runs: Sequence[Run], folders: Sequence[Path]) -> int:
    """Print how each run ended, and how to go on. Return the exit code: 130 if a run was interrupted, else 0.

    Raises:
        InputError: a run diverged.
    """
    pairs = list(zip(runs, folders, strict=True))
    for run, folder in pairs:
        r, unit = run.result, "updates" if run.interaction is None else "steps"
        if not run.rows:
            print(f"{folder}: stopped before the first evaluation")
            continue
        earned = "not evaluated" + ("" if run.origin.environment else ", no environment is named (--env)")
        if r.get("mean_return") is not None:
            earned = f"return {r['mean_return']:.1f}"
        if r.get("normalised_return") is not None:
            earned += f" (normalised {r['normalised_return']:.2f})"
        print(f"{folder}: {r['status']} after {run.rows[-1]['step']:.0f} {unit}  {earned}")
    stopped = [folder for run, folder in pairs if run.result["status"] == "interrupted"]
    together = [folders[0].parent] if len(stopped) == len(folders) > 1 else stopped
    if stopped:
        print("Go on with: " + "; ".join(f"iqlearn resume {folder}" for folder in together))
    for run, folder in pairs:
        if run.result["status"] == "diverged":
            first, last = run.result["diverged_between"]
            kept = f"the state after step {run.rows[-1]['step']:.0f} is in {folder}" if run.rows else "nothing was kept"
            told = f"A loss or a weight was not finite between steps {first:.0f} and {last}"
            raise InputError(f"{told}; {kept}, lower --learning-rate.")
    return 130 if stopped else 0


@contextmanager
def written(*files: object) -> Iterator[None]:
    """Name these files, if any, as already written in the message of a `KeyboardInterrupt` in this block.

    Raises:
        KeyboardInterrupt: a signal asked to stop.
    """
    try:
        yield
    except KeyboardInterrupt as stopped:
        told = f"Written before: {', '.join(map(str, files))}." if files else ""
        raise KeyboardInterrupt(told) from stopped


def show(facts: dict[str, Any], as_json: bool, hide: tuple[str, ...] = ()) -> None:
    """Print the facts as one JSON object, or as a table without those in `hide`."""
    if as_json:
        print(json.dumps(facts))
        return
    table = Table(show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if name not in hide:
            table.add_row(name.replace("_", " "), in_words(value))
    Console().print(table)


def tabulate(columns: dict[str, dict[str, Any]]) -> None:
    """Print a table with a column for each key of `columns` and a line for each fact."""
    table = Table(box=None)
    for name in ("", *columns):
        table.add_column(name, justify="right" if name else "left")
    for fact in next(iter(columns.values())):
        table.add_row(fact.replace("_", " "), *(in_words(facts.get(fact)) for facts in columns.values()))
    Console().print(table)


def in_words(value: Any) -> str:
    """Return a value as text: a list with semicolons, a dict as pairs of name and value, None as a dash."""
    if isinstance(value, list):
        return "; ".join(in_words(item) for item in value) or "–"
    if isinstance(value, dict):
        return ", ".join(f"{name} {in_words(item)}" for name, item in value.items())
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)
