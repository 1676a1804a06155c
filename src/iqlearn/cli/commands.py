"""The commands: their flags, and their calls of the library. Modules that load slowly are imported where they are used.

The docstring of a command is its help. Each line for a flag declares it: name, placeholder of the value, [default],
and help.
"""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import iqlearn as iq
from iqlearn.cli import benchmark as benchmark_command
from iqlearn.cli import demos as demos_commands
from iqlearn.cli import export as export_command
from iqlearn.cli import hub as hub_commands
from iqlearn.cli import report as report_command
from iqlearn.cli.flags import as_flag, capped, check_episodes, named_demos, named_env, read_demos
from iqlearn.errors import InputError

DEFAULT_ENV = "CartPole-v1"
FEW = {"trajectories": 1, "subsample": 20}
"""The defaults of --trajectories and --subsample for the built-in demonstrations of the default environment."""


class Begun(NamedTuple):
    """The result of a first pass over the flags of a command, before the flags of the settings are read."""

    settings: Any
    """The default settings. Their fields decide which flags the command has."""
    environment: Any
    demos: Any
    mode: Any


def train(o: Namespace, begun: Begun, changes: dict[str, Any]) -> int:
    """Learn a policy and a reward from demonstrations, and evaluate them.

    Without flags it learns CartPole-v1 offline from every 20th step of one built-in demonstration.
    Settings that you do not give come from the preset. They depend on the algorithm and on the
    actions of --env or --demos: add --help-all to these flags to see all of them.
    Ctrl-C stops training and keeps the run; `iqlearn resume DIR` continues it.

    --env ID  Environment to act and to be evaluated in: a Gymnasium id, or MODULE:ID of a module of yours.
    --env-arg NAME=VALUE  Keyword argument of the environment. It may be given several times.
    --demos SOURCE  Demonstrations: a file or dataset of any format that `iqlearn demos convert --help` names (default:
        those that ship for the environment).
    --columns FIELD=NAME...  The table columns, or dictionary keys, of each field: obs=x,y act=u ep=run.
    --trust  Import the module that the demonstrations name for their environment, wherever it is. This runs its code.
    --max-demos-gib X  Largest size of the demonstrations in GiB (default: 4; for an .npz file 0.25, or 100 times
        the size of the file if that is more).
    --actions N  Number of discrete actions, if no environment is known (default: the largest in the file plus one).
    --trajectories K  Learn from K episodes, drawn by the seed (default: 1 of CartPole-v1's built-in ones, else all).
        At most ten of the others are held out, to evaluate policies on.
    --subsample N  Learn from every N-th transition (default: 20 of CartPole-v1's built-in ones, else 1).
    --mode online|offline  Act while learning, or learn from the demonstrations alone (default: online if the
        algorithm must act, or if actions are continuous and --env is given; else offline).
    --algorithm NAME [iq]  Family of the algorithm: {families}.
    --preset recommended|paper|ls-iq [recommended]  What works best for these demonstrations, the method of the paper,
        or LS-IQ (Al-Hafez et al., 2023).
    --extensions NAME...  Optional parts of the method, instead of those of the preset; `none` for none.
    --steps N  Updates offline, environment steps online (default: 100,000 online with continuous actions, else 10,000).
    --seeds N [1]  Train N seeds in parallel, from --seed up. Each has a folder seed-S in --out.
    --early-stopping N  Stop after N evaluations in which the learner's states came no closer to the expert's.
    --tensorboard DIR  Write the metrics to TensorBoard event files too.
    --out DIR  Run folder to write (default: a new one in runs/).
    --overwrite  Replace the run in --out.
    """
    from iqlearn import api
    from iqlearn.cli.output import finish
    from iqlearn.runs.folder import vacant
    from iqlearn.runs.provenance import Interaction, Schedule

    default, environment, demos, mode = begun
    if o.out is not None:
        vacant(o.out, o.overwrite)  # refused before anything slow
    if o.seeds < 1:
        raise InputError(f"--seeds is {o.seeds}; expected a number of at least 1.")
    acting, times = pop_fields(changes, Interaction), pop_fields(changes, Schedule)
    if acting and mode == "offline":
        raise InputError(f"{as_flag(min(acting))} has no effect offline; leave it out, or add --mode online.")
    played = [name for name in ("eval_episodes", "sampled", "eval_envs") if name in times]
    played += [] if o.early_stopping is None else ["early_stopping"]
    if played and times.get("evaluations") == 0:
        raise InputError(f"{as_flag(played[0])} has no effect with --evaluations 0; leave it out.")
    played += ["max_episode_steps"] if "max_episode_steps" in times else []
    if played and environment is None and demos.env is None:
        raise InputError(f"{as_flag(played[0])} has no effect without an environment; name one with --env.")
    steps = api.default_steps(default, mode) if o.steps is None else o.steps
    first = Schedule(steps, **times).seed
    seeds, parts = range(first, first + o.seeds), [demos] * o.seeds
    few = FEW if demos.source == f"builtin:{DEFAULT_ENV}" else {}
    if (k := few.get("trajectories") if o.trajectories is None else o.trajectories) is not None:
        parts = [part.take(k, seed) for part, seed in zip(parts, seeds, strict=True)]
    if (n := few.get("subsample") if o.subsample is None else o.subsample) is not None:
        parts = [part.subsample(n, seed=seed) for part, seed in zip(parts, seeds, strict=True)]
    name, task = (demos.source, None) if environment is None else (environment.name, environment.task)
    if task is not None:
        demos.check_task(task, name)
    settings = chosen(o, begun, parts[0], changes)
    interaction = Interaction(**acting) if mode == "online" else None
    api.visible(settings, demos)
    api.check(settings, demos.task_spec() if task is None else task, interaction, steps)
    how = arguments(o, settings, name)
    if o.early_stopping is not None:
        how["callbacks"].append(iq.EarlyStopping(o.early_stopping))
    if settings.reason:  # after all checks
        print(f"iqlearn: {settings.reason}", file=sys.stderr)
    how |= times | ({"seeds": seeds} if o.seeds > 1 else {})
    runs = api.learn(settings, parts, env=environment, mode=mode, interaction=interaction, **how)
    if o.seeds == 1:
        return finish([runs], [how["out"]])
    return finish(runs, [how["out"] / f"seed-{s}" for s in seeds])


