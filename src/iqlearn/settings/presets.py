"""Which settings belong to which task, and whether learning acts in the environment. The rules of the command line."""

import math
from typing import Literal

from iqlearn.errors import InputError
from iqlearn.settings.actor_critic import SAC, BCContinuous
from iqlearn.settings.common import require
from iqlearn.settings.continuous import IQLearnContinuous
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


def check(settings: Imitator | Expert, discrete: bool, interaction: Interaction | None, steps: int) -> None:
    """Whether an algorithm can do a task in that many steps.

    Raises:
        InputError: it is for the other kind of actions, it clones and is asked to act, it needs to act and is not to,
            what it infers of the expert would be judged too soon, or the steps are over before the first update.
    """
    for (role, of_discrete), kind in KINDS.items():
        if type(settings) is kind and of_discrete != discrete:
            needed, actions = KINDS[role, discrete].__name__, "discrete" if discrete else "continuous"
            raise InputError(f"{kind.__name__} settings, but the actions are {actions}; expected {needed}.")
    if interaction is None:
        regressed = isinstance(settings, IQLearnContinuous) and settings.form == "regressed"
        require(not regressed, "form", "regressed", "inverse offline, where nobody meets what the expert did not")
        return
    if isinstance(settings, BC | BCContinuous):
        raise InputError("Behavioural cloning learns from the demonstrations alone; leave --online out.")
    name, first = waiting(settings, interaction)
    least = first + interaction.round_steps + math.ceil(1.0 / interaction.update_ratio)
    require(steps >= least, "steps", steps, f"at least {least}: updates begin a round after the {first} of {name}")
    if isinstance(settings, IQLearnContinuous) and settings.state_only:
        part, least = settings.inference.part, interaction.round_steps
        require(part >= least, "inference.steps / inference.rounds", part, f"at least round_steps, {least}")
        require(
            interaction.replay >= part, "replay", interaction.replay, f"room for a round of inference, {part} steps"
        )


def waiting(settings: Imitator | Expert, interaction: Interaction) -> tuple[str, int]:
    """Which setting says how many steps of acting there are before updates are due, and how many they are."""
    if isinstance(settings, IQLearnContinuous) and settings.state_only:
        # The last round of inference may end a little later than its steps, with an empty replay.
        more = max(interaction.random_steps, interaction.round_steps)
        return "inference.steps and random_steps", settings.inference.steps + more
    first = "random_steps", interaction.random_steps
    if isinstance(settings, IQLearnContinuous) and settings.form == "regressed":
        return max(first, ("regression.steps", settings.regression.steps), key=lambda named: named[1])
    return first


def online_by_default(settings: Imitator, env: str | None) -> bool:
    """Learn while acting: inverse soft-Q learning of continuous actions, where an environment is named."""
    return isinstance(settings, IQLearnContinuous) and env is not None


def default_steps(settings: Imitator | Expert, online: bool) -> int:
    """Steps of the environment online, updates offline."""
    continuous = isinstance(settings, IQLearnContinuous | BCContinuous | SAC)
    return 100_000 if continuous and online else 10_000
