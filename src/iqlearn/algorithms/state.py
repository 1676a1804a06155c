"""The state of training: one record of arrays, so that saving it saves the whole run."""

from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import equinox as eqx
import optax
from jaxtyping import Array, Float, Int

from iqlearn.models import ContinuousSoftQ, DiscreteSoftQ, SoftQModel
from iqlearn.models.networks import MLP
from iqlearn.models.reward import RewardNet
from iqlearn.types import Metrics, ObservationScale, PRNGKey, TaskSpec

Model = TypeVar("Model", DiscreteSoftQ, ContinuousSoftQ)


class TrainState(eqx.Module, Generic[Model]):
    """Everything that changes while training."""

    model: Model
    """What is differentiated, and what acts."""
    target: Model | None
    """The slow copy that V(s') is read from; none without a target network."""
    opt_state: optax.OptState
    step: Int[Array, ""]
    """Updates done."""
    particles: Float[Array, "particles obs"] | None = None
    """Where the learner stands in its model of the dynamics, if it has one."""
    clone: MLP | None = None
    """The actor that learning began from, where the learner is held to it (`Imitation.anchor`)."""
    reward: RewardNet | None = None
    """What Q is learnt from, where the reward is found first (`Regression`)."""


@runtime_checkable
class Batched(Protocol):
    @property
    def batch_size(self) -> int: ...


@runtime_checkable
class Algorithm(Protocol):
    """What the loops ask of an algorithm: pure functions of its settings."""

    @property
    def settings(self) -> Batched: ...

    def init(self, spec: TaskSpec, scale: ObservationScale, key: PRNGKey) -> TrainState[Any]:
        """The state before the first update."""
        ...

    def answer(self, state: TrainState[Any]) -> SoftQModel:
        """What acts and judges when training stops here."""
        ...

    def update(self, state: TrainState[Any], batch: Any, key: PRNGKey) -> tuple[TrainState[Any], Metrics]:
        """One gradient step. `batch` is what the algorithm's data gives: `Batch`, or `Rewarded` for experts."""
        ...
