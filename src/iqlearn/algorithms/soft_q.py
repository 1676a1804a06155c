"""Soft Q-learning on the true reward: the experts that imitators learn from."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from iqlearn.algorithms.descent import begin, descend, polyak
from iqlearn.algorithms.state import TrainState
from iqlearn.models import DiscreteSoftQ
from iqlearn.models.discrete import of_action
from iqlearn.objectives import discounted, soft_td_loss, soft_value
from iqlearn.settings import SoftQ
from iqlearn.types import Metrics, ObservationScale, PRNGKey, Rewarded, Scalar, TaskSpec

State = TrainState[DiscreteSoftQ]


@dataclass(frozen=True)
class SoftQLearning:
    """Haarnoja et al., ICML 2017, for discrete actions: soft value iteration by temporal differences."""

    settings: SoftQ

    def init(self, spec: TaskSpec, scale: ObservationScale, key: PRNGKey) -> State:
        s = self.settings
        model = DiscreteSoftQ(spec, s.network, scale, key, s.temperature)
        opt_state = begin(s, model)
        return TrainState(model, model, opt_state, jnp.zeros((), jnp.int32))

    def answer(self, state: State) -> DiscreteSoftQ:
        """What acts and judges: the model as it is."""
        return state.model

    def update(self, state: State, batch: Rewarded, key: PRNGKey) -> tuple[State, Metrics]:
        s = self.settings
        assert state.target is not None
        target = state.target
        model, opt_state, metrics = descend(
            s,
            lambda model: self.loss(model, target, batch),
            state.model,
            state.opt_state,
        )
        return TrainState(model, polyak(target, model, s.target_rate), opt_state, state.step + 1), metrics

    def loss(self, model: DiscreteSoftQ, target: DiscreteSoftQ, batch: Rewarded) -> tuple[Scalar, Metrics]:
        """½·E[(Q(s,a) − r − γV(s'))²], each member against its own target."""
        s, t = self.settings, batch.transitions
        next_v = soft_value(target.member_q(t.next_obs), s.temperature)
        next_v = discounted(next_v, t.terminal, s.gamma)
        q = jax.vmap(of_action, in_axes=(0, None))(model.member_q(t.obs), t.action)
        return jnp.mean(jax.vmap(soft_td_loss, in_axes=(0, None, 0))(q, batch.reward, next_v)), {"q": jnp.mean(q)}
