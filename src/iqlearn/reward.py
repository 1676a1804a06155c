"""The recovered reward as a thing of its own: judge transitions with it, distil it, keep it in a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from iqlearn import records
from iqlearn.data import Demos, filled
from iqlearn.data.scale import NO_LIMIT, standard
from iqlearn.errors import InputError
from iqlearn.evaluation.rewards import in_blocks, recovered
from iqlearn.models import SoftQModel
from iqlearn.models.reward import RewardNet
from iqlearn.settings import Network
from iqlearn.training import Sample, distil
from iqlearn.types import ObservationScale, TaskSpec, Transitions

Kind = Literal["state", "state-action"]
NETWORK = Network(hidden=(128, 128), activation="relu", layer_norm=True)
"""What a distilled reward is."""
ENOUGH = 64
"""Transitions that a distillation needs at least."""


@dataclass(frozen=True)
class RecoveredReward:
    """r(s,a,s') = Q(s,a) − γ(1−d)·V(s'): the one reward whose soft-optimal policy is the learnt one.

    High is what the expert did. With the default χ² on the mixture it is about +r_max = 2α on the expert's transitions
    and −r_max on those that only the learner made, 1 and −1 by default.

    **Where an episode truly ends** (d = 1; a time limit is no end), V(s') is 0, as in every reinforcement-learning
    library. What the end was worth in training is then paid at once, as a part of Q: about −r_max/(1−γ) where the
    learner failed, +r_max/(1−γ) where the expert finished. So an agent that maximises the return of this reward is
    neither lured into ending an episode nor into dragging it on. `absorbing=True` asks for the last step's reward
    alone, which then goes on for ever in an absorbing state: r = Q − γr/(1−γ), so r = (1−γ)·Q.

    >>> run.reward(demos), run.reward(transitions, absorbing=True)
    >>> reward = run.reward.distil(demos.transitions, kind="state")
    """

    model: SoftQModel
    gamma: float
    ends_absorb: bool
    """Whether true ends led to absorbing states in training; without, `absorbing` changes nothing."""
    spec: TaskSpec

    def __call__(self, transitions: Transitions | Demos, absorbing: bool = False) -> Float[np.ndarray, " n"]:
        """The reward of each transition.

        Raises:
            InputError: demonstrations are of another task.
        """
        return recovered(self.model, self._of(transitions), self.gamma, absorbing and self.ends_absorb)

    def distil(
        self, transitions: Transitions | Demos, kind: Kind = "state-action", updates: int = 5_000, seed: int = 0
    ) -> DistilledReward:
        """A small network that tells the reward from s, or from s and a, alone.

        It is fitted by least squares to the reward of these transitions, so it is good where they are: take those of
        the expert together with others, random ones for instance. A state reward drops what depends on action and
        dynamics, which is what carries over to other dynamics (Fu et al., AIRL, 2018).

        Raises:
            InputError: there are fewer than 64 transitions, or they are of another task.
        """
        batch = self._of(transitions)
        return self.fit(batch, self(batch, absorbing=True), kind, updates, seed)

    def fit(
        self, batch: Transitions, told: Float[np.ndarray, " n"], kind: Kind, updates: int = 5_000, seed: int = 0
    ) -> DistilledReward:
        """`distil`, where it is known already what this reward has told of each transition (`absorbing=True`).

        Raises:
            InputError: there are fewer than 64 transitions.
        """
        if len(told) < ENOUGH:
            raise InputError(f"{len(told)} transitions to distil from; expected at least {ENOUGH}.")
        init_key, fit_key = jr.split(jr.key(seed))
        scale = standard(np.asarray(batch.obs))
        net = RewardNet(self.spec, NETWORK, scale, kind == "state-action", float(np.abs(told).max()), init_key)
        sample = Sample(Transitions(*map(jnp.asarray, batch)), jnp.asarray(told))
        worth = 1.0 / (1.0 - self.gamma) if self.ends_absorb else 1.0
        return DistilledReward(distil(net, filled(sample), fit_key, updates), self.spec, worth)

    def _of(self, transitions: Transitions | Demos) -> Transitions:
        if isinstance(transitions, Demos):
            transitions.check_task(self.spec, "the run")
            return transitions.transitions
        return transitions


@dataclass(frozen=True)
class DistilledReward:
    """A recovered reward that sees s, or s and a. At a true end it adds what follows, as `RecoveredReward` does.

    >>> reward.save("reward.safetensors"); DistilledReward.load("reward.safetensors")
    """

    net: RewardNet
    spec: TaskSpec
    end: float
    """How many times the last step's reward an end is worth: 1/(1−γ), as that reward goes on for ever."""

    @property
    def kind(self) -> Kind:
        """What it sees."""
        return "state-action" if self.net.of_action else "state"

    def __call__(self, transitions: Transitions | Demos, absorbing: bool = False) -> Float[np.ndarray, " n"]:
        """The reward of each transition; s' is not read. `absorbing`: without what follows a true end."""
        if isinstance(transitions, Demos):
            transitions.check_task(self.spec, "the reward")
            transitions = transitions.transitions
        step = in_blocks(lambda batch: _judge(self.net, batch.obs, batch.action), transitions)
        return step if absorbing else np.where(transitions.terminal, self.end * step, step)

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, the task in its header."""
        about = {"kind": self.kind, "end": self.end, "spec": records.spec_to_dict(self.spec)}
        records.write_tree(Path(path), self.net, about={"iqlearn": json.dumps(about)})

    @classmethod
    def load(cls, path: str | Path) -> DistilledReward:
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing, damaged, or something else.
        """
        path = Path(path)
        try:
            about = json.loads(records.read_about(path)["iqlearn"])
            spec, kind, end = records.spec_from_dict(about["spec"]), about["kind"], float(about["end"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path} is no distilled reward; expected one written by iqlearn reward --distil."
            ) from error
        like = jax.eval_shape(lambda: _blank(spec, kind == "state-action"))
        return cls(records.read_tree(path, like), spec, end)


@jax.jit
def _judge(net: RewardNet, obs: Array, action: Array) -> Float[Array, " n"]:
    return net(obs, action)


def _blank(spec: TaskSpec, of_action: bool) -> RewardNet:
    size = int(np.prod(spec.obs_shape))
    scale = ObservationScale(jnp.zeros(spec.obs_shape), jnp.ones(size), jnp.float32(NO_LIMIT))
    return RewardNet(spec, NETWORK, scale, of_action, 1.0, jr.key(0))
