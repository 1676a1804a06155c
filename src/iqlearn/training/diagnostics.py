"""What every evaluation tells without a reward, from demonstrations and the episodes that the policy played."""

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
    """The figures of one run.

    Args:
        demos: what the learner sees, and the episodes that were held out from it.
        spec: what a single observation is.
        horizon: steps of an episode that meets its time limit; 0 leaves true ends out.
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
        """An occupancy distance that means little."""
        return self._states.noise

    def of_model(self, model: SoftQ) -> Row:
        """How well the policy predicts the expert's held-out actions."""
        if self._held is None:
            return {}
        found = imitation(model, self._held)
        return {f"held_out_{name}": found[name] for name in PREDICTED if found.get(name) is not None}

    def of_episodes(self, played: Sequence[Episode], reward: RecoveredReward | None) -> Row:
        """How far episodes of the policy are from the expert's: in their states, and in what the learnt reward pays."""
        found: Row = {"occupancy_distance": round(self._states.distance(visited(played)), 6)}  # as metrics.csv keeps it
        if reward is not None and self._expert is not None:
            found |= gaps(reward, self._expert, Steps.of_episodes(played, self._horizon), self._held_steps)
        return found
