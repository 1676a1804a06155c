"""The functions that train: `learn`, `train_expert` and `resume`; and the recommended settings: `recommended`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from iqlearn import algorithms, interrupts
from iqlearn.checks import (
    Callbacks,
    check,
    check_callbacks,
    comparable,
    default_steps,
    environment_of,
    joint,
    mode_of,
    visible,
)
from iqlearn.data.demos import Demos
from iqlearn.envs.gym import Environment, EnvSource
from iqlearn.envs.modules import Untrusted
from iqlearn.errors import InputError, require
from iqlearn.extensions import EXTENSIONS
from iqlearn.files import Arrays
from iqlearn.origins import MOVED, demos_of, load_reward, same_held_out, same_reward
from iqlearn.runs import folder as run_folder
from iqlearn.runs.lock import locked
from iqlearn.runs.manifest import newest_checkpoint
from iqlearn.runs.provenance import Interaction, Mode, Origin, Schedule
from iqlearn.runs.run import Run
from iqlearn.training import notebook
from iqlearn.training.callbacks import Callback, GuardReport, Progress, RunFolder, working
from iqlearn.training.learner import Learner
from iqlearn.training.trainer import Trainer
from iqlearn.types import RewardFunction


@interrupts.listening()
def learn(
    settings: Any,
    demos: Demos | Sequence[Demos],
    *,
    env: EnvSource | Environment | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    mode: Mode | None = None,
    steps: int | None = None,
    evaluations: int = Schedule.evaluations,
    eval_episodes: int = Schedule.eval_episodes,
    sampled: bool = Schedule.sampled,
    eval_envs: int = Schedule.eval_envs,
    max_episode_steps: int | None = None,
    seed: int = 0,
    seeds: Sequence[int] | None = None,
    interaction: Interaction | None = None,
    callbacks: Callbacks = (),
    out: str | Path | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> Any:
    """Learn a policy and a reward from demonstrations.

    Args:
        settings: an algorithm with its settings, for instance `iq.IQLearn()` (the paper's method for discrete actions),
            `iq.IQLearnContinuous()` or the result of `iq.recommended(demos, env)`.
        demos: the demonstrations, or a sequence with one set for each seed.
        env: the environment for acting and evaluation: a Gymnasium id, `MODULE:ID`, an `EnvSpec` or a function that
            makes the environment; by default the one that the demonstrations name. Without an environment, no returns
            are measured.
        env_kwargs: keyword arguments for the environment.
        mode: `online` acts in the environment while learning, `offline` learns from the demonstrations only (with an
            environment, evaluations still choose which policy is returned). By default online if `interaction` is
            given, if the algorithm must act (such as SQIL), or with continuous actions if `env` is given and the
            algorithm can act.
        steps: environment steps online, updates offline; by default 100,000 online with continuous
            actions, else 10,000.
        evaluations, eval_episodes, sampled, eval_envs, max_episode_steps: see `Schedule`.
        seed: seed of all random numbers.
        seeds: several seeds to train side by side, instead of `seed`.
        interaction: how to act online (see `Interaction`).
        callbacks: objects of `iq.Callback`, or functions that are called with the trainer after each evaluation.
        out: run folder, written at every evaluation; with `seeds` it holds a folder `seed-S` for each seed.
        overwrite: replace a run in `out`.
        quiet: print no progress.

    Returns:
        The run, or with `seeds` a list of runs. Ctrl-C, or a loss that is not finite, ends training early. Then the run
        holds the state of its last evaluation, a `RuntimeWarning` is issued, and `run.result["status"]` is not
        "completed".

    Raises:
        InputError: settings, demonstrations and environment do not fit together, a setting has no effect, or `out` is
            not empty (unless `overwrite`).

    >>> run = iq.learn(iq.IQLearn(), iq.Demos.builtin("CartPole-v1").take(1).subsample(20))
    """
    algorithms.require(settings, expert=False)
    require(seeds is None or seed == 0, "seed", seed, "0, because seeds is given")
    several = [seed] if seeds is None else [int(s) for s in seeds]
    require(len(several) > 0, "seeds", several, "one seed at least")
    parts = [demos] * len(several) if isinstance(demos, Demos) else list(demos) if isinstance(demos, Sequence) else []
    if not parts or not all(isinstance(part, Demos) for part in parts):
        raise InputError(f"demos is a {type(demos).__name__}; expected Demos, as iq.Demos.load(FILE) gives them.")
    if len(parts) != len(several) or len(set(several)) < len(several):
        raise InputError(
            f"{len(parts)} demonstrations for seeds {several}; expected one set for each, seeds that differ."
        )
    folder = None if out is None else Path(out)
    if folder is not None:
        run_folder.vacant(folder, overwrite)
    mode = mode_of(settings, env is not None, mode, interaction)
    environment, error = environment_of(parts[0], env, env_kwargs)
    if isinstance(error, Untrusted) or (mode == "online" and environment is None):
        wanted = (
            "Learning online needs an environment; expected a Gymnasium id, give it with --env (in Python env=...)."
        )
        raise error or InputError(wanted)
    if error is not None:
        told = f"{parts[0].source} names an environment that cannot be made, so no returns are measured. {error}"
        warnings.warn(told, stacklevel=3)
    environment = environment and environment.capped(max_episode_steps)
    acting = None if mode == "offline" else interaction or Interaction()
    total = default_steps(settings, mode) if steps is None else steps
    schedule = Schedule(total, evaluations, eval_episodes, sampled, 0, eval_envs, max_episode_steps)
    parts = [visible(settings, part) for part in parts]
    task = joint(part.task_spec() for part in parts) if environment is None else environment.task
    for part in parts:
        part.check_task(task, "the task" if environment is None else environment.name)
    parts = [comparable(part, task) for part in parts]
    runs = [
        Run(settings, replace(schedule, seed=s), Origin.of(environment, part), task, interaction=acting)
        for s, part in zip(several, parts, strict=True)
    ]
    return begin(runs, parts, [None] * len(runs), callbacks, folder, overwrite, quiet, seeds is not None)


def begin(
    runs: Sequence[Run],
    parts: Sequence[Demos | None],
    rewards: Sequence[RewardFunction | None],
    callbacks: Callbacks,
    folder: Path | None,
    overwrite: bool,
    quiet: bool,
    several: bool,
) -> Any:
    """Check, prepare and train new runs, which differ in seed and demonstrations. Return the result of `train`.

    Raises:
        InputError: settings or callbacks have no effect or do not fit the task, or the folder is not empty (unless
            `overwrite`).
    """
    first = runs[0]
    check_callbacks(callbacks, first)
    check(first.settings, first.task, first.interaction, first.schedule.steps)
    learners = learners_of(runs, parts, rewards)
    remarks = [f"{part.source}: {told}" for part in parts if part for told in (*part.remarks(), *longer(part, first))]
    for told in dict.fromkeys(remarks):
        warnings.warn(told, stacklevel=4)
    own, seeds = [] if folder is None else [folder], tuple(f"seed-{run.schedule.seed}" for run in runs)
    folders = [part / seed for part in own for seed in seeds] if several else own
    with locked(*own, *folders):
        for part in own:
            run_folder.claim(part, overwrite, seeds if several else ())
        for run, part in zip(runs, folders, strict=False):
            run.begin(part)
        prepare(learners, [None] * len(runs), folders, quiet)
        return train(learners, callbacks, folders, quiet, several)


def longer(demos: Demos, run: Run) -> list[str]:
    """Return a remark if an episode is longer than the time limit of the environment, else an empty list."""
    if (limit := run.exceeded(demos)) is None:
        return []
    told = f"an episode has {demos.longest} steps, more than the time limit of {run.origin.title}, {limit}"
    return [f"{told}; returns are not compared with the expert's"]


def prepare(
    learners: Sequence[Learner], checkpoints: Sequence[Arrays | None], folders: Sequence[Path], quiet: bool
) -> None:
    """Prepare each run for its first update, or restore its checkpoint. Then write its folder, if it has one.

    Raises:
        InputError: a checkpoint is of another run, or a folder cannot be written.
    """
    with working("preparing …", quiet) as tell:
        for i, (learner, found) in enumerate(zip(learners, checkpoints, strict=True)):
            if found is None:
                name = f"{learner.algorithm.name} · seed {learner.run.schedule.seed}"
                learner.prepare(lambda text, share, name=name: tell(f"{name}: {text}", share))
                learner.connect()
                model = learner.algorithm.policy(learner.state)
                learner.run = replace(learner.run, model=model, state=learner.state, result={"status": "running"})
            else:
                learner.restore(found)
            if folders:
                learner.run.write(folders[i], learner.checkpoint() if found is None else None)


def learners_of(
    runs: Sequence[Run], parts: Sequence[Demos | None], rewards: Sequence[RewardFunction | None]
) -> list[Learner]:
    """Return a learner for each run. All demonstrations are padded to the size of the largest."""
    room = max(run.origin.transitions for run in runs), max(run.origin.episodes for run in runs)
    return [
        Learner(run, None if part is None else part.with_placeholders(run.task), reward, room)
        for run, part, reward in zip(runs, parts, rewards, strict=True)
    ]


def train(learners: list[Learner], callbacks: Callbacks, folders: list[Path], quiet: bool, several: bool) -> Any:
    """Train prepared runs, and write their folders if they have any. Return a list of runs if `several`, else a run."""
    own: list[Callback] = [] if quiet else [Progress(), GuardReport()]
    runs = Trainer(learners, [*([RunFolder(folders)] if folders else []), *own, *callbacks]).run()
    for run in runs:
        if run.result["status"] not in ("completed", "stopped"):
            at = run.rows[-1]["step"] if run.rows else 0
            warnings.warn(f"Ended before its time, after step {at:.0f}: {run!r}.", RuntimeWarning, stacklevel=5)
    return runs if several else runs[0]


@interrupts.listening()
def train_expert(
    env: EnvSource | Environment,
    settings: Any = None,
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    reward: str | Path | None = None,
    steps: int | None = None,
    evaluations: int = Schedule.evaluations,
    eval_episodes: int = Schedule.eval_episodes,
    sampled: bool = Schedule.sampled,
    eval_envs: int = Schedule.eval_envs,
    max_episode_steps: int | None = None,
    seed: int = 0,
    interaction: Interaction | None = None,
    callbacks: Callbacks = (),
    out: str | Path | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> Run:
    """Train an expert on the environment's own reward, or an agent on a recovered one.

    Args:
        env, env_kwargs: the environment, as in `learn`.
        settings: `iq.SoftQLearning()` or `iq.SAC()`; by default the one that fits the environment's actions.
        reward: a run folder, or a file of a distilled reward, to learn from instead of the environment's reward.
        steps, evaluations, eval_episodes, sampled, eval_envs, max_episode_steps, seed: as in `learn`.
        interaction, callbacks, out, overwrite, quiet: as in `learn`.

    Raises:
        InputError: settings, environment and reward do not fit together, or `out` is not empty (unless `overwrite`).
    """
    environment, folder = Environment.of(env, env_kwargs).capped(max_episode_steps), None if out is None else Path(out)
    if folder is not None:
        run_folder.vacant(folder, overwrite)
    task = environment.task
    settings = algorithms.of(algorithms.EXPERT, task.discrete)() if settings is None else settings
    algorithms.require(settings, expert=True)
    steps = default_steps(settings, "online") if steps is None else steps
    schedule = Schedule(steps, evaluations, eval_episodes, sampled, seed, eval_envs, max_episode_steps)
    origin, paid = Origin(environment, None), None
    if reward is not None:
        path = Path(reward)
        if folder is not None and folder.resolve() in (path.resolve(), *path.resolve().parents):
            raise InputError(f"--out {folder} holds the reward that --reward names; choose another folder.")
        found, digest = load_reward(path, task)
        paid = found.at_discount(settings.gamma)
        origin = replace(origin, reward=str(path.resolve()), reward_sha256=digest)
    run = Run(settings, schedule, origin, task, interaction=interaction or Interaction())
    return begin([run], [None], [paid], callbacks, folder, overwrite, quiet, False)


@interrupts.listening()
def resume(
    folder: str | Path,
    demos: Demos | Sequence[Demos] | str | Path | None = None,
    *,
    reward: str | Path | None = None,
    env: EnvSource | Environment | None = None,
    max_gib: float | None = None,
    callbacks: Callbacks = (),
    quiet: bool = False,
    trust: bool = False,
) -> Any:
    """Continue a run that was stopped. The result is the same as if it had never stopped.

    Args:
        folder: a run folder, or the folder of several seeds, which are continued side by side.
        demos: the demonstrations (for several seeds a sequence with one set for each), or the file that now holds them,
            from which the same part is taken; by default the file that the folder names.
        reward: the run folder or file that now holds the reward; by default the one that the folder names.
        max_gib: the size in GiB that the demonstrations may take (see `Demos.load`).
        env: the environment, needed if it was made by a function.
        callbacks, quiet: as in `learn`.
        trust: as in `Run.load`.

    Returns:
        The run, or a list of runs for a folder of several seeds, as in `learn`.

    Raises:
        InputError: there is no run or no checkpoint, or the demonstrations or the reward are not those that the run
            began with.
    """
    folders = run_folder.runs_in(Path(folder))
    several = folders != [Path(folder)]
    given = [*demos] if isinstance(demos, Sequence) and not isinstance(demos, str) else [demos] * len(folders)
    if len(given) != len(folders):
        told = f"{len(given)} demonstrations for the {len(folders)} runs in {folder}; expected one set for each."
        raise InputError(told)
    with locked(Path(folder), *folders):
        checkpoints = [newest_checkpoint(path) for path in folders]
        runs, parts, rewards = [], [], []
        for path, part, found in zip(folders, given, checkpoints, strict=True):
            run = Run.begun(path, trust) if found is None else Run.of_checkpoint(found, trust)
            if env is not None:
                run = replace(run, origin=replace(run.origin, environment=run.environment(env)))
            check_callbacks(callbacks, run)
            for name, value, known in (("demos", part, run.origin.demos), ("reward", reward, run.origin.reward)):
                if value is not None and known is None:
                    raise InputError(f"--{name} has no effect, because {path} learns from none; leave it out.")
            known = None if run.origin.demos is None else demos_of(run, path, part, max_gib, MOVED.format("demos"))
            known = known and same_held_out(run, path, known)
            parts.append(known)
            rewards.append(None if run.origin.reward is None else same_reward(run, path, reward))
            moved = {"path": known.path} if known is not None and known.path else {}
            moved |= {} if reward is None else {"reward": str(Path(reward).resolve())}
            runs.append(replace(run, origin=replace(run.origin, **moved)))
        learners = learners_of(runs, parts, rewards)
        prepare(learners, checkpoints, folders, quiet)
        # Runs that were killed while they wrote their folders may be at different steps. Only runs at the same step
        # are trained together.
        stands: dict[int, dict[Path, Learner]] = {}
        for path, learner in zip(folders, learners, strict=True):
            stands.setdefault(learner.done, {})[path] = learner
        ended = {path: learner.run for path, learner in zip(folders, learners, strict=True)}
        for group in stands.values():
            ended |= zip(group, train([*group.values()], callbacks, [*group], quiet, True), strict=True)
            if any(ended[path].result["status"] == "interrupted" for path in group):
                break
    return [*ended.values()] if several else ended[folders[0]]


def recommended(
    demos: Demos,
    env: EnvSource | Environment | None = None,
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    mode: Mode | None = None,
    steps: int | None = None,
    algorithm: str = "iq",
    quiet: bool = False,
    **changes: Any,
) -> Any:
    """Return the settings that work best for these demonstrations, and print one sentence with the reasons.

    Each extension decides by its `suggest` whether it helps, mostly from the leave-one-out error of a linear model of
    the dynamics or of the expert's actions. The result is plain settings. Change them with `dataclasses.replace`, or
    pass changes here: a setting that you pass is kept.

    Args:
        demos: the demonstrations to learn from.
        env, env_kwargs, mode, steps: as in `learn`.
        algorithm: family of the algorithm: iq, bc, …
        quiet: do not print the sentence. It is also in `settings.reason` and in the run folder.
        changes: settings that override the recommendation.

    Raises:
        InputError: there is no such algorithm or setting, or the demonstrations do not fit the environment.

    >>> settings = iq.recommended(demos, "Hopper-v5", gamma=0.95)
    """
    environment, _ = environment_of(demos, env, env_kwargs)
    task = demos.task_spec() if environment is None else environment.task
    demos.check_task(task, "the task" if environment is None else environment.name)
    kind = algorithms.of(algorithm, task.discrete)
    known = {f.name for f in fields(kind)}
    for name, value in changes.items():
        require(name in known, name, value, f"a setting of {kind.__name__}")
    # Whether an extension helps depends on some of the changes, so these are made before `suggest` is called.
    asked = {name: changes[name] for name in ("divergence", "form", "state_only") if name in changes}
    plain = kind(**({"divergence": "chi2_mixture"} | asked if "divergence" in known else asked))
    mode = mode_of(plain, env is not None, mode, None)
    total = default_steps(plain, mode) if steps is None else steps
    found, reasons = [], []
    if "extensions" in known and "extensions" not in changes:
        online = mode == "online"
        for extension in EXTENSIONS.values():
            part, reason = extension.suggest(visible(plain, demos), task.spanned(demos.act), plain, online, total)
            found += [] if part is None else [part]
            reasons += [reason] if reason else []
    extensions = changes.get("extensions", tuple(found))
    learner_rows = mode == "online" or any(extension.gives_transitions for extension in extensions)
    given_reward = any(extension.gives_reward for extension in extensions)
    if extensions and not found:
        reasons = [f"extensions as asked for, {', '.join(extension.name for extension in extensions)}"]
    reason = f"Recommended for {demos.source}, {mode}: {'; '.join(reasons) or 'no extension'}."
    more = {"reason": reason} | ({"extensions": extensions} if "extensions" in known else {})
    for extension in extensions:
        more |= {name: value for name, value in extension.suits.items() if name in known}
    settings = kind.recommended(learner_rows, given_reward, **(more | changes))
    if not quiet:
        notebook.remark(f"iqlearn: {reason}")
    return settings
