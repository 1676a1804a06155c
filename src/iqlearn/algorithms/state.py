"""The state of training: one record of arrays, so that saving it saves the whole run."""

from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import optax
from jaxtyping import Array, Float, Int

from iqlearn.models import SoftQModel
from iqlearn.types import Metrics, ObservationScale, PRNGKey, TaskSpec


class TrainState(eqx.Module):
    """Everything that changes while training."""

    model: SoftQModel
    """What is differentiated, and what acts."""
    target: SoftQModel | None
    """The slow copy that V(s') is read from; none without a target network."""
    opt_state: optax.OptState
    step: Int[Array, ""]
    """Updates done."""
    particles: Float[Array, "particles obs"] | None = None
    """Where the learner stands in its model of the dynamics, if it has one."""


@runtime_checkable
class Batched(Protocol):
    @property
    def batch_size(self) -> int: ...


@runtime_checkable
class Algorithm(Protocol):
    """What the loops ask of an algorithm: pure functions of its settings."""

    @property
    def settings(self) -> Batched: ...

    def init(self, spec: TaskSpec, scale: ObservationScale, key: PRNGKey) -> TrainState:
        """The state before the first update."""
        ...

    def answer(self, state: TrainState) -> SoftQModel:
        """What acts and judges when training stops here."""
        ...

    def update(self, state: TrainState, batch: Any, key: PRNGKey) -> tuple[TrainState, Metrics]:
        """One gradient step. `batch` is what the algorithm's data gives: `Batch`, or `Rewarded` for experts."""
        ...
