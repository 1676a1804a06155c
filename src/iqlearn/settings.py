"""Every setting of every algorithm: frozen dataclasses, the same in Python, on the command line and in `config.json`.

This module imports nothing heavy, so that `iqlearn --help` answers at once. The string below a field is its help text.
"""

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, Literal

from iqlearn.errors import InputError

DivergenceName = Literal[
    "chi2",
    "chi2_mixture",
    "tv",
    "forward_kl",
    "unbiased_kl",
    "donsker_varadhan",
    "reverse_kl",
    "hellinger",
    "jensen_shannon",
]
ValueTerm = Literal["initial", "expert_states", "expert", "mixture"]
Activation = Literal["relu", "tanh", "elu", "silu"]
TargetUpdate = Literal["auto", "none", "hard", "polyak"]
Form = Literal["least_squares", "inverse"]


def require(holds: bool, setting: str, value: object, expected: str) -> None:
    """Raise `InputError` naming the setting, its value and what was expected unless `holds`."""
    if not holds:
        raise InputError(f"Setting {setting} is {value!r}; expected {expected}.")


def require_positive(settings: object, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        require(0 < value < float("inf"), name, value, "a finite number above 0")


@dataclass(frozen=True)
class Network:
    """The function approximator."""

    hidden: tuple[int, ...] = (64, 64)
    """Units of each hidden layer."""
    activation: Activation = "tanh"
    """Non-linearity between the layers."""
    layer_norm: bool = False
    """Normalise each hidden layer before its non-linearity."""
    ensemble: int = 1
    """Networks trained side by side from different starts; their mean is the function."""

    def __post_init__(self) -> None:
        require(all(n > 0 for n in self.hidden), "network.hidden", self.hidden, "widths above 0")
        require_positive(self, "ensemble")


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
        for name in ("error_limit", "start_noise", "expert_noise"):
            value = getattr(self, name)
            require(0.0 <= value < float("inf"), f"imagination.{name}", value, "a number of at least 0")
        require(0.0 <= self.exploration <= 1.0, "imagination.exploration", self.exploration, "a number in [0, 1]")
        require_positive(self, "particles", "horizon")


@dataclass(frozen=True)
class IQLearn:
    """Inverse soft-Q learning (Garg et al., NeurIPS 2021): one soft Q-function is both policy and reward."""

    name: ClassVar[str] = "iq"

    divergence: DivergenceName = "chi2_mixture"
    """Distance between expert and learner that the reward's regulariser stands for."""
    value_term: ValueTerm = "mixture"
    """Estimator of the learner's return: over initial states, expert states, expert transitions, or half of these and
    half of the learner's (without any of the learner's: the expert's)."""
    form: Form = "least_squares"
    """Of `chi2_mixture` with transitions of the learner: LS-IQ's squared Bellman error, or the inverse-Bellman form
    that every other case has."""
    chi2_alpha: float = 0.5
    """α of χ²: the squared reward is penalised with weight 1/(4α)."""
    reward_bound: float = 1.0
    """Bound of the reward under `tv`."""
    gamma: float = 0.99
    """Discount, in [0, 1)."""
    temperature: float = 0.01
    """Weight of the entropy in the soft value."""
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
        require(0.0 <= self.gamma < 1.0, "gamma", self.gamma, "a number in [0, 1)")
        require(0.0 < self.target_rate <= 1.0, "target_rate", self.target_rate, "a number in (0, 1]")
        require(0.0 <= self.weight_decay < float("inf"), "weight_decay", self.weight_decay, "a number of at least 0")
        require_positive(
            self, "chi2_alpha", "reward_bound", "temperature", "batch_size", "learning_rate", "target_period"
        )

    @property
    def reward_limit(self) -> float:
        """r_max = 2α: the rewards that the χ² penalty on the mixture leads to lie in ±r_max (LS-IQ, section 4)."""
        return 2.0 * self.chi2_alpha


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
        require(0.0 <= self.weight_decay < float("inf"), "weight_decay", self.weight_decay, "a number of at least 0")
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
        require(0.0 <= self.gamma < 1.0, "gamma", self.gamma, "a number in [0, 1)")
        require(0.0 < self.target_rate <= 1.0, "target_rate", self.target_rate, "a number in (0, 1]")
        require(0.0 <= self.weight_decay < float("inf"), "weight_decay", self.weight_decay, "a number of at least 0")
        require_positive(self, "temperature", "batch_size", "learning_rate")


Settings = IQLearn | BC | SoftQ


def to_dict(settings: Any) -> dict[str, Any]:
    """Settings as plain JSON values, the algorithm's name first."""
    plain = {f.name: getattr(settings, f.name) for f in fields(settings)}
    plain = {key: to_dict(value) if is_dataclass(value) else value for key, value in plain.items()}
    return {"algorithm": settings.name, **plain} if hasattr(settings, "name") else plain


def from_dict(plain: dict[str, Any]) -> Settings:
    """The settings that `to_dict` wrote.

    Raises:
        InputError: an unknown algorithm or setting, or a value out of range.
    """
    kinds: dict[str, type[Settings]] = {kind.name: kind for kind in (IQLearn, BC, SoftQ)}
    rest = dict(plain)
    name = rest.pop("algorithm", None)
    if name not in kinds:
        raise InputError(f"Algorithm {name!r} is unknown; expected one of {', '.join(kinds)}.")
    known = {f.name for f in fields(kinds[name])}
    for setting in rest:
        require(setting in known, setting, rest[setting], f"a setting that {name} has")
    network = dict(rest.pop("network"))
    nested: dict[str, Any] = {"network": Network(**{**network, "hidden": tuple(network["hidden"])})}
    if "imagination" in rest:
        nested["imagination"] = Imagination(**rest.pop("imagination"))
    return kinds[name](**nested, **rest)


@dataclass(frozen=True)
class Schedule:
    """How long to train, and how often to look."""

    steps: int = 10_000
    """Updates in all."""
    evaluations: int = 10
    """Evaluations on the way, evenly spread; the last one is of the final policy."""
    eval_episodes: int = 20
    """Episodes an evaluation."""
    sampled: bool = False
    """Play samples of the soft policy instead of its most likely actions: it does not get stuck in a loop."""
    seed: int = 0
    """Root of all randomness: choice of trajectories, initial weights, batches, evaluation episodes."""

    def __post_init__(self) -> None:
        require_positive(self, "steps", "evaluations", "eval_episodes")
        require(self.seed >= 0, "seed", self.seed, "a number of at least 0")

    @property
    def chunk(self) -> int:
        """Updates between two evaluations."""
        return -(-self.steps // self.evaluations)
