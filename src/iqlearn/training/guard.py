"""The guard chooses the evaluation whose policy a run returns, and decides when training rolls back to it.

It reads no true reward, but three columns of `metrics.csv`: the occupancy distance of each evaluation, the gradient
norm of the critics, and the bound of the implied reward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from iqlearn.evaluation.diagnostics import misfit
from iqlearn.files import Row

DRIFT = 2.0
"""A policy has drifted if its occupancy distance is more than this many times that of the pretrained policy (without
pretraining, that of the best policy), plus a tolerance."""
HIGH = 4.0
"""The critics are wrong if the bound of the implied reward exceeds this many times the size of what their loss fits:
r_max, or r_max/(1−γ) where the loss is a squared Bellman error. chi2_mixture keeps it near one r_max."""
STEEP = 30.0
"""The same for the gradient norm of the critics. It stays below 3 where training goes well; LS-IQ has 3 to 8."""
RETURNS = 3
"""Maximum number of rollbacks in a run."""
CAUTION = 0.3
"""Factor by which a rollback multiplies the learning rates."""
GREAT_CAUTION = 0.1
"""The same without pretraining. The policy's states are then close to the expert's, and little is left to learn."""


def best(rows: Sequence[Row], noise: float) -> int | None:
    """Return the index of the best evaluation by `CHOSEN_BY`, or None if no evaluation has that figure.

    An evaluation before the first update counts only if no later one has that figure, because the critics and the
    reward are untrained then. If all later policies have drifted, the pretrained policy is the best (index 0).

    Args:
        rows: the evaluations.
        noise: the tolerance of occupancy distances.
    """
    known = [i for i, row in enumerate(rows) if math.isfinite(misfit(row))]
    trained = [i for i in known if rows[i].get("updates", rows[i]["step"])]
    found = min(reversed(trained or known), key=lambda i: misfit(rows[i]), default=None)
    drifted = found is not None and _distance(rows[found]) > DRIFT * _start(rows) + noise
    return 0 if drifted else found


def trouble(rows: Sequence[Row], noise: float, target: float) -> str | None:
    """Return the reason to roll back after the last evaluation, or None if there is none.

    A run that began with a pretrained policy is compared with that policy, and its critics are checked for divergence.
    Any other run is compared with its best policy, as soon as the occupancy distance of that policy is within the
    tolerance. Its critics are not checked.

    Args:
        rows: the evaluations.
        noise: the tolerance of occupancy distances.
        target: the size of what the loss of the critics fits.
    """
    row, pretrained = rows[-1], rows[0]["step"] == 0
    nearest = min(map(_distance, rows))
    start = _start(rows) if pretrained else nearest if nearest <= noise else math.inf
    if _distance(row) > DRIFT * start + noise:
        ratio, whose = _distance(row) / max(start, noise), "pretrained" if pretrained else "best"
        return f"the states of the policy are {ratio:.1f} times as far from the expert's as those of the {whose} one"
    return divergence(row, target) if pretrained else None


def caution(rows: Sequence[Row]) -> float:
    """Return the factor by which a rollback multiplies the learning rates of a run with these evaluations."""
    return CAUTION if rows[0]["step"] == 0 else GREAT_CAUTION


def divergence(row: Row, target: float) -> str | None:
    """Return a clause that names the figure of the critics that is too large at an evaluation, or None if none is.

    Args:
        row: the evaluation.
        target: the size of what the loss of the critics fits.
    """
    for name, most, what in (
        ("reward_bound", HIGH * target, "the bound of the reward"),
        ("critic_gradient_norm", STEEP * target, "the gradient norm of the critics"),
    ):
        if (row.get(name) or 0.0) > most:
            return f"{what} is {row[name]:.1f}, above {most:.1f}"
    return None


def _start(rows: Sequence[Row]) -> float:
    """Return the occupancy distance of the pretrained policy; infinite where there is none."""
    return _distance(rows[0]) if rows[0]["step"] == 0 else math.inf


def _distance(row: Row) -> float:
    """Return the occupancy distance; infinite where it is unknown."""
    return misfit(row, "occupancy_distance")
