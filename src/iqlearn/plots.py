"""Pictures of a run. Matplotlib is loaded when the first one is drawn."""

from collections.abc import Sequence
from pathlib import Path

from iqlearn.records import Row

RANGE = ("return_std", "return_min", "return_max")
"""Columns that belong to the panel of the mean return."""
COUNTS = ("step", "updates")


def curves(path: Path, rows: Sequence[Row], expert: float | None, title: str) -> None:
    """The return with its range and the expert's as a dashed line, then one panel a metric, over the steps."""
    from matplotlib.figure import Figure

    known = [name for name in rows[0] if name not in COUNTS and any(row[name] is not None for row in rows)]
    names = sorted((n for n in known if n not in RANGE), key=lambda name: name != "return_mean")
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(4.2 * columns, 2.9 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).flatten()
    steps = [row["step"] for row in rows]
    unit = "steps of the environment" if "updates" in rows[-1] else "updates"
    for panel, name in zip(panels, names, strict=False):
        panel.plot(steps, [row[name] for row in rows], marker="o", markersize=3, label="mean")
        panel.set(title=name.replace("_", " "), xlabel=unit)
        panel.grid(alpha=0.3)
        if name == "return_mean":
            low, high = ([row[bound] for row in rows] for bound in ("return_min", "return_max"))
            panel.fill_between(steps, low, high, alpha=0.2, label="least to greatest")
            panel.set_title("return")
            if expert is not None:
                panel.axhline(expert, linestyle="--", color="grey", label="expert")
            panel.legend(fontsize="small")
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    figure.suptitle(title)
    partial = path.with_name(path.name + ".partial")
    figure.savefig(partial, dpi=120, format="png")
    partial.replace(path)
