"""Pictures of a run. Matplotlib is loaded when the first one is drawn."""

from collections.abc import Sequence
from pathlib import Path

from iqlearn.records import Row


def curves(path: Path, rows: Sequence[Row], expert: float | None, title: str) -> None:
    """One panel a metric over the updates; the return with the expert's as a dashed line."""
    from matplotlib.figure import Figure

    names = [name for name in rows[0] if name != "step" and any(row[name] is not None for row in rows)]
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(4.2 * columns, 2.9 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).flatten()
    for panel, name in zip(panels, names, strict=False):
        panel.plot([row["step"] for row in rows], [row[name] for row in rows], marker="o", markersize=3)
        panel.set(title=name.replace("_", " "), xlabel="updates")
        panel.grid(alpha=0.3)
        if name == "return_mean" and expert is not None:
            panel.axhline(expert, linestyle="--", color="grey", label="expert")
            panel.legend()
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    figure.suptitle(title)
    partial = path.with_name(path.name + ".partial")
    figure.savefig(partial, dpi=120, format="png")
    partial.replace(path)
