"""The guard: which evaluation a run returns the policy of, and when training goes back to it. It reads no reward.

Its evidence is `metrics.csv`: the occupancy distance of each evaluation, the gradient norm of the critics, and the
bound of the implied reward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from iqlearn.evaluation.diagnostics import misfit
from iqlearn.files import Row

DRIFT = 2.0
"""The states of a policy have drifted where their distance from the expert's is more than this many times that of the
pretrained policy."""
HIGH = 4.0
"""Bound of the implied reward, in r_max, above which the critics are wrong: chi2_mixture keeps it near r_max."""
STEEP = 30.0
"""Gradient norm of the critics, in r_max, above which they diverge: it stays below 3 where training goes well."""
RETURNS = 3
"""Returns to an earlier state in a run at most."""
CAUTION = 0.3
"""Share of the learning rates that a return to an earlier state leaves."""
GREAT_CAUTION = 0.1
"""The same without pretraining. The state is then alike the expert's already, and there is little left to learn."""


def best(rows: Sequence[Row], noise: float) -> int | None:
    """The evaluation that is best by `CHOSEN_BY`; none where no evaluation has that figure.

    Evaluations before the first update count only if the states of all later ones have drifted: the critics, and with
    them the reward, are not trained before.

    Args:
        rows: the evaluations.
        noise: a distance that means little.
    """
    known = [i for i, row in enumerate(rows) if math.isfinite(misfit(row))]
    trained = [i for i in known if rows[i].get("updates", rows[i]["step"])]
    found = min(reversed(trained or known), key=lambda i: misfit(rows[i]), default=None)
    drifted = found is not None and _distance(rows[found]) > DRIFT * _start(rows) + noise
    return 0 if drifted else found


def trouble(rows: Sequence[Row], noise: float, limit: float) -> str | None:
    """What is wrong at the last evaluation; none if nothing is.

    A run that began with a pretrained policy is measured by that policy. Another one is measured by its best policy,
    once the states of that are alike the expert's, and its critics may have any gradient norm.

    Args:
        rows: the evaluations.
        noise: a distance that means little.
        limit: r_max.
    """
    row, pretrained = rows[-1], rows[0]["step"] == 0
    nearest = min(map(_distance, rows))
    start = _start(rows) if pretrained else nearest if nearest <= noise else math.inf
    if _distance(row) > DRIFT * start + noise:
        ratio, whose = _distance(row) / max(start, noise), "pretrained" if pretrained else "best"
        return f"the states of the policy are {ratio:.1f} times as far from the expert's as those of the {whose} one"
    return divergence(row, limit) if pretrained else None


def caution(rows: Sequence[Row]) -> float:
    """The share of the learning rates that a return leaves in a run with these evaluations."""
    return CAUTION if rows[0]["step"] == 0 else GREAT_CAUTION


def divergence(row: Row, limit: float) -> str | None:
    """Which figure of the critics has left its range at an evaluation; none if none has.

    Args:
        row: the evaluation.
        limit: r_max.
    """
    for name, most, what in (
        ("reward_bound", HIGH * limit, "the bound of the reward"),
        ("critic_gradient_norm", STEEP * limit, "the gradient norm of the critics"),
    ):
        if (row.get(name) or 0.0) > most:
            return f"{what} is {row[name]:.1f}, above {most:.1f}"
    return None


def _start(rows: Sequence[Row]) -> float:
    """The distance of the pretrained policy; infinite where there is none."""
    return _distance(rows[0]) if rows[0]["step"] == 0 else math.inf


def _distance(row: Row) -> float:
    """The occupancy distance; infinite where it is unknown."""
    return misfit(row, "occupancy_distance")
