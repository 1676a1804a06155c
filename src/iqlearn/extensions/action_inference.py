"""Action inference: imitation from states alone, by an inverse model of the dynamics (BCO, Torabi et al., 2018)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from iqlearn.algorithms.base import Behaviour, Extension, Now, TrainState
from iqlearn.algorithms.bc import clone
from iqlearn.algorithms.common import with_actor
from iqlearn.data.demos import Demos
from iqlearn.data.replay import Buffer, filled
from iqlearn.data.sources import Demonstrations, Source
from iqlearn.errors import InputError, require, require_not_negative, require_positive
from iqlearn.evaluation.occupancy import ExpertStates, alone
from iqlearn.networks.descent import fit, hyperbolic
from iqlearn.networks.distributions import ClippedGaussian, Limits
from iqlearn.networks.encoders import FlatEncoder
from iqlearn.networks.mlp import MLP, Network
from iqlearn.networks.soft_q import ContinuousSoftQ, SoftQ
from iqlearn.types import Obs, PRNGKey, Scalar, TaskSpec

NETWORK = Network((256, 256), "silu", layer_norm=True)
BATCH, WEIGHT_DECAY = 128, 1e-2
SPARE, LEAST_ROUND = 2_000, 50
"""Steps that `recommended` leaves after all rounds, and the fewest steps of a round that it suggests."""
LIMIT = 10.0
"""Changes of the state are clipped to this many standard deviations."""
LEAST = 1e-4
"""Smallest standard deviation that a change of the state is divided by."""


class Guess(NamedTuple):
    """Inferred actions of the expert, and what was learnt from them."""

    action: Float[Array, "n act"]
    """The inferred action of each expert transition."""
    actor: MLP
    """An actor that has cloned these actions."""
    others: dict[str, Any]
    """The state of the other extensions, prepared for these actions."""
    distance: Scalar
    """Occupancy distance between the states that the actor visited and the expert's. It reads no reward."""


