"""The commands that begin with `iqlearn demos`."""

from __future__ import annotations

import sys
from argparse import Namespace
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import iqlearn as iq
from iqlearn.cli.flags import as_flag, capped, check_episodes, check_target, env_field, named_env, read_demos
from iqlearn.errors import InputError


def inspect(o: Namespace) -> None:
    """Check demonstrations, and print what is in them. It refuses every file that `iqlearn train` refuses.

    If the environment that the source names cannot be made, that is only a remark.

    SOURCE  A file or dataset of any format that `iqlearn demos convert --help` names.
    --columns FIELD=NAME...  The table columns, or dictionary keys, of each field: obs=x,y act=u ep=run.
    --env ID  Compare with the spaces of this environment (default: the one that the source names).
    --trust  Import the module that the source names for its environment, wherever it is. This runs its code.
    --actions N  Number of discrete actions, if no environment is known.
    --max-demos-gib X  Largest size of the demonstrations in GiB (default: 4; for an .npz file 0.25, or 100 times
        the size of the file if that is more).
    --episodes  Print the length and return of each episode, too.
    --json  Print one JSON object.
    """
    from iqlearn import checks
    from iqlearn.cli.output import show, tabulate
    from iqlearn.data import inspection

    demos = read_demos(o, o.source)
    demos = demos if o.actions is None else demos.with_choices(o.actions)
    environment, error = checks.environment_of(demos, o.env, trust=o.trust)
    if environment is not None:
        demos.check_task(environment.task, environment.name)
    elif demos.act is not None:
        demos.task_spec()
    facts = demos.summary()
    if error is not None:
        facts["remarks"].append(f"the file names an environment that cannot be made, so nothing is compared: {error}")
    if demos.act is None:
        facts["remarks"].append("no actions: train with --state-only and --env")
    if o.env is not None and demos.env not in (None, o.env):
        facts["remarks"].append(f"the file names another environment, {demos.env}")
    if o.episodes:
        facts["each_episode"] = inspection.episodes(demos)
    show(facts, o.json, ("each_episode",))
    if o.episodes and not o.json:
        each = facts["each_episode"]
        tabulate({name: {str(one["episode"]): one[name] for one in each} for name in ("steps", "end", "return")})


def collect(o: Namespace) -> None:
    """Record demonstrations: play the policy of a run or of Stable-Baselines3, and write its episodes.

    DIR [optional]  Run folder.
    --sb3 ZIP  Play this policy of Stable-Baselines3 (a file of `model.save`) instead of a run's, with deterministic
        actions.
    --env ID  Environment to play the policy of --sb3 in: a Gymnasium id, or MODULE:ID of a module of yours.
    --env-arg NAME=VALUE  Keyword argument of the environment. It may be given several times.
    --vecnormalize FILE  Normalise observations for --sb3 as this file of `VecNormalize.save` does, for instance
        vecnormalize.pkl. It is a pickle and needs --trust.
    --out TARGET [required]  File to write (.npz, .parquet, .arrow or .csv), or `minari:ID`.
    --episodes N [10]  Episodes to record.
    --seed N [0]  Seed of the episodes, which differ from those of training and evaluation.
    --max-episode-steps N  Steps after which every episode is truncated (default: as in training).
    --last  Use the policy of the last evaluation (default: of the one whose states were closest to the expert's).
    --trust  Import the module that the run folder names for its environment, wherever it is. With --sb3: unpickle the
        files. Both run code that the files choose.
    --overwrite  Replace the file.
    """
    from iqlearn.cli.output import show
    from iqlearn.evaluation import sb3
    from iqlearn.evaluation.returns import LANES, Evaluator, as_arrays, reset_seed

    if (o.dir is None) == (o.sb3 is None):
        told = "are both given" if o.sb3 else "are both missing"
        raise InputError(f"DIR and --sb3 {told}; expected a run folder, or --sb3 with the zip of a policy.")
    for name in ("env", "env_arg", "vecnormalize") if o.sb3 is None else ("last",):
        if getattr(o, name):
            raise InputError(f"{as_flag(name)} has no effect with{'out' * (o.sb3 is None)} --sb3; leave it out.")
    if o.sb3 and o.env is None:
        raise InputError("--env is missing; expected the environment to play the policy of --sb3 in.")
    check_episodes(o)
    check_target(o, "overwrite")
    free(o.out, o.overwrite)
    if o.sb3:
        environment = capped(named_env(o), o)
        act, lanes = sb3.policy(o.sb3, environment, o.trust, o.vecnormalize), LANES
    else:
        run = iq.Run.load(o.dir, o.last, o.trust)
        environment, act, lanes = capped(run.environment(), o), run.player(), run.schedule.eval_envs
    with closing(Evaluator(environment, lanes)) as evaluator:
        episodes = evaluator.play(act, o.episodes, reset_seed("collect", o.seed))
    demos = iq.Demos.from_arrays(as_arrays(episodes) | env_field(environment, o.out), str(o.out))
    demos.save(o.out)
    show(demos.summary(), False)


