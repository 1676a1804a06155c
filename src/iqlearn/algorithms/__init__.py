"""The registry of algorithms. Each algorithm has one file and one line here. No other module lists them."""

from typing import Any

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
