"""Figures of an evaluation that need no true reward: from demonstrations and the episodes that the policy played."""

from __future__ import annotations

from collections.abc import Sequence

from iqlearn.data.demos import Demos
from iqlearn.evaluation.imitation import imitation
from iqlearn.evaluation.occupancy import SAMPLE, ExpertStates, demonstrated, visited
from iqlearn.evaluation.returns import Episode
from iqlearn.files import Row
from iqlearn.networks.soft_q import SoftQ
from iqlearn.rewards.gap import Steps, gaps
from iqlearn.rewards.recovered import RecoveredReward
from iqlearn.types import ObsSpec

PREDICTED = ("log_likelihood", "agreement", "relative_error")
"""Figures of `imitation` that are logged."""


class Diagnostics:
    """The figures of one run that need no true reward.

    Args:
        demos: the demonstrations as the learner sees them, with the held-out episodes.
        spec: the specification of a single observation.
        horizon: number of steps of an episode that reaches its time limit. After a true end, an episode counts as
            staying in an absorbing state up to this step; with 0 it does not.
        labelled: whether the actions of the demonstrations are the expert's.
    """

    def __init__(self, demos: Demos, spec: ObsSpec, horizon: int, labelled: bool) -> None:
        self._states, self._horizon = ExpertStates(demonstrated(demos), spec, horizon), horizon
        self._expert = Steps.of_demos(demos, horizon) if labelled else None
        held = demos.held_out
        self._held = None if held is None else held.subsample(-(-len(held) // SAMPLE))
        self._held_steps = None if self._held is None else Steps.of_demos(self._held, horizon)

    @property
    def noise(self) -> float:
        """The tolerance of occupancy distances: 1/50 of the mean distance between two of the expert's states."""
        return self._states.noise

    def of_model(self, model: SoftQ) -> Row:
        """Return how well the policy predicts the expert's held-out actions; empty without held-out episodes."""
        if self._held is None:
            return {}
        found = imitation(model, self._held)
        return {f"held_out_{name}": found[name] for name in PREDICTED if found.get(name) is not None}

    def of_episodes(self, played: Sequence[Episode], reward: RecoveredReward | None) -> Row:
        """Return the occupancy distance of the policy's episodes, and the `gaps` of the learnt reward.

        The gaps are left out without a learnt reward, and if the demonstrations are not labelled.
        """
        found: Row = {"occupancy_distance": round(self._states.distance(visited(played)), 6)}  # as metrics.csv keeps it
        if reward is not None and self._expert is not None:
            found |= gaps(reward, self._expert, Steps.of_episodes(played, self._horizon), self._held_steps)
        return found