def begin_train(o: Namespace) -> Begun:
    """Find the environment, the demonstrations, the mode and the default settings of `train`."""
    from iqlearn import algorithms, api

    check_family(o)
    named = named_env(o)  # first, so that a wrong environment is reported before wrong demonstrations
    demos = named_demos(o) or iq.Demos.builtin(o.env or DEFAULT_ENV)
    demos = demos if o.actions is None else demos.with_choices(o.actions)
    environment, _ = api.environment_of(demos, named, trust=o.trust)  # `learn` reports one that cannot be made
    task = demos.task_spec() if environment is None else environment.task
    kind = algorithms.of(o.algorithm, task.discrete)
    mode = api.mode_of(kind(), o.env is not None, o.mode, None)
    default = kind.recommended(mode == "online", False) if o.preset == "recommended" else published(o, kind)()
    return Begun(default, environment, demos, mode)


def check_family(o: Namespace) -> None:
    """Raise `InputError` if --algorithm names no family of algorithms that learn from demonstrations."""
    from iqlearn import algorithms

    if o.algorithm not in algorithms.imitators():
        raise InputError(f"--algorithm is {o.algorithm!r}; expected one of {', '.join(algorithms.imitators())}.")


def published(o: Namespace, kind: Any) -> Callable[..., Any]:
    """Return a function that builds the settings of a published method (--preset) with the given changes."""
    if o.preset == "paper":
        return kind
    if o.algorithm != "iq":
        raise InputError(f"--preset ls-iq is a form of algorithm iq; leave out --algorithm {o.algorithm}.")
    return kind.ls_iq


