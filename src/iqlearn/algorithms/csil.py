"""CSIL: coherent soft imitation learning (Watson, Huang and Heess, NeurIPS 2023)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float

from iqlearn.algorithms.base import Now, TrainState
from iqlearn.algorithms.bc import CLONING_BATCH
from iqlearn.algorithms.common import (
    ActorCritic,
    Inputs,
    actor_loss,
    begin_actor_critic,
    descend_actor_critic,
    stop,
    with_actor,
)
from iqlearn.errors import require, require_not_negative, require_positive
from iqlearn.networks.descent import fit, hyperbolic, linear, step_down
from iqlearn.networks.distributions import LOG_STD_MAX, LOG_STD_MIN, ActionDistribution, Squash
from iqlearn.networks.encoders import FlatEncoder, Scaling
from iqlearn.networks.mlp import MLP, Ensemble, Network
from iqlearn.networks.soft_q import ContinuousSoftQ, Drawn
from iqlearn.objectives import discounted, soft_td_loss
from iqlearn.objectives.coherent import coherent_reward, normal_kl, refinement_loss
from iqlearn.types import Batch, Metrics, PRNGKey, Scalar, TaskSpec, Transitions

STANDARD = math.atanh((LOG_STD_MAX + LOG_STD_MIN) / (LOG_STD_MIN - LOG_STD_MAX))
"""The network's output for a standard deviation of 1."""


class Coherent(NamedTuple):
    """The policies that give the reward."""

    net: MLP
    """The refined q."""
    opt_state: Any
    first: MLP
    """The cloned q, before refinement."""


