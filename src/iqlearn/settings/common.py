"""What the settings of several algorithms share."""

from dataclasses import dataclass
from typing import Literal

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


def require_not_negative(settings: object, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        require(0 <= value < float("inf"), name, value, "a number of at least 0")


def require_share(settings: object, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        require(0.0 < value <= 1.0, name, value, "a number in (0, 1]")


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
    """Networks trained side by side from different starts. Discrete actions: their mean is the function. Continuous
    ones: the least of the critics is the value."""

    def __post_init__(self) -> None:
        require(all(n > 0 for n in self.hidden), "network.hidden", self.hidden, "widths above 0")
        require_positive(self, "ensemble")


@dataclass(frozen=True)
class Objective:
    """The objective of inverse soft-Q learning, the same for discrete and continuous actions."""

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

    def __post_init__(self) -> None:
        require(0.0 <= self.gamma < 1.0, "gamma", self.gamma, "a number in [0, 1)")
        require_positive(self, "chi2_alpha", "reward_bound", "temperature")

    @property
    def reward_limit(self) -> float:
        """r_max = 2α: the rewards that the χ² penalty on the mixture leads to lie in ±r_max (LS-IQ, section 4)."""
        return 2.0 * self.chi2_alpha

    @property
    def value_bound(self) -> float:
        """Bound of Q when rewards keep to ±r_max (LS-IQ, section 4): ±r_max/(1−γ)."""
        return self.reward_limit / (1.0 - self.gamma)
