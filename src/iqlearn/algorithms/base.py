"""What the loop asks of an algorithm and of an extension, and the record that training changes.

An algorithm is a frozen dataclass: its fields are the settings, its methods are pure functions of them. Each algorithm
is one file, with its settings, its losses, `init` and `update`, and one line in `ALGORITHMS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from iqlearn.data.demos import Demos
from iqlearn.data.sources import Demonstrations, Source
from iqlearn.errors import InputError, require_not_negative, require_positive, require_types
from iqlearn.networks.distributions import ActionDistribution
from iqlearn.networks.encoders import FlatEncoder, Scaling
from iqlearn.networks.soft_q import SoftQ
from iqlearn.types import Metrics, PRNGKey, Scalar, TaskSpec, Transitions


class TrainState(eqx.Module):
    """Everything that updates change."""

    model: Any
    """The networks that are differentiated."""
    target: Any
    """Slow copies of networks, as the algorithm needs them; none without."""
    opt_state: Any
    step: Int[Array, ""]
    """Updates done."""
    aux: dict[str, Any]
    """The state of each extension, by its name."""
    beside: Any = None
    """Networks beside the model that the algorithm learns with, such as a discriminator; none without."""
    rate: Scalar = eqx.field(default_factory=lambda: jnp.ones(()))
    """Share of the learning rates that the guard has left."""


class Implied(NamedTuple):
    """The reward that a soft Q-function implies: r(s, a, s') = Q(s, a) − γV(s')."""

    model: SoftQ
    gamma: float
    limit: float
    """r_max"""
    absorbing: bool
    """Whether a true end leads to an absorbing state of value ±r_max/(1−γ)."""


@dataclass(frozen=True)
class Algorithm:
    """Settings of an algorithm, and the pure functions of them that training calls. These settings every one has."""

    batch_size: int = 32
    """Size of a minibatch: so many expert transitions and, where the learner acts, as many of its own."""
    learning_rate: float = 3e-4
    """Learning rate of Adam."""
    weight_decay: float = 0.0
    """Decoupled decay of the weight matrices in each update, times the learning rate."""
    scaling: Scaling = "none"
    """Scaling of observations: none, standard (mean 0 and standard deviation 1 of each coordinate) or whiten (without
    correlations too). Statistics are those of the demonstrations; of experts, those of 2,000 random steps."""
    saturation: float = 0.0
    """Scaled observations grow logarithmically beyond this many standard deviations on either side, or beyond twice the
    largest one in the demonstrations where that is more; 0 leaves them as they are."""
    reason: str = field(default="", compare=False)
    """Why `recommended` chose these settings; empty where it did not."""

    name: ClassVar[str]
    """Key in the registry and in `config.json`."""
    family: ClassVar[str]
    """Name on the command line, the same for discrete and continuous actions."""
    discrete: ClassVar[bool]
    """Whether it is for discrete actions."""
    acts: ClassVar[str] = "may"
    """Whether it acts while it learns: never (offline only), may, or must (online only)."""
    pretrains: ClassVar[bool] = False
    """Whether its own `prepare` makes a policy, as that of an extension may."""
    hooks: ClassVar[tuple[str, ...]] = ()
    """Methods of extensions that its update calls; `actor` where it has an actor that may begin as a clone, `critics`
    where its critics have a least value."""
    # Settings of some algorithms, and what they are for the others.
    state_only: ClassVar[bool] = False
    extensions: ClassVar[tuple[Extension, ...]] = ()

    def __post_init__(self) -> None:
        require_types(self)
        require_positive(self, "batch_size", "learning_rate")
        require_not_negative(self, "weight_decay", "saturation")

    def init(self, task: TaskSpec, encoder: FlatEncoder, key: PRNGKey) -> TrainState:
        """The state before the first update."""
        raise NotImplementedError

    def prepare(self, now: Now) -> TrainState:
        """The state before the first update, made from the demonstrations. Extensions prepare after it."""
        return now.state

    def update(self, state: TrainState, batch: Any, key: PRNGKey) -> tuple[TrainState, Metrics]:
        """One gradient step. `batch` is a `Batch`, or `Rewarded` for algorithms that read the reward."""
        raise NotImplementedError

    def policy(self, state: TrainState) -> SoftQ:
        """The model that acts and judges."""
        return state.model

    def reward(self, model: SoftQ) -> Implied | None:
        """The reward that the model implies; none where the algorithm learns none."""
        return None

    def check(self, learner_rows: bool) -> None:
        """Refuse settings without effect. `learner_rows`: whether batches hold transitions of the learner.

        Raises:
            InputError: a setting has no effect.
        """

    @classmethod
    def recommended(cls, learner_rows: bool, given_reward: bool, **changes: Any) -> Algorithm:
        """The settings that worked best, with these changes.

        Args:
            learner_rows: whether batches hold transitions of the learner.
            given_reward: whether an extension gives the reward.
        """
        return cls(**changes)


class Behaviour(NamedTuple):
    """How the learner acts for some steps."""

    model: SoftQ
    random: float = 0.0
    """Share of uniformly random actions."""
    deterministic: bool = False
    """The policy's most likely action instead of a sample."""


