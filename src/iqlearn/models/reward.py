"""A reward as a network of its own: of a state, or of a state and an action. It needs no next state."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from iqlearn.models.networks import MLP
from iqlearn.settings import Network
from iqlearn.types import ActionScale, ObservationScale, PRNGKey, TaskSpec, Transitions

NETWORK = Network(hidden=(128, 128), activation="relu", layer_norm=True)
"""What a reward of its own is."""


class RewardNet(eqx.Module):
    """r(s) or r(s, a), from raw observations and the environment's actions."""

    net: MLP
    scale: ObservationScale
    actions: ActionScale | None
    """Scale of continuous actions; discrete ones are seen one-hot."""
    limit: Float[Array, ""]
    """Rewards saturate at ±limit, the greatest that it was fitted to."""
    of_action: bool = eqx.field(static=True)
    choices: int = eqx.field(static=True)

    def __init__(
        self,
        spec: TaskSpec,
        network: Network,
        scale: ObservationScale,
        of_action: bool,
        limit: float,
        key: PRNGKey,
    ) -> None:
        self.choices = spec.choices if spec.discrete else 0
        self.actions = None if spec.discrete else ActionScale(spec.bounds)
        width = (spec.choices if spec.discrete else len(spec.bounds.low)) if of_action else 0
        self.net = MLP(scale.mean.size + width, 1, network, key)
        self.scale, self.of_action, self.limit = scale, of_action, jnp.float32(limit)

    def __call__(self, obs: Shaped[Array, "n *obs"], action: Shaped[Array, "n *act"]) -> Float[Array, " n"]:
        """The reward of each row; r(s) leaves the action unread."""
        return jnp.clip(self.raw(obs, action), -self.limit, self.limit)

    def raw(self, obs: Shaped[Array, "n *obs"], action: Shaped[Array, "n *act"]) -> Float[Array, " n"]:
        """The network's output before it saturates: what is fitted."""
        return self.net(self.inputs(obs, action))[:, 0]

    def inputs(self, obs: Shaped[Array, "n *obs"], action: Shaped[Array, "n *act"]) -> Float[Array, "n inputs"]:
        """What the network sees: scaled observations, and actions in [−1, 1] or one-hot."""
        inputs = jax.lax.stop_gradient(self.scale)(obs)
        return jnp.concatenate([inputs, self._seen(action)], axis=1) if self.of_action else inputs

    def _seen(self, action: Shaped[Array, "n *act"]) -> Float[Array, "n width"]:
        if self.actions is None:
            return jax.nn.one_hot(action, self.choices)
        return jax.lax.stop_gradient(self.actions).to_unit(action)


def squared_error(net: RewardNet, batch: Transitions, target: Float[Array, " n"]) -> Float[Array, ""]:
    """E[(r(s,a) − target)²]"""
    return jnp.mean((net.raw(batch.obs, batch.action) - target) ** 2)
