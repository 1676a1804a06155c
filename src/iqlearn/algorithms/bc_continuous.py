"""Behavioural cloning of continuous actions: the baseline beside every result."""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp

from iqlearn.algorithms.descent import begin, descend
from iqlearn.algorithms.state import TrainState
from iqlearn.models import ContinuousSoftQ
from iqlearn.settings import BCContinuous, Network
from iqlearn.types import Batch, Metrics, ObservationScale, PRNGKey, Scalar, TaskSpec

NO_CRITIC = Network(hidden=())

State = TrainState[ContinuousSoftQ]


@dataclass(frozen=True)
class ContinuousCloning:
    """Maximum likelihood of the expert's actions under a tanh-Gaussian. The critic is there for its shape only."""

    settings: BCContinuous

    def init(self, spec: TaskSpec, scale: ObservationScale, key: PRNGKey) -> State:
        s = self.settings
        model = ContinuousSoftQ(spec, NO_CRITIC, s.actor, scale, key)
        return TrainState(model, None, begin(s, model.actor), jnp.zeros((), jnp.int32))

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
        """−E_{ρ_E}[log π(a|s)]"""
        likelihood = jnp.mean(model.log_prob(batch.expert.obs, batch.expert.action))
        error = jnp.mean((model.act(batch.expert.obs) - batch.expert.action) ** 2)
        return -likelihood, {"log_likelihood": likelihood, "squared_error": jax.lax.stop_gradient(error)}