class Rows(NamedTuple):
    """What an actor's loss reads: the rows of a batch, the expert's first."""

    policy: ActionDistribution
    """π(·|s) of each row."""
    inputs: Float[Array, "n inputs"]
    """Encoded observations."""
    unit: Float[Array, "n act"]
    """The recorded actions, in the networks' units."""
    experts: int
    """Number of the expert's rows."""
    trust: Float[Array, " n"]
    """1 + r/r_max of each row, clipped to [0, 1]: 0 where r ≤ −r_max, 1 where r ≥ 0."""


class Now(NamedTuple):
    """Where training stands, for extensions."""

    task: TaskSpec
    algorithm: Any
    """The settings of the algorithm."""
    demos: Demonstrations
    """The demonstrations on the device."""
    state: TrainState
    source: Any
    """What updates draw batches from, a `Source`."""
    key: PRNGKey
    """The extension's own stream of random numbers at this step."""
    labelled: bool = True
    """Whether the demonstrations have the expert's actions."""
    done: int = 0
    """Environment steps done."""
    phase: int = 0
    """Environment steps before the first update that extensions asked for."""
    prepare: Callable[[TrainState, Demonstrations], TrainState] = lambda state, demos: state
    """Prepares the other extensions again, for demonstrations that changed."""
    tell: Callable[[str, float], object] = lambda text, share: None
    """Says what takes long, and what share of it is done."""


@dataclass(frozen=True)
class Extension:
    """An optional part of a method: settings, hooks, and a state of its own in `TrainState.aux`.

    A concrete extension is final and overrides the hooks that it needs. It lives in one file with one registry line.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    """Hooks that the algorithm must call for the extension to have an effect."""
    empties_replay: ClassVar[bool] = False
    """Whether transitions of the phase are dropped when it ends."""
    gives_transitions: ClassVar[bool] = False
    """Whether it gives batches transitions of the learner offline."""
    gives_actions: ClassVar[bool] = False
    """Whether it gives the expert's transitions actions, where these were not recorded."""
    suits: ClassVar[dict[str, Any]] = {}
    """Settings of the algorithm that `recommended` changes with it."""
    gives_reward: ClassVar[bool] = False
    """Whether it gives the reward that Q is learnt from."""

    def __post_init__(self) -> None:
        require_types(self)

    @property
    def phase(self) -> int:
        """Environment steps before the first update that belong to the extension."""
        return 0

    @property
    def pretrains(self) -> bool:
        """Whether `prepare` makes a policy. Training is guarded against ending worse than that policy."""
        return False

    @property
    def guards(self) -> bool:
        """Whether training is guarded from the first policy on whose states are alike the expert's."""
        return False

    @property
    def round_steps(self) -> int | None:
        """Environment steps of a round of the extension, at least those of a round of acting; none without rounds."""
        return None

    def check(self, algorithm: Any, online: bool, steps: int) -> None:
        """Refuse a run in which the extension has no effect.

        Raises:
            InputError: the extension has no effect.
        """
        missing = [hook for hook in self.needs if hook not in algorithm.hooks]
        if missing:
            raise InputError(f"Extension {self.name} has no effect on {algorithm.name}; expected a run without it.")

    @classmethod
    def suggest(
        cls, demos: Demos, task: TaskSpec, algorithm: Any, online: bool, steps: int
    ) -> tuple[Extension | None, str]:
        """The extension as `recommended` adds it, or none where it would not help, and a clause that says why."""
        return None, ""

    def begin(self, task: TaskSpec, algorithm: Any, state: TrainState, demos: Demonstrations, key: PRNGKey) -> Any:
        """The extension's state, in its final shapes, before `prepare`."""
        return ()

    def source(self, now: Now) -> Source:
        """What updates draw from, at the start and when a run is resumed."""
        return now.source

    def prepare(self, now: Now) -> TrainState:
        """The state before the first update, made from the demonstrations."""
        return now.state

    def behaviour(self, aux: Any, model: SoftQ, done: int) -> Behaviour | None:
        """How to act after `done` environment steps; none leaves it to others."""
        return None

    def actor_loss(self, aux: Any, rows: Rows) -> tuple[Scalar, Metrics]:
        """A further term of the actor's loss, with its figures."""
        raise NotImplementedError

    def reward(self, aux: Any, rows: Transitions) -> Float[Array, " n"]:
        """The reward of transitions that Q is learnt from, instead of the implied one."""
        raise NotImplementedError

    def wakes(self, before: int, done: int, phase: int) -> bool:
        """Whether `after_round` is called after the environment steps from `before` to `done`."""
        return False

    def after_round(self, now: Now) -> tuple[TrainState, Source, dict[str, float]]:
        """The state and the source after a round of acting, with figures for `metrics.csv`."""
        return now.state, now.source, {}


def reward_extension(extensions: tuple[Extension, ...]) -> Extension | None:
    """The extension that gives the reward, if one does."""
    return next((extension for extension in extensions if extension.gives_reward), None)
