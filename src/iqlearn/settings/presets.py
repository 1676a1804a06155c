"""Which settings belong to which task, and whether learning acts in the environment. The rules of the command line."""

from typing import Literal

from iqlearn.errors import InputError
from iqlearn.settings.common import require
from iqlearn.settings.continuous import SAC, BCContinuous, IQLearnContinuous
from iqlearn.settings.discrete import BC, IQLearn, SoftQ
from iqlearn.settings.schedule import Interaction

Imitator = IQLearn | BC | IQLearnContinuous | BCContinuous
Expert = SoftQ | SAC
Role = Literal["iq", "bc", "expert"]

KINDS: dict[tuple[Role, bool], type[Imitator | Expert]] = {
    ("iq", True): IQLearn,
    ("iq", False): IQLearnContinuous,
    ("bc", True): BC,
    ("bc", False): BCContinuous,
    ("expert", True): SoftQ,
    ("expert", False): SAC,
}
"""The settings of each algorithm, for discrete actions and for continuous ones."""


def check(settings: Imitator | Expert, discrete: bool, interaction: Interaction | None) -> None:
    """Whether an algorithm can do a task.

    Raises:
        InputError: it is for the other kind of actions, it clones and is asked to act, or what it infers of the expert
            would be judged too soon.
    """
    for (role, of_discrete), kind in KINDS.items():
        if type(settings) is kind and of_discrete != discrete:
            needed, actions = KINDS[role, discrete].__name__, "discrete" if discrete else "continuous"
            raise InputError(f"{kind.__name__} settings, but the actions are {actions}; expected {needed}.")
    if interaction is None:
        return
    if isinstance(settings, BC | BCContinuous):
        raise InputError("Behavioural cloning learns from the demonstrations alone; leave --online out.")
    if isinstance(settings, IQLearnContinuous) and settings.state_only:
        part, least = settings.inference.part, interaction.round_steps
        require(part >= least, "inference.steps / inference.rounds", part, f"at least round_steps, {least}")
        require(
            interaction.replay >= part, "replay", interaction.replay, f"room for a round of inference, {part} steps"
        )


def check_steps(settings: Imitator | Expert, steps: int, interaction: Interaction | None) -> None:
    """Whether `steps` of acting leave any to learn in.

    Raises:
        InputError: they do not; names what comes before the first update.
    """
    if interaction is None:
        return
    name, first = "random_steps", interaction.random_steps
    if isinstance(settings, IQLearnContinuous):
        if settings.state_only:
            name, first = "inference.steps", settings.inference.steps
        elif settings.form == "regressed" and settings.regression.steps > first:
            name, first = "regression.steps", settings.regression.steps
    require(steps > first, "steps", steps, f"more than {name}, {first}, which come before the first update")


def online_by_default(settings: Imitator, env: str | None) -> bool:
    """Learn while acting: inverse soft-Q learning of continuous actions, where an environment is named."""
    return isinstance(settings, IQLearnContinuous) and env is not None


def default_steps(settings: Imitator | Expert, online: bool) -> int:
    """Steps of the environment online, updates offline."""
    continuous = isinstance(settings, IQLearnContinuous | BCContinuous | SAC)
    return 100_000 if continuous and online else 10_000
