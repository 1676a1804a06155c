"""Soft Q-functions. Q defines policy, value and reward: alone with discrete actions, else together with an actor."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int

from iqlearn.networks import distributions
from iqlearn.networks.distributions import ActionDistribution, Squash
from iqlearn.networks.encoders import FlatEncoder
from iqlearn.networks.mlp import MLP, Ensemble, Network
from iqlearn.objectives import soft_log_policy, soft_value
from iqlearn.types import ActionScale, Obs, PRNGKey, Scalar, TaskSpec

stop = jax.lax.stop_gradient
Inputs = Float[Array, "n inputs"]
Unit = Float[Array, "n act"]


def of_action(values: Float[Array, "n actions"], action: Int[Array, " n"]) -> Float[Array, " n"]:
    """Return the value of each row's action. It is a masked sum, because the gradient of indexing is slow in a scan."""
    chosen = jnp.arange(values.shape[-1]) == action[:, None]
    return jnp.sum(jnp.where(chosen, values, 0.0), axis=-1)


class DiscreteSoftQ(eqx.Module):
    """Q(s, ·) of an ensemble. Policy and value use the mean of the members.

    Observations are raw. Actions are integers in [0, choices).
    """

    net: Ensemble
    encoder: FlatEncoder
    temperature: float = eqx.field(static=True)
    output_scale: float = eqx.field(static=True)
    """Factor by which the networks' outputs are multiplied."""
    actions: ClassVar[None] = None
    """Discrete actions have no scale."""

    def __init__(
        self,
        task: TaskSpec,
        network: Network,
        members: int,
        encoder: FlatEncoder,
        key: PRNGKey,
        temperature: float = 1.0,
        output_scale: float = 1.0,
        spectral: bool = False,
    ) -> None:
        self.net = Ensemble(encoder.size, task.choices, network, members, key, spectral)
        self.encoder = encoder
        self.temperature, self.output_scale = temperature, output_scale

    def member_q(self, obs: Obs) -> Float[Array, "members n actions"]:
        """Return Q of every member for every action."""
        return self.inputs_q(self.encoder(obs))

    def inputs_q(self, inputs: Inputs) -> Float[Array, "members n actions"]:
        """Return `member_q` for encoded observations."""
        return self.output_scale * self.net(inputs)

    def all_q(self, obs: Obs) -> Float[Array, "n actions"]:
        """Q(s, ·)"""
        return jnp.mean(self.member_q(obs), axis=0)

    def q(self, obs: Obs, action: Int[Array, " n"]) -> Float[Array, " n"]:
        """Q(s, a)"""
        return of_action(self.all_q(obs), action)

    def v(self, obs: Obs) -> Float[Array, " n"]:
        """V(s) = τ·log Σ_a exp(Q(s,a)/τ)"""
        return soft_value(self.all_q(obs), self.temperature)

    def log_prob(self, obs: Obs, action: Int[Array, " n"]) -> Float[Array, " n"]:
        """log π(a|s) = (Q(s,a) − V(s))/τ"""
        return of_action(soft_log_policy(self.all_q(obs), self.temperature), action)

    def act(self, obs: Obs, key: PRNGKey | None = None) -> Int[Array, " n"]:
        """Return a sample of π(·|s) for each row. Without a key, return the most likely action."""
        q = self.all_q(obs)
        if key is None:
            return jnp.argmax(q, axis=-1)
        return jr.categorical(key, soft_log_policy(q, self.temperature), axis=-1)


class Drawn(eqx.Module):
    """One action of the actor for each row, with its log-density."""

    unit: Unit
    """Actions in the networks' units."""
    log_prob: Float[Array, " n"]
    """Log-density in the networks' units."""
    policy: ActionDistribution


