"""The guard: which evaluation a run returns the policy of, and when training goes back to it. It reads no reward.

Its evidence is `metrics.csv`: the occupancy distance of each evaluation, the gradient norm of the critics, and the
bound of the implied reward.
"""

from __future__ import annotations

from collections.abc import Sequence

from iqlearn.files import Row

DRIFT = 2.0
"""The states of a policy have drifted where their distance from the expert's is more than this many times that of the
pretrained policy."""
HIGH = 4.0
"""Bound of the implied reward, in r_max, above which the critics are wrong: chi2_mixture keeps it near r_max."""
STEEP = 30.0
"""Gradient norm of the critics above which they diverge: it stays below 3 where training goes well."""
RETURNS = 3
"""Returns to an earlier state in a run at most."""
CAUTION = 0.3
"""Share of the learning rates that a return leaves."""


def best(rows: Sequence[Row], noise: float) -> int | None:
    """The evaluation with the least occupancy distance; none where no evaluation has one.

    Evaluations before the first update count only if the states of all later ones have drifted: the critics, and with
    them the reward, are not trained before.

    Args:
        rows: the evaluations.
        noise: a distance that means little.
    """
    known = [i for i, row in enumerate(rows) if row.get("occupancy_distance") is not None]
    trained = [i for i in known if not _untrained(rows[i])]
    found = min(reversed(trained or known), key=lambda i: _distance(rows[i]), default=None)
    start = _start(rows)
    if found is None or start is None or _distance(rows[found]) <= DRIFT * _distance(start) + noise:
        return found
    return next(i for i in known if rows[i] is start)


def trouble(rows: Sequence[Row], noise: float, limit: float) -> str | None:
    """What is wrong at the last evaluation of a run that began with a pretrained policy; none if nothing is.

    Args:
        rows: the evaluations.
        noise: a distance that means little.
        limit: r_max.
    """
    start, row = _start(rows), rows[-1]
    if start is None or row is start:
        return None
    if (row.get("occupancy_distance") or 0.0) > DRIFT * _distance(start) + noise:
        ratio = _distance(row) / max(_distance(start), noise)
        return f"the states of the policy are {ratio:.1f} times as far from the expert's as those of the pretrained one"
    for name, most, what in (
        ("reward_bound", HIGH * limit, "the bound of the reward"),
        ("critic_gradient_norm", STEEP * limit, "the gradient norm of the critics"),
    ):
        if (row.get(name) or 0.0) > most:
            return f"{what} is {row[name]:.1f}, above {most:.1f}"
    return None


def _start(rows: Sequence[Row]) -> Row | None:
    """The evaluation of the pretrained policy."""
    return rows[0] if rows and rows[0]["step"] == 0 and rows[0].get("occupancy_distance") is not None else None


def _untrained(row: Row) -> bool:
    """Whether there was no update before an evaluation."""
    return row.get("updates", row["step"]) == 0


def _distance(row: Row) -> float:
    found = row["occupancy_distance"]
    assert found is not None
    return found