def convert(o: Namespace) -> None:
    """Write demonstrations in another format.

    It reads .npz; Minari (`minari:ID`, or the folder of a dataset); HDF5 of robomimic, Minari or D4RL; LeRobot; Hugging
    Face trajectories of the library imitation; Parquet, Arrow and CSV tables; and a folder of several of these.
    It writes .npz, .parquet, .arrow, .csv, and `minari:ID` to the local Minari database.

    SOURCE  File, folder or dataset to read.
    TARGET  File to write (.npz, .parquet, .arrow or .csv), or `minari:ID`.
    --columns FIELD=NAME...  The table columns, or dictionary keys, of each field: obs=x,y act=u ep=run.
    --env ID  Gymnasium id to store in TARGET (default: the one that the source names).
    --max-demos-gib X  Largest size of the demonstrations in GiB (default: 4; for an .npz file 0.25, or 100 times
        the size of the file if that is more).
    --overwrite  Replace the file.
    """
    ready(o.target, o.overwrite)
    demos = read_demos(o, o.source)
    save(demos if o.env is None else replace(demos, env=o.env), o.target)


def split(o: Namespace) -> None:
    """Split demonstrations by episodes into two files, for instance to hold some episodes out.

    SOURCE  File, folder or dataset to read.
    TARGET  File for the first part.
    --rest TARGET [required]  File for the other episodes.
    --trajectories K [required]  Number of episodes in the first part, drawn at random.
    --seed N [0]  Seed of the draw.
    --columns FIELD=NAME...  The table columns, or dictionary keys, of each field: obs=x,y act=u ep=run.
    --max-demos-gib X  Largest size of the demonstrations in GiB (default: 4; for an .npz file 0.25, or 100 times
        the size of the file if that is more).
    --overwrite  Replace the files.
    """
    from iqlearn.cli.output import written

    for target, other in ((o.target, o.rest), (o.rest, o.target)):
        ready(target, o.overwrite, o.source, other)
    demos = read_demos(o, o.source)
    if not 1 <= o.trajectories < demos.episodes:
        wanted = f"a number from 1 to {demos.episodes - 1}, because {demos.source} holds {demos.episodes} episodes"
        raise InputError(f"--trajectories is {o.trajectories}; expected {wanted}.")
    first = demos.take(o.trajectories, o.seed)
    save(first, o.target)
    with written(o.target):
        save(demos.leave_out(*sorted({*first.ep.tolist()})), o.rest)


def merge(o: Namespace) -> None:
    """Merge several files of demonstrations of one task into one. Episodes are numbered from 0.

    --sources SOURCE... [required]  Files, folders or datasets to read, in this order.
    --out TARGET [required]  File to write (.npz, .parquet, .arrow or .csv), or `minari:ID`.
    --columns FIELD=NAME...  The table columns, or dictionary keys, of each field: obs=x,y act=u ep=run.
    --max-demos-gib X  As in `iqlearn demos convert`, for each source.
    --overwrite  Replace the file.
    """
    ready(o.out, o.overwrite, *o.sources)
    save(iq.Demos.merged([read_demos(o, source) for source in o.sources], o.out), o.out)


