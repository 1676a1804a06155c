"""Pictures of a run and of its reward. Matplotlib is imported when the first one is drawn."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from iqlearn.files import Row, write
from iqlearn.types import Obs

RANGE = ("return_std", "return_min", "return_max")
"""Columns that belong to the panel of the mean return."""
COUNTS = ("step", "updates")
POINTS = 4_000
"""Largest number of transitions drawn per kind in a scatter plot."""

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def curves(rows: Sequence[Row], expert: float | None, title: str) -> bytes:
    """Return a PNG of the metrics over the steps, with one panel per metric.

    The return comes first, with its range and the expert's return as a dashed line.
    """
    from matplotlib.figure import Figure

    found = dict.fromkeys(name for row in rows for name in row)  # some metrics begin late, or end early
    known = [name for name in found if name not in COUNTS and any(row.get(name) is not None for row in rows)]
    names = sorted((n for n in known if n not in RANGE), key=lambda name: name != "return_mean")
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(4.2 * columns, 2.9 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).flatten()
    steps = [row["step"] for row in rows]
    unit = "steps of the environment" if "updates" in rows[-1] else "updates"
    for panel, name in zip(panels, names, strict=False):
        panel.plot(steps, [row.get(name) for row in rows], marker="o", markersize=3, label="mean")
        panel.set(title=name.replace("_", " "), xlabel=unit)
        panel.grid(alpha=0.3)
        if name == "return_mean":
            low, high = (np.array([row.get(bound) for row in rows], float) for bound in ("return_min", "return_max"))
            panel.fill_between(steps, low, high, alpha=0.2, label="least to greatest")
            panel.set_title("return")
            if expert is not None:
                panel.axhline(expert, linestyle="--", color="grey", label="expert")
            panel.legend(fontsize="small")
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    figure.suptitle(title)
    return png(figure)


@dataclass(frozen=True)
class Judged:
    """The learned and the true reward of the transitions of one kind of rollouts."""

    learned: Float[np.ndarray, " n"]
    true: Float[np.ndarray, " n"] | None
    """None if it is not known."""
    episode: Int[np.ndarray, " n"]
    obs: Obs
    after: Float[np.ndarray, " n"]
    """The total reward that the absorbing state pays after each transition. Only the learned returns of episodes
    include it."""

    @property
    def sampled(self) -> Int[np.ndarray, " points"]:
        """The indices of the transitions that a scatter plot shows, evenly spread."""
        return np.linspace(0, len(self.learned) - 1, min(POINTS, len(self.learned))).astype(int)

    @property
    def row(self) -> Int[np.ndarray, " n"]:
        """The episode of each transition, counted from 0."""
        return np.unique(self.episode, return_inverse=True)[1]

    @property
    def returns(self) -> tuple[Float[np.ndarray, " episodes"], Float[np.ndarray, " episodes"]]:
        """The true and the learned return of each episode."""
        return np.bincount(self.row, weights=self.known), np.bincount(self.row, weights=self.learned + self.after)

    @property
    def known(self) -> Float[np.ndarray, " n"]:
        """The true reward, which must be known."""
        assert self.true is not None, "the true reward is not known"
        return self.true


def rewards(path: Path, kinds: Mapping[str, Judged], title: str) -> None:
    """Write a picture of the learned and the true reward as PNG.

    Its panels show them by transition, by episode, along one episode, and as maps if s is a vector of two numbers.
    """
    from matplotlib.figure import Figure

    first = next(iter(kinds.values())).obs
    flat = isinstance(first, np.ndarray) and first.shape[1:] == (2,)
    figure = Figure(figsize=(4.2 * (5 if flat else 3), 3.6), layout="constrained")
    panels = figure.subplots(1, 5 if flat else 3, squeeze=False).flatten()
    points, colours = [], []
    for i, (name, judged) in enumerate(kinds.items()):
        rows = judged.sampled
        points.append(np.stack([judged.known[rows], judged.learned[rows]]))
        colours += [f"C{i}"] * len(rows)
        panels[1].scatter(*judged.returns, s=14, alpha=0.7, label=name, color=f"C{i}")
    mixed = np.random.default_rng(0).permutation(len(colours))  # otherwise the last kind hides the others
    panels[0].scatter(*np.concatenate(points, axis=1)[:, mixed], s=4, alpha=0.3, c=np.array(colours)[mixed])
    for panel, what in zip(panels, ("a transition", "an episode"), strict=False):
        panel.set(title=f"reward of {what}", xlabel="true", ylabel="learned")
    panels[1].legend(fontsize="small")
    along(panels[2], *next(iter(kinds.items())))
    if flat:
        seen = [(j.obs, j.known, j.learned) for j in kinds.values()]
        obs, true, learned = (np.concatenate(parts) for parts in zip(*seen, strict=True))
        for panel, values, name in zip(panels[3:], (true, learned), ("true", "learned"), strict=True):
            cells = panel.hexbin(obs[:, 0], obs[:, 1], C=values, gridsize=30, reduce_C_function=np.mean)
            panel.set(title=f"{name} reward, mean where s was", aspect="equal")
            figure.colorbar(cells, ax=panel)
    for panel in panels[:3]:
        panel.grid(alpha=0.3)
    figure.suptitle(title)
    write(path, png(figure))


def along(panel: "Axes", name: str, judged: Judged) -> None:
    """Draw both rewards over the steps of the first episode, each on its own axis."""
    first = judged.row == 0
    other = panel.twinx()
    for axis, what, values, colour in ((panel, "learned", judged.learned, "C0"), (other, "true", judged.known, "C1")):
        axis.plot(values[first], linewidth=0.8, color=colour)
        axis.set_ylabel(what, color=colour)
        axis.tick_params(axis="y", colors=colour)
    panel.set(title=f"along the first episode of {name}", xlabel="step")


def png(figure: "Figure") -> bytes:
    """Return the figure as PNG."""
    content = io.BytesIO()
    figure.savefig(content, dpi=120, format="png")
    return content.getvalue()
