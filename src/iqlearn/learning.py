"""From demonstrations to runs: the host's loop. It prepares, lets the device compute, evaluates, writes and tells."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from iqlearn import records
from iqlearn.beginning import begin
from iqlearn.data import Demos
from iqlearn.errors import InputError
from iqlearn.folders import claim, vacant
from iqlearn.progress import Watch, working
from iqlearn.run import Run
from iqlearn.session import Diverged, Session
from iqlearn.settings import Interaction, Schedule
from iqlearn.settings.presets import Expert, Imitator, default_steps, online_by_default
from iqlearn.sources import check_demos, check_reward, evaluated_in, seen, visible
from iqlearn.telling import announce


def learn(
    settings: Imitator,
    demos: Demos,
    *,
    env: str | None = None,
    online: bool | None = None,
    interaction: Interaction | None = None,
    steps: int | None = None,
    evaluations: int = Schedule.evaluations,
    eval_episodes: int = Schedule.eval_episodes,
    sampled: bool = Schedule.sampled,
    seed: int = 0,
    out: str | Path | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> Run:
    """Learn a policy and a reward from demonstrations.

    Args:
        settings: the algorithm and its settings: `IQLearn` for discrete actions, `IQLearnContinuous` for others.
        demos: what the expert did; take and sub-sample it first.
        env: Gymnasium id to act and to be evaluated in; by default the one that the demonstrations name. Without one
            nothing is evaluated, and learning offline works all the same.
        online: learn while acting in `env`; by default with `IQLearnContinuous` where `env` is given.
        interaction: how to act online.
        steps: of the environment online, updates offline (default: 10,000, with continuous actions online 100,000).
        evaluations, eval_episodes, sampled, seed: see `Schedule`.
        out: run folder, written at every evaluation, so that a stopped run goes on with `resume`.
        overwrite: replace a run that is there.
        quiet: no progress on the error stream.

    Returns:
        The run. Ctrl-C, or a loss that is not finite, ends it before its time; then it is as it was at its last
        evaluation, a `RuntimeWarning` says so, and `run.result["status"]` is "interrupted" or "diverged" and not
        "completed".

    Raises:
        InputError: settings, demonstrations and environment do not go together, or `out` is taken.

    >>> run = iq.learn(iq.IQLearn(), iq.Demos.builtin("CartPole-v1").take(1).subsample(20))
    """
    if isinstance(settings, type):
        raise InputError(f"settings is the class {settings.__name__}; expected an object, iq.{settings.__name__}().")
    if not isinstance(demos, Demos):
        raise InputError(f"demos is a {type(demos).__name__}; expected Demos, as iq.Demos.load(FILE) gives them.")
    if env is not None and not isinstance(env, str):
        raise InputError(
            f"env is a {type(env).__name__}; expected a Gymnasium id, as gymnasium.make takes it: learning makes its "
            "own copies. Register an environment of yours, and name it, or MODULE:ID."
        )
    if online is None:
        online = interaction is not None or online_by_default(settings, env)
    if interaction is not None and not online:
        raise InputError("An interaction is given and online=False; expected one of them, offline nothing is acted.")
    acting = (interaction or Interaction()) if online else None
    if steps is None:
        steps = default_steps(settings, online)
    schedule = Schedule(steps, evaluations, eval_episodes, sampled, seed)
    folder = None if out is None else Path(out)
    if folder is not None:
        vacant(folder, overwrite)  # told before anything that takes time
    env, why_not = evaluated_in(env, demos, bool(online))
    if why_not is not None:
        warnings.warn(why_not, stacklevel=2)
    with working("preparing …", quiet) as tell:
        run = begin(settings, demos, schedule, env, interaction=acting, tell=tell)
    if folder is not None:
        claim(folder, overwrite)
    return whole(continue_runs([run], [demos], [folder], quiet))[0]


def whole(runs: list[Run]) -> list[Run]:
    """The runs; what ended before its time is named in a warning, since it looks like any other."""
    for run in runs:
        if run.result["status"] != "completed":
            at = run.rows[-1]["step"] if run.rows else 0
            warnings.warn(f"Ended before its time, after step {at:.0f}: {run!r}.", RuntimeWarning, stacklevel=3)
    return runs


def continue_runs(
    runs: Sequence[Run], demos: Sequence[Demos], folders: Sequence[Path | None], quiet: bool = False
) -> list[Run]:
    """Train runs that differ in seed and demonstrations only, side by side, until their schedule's end.

    Each run folder is there before the first step, and brought up to date at every evaluation. An interrupt (Ctrl-C)
    ends with status `interrupted`, a loss that is not finite with status `diverged` and stops the others; all keep the
    last evaluated state. Runs go one after the other where their demonstrations give a model of the dynamics to some of
    them only, or call for different forms, where they stand at different steps, or were not begun alike.
    """
    demos = [seen(run, part) for run, part in zip(runs, demos, strict=True)] if demos else []
    found = [begun(run, folder) for run, folder in zip(runs, folders, strict=True)]
    kinds = [kind_of(run) for run in found]
    for kind in dict.fromkeys(kinds):
        group = [i for i in range(len(found)) if kinds[i] == kind]
        parts = [demos[i] for i in group] if demos else []
        part = train_together([found[i] for i in group], parts, [folders[i] for i in group], quiet)
        for i, run in zip(group, part, strict=True):
            found[i] = run
        if all(run.result["status"] == "interrupted" for run in part):
            break
    return found


def begun(run: Run, folder: Path | None) -> Run:
    """The run, in its folder from before its first step on, so that it can go on whenever it is stopped."""
    if run.rows or run.result:
        return run
    run = replace(run, result={"status": "running"})
    if folder is not None:
        run.write(folder, None if run.interaction is None else {"env_steps": np.int64(0)})
    return run


def kind_of(run: Run) -> tuple[object, ...]:
    """What runs that are trained side by side have in common: all but seed, demonstrations and what they learnt."""
    alike = run.settings, replace(run.schedule, seed=0), run.interaction, run.spec, run.origin.env
    return *alike, run.imagines, run.rows[-1]["step"] if run.rows else 0.0


def train_together(
    runs: Sequence[Run], demos: Sequence[Demos], folders: Sequence[Path | None], quiet: bool
) -> list[Run]:
    """Train runs together; demonstrations, one set a run, are what experts do without."""
    schedule, origin = runs[0].schedule, runs[0].origin
    session = Session(runs, demos, folders)
    if session.done == 0 and not quiet:
        announce(runs)
    with Watch(f"{runs[0].settings.name} · {origin.env or origin.demos}", schedule.steps, quiet) as watch:
        try:
            while session.done < schedule.steps:
                session.advance(min(schedule.chunk, schedule.steps - session.done))
                session.evaluate()
                session.write()
                row = session.runs[0].rows[-1]
                watch.tell(session.done, row.get("loss") or 0.0, row.get("return_mean"), session.rate)
            session.finish("completed")
        except KeyboardInterrupt:
            session.finish("interrupted")
        except Diverged as error:
            session.give_up(error)
        finally:
            session.close()
    return session.runs


def learn_seeds(
    settings: Imitator,
    demos: Sequence[Demos],
    *,
    seeds: Sequence[int],
    env: str | None = None,
    steps: int | None = None,
    evaluations: int = Schedule.evaluations,
    eval_episodes: int = Schedule.eval_episodes,
    sampled: bool = Schedule.sampled,
    quiet: bool = False,
) -> list[Run]:
    """`learn`, offline, for several seeds as one program, each from its own demonstrations.

    >>> parts = [demos.take(1, seed=seed) for seed in range(10)]
    >>> runs = iq.learn_seeds(iq.IQLearn(), parts, seeds=range(10))

    Raises:
        InputError: as `learn`, or there is not one set of demonstrations a seed.
    """
    if len(seeds) == 0 or len(demos) != len(seeds):
        raise InputError(f"{len(demos)} demonstrations for {len(seeds)} seeds; expected one set a seed.")
    steps = default_steps(settings, online=False) if steps is None else steps
    env, why_not = evaluated_in(env, demos[0], online=False)
    if why_not is not None:
        warnings.warn(why_not, stacklevel=2)
    runs = [
        begin(settings, part, Schedule(steps, evaluations, eval_episodes, sampled, seed), env)
        for part, seed in zip(demos, seeds, strict=True)
    ]
    return whole(continue_runs(runs, demos, [None] * len(runs), quiet))


def resume(folder: str | Path, demos: Demos | None, quiet: bool = False) -> Run:
    """Go on with an interrupted run, to the same result as if it had never stopped. An expert takes no demonstrations.
    What it returns is as of `learn`.

    Raises:
        InputError: the folder holds no run, or demonstrations or reward are not those it began with.
    """
    return whole(resume_seeds([folder], [demos], quiet))[0]


def resume_seeds(folders: Sequence[str | Path], demos: Sequence[Demos | None], quiet: bool = False) -> list[Run]:
    """`resume` for several seeds of one call, side by side, each with its own demonstrations.

    Raises:
        InputError: as `resume`, or imitators and experts are among them.
    """
    runs, parts = [], []
    for folder, part in zip(folders, demos, strict=True):
        run = Run.load(folder)
        if not (Path(folder) / records.CHECKPOINT).is_file():
            raise InputError(f"No {records.CHECKPOINT} in {folder}; expected one, training cannot go on without.")
        check_reward(run.origin, folder)
        runs.append(run)
        if part is None:
            if run.origin.demos is not None:
                raise InputError(f"{folder} learns from demonstrations; expected {run.origin.demos}.")
            continue
        assert not isinstance(run.settings, Expert)
        part = visible(run.settings, part)
        check_demos(run.origin, part, folder)
        parts.append(part)
    if parts and len(parts) < len(runs):
        raise InputError("Imitators and experts are asked to go on together; expected one kind, go on one by one.")
    return continue_runs(runs, parts, [Path(folder) for folder in folders], quiet)
