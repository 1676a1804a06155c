"""What the commands say: how runs ended, and facts as tables or JSON."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from iqlearn.errors import InputError
from iqlearn.run import Run
from iqlearn.settings import IQLearn, IQLearnContinuous

DRIFTED = 2.0
"""From how many times the distance of the kept policy on it is named."""


def announce(runs: Sequence[Run]) -> None:
    """On the error stream, before learning: the form of each run that acts, and how well its expert can be cloned; that
    nothing can come of states alone offline."""
    for run in runs:
        error, settings = run.origin.action_error, run.settings
        if run.interaction is None and isinstance(settings, IQLearn | IQLearnContinuous) and settings.state_only:
            print(
                f"{settings.name} · seed {run.schedule.seed}: from states alone, and offline, nothing tells one action "
                "from another; with --online it finds out",
                file=sys.stderr,
            )
        if error is None or run.interaction is None or not isinstance(settings, IQLearnContinuous):
            continue
        print(
            f"{settings.name} · seed {run.schedule.seed}: form {settings.form}; an expert's action can be told from "
            f"the others to {error:.3f} in [-1, 1] ({limits(settings, error)})",
            file=sys.stderr,
        )


def limits(settings: IQLearnContinuous, error: float) -> str:
    """What `form=auto` goes by, as far as it matters here."""
    regression = settings.regression
    trusted = f"a clone is trusted up to {regression.error_limit}"
    if error <= regression.error_limit or settings.form == "regressed":
        return trusted
    return f"{trusted}, the reward first takes {2 * regression.steps:,} steps or more"


def finish(runs: list[Run], folders: list[Path]) -> None:
    """Tell what came out; a run that diverged is an error, an interrupted one says how to go on."""
    for run, folder in zip(runs, folders, strict=True):
        r = run.result
        if not run.rows:
            print(f"{folder}: stopped before the first evaluation")
            continue
        earned = "not evaluated, no environment is named (--env)"
        if r.get("mean_return") is not None:
            earned = f"return {r['mean_return']:.1f}"
        if r.get("normalised_return") is not None:
            earned += f" ({r['normalised_return']:.2f} of the expert)"
        unit = "updates" if run.interaction is None else "steps"
        print(f"{folder}: {r['status']} after {run.rows[-1]['step']:.0f} {unit}  {earned}")
        if run.drift > DRIFTED:
            print(
                f"{folder}: its states are {run.drift:.1f} times as far from the expert's as after "
                f"{r['best_step']:.0f} {unit}; that policy is kept: iqlearn evaluate {folder} --best"
            )
    open_ended = ("interrupted", "running")  # running: not begun when the others were stopped
    stopped = [folder for run, folder in zip(runs, folders, strict=True) if run.result.get("status") in open_ended]
    if stopped:
        together = [folders[0].parent] if len(stopped) == len(folders) > 1 else stopped
        print("Go on with: " + "; ".join(f"iqlearn resume {folder}" for folder in together))
    for run, folder in zip(runs, folders, strict=True):
        if run.result.get("status") == "diverged":
            first, last = run.result["diverged_between"]
            kept = f"the state after step {run.rows[-1]['step']:.0f} is in {folder}" if run.rows else "nothing was kept"
            raise InputError(
                f"The loss was not finite between steps {first} and {last}; {kept}, lower --learning-rate."
            )
    if stopped:
        raise SystemExit(130)


def show(facts: dict[str, Any], as_json: bool, hide: tuple[str, ...] = ()) -> None:
    """One JSON object on standard output, or a table."""
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


def tabulate(kinds: dict[str, dict[str, Any]]) -> None:
    """A column a kind, a line a fact: few kinds fit where many facts do not."""
    table = Table(box=None)
    for name in ("", *kinds):
        table.add_column(name, justify="right" if name else "left")
    for fact in next(iter(kinds.values())):
        table.add_row(fact.replace("_", " "), *(in_words(facts.get(fact)) for facts in kinds.values()))
    Console().print(table)


def in_words(value: Any) -> str:
    """A value for people; a dict as name value pairs, a list with semicolons."""
    if isinstance(value, list):
        return "; ".join(in_words(item) for item in value) or "–"
    if isinstance(value, dict):
        return ", ".join(f"{name} {in_words(item)}" for name, item in value.items())
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)