@dataclass(frozen=True)
class ActionInference(Extension):
    """Infer the expert's actions online. In rounds, an inverse model is fitted to the learner's own transitions, it
    predicts the expert's actions, and an actor clones them. The best guess is kept: the one whose actor visits the
    states closest to the expert's. For runs with `state_only` and continuous actions.
    """

    steps: int = 10_000
    """Environment steps of all rounds, before the first update of the method."""
    rounds: int = 10
    """Number of rounds in these steps. The learner acts at random in the first round. Then it acts half of each round
    with the newest actor, to judge it, and half with samples of the best one."""
    updates: int = 5_000
    """Updates of the inverse model in each round."""
    clone_updates: int = 20_000
    """Updates of cloning in each round; 0 leaves it to the extension `cloning`."""

    name: ClassVar[str] = "action_inference"
    gives_actions: ClassVar[bool] = True
    empties_replay: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "steps", "rounds", "updates")
        require_not_negative(self, "clone_updates")
        wanted = f"2 to action_inference.steps, {self.steps}"
        require(2 <= self.rounds <= self.steps, "action_inference.rounds", self.rounds, wanted)

    @property
    def phase(self) -> int:
        """Environment steps of all rounds."""
        return self.steps

    @property
    def round_steps(self) -> int:
        """Environment steps of a round."""
        return self.steps // self.rounds

    def due(self, done: int) -> int:
        """Return the number of rounds that are over after `done` steps."""
        return min(done * self.rounds // self.steps, self.rounds)

    def check(self, algorithm: Any, online: bool, steps: int) -> None:
        """Refuse runs that read the expert's actions, have discrete actions, or do not act."""
        super().check(algorithm, online, steps)
        if algorithm.discrete or not (online and algorithm.state_only):
            raise InputError(
                f"Extension {self.name} infers continuous actions online, with state_only; expected a run without it."
            )

    @classmethod
    def suggest(
        cls, demos: Demos, task: TaskSpec, algorithm: Any, online: bool, steps: int
    ) -> tuple[Extension | None, str]:
        """Suggest the extension online with `state_only` and continuous actions, if there are enough steps.

        The extension `cloning` clones the inferred actions.
        """
        if not online or algorithm.discrete or not algorithm.state_only:
            return None, ""
        phase = cls.steps if steps >= cls.steps + SPARE else steps // 2
        if phase < LEAST_ROUND * cls.rounds:
            return None, f"no action_inference, because {steps:,} steps are too few"
        return cls(phase, clone_updates=0), "action_inference, because the expert's actions are not read"

    def begin(self, task: TaskSpec, algorithm: Any, state: TrainState, demos: Demonstrations, key: PRNGKey) -> Any:
        """Return the state before the first round, with placeholders for the guesses."""
        nothing = Guess(demos.transitions.rows.action, state.model.actor, state.aux, jnp.float32(np.inf))
        return {"newest": nothing, "best": nothing}

    def source(self, now: Now) -> Source:
        """Return the source with the expert's actions of the newest guess, or after the last round of the best one."""
        aux = now.state.aux[self.name]
        guess = aux["best" if self.due(now.done) == self.rounds else "newest"]
        return eqx.tree_at(lambda s: s.demos.transitions.rows.action, now.source, guess.action)

    def behaviour(self, aux: Any, model: SoftQ, done: int) -> Behaviour | None:
        """Act at random in the first round, then in turn with the newest and the best actor."""
        rounds = self.due(done)
        if rounds == self.rounds:
            return None
        if rounds == 0:
            return Behaviour(model, random=1.0)
        if done % self.round_steps < self.round_steps // 2:
            return Behaviour(model, deterministic=True)
        best = model if rounds < 2 else eqx.tree_at(lambda m: m.actor, model, aux["best"].actor)
        return Behaviour(best)

    def wakes(self, before: int, done: int, phase: int) -> bool:
        """Return whether a round of action inference has ended."""
        return self.due(before) < self.due(done)

    def after_round(self, now: Now) -> tuple[TrainState, Source, dict[str, float]]:
        """Judge the newest guess by its actor's states. Make the next guess or, after the last round, keep the best."""
        aux = now.state.aux[self.name]
        newest, best, figures = aux["newest"], aux["best"], {}
        if now.done >= 2 * self.round_steps:  # the actor of a guess has acted
            visited = now.source.replay.newest(self.round_steps).obs
            judged = jax.tree.map(lambda x: np.asarray(x)[self.round_steps // 2 :], visited)
            expert = ExpertStates(alone(now.demos.expert().obs), now.task.obs)
            distance = expert.distance(alone(judged))
            newest = newest._replace(distance=jnp.float32(distance))
            best = newest if distance < float(best.distance) else best
            figures["guess_distance"] = distance
        if self.due(now.done) < self.rounds:
            state, newest, error = self.guess(now)
            figures["inverse_error"] = error
        else:
            state = with_actor(replace(now.state, aux=now.state.aux | best.others), best.actor)
        state = replace(state, aux=state.aux | {self.name: {"newest": newest, "best": best}})
        return state, self.source(now._replace(state=state)), figures

    def guess(self, now: Now) -> tuple[TrainState, Guess, float]:
        """Infer the expert's actions anew.

        Returns:
            The state with an actor that has cloned the inferred actions, the guess, and the error of the inverse model.
        """
        init_key, fit_key, clone_key = jr.split(now.key, 3)
        known, met = now.demos.expert(), now.source.replay.newest(now.done)
        model = InverseModel(now.task, now.state.model, known.obs, known.next_obs, init_key)
        data = filled((model.features(met.obs, met.next_obs), model.actions.to_unit(met.action)), 2 * self.steps)
        limits = model.actions.unit_limits
        net, error = fit(_loss, model.net, (data, limits), fit_key, self.updates, hyperbolic, 1e-3, WEIGHT_DECAY)
        expert = now.demos.transitions.rows  # with the padding that makes several seeds equally long
        action = eqx.tree_at(lambda m: m.net, model, net)(expert.obs, expert.next_obs)
        demos = eqx.tree_at(lambda d: d.transitions.rows.action, now.demos, action)
        state = now.state
        if self.clone_updates > 0:
            inferred = demos.expert()
            state = with_actor(
                state, clone(state.model, inferred.obs, inferred.action, clone_key, self.clone_updates)[0]
            )
        state = now.prepare(state, demos)
        others = {name: part for name, part in state.aux.items() if name != self.name}
        return state, Guess(action, state.model.actor, others, jnp.float32(np.inf)), error


class InverseModel(eqx.Module):
    """a = g(s, s' − s) for continuous actions. Changes s' − s are divided by the standard deviation of the expert's."""

    net: MLP
    encoder: FlatEncoder
    change: Float[Array, " inputs"]
    actions: Any

    def __init__(self, task: TaskSpec, model: ContinuousSoftQ, obs: Obs, next_obs: Obs, key: PRNGKey) -> None:
        self.encoder, self.actions = model.encoder, model.actions
        self.change = jnp.maximum(jnp.std(self.encoder(next_obs) - self.encoder(obs), axis=0), LEAST)
        self.net = MLP(2 * self.encoder.size, len(task.bounds.low), NETWORK, key)

    def features(self, obs: Obs, next_obs: Obs) -> Float[Array, "n twice"]:
        """Return the encoded state and its scaled change, side by side."""
        before = self.encoder(obs)
        moved = jnp.clip((self.encoder(next_obs) - before) / self.change, -LIMIT, LIMIT)
        return jnp.concatenate([before, moved], axis=1)

    def __call__(self, obs: Obs, next_obs: Obs) -> Float[Array, "n act"]:
        """Return the action of each row, in the environment's units."""
        return self.actions.to_env(jnp.clip(self.net(self.features(obs, next_obs)), *self.actions.unit_limits))


def _loss(net: MLP, data: tuple[Buffer[Any], Limits], key: PRNGKey) -> Scalar:
    """Return E|a − g(s, s' − s)|² of scaled actions. For an action at a bound, outputs beyond it are no error."""
    (features, unit), limits = data[0].sample(key, BATCH), data[1]
    output = net(features)
    return jnp.mean(ClippedGaussian(output, jnp.zeros_like(output), limits).distance(unit))
