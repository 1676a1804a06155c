"""The state of training: one record of arrays, so that saving it saves the whole run."""

from typing import Protocol, TypeVar

import equinox as eqx
import optax
from jaxtyping import Array, Int

from iqlearn.models import DiscreteSoftQ
from iqlearn.types import Metrics, ObservationScale, PRNGKey, TaskSpec

B = TypeVar("B", contravariant=True)


class TrainState(eqx.Module):
    """Everything that changes while training."""

    model: DiscreteSoftQ
    """What is differentiated, and what acts."""
    target: DiscreteSoftQ | None
    """The slow copy that V(s') is read from; none without a target network."""
    opt_state: optax.OptState
    step: Int[Array, ""]
    """Updates done."""


class Algorithm(Protocol[B]):
    """What the loops ask of an algorithm: pure functions of its settings. `B` is what a batch of its data is."""

    def init(self, spec: TaskSpec, scale: ObservationScale, key: PRNGKey) -> TrainState:
        """The state before the first update."""
        ...

    def update(self, state: TrainState, batch: B, key: PRNGKey) -> tuple[TrainState, Metrics]:
        """One gradient step."""
        ...