def plot(o: Namespace) -> None:
    """Draw demonstrations: lengths, returns, spread of each coordinate, first episode, and whether actions are shifted.

    SOURCE  File, folder or dataset to read.
    --out FILE [required]  PNG file to write.
    --columns FIELD=NAME...  The table columns, or dictionary keys, of each field: obs=x,y act=u ep=run.
    --max-demos-gib X  Largest size of the demonstrations in GiB (default: 4; for an .npz file 0.25, or 100 times
        the size of the file if that is more).
    --overwrite  Replace the file.
    """
    from iqlearn.evaluation.recording import recording
    from iqlearn.files import write

    check_suffix(o.out, ".png")
    free(o.out, o.overwrite)
    write(o.out, recording(read_demos(o, o.source)))
    print(f"written: {o.out}")


def record(o: Namespace) -> None:
    """Record demonstrations while you play in a window, or while you watch a policy. Each episode is written at once.

    Escape ends the recording. The interrupted episode is kept; its last row has `trunc`.

    --env ID  Environment: a Gymnasium id, or MODULE:ID of a module of yours (default: that of --run).
    --env-arg NAME=VALUE  Keyword argument of the environment. It may be given several times.
    --out TARGET [required]  File to write (.npz, .parquet, .arrow or .csv), or `minari:ID`.
    --run DIR  Watch the policy of this run folder instead.
    --episodes N  Episodes to record (default: 10 with --run, else until Escape).
    --keys KEY=ACTION...  The action of each key: a letter, left, right, up, down or space. Separate the numbers of an
        action by commas: left=-1,0 (default: the keys that the environment defines).
    --idle ACTION  The action while no key is pressed (default: 0; for continuous actions, zeros).
    --fps N  Steps per second (default: as the environment defines).
    --seed N [0]  Seed of the episodes, which differ from those of training and evaluation.
    --hidden  Open no window while the policy plays.
    --trust  Import the module that the folder of --run names for its environment, wherever it is. This runs its code.
    --append  Add the episodes to the file, which exists already.
    --overwrite  Replace the file.
    """
    from iqlearn.cli.recording import recorded

    demos = recorded(o)
    print(f"{o.out}: {len(demos):,} transitions of {demos.episodes} episodes")


def free(file: str | Path, overwrite: bool) -> None:
    """Raise `InputError` if a file cannot be written, or if it exists and may not be replaced."""
    from iqlearn.files import require_file

    require_file(Path(file))
    if Path(file).exists() and not overwrite:
        raise InputError(f"{file} exists; choose another file, or add --overwrite to replace it.")


def check_suffix(file: Path, suffix: str) -> None:
    """Raise `InputError` unless a file has the suffix of the format that is written."""
    if file.suffix.lower() != suffix:
        raise InputError(f"{file} has the suffix {file.suffix!r}; expected {suffix}, which is what is written.")


def ready(target: str, overwrite: bool, *others: str) -> None:
    """Raise `InputError` if demonstrations cannot be written to `target`, or if it is one of the `others`.

    Called before any demonstrations are read.
    """
    from iqlearn.data import formats

    formats.check_target(target)
    for other in others:
        if Path(target).resolve() == Path(other).resolve():
            raise InputError(f"{target} and {other} are one file; expected another one to write.")
    free(target, overwrite)


def save(demos: Any, file: str) -> None:
    """Write demonstrations, and print their notes and their size."""
    demos.save(file)
    for note in demos.notes:
        print(f"iqlearn: {demos.source}: {note}", file=sys.stderr)
    print(f"{file}: {len(demos):,} transitions of {demos.episodes} episodes")


COMMANDS = {
    "demos inspect": inspect,
    "demos convert": convert,
    "demos split": split,
    "demos merge": merge,
    "demos plot": plot,
    "demos collect": collect,
    "demos record": record,
}
