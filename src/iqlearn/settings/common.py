"""What the settings of several algorithms share."""

import typing
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
    "w1",
]
ValueTerm = Literal["initial", "expert_states", "expert", "mixture"]
Activation = Literal["relu", "tanh", "elu", "silu"]
TargetUpdate = Literal["auto", "none", "hard", "polyak"]
Form = Literal["auto", "least_squares", "inverse", "regressed"]
Squash = Literal["clip", "tanh"]
W1_PENALTY = 10.0
"""Weight of the gradient penalty that W1 has unless another is set (as Gulrajani et al., 2017)."""


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


def require_discount(gamma: float) -> None:
    require(0.0 <= gamma < 1.0, "gamma", gamma, "a number in [0, 1)")


def require_share(settings: object, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        require(0.0 < value <= 1.0, name, value, "a number in (0, 1]")


def require_choices(settings: object) -> None:
    """Every setting with named choices has one of them; on the command line nothing else gets this far."""
    for name, hint in typing.get_type_hints(type(settings)).items():
        if typing.get_origin(hint) is Literal:
            choices = typing.get_args(hint)
            require(getattr(settings, name) in choices, name, getattr(settings, name), f"one of {', '.join(choices)}")


@dataclass(frozen=True)
class Network:
    """The function approximator."""

    hidden: tuple[int, ...] = (64, 64)
    """Units of each hidden layer."""
    activation: Activation = "tanh"
    """Non-linearity between the layers."""
    layer_norm: bool = False
    """Normalise each hidden layer before its non-linearity."""
    spectral_norm: bool = False
    """Divide each weight matrix by its largest singular value where that exceeds 1: the network is 1-Lipschitz."""
    ensemble: int = 1
    """Networks trained side by side from different starts. Discrete actions: their mean is the function. Continuous
    ones: the least of the critics is the value."""

    def __post_init__(self) -> None:
        require_choices(self)
        object.__setattr__(self, "hidden", tuple(self.hidden))
        require(all(n > 0 for n in self.hidden), "network.hidden", self.hidden, "widths above 0")
        require_positive(self, "ensemble")
        bounded = not (self.spectral_norm and self.layer_norm)
        require(bounded, "network.spectral_norm", True, "layer_norm off beside it, which has no bound on its slope")


@dataclass(frozen=True)
class Objective:
    """The objective of inverse soft-Q learning, the same for discrete and continuous actions."""

    divergence: DivergenceName = "chi2_mixture"
    """Distance between expert and learner that the reward's regulariser stands for."""
    value_term: ValueTerm = "mixture"
    """Estimator of the learner's return: over initial states, expert states, expert transitions, or half of these and
    half of the learner's (without any of the learner's: the expert's). It changes nothing
    where `form` leads to squared Bellman errors, which hold it."""
    form: Form = "least_squares"
    """Of `chi2_mixture` with transitions of the learner: LS-IQ's squared Bellman error; the inverse-Bellman form
    that every other case has; or, with continuous actions, LS-IQ's reward first and Q from that (`Regression`), or
    what of these suits the demonstrations (`auto`)."""
    chi2_alpha: float = 0.5
    """α of χ²: the squared reward is penalised with weight 1/(4α)."""
    reward_bound: float = 1.0
    """Bound of the reward under `tv`."""
    gradient_penalty: float | None = None
    """Weight of the penalty on gradients of Q steeper than `lipschitz`, at random points between expert and learner
    (without any of the learner: between expert rows). By default 10 with `w1`, unless the network has `spectral_norm`;
    else 0."""
    lipschitz: float = 1.0
    """How much Q may change over one standard deviation of the data (with continuous actions, also over half of an
    action's range) before `gradient_penalty` counts it; with `network.spectral_norm` a bound."""
    state_only: bool = False
    """Imitate observations only: no action of the expert is read; a sample of the learner's policy stands in its
    place."""
    gamma: float = 0.99
    """Discount, in [0, 1)."""
    temperature: float = 0.01
    """Weight of the entropy in the soft value."""

    def __post_init__(self) -> None:
        require_choices(self)
        require_discount(self.gamma)
        require_positive(self, "chi2_alpha", "reward_bound", "temperature", "lipschitz")
        if self.gradient_penalty is not None:
            require_not_negative(self, "gradient_penalty")

    def penalty(self, network: Network) -> float:
        """The weight of the gradient penalty on Q, which that network stands for."""
        if self.gradient_penalty is not None:
            return self.gradient_penalty
        return W1_PENALTY if self.divergence == "w1" and not network.spectral_norm else 0.0

    def require_lipschitz(self, network: Network) -> None:
        """Refuse W1 without anything that bounds the slope of Q."""
        bounded = self.divergence != "w1" or network.spectral_norm or self.penalty(network) > 0.0
        require(bounded, "gradient_penalty", self.gradient_penalty, "above 0 with w1, unless network.spectral_norm")

    @property
    def bounded(self) -> bool:
        """Whether the divergence keeps rewards to ±r_max: χ² with its penalty on the mixture (LS-IQ, section 4), TV."""
        return self.divergence in ("chi2_mixture", "tv")

    @property
    def reward_limit(self) -> float:
        """r_max: 2α with χ² on the mixture (LS-IQ, section 4), the bound of TV. With the others rewards may pass 2α; it
        is what absorbing states pay, and what trust in a state is measured by."""
        return self.reward_bound if self.divergence == "tv" else 2.0 * self.chi2_alpha

    @property
    def value_bound(self) -> float:
        """Size of V of a state that pays ±r_max for ever, r_max/(1−γ): a bound of Q where rewards are `bounded`."""
        return self.reward_limit / (1.0 - self.gamma)