def chosen(o: Namespace, begun: Begun, demos: Any, changes: dict[str, Any]) -> Any:
    """Return the settings of the preset with the given --extensions and changes."""
    from iqlearn.algorithms.base import reward_extension
    from iqlearn.extensions import EXTENSIONS

    default, environment, _, mode = begun
    top = {name: value for name, value in changes.items() if "." not in name}

    def preset(**more: Any) -> Any:
        if o.preset != "recommended":
            return published(o, type(default))(**top, **more)
        how: dict[str, Any] = {"mode": mode, "steps": o.steps, "algorithm": o.algorithm, "quiet": True}
        return iq.recommended(demos, environment, **how, **top, **more)

    settings = preset()
    if o.extensions is not None:
        names = named_extensions(o, settings)
        own = {extension.name: extension for extension in settings.extensions}
        extensions = tuple(own.get(name, kind()) for name, kind in EXTENSIONS.items() if name in names)
        settings = preset(extensions=extensions) if extensions != settings.extensions else settings
    settings = changed(settings, changes)
    if "value_term" in changes and (settings.squared or reward_extension(settings.extensions)):
        raise InputError(
            "--value-term has no effect with a least-squares form or an extension that gives the reward; leave it out."
        )
    return settings


def named_extensions(o: Namespace, settings: Any) -> set[str]:
    """Return the names of --extensions.

    Raises:
        InputError: the algorithm of these settings has no such extension.
    """
    from iqlearn.extensions import EXTENSIONS

    names = {name.replace("-", "_") for name in o.extensions or ()} - {"none"}
    known = EXTENSIONS if has_extensions(settings) else {}
    for name in names - known.keys():
        wanted = f"some of {', '.join(known)}, or none" if known else "none, it takes no extensions"
        raise InputError(f"--extensions is {name!r} with algorithm {settings.name}; expected {wanted}.")
    return names


def expert(o: Namespace, begun: Begun, changes: dict[str, Any]) -> int:
    """Train an expert on the environment's own reward, or an agent on a recovered reward.

    It learns with soft Q-learning (discrete actions) or soft actor-critic (continuous ones).
    `iqlearn demos collect DIR` records its demonstrations. `iqlearn resume DIR` continues it after a stop.
    The settings depend on the actions of --env: add --help-all to --env to see all settings.

    --env ID  Environment to learn and to be evaluated in: a Gymnasium id, or MODULE:ID of a module of yours.
    --env-arg NAME=VALUE  Keyword argument of the environment. It may be given several times.
    --reward REWARD  Learn from a recovered reward: a run folder, or a file of `iqlearn reward --distil` or `--refit`.
        The evaluation reports the environment's own reward.
    --steps N  Environment steps (default: 100,000 with continuous actions, else 10,000).
    --tensorboard DIR  Write the metrics to TensorBoard event files too.
    --out DIR  Run folder to write (default: a new one in runs/).
    --overwrite  Replace the run in --out.
    """
    from iqlearn.cli.output import finish
    from iqlearn.runs.provenance import Schedule

    default, environment, *_ = begun
    acting, times = pop_fields(changes, iq.Interaction), pop_fields(changes, Schedule)
    settings = changed(default, changes)
    how = arguments(o, settings, environment.name) | times
    run = iq.train_expert(environment, settings, reward=o.reward, interaction=iq.Interaction(**acting), **how)
    return finish([run], [how["out"]])


def begin_expert(o: Namespace) -> Begun:
    """Find the environment and the default settings of `expert`."""
    from iqlearn import algorithms

    if (environment := named_env(o)) is None:
        raise InputError("--env is missing; expected the environment to learn in.")
    return Begun(algorithms.of(algorithms.EXPERT, environment.task.discrete)(), environment, None, "online")


