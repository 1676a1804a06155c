"""Detect actions that were recorded some steps before or after the states in which they were taken."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from iqlearn.data.fields import flat
from iqlearn.data.inspection import following

Demos = Any
"""The `Demos` of demos.py."""
MOST, BEFORE = 3, 2
"""Actions are shifted by up to `MOST` rows. The `BEFORE` actions before each one are also regressors."""
CLEAR, MAIN = 0.35, 0.5
"""An action has an effect if its share is at least `CLEAR`, and at least `MAIN` times the largest share."""
ROWS, BLOCK = 5_000, 50
"""Longer demonstrations are thinned out to fewer than 2 `ROWS` rows. Every other block of `BLOCK` rows is held out."""
RIDGE = 1e-6


def effects(demos: Demos) -> dict[int, float]:
    """Return how much the action k rows later explains of the next state, by k from −3 to 3.

    The step s' − s is regressed linearly on s and the two actions before the action of row k, and once more with that
    action added. The value is the share of the first fit's error on held-out rows that the second fit removes, for the
    coordinate where it is largest. In a Markov process the actions before a state add no information to it. The first
    action with an effect is therefore the one that was taken in the state: k = 0 if actions were recorded correctly.
    Later actions depend on s', so they explain it too.

    The result is empty if there are no actions, if no coordinate changes, or if too few rows follow one another.
    """
    if demos.act is None:
        return {}
    act = demos.act.astype(np.float64)
    if demos.discrete:
        act = (demos.act[:, None] == np.unique(demos.act)[1:]).astype(np.float64)
    at = inner(demos)
    held = (np.arange(len(at)) // BLOCK) % 2 == 1
    width = sum(math.prod(part.shape[1:]) for part in flat("", demos.obs).values())
    if held.sum() < 4 * (width + (BEFORE + 1) * act.shape[1]):
        return {}
    state = columns(demos.obs, at)
    step = columns(demos.next_obs, at) - state
    moving = step.std(axis=0) > 1e-6 * np.abs(state).max(axis=0, initial=1e-30)
    if not moving.any():
        return {}
    step = step[:, moving] / step[:, moving].std(axis=0)

    def error(first: int, last: int) -> Float[np.ndarray, " t"]:
        moved = [act[at + k] for k in range(first, last + 1)]
        return held_out_error(np.concatenate([state, *moved], axis=1), step, held)

    shifts = range(-MOST, MOST + 1)
    return {k: float(np.max(1.0 - error(k - BEFORE, k) / error(k - BEFORE, k - 1))) for k in shifts}


def shifted(demos: Demos) -> str:
    """Return a remark if the actions seem to belong to other rows, else an empty string."""
    found = effects(demos)
    best = max(found.values(), default=0.0)
    first = next((k for k, share in found.items() if share >= max(CLEAR, MAIN * best)), 0)
    if first == 0 or abs(first) == MOST or found[0] > MAIN * found[first]:  # at the edge the action before is unknown
        return ""
    n = abs(first)
    steps, row = f"{n} step{'s' * (n > 1)}", f"{n} row{'s' * (n > 1)}"
    where, when = ("after", "late") if first > 0 else ("before", "early")
    return (
        f"actions seem recorded {steps} {when}: the first action that explains s' is that of {row} {where} (it removes "
        f"{found[first]:.0%} of the error of predicting a coordinate of s' from s and earlier actions; the action of "
        f"the row itself removes {max(found[0], 0.0):.0%})"
    )


def columns(tree: Any, at: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n d"]:
    """Return the coordinates of the observations in the rows `at`, side by side."""
    return np.concatenate([x[at].reshape(len(at), -1) for x in flat("", tree).values()], axis=1).astype(np.float64)


def inner(demos: Demos) -> Int[np.ndarray, " n"]:
    """Return the numbers of the rows with enough consecutive rows before and after them, thinned out to a limit."""
    reach = MOST + BEFORE
    follows: Bool[np.ndarray, " n"] = np.append(False, following(demos))
    broken = np.cumsum(~follows)
    middle = np.arange(reach, len(follows) - MOST)
    at = middle[broken[middle + MOST] == broken[middle - reach]]
    return at[:: max(1, len(at) // ROWS)]


def held_out_error(
    features: Float[np.ndarray, "n f"], targets: Float[np.ndarray, "n t"], held: Bool[np.ndarray, " n"]
) -> Float[np.ndarray, " t"]:
    """Return the mean squared error of a linear fit on held-out rows, for each target."""
    spread = features.std(axis=0)
    x = (features - features.mean(axis=0)) / np.where(spread > 0.0, spread, 1.0)
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    gram = x[~held].T @ x[~held] + RIDGE * len(x) * np.eye(x.shape[1])
    fit = np.linalg.solve(gram, x[~held].T @ targets[~held])
    return np.maximum(np.mean((targets[held] - x[held] @ fit) ** 2, axis=0), 1e-12)
