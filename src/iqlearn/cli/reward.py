"""The command `iqlearn reward`."""

from __future__ import annotations

from argparse import Namespace

import iqlearn as iq
from iqlearn.cli.flags import check_episodes, named_demos
from iqlearn.errors import InputError


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
    from iqlearn import origins
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
    own = origins.demos_of(run, o.dir) if o.refit else None
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
