"""Base classes of algorithms and extensions, and the state that training changes.

An algorithm is a frozen dataclass: its fields are the settings, its methods are pure functions of them. Each algorithm
has one file, with its settings, its losses, `init` and `update`, and one line in `ALGORITHMS`.
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
    """Slow copies of networks, such as target networks; None where the algorithm has none."""
    opt_state: Any
    step: Int[Array, ""]
    """Number of updates done."""
    aux: dict[str, Any]
    """The state of each extension, by its name."""
    beside: Any = None
    """Other trained parts of the algorithm, such as a discriminator; None where the algorithm has none."""
    rate: Scalar = eqx.field(default_factory=lambda: jnp.ones(()))
    """Factor of the learning rates. It begins at 1; the guard lowers it when training returns to an earlier state."""


class Implied(NamedTuple):
    """The reward that a soft Q-function implies: r(s, a, s') = Q(s, a) − γV(s')."""

    model: SoftQ
    gamma: float
    limit: float
    """r_max"""
    absorbing: bool
    """Whether a true end leads to an absorbing state of value ±r_max/(1−γ)."""
    target: float
    """Size of what the loss fits: r_max, or r_max/(1−γ) where it is a squared Bellman error."""


@dataclass(frozen=True)
class Algorithm:
    """Settings that every algorithm has, and the pure functions of them that training calls."""

    batch_size: int = 32
    """Number of expert transitions in a minibatch and, where the learner acts, of learner transitions."""
    learning_rate: float = 3e-4
    """Learning rate of Adam."""
    weight_decay: float = 0.0
    """Decoupled decay of the weight matrices (AdamW), multiplied by the learning rate in each update."""
    scaling: Scaling = "none"
    """Scaling of observations: none, standard (each coordinate has mean 0 and standard deviation 1) or whiten (also
    removes correlations). The statistics are those of the demonstrations; for experts, those of 2,000 random steps."""
    saturation: float = 0.0
    """Scaled observations grow logarithmically beyond this many standard deviations on either side, or beyond twice the
    largest absolute value in the demonstrations where that is more; 0 leaves them as they are."""
    reason: str = field(default="", compare=False)
    """Why `recommended` chose these settings; empty where `recommended` was not used."""

    name: ClassVar[str]
    """Key in the registry and in `config.json`."""
    family: ClassVar[str]
    """Name on the command line, the same for discrete and continuous actions."""
    discrete: ClassVar[bool]
    """Whether it is for discrete actions."""
    acts: ClassVar[str] = "may"
    """Whether the algorithm acts while it learns: never (offline only), may, or must (online only)."""
    pretrains: ClassVar[bool] = False
    """Whether the algorithm's own `prepare` trains a policy, as `prepare` of an extension can."""
    hooks: ClassVar[tuple[str, ...]] = ()
    """Methods of extensions that the update calls. Two further names: `actor` where there is an actor that can begin as
    a clone, `critics` where the critics have a least value."""
    # Some algorithms have these as settings. For the others they have these values.
    state_only: ClassVar[bool] = False
    extensions: ClassVar[tuple[Extension, ...]] = ()

    def __post_init__(self) -> None:
        require_types(self)
        require_positive(self, "batch_size", "learning_rate")
        require_not_negative(self, "weight_decay", "saturation")

    def init(self, task: TaskSpec, encoder: FlatEncoder, key: PRNGKey) -> TrainState:
        """Return the state before the first update."""
        raise NotImplementedError

    def prepare(self, now: Now) -> TrainState:
        """Return the state before the first update, prepared from the demonstrations. Extensions prepare after it."""
        return now.state

    def update(self, state: TrainState, batch: Any, key: PRNGKey) -> tuple[TrainState, Metrics]:
        """Do one gradient step. Return the new state and the figures of the update.

        `batch` is a `Batch`, or a `Rewarded` for algorithms that read the reward.
        """
        raise NotImplementedError

    def policy(self, state: TrainState) -> SoftQ:
        """Return the model that acts, and that gives Q and V."""
        return state.model

    def reward(self, model: SoftQ) -> Implied | None:
        """Return the reward that the model implies; None where the algorithm learns no reward."""
        return None

    def check(self, learner_rows: bool) -> None:
        """Refuse settings without effect.

        Args:
            learner_rows: whether batches hold transitions of the learner.

        Raises:
            InputError: a setting has no effect.
        """

    @classmethod
    def recommended(cls, learner_rows: bool, given_reward: bool, **changes: Any) -> Algorithm:
        """Return the settings that worked best, with the given changes.

        Args:
            learner_rows: whether batches hold transitions of the learner.
            given_reward: whether an extension gives the reward.
        """
        return cls(**changes)


class Behaviour(NamedTuple):
    """How the learner acts for a number of steps."""

    model: SoftQ
    random: float = 0.0
    """Share of uniformly random actions."""
    deterministic: bool = False
    """Whether the other actions are the policy's most likely ones instead of samples."""


