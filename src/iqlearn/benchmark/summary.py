"""The tables and figures of a benchmark: the scores of each method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median as middle
from typing import NamedTuple

import numpy as np

from iqlearn.benchmark.results import GOAL, Evaluated, scores, task_of
from iqlearn.evaluation.statistics import (
    AGGREGATES,
    estimate,
    performance_profile,
    probability_of_improvement,
)
from iqlearn.report.page import Figure, Item, Section, Table, Trace, colour, dash, in_words, label

THRESHOLDS = np.linspace(0.0, 1.2, 61)
WHICH = {"last": "last policy", "returned": "returned policy"}


def methods_of(cells: Sequence[Evaluated]) -> list[str]:
    """Return the methods that have results, in the order of the grid."""
    return list(dict.fromkeys(cell.of.method for cell in cells))


def tasks_of(cells: Sequence[Evaluated]) -> list[str]:
    """Return the tasks that have results, in the order of the grid."""
    return list(dict.fromkeys(map(task_of, cells)))


class Compared(NamedTuple):
    """Methods that are compared with each other."""

    name: str
    """The name of their group; empty for all methods of a grid without groups."""
    cells: Sequence[Evaluated]

    @property
    def suffix(self) -> str:
        """The end of the titles of tables: the name of the group."""
        return f" · {self.name}" if self.name else ""


def groups_of(cells: Sequence[Evaluated]) -> list[Compared]:
    """Return the groups of the grid. Each also has the methods without a group."""
    names = list(dict.fromkeys(group for cell in cells if (group := cell.of.group))) or [""]
    return [Compared(name, [cell for cell in cells if cell.of.group in (name, "")]) for name in names]


def acting(cells: Sequence[Evaluated]) -> Sequence[Evaluated]:
    """Return the cells whose steps are environment steps; all cells if there are none."""
    return [cell for cell in cells if cell.acts] or cells


def aggregates(compared: Compared, which: str) -> Table | None:
    """Return the table of every aggregate of each method with its interval; None without normalised returns."""
    cells, rows, covered = compared.cells, [], set()
    for method in methods_of(cells):
        known = scores(cells, method, which)
        if known:
            found = (estimate(known, aggregate) for aggregate in AGGREGATES.values())
            rows.append((method, sum(map(len, known.values())), *found))
            covered.add(frozenset(known))
    note = (
        "Normalised returns over all tasks and seeds, with 95 % stratified bootstrap intervals; none where each task "
        "has one run. iqm: interquartile mean, the mean of the middle half of the runs. Optimality gap: the mean "
        "amount by which a run falls short of 1."
    )
    if len(covered) > 1:
        note += " The methods have runs of different tasks: compare only methods that have the same tasks."
    title = f"Aggregates · {WHICH[which]}{compared.suffix}"
    return Table(title, ("method", "runs", *AGGREGATES), rows, note) if rows else None


def by_task(cells: Sequence[Evaluated], which: str) -> Table | None:
    """Return the table of the scores of every seed; None without any. Its rows are the tasks, or the methods if these
    are more.
    """
    methods, tasks = methods_of(cells), tasks_of(cells)
    if all(getattr(cell, which) is None for cell in cells):
        return None

    def mark(cell: Evaluated) -> str:
        return "*" if which == "returned" and cell.returns_start else ""

    def told(method: str, task: str) -> str | None:
        runs = [cell for cell in cells if (cell.of.method, task_of(cell)) == (method, task)]
        each = [(score, cell) for cell in runs if (score := getattr(cell, which)) is not None]
        return ", ".join(f"{round(score, 2) + 0.0:.2f}{mark(cell)}" for score, cell in each) or None

    if len(methods) > len(tasks):
        columns, rows = ("method", *tasks), [(method, *(told(method, task) for task in tasks)) for method in methods]
    else:
        columns = ("task, demonstrations", *methods)
        rows = [(task, *(told(method, task) for method in methods)) for task in tasks]
    note = "Normalised returns, one for each seed: the expert's mean return is 1, and that of random actions is 0."
    note += " *: the run returns its policy from before the first update, the clone." if any(map(mark, cells)) else ""
    return Table(f"Every seed · {WHICH[which]}", columns, rows, note)


def efficiency(compared: Compared) -> Table | None:
    """Return the table of the steps to `GOAL`, each with its ratio to the steps of the first method.

    None without normalised returns.
    """
    cells = acting(compared.cells)
    if not any(cell.measured for cell in cells):
        return None
    methods, rows, best = methods_of(cells), [], []
    for task in tasks_of(cells):
        reached = {method: steps_to_goal(cells, task, method) for method in methods}
        (ours, unknown), others = reached[methods[0]], [reached[method] for method in methods[1:]]
        words = []
        for steps, beyond in reached.values():
            told = "–" if steps is None else f"{'> ' if beyond else ''}{steps:,.0f}"
            ratio = "" if unknown or not ours or steps is None else f" ({steps / ours:.1f} ×)"
            words.append(told + ratio)
        known = [(steps, beyond) for steps, beyond in others if steps is not None]
        if known and ours and not unknown:
            least, beyond = min(known)
            best.append((least / ours, beyond))
            words.append(times(*best[-1]))
        rows.append((task, *words, *[None] * (1 + len(methods) - len(words))))
    if len(best) > 1 and len(best) == len(rows):
        rows.append(("median task", *[None] * len(methods), times(*median_of(best))))
    note = (
        f"The median over seeds of the step of the first evaluation at {GOAL:g} or above. Where it is not reached, the "
        f"steps of the longest run of the task are a lower bound (>). In brackets: the ratio to the steps of "
        f"{methods[0]}; the last column is the ratio of the best other method. Where {methods[0]} does not reach it, "
        "or reaches it at step 0, there is no ratio."
    )
    steps = "Steps" if cells[0].acts else "Updates"
    title = f"{steps} to a normalised return of {GOAL:g}{compared.suffix}"
    return Table(title, ("task, demonstrations", *methods, "best other method"), rows, note)


def times(ratio: float, beyond: bool) -> str:
    """Return a ratio as text, with > before it if it is a lower bound."""
    return f"{'> ' if beyond else ''}{ratio:.1f} ×"


def median_of(known: Sequence[tuple[float, bool]]) -> tuple[float, bool]:
    """Return the median, and whether it is a lower bound, of pairs (number, whether the number is a lower bound)."""
    value = middle([number for number, _ in known])
    return value, middle([math.inf if beyond else number for number, beyond in known]) > value


def steps_to_goal(cells: Sequence[Evaluated], task: str, method: str) -> tuple[float | None, bool]:
    """Return the median over seeds of the steps to the goal, and whether it is a lower bound.

    None without a run whose normalised return is known.

    A run that does not reach the goal counts with the steps of the longest run of the task as a lower bound, even if it
    ended earlier.
    """
    of_task = [cell for cell in cells if task_of(cell) == task]
    reached = [cell.reached for cell in of_task if cell.of.method == method and cell.measured]
    if not reached:
        return None, False
    longest = max(cell.rows[-1]["step"] for cell in of_task)
    return median_of([(longest, True) if step is None else (step, False) for step in reached])


def improvement(compared: Compared, which: str) -> Table | None:
    """Return the table of how likely the first method is better than each other one; None without common tasks.

    The probability is unknown unless both methods have two runs of some task: one run each says 0 or 1.
    """
    cells = compared.cells
    methods = methods_of(cells)
    ours = scores(cells, methods[0], which)
    rows = []
    for other in methods[1:]:
        theirs = scores(cells, other, which)
        if common := [task for task in ours if task in theirs]:
            enough = any(min(len(ours[task]), len(theirs[task])) > 1 for task in common)
            rows.append((other, len(common), probability_of_improvement(ours, theirs) if enough else None))
    note = (
        "The probability that a run of the first method is better, over common tasks; ties count half. None unless "
        "both methods have at least two runs of a task."
    )
    title = f"{methods[0]} against each · {WHICH[which]}{compared.suffix}"
    return Table(title, ("against", "tasks", "probability of improvement"), rows, note) if rows else None


def curve(cell: Evaluated, cells: Sequence[Evaluated]) -> tuple[list[float], list[float]]:
    """Return the steps and the normalised returns of a run.

    If other runs of its task are online, an offline run becomes a horizontal line at its last return: its steps are
    updates.
    """
    rows = [row for row in cell.rows if row["normalised"] is not None]
    online = [other.rows[-1]["step"] for other in cells if other.acts and task_of(other) == task_of(cell)]
    if rows and online and not cell.acts:
        return [0, max(online)], [rows[-1]["normalised"]] * 2
    return [row["step"] for row in rows], [row["normalised"] for row in rows]


def curves(cells: Sequence[Evaluated]) -> list[Figure]:
    """Return the plots of the normalised return over the steps: one for each task of each group, with a line for each
    run."""
    methods, figures = methods_of(cells), []
    measured = [cell for cell in cells if cell.measured]
    for group, task in ((each, task) for each in groups_of(measured) for task in tasks_of(each.cells)):
        traces: list[Trace] = []
        for i, method in enumerate(methods):
            part = [cell for cell in group.cells if task_of(cell) == task and cell.of.method == method]
            for cell in part:
                steps, earned = curve(cell, group.cells)
                paint, who = colour(i), f"{label(method)} · seed {cell.of.seed}"
                traces.append(
                    {
                        "x": steps,
                        "y": earned,
                        "mode": "lines+markers",
                        "line": {"color": paint, "width": 1.5, "dash": dash(i)},
                        "marker": {"color": paint, "size": 5},
                        "name": label(method),
                        "legendgroup": label(method),
                        "showlegend": cell is part[0],
                        "hovertemplate": f"{who}<br>step %{{x:,}}: %{{y:.3f}}<extra></extra>",
                    }
                )
        layout = {
            "xaxis": {"title": {"text": "steps"}, "tickformat": ","},
            "yaxis": {"title": {"text": "normalised return"}},
        }
        figures.append(Figure(f"{task}{group.suffix}", traces, layout))
    return figures


def profiles(cells: Sequence[Evaluated], which: str) -> Figure:
    """Return the plot of the share of runs above each score (performance profile)."""
    traces: list[Trace] = []
    for i, method in enumerate(methods_of(cells)):
        if known := scores(cells, method, which):
            share = performance_profile(known, THRESHOLDS)
            traces.append(
                {
                    "x": THRESHOLDS.tolist(),
                    "y": share.tolist(),
                    "mode": "lines",
                    "line": {"color": colour(i), "dash": dash(i), "shape": "hv"},
                    "name": label(method),
                    "hovertemplate": f"{label(method)}: %{{y:.2f}} of the runs above %{{x:.2f}}<extra></extra>",
                }
            )
    layout = {
        "xaxis": {"title": {"text": "normalised return"}},
        "yaxis": {"title": {"text": "share of runs above"}, "range": [0, 1.02]},
    }
    return Figure(f"performance profile · {WHICH[which]}", traces, layout, wide=True)


def tables(cells: Sequence[Evaluated]) -> list[Table]:
    """Return the tables of returns, after a table of the runs that did not complete, if there are any."""
    found: list[Table | None] = [incomplete(cells)]
    for which in WHICH:
        found += [aggregates(compared, which) for compared in groups_of(cells)]
        found.append(by_task(cells, which))
        found += [improvement(compared, which) for compared in groups_of(cells)]
    return [table for table in found if table is not None]


def efficiencies(cells: Sequence[Evaluated]) -> list[Table]:
    """Return the tables of sample efficiency, one for each group."""
    return [table for compared in groups_of(cells) if (table := efficiency(compared)) is not None]


def incomplete(cells: Sequence[Evaluated]) -> Table | None:
    """Return the table of the runs that diverged, were interrupted or still run; None if there are none."""
    rows = [
        (cell.of.name, cell.result.get("status") or "unknown", cell.rows[-1]["step"])
        for cell in cells
        if cell.result.get("status") not in ("completed", "stopped")
    ]
    note = "Each counts with its last evaluation."
    return Table("Runs that did not complete", ("run", "status", "step"), rows, note) if rows else None


def sections(cells: Sequence[Evaluated], failed: Sequence[tuple[str, str]]) -> list[Section]:
    """Return the sections of the page. `failed` has the name and the last message of each failed run."""
    lost: list[Item] = [Table("Runs that failed", ("run", "what its process said last"), failed)] if failed else []
    return [
        Section("results", "Results", [*lost, *tables(cells)]),
        Section("efficiency", "Sample efficiency", [*efficiencies(cells), *curves(cells)]),
        Section("profiles", "Profiles", [figure for which in WHICH if (figure := profiles(cells, which)).traces]),
    ]


def markdown(tables: Sequence[Table]) -> str:
    """Return the tables as Markdown."""
    parts = []
    for table in tables:
        lines = [f"## {table.title}", "", f"| {' | '.join(table.columns)} |", f"|{' --- |' * len(table.columns)}"]
        lines += [f"| {' | '.join(map(in_words, row))} |" for row in table.rows]
        parts.append("\n".join([*lines, "", table.note]).rstrip())
    return "\n\n".join(parts) + "\n"
