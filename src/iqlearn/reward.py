"""The recovered reward as a thing of its own: judge transitions with it, distil it, keep it in a file."""

from __future__ import annotations

import json
import typing
from dataclasses import asdict, dataclass, replace
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
from iqlearn.evaluation.rewards import Ends, in_blocks, recovered
from iqlearn.models import SoftQModel
from iqlearn.models.reward import NETWORK, RewardNet
from iqlearn.training import Sample, Seen, distil, regressed
from iqlearn.types import ObservationScale, TaskSpec, Transitions

Kind = Literal["state", "state-action"]
ENOUGH = 64
"""Transitions that a distillation needs at least."""


@dataclass(frozen=True)
class RecoveredReward:
    """r(s,a,s') = Q(s,a) − γ(1−d)·V(s'): the one reward whose soft-optimal policy is the learnt one.

    High is what the expert did. With the default χ² on the mixture it is about +r_max = 2α on the expert's transitions
    and −r_max on those that only the learner made, 1 and −1 by default.

    **Where an episode truly ends** (d = 1; a time limit is no end), training had an absorbing state, worth
    −r_max/(1−γ) where the learner failed and +r_max/(1−γ) where the expert finished. To a reinforcement-learning
    library V(s') is 0 there, so all that follows is paid at once with the last step. An agent that maximises the
    return of this reward is then neither lured into ending an episode nor into dragging it on, if it discounts as
    training did; for another discount there is `at_discount`. `absorbing=True` asks for the last step's reward alone.

    Where no expert episode ended, an end is a failure: it pays −r_max, as every later step does, also where training
    never saw it. Else whose end it was is known by Q only: r = Q − γr/(1−γ), so r = (1−γ)·Q at an end.

    >>> run.reward(demos), run.reward(transitions, absorbing=True)
    >>> reward = run.reward.distil(demos.transitions, kind="state")
    """

    model: SoftQModel
    ends: Ends
    spec: TaskSpec
    limit: float = 1.0
    """r_max"""

    @property
    def gamma(self) -> float:
        """The discount that it was learnt with."""
        return self.ends.gamma

    def __call__(self, transitions: Transitions | Demos, absorbing: bool = False) -> Float[np.ndarray, " n"]:
        """The reward of each transition.

        Raises:
            InputError: demonstrations are of another task.
        """
        batch = self._of(transitions)
        steps = recovered(self.model, batch, self.ends)
        return steps if absorbing else self.ends.paid(steps, np.asarray(batch.terminal))

    def at_discount(self, gamma: float) -> RecoveredReward:
        """The same reward for an agent of another discount: what follows an end is paid at once, at that discount.

        Raises:
            InputError: `gamma` is not in [0, 1).
        """
        return replace(self, ends=at_discount(self.ends, gamma))

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
        check_kind(kind)
        if len(told) < ENOUGH:
            raise InputError(f"{len(told)} transitions to distil from; expected at least {ENOUGH}.")
        init_key, fit_key = jr.split(jr.key(seed))
        scale = standard(np.asarray(batch.obs))
        net = RewardNet(self.spec, NETWORK, scale, kind == "state-action", float(np.abs(told).max()), init_key)
        sample = Sample(Transitions(*map(jnp.asarray, batch)), jnp.asarray(told))
        return DistilledReward(distil(net, filled(sample), fit_key, updates), self.spec, self.ends)

    def refit(
        self,
        expert: Transitions | Demos,
        others: Transitions | Demos,
        kind: Kind = "state-action",
        updates: int = 20_000,
        seed: int = 0,
    ) -> DistilledReward:
        """A reward to train on: what the objective asks for with the policy fixed, of s, or of s and a, alone.

        Where the learner has come to act as the expert does, Q(s,a) − γV(s') tells the two apart by trifles, and what
        it says of the rest is a guess. So the learner's half of the mixture is replaced by what a newcomer will meet:
        `others`, say of a random policy and of the run's disturbed one, and states that nobody met. With the policy
        fixed there is one reward to every Q, and LS-IQ's loss (equation 12) is a regression of it: to +r_max on expert
        transitions, to −r_max on the others. Its slope between them is penalised, so that the reward rises all the way
        from the ones to the other. Q is not read; ends are paid as by the recovered reward.

        Raises:
            InputError: there is no transition of the expert, there are fewer than 64 of others, or they are of another
                task.
        """
        check_kind(kind)
        sides = self._of(expert), self._of(others)
        if len(sides[0].obs) < 1 or len(sides[1].obs) < ENOUGH:
            raise InputError(
                f"{len(sides[0].obs)} transitions of the expert and {len(sides[1].obs)} of others to refit between; "
                f"expected at least 1 and {ENOUGH}."
            )
        rng, (init_key, fit_key) = np.random.default_rng(seed), jr.split(jr.key(seed))
        of_expert, of_others = (Seen(jnp.asarray(side.obs), jnp.asarray(side.action)) for side in sides)
        net = RewardNet(self.spec, NETWORK, _unscaled(self.spec), kind == "state-action", self.limit, init_key)
        return DistilledReward(regressed(net, of_expert, of_others, rng, fit_key, updates), self.spec, self.ends)

    def _of(self, transitions: Transitions | Demos) -> Transitions:
        return of_task(transitions, self.spec, "the run")