def resume(o: Namespace) -> int:
    """Continue a stopped run from its last evaluation, with the same result as an uninterrupted run.

    It does not continue --early-stopping and --tensorboard of `iqlearn train`.

    DIR  Run folder, or the folder of several seeds, which continue in parallel.
    --trust  Import the module that the run folder names for its environment, wherever it is. This runs its code.
    --demos FILE  Where the file of demonstrations is now. Its SHA-256 must be the same.
    --max-demos-gib X  Largest size of the demonstrations in GiB (default: 4; for an .npz file 0.25, or 100 times
        the size of the file if that is more).
    --reward REWARD  Where the run folder or file of the reward is now, for an agent on a recovered reward.
    """
    from iqlearn.cli.output import finish
    from iqlearn.runs.folder import runs_in

    runs = iq.resume(o.dir, o.demos, reward=o.reward, max_gib=o.max_demos_gib, trust=o.trust)
    return finish(runs if isinstance(runs, list) else [runs], runs_in(o.dir))


def evaluate(o: Namespace) -> None:
    """Evaluate the policy of a run: play episodes and report the returns, or predict an expert's actions.

    For several seeds it reports the mean over the seeds with a 95 % confidence interval. With --demos it needs no
    environment. It then compares the policy's most likely actions with the expert's: the root mean squared error, in
    the units of the actions and relative to the standard deviation of the expert's (continuous actions), or the share
    of states in which they agree (discrete actions). It also reports the mean log-likelihood of the expert's actions.

    DIR  Run folder, or the folder of several seeds.
    --episodes N  Episodes to play (default: 20).
    --seed N  Seed of the episodes, which differ from those of training and `iqlearn demos collect` (default: 0).
    --env ID  Environment to play in, with the spaces of the run (default: that of the run).
    --max-episode-steps N  Steps after which every episode is truncated (default: as in training).
    --trust  Import the module that the run folder names for its environment, wherever it is. This runs its code.
    --sampled  Sample the actions from the policy (default: as in the evaluations of the training).
    --deterministic  Play the policy's most likely actions.
    --demos SOURCE  Predict the actions of these demonstrations instead. Episodes that the run learnt from are left out.
    --columns FIELD=NAME...  The table columns, or dictionary keys, of each field: obs=x,y act=u ep=run.
    --trajectories K  Use the first K of these episodes (default: all).
    --max-demos-gib X  Largest size of the demonstrations in GiB (default: 4; for an .npz file 0.25, or 100 times
        the size of the file if that is more).
    --video FILE  Write the first --episodes episodes (default: 3) as MP4, with the recovered reward and the return in
        the picture.
    --overwrite  Replace the file of --video.
    --render MODE  Show the first --episodes episodes (default: 3) in a window. MODE is human.
    --last  Use the policy of the last evaluation (default: of the one whose states were closest to the expert's).
    --json  Print one JSON object.
    """
    from iqlearn.cli.output import show, tabulate
    from iqlearn.evaluation.statistics import mean_interval
    from iqlearn.runs.folder import runs_in

    idle = (
        ("trajectories", "max_demos_gib", "columns")
        if o.demos is None
        else ("episodes", "seed", "env", "max_episode_steps", "sampled", "deterministic", "video", "render")
    )
    for name in idle:
        if getattr(o, name) not in (None, False):
            raise InputError(f"{as_flag(name)} has no effect with{'out' * (o.demos is None)} --demos; leave it out.")
    if o.overwrite and not o.video:
        raise InputError("--overwrite has no effect without --video; leave it out.")
    folders = runs_in(o.dir)
    if o.video or o.render:
        check_watched(o, folders)  # refused before any episode is played
    runs = {folder: iq.Run.load(folder, o.last, o.trust) for folder in folders}
    shown = o.episodes or FIRST
    facts, each = played(o, runs) if o.demos is None else predicted(o, runs)
    if o.dir in runs:
        show(facts | each[o.dir.name], o.json, ("returns",))
        if o.video or o.render:
            sys.stdout.flush()
            watched(o, runs[o.dir], shown)
        return
    for name in filter(next(iter(each.values())).__contains__, MEANS):
        values = [one[name] for one in each.values() if one[name] is not None]
        mean, *interval = mean_interval(values) if values else (None, None, None)
        facts |= {name: mean, f"{name}_interval": interval}
    show(facts | {"seeds": each}, o.json, ("seeds",))
    if not o.json:
        tabulate({seed: {name: one[name] for name in one if name != "returns"} for seed, one in each.items()})


