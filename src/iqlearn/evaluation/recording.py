"""The picture of demonstrations that `iqlearn demos plot` draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from iqlearn.data import alignment
from iqlearn.data.demos import Demos
from iqlearn.data.fields import flat
from iqlearn.evaluation.plots import png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEPS = 200
"""Largest number of steps of an episode that are drawn."""
MOST = 40
"""Largest number of coordinates that are drawn, of observations and of actions each."""


def recording(demos: Demos) -> bytes:
    """Return a PNG of demonstrations.

    It shows the length and return of each episode, the spread of each coordinate, the first episode over time, and how
    much the actions around a state explain of the next state.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6.4), layout="constrained")
    panels = figure.subplots(2, 3).flatten()
    lengths(panels[0], demos)
    returns(panels[1], demos)
    effects(panels[2], demos)
    first = demos.ep == demos.ep[0]
    spreads(panels[3], "observations", coordinates("obs", demos.obs))
    if demos.act is not None and demos.discrete:
        counts(panels[4], demos.act)
    else:
        spreads(panels[4], "actions", coordinates("act", demos.act))
    over_time(panels[5], coordinates("obs", demos.obs)[first])
    for panel in panels:
        panel.grid(alpha=0.3)
    for panel in (panels[0], panels[1], panels[3]):
        panel.xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(f"{demos.source}: {len(demos):,} transitions of {demos.episodes} episodes")
    return png(figure)


def coordinates(field: str, tree: object) -> np.ndarray:
    """Return the first `MOST` coordinates of a field, one per column. A missing field has no columns."""
    parts = [x.reshape(len(x), -1) for x in flat(field, tree).values()]
    return np.concatenate(parts, axis=1)[:, :MOST].astype(np.float64) if parts else np.zeros((1, 0))


def lengths(panel: Axes, demos: Demos) -> None:
    """Draw the length of each episode as a bar, in a colour that shows how the episode ended."""
    last = np.append(np.flatnonzero(np.diff(demos.ep)), len(demos) - 1)
    kinds = {"ended": demos.term[last], "time limit": demos.trunc[last]}
    kinds["neither"] = ~(kinds["ended"] | kinds["time limit"])
    for name, which in kinds.items():
        if which.any():
            panel.bar(np.flatnonzero(which), demos.lengths[which], label=name)
    panel.set(title="steps of each episode", xlabel="episode")
    panel.legend(fontsize="small", loc="lower right")


def returns(panel: Axes, demos: Demos) -> None:
    """Draw the true return of each episode, if it is known."""
    panel.set(title="return of each episode", xlabel="episode")
    if demos.episode_return is None:
        panel.text(0.5, 0.5, "no rewards were recorded", ha="center", transform=panel.transAxes)
    else:
        panel.plot(demos.episode_return, marker="o", linestyle="none")


def effects(panel: Axes, demos: Demos) -> None:
    """Draw how much each action around a state explains of the next state (`alignment.effects`)."""
    found = alignment.effects(demos)
    panel.set(title="what actions explain of s'", xlabel="rows after s", ylim=(0.0, 1.05))
    if found:
        colours = ["C1" if k == 0 else "C0" for k in found]
        panel.bar([*found], [max(share, 0.0) for share in found.values()], color=colours)
        panel.set_xticks([*found])
    else:
        panel.text(0.5, 0.5, "too few rows that follow one another", ha="center", transform=panel.transAxes)


def counts(panel: Axes, act: np.ndarray) -> None:
    """Draw the share of each discrete action."""
    choices, times = np.unique(act, return_counts=True)
    panel.bar(choices, times / len(act))
    panel.set(title="share of each action", xlabel="action", xticks=choices[:MOST])


def spreads(panel: Axes, what: str, columns: np.ndarray) -> None:
    """Draw the range, middle half and median of each coordinate."""
    panel.set(title=f"{what}: range, middle half and median", xlabel="coordinate")
    if columns.shape[1]:
        low, quarter, middle, upper, high = np.quantile(columns, [0.0, 0.25, 0.5, 0.75, 1.0], axis=0)
        x = np.arange(columns.shape[1])
        panel.vlines(x, low, high, color="C0", alpha=0.4)
        panel.vlines(x, quarter, upper, color="C0", linewidth=5)
        panel.plot(x, middle, "k_", markersize=7)
    else:
        panel.text(0.5, 0.5, "none were recorded", ha="center", transform=panel.transAxes)


def over_time(panel: Axes, columns: np.ndarray) -> None:
    """Draw each coordinate of one episode over its first steps, scaled to its range."""
    low, high = columns.min(axis=0), columns.max(axis=0)
    panel.plot(((columns - low) / np.where(high > low, high - low, 1.0))[:STEPS], linewidth=0.6, alpha=0.7)
    panel.set(title=f"first episode, first {STEPS} steps, in their ranges", xlabel="step")
