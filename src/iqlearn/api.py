"""The functions that train: `learn`, `train_expert` and `resume`; and the recommended settings: `recommended`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

import jax

from iqlearn import algorithms, interrupts
from iqlearn.algorithms.base import Algorithm
from iqlearn.data.demos import Demos
from iqlearn.envs.gym import Environment, EnvSource
from iqlearn.envs.modules import Untrusted
from iqlearn.errors import InputError, require
from iqlearn.extensions import EXTENSIONS
from iqlearn.files import Arrays, sha256
from iqlearn.networks.host import as_arrays
from iqlearn.rewards.distil import DistilledReward
from iqlearn.rewards.recovered import RecoveredReward
from iqlearn.runs import folder as run_folder
from iqlearn.runs.lock import locked
from iqlearn.runs.manifest import newest_checkpoint
from iqlearn.runs.provenance import Interaction, Mode, Origin, Schedule
from iqlearn.runs.run import Run
from iqlearn.training import notebook
from iqlearn.training.callbacks import Callback, GuardReport, Progress, RunFolder, working
from iqlearn.training.learner import Learner, steps_before_updates
from iqlearn.training.trainer import Trainer
from iqlearn.types import Bounds, RewardFunction, TaskSpec

SHORT, LONG = 10_000, 100_000
"""Default `steps`: `LONG` online with continuous actions, else `SHORT`; environment steps online, updates offline."""
MOVED = " If that was moved, name it with --{0} (in Python {0}=...)."
Callbacks = Sequence[Callback | Callable[[Trainer], Any]]


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
    if isinstance(settings, type):
        raise InputError(f"settings is the class {settings.__name__}; expected an object, iq.{settings.__name__}().")
    several = [seed] if seeds is None else [int(s) for s in seeds]
    require(len(several) > 0, "seeds", several, "one seed at least")
    parts = [demos] * len(several) if isinstance(demos, Demos) else list(demos) if isinstance(demos, Sequence) else []
    if not parts or not all(isinstance(part, Demos) for part in parts):
        raise InputError(f"demos is a {type(demos).__name__}; expected Demos, as iq.Demos.load(FILE) gives them.")
    if len(parts) != len(several) or len(set(several)) < len(several):
        raise InputError(
            f"{len(parts)} demonstrations for seeds {several}; expected one set for each, seeds that differ."
        )
    if settings.family == algorithms.EXPERT:
        told = f"settings is {type(settings).__name__}, which learns from rewards"
        raise InputError(f"{told}; expected an algorithm that imitates, such as iq.IQLearn(), or call iq.train_expert.")
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
    if settings.family != algorithms.EXPERT:
        told = f"settings is {type(settings).__name__}, which learns from demonstrations"
        raise InputError(f"{told}; expected iq.SoftQLearning() or iq.SAC(), or call iq.learn.")
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
            raise InputError(f"{told}; expected none, leave it out.")


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


def same_held_out(run: Run, folder: Path, demos: Demos) -> Demos:
    """Return the demonstrations, with the held-out episodes that the run began with, or without any if it had none.

    Raises:
        InputError: the held-out episodes are missing, or are not those that the run began with.
    """
    if not run.origin.held_out_sha256:
        return replace(demos, held_out=None)
    what = f"The part of {demos.source} that was held out from learning"
    if demos.held_out is None:
        raise InputError(f"{what} is missing; expected the same `take` of the demonstrations that {folder} began with.")
    require_same(what, folder, run.origin.held_out_sha256, demos.held_out.sha256())
    return demos


def demos_of(
    run: Run, folder: Path, demos: Demos | str | Path | None = None, max_gib: float | None = None, hint: str = ""
) -> Demos:
    """Return the demonstrations that a run learnt from, as its learner saw them.

    `demos` is the demonstrations or their file. By default they are read again from the source that the run names.
    `hint` is the end of the error message if they cannot be read.

    Raises:
        InputError: the demonstrations cannot be read, or are not those that the run began with.
    """
    origin = run.origin
    if not isinstance(demos, Demos):
        path = origin.path if demos is None else str(demos)
        try:
            limit = origin.max_gib if max_gib is None else max_gib
            demos = Demos.find(str(origin.demos), path, origin.selection, limit, origin.columns)
        except InputError as error:
            raise InputError(f"{folder} learns from demonstrations: {error}{hint}") from error
    demos = visible(run.settings, demos)
    require_same(demos.source, folder, origin.sha256, demos.sha256())
    return demos


def require_same(what: str, folder: Path, expected: str, found: str, remedy: str = "") -> None:
    """Raise `InputError` unless two SHA-256 agree."""
    if found != expected:
        digests = f"expected SHA-256 {expected[:12]}…, found {found[:12]}…"
        raise InputError(f"{what} is not what {folder} began with; {digests}{remedy}.")


def load_reward(path: str | Path, task: TaskSpec) -> tuple[RecoveredReward | DistilledReward, str]:
    """Return the reward of a run folder, or the distilled reward in a file, and the SHA-256 of the file that holds it.

    Raises:
        InputError: there is no reward at the path, or the reward is of another task.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(
            f"No reward at {path}; expected a run folder, or a file of iqlearn reward --distil or --refit."
        )
    reward = Run.load(path).reward if path.is_dir() else DistilledReward.load(path)
    if reward.spec != task:
        raise InputError(
            f"The reward at {path} is of a task with {reward.spec}; expected {task}, as the environment has."
        )
    return reward, sha256(path / run_folder.MODEL if path.is_dir() else path)


def same_reward(run: Run, folder: Path, path: str | Path | None = None) -> RecoveredReward | DistilledReward:
    """Return the reward that an expert began with, at the discount of its settings.

    `path` is the run folder or file that now holds the reward, by default the one that the run names.

    Raises:
        InputError: the reward is missing, or is not the one that the run began with.
    """
    path = str(run.origin.reward) if path is None else path
    try:
        reward, found = load_reward(path, run.task)
    except InputError as error:
        raise InputError(f"{folder} learns from a reward: {error}{MOVED.format('reward')}") from error
    remedy = "; put the old one back, or begin anew with iqlearn expert"
    require_same(f"The reward at {path}", folder, run.origin.reward_sha256, found, remedy)
    return reward.at_discount(cast(Any, run.settings).gamma)