FIRST = 3
"""The default number of episodes that `evaluate` shows with --video or --render."""
MEANS = ("mean_return", "normalised_return", "agreement", "action_error", "relative_error", "log_likelihood")
"""The figures that `evaluate` averages over seeds."""


def check_watched(o: Namespace, folders: list[Path]) -> None:
    """Check that a video or a window is possible, before any episode is played.

    Raises:
        InputError: there are several runs, --render is not human, the file cannot be written, or a package is not
            installed.
    """
    from iqlearn.evaluation.video import require

    if o.dir not in folders:
        raise InputError(
            f"--{'video' if o.video else 'render'} shows one run; expected one seed, such as {folders[0]}."
        )
    if o.render not in (None, "human"):
        raise InputError(f"--render is {o.render!r}; expected human.")
    if not o.video:
        return
    demos_commands.check_suffix(o.video, ".mp4")
    demos_commands.free(o.video, o.overwrite)
    require()


def watched(o: Namespace, run: Any, count: int) -> None:
    """Show the first episodes of `evaluate` in a window, or write them as a video."""
    from iqlearn.evaluation.returns import reset_seed
    from iqlearn.evaluation.video import video, window

    first = reset_seed("evaluate", o.seed or 0)
    environment = capped(run.environment(o.env), o)
    say = partial(print, file=sys.stderr)  # the standard output may be one JSON object
    act = run.player(sampled_of(o))
    if o.render:
        window(environment, act, count, first, say)
    if o.video:
        learns = run.settings.reward(run.model) is not None
        video(environment, act, run.reward if learns else None, o.video, count, first, say)
        say(f"written: {o.video}")


def sampled_of(o: Namespace) -> bool | None:
    """Return whether to sample the actions of the policy; None if neither flag is given."""
    return True if o.sampled else False if o.deterministic else None


