"""The sample-efficiency curves of a benchmark as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from iqlearn.benchmark.results import Evaluated, task_of
from iqlearn.benchmark.summary import Compared, curve, groups_of, methods_of, tasks_of
from iqlearn.evaluation.plots import png
from iqlearn.report.page import colour, dash

STYLES = {"solid": "solid", "dash": "dashed", "dot": "dotted", "dashdot": "dashdot"}
"""Matplotlib's names of Plotly's dash styles."""


def curves(cells: Sequence[Evaluated]) -> bytes:
    """Plot the normalised return over the steps, and return the image as PNG.

    There is a panel for each task of each group, a colour and dash style for each method, and a line for each seed.
    Each group begins a new row.
    """
    from matplotlib.figure import Figure

    groups, methods = groups_of(cells), methods_of(cells)
    across = min(3, max(len(tasks_of(group.cells)) for group in groups))
    rows: list[tuple[Compared, list[str]]] = []
    for group in groups:
        tasks = tasks_of(group.cells)
        rows += [(group, tasks[i : i + across]) for i in range(0, len(tasks), across)]
    down = len(rows)
    width = max(9.2, 4.6 * across)
    columns = min(len(methods), max(1, int(width / (0.7 + 0.08 * max(map(len, methods))))))  # of the legend, in inches
    height = 3.2 * down + 0.22 * -(-len(methods) // columns)
    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False)
    for line, (group, tasks) in zip(panels, rows, strict=True):
        for panel, task in zip(line, tasks, strict=False):
            draw(panel, group, task, methods)
        for panel in line[len(tasks) :]:
            panel.set_axis_off()
    handles, labels = [], []
    for panel in panels.flatten():
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            if label not in labels:
                handles, labels = [*handles, handle], [*labels, label]
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)
    return png(figure)


def draw(panel: Any, group: Compared, task: str, methods: Sequence[str]) -> None:
    """Draw the runs of a group on a task into a panel. Colours and styles count over all `methods`."""
    for i, method in enumerate(methods):
        part = [cell for cell in group.cells if task_of(cell) == task and cell.of.method == method]
        for cell in part:
            label = method if cell is part[0] else None
            style = {"color": colour(i), "linestyle": STYLES[dash(i)], "linewidth": 1.2}
            panel.plot(*curve(cell, group.cells), label=label, **style)
    panel.axhline(1.0, color="grey", linewidth=0.8, linestyle="--")
    panel.set(title=f"{task}{group.suffix}", xlabel="steps", ylabel="normalised return", ylim=(-0.1, 1.15))
    panel.grid(alpha=0.3)
