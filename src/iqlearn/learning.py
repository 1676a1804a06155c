"""From demonstrations to runs: the host's loop. It prepares, lets the device compute, evaluates, writes and tells."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from iqlearn import records
from iqlearn.data import Demos
from iqlearn.envs import gym
from iqlearn.errors import InputError
from iqlearn.models.dynamics import fit_linear
from iqlearn.progress import Watch
from iqlearn.run import Origin, Run, imagines, initial_state, keys_of
from iqlearn.session import Session
from iqlearn.settings import BC, IQLearn, Schedule
from iqlearn.training import in_imagination, on_device
from iqlearn.types import TaskSpec

LARGEST_OBSERVATION = 1024
"""Coordinates of an observation that can be whitened in reasonable time."""


def learn(
    settings: IQLearn | BC,
    demos: Demos,
    *,
    env: str | None = None,
    steps: int = Schedule.steps,
    evaluations: int = Schedule.evaluations,
    eval_episodes: int = Schedule.eval_episodes,
    sampled: bool = Schedule.sampled,
    seed: int = 0,
    out: str | Path | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> Run:
    """Learn a policy and a reward from demonstrations, offline.

    Args:
        settings: the algorithm and its settings.
        demos: what the expert did; take and sub-sample it first.
        env: Gymnasium id to evaluate in; by default the one that the demonstrations name. Without one nothing is
            evaluated, and learning works all the same.
        steps, evaluations, eval_episodes, sampled, seed: see `Schedule`.
        out: run folder, written at every evaluation, so that a stopped run goes on with `resume`.
        overwrite: replace a run that is there.
        quiet: no progress bar (there is none anyway unless the error stream is a terminal).

    Raises:
        InputError: settings, demonstrations and environment do not go together, or `out` is taken.

    >>> run = iq.learn(iq.IQLearn(), iq.Demos.builtin("CartPole-v1").take(1).subsample(20))
    """
    schedule = Schedule(steps, evaluations, eval_episodes, sampled, seed)
    run = begin(settings, demos, schedule, env or demos.env)
    if out is not None:
        records.claim(Path(out), overwrite)
    return continue_runs([run], [demos], [Path(out)] if out is not None else [None], quiet)[0]


def begin(
    settings: IQLearn | BC,
    demos: Demos,
    schedule: Schedule,
    env: str | None,
    origin: Origin | None = None,
) -> Run:
    """A run before its first update; checks that demonstrations and environment agree."""
    if env is not None:
        spec = gym.task_spec(env)
        demos.check_task(spec, env)
    else:
        spec = TaskSpec(demos.obs.shape[1:], int(demos.act.max()) + 1)
        demos.check_task(spec, "the task")
    if math.prod(spec.obs_shape) > LARGEST_OBSERVATION:
        raise InputError(
            f"{demos.source}: observations have {math.prod(spec.obs_shape)} coordinates; expected at most "
            f"{LARGEST_OBSERVATION}, this version has no network for images."
        )
    origin = origin or Origin(env, demos.source, demos.sha256(), len(demos), demos.episodes)
    scale = demos.observation_scale()
    if isinstance(settings, IQLearn) and settings.imagination.error_limit > 0 and len(spec.obs_shape) == 1:
        origin = replace(origin, dynamics_error=fit_linear(demos.transitions, scale, spec)[1])
    learner_acts = imagines(settings, origin)
    state = initial_state(settings, spec, schedule.seed, scale, learner_acts)
    if learner_acts and isinstance(settings, IQLearn):
        data = in_imagination(on_device([demos]), [demos], settings.imagination, spec)[0]
        state = data.begin(state, keys_of(schedule.seed)[1])
    return Run(settings, schedule, origin, spec, state)


def continue_runs(
    runs: Sequence[Run], demos: Sequence[Demos], folders: Sequence[Path | None], quiet: bool = False
) -> list[Run]:
    """Train runs that differ in seed and demonstrations only, side by side, until their schedule's end.

    Each run folder is brought up to date at every evaluation. An interrupt (Ctrl-C) ends with status `interrupted`, a
    loss that is not finite with status `diverged`; both keep the last evaluated state. Runs whose demonstrations give
    a model of the dynamics and runs whose do not are two programs, one after the other.
    """
    found = list(runs)
    for imagining in (False, True):
        group = [i for i, run in enumerate(runs) if run.imagines == imagining]
        if group:
            part = train_together(
                [runs[i] for i in group], [demos[i] for i in group], [folders[i] for i in group], quiet
            )
            for i, run in zip(group, part, strict=True):
                found[i] = run
            if part[0].result["status"] == "interrupted":
                break
    return found


def train_together(
    runs: Sequence[Run], demos: Sequence[Demos], folders: Sequence[Path | None], quiet: bool
) -> list[Run]:
    """Train runs as one program."""
    schedule, origin = runs[0].schedule, runs[0].origin
    session = Session(runs, demos)
    status = "completed"
    with Watch(f"{runs[0].settings.name} · {origin.env or origin.demos}", schedule.steps, quiet) as watch:
        try:
            while session.done < schedule.steps:
                if not session.advance(min(schedule.chunk, schedule.steps - session.done)):
                    status = "diverged"
                    break
                session.evaluate()
                row = session.runs[0].rows[-1]
                watch.tell(session.done, row["loss"] or 0.0, row.get("return_mean"), session.rate)
                write(session.runs, folders)
        except KeyboardInterrupt:
            status = "interrupted"
        finally:
            session.close()
    session.finish(status)
    write(session.runs, folders)
    return session.runs


def write(runs: Sequence[Run], folders: Sequence[Path | None]) -> None:
    for run, folder in zip(runs, folders, strict=True):
        if folder is not None:
            run.write(folder)


def learn_seeds(
    settings: IQLearn | BC,
    demos: Sequence[Demos],
    *,
    seeds: Sequence[int],
    env: str | None = None,
    steps: int = Schedule.steps,
    evaluations: int = Schedule.evaluations,
    eval_episodes: int = Schedule.eval_episodes,
    sampled: bool = Schedule.sampled,
    quiet: bool = False,
) -> list[Run]:
    """`learn` for several seeds as one program, each from its own demonstrations.

    >>> parts = [demos.take(1, seed=seed) for seed in range(10)]
    >>> runs = iq.learn_seeds(iq.IQLearn(), parts, seeds=range(10))

    Raises:
        InputError: as `learn`, or there is not one set of demonstrations a seed.
    """
    if not seeds or len(demos) != len(seeds):
        raise InputError(f"{len(demos)} demonstrations for {len(seeds)} seeds; expected one set a seed.")
    runs = [
        begin(settings, part, Schedule(steps, evaluations, eval_episodes, sampled, seed), env or part.env)
        for part, seed in zip(demos, seeds, strict=True)
    ]
    return continue_runs(runs, demos, [None] * len(runs), quiet)


def resume(folder: str | Path, demos: Demos, quiet: bool = False) -> Run:
    """Go on with an interrupted run, to the same result as if it had never stopped.

    Raises:
        InputError: the folder holds no run, or the demonstrations are not those it began with.
    """
    run = Run.load(folder)
    if demos.sha256() != run.origin.sha256:
        raise InputError(
            f"{demos.source} is not what {folder} began with; expected SHA-256 {run.origin.sha256[:12]}…, "
            f"found {demos.sha256()[:12]}…."
        )
    return continue_runs([run], [demos], [Path(folder)], quiet)[0]
