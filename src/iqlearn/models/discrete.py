"""The soft Q-function of discrete actions: policy, value and reward come from it in closed form."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, Shaped

from iqlearn.models.networks import Ensemble
from iqlearn.objectives.bellman import soft_log_policy, soft_value
from iqlearn.settings import Network
from iqlearn.types import ObservationScale, PRNGKey, TaskSpec


def of_action(values: Float[Array, "n actions"], action: Int[Array, " n"]) -> Float[Array, " n"]:
    """The column of each row's action (as a masked sum: its gradient is no scatter, which is slow in a scan)."""
    chosen = jnp.arange(values.shape[-1]) == action[:, None]
    return jnp.sum(jnp.where(chosen, values, 0.0), axis=-1)


class DiscreteSoftQ(eqx.Module):
    """Q(s, ·) of an ensemble; what acts and judges is the members' mean.

    Observations are (n, *obs_shape), raw; actions are integers in [0, actions).
    """

    net: Ensemble
    scale: ObservationScale
    temperature: float = eqx.field(static=True)
    unit: float = eqx.field(static=True)
    """What the networks' outputs are multiples of, so that they are of order 1."""

    def __init__(
        self,
        spec: TaskSpec,
        network: Network,
        scale: ObservationScale,
        key: PRNGKey,
        temperature: float = 1.0,
        unit: float = 1.0,
    ) -> None:
        self.net = Ensemble(scale.mean.size, spec.choices, network, key)
        self.scale = scale
        self.temperature, self.unit = temperature, unit

    def member_q(self, obs: Shaped[Array, "n *obs"]) -> Float[Array, "members n actions"]:
        """Q of every member for every action."""
        return self.inputs_q(self.inputs(obs))

    def inputs(self, obs: Shaped[Array, "n *obs"]) -> Float[Array, "n inputs"]:
        """What the networks see of observations."""
        return jax.lax.stop_gradient(self.scale)(obs)

    def inputs_q(self, inputs: Float[Array, "n inputs"]) -> Float[Array, "members n actions"]:
        """`member_q`, from scaled observations."""
        return self.unit * self.net(inputs)

    def all_q(self, obs: Shaped[Array, "n *obs"]) -> Float[Array, "n actions"]:
        """Q(s, ·)"""
        return jnp.mean(self.member_q(obs), axis=0)

    def q(self, obs: Shaped[Array, "n *obs"], action: Int[Array, " n"]) -> Float[Array, " n"]:
        """Q(s, a)"""
        return of_action(self.all_q(obs), action)

    def v(self, obs: Shaped[Array, "n *obs"]) -> Float[Array, " n"]:
        """V(s) = τ·log Σ_a exp(Q(s,a)/τ)"""
        return soft_value(self.all_q(obs), self.temperature)

    def log_prob(self, obs: Shaped[Array, "n *obs"], action: Int[Array, " n"]) -> Float[Array, " n"]:
        """log π(a|s) = (Q(s,a) − V(s))/τ"""
        return of_action(soft_log_policy(self.all_q(obs), self.temperature), action)

    def act(self, obs: Shaped[Array, "n *obs"], key: PRNGKey | None = None) -> Int[Array, " n"]:
        """A sample of π(·|s), or without a key its most likely action."""
        q = self.all_q(obs)
        if key is None:
            return jnp.argmax(q, axis=-1)
        return jr.categorical(key, soft_log_policy(q, self.temperature), axis=-1)
