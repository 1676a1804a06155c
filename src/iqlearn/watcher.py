"""Imitation from states alone, online: when to infer what the expert did, and which guess to believe."""

from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from iqlearn import records
from iqlearn.algorithms import TrainState
from iqlearn.data import Replay
from iqlearn.evaluation.diagnostics import Familiar
from iqlearn.models import ContinuousSoftQ
from iqlearn.models.networks import MLP
from iqlearn.settings import IQLearnContinuous
from iqlearn.training import Demonstrations, as_clone, watched, with_actions
from iqlearn.types import PRNGKey, Scalar, TaskSpec


class Guess(NamedTuple):
    """What the expert may have done, and where that led."""

    action: Float[Array, "n act"]
    """Of each expert transition."""
    clone: MLP
    """An actor that has learnt these actions."""
    distance: Scalar
    """Between the states that the clone came to and the expert's; no reward enters it."""


class Watcher:
    """Demonstrations whose actions are guessed round by round from what the learner did; the best guess is kept."""

    def __init__(
        self,
        settings: IQLearnContinuous,
        spec: TaskSpec,
        demos: Demonstrations,
        state: TrainState[ContinuousSoftQ],
        done: int,
        checkpoint: Path | None,
    ) -> None:
        """`checkpoint`: of a run that goes on, after `done` steps."""
        self.inference, self._spec, self._demos = settings.inference, spec, demos
        self._settings = settings
        self.rounds = self.inference.due(done)
        """Rounds that are over."""
        self.figures: dict[str, float] = {}
        """Of the last round."""
        nothing = Guess(demos.transitions.rows.action, state.model.actor, jnp.float32(np.inf))
        self.guesses = (nothing, nothing)
        """The newest, and the best so far."""
        if checkpoint is not None:
            self.guesses = records.read_part(checkpoint, "guesses", self.guesses)
        expert = demos.transitions
        self._familiar = Familiar(np.asarray(expert.rows.obs[: expert.size]), state.model.scale)

    @property
    def demos(self) -> Demonstrations:
        """With the actions that are believed now: the newest guess, in the end the best one."""
        return with_actions(self._demos, self.guesses[self.over].action)

    @property
    def over(self) -> bool:
        """Whether nothing is inferred any more and inverse soft-Q learning has begun."""
        return self.rounds == self.inference.rounds

    def due(self, done: int) -> bool:
        """Whether `done` steps are enough for another round."""
        return self.rounds < self.inference.due(done)

    def judges(self, done: int) -> bool:
        """Whether the newest clone acts by its mode after `done` steps, to be judged."""
        return not self.over and done % self.inference.part < self.inference.part // 2

    def actor(self, model: ContinuousSoftQ, done: int) -> ContinuousSoftQ:
        """What acts after `done` steps. Half of the time it explores around the best clone, if one has been judged."""
        if self.over or self.judges(done) or self.rounds < 2:
            return model
        return eqx.tree_at(lambda m: m.actor, model, self.guesses[1].clone)

    def watch(
        self, state: TrainState[ContinuousSoftQ], replay: Replay, key: PRNGKey, done: int
    ) -> TrainState[ContinuousSoftQ]:
        """Judge the last guess by where it led; make the next one or, in the last round, settle for the best."""
        newest, best = self.guesses
        if self.rounds > 0:
            visited = np.asarray(replay.newest(self.inference.part).obs)[self.inference.part // 2 :]
            newest = newest._replace(distance=jnp.float32(self._familiar.distance(visited)))
            best = newest if newest.distance < best.distance else best
            self.figures = {"guess_distance": float(newest.distance)}
        self.rounds = self.inference.due(done)
        if not self.over:
            demos, clone, error = watched(self._settings, self._demos, replay, state, self._spec, key)
            newest = Guess(demos.transitions.rows.action, clone, jnp.float32(np.inf))
            self.figures["inverse_error"] = float(error)
        self.guesses = newest, best
        return as_clone(state, self.guesses[self.over].clone)