@dataclass(frozen=True)
class DistilledReward:
    """A reward that sees s, or s and a, as `distil` or `refit` made it. At a true end it adds what follows, as
    `RecoveredReward` does.

    >>> reward.save("reward.safetensors"); DistilledReward.load("reward.safetensors")
    """

    net: RewardNet
    spec: TaskSpec
    ends: Ends

    @property
    def kind(self) -> Kind:
        """What it sees."""
        return "state-action" if self.net.of_action else "state"

    def __call__(self, transitions: Transitions | Demos, absorbing: bool = False) -> Float[np.ndarray, " n"]:
        """The reward of each transition; s' is not read. `absorbing`: without what follows a true end."""
        told = of_task(transitions, self.spec, "the reward")
        step = in_blocks(lambda batch: _judge(self.net, batch.obs, batch.action), told)
        return step if absorbing else self.ends.paid(step, np.asarray(told.terminal))

    def at_discount(self, gamma: float) -> DistilledReward:
        """As `RecoveredReward.at_discount`."""
        return replace(self, ends=at_discount(self.ends, gamma))

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, the task in its header."""
        about = {"kind": self.kind, "ends": asdict(self.ends), "spec": records.spec_to_dict(self.spec)}
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
            spec, kind, ends = records.spec_from_dict(about["spec"]), about["kind"], Ends(**about["ends"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path} is no distilled reward; expected one written by iqlearn reward --distil or --refit."
            ) from error
        like = jax.eval_shape(lambda: _blank(spec, kind == "state-action"))
        return cls(records.read_tree(path, like), spec, ends)


def of_task(transitions: Transitions | Demos, spec: TaskSpec, whose: str) -> Transitions:
    """The transitions, checked to be of that task.

    Raises:
        InputError: their shapes are others, or a discrete action is none of the task's.
    """
    if isinstance(transitions, Demos):
        transitions.check_task(spec, whose)
        return transitions.transitions
    n = len(transitions.obs) if np.ndim(transitions.obs) else 0
    act = (n,) if spec.discrete else (n, len(spec.bounds.low))
    shapes = (n, *spec.obs_shape), act, (n, *spec.obs_shape), (n,)
    for name, array, shape in zip(Transitions._fields, transitions, shapes, strict=True):
        if np.shape(array) != shape:
            raise InputError(f"Transitions: {name} has shape {np.shape(array)}; expected {shape}, as {whose} has.")
    if spec.discrete and n and not 0 <= np.min(transitions.action) <= np.max(transitions.action) < spec.choices:
        has = f"{np.min(transitions.action)} to {np.max(transitions.action)}"
        raise InputError(f"Transitions: actions are {has}; expected 0 to {spec.choices - 1}, as {whose} has.")
    return transitions


def check_kind(kind: str) -> None:
    """Raise `InputError` unless there is such a reward."""
    if kind not in typing.get_args(Kind):
        raise InputError(f"kind is {kind!r}; expected one of {', '.join(typing.get_args(Kind))}.")


def at_discount(ends: Ends, gamma: float) -> Ends:
    """The same ends, counted at another discount."""
    if not 0.0 <= gamma < 1.0:
        raise InputError(f"at_discount is {gamma}; expected a number in [0, 1), the discount of who is paid.")
    return replace(ends, discount=gamma)


@jax.jit
def _judge(net: RewardNet, obs: Array, action: Array) -> Float[Array, " n"]:
    return net(obs, action)


def _blank(spec: TaskSpec, of_action: bool) -> RewardNet:
    return RewardNet(spec, NETWORK, _unscaled(spec), of_action, 1.0, jr.key(0))


def _unscaled(spec: TaskSpec) -> ObservationScale:
    size = int(np.prod(spec.obs_shape))
    return ObservationScale(jnp.zeros(spec.obs_shape), jnp.ones(size), jnp.float32(NO_LIMIT))
