"""The commands that train: `iqlearn train`, `iqlearn expert` and `iqlearn resume`."""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import iqlearn as iq
from iqlearn.cli.flags import as_flag, has_extensions, named_demos, named_env
from iqlearn.cli.parser import Parser, UnknownFlag
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
    --algorithm NAME [iq]  Family of the algorithm: {families}. csil and valuedice need continuous actions.
    --preset recommended|paper|ls-iq [recommended]  What works best for these demonstrations, the method of the paper,
        or LS-IQ (Al-Hafez et al., 2023). The last two belong to algorithm iq.
    --extensions NAME...  Optional parts of the method, instead of those of the preset; `none` for none.
    --steps N  Updates offline, environment steps online (default: 100,000 online with continuous actions, else 10,000).
    --seeds N [1]  Train N seeds in parallel, from --seed up. Each has a folder seed-S in --out.
    --early-stopping N  Stop after N evaluations in which the learner's states came no closer to the expert's.
    --tensorboard DIR  Write the metrics to TensorBoard event files too.
    --out DIR  Run folder to write (default: a new one in runs/).
    --overwrite  Replace the run in --out.
    """
    from iqlearn import api, checks
    from iqlearn.cli.output import finish
    from iqlearn.runs.folder import vacant
    from iqlearn.runs.provenance import Interaction, Schedule
    from iqlearn.training.callbacks import working

    default, environment, demos, mode = begun
    if o.out is not None:
        vacant(o.out, o.overwrite)  # refused before anything slow
    for name in ("seeds", "early_stopping"):
        if (count := getattr(o, name)) is not None and count < 1:
            raise InputError(f"{as_flag(name)} is {count}; expected a number of at least 1.")
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
    steps = checks.default_steps(default, mode) if o.steps is None else o.steps
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
    interaction = Interaction(**acting) if mode == "online" else None
    if o.extensions is None:  # to choose them takes a while
        checks.check_steps(default, interaction, steps, "; recommended extensions may need more")
    with working("choosing settings …"):
        settings = chosen(o, begun, parts[0], changes)
    checks.visible(settings, demos)
    checks.check(settings, demos.task_spec() if task is None else task, interaction, steps)
    how = arguments(o, settings, name)
    if o.early_stopping is not None:
        how["callbacks"].append(iq.EarlyStopping(o.early_stopping))
    if settings.reason:  # after all checks
        print(f"iqlearn: {settings.reason}", file=sys.stderr)
    if o.seeds > 1:  # `seeds` takes the place of `seed`
        times = {name: value for name, value in times.items() if name != "seed"} | {"seeds": seeds}
    how |= times
    runs = api.learn(settings, parts, env=environment, mode=mode, interaction=interaction, **how)
    if o.seeds == 1:
        return finish([runs], [how["out"]])
    return finish(runs, [how["out"] / f"seed-{s}" for s in seeds])


def begin_train(o: Namespace) -> Begun:
    """Find the environment, the demonstrations, the mode and the default settings of `train`."""
    from iqlearn import algorithms, checks

    check_family(o)
    named = named_env(o)  # first, so that a wrong environment is reported before wrong demonstrations
    demos = named_demos(o) or iq.Demos.builtin(o.env or DEFAULT_ENV)
    demos = demos if o.actions is None else demos.with_choices(o.actions)
    environment, _ = checks.environment_of(demos, named, trust=o.trust)  # `learn` reports one that cannot be made
    task = demos.task_spec() if environment is None else environment.task
    kind = algorithms.of(o.algorithm, task.discrete)
    mode = checks.mode_of(kind(), o.env is not None, o.mode, None)
    default = kind.recommended(mode == "online", False) if o.preset == "recommended" else published(o, kind)()
    return Begun(default, environment, demos, mode)


def check_family(o: Namespace) -> None:
    """Check that --algorithm names a family of algorithms that learn from demonstrations, and that --preset fits it.

    Raises:
        InputError: there is no such family, or it has no presets.
    """
    from iqlearn import algorithms

    if o.algorithm not in algorithms.imitators():
        raise InputError(f"--algorithm is {o.algorithm!r}; expected one of {', '.join(algorithms.imitators())}.")
    if o.preset != "recommended" and o.algorithm != "iq":
        raise InputError(
            f"--preset {o.preset} belongs to algorithm iq; leave out --preset or --algorithm {o.algorithm}."
        )


def published(o: Namespace, kind: Any) -> Callable[..., Any]:
    """Return a function that builds the settings of a published method (--preset) with the given changes."""
    return kind if o.preset == "paper" else kind.ls_iq


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


def check_train(words: Sequence[str]) -> None:
    """Check the flags of `iqlearn train` without making the environment and without reading the demonstrations.

    The kind of the actions is not known then, so a flag counts if the algorithm has it for either kind. The ranges of
    the settings of the algorithm and its extensions are checked by `iqlearn train` itself.

    Raises:
        InputError: a flag is unknown or has a wrong value.
    """
    from iqlearn.algorithms import ALGORITHMS
    from iqlearn.runs.provenance import Interaction, Schedule

    options = parser_of(None).parse_known_args([*words])[0]
    check_family(options)
    faults = []
    for name, kind in ALGORITHMS.items():
        if kind.family == options.algorithm:
            try:
                given = vars(parser_of(kind).read([*words], f" with algorithm {name}"))
                changes = {name: given[name] for name in given if name not in vars(options)}
                named_extensions(options, kind)
                Interaction(**pop_fields(changes, Interaction))
                Schedule(Schedule.steps if options.steps is None else options.steps, **pop_fields(changes, Schedule))
                return
            except InputError as error:
                faults.append(error)
    raise next((fault for fault in faults if not isinstance(fault, UnknownFlag)), faults[0])


@cache
def parser_of(kind: Any) -> Parser:
    """Return the parser of `iqlearn train` with the flags of this class of settings; only its own flags for None."""
    parser = Parser("train", train, has_settings=True, short=True)
    if kind is not None:
        parser.add_all(kind(), True)
    return parser


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


def arguments(o: Namespace, settings: Any, name: str) -> dict[str, Any]:
    """Return the arguments that `learn` and `train_expert` share."""
    from iqlearn.runs.folder import fresh

    if o.overwrite and o.out is None:
        raise InputError("--overwrite has no effect without --out; name the folder with the run to replace.")
    stem = re.sub(r'[<>:"/\\|?*\s]+', "-", Path(name.rpartition(":")[2]).stem)  # Windows forbids these
    out = o.out or fresh(Path("runs"), f"{stem}-{settings.name}")
    callbacks = [] if o.tensorboard is None else [iq.TensorBoard(o.tensorboard)]
    return {"steps": o.steps, "out": out, "overwrite": o.overwrite, "callbacks": callbacks}
