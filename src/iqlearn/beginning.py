"""Runs before their first update: settings, demonstrations and environment checked, and what is made of them."""

import math
from dataclasses import replace
from pathlib import Path

from iqlearn.data import Demos
from iqlearn.data.scale import NO_LIMIT, standard
from iqlearn.envs import gym
from iqlearn.envs.vector import random_observations
from iqlearn.errors import InputError
from iqlearn.models.dynamics import fit_linear
from iqlearn.progress import Tell, nothing
from iqlearn.run import Run
from iqlearn.settings import Interaction, IQLearn, IQLearnContinuous, Schedule
from iqlearn.settings.presets import Expert, Imitator, check
from iqlearn.sources import load_reward, reward_sha256, visible
from iqlearn.start import Origin, imagines, initial_state, keys_of
from iqlearn.training import as_clone, in_imagination, on_device, warm_started
from iqlearn.types import TaskSpec

LARGEST_OBSERVATION = 1024
"""Coordinates of an observation that can be whitened in reasonable time."""
RANDOM_OBSERVATIONS = 2_000
"""Observations of the random policy that an expert's networks are scaled by."""


def begin(
    settings: Imitator,
    demos: Demos,
    schedule: Schedule,
    env: str | None,
    origin: Origin | None = None,
    interaction: Interaction | None = None,
    tell: Tell = nothing,
) -> Run:
    """A run before its first update; checks that settings, demonstrations and environment agree. `tell` hears of what
    takes long."""
    demos = visible(settings, demos)
    if interaction is not None and env is None:
        raise InputError("Learning online needs an environment; expected a Gymnasium id, give it with --env.")
    spec = demos.task_spec() if env is None else gym.task_spec(env)
    demos.check_task(spec, env or "the task")
    check(settings, spec.discrete, interaction, schedule.steps)
    check_size(spec, demos.source)
    origin = origin or Origin(env, demos.source, demos.sha256(), len(demos), demos.episodes)
    origin = replace(origin, ends=int(demos.term.sum()))
    watched = demos.act is None
    demos = demos.placeholders(spec) if watched else demos
    scale = demos.observation_scale()
    uses_model = isinstance(settings, IQLearn) and interaction is None and settings.imagination.error_limit > 0
    if uses_model and not watched and len(spec.obs_shape) == 1:
        origin = replace(origin, dynamics_error=fit_linear(demos.transitions, scale, spec)[1])
    asked = settings
    if isinstance(settings, IQLearnContinuous):
        settings = settings.formed(None, schedule.steps if interaction else 0)
    state = initial_state(settings, spec, schedule.seed, scale, origin, interaction)
    if isinstance(settings, IQLearn) and imagines(settings, origin, interaction):
        data = in_imagination(on_device([demos]), [demos], settings.imagination, spec)[0]
        state = data.begin(state, keys_of(schedule.seed)[1])
    run = Run(settings, schedule, origin, spec, state, interaction)
    if isinstance(asked, IQLearnContinuous) and not asked.state_only:  # else once actions have been inferred
        return with_clone(run, asked, demos, tell)
    return run


def with_clone(run: Run, asked: IQLearnContinuous, demos: Demos, tell: Tell) -> Run:
    """The run with an actor that begins as a clone of the expert, in the form that suits how far that can be cloned."""
    imitation, seed = asked.online if run.interaction else asked.offline, run.schedule.seed
    if imitation.warm_start > 0:
        flag = f"--{'online' if run.interaction else 'offline'}.warm-start"
        tell(f"{asked.name} · seed {seed}: cloning the expert first, {imitation.warm_start:,} updates ({flag}) …")
    state, process = warm_started(asked, imitation, run.state, on_device([demos])[0], keys_of(seed)[2])
    error = None if process is None else process.left_out()
    origin = replace(run.origin, action_error=error)
    settings = asked.formed(error, run.schedule.steps if run.interaction else 0)
    if settings != run.settings:
        anew = initial_state(settings, run.spec, seed, run.state.model.scale, origin, run.interaction)
        state = as_clone(anew, state.model.actor)
    return replace(run, settings=settings, origin=origin, state=state)


def check_size(spec: TaskSpec, source: str) -> None:
    """Raises InputError where observations are too large to be flattened."""
    if math.prod(spec.obs_shape) > LARGEST_OBSERVATION:
        raise InputError(
            f"{source}: observations have {math.prod(spec.obs_shape)} coordinates; expected at most "
            f"{LARGEST_OBSERVATION}, this version has no network for images."
        )


def begin_expert(
    settings: Expert, schedule: Schedule, env: str, interaction: Interaction, reward: Path | None = None
) -> Run:
    """An expert's run before its first update: it learns from the environment's own reward, or from a recovered one.

    Raises:
        InputError: settings, environment and reward do not go together.
    """
    spec = gym.task_spec(env)
    origin = Origin(env, None)
    if reward is not None:
        load_reward(reward, spec)
        origin = replace(origin, reward=str(reward.resolve()), reward_sha256=reward_sha256(reward))
    check(settings, spec.discrete, interaction, schedule.steps)
    check_size(spec, env)
    scale = standard(random_observations(env, RANDOM_OBSERVATIONS, schedule.seed), limit=NO_LIMIT)
    state = initial_state(settings, spec, schedule.seed, scale, origin, interaction)
    return Run(settings, schedule, origin, spec, state, interaction)
