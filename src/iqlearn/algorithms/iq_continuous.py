"""Inverse soft-Q learning for continuous actions: critics, and an actor that follows their soft policy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from iqlearn.algorithms.base import Rows, TrainState, reward_extension
from iqlearn.algorithms.common import (
    ActorCritic,
    Inputs,
    actor_loss,
    descend_actor_critic,
    next_value,
    stop,
    temperature_loss,
)
from iqlearn.algorithms.objective import BOUNDED, Objective, critic_loss, next_values
from iqlearn.errors import require
from iqlearn.networks.descent import between
from iqlearn.networks.mlp import Network
from iqlearn.networks.soft_q import ContinuousSoftQ
from iqlearn.objectives import SoftValues, implied_reward, steepness
from iqlearn.objectives.iq import ValueTerm
from iqlearn.types import Batch, Metrics, PRNGKey, Scalar


@dataclass(frozen=True)
class IQLearnContinuous(Objective, ActorCritic):
    """Inverse soft-Q learning (Garg et al., NeurIPS 2021, section 4.2) with soft actor-critic.

    The defaults are the paper's method: one critic with a target network, a tanh-Gaussian actor that acts, is evaluated
    and gives V(s'), χ² with α = 0.5 on expert and replay rows (section 5.1), the value term over expert states, a fixed
    temperature, no scaling, no extension.
    """

    batch_size: int = 256
    target_rate: float = 0.005
    value_term: ValueTerm = "expert_states"
    actor_learning_rate: float = 3e-5
    next_policy: Literal["live", "averaged"] = "live"
    """The actor whose actions give V(s'): the live one or the averaged one."""

    name: ClassVar[str] = "iq-continuous"
    hooks: ClassVar[tuple[str, ...]] = ("reward", "actor_loss", "critics")

    def __post_init__(self) -> None:
        super().__post_init__()
        there = self.average_rate < 1.0 or self.next_policy == "live"
        require(there, "next_policy", self.next_policy, "live without an averaged actor (average_rate 1)")

    @classmethod
    def recommended(cls, learner_rows: bool, given_reward: bool, **changes: Any) -> IQLearnContinuous:
        """Return the settings that worked best, with the given changes.

        They have standardised observations, two silu critics without target critics, an averaged clipped-Gaussian
        actor, a small temperature, absorbing states and learning rates that decay. With a given reward they have target
        critics, a learnt temperature, a larger discount and a later decay.
        """
        smooth = Network((256, 256), "silu")
        values: dict[str, Any] = {
            "value_term": "mixture",
            "gamma": 0.97 if given_reward else 0.9,
            "temperature": 0.002,
            "target_entropy": -1.0 if given_reward else None,
            "batch_size": 128,
            "actor_learning_rate": 3e-4,
            "decay_after": 20_000 if given_reward else 8_000,
            "target_rate": 0.005 if given_reward else 0.0,
            "average_rate": 0.005,
            "next_policy": "averaged" if changes.get("average_rate", 0.0) < 1.0 else "live",
            "critics": 2,
            "critic": replace(smooth, layer_norm=not changes.get("spectral_norm", False)),
            "actor": smooth,
            "squash": "clip",
            "absorbing": True,
            "clip_value": changes.get("divergence", cls.divergence) in BOUNDED,
            "scaling": "standard",
            "saturation": 10.0,
        }
        return cls(**(values | changes))

    @classmethod
    def ls_iq(cls, **changes: Any) -> IQLearnContinuous:
        """Return the settings of LS-IQ, with the scaling, number of critics and averaged actor of SQIL and DAC."""
        network = Network((256, 256), "relu", layer_norm=not changes.get("spectral_norm", False))
        values: dict[str, Any] = {"scaling": "standard", "critics": 2, "critic": network, "average_rate": 0.005}
        return super().ls_iq(**(values | changes))

    def update(self, state: TrainState, batch: Batch, key: PRNGKey) -> tuple[TrainState, Metrics]:
        """Do one gradient step of critics, actor and temperature."""
        return descend_actor_critic(self, state, lambda model: self.loss(model, state, batch, key))

    def loss(self, model: ContinuousSoftQ, state: TrainState, batch: Batch, key: PRNGKey) -> tuple[Scalar, Metrics]:
        """Return the sum of the losses of critics, actor and temperature from one sample of the policy, and figures.

        Each loss has a gradient in its own part only. Expert and learner rows pass through the networks together, the
        expert's first.
        """
        n = len(batch.expert.terminal)
        draw_key, next_key, initial_key, penalty_key = jr.split(key, 4)
        extension = reward_extension(self.extensions)
        sources = [batch.expert] if batch.visited is None else [batch.expert, batch.visited]
        rows = jax.tree.map(lambda *parts: jnp.concatenate(parts), *sources)
        inputs, unit = model.encoder(rows.obs), model.actions.to_unit(rows.action)
        drawn = model.draw(inputs, draw_key)
        inferred = any(part.gives_actions for part in self.extensions)
        if self.state_only and not inferred:  # a ~ π(·|s) takes the place of the expert's action
            unit = jnp.concatenate([stop(drawn.unit[:n]), unit[n:]])
        actor = state.target.actor if self.next_policy == "averaged" else None
        next_v = next_value(model, state.target.critic, actor, rows, next_key)
        ends = jnp.where(jnp.arange(len(inputs)) < n, 1.0, -1.0)
        m = self.values_read(n, len(inputs), extension is not None)
        fitted, drawn_q = model.apart_q(inputs, drawn.unit, m)
        values = SoftValues(
            q=model.unit_q(inputs, unit),
            v=jnp.concatenate([fitted, stop(drawn_q[:, m:])], axis=1) - stop(model.temperature * drawn.log_prob),
            discounted_next_v=next_values(self, next_v, rows.terminal, ends),
        )
        initial_v = given = None
        if self.value_term == "initial":
            initial = model.encoder(batch.initial_obs)
            initial_v = model.member_v(initial, stop(model.draw(initial, initial_key)))
        if extension is not None:
            given = extension.reward(state.aux[extension.name], rows)
        loss, metrics = critic_loss(self, values, n, initial_v, given)
        if self.penalty > 0.0:
            loss += self.penalty * self.roughness(model, inputs, unit, n, penalty_key)
        judged = stop(jnp.mean(implied_reward(values), axis=0)) if given is None else given
        trust = jnp.clip(1.0 + judged / self.limit, 0.0, 1.0)
        of_actor = actor_loss(model, drawn, drawn_q)
        metrics |= {"critic_loss": loss, "entropy": -jnp.mean(drawn.log_prob)}
        if not self.state_only:
            metrics["squared_error"] = jnp.mean(drawn.policy.distance(unit)[:n])
        for part in self.extensions:
            if "actor_loss" in part.needs:
                seen = Rows(drawn.policy, inputs, unit, n, trust)
                further, figures = part.actor_loss(state.aux[part.name], seen)
                of_actor, metrics = of_actor + further, metrics | figures
        metrics["actor_loss"] = of_actor
        return loss + of_actor + temperature_loss(self, model, drawn), metrics

    def roughness(
        self, model: ContinuousSoftQ, inputs: Inputs, unit: Float[Array, "n act"], n: int, key: PRNGKey
    ) -> Scalar:
        """E[max(‖∇Q‖ − 1, 0)²] at random points between expert and learner rows (offline: between expert rows)."""
        rows = jnp.concatenate([inputs, unit], axis=1)
        points = between(rows[:n], rows[n:] if len(rows) > n else rows, key)
        split = inputs.shape[1]

        def member_sums(x: Float[Array, "n both"]) -> Float[Array, " members"]:
            return jnp.sum(model.unit_q(x[:, :split], x[:, split:]), axis=1)

        return steepness(jax.jacrev(member_sums)(points))
