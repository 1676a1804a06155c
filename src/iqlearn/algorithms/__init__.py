"""The registry of algorithms. Each algorithm has one file and one line here. No other module lists them."""

from typing import Any

from iqlearn.algorithms.base import Algorithm
from iqlearn.algorithms.bc import BC, BCContinuous
from iqlearn.algorithms.csil import CSIL
from iqlearn.algorithms.dac import DAC, DACContinuous
from iqlearn.algorithms.iq_continuous import IQLearnContinuous
from iqlearn.algorithms.iq_discrete import IQLearn
from iqlearn.algorithms.sac import SAC
from iqlearn.algorithms.soft_q import SoftQLearning
from iqlearn.algorithms.sqil import SQIL, SQILContinuous
from iqlearn.algorithms.value_dice import ValueDICE
from iqlearn.errors import InputError

ALGORITHMS: dict[str, Any] = {
    kind.name: kind
    for kind in (
        IQLearn,
        IQLearnContinuous,
        BC,
        BCContinuous,
        SQIL,
        SQILContinuous,
        DAC,
        DACContinuous,
        ValueDICE,
        CSIL,
        SoftQLearning,
        SAC,
    )
}
"""The settings class of each algorithm, by its name."""
EXPERT = "expert"
"""Family of the algorithms that learn from the environment's reward."""


def imitators() -> tuple[str, ...]:
    """Return the families of the algorithms that learn from demonstrations."""
    return tuple(dict.fromkeys(kind.family for kind in ALGORITHMS.values() if kind.family != EXPERT))


def of(family: str, discrete: bool) -> Any:
    """Return the settings class of a family for discrete or continuous actions.

    Raises:
        InputError: the family has no algorithm for these actions.
    """
    for kind in ALGORITHMS.values():
        if (kind.family, kind.discrete) == (family, discrete):
            return kind
    actions = "discrete" if discrete else "continuous"
    families = ", ".join(
        kind.family for kind in ALGORITHMS.values() if kind.discrete == discrete and kind.family != EXPERT
    )
    raise InputError(f"No algorithm {family!r} for {actions} actions; expected one of {families}.")


def require(settings: Any, expert: bool) -> None:
    """Check that the settings are those of an algorithm that learns from rewards (`expert`) or from demonstrations.

    Raises:
        InputError: they are not.
    """
    wanted = "iq.SoftQLearning() or iq.SAC()" if expert else "an algorithm that imitates, such as iq.IQLearn()"
    if isinstance(settings, type):
        raise InputError(f"settings is the class {settings.__name__}; expected an object, iq.{settings.__name__}().")
    if not isinstance(settings, Algorithm):
        raise InputError(f"settings is {settings!r}; expected {wanted}.")
    if (settings.family == EXPERT) != expert:
        source, call = ("demonstrations", "learn") if expert else ("rewards", "train_expert")
        told = f"settings is {type(settings).__name__}, which learns from {source}"
        raise InputError(f"{told}; expected {wanted}, or call iq.{call}.")


__all__ = [
    "BC",
    "CSIL",
    "DAC",
    "SAC",
    "SQIL",
    "BCContinuous",
    "DACContinuous",
    "IQLearn",
    "IQLearnContinuous",
    "SQILContinuous",
    "SoftQLearning",
    "ValueDICE",
]