class Rows(NamedTuple):
    """The rows of a batch, the expert's first, as the loss of an actor reads them."""

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
    """The progress and the data of training, passed to algorithms and extensions."""

    task: TaskSpec
    algorithm: Any
    """The settings of the algorithm."""
    demos: Demonstrations
    """The demonstrations on the device."""
    state: TrainState
    source: Any
    """The `Source` that updates draw batches from."""
    key: PRNGKey
    """Random key of the extension at this step."""
    labelled: bool = True
    """Whether the expert's actions are known, either recorded or inferred."""
    done: int = 0
    """Number of environment steps done."""
    phase: int = 0
    """Number of environment steps that extensions need before the first update."""
    prepare: Callable[[TrainState, Demonstrations], TrainState] = lambda state, demos: state
    """Function that prepares the other extensions again for changed demonstrations, and returns the state."""
    tell: Callable[[str, float], object] = lambda text, share: None
    """Function that reports a long task and the share of it that is done, in [0, 1]."""


@dataclass(frozen=True)
class Extension:
    """An optional part of a method, with settings, hooks, and its own state in `TrainState.aux`.

    A concrete extension is final and overrides the hooks that it needs. It lives in one file with one registry line.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    """Hooks that the algorithm must call for the extension to have an effect."""
    empties_replay: ClassVar[bool] = False
    """Whether the replay is emptied when the phase ends."""
    gives_transitions: ClassVar[bool] = False
    """Whether the extension adds transitions of the learner to batches offline."""
    gives_actions: ClassVar[bool] = False
    """Whether the extension infers the actions of the expert's transitions."""
    suits: ClassVar[dict[str, Any]] = {}
    """Settings of the algorithm that `recommended` changes when the extension is used."""
    gives_reward: ClassVar[bool] = False
    """Whether the extension gives the reward that Q is learnt from."""

    def __post_init__(self) -> None:
        require_types(self)

    @property
    def phase(self) -> int:
        """Number of environment steps that the extension needs before the first update."""
        return 0

    @property
    def pretrains(self) -> bool:
        """Whether `prepare` trains a policy."""
        return False

    @property
    def guards(self) -> bool:
        """Whether the guard is on: training rolls back if the policy's states move away from the expert's."""
        return False

    @property
    def round_steps(self) -> int | None:
        """Number of environment steps in a round of the extension; None without rounds.

        It is at least the number of steps in a round of acting.
        """
        return None

    def check(self, algorithm: Any, online: bool, steps: int) -> None:
        """Refuse a run in which the extension has no effect.

        Raises:
            InputError: the extension has no effect.
        """
        missing = [hook for hook in self.needs if hook not in algorithm.hooks]
        if missing:
            which = f"{algorithm.name}{' with discrete actions' if algorithm.discrete else ''}"
            raise InputError(f"Extension {self.name} has no effect on {which}; expected a run without it.")

    @classmethod
    def suggest(
        cls, demos: Demos, task: TaskSpec, algorithm: Any, online: bool, steps: int
    ) -> tuple[Extension | None, str]:
        """Return the extension that `recommended` adds, or None where it would not help, and the reason as a clause."""
        return None, ""

    def begin(self, task: TaskSpec, algorithm: Any, state: TrainState, demos: Demonstrations, key: PRNGKey) -> Any:
        """Return the state of the extension before `prepare`. Its arrays have their final shapes."""
        return ()

    def source(self, now: Now) -> Source:
        """Return the source that updates draw from. Called at the start of a run and when it is resumed."""
        return now.source

    def prepare(self, now: Now) -> TrainState:
        """Return the state before the first update, prepared from the demonstrations."""
        return now.state

    def behaviour(self, aux: Any, model: SoftQ, done: int) -> Behaviour | None:
        """Return how to act after `done` environment steps; None leaves it to the next extension or the algorithm."""
        return None

    def actor_loss(self, aux: Any, rows: Rows) -> tuple[Scalar, Metrics]:
        """Return an additional term of the actor's loss, and figures."""
        raise NotImplementedError

    def reward(self, aux: Any, rows: Transitions) -> Float[Array, " n"]:
        """Return the reward of transitions. Q is learnt from it instead of from the objective."""
        raise NotImplementedError

    def wakes(self, before: int, done: int, phase: int) -> bool:
        """Whether `after_round` is called after the environment steps from `before` to `done`."""
        return False

    def after_round(self, now: Now) -> tuple[TrainState, Source, dict[str, float]]:
        """Return the state and the source after a round of acting, and figures for `metrics.csv`."""
        return now.state, now.source, {}


def reward_extension(extensions: tuple[Extension, ...]) -> Extension | None:
    """Return the extension that gives the reward, or None."""
    return next((extension for extension in extensions if extension.gives_reward), None)
