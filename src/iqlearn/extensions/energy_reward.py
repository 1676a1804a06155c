"""Energy reward: a reward of states in closed form, from which Q is learnt by soft Bellman backups."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from iqlearn.algorithms.base import Extension, Now, TrainState
from iqlearn.data.demos import Demos
from iqlearn.data.sources import Demonstrations, Source
from iqlearn.errors import require_positive
from iqlearn.extensions import reward_first
from iqlearn.extensions.reward_first import HOPELESS, RewardFirst, hopeless
from iqlearn.networks import encoders
from iqlearn.networks.encoders import FlatEncoder
from iqlearn.types import Obs, PRNGKey, Scalar, TaskSpec, Transitions, rows

POINTS = 1_000
"""Number of the expert's states, and also of the learner's, that the reward is computed from."""
FLOOR = 0.5
"""Smallest energy distance that scales the reward, as a share of the first one."""
TINY = 1e-6
"""Smallest scale of a reward, for a learner that is in the expert's states from the start."""


class Witness(eqx.Module):
    """The witness function of the energy distance between the states of expert and learner: E|s − Y| − E|s − X|."""

    encoder: FlatEncoder
    expert: Float[Array, "points inputs"]
    """X: encoded states of the expert."""
    visited: Float[Array, "points inputs"]
    """Y: encoded states of the learner."""
    middle: Scalar
    """Midpoint of the witness's mean over X and its mean over Y."""
    half: Scalar
    """Half the difference of these two means, which is half the energy distance, or `floor` where that is more."""
    floor: Scalar
    """Smallest value of `half`; 0 before the first renewal."""
    limit: Scalar
    """r_max"""

    def value(self, inputs: Float[Array, "n inputs"]) -> Float[Array, " n"]:
        """Return the witness function at encoded states."""
        return jnp.mean(distances(inputs, self.visited), axis=1) - jnp.mean(distances(inputs, self.expert), axis=1)

    def __call__(self, obs: Obs) -> Float[Array, " n"]:
        """Return the witness, scaled to mean r_max on X and −r_max on Y, and clipped to ±r_max.

        The means are closer to 0 where `half` is `floor`.
        """
        scaled = (self.value(self.encoder(obs)) - self.middle) / self.half
        return self.limit * jnp.clip(scaled, -1.0, 1.0)

    def renewed(self, visited: Obs) -> Witness:
        """Return the witness with new states of the learner, scaled anew."""
        there = replace(self, visited=self.encoder(some(visited)))
        ends = [jnp.mean(there.value(points)) for points in (there.expert, there.visited)]
        half = 0.5 * (ends[0] - ends[1])
        floor = jnp.where(self.floor == 0.0, jnp.maximum(FLOOR * half, TINY), self.floor)
        return replace(there, middle=0.5 * (ends[0] + ends[1]), half=jnp.maximum(half, floor), floor=floor)


def distances(x: Float[Array, "n inputs"], y: Float[Array, "m inputs"]) -> Float[Array, "n m"]:
    """Return the Euclidean distance between each row of x and each row of y."""
    squared = jnp.sum(x**2, axis=1)[:, None] + jnp.sum(y**2, axis=1) - 2.0 * x @ y.T
    return jnp.sqrt(jnp.maximum(squared, 1e-6))


def some(obs: Obs) -> Obs:
    """Return `POINTS` of the observations, evenly spaced. Rows repeat where there are fewer."""
    row = np.linspace(0, rows(obs) - 1, POINTS).astype(int)
    return jax.tree.map(lambda part: jnp.asarray(np.asarray(part)[row]), obs)


@dataclass(frozen=True)
class EnergyReward(RewardFirst):
    """A reward of states, from their distances to the expert's states and to the learner's: r(s') is high where the
    expert is nearer.

    It is the witness function of the energy distance (Székely & Rizzo, *Energy statistics*, 2013), scaled to ±r_max.
    The occupancy distance, which judges policies, is an energy distance too. The reward is found after `steps` and
    renewed as the learner's states change. Q follows by soft Bellman backups. Online only.
    """

    every: int = 2_000
    """Environment steps between renewals of the reward."""
    recent: int = 10_000
    """Number of the learner's newest states that a renewal uses."""

    name: ClassVar[str] = "energy_reward"
    suits: ClassVar[dict[str, Any]] = {"gamma": 0.98, "decay_after": 100_000}

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "every", "recent")

    @classmethod
    def suggest(
        cls, demos: Demos, task: TaskSpec, algorithm: Any, online: bool, steps: int
    ) -> tuple[Extension | None, str]:
        """Suggest the reward where a clone is expected to be of no use (`reward_first.hopeless`)."""
        if not cls.fits(algorithm, online) or algorithm.state_only or steps < 2 * cls.steps:
            return None, ""
        error = reward_first.leave_one_out_error(demos, task)
        if error is None or not hopeless(error, demos):
            return None, ""
        told = f"the leave-one-out error of the expert's actions is {error:.3f} of their standard deviation"
        return cls(), f"{cls.name} and no pretraining, because {told}, above {HOPELESS}"

    def begin(self, task: TaskSpec, algorithm: Any, state: TrainState, demos: Demonstrations, key: PRNGKey) -> Any:
        """Return a placeholder of the reward until it is found."""
        encoder = encoders.blank(task.obs, "standard")
        points, zero = jnp.zeros((POINTS, encoder.size)), jnp.zeros(())
        return {"witness": Witness(encoder, points, points, zero, jnp.ones(()), zero, jnp.float32(algorithm.limit))}

    def reward(self, aux: Any, rows: Transitions) -> Float[Array, " n"]:
        """Return r(s') of each transition."""
        return aux["witness"](rows.next_obs)

    def wakes(self, before: int, done: int, phase: int) -> bool:
        """Return whether the phase before the first update has ended, or another `every` steps since then."""
        return done >= phase and max(before - phase, -1) // self.every < (done - phase) // self.every

    def after_round(self, now: Now) -> tuple[TrainState, Source, dict[str, float]]:
        """Renew the reward."""
        expert, met = now.demos.expert().obs, now.source.replay.newest(self.recent).obs
        witness = now.state.aux[self.name]["witness"]
        if float(witness.floor) == 0.0:
            both = jax.tree.map(lambda *x: np.concatenate([np.asarray(part) for part in x]), expert, some(met))
            encoder = encoders.fit(now.task.obs, both, "standard")
            witness = replace(witness, encoder=encoder, expert=encoder(some(expert)))
        witness = witness.renewed(met)
        state = replace(now.state, aux=now.state.aux | {self.name: {"witness": witness}})
        return state, now.source, {"energy_distance": 2.0 * float(witness.half)}
