"""Behavioural cloning of continuous actions: the baseline beside every result."""

from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp

from iqlearn.algorithms.actor_critic import squared_error
from iqlearn.algorithms.descent import begin, descend
from iqlearn.algorithms.state import TrainState
from iqlearn.models import ContinuousSoftQ, distributions
from iqlearn.settings import BCContinuous, Network
from iqlearn.types import Batch, Metrics, ObservationScale, PRNGKey, Scalar, TaskSpec

NO_CRITIC = Network(hidden=())

State = TrainState[ContinuousSoftQ]


@dataclass(frozen=True)
class ContinuousCloning:
    """Regression of the expert's actions by the policy's most likely one, tanh of the mean.

    Recorded actions often lie on the bounds, where a tanh-Gaussian's likelihood asks for an infinite mean and its fit
    is poor; a likelihood for the spread alone spoils what the layers share. So the spread stays as it began, and what
    counts is the most likely action. The critic is there for its shape only.
    """

    settings: BCContinuous

    def init(self, spec: TaskSpec, scale: ObservationScale, key: PRNGKey) -> State:
        s = self.settings
        return self.begin(ContinuousSoftQ(spec, NO_CRITIC, s.actor, scale, key))

    def begin(self, model: ContinuousSoftQ) -> State:
        """The state before the first update of a model's actor."""
        return TrainState(model, None, begin(self.settings, model.actor), jnp.zeros((), jnp.int32))

    def answer(self, state: State) -> ContinuousSoftQ:
        """What acts: the model as it is."""
        return state.model

    def update(self, state: State, batch: Batch, key: PRNGKey) -> tuple[State, Metrics]:
        model = self.answer(state)

        def of_actor(actor: eqx.Module) -> tuple[Scalar, Metrics]:
            return self.loss(eqx.tree_at(lambda m: m.actor, model, actor), batch)

        actor, opt_state, metrics = descend(self.settings, of_actor, model.actor, state.opt_state)
        model = eqx.tree_at(lambda m: m.actor, model, actor)
        return TrainState(model, None, opt_state, state.step + 1), metrics

    def loss(self, model: ContinuousSoftQ, batch: Batch) -> tuple[Scalar, Metrics]:
        """E_{ρ_E}[|a − tanh μ(s)|²], a in [−1, 1]"""
        mean, _ = distributions.split(model.actor(model.inputs(batch.expert.obs)))
        error = squared_error(mean, model.to_unit(batch.expert.action))
        return error, {"squared_error": error}