class ContinuousSoftQ(eqx.Module):
    """Critics Q(s, a) and a Gaussian actor π(a|s) that follows exp(Q/τ).

    Observations are raw. Actions are (n, act) in the environment's units. Densities are over scaled actions. Q and V
    use the minimum of the critics (clipped double Q-learning).
    """

    critic: Ensemble
    actor: MLP
    log_temperature: Scalar
    encoder: FlatEncoder
    actions: ActionScale
    squash: Squash = eqx.field(static=True)
    """How the actor's Gaussian is confined to the bounds: clip or tanh."""

    def __init__(
        self,
        task: TaskSpec,
        critic: Network,
        critics: int,
        actor: Network,
        encoder: FlatEncoder,
        key: PRNGKey,
        temperature: float = 1.0,
        squash: Squash = "tanh",
        spectral: bool = False,
    ) -> None:
        critic_key, actor_key = jr.split(key)
        dim = len(task.bounds.low)
        self.critic = Ensemble(encoder.size + dim, 1, critic, critics, critic_key, spectral)
        self.actor = MLP(encoder.size, 2 * dim, actor, actor_key)
        self.log_temperature = jnp.log(jnp.float32(temperature))
        self.encoder, self.actions, self.squash = encoder, ActionScale(task), squash

    @property
    def temperature(self) -> Scalar:
        """The temperature τ."""
        return jnp.exp(self.log_temperature)

    def unit_q(self, inputs: Inputs, unit: Unit, critic: Ensemble | None = None) -> Float[Array, "members n"]:
        """Return Q of every critic from encoded observations and scaled actions. `critic` replaces `self.critic`."""
        return (critic or self.critic)(jnp.concatenate([inputs, unit], axis=1))[..., 0]

    def apart_q(
        self, inputs: Inputs, unit: Unit, m: int
    ) -> tuple[Float[Array, "members m"], Float[Array, "members n"]]:
        """Return `unit_q` of the first m rows, and `unit_q` of all rows.

        The former is differentiable in the critics only, the latter in the actions only.
        """
        of_weights, of_inputs = self.critic.apart(jnp.concatenate([stop(inputs), unit], axis=1), m)
        return of_weights[..., 0], of_inputs[..., 0]

    def policy(self, inputs: Inputs, actor: MLP | None = None) -> ActionDistribution:
        """Return π(·|s) of each row from encoded observations. `actor` replaces `self.actor`."""
        return distributions.policy((actor or self.actor)(inputs), self.squash, self.actions.unit_limits)

    def draw(self, inputs: Inputs, key: PRNGKey, actor: MLP | None = None) -> Drawn:
        """Return a sample of π(·|s) for each row, differentiable in the actor."""
        policy = self.policy(inputs, actor)
        return Drawn(*policy.sample(key), policy)

    def member_v(self, inputs: Inputs, drawn: Drawn, critic: Ensemble | None = None) -> Float[Array, "members n"]:
        """Return each member's V(s), estimated with one sample: Q(s,a) − τ·log π(a|s)."""
        return self.unit_q(inputs, drawn.unit, critic) - stop(self.temperature) * drawn.log_prob

    def q(self, obs: Obs, action: Unit) -> Float[Array, " n"]:
        """Return Q(s, a), the minimum over the members."""
        return jnp.min(self.unit_q(self.encoder(obs), self.actions.to_unit(action)), axis=0)

    def v(self, obs: Obs) -> Float[Array, " n"]:
        """Estimate V(s) = E_{a~π}[Q(s,a) − τ·log π(a|s)] from two actions.

        The actions are one standard deviation on either side of the mean. The offset is the same in every row, so that
        equal states have equal values. The estimate is biased where Q − τ·log π is curved in the action.
        """
        inputs = self.encoder(obs)
        policy = self.policy(inputs)
        side = jnp.where(jnp.arange(policy.mean.shape[1]) % 2 == 0, 1.0, -1.0)
        noise = jnp.broadcast_to(side, policy.mean.shape)

        def least(sign: float) -> Float[Array, " n"]:
            return jnp.min(self.member_v(inputs, Drawn(*policy.shifted(sign * noise), policy)), axis=0)

        return 0.5 * (least(1.0) + least(-1.0))

    def log_prob(self, obs: Obs, action: Unit) -> Float[Array, " n"]:
        """Return log π(a|s), finite at the bounds of the action space."""
        return self.policy(self.encoder(obs)).log_prob(self.actions.to_unit(action))

    def act(self, obs: Obs, key: PRNGKey | None = None) -> Unit:
        """Return a sample of π(·|s) for each row. Without a key, return the mode."""
        policy = self.policy(self.encoder(obs))
        return self.actions.to_env(policy.mode if key is None else policy.sample(key)[0])


SoftQ = DiscreteSoftQ | ContinuousSoftQ
