"""Behavioural cloning of continuous actions: the baseline beside every result."""

from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp

from iqlearn.algorithms.descent import begin, descend, stride
from iqlearn.algorithms.state import TrainState
from iqlearn.models import ContinuousSoftQ
from iqlearn.settings import BCContinuous, Network
from iqlearn.types import Batch, Metrics, ObservationScale, PRNGKey, Scalar, TaskSpec

NO_CRITIC = Network(hidden=())

State = TrainState[ContinuousSoftQ]


@dataclass(frozen=True)
class ContinuousCloning:
    """Regression of the expert's actions by the policy's mode.

    Recorded actions often lie on the bounds: an error counts there only while the mean has not reached them. A
    likelihood for the spread spoils what the layers share, so the spread stays as it began. The critic is there for
    its shape only.
    """

    settings: BCContinuous

    def init(self, spec: TaskSpec, scale: ObservationScale, key: PRNGKey) -> State:
        s = self.settings
        return self.begin(ContinuousSoftQ(spec, NO_CRITIC, s.actor, scale, key, squash=s.squash))

    def begin(self, model: ContinuousSoftQ) -> State:
        """The state before the first update of a model's actor."""
        return TrainState(model, None, begin(self.settings, model.actor), jnp.zeros((), jnp.int32))

    def answer(self, state: State) -> ContinuousSoftQ:
        """What acts: the model as it is."""
        return state.model

    def update(self, state: State, batch: Batch, key: PRNGKey) -> tuple[State, Metrics]:
        s, model = self.settings, self.answer(state)

        def of_actor(actor: eqx.Module) -> tuple[Scalar, Metrics]:
            return self.loss(eqx.tree_at(lambda m: m.actor, model, actor), batch)

        share = stride(s.settle_after, state.step)
        actor, opt_state, metrics = descend(s, of_actor, model.actor, state.opt_state, share)
        model = eqx.tree_at(lambda m: m.actor, model, actor)
        return TrainState(model, None, opt_state, state.step + 1), metrics

    def loss(self, model: ContinuousSoftQ, batch: Batch) -> tuple[Scalar, Metrics]:
        """E_{ρ_E}[|a − mode of π(·|s)|²], a in [−1, 1]"""
        policy = model.policy(model.inputs(batch.expert.obs))
        error = jnp.mean(policy.distance(model.to_unit(batch.expert.action)))
        return error, {"squared_error": error}
