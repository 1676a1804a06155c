"""Settings of every actor and its critics, of the baseline that clones and of the learner that makes experts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from iqlearn.settings.common import (
    Network,
    Squash,
    require_choices,
    require_discount,
    require_not_negative,
    require_positive,
    require_share,
)


def critic_network() -> Network:
    return Network(hidden=(256, 256), activation="relu", layer_norm=True, ensemble=2)


def actor_network() -> Network:
    return Network(hidden=(256, 256), activation="relu")


def smooth_critic() -> Network:
    return Network(hidden=(256, 256), activation="silu", layer_norm=True, ensemble=2)


def smooth_actor() -> Network:
    return Network(hidden=(256, 256), activation="silu")


@dataclass(frozen=True)
class ActorCritic:
    """How a critic and its actor descend."""

    batch_size: int = 128
    """Transitions an update; of an imitator: of the expert, and as many of the learner."""
    learning_rate: float = 3e-4
    """Step size of Adam for the critics."""
    actor_learning_rate: float = 3e-4
    """Step size of Adam for the actor."""
    weight_decay: float = 0.0
    """Decoupled decay of the weight matrices an update, times the learning rate."""
    settle_after: int = 0
    """Updates after which both step sizes fall as 1/updates, so that the policy settles; 0: they never fall."""
    target_rate: float = 0.005
    """Share of the new weights in the Polyak target of the critics, each update."""
    average_rate: float = 0.005
    """Share of the new weights in the averaged actor, each update: the policy that is evaluated and kept."""
    learn_temperature: bool = False
    """Adapt the temperature so that the actor's entropy meets `target_entropy`; `temperature` is its start."""
    target_entropy: float = -1.0
    """Entropy a dimension of the action (scaled to [-1, 1]) that a learnt temperature aims at."""
    network: Network = field(default_factory=critic_network)
    """The critics."""
    actor: Network = field(default_factory=actor_network)
    """The actor."""
    squash: Squash = "tanh"
    """How the actor's Gaussian is brought into the bounds of the actions."""

    def __post_init__(self) -> None:
        require_choices(self)
        require_share(self, "target_rate", "average_rate")
        require_not_negative(self, "weight_decay", "settle_after")
        require_positive(self, "batch_size", "learning_rate", "actor_learning_rate")


@dataclass(frozen=True)
class BCContinuous:
    """Behavioural cloning of continuous actions: regression, with weight decay. The baseline."""

    name: ClassVar[str] = "bc-continuous"

    batch_size: int = 128
    """Expert transitions an update."""
    learning_rate: float = 1e-3
    """Step size of Adam."""
    weight_decay: float = 1e-2
    """Decoupled decay of the weight matrices an update, times the learning rate."""
    settle_after: int = 1_000
    """Updates after which the step size falls as 1/updates, so that the fit becomes exact; 0: it never falls."""
    actor: Network = field(default_factory=smooth_actor)
    """The policy network."""
    squash: Squash = "clip"
    """How the policy's Gaussian is brought into the bounds of the actions."""

    def __post_init__(self) -> None:
        require_choices(self)
        require_not_negative(self, "weight_decay", "settle_after")
        require_positive(self, "batch_size", "learning_rate")


@dataclass(frozen=True)
class SAC(ActorCritic):
    """Soft actor-critic on the environment's own reward: makes experts, imitates nobody."""

    name: ClassVar[str] = "sac"

    gamma: float = 0.99
    """Discount, in [0, 1)."""
    temperature: float = 0.2
    """Weight of the entropy in the soft value."""
    learn_temperature: bool = True
    """Adapt the temperature so that the actor's entropy meets `target_entropy`; `temperature` is its start."""
    batch_size: int = 256
    """Transitions an update."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_discount(self.gamma)
        require_positive(self, "temperature")
