"""What action led from one state to the next: an inverse model of the dynamics."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from iqlearn.models.distributions import ClippedGaussian
from iqlearn.models.networks import MLP
from iqlearn.settings import Network
from iqlearn.types import ActionScale, ObservationScale, PRNGKey, Scalar, TaskSpec, Transitions

NETWORK = Network(hidden=(256, 256), activation="silu", layer_norm=True)
LIMIT = 10.0
"""Changes saturate at this many standard deviations."""
LEAST = 1e-4
"""The least standard deviation of a change, so that what never changes is no division by zero."""


class InverseModel(eqx.Module):
    """a = g(s, s' − s), for continuous actions (Torabi et al., BCO, IJCAI 2018).

    Changes of the scaled observations are divided by the standard deviation that the expert's have.
    """

    net: MLP
    scale: ObservationScale
    change: Float[Array, " inputs"]
    actions: ActionScale

    def __init__(self, spec: TaskSpec, scale: ObservationScale, expert: Transitions, key: PRNGKey) -> None:
        self.scale, self.actions = scale, ActionScale(spec.bounds)
        self.change = jnp.maximum(jnp.std(scale(expert.next_obs) - scale(expert.obs), axis=0), LEAST)
        self.net = MLP(2 * scale.mean.size, len(spec.bounds.low), NETWORK, key)

    def raw(self, obs: Shaped[Array, "n *obs"], next_obs: Shaped[Array, "n *obs"]) -> Float[Array, "n act"]:
        """The network's output: an action scaled to [−1, 1], or beyond."""
        scale, change = jax.lax.stop_gradient((self.scale, self.change))
        before = scale(obs)
        moved = jnp.clip((scale(next_obs) - before) / change, -LIMIT, LIMIT)
        return self.net(jnp.concatenate([before, moved], axis=1))

    def __call__(self, obs: Shaped[Array, "n *obs"], next_obs: Shaped[Array, "n *obs"]) -> Float[Array, "n act"]:
        """The action of each row, in the environment's units."""
        return self.actions.to_env(jnp.clip(self.raw(obs, next_obs), -1.0, 1.0))

    def squared_error(self, batch: Transitions) -> Scalar:
        """E|a − g(s, s')|², a in [−1, 1]; an error at a bound counts only until the output has reached it."""
        output = self.raw(batch.obs, batch.next_obs)
        unit = jax.lax.stop_gradient(self.actions).to_unit(batch.action)
        return jnp.mean(ClippedGaussian(output, jnp.zeros_like(output)).distance(unit))
