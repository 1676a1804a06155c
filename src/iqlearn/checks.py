"""Whether settings, demonstrations, environment and steps fit together, and what is chosen where one is not given."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from iqlearn import algorithms
from iqlearn.algorithms.base import Algorithm
from iqlearn.data.demos import Demos
from iqlearn.envs.gym import Environment, EnvSource
from iqlearn.errors import InputError, require
from iqlearn.extensions import EXTENSIONS
from iqlearn.networks.host import as_arrays
from iqlearn.runs.provenance import Interaction, Mode
from iqlearn.runs.run import Run
from iqlearn.training.callbacks import Callback
from iqlearn.training.learner import steps_before_updates
from iqlearn.training.trainer import Trainer
from iqlearn.types import Bounds, TaskSpec

SHORT, LONG = 10_000, 100_000
"""Default `steps`: `LONG` online with continuous actions, else `SHORT`; environment steps online, updates offline."""
Callbacks = Sequence[Callback | Callable[[Trainer], Any]]


def mode_of(settings: Algorithm, env: bool, mode: Mode | None, interaction: Interaction | None) -> Mode:
    """Return `mode` if it is given, else the default mode.

    The default is online if the algorithm must act, if an interaction is given, or with continuous actions if an
    environment is given and the algorithm can act. Otherwise it is offline.

    Raises:
        InputError: the mode is unknown, contradicts `interaction`, or is not possible with the algorithm.
    """
    if mode not in (None, "online", "offline"):
        raise InputError(f"mode is {mode!r}; expected online or offline.")
    if mode == "offline" and interaction is not None:
        raise InputError("mode is offline, but interaction is given; expected mode online, or no interaction.")
    if settings.acts == "never" and (mode == "online" or interaction is not None):
        raise InputError(f"Algorithm {settings.name!r} learns from the demonstrations alone; expected mode offline.")
    if mode == "offline" and settings.acts == "must":
        raise InputError(f"Algorithm {settings.name!r} learns from its own transitions; expected mode online.")
    if mode is not None:
        return mode
    acts = settings.acts == "must" or interaction is not None
    return "online" if acts or (settings.acts == "may" and not settings.discrete and env) else "offline"


def default_steps(settings: Algorithm, mode: Mode) -> int:
    """Return the default `steps`: environment steps online, updates offline."""
    return LONG if mode == "online" and not settings.discrete else SHORT


def environment_of(
    demos: Demos, env: EnvSource | Environment | None, kwargs: Mapping[str, Any] | None = None, trust: bool = False
) -> tuple[Environment | None, InputError | None]:
    """Return the environment that is given, else the one that the demonstrations name.

    With `trust`, a module that the demonstrations name is imported.

    Returns:
        The environment or None, and an error or None. There is an error if the demonstrations name an environment that
        cannot be made.

    Raises:
        InputError: keyword arguments are given without an environment.
    """
    if env is not None:
        return Environment.of(env, kwargs), None
    if kwargs:
        raise InputError(
            "Keyword arguments are given without an environment; expected one, give it with --env (in Python env=...)."
        )
    if demos.env is None:
        return None, None
    environment = Environment(demos.env, {}, demos.env, file=None if trust else Path(demos.path or demos.source))
    try:
        _ = environment.task
    except InputError as error:
        return None, error
    return environment, None


def check(settings: Algorithm, task: TaskSpec, interaction: Interaction | None, steps: int) -> None:
    """Check that the settings fit the task and have an effect, and that the steps suffice for an update.

    Raises:
        InputError: a setting does not fit the task or has no effect, there are too few steps, or the replay is too
            small.
    """
    if settings.discrete != task.discrete:
        needed = algorithms.of(settings.family, task.discrete).__name__
        actions = "discrete" if task.discrete else "continuous"
        raise InputError(f"{type(settings).__name__} settings, but the actions are {actions}; expected {needed}.")
    online = interaction is not None
    names = [extension.name for extension in settings.extensions]
    require(len(set(names)) == len(names), "extensions", names, "each extension once")
    order = sorted(settings.extensions, key=lambda extension: list(EXTENSIONS).index(extension.name))
    require(tuple(order) == tuple(settings.extensions), "extensions", names, f"the order {', '.join(EXTENSIONS)}")
    for extension in settings.extensions:
        extension.check(settings, online, steps)
    rewards = [extension.name for extension in settings.extensions if extension.gives_reward]
    require(len(rewards) <= 1, "extensions", names, f"one of {' and '.join(rewards)}, because each gives the reward")
    settings.check(online or any(extension.gives_transitions for extension in settings.extensions))
    if interaction is None:
        return
    for extension in settings.extensions:
        part = extension.round_steps or interaction.steps_per_round
        wanted = f"at most {part}, the steps of a round of {extension.name}"
        require(interaction.steps_per_round <= part, "round_steps", interaction.round_steps, wanted)
    check_steps(settings, interaction, steps)


def check_steps(settings: Algorithm, interaction: Interaction | None, steps: int, more: str = "") -> None:
    """Check that the steps suffice for an update, and that the replay has room for the steps before it.

    Raises:
        InputError: there are too few steps, or the replay is too small. The message on too few steps ends with `more`.
    """
    if interaction is None:
        return
    phase, first = steps_before_updates(settings, interaction)
    least = first + interaction.steps_per_round + math.ceil(1.0 / interaction.update_ratio)
    parts = " and ".join([*(e.name for e in settings.extensions if e.phase), "random_steps"])
    why = f"there is no update in the first {first} ({parts})"
    if first == 0:
        why = f"there is no update in the first round of {interaction.steps_per_round} steps (round_steps)"
    require(steps >= least, "steps", steps, f"at least {least}: {why}{more}")
    require(
        interaction.replay >= phase,
        "replay",
        interaction.replay,
        f"at least {phase}, the steps that extensions collect before the first update",
    )


def check_callbacks(callbacks: Callbacks, run: Run) -> None:
    """Check that no callback reads the occupancy distance of a run that has none.

    Raises:
        InputError: a callback reads it, but the run has no demonstrations, no environment or no evaluations.
    """
    origin, times = run.origin, run.schedule.evaluations
    parts = {"demonstrations": origin.demos, "an environment": origin.environment, "evaluations": times or None}
    lacking = [what for what, part in parts.items() if part is None]
    for callback in callbacks:
        if getattr(callback, "needs_distance", False) and lacking:
            told = f"{type(callback).__name__} has no effect without {lacking[0]}"
            raise InputError(f"{told}; leave it out.")


def joint(tasks: Iterable[TaskSpec]) -> TaskSpec:
    """Return the task that covers several tasks: the most choices and the widest action bounds of any task.

    If the structures of the observations differ, return the first task.
    """
    first, *others = found = list(tasks)
    if len({jax.tree.structure(task.obs) for task in found}) > 1:
        return first
    obs = jax.tree.map(lambda *parts: replace(parts[0], choices=max(p.choices for p in parts)), *(t.obs for t in found))
    if first.discrete or any(task.discrete for task in others):
        return TaskSpec(obs, max(task.choices for task in found if task.discrete))
    lows, highs = zip(*((task.bounds.low, task.bounds.high) for task in found), strict=True)
    return TaskSpec(obs, Bounds(tuple(map(min, *lows, lows[0])), tuple(map(max, *highs, highs[0]))))


def visible(settings: Algorithm, demos: Demos) -> Demos:
    """Return the demonstrations as the learner may see them: with `state_only` without actions.

    Raises:
        InputError: the learner needs the actions, but there are none.
    """
    return demos.without_actions() if settings.state_only else replace(demos, act=demos.actions)


def comparable(demos: Demos, task: TaskSpec) -> Demos:
    """Return the demonstrations, without their held-out episodes if these do not fit the task.

    A warning is issued in that case. For instance, a held-out episode may have a discrete action that no other episode
    has, while no environment states the number of actions.
    """
    held = demos.held_out
    if held is None:
        return demos
    try:
        held.check_task(task.unbounded, "the task")
        as_arrays(held.obs, task.obs, "Observations")
    except InputError as error:
        warnings.warn(f"No policy is evaluated on the episodes that were left out. {error}", stacklevel=4)
        return replace(demos, held_out=None)
    return demos
