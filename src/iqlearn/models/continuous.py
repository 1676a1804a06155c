"""The soft Q-function of continuous actions, and the actor that stands for its soft policy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Shaped

from iqlearn.models import distributions
from iqlearn.models.distributions import Policy
from iqlearn.models.networks import MLP, Ensemble
from iqlearn.settings import Network, Squash
from iqlearn.types import ActionScale, ObservationScale, PRNGKey, Scalar, TaskSpec


class Drawn(eqx.Module):
    """An action a row from the actor: in [−1, 1], with its log-density there and the distribution it came from."""

    unit: Float[Array, "n act"]
    log_prob: Float[Array, " n"]
    policy: Policy


class ContinuousSoftQ(eqx.Module):
    """Critics Q(s, a) and a Gaussian actor π(a|s) that follows exp(Q/τ).

    Observations are (n, *obs_shape), raw; actions (n, act), in the environment's units. Densities are over actions
    scaled to [−1, 1]. What judges is the least of the critics (clipped double Q-learning).
    """

    critic: Ensemble
    actor: MLP
    log_temperature: Scalar
    scale: ObservationScale
    actions: ActionScale
    squash: Squash = eqx.field(static=True)
    """How the actor's Gaussian is brought into [−1, 1]."""
    unit: float = eqx.field(static=True)
    """What the critics' outputs are multiples of, so that they are of order 1."""

    def __init__(
        self,
        spec: TaskSpec,
        critic: Network,
        actor: Network,
        scale: ObservationScale,
        key: PRNGKey,
        temperature: float = 1.0,
        squash: Squash = "clip",
        unit: float = 1.0,
    ) -> None:
        critic_key, actor_key = jr.split(key)
        inputs, dim = scale.mean.size, len(spec.bounds.low)
        self.critic = Ensemble(inputs + dim, 1, critic, critic_key)
        self.actor = MLP(inputs, 2 * dim, actor, actor_key)
        self.log_temperature = jnp.log(jnp.float32(temperature))
        self.scale, self.actions = scale, ActionScale(spec.bounds)
        self.squash, self.unit = squash, unit

    @property
    def temperature(self) -> Scalar:
        """τ"""
        return jnp.exp(self.log_temperature)

    def inputs(self, obs: Shaped[Array, "n *obs"]) -> Float[Array, "n inputs"]:
        """What the networks see of observations."""
        return jax.lax.stop_gradient(self.scale)(obs)

    def unit_q(self, inputs: Float[Array, "n inputs"], unit: Float[Array, "n act"]) -> Float[Array, "members n"]:
        """Q of every member, from scaled observations and actions in [−1, 1]."""
        return self.unit * self.critic(jnp.concatenate([inputs, unit], axis=1))[..., 0]

    def to_unit(self, action: Float[Array, "n act"]) -> Float[Array, "n act"]:
        """Actions scaled to [−1, 1]."""
        return jax.lax.stop_gradient(self.actions).to_unit(action)

    def policy(self, inputs: Float[Array, "n inputs"]) -> Policy:
        """π(·|s) a row, from scaled observations."""
        return distributions.policy(self.actor(inputs), self.squash)

    def draw(self, inputs: Float[Array, "n inputs"], key: PRNGKey) -> Drawn:
        """A sample of π(·|s) a row, from scaled observations; differentiable in the actor."""
        policy = self.policy(inputs)
        return Drawn(*policy.sample(key), policy)

    def member_v(self, inputs: Float[Array, "n inputs"], drawn: Drawn) -> Float[Array, "members n"]:
        """One-sample estimate of each member's V(s): Q(s,a) − τ·log π(a|s)."""
        return self.unit_q(inputs, drawn.unit) - jax.lax.stop_gradient(self.temperature) * drawn.log_prob

    def member_q(self, obs: Shaped[Array, "n *obs"], action: Float[Array, "n act"]) -> Float[Array, "members n"]:
        """Q(s, a) of every member."""
        return self.unit_q(self.inputs(obs), self.to_unit(action))

    def q(self, obs: Shaped[Array, "n *obs"], action: Float[Array, "n act"]) -> Float[Array, " n"]:
        """Q(s, a), the least of the members'."""
        return jnp.min(self.member_q(obs, action), axis=0)

    def v(self, obs: Shaped[Array, "n *obs"]) -> Float[Array, " n"]:
        """V(s) = E_{a~π}[Q(s,a) − τ·log π(a|s)], over two samples one standard deviation off the mean.

        They are the same for every row and opposite to each other: exact as far as Q is linear in the action, and for
        the entropy of the Gaussian inside the bounds.
        """
        inputs = self.inputs(obs)
        policy = self.policy(inputs)
        side = jr.rademacher(jr.key(0), policy.mean.shape[1:], policy.mean.dtype)
        noise = jnp.broadcast_to(side, policy.mean.shape)

        def least(sign: float) -> Float[Array, " n"]:
            drawn = Drawn(*policy.shifted(sign * noise), policy)
            return jnp.min(self.member_v(inputs, drawn), axis=0)

        return 0.5 * (least(1.0) + least(-1.0))

    def log_prob(self, obs: Shaped[Array, "n *obs"], action: Float[Array, "n act"]) -> Float[Array, " n"]:
        """log π(a|s), finite at the bounds of the action space."""
        return self.policy(self.inputs(obs)).log_prob(self.to_unit(action))

    def act(self, obs: Shaped[Array, "n *obs"], key: PRNGKey | None = None) -> Float[Array, "n act"]:
        """A sample of π(·|s), or without a key its mode."""
        policy = self.policy(self.inputs(obs))
        unit = policy.mode if key is None else policy.sample(key)[0]
        return self.actions.to_env(unit)
