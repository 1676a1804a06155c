"""Behavioural cloning: the baseline beside every result."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from iqlearn.algorithms.descent import begin, descend
from iqlearn.algorithms.state import TrainState
from iqlearn.models import DiscreteSoftQ
from iqlearn.models.discrete import of_action
from iqlearn.objectives import soft_log_policy
from iqlearn.settings import BC
from iqlearn.types import Batch, Metrics, ObservationScale, PRNGKey, Scalar, TaskSpec

State = TrainState[DiscreteSoftQ]


@dataclass(frozen=True)
class BehaviouralCloning:
    """Maximum likelihood of the expert's actions. The network's outputs are logits: a soft Q at temperature 1."""

    settings: BC

    def init(self, spec: TaskSpec, scale: ObservationScale, key: PRNGKey) -> State:
        s = self.settings
        model = DiscreteSoftQ(spec, s.network, scale, key)
        opt_state = begin(s, model)
        return TrainState(model, None, opt_state, jnp.zeros((), jnp.int32))

    def answer(self, state: State) -> DiscreteSoftQ:
        """What acts and judges: the model as it is."""
        return state.model

    def update(self, state: State, batch: Batch, key: PRNGKey) -> tuple[State, Metrics]:
        s = self.settings
        model, opt_state, metrics = descend(
            s,
            lambda model: self.loss(model, batch),
            state.model,
            state.opt_state,
        )
        return TrainState(model, None, opt_state, state.step + 1, state.particles), metrics

    def loss(self, model: DiscreteSoftQ, batch: Batch) -> tuple[Scalar, Metrics]:
        """−E_{ρ_E}[log π(a|s)]"""
        log_policy = soft_log_policy(model.member_q(batch.expert.obs), 1.0)
        log_prob = jax.vmap(of_action, in_axes=(0, None))(log_policy, batch.expert.action)
        return -jnp.mean(log_prob), {"log_likelihood": jnp.mean(log_prob)}
