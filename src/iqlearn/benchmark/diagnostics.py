"""The section of a benchmark's page on the reward-free figures: how well each agrees with the return, and curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from iqlearn.benchmark.agreement import LAST, MERITS, Judged, judged, within_runs
from iqlearn.benchmark.results import Evaluated, task_of
from iqlearn.benchmark.summary import methods_of, tasks_of
from iqlearn.evaluation.diagnostics import BETTER
from iqlearn.evaluation.statistics import Interval
from iqlearn.report.page import Figure, Folded, Item, Section, Table, Trace, colour, dash, label
from iqlearn.report.sections import spaced


def section(cells: Sequence[Evaluated]) -> Section:
    """Return the section of the page."""
    items: list[Item] = []
    each = judged(cells)
    if any(one.name in MERITS for one in each):
        of_methods = [table for table in [by_method(cells)] if table.rows]
        items = [worth(each), agreements(each), *of_methods, *curves(cells)]
    about = (
        "Figures of each evaluation that need no reward, and how far they agree with the true return. Evaluations "
        "before the first update do not count. Lines have the colours of the curves above."
    )
    return Section("diagnostics", "Reward-free diagnostics", items, about)


def worth(each: Sequence[Judged]) -> Table:
    """Return the table of how well each figure agrees with the true return."""
    rows = [
        (
            spaced(one.name),
            None if one.name == LAST else "more" if BETTER.get(one.name, -1) > 0 else "less",
            one.runs,
            *(one.within, one.across, one.picked, one.regret, one.gain),
        )
        for one in each
    ]
    columns = (
        *("figure", "better is", "runs", "within a run", "across runs"),
        *("return of its choice", "below the best", "above the last"),
    )
    note = (
        "Within a run: Spearman's correlation with the true return over the evaluations of a run, 1 where the figure "
        "orders them as the return does. Across runs: the same over the last evaluations of the runs of a task. "
        "The rest are normalised returns of the evaluation that the figure picks: as they are, how far below the best "
        "evaluation of the run, and how far above the last one. Means over tasks, with 95 % bootstrap intervals, of "
        "the runs that have the figure. The best evaluation is chosen by its own return, which flatters it."
    )
    return Table("Diagnostics", columns, rows, note)


def by_method(cells: Sequence[Evaluated]) -> Table:
    """Return the table of the mean correlation within a run, by figure and method."""
    methods = methods_of(cells)
    parts = [[cell for cell in cells if cell.of.method == method] for method in methods]
    rows = []
    for name, merit in MERITS.items():
        found = [[*within_runs(part, merit).values()] for part in parts]
        if any(found):
            rows.append((spaced(name), *(Interval(fmean(map(fmean, each))) if each else None for each in found)))
    note = "The mean of Spearman's correlation with the true return over the evaluations of a run."
    return Table("Diagnostics of each method · within a run", ("figure", *methods), rows, note, folded=True)


def agreements(each: Sequence[Judged]) -> Figure:
    """Return the plot of the correlations with their intervals."""
    traces: list[Trace] = []
    for i, (what, found) in enumerate((("within a run", "within"), ("across runs", "across"))):
        there = [(spaced(one.name), getattr(one, found)) for one in each if getattr(one, found) is not None]
        traces.append(
            {
                "y": [name for name, _ in there],
                "x": [one.mean for _, one in there],
                "error_x": {
                    "array": [one.high - one.mean for _, one in there],
                    "arrayminus": [one.mean - one.low for _, one in there],
                    "thickness": 1.2,
                },
                "mode": "markers",
                "orientation": "h",
                "marker": {"color": colour(i), "size": 8, "symbol": ("circle", "diamond")[i]},
                "name": what,
                "hovertemplate": f"%{{y}}, {what}: %{{x:.2f}}<extra></extra>",
            }
        )
    layout = {
        "xaxis": {"title": {"text": "correlation with the true return"}, "range": [-1.05, 1.05]},
        "yaxis": {"autorange": "reversed"},
        "scattermode": "group",
    }
    return Figure("Spearman's correlation with the true return", traces, layout, wide=True)


def curves(cells: Sequence[Evaluated]) -> list[Folded]:
    """Return for each task the plots of the figures over the steps, folded; each has a line for each run."""
    found = []
    for task in tasks_of(cells):
        part = [cell for cell in cells if task_of(cell) == task]
        figures = [figure for name in BETTER if (figure := curve(part, name, task, methods_of(cells))).traces]
        found += [Folded(f"Diagnostics · {task}", figures)] if figures else []
    return found


def curve(cells: Sequence[Evaluated], name: str, task: str, methods: Sequence[str]) -> Figure:
    """Return the plot of one figure over the steps, with a line for each run."""
    traces: list[Trace] = []
    for cell in cells:
        i, seed = methods.index(cell.of.method), cell.of.seed
        rows = [row for row in cell.rows if row.get(name) is not None and math.isfinite(row[name])]
        if rows:
            who = f"{label(methods[i])} · seed {seed}"
            traces.append(
                {
                    "x": [row["step"] for row in rows],
                    "y": [row[name] for row in rows],
                    "mode": "lines",
                    "line": {"color": colour(i), "width": 1.2, "dash": dash(i)},
                    "hovertemplate": f"{who}<br>step %{{x:,}}: %{{y:,.4g}}<extra></extra>",
                }
            )
    layout = {"xaxis": {"title": {"text": "steps"}, "tickformat": ","}, "showlegend": False}
    return Figure(f"{spaced(name)} · {task}", traces, layout, small=True)