@dataclass(frozen=True)
class CSIL(ActorCritic):
    """CSIL for continuous actions: soft actor-critic from a clone q, with the reward r(s,a) = α·log(q(a|s)/p(a)).

    q is cloned by regularised maximum likelihood. Its network is stationary: far from the demonstrations q is the prior
    p, a standard normal in the networks' units, and the reward is 0. α is 1/dim(A). Before the first update the critics
    learn the value of q on the expert's transitions. Then each update refines the reward: it becomes higher on the
    expert's transitions and lower on the learner's, and stays near the first reward.
    """

    batch_size: int = 128
    """Number of expert transitions in a minibatch; the number of learner transitions is the same."""
    gamma: float = 0.98
    temperature: float = 0.1
    """Weight of the policy's divergence from the clone, log(π(a|s)/q(a|s)), in the soft value."""
    actor_learning_rate: float = 3e-5
    cloning_updates: int = 20_000
    """Number of updates of q on the expert's actions, before the first update of the method."""
    cloning_decay: float = 1e-2
    """Decoupled decay of the weights of q in cloning updates, times the learning rate. It keeps q near the prior."""
    action_noise: float = 0.05
    """Standard deviation of the noise on the expert's actions in cloning updates, in the networks' units. q does not
    learn a much smaller one, so the noise sets the height of the reward at the expert's actions, and how fast the
    reward falls around them."""
    critic_updates: int = 5_000
    """Number of critic updates on the expert's transitions, before the first update of the method; 0 for none."""
    reward_limit: float = 10.0
    """Largest reward. The reward is clipped to [0, reward_limit]."""
    reward_learning_rate: float = 1e-4
    """Learning rate of Adam for the refined reward; 0 keeps the first reward."""
    reward_regularisation: float = 1.0
    """Weight of KL(q‖refined q), in the states of expert and learner, in the loss of the refined reward."""
    critics: int = 2
    """Number of critics. The actor uses their minimum; so does V(s') with target critics."""
    critic: Network = Network((256, 256), "relu", layer_norm=True)
    actor: Network = Network((256, 256), "silu")
    """Layers of the actor and of q. The last hidden layer is periodic."""
    squash: Squash = "clip"
    scaling: Scaling = "standard"

    name: ClassVar[str] = "csil-continuous"
    family: ClassVar[str] = "csil"
    acts: ClassVar[str] = "must"
    pretrains: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "cloning_updates", "action_noise", "reward_limit")
        require_not_negative(self, "cloning_decay", "critic_updates", "reward_learning_rate", "reward_regularisation")
        require(self.target_entropy is None, "target_entropy", self.target_entropy, "none, the temperature is fixed")
        require(self.target_rate > 0.0, "target_rate", self.target_rate, "above 0, V(s') is that of target critics")
        require(len(self.actor.hidden) > 0, "actor.hidden", self.actor.hidden, "one layer at least, which is periodic")

    def init(self, task: TaskSpec, encoder: FlatEncoder, key: PRNGKey) -> TrainState:
        """Return the state before `prepare`, with a policy that is not cloned yet."""
        model_key, actor_key = jr.split(key)
        shape = self.temperature, self.squash
        model = ContinuousSoftQ(task, self.critic, self.critics, self.actor, encoder, model_key, *shape)
        outputs = model.actor.layers[-1].bias
        net = MLP(encoder.size, len(outputs), self.actor, actor_key, stationary=True)
        prior = jnp.where(jnp.arange(len(outputs)) < len(outputs) // 2, 0.0, STANDARD)
        net = eqx.tree_at(lambda n: n.layers[-1].bias, net, prior)
        state = begin_actor_critic(self, eqx.tree_at(lambda m: m.actor, model, net))
        return replace(state, beside=self.coherent(net))

    def prepare(self, now: Now) -> TrainState:
        """Clone the expert, then train the critics to the value of the clone on the expert's transitions."""
        rows, model, (clone_key, value_key) = now.demos.expert(), now.state.model, jr.split(now.key)
        told = f"cloning the expert, {self.cloning_updates:,} updates (cloning_updates)"
        data = model.encoder(rows.obs), model.actions.to_unit(rows.action), model, jnp.float32(self.action_noise)
        how = hyperbolic, 1e-3, self.cloning_decay, None, partial(now.tell, told)
        net, _ = fit(cloning_loss, model.actor, data, clone_key, self.cloning_updates, *how)
        state = replace(with_actor(now.state, net), beside=self.coherent(net))
        if self.critic_updates == 0:
            return state
        told = f"evaluating the clone, {self.critic_updates:,} updates (critic_updates)"
        reward = self.rewards(state.model, net, rows)
        discount = discounted(jnp.ones_like(reward), rows.terminal, self.gamma)
        data = rows, reward, discount, state.model
        how = linear, 1e-3, 0.0, None, partial(now.tell, told)
        critic, _ = fit(evaluation_loss, state.model.critic, data, value_key, self.critic_updates, *how)
        slow = state.target._replace(critic=critic)
        return replace(state, model=eqx.tree_at(lambda m: m.critic, state.model, critic), target=slow)

    def coherent(self, net: MLP) -> Coherent:
        """Return the policies of the reward of this clone, before the reward is refined."""
        return Coherent(net, self.reward_optimiser().init(net), net)

    def reward_optimiser(self) -> Any:
        """Return Adam with a larger ε than usual: where the reward is clipped, rounding errors then change nothing."""
        return optax.adam(self.reward_learning_rate, eps=1e-5)

    def rewards(self, model: ContinuousSoftQ, net: MLP, rows: Transitions) -> Float[Array, " n"]:
        """Return r(s, a) of each row, clipped to [0, `reward_limit`].

        The end of an episode has the value 0. No reward is negative, so ending an episode never pays more.
        """
        inputs, unit = model.encoder(rows.obs), model.actions.to_unit(rows.action)
        q = model.policy(inputs, net)
        reward = coherent_reward(q.log_prob(unit), prior_of(q).log_prob(unit), unit.shape[1])
        return jnp.clip(reward, 0.0, self.reward_limit)

    def update(self, state: TrainState, batch: Batch, key: PRNGKey) -> tuple[TrainState, Metrics]:
        """Do one gradient step of the refined reward, and one of critics and actor on all rows."""
        assert batch.visited is not None
        n = len(batch.expert.terminal)
        rows = jax.tree.map(lambda *parts: jnp.concatenate(parts), batch.expert, batch.visited)
        coherent, reward, figures = self.refined(state, rows, n)
        state, metrics = descend_actor_critic(self, state, lambda model: self.loss(model, state, rows, reward, key))
        return replace(state, beside=coherent), metrics | figures

    def loss(
        self, model: ContinuousSoftQ, state: TrainState, rows: Transitions, reward: Float[Array, " n"], key: PRNGKey
    ) -> tuple[Scalar, Metrics]:
        """Return the critics' loss ½·E[(Q(s,a) − r − γV(s'))²] plus the actor's loss, and figures.

        The policy's divergence from the clone replaces its entropy: V(s) = E_{a~π}[Q(s,a) − τ·log(π(a|s)/q(a|s))].
        """
        draw_key, next_key = jr.split(key)
        inputs, unit, after = model.encoder(rows.obs), model.actions.to_unit(rows.action), model.encoder(rows.next_obs)
        drawn = self.relative(model, state.beside.first, inputs, draw_key)
        following = stop(self.relative(model, state.beside.first, after, next_key))
        next_v = jnp.min(stop(model.member_v(after, following, state.target.critic)), axis=0)
        next_v = discounted(next_v, rows.terminal, self.gamma)
        q = model.unit_q(inputs, unit)
        critic = jnp.mean(jax.vmap(soft_td_loss, in_axes=(0, None, None))(q, reward, next_v))
        actor = actor_loss(model, drawn, model.unit_q(inputs, drawn.unit, stop(model.critic)))
        figures = {"critic_loss": critic, "actor_loss": actor, "q": jnp.mean(q), "divergence": jnp.mean(drawn.log_prob)}
        return critic + actor, figures

    def relative(self, model: ContinuousSoftQ, first: MLP, inputs: Inputs, key: PRNGKey) -> Drawn:
        """Draw an action of the actor for each row. `log_prob` of the result is log(π/q), with q the clone `first`."""
        drawn = model.draw(inputs, key)
        log_clone = model.policy(inputs, first).log_prob(drawn.unit)
        return eqx.tree_at(lambda one: one.log_prob, drawn, drawn.log_prob - log_clone)

    def refined(self, state: TrainState, rows: Transitions, n: int) -> tuple[Coherent, Float[Array, " n"], Metrics]:
        """Do one gradient step of the reward. The first `n` rows are the expert's.

        Returns:
            The policies of the reward after the step, the reward of each row before the step, and figures.
        """
        coherent, model = state.beside, state.model
        inputs = model.encoder(rows.obs)
        first = model.policy(inputs, coherent.first)

        def loss(net: MLP) -> tuple[Scalar, tuple[Array, Scalar]]:
            net = with_prior(net)
            reward, q = self.rewards(model, net, rows), model.policy(inputs, net)
            distance = jnp.mean(normal_kl(first.mean, first.log_std, q.mean, q.log_std))
            value = refinement_loss(reward[:n], reward[n:], distance, self.reward_regularisation)
            return value, (reward, distance)

        (value, (reward, distance)), gradient = jax.value_and_grad(loss, has_aux=True)(coherent.net)
        net, opt_state = step_down(self.reward_optimiser(), gradient, coherent.net, coherent.opt_state, state.rate)
        figures = {
            "reward_loss": value,
            "expert_reward": jnp.mean(reward[:n]),
            "visited_reward": jnp.mean(reward[n:]),
            "reward_distance": distance,
        }
        return Coherent(net, opt_state, coherent.first), stop(reward), figures


def prior_of(q: ActionDistribution) -> ActionDistribution:
    """Return the prior p of each row."""
    return type(q)(jnp.zeros_like(q.mean), jnp.zeros_like(q.mean), q.limits)


def with_prior(net: MLP) -> MLP:
    """Return the network without a gradient in its last bias, so that q stays the prior far from the demonstrations."""
    return eqx.tree_at(lambda one: one.layers[-1].bias, net, replace_fn=stop)


def cloning_loss(net: MLP, data: tuple[Inputs, Array, ContinuousSoftQ, Scalar], key: PRNGKey) -> Scalar:
    """−E_{ρ_E}[log q(a + noise|s)]."""
    inputs, unit, model, size = data
    row_key, noise_key = jr.split(key)
    row = jr.randint(row_key, (CLONING_BATCH,), 0, len(inputs))
    net = with_prior(net)
    noise = size * jr.normal(noise_key, (CLONING_BATCH, unit.shape[1]))
    return -jnp.mean(model.policy(inputs[row], net).log_prob(jnp.clip(unit[row] + noise, *model.actions.unit_limits)))


def evaluation_loss(critic: Ensemble, data: tuple[Transitions, Array, Array, ContinuousSoftQ], key: PRNGKey) -> Scalar:
    """½·E_{ρ_E}[(Q(s,a) − r − γQ(s',a'))²] with a' ~ q(·|s')."""
    rows, reward, discount, model = data
    row_key, next_key = jr.split(key)
    row = jr.randint(row_key, (CLONING_BATCH,), 0, len(reward))
    rows, reward, discount = jax.tree.map(lambda part: part[row], (rows, reward, discount))
    inputs = model.encoder(rows.next_obs)
    following = model.unit_q(inputs, model.draw(inputs, next_key).unit, critic)
    q = model.unit_q(model.encoder(rows.obs), model.actions.to_unit(rows.action), critic)
    after = discount * jnp.min(following, axis=0)
    return jnp.mean(jax.vmap(soft_td_loss, in_axes=(0, None, None))(q, reward, after))
