"""Settings for discrete actions."""

from dataclasses import dataclass, field
from typing import ClassVar

from iqlearn.settings.common import (
    Network,
    Objective,
    TargetUpdate,
    require,
    require_discount,
    require_not_negative,
    require_positive,
    require_share,
)


@dataclass(frozen=True)
class Imagination:
    """Offline, the learner acts in a linear model of the dynamics, fitted to s', where that model is good enough."""

    error_limit: float = 0.1
    """Use the model if its leave-one-out error is below this share of a step; 0 turns it off."""
    particles: int = 64
    """Imagined learners side by side."""
    horizon: int = 50
    """Mean number of steps before a particle starts again."""
    start_noise: float = 3.0
    """Spread of the starts around expert states, in whitened standard deviations."""
    expert_noise: float = 0.3
    """Spread of the expert's states in a batch, s' moved along as the model says."""
    exploration: float = 0.05
    """Share of uniformly random actions."""

    def __post_init__(self) -> None:
        require_not_negative(self, "error_limit", "start_noise", "expert_noise")
        require(0.0 <= self.exploration <= 1.0, "imagination.exploration", self.exploration, "a number in [0, 1]")
        require_positive(self, "particles", "horizon")


@dataclass(frozen=True)
class IQLearn(Objective):
    """Inverse soft-Q learning (Garg et al., NeurIPS 2021): one soft Q-function is both policy and reward."""

    name: ClassVar[str] = "iq"

    batch_size: int = 32
    """Expert transitions an update."""
    learning_rate: float = 1e-3
    """Step size of Adam."""
    weight_decay: float = 0.1
    """Decoupled decay of the weight matrices an update, times the learning rate."""
    target_update: TargetUpdate = "auto"
    """Where V(s') comes from: the network itself, or a copy refreshed at once (`hard`) or by averaging (`polyak`);
    `auto` averages where the learner acts, and takes the network itself where there are expert transitions only."""
    target_period: int = 100
    """Updates between two refreshes of a hard target."""
    target_rate: float = 0.01
    """Share of the new weights in a Polyak target, each update."""
    next_value_gradient: bool = True
    """Whether the gradient flows through V(s'), which it can without a target network only."""
    imagination: Imagination = field(default_factory=Imagination)
    """The model of the dynamics."""
    network: Network = field(default_factory=Network)
    """The Q-network."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_lipschitz(self.network)
        alike = self.form in ("least_squares", "inverse")
        require(alike, "form", self.form, "least_squares or inverse with discrete actions")
        require_share(self, "target_rate")
        require_not_negative(self, "weight_decay")
        require_positive(self, "batch_size", "learning_rate", "target_period")


@dataclass(frozen=True)
class BC:
    """Behavioural cloning: maximum likelihood of the expert's actions, with weight decay. The baseline."""

    name: ClassVar[str] = "bc"

    batch_size: int = 32
    """Expert transitions an update."""
    learning_rate: float = 1e-3
    """Step size of Adam."""
    weight_decay: float = 1.0
    """Decoupled decay of the weight matrices an update, times the learning rate."""
    network: Network = field(default_factory=Network)
    """The policy network (its outputs are the logits)."""

    def __post_init__(self) -> None:
        require_not_negative(self, "weight_decay")
        require_positive(self, "batch_size", "learning_rate")


@dataclass(frozen=True)
class SoftQ:
    """Soft Q-learning on the environment's own reward: makes experts, imitates nobody."""

    name: ClassVar[str] = "softq"

    gamma: float = 0.99
    """Discount, in [0, 1)."""
    temperature: float = 0.05
    """Weight of the entropy in the soft value."""
    batch_size: int = 128
    """Transitions an update."""
    learning_rate: float = 1e-3
    """Step size of Adam."""
    weight_decay: float = 0.0
    """Decoupled decay of the weight matrices an update, times the learning rate."""
    target_rate: float = 0.01
    """Share of the new weights in the Polyak target, each update."""
    network: Network = field(default_factory=Network)
    """The Q-network."""

    def __post_init__(self) -> None:
        require_discount(self.gamma)
        require_share(self, "target_rate")
        require_not_negative(self, "weight_decay")
        require_positive(self, "temperature", "batch_size", "learning_rate")