def played(o: Namespace, runs: dict[Path, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Play episodes with each run. Return the facts that all runs share, and the figures of each run by folder name."""
    from iqlearn.evaluation.returns import normalised

    o.episodes, o.seed = 20 if o.episodes is None else o.episodes, o.seed or 0
    check_episodes(o)
    if o.sampled and o.deterministic:
        raise InputError("--sampled and --deterministic are both given; expected one of them.")
    first = next(iter(runs.values()))
    environment, sampled = capped(first.environment(o.env), o), sampled_of(o)
    each: dict[str, dict[str, Any]] = {}
    for folder, run in runs.items():
        returns, same = run.evaluate(o.episodes, o.seed, environment, sampled), environment == run.origin.environment
        spread = {f"{name}_return": float(getattr(returns, name)()) for name in ("mean", "std", "min", "max")}
        ends = (run.result.get(f"{name}_return") if same else None for name in ("expert", "random"))
        share = {"normalised_return": normalised(spread["mean_return"], *ends)}
        each[folder.name] = spread | share | {"returns": returns.tolist()}
    return {"env": environment.name, "episodes": o.episodes, "seed": o.seed}, each


def predicted(o: Namespace, runs: dict[Path, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Measure how well each run predicts the expert's actions. Returns as `played`."""
    demos, each = read_demos(o), {}
    for folder, run in runs.items():
        held_out = run.held_out(demos)
        if held_out is None:
            print(f"iqlearn: {folder} learnt from every episode of {demos.source}; none is held out.", file=sys.stderr)
        part = demos if held_out is None else held_out
        part = part if o.trajectories is None else part.take(o.trajectories)
        counts = {"episodes": part.episodes, "transitions": len(part), "held_out": held_out is not None}
        each[folder.name] = run.imitation(part) | counts
    return {"demos": demos.source}, each


def reward(o: Namespace) -> None:
    """Compute the recovered reward of transitions, and compare it with the true reward where that is known.

    It prints the correlations (Pearson, Spearman) by transition and by episode (undiscounted returns). It writes
    reward.json and reward.png, which shows the recovered against the true reward, both over the steps of an
    episode, and maps of the reward if states are 2-D.

    DIR  Run folder.
    --demos SOURCE  Demonstrations to use (default, without --rollouts: the built-in ones of the run's environment).
    --columns FIELD=NAME...  The table columns, or dictionary keys, of each field: obs=x,y act=u ep=run.
    --max-demos-gib X  Largest size of the demonstrations in GiB (default: 4; for an .npz file 0.25, or 100 times
        the size of the file if that is more).
    --rollouts KINDS  Play and use episodes of these kinds too, separated by commas: policy (that of the run),
        random, noisy (the run's policy with 5 to 75 % of its actions replaced by random ones).
    --episodes N  Number of episodes of each kind (default: 20).
    --seed N  Seed of the episodes, which differ from those of training and evaluation (default: 0).
    --distil state|state-action  Fit a small network, which reads states or states and actions, to the recovered
        reward of these transitions, and write it to reward-KIND.safetensors (for `iqlearn expert --reward`).
    --refit state|state-action  Fit a new reward for training other agents, and compare it instead. Its targets are
        +r_max on the run's demonstrations, and -r_max on new episodes of a random and a noisy policy and on states
        with recombined coordinates. It is written to refit-KIND.safetensors, its figures to refit-KIND.json and .png.
    --last  Use policy and reward of the last evaluation (default: those whose states were closest to the expert's).
    --trust  Import the module that the run folder names for its environment, wherever it is. This runs its code.
    --out DIR  Folder to write to (default: the run folder).
    --json  Print one JSON object.
    """
    from iqlearn import api
    from iqlearn.cli.output import show, tabulate, written
    from iqlearn.data.demos import BUILTIN
    from iqlearn.rewards.base import REFIT, REWARD
    from iqlearn.rewards.compare import compare, distilled, material, refitted
    from iqlearn.training.callbacks import working

    idle = [name for name in ("episodes", "seed") if getattr(o, name) is not None]
    if idle and not o.rollouts and not o.refit:
        raise InputError(f"--{idle[0]} has no effect without --rollouts or --refit; leave it out.")
    o.episodes, o.seed = 20 if o.episodes is None else o.episodes, o.seed or 0
    check_episodes(o)
    if o.distil and o.refit:
        raise InputError("--distil and --refit are both given; expected one of them.")
    run, kinds = iq.Run.load(o.dir, o.last, o.trust), [kind for kind in (o.rollouts or "").split(",") if kind]
    judged, environment, demos = run.reward, run.origin.environment, named_demos(o)
    if demos is None and not kinds:
        if run.origin.title not in BUILTIN:
            raise InputError(f"No demonstrations ship for {run.origin.title}; give --demos FILE or --rollouts KINDS.")
        demos = iq.Demos.builtin(run.origin.title)
    if demos is not None:
        demos.check_task(run.task, run.origin.title)
    out, stem = o.out or o.dir, REFIT.format(o.refit) if o.refit else REWARD
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{out} cannot be made ({error.strerror}); expected a folder, choose another --out."
        ) from error
    own = api.demos_of(run, o.dir) if o.refit else None
    with working("playing episodes …") as tell:
        sets = material(environment, run.player(), demos, kinds, o.episodes, o.seed, run.schedule.eval_envs)
        if own is not None:
            tell("fitting a reward …")
            how = o.refit, o.episodes, o.seed, out, run.schedule.eval_envs
            judged = refitted(environment, run.player(), judged, own, *how)
        title = f"{run.origin.title} · seed {run.schedule.seed}{f' · refitted reward of {o.refit}' if o.refit else ''}"
        fitted = [out / f"{stem}.safetensors"] if o.refit else []
        with written(*fitted):
            facts = compare(environment, judged, sets, out / stem, title)
        facts |= {"refitted": str(fitted[0])} if fitted else {}
        if o.distil:
            tell("fitting a reward …")
            with written(*sorted(out.glob(f"{stem}.*"))):
                facts |= distilled(run.reward, sets, o.distil, out)
    show({"run": str(o.dir), **({} if demos is None else {"demos": demos.source}), **facts}, o.json, ("kinds",))
    if not o.json:
        tabulate(facts["kinds"])
        found = {*map(str, out.glob(f"{stem}.*")), *(facts[name] for name in ("distilled",) if name in facts)}
        print(f"written: {', '.join(sorted(found))}")


COMMANDS: dict[str, Callable[..., int | None]] = {
    "train": train,
    "expert": expert,
    "resume": resume,
    "evaluate": evaluate,
    "reward": reward,
    "export": export_command.export,
    "report": report_command.report,
    "benchmark": benchmark_command.benchmark,
    "push": hub_commands.push,
    "pull": hub_commands.pull,
    **demos_commands.COMMANDS,
}
BEGINNINGS: dict[str, Callable[[Namespace], Begun]] = {"train": begin_train, "expert": begin_expert}
"""For each command that trains, the function for the first pass over its flags."""


def pop_fields(changes: dict[str, Any], kind: Any) -> dict[str, Any]:
    """Remove the changes that are settings of this class, and return them."""
    return {f.name: changes.pop(f.name) for f in fields(kind) if f.name in changes}


def changed(settings: Any, changes: dict[str, Any]) -> Any:
    """Return the settings with these changes. A change of a part is named as in `critic.hidden`.

    Raises:
        InputError: the part is an extension that is not active, or a value is out of range.
    """
    top: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        part, _, last = name.rpartition(".")
        (parts.setdefault(part, {}) if part else top)[last] = value
    active = {extension.name: replace(extension, **parts.pop(extension.name, {})) for extension in settings.extensions}
    for part, values in parts.items():
        if not hasattr(settings, part):
            flag = as_flag(f"{part}.{min(values)}")
            raise InputError(f"{flag} has no effect without extension {part}; leave it out, or add it to --extensions.")
        top[part] = replace(getattr(settings, part), **values)
    return replace(settings, **top, **({"extensions": tuple(active.values())} if has_extensions(settings) else {}))


def has_extensions(settings: Any) -> bool:
    """Whether extensions are a setting of the algorithm."""
    return "extensions" in {f.name for f in fields(settings)}


def arguments(o: Namespace, settings: Any, name: str) -> dict[str, Any]:
    """Return the arguments that `learn` and `train_expert` share."""
    from iqlearn.runs.folder import fresh

    if o.overwrite and o.out is None:
        raise InputError("--overwrite has no effect without --out; name the folder with the run to replace.")
    stem = re.sub(r'[<>:"/\\|?*\s]+', "-", Path(name.rpartition(":")[2]).stem)  # Windows forbids these
    out = o.out or fresh(Path("runs"), f"{stem}-{settings.name}")
    callbacks = [] if o.tensorboard is None else [iq.TensorBoard(o.tensorboard)]
    return {"steps": o.steps, "out": out, "overwrite": o.overwrite, "callbacks": callbacks}
