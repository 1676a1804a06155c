"""What each command does, with the library as its users have it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from iqlearn import records
from iqlearn.beginning import begin, begin_expert
from iqlearn.data import Demos
from iqlearn.data.demos import BUILTIN
from iqlearn.envs import gym
from iqlearn.errors import InputError
from iqlearn.evaluation import Evaluator, normalised
from iqlearn.evaluation.returns import as_arrays
from iqlearn.folders import claim, seeds_in, vacant
from iqlearn.judging import compare, distilled, judge, material, refitted
from iqlearn.learning import continue_runs, resume_seeds
from iqlearn.progress import working
from iqlearn.run import Run
from iqlearn.settings import Interaction
from iqlearn.settings.presets import Expert, online_by_default
from iqlearn.sources import check_demos, evaluated_in, visible
from iqlearn.start import Origin
from iqlearn.telling import finish, show, tabulate

if TYPE_CHECKING:
    from iqlearn import flags

DEFAULT_ENV = "CartPole-v1"
BUILTIN_TRAJECTORIES, BUILTIN_SUBSAMPLE = 1, 20


def train(options: flags.Train[Any]) -> None:
    if options.offline and options.online:
        raise InputError("Both --offline and --online are given; expected one of them.")
    if options.seeds < 1:
        raise InputError(f"--seeds is {options.seeds}; expected a number of at least 1.")
    builtin = options.demos is None
    if options.out is not None:
        vacant(options.out, options.overwrite)  # told before anything that takes time
    if options.env is not None:
        gym.task_spec(options.env)  # an unknown environment is told before anything about demonstrations
    demos = Demos.builtin(options.env or DEFAULT_ENV) if options.demos is None else Demos.load(options.demos)
    demos = visible(options.learner, demos)
    for remark in demos.remarks():
        print(f"iqlearn: {demos.source}: {remark}", file=sys.stderr)
    online = options.online or (not options.offline and online_by_default(options.learner, options.env))
    env, why_not = evaluated_in(options.env, demos, online)
    if why_not is not None:
        print(f"iqlearn: {why_not}", file=sys.stderr)
    interaction = options.interaction if online else None
    if not online and options.interaction != Interaction():
        raise InputError("Flags of acting (--num-envs and the like) are given, but it learns offline; add --online.")
    trajectories, subsample = options.trajectories, options.subsample
    if builtin and env == DEFAULT_ENV:
        trajectories = BUILTIN_TRAJECTORIES if trajectories is None else trajectories
        subsample = BUILTIN_SUBSAMPLE if subsample is None else subsample
    subsample = 1 if subsample is None else subsample
    runs, parts = [], []
    for seed in range(options.schedule.seed, options.schedule.seed + options.seeds):
        part = chosen(demos, trajectories, subsample, seed)
        path = None if options.demos is None else str(options.demos.resolve())
        origin = Origin(env, demos.source, part.sha256(), len(part), part.episodes, trajectories, subsample, path)
        schedule = replace(options.schedule, seed=seed)
        with working("preparing …") as tell:
            runs.append(begin(options.learner, part, schedule, env, origin, interaction, tell))
        parts.append(part)
    out = options.out or fresh(Path("runs"), f"{Path(env or demos.source).stem}-{options.learner.name}")
    folders = [out] if options.seeds == 1 else [out / f"seed-{run.schedule.seed}" for run in runs]
    claim(out, options.overwrite)
    for folder in folders:
        claim(folder, options.overwrite)
    finish(continue_runs(runs, parts, list(folders)), folders)


def expert(options: flags.TrainExpert[Any]) -> None:
    if options.out is not None:
        vacant(options.out, options.overwrite)
    run = begin_expert(options.learner, options.schedule, options.env, options.interaction, options.reward)
    out = options.out or fresh(Path("runs"), f"{Path(options.env).stem}-{options.learner.name}")
    if options.reward is not None and out.resolve() in (options.reward.resolve(), *options.reward.resolve().parents):
        raise InputError(f"--out {out} holds the reward that --reward names; choose another folder.")
    claim(out, options.overwrite)
    finish(continue_runs([run], [], [out]), [out])


def resume(options: flags.Resume) -> None:
    folders = seeds_of(options.dir)
    runs = [Run.load(folder) for folder in folders]
    demos = [
        None if run.origin.demos is None else shown(run, folder) for run, folder in zip(runs, folders, strict=True)
    ]
    finish(resume_seeds(folders, demos), folders)


def evaluate(options: flags.Evaluate) -> None:
    if options.episodes < 1 or options.seed < 0:
        raise InputError("--episodes must be at least 1 and --seed at least 0.")
    run = Run.load(options.dir, options.best)
    returns = run.evaluate(options.episodes, options.seed, options.env, options.sampled or None)
    expert, random = run.result.get("expert_return"), run.result.get("random_return")
    same_env = options.env in (None, run.origin.env)
    mean = float(returns.mean())
    facts = {
        "env": options.env or run.origin.env,
        "episodes": len(returns),
        "seed": options.seed,
        "mean_return": mean,
        "std_return": float(returns.std()),
        "min_return": float(returns.min()),
        "max_return": float(returns.max()),
        "normalised_return": normalised(mean, expert, random) if same_env else None,
        "returns": returns.tolist(),
    }
    show(facts, options.json, hide=("returns",))


def reward(options: flags.Reward) -> None:
    if options.distil is not None and options.refit is not None:
        raise InputError("Both --distil and --refit are given; expected one of them.")
    if options.seed < 0:
        raise InputError(f"--seed is {options.seed}; expected a number of at least 0.")
    run = Run.load(options.dir, options.best)
    kinds = [kind for kind in options.rollouts.split(",") if kind]
    demos = None if options.demos is None else Demos.load(options.demos)
    if demos is None and not kinds:
        if run.origin.env not in BUILTIN:
            of = run.origin.env or "a run without an environment"
            raise InputError(f"No demonstrations ship for {of}; give --demos FILE or --rollouts KINDS.")
        demos = Demos.builtin(str(run.origin.env))
    with working("playing episodes …"):
        sets = material(run, demos, kinds, options.episodes, options.seed)
    out, stem, told = options.out or options.dir, records.REWARD, run.reward
    if options.refit is not None:
        with working("fitting a reward …"):
            told = refitted(run, shown(run, options.dir), options.refit, options.episodes, options.seed, out)
        stem = records.REFIT.format(options.refit)
    title = f"{run.origin.env or run.origin.demos} · seed {run.schedule.seed}"
    title += "" if options.refit is None else f" · refitted reward of {options.refit}"
    with working("judging …"):
        judged = judge(told, sets)
        facts = compare(run, told, sets, judged, out / stem, title)
    if options.refit is not None:
        facts["refitted"] = str(out / f"{stem}.safetensors")
    if options.distil is not None:
        with working("fitting a reward …"):
            facts |= distilled(run, sets, judged, options.distil, out)
    source = {} if demos is None else {"demos": demos.source}
    show({"run": str(options.dir), **source, **facts}, options.json, hide=("kinds",))
    if not options.json:
        tabulate(facts["kinds"])
        written = [*map(str, sorted(out.glob(f"{stem}.*"))), *([facts["distilled"]] if "distilled" in facts else [])]
        print(f"written: {', '.join(written)}")


def inspect(options: flags.Inspect) -> None:
    demos = Demos.load(options.file)
    facts = demos.summary()
    if options.env is not None:
        demos.check_task(gym.task_spec(options.env), options.env)
        if demos.env not in (None, options.env):
            facts["remarks"].append(f"the file names another environment, {demos.env}")
    show(facts, options.json)


def collect(options: flags.Collect) -> None:
    if options.out.exists() and not options.overwrite:
        raise InputError(f"{options.out} exists; choose another --out, or add --overwrite to replace it.")
    if options.episodes < 1 or options.seed < 0:
        raise InputError("--episodes must be at least 1 and --seed at least 0.")
    run = Run.load(options.dir, options.best)
    if run.origin.env is None:
        raise InputError(f"{options.dir} names no environment; expected a run trained with --env.")
    evaluator = Evaluator(run.origin.env)
    episodes = evaluator.play(run.played, options.episodes, options.seed)
    evaluator.close()
    arrays = {**as_arrays(episodes), "env": np.array(run.origin.env)}
    demos = Demos.from_arrays(arrays, str(options.out))
    demos.save(options.out)
    show(demos.summary(), as_json=False)


def chosen(demos: Demos, trajectories: int | None, subsample: int, seed: int) -> Demos:
    """The part of the demonstrations that a seed learns from."""
    part = demos if trajectories is None else demos.take(trajectories, seed)
    return part.subsample(subsample, seed=seed)


def shown(run: Run, folder: Path) -> Demos:
    """What a run saw of the demonstrations, read again; refused if that is not what it began with."""
    origin = run.origin
    assert origin.demos is not None
    assert not isinstance(run.settings, Expert)
    builtin = origin.path is None and origin.demos.startswith("builtin:")
    from_python = f"{folder} learns from demonstrations that were put together in Python; expected them from there: "
    from_python += f"iq.resume({str(folder)!r}, demos) goes on, run.reward.refit(demos, others) fits a reward."
    if origin.path is None and not builtin:
        raise InputError(from_python)
    demos = Demos.load(origin.path) if origin.path else Demos.builtin(origin.demos.removeprefix("builtin:"))
    demos = visible(run.settings, chosen(demos, origin.trajectories, origin.subsample, run.schedule.seed))
    if builtin and demos.sha256() != origin.sha256:
        raise InputError(from_python)
    check_demos(origin, demos, folder)
    return demos


def seeds_of(folder: Path) -> list[Path]:
    """The run folders that `train --seeds` made in there, in the order of their seeds; else the folder itself."""
    alone = (folder / records.CONFIG).is_file()
    return [folder] if alone else [folder / name for name in seeds_in(folder)] or [folder]


def fresh(parent: Path, stem: str) -> Path:
    """A folder that does not exist yet: stem, stem-2, stem-3, …"""
    names = (stem if i == 1 else f"{stem}-{i}" for i in range(1, 1_000_000))
    return next(parent / name for name in names if not (parent / name).exists())
