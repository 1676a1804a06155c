"""The model card of a published run: front matter that the Hub reads, and a page for people."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium.envs.registration import EnvSpec

from iqlearn.envs.gym import Environment
from iqlearn.errors import InputError, missing
from iqlearn.evaluation.statistics import mean_interval
from iqlearn.extensions import EXTENSIONS
from iqlearn.runs.provenance import to_dict
from iqlearn.runs.run import Run
from iqlearn.types import ArraySpec, ObsSpec

ENDINGS = {
    "diverged": "diverged: a loss or a weight was not finite",
    "interrupted": "was interrupted",
    "stopped": "was stopped early",
    "failed": "failed",
}
"""How a training that was not completed ended, by its status."""
OWN = ("iqlearn", "gymnasium")
"""Packages whose environments need no --trust."""


LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
"""Pattern of the identifier of a licence."""


class Part(NamedTuple):
    """A published run."""

    name: str
    """The name of its folder, `seed-S`, if several seeds are published; else empty."""
    run: Run
    config: dict[str, Any]
    """The content of the published `config.json`."""


def check_names(repo: str, licence: str | None = None) -> None:
    """Check that the Hub accepts the name of the repository and the licence.

    Raises:
        InputError: the repository is not USER/NAME, the licence is not an identifier, or `huggingface_hub` is not
            installed.
    """
    try:
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id
    except ImportError as error:
        raise missing("huggingface_hub, the client of the Hub,", "hub") from error
    try:
        validate_repo_id(repo if "/" in repo else "")
    except HFValidationError as error:
        told = f"The repository is {repo!r}; expected USER/NAME such as ada/hopper-imitator"
        raise InputError(f"{told}, in pull also a folder.") from error
    if licence is not None and not LICENCE.fullmatch(licence):
        told = f"--license is {licence!r}; expected letters, digits, dots and dashes"
        raise InputError(f"{told}, as the Hub calls it: mit, apache-2.0, cc-by-4.0.")


def card(repo: str, parts: Sequence[Part], pictures: Sequence[str], video: bool, licence: str | None) -> str:
    """Return the card of a run, or of several seeds, as Markdown with front matter.

    Args:
        repo: USER/NAME.
        parts: the runs.
        pictures: paths in the repository of the runs' curves.
        video: whether there is a video, `replay.mp4`, which the Hub also shows by itself.
        licence: identifier of the licence.
    """
    from huggingface_hub import ModelCardData

    run, name = parts[0].run, repo.rpartition("/")[2]
    learns, taught = run.settings.reward(run.model) is not None, run.origin.demos is not None
    environment = run.origin.environment
    tags = ["reinforcement-learning", "deep-reinforcement-learning"]
    tags += ["imitation-learning"] if taught else []
    tags += ["inverse-reinforcement-learning"] if taught and learns else []
    tags += [] if environment is None else [short(environment)]
    data = ModelCardData(
        license=licence,
        library_name="iqlearn",
        pipeline_tag="reinforcement-learning",
        tags=tags,
        model_name=name,
        eval_results=results(parts) or None,
    )
    if data.eval_results is None:
        data.pop("model_name")
    lines = [f"# {run.settings.name} on {code(run.origin.title)}", "", *unfinished(parts), *about(parts, learns), ""]
    lines += ["[A video of the policy](replay.mp4).", ""] if video else []
    lines += ["## Results", "", *returns(parts), ""]
    lines += [line for picture in pictures for line in (f"![Metrics over training]({picture})", "")]
    lines += ["## Use", "", *use(repo, name, parts, learns), ""]
    lines += ["## Data", "", *source(parts), ""]
    lines += ["## Settings", "", *settings(run), ""]
    versions = (f"{package} {version}" for package, version in parts[0].config["versions"].items())
    lines += ["## Versions", "", f"Trained with {', '.join(versions)}."]
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n".join(lines) + "\n"


def results(parts: Sequence[Part]) -> list[Any]:
    """Return the mean return for the front matter, with its standard deviation over the episodes, or over the seeds.

    The list is empty if there is no environment, or if a seed has no returns.
    """
    from huggingface_hub import EvalResult

    run = parts[0].run
    returns = [part.run.result.get("returns") or [] for part in parts]
    if run.origin.environment is None or not all(returns):
        return []
    values = returns[0] if len(parts) == 1 else [float(np.mean(each)) for each in returns]
    return [
        EvalResult(
            task_type="reinforcement-learning",
            task_name="reinforcement-learning",
            dataset_type=short(run.origin.environment),
            dataset_name=short(run.origin.environment),
            metric_type="mean_reward",
            metric_name="mean return",
            metric_value=spread(values),
        )
    ]


def unfinished(parts: Sequence[Part]) -> list[str]:
    """Return lines on the runs that were not completed: how each ended, and which model its files hold."""
    lines = []
    for part in parts:
        run, unit = part.run, "updates" if part.run.interaction is None else "steps"
        status = run.result.get("status", "running")
        if status == "completed":
            continue
        how = ENDINGS.get(status, "did not end")
        if run.rows:
            done = f"{run.rows[-1]['step']:,.0f} of {run.schedule.steps:,} {unit}"
            at = f"The files are those of its evaluations up to {done}"
        else:
            at = "Nothing was evaluated and kept; the model in the files is that of the beginning"
        lines += [f"**Not completed.** The training of seed {run.schedule.seed} {how}. {at}.", ""]
    return lines


def about(parts: Sequence[Part], learns: bool) -> list[str]:
    """Return lines on what the policy is for, and how it was learnt."""
    run = parts[0].run
    if not any(part.run.rows for part in parts):
        return [f"An attempt at a policy for {code(run.origin.title)}. **It is not trained.**"]
    origin, place = run.origin, "offline" if run.interaction is None else "online"
    what = f"A policy for {code(origin.title)}" if origin.environment else "A policy"
    taught = origin.demos is not None
    what += ", and the reward that explains the expert's behaviour," if taught and learns else ""
    if taught:
        how = f"learnt {place} from {number(origin.transitions, 'transition')} of "
        how += number(origin.episodes, "demonstration")
    else:
        how = "trained on " + ("the environment's own reward" if origin.reward is None else "a recovered reward")
    seeds = f", with {len(parts)} seeds" if len(parts) > 1 else ""
    method = (inspect.getdoc(type(run.settings)) or run.settings.name).splitlines()[0]
    extended = [code(extension.name) for extension in run.settings.extensions]
    method += f" Extensions: {', '.join(extended)}." if extended else ""
    return [f"{what} {how}{seeds}.", "", method, *(["", run.settings.reason] if run.settings.reason else [])]


def returns(parts: Sequence[Part]) -> list[str]:
    """Return lines with a table of the returns of each seed, and how they were measured."""
    run = parts[0].run
    if not run.result.get("returns"):
        return ["The policy was not evaluated in an environment."]
    rows = []
    for part in parts:
        r, schedule = part.run.result, part.run.schedule
        step = r.get("best_step")
        share = [figure(r.get(f"{which}normalised_return")) for which in ("", "last_")]
        last = figure(r.get("last_mean_return"), ".1f")
        done = "–" if step is None else f"{step:,.0f} of {schedule.steps:,}"
        earned = spread(r["returns"]) if r.get("returns") else "–"
        rows.append((schedule.seed, earned, share[0], last, share[1], done, r.get("status", "–")))
    unit = "updates" if run.interaction is None else "steps"
    heads = ("seed", "return", "normalised", "last return", "last normalised", unit, "status")
    how = "samples" if run.schedule.sampled else "the most likely actions"
    told = (
        f"A return is the mean ± the standard deviation over {number(run.schedule.eval_episodes, 'episode')} of {how}"
    )
    told += ", undiscounted, from the evaluations during training."
    ends = [(name, run.result.get(key)) for name, key in (("the expert", "expert_return"), ("random", "random_return"))]
    if None not in (value for _, value in ends):
        told += " Normalised: 1 is the expert ({:.1f}), 0 a random policy ({:.1f}).".format(*(v for _, v in ends))
    if run.distances:
        told += " The policy is that of the evaluation whose states were closest to the expert's, for which no reward"
        told += " was read; *last* is that of the last evaluation (`--last`)."
    lines = [*table(heads, rows), "", told]
    values = [value for part in parts if (value := part.run.result.get("mean_return")) is not None]
    if len(values) > 1:
        mean, low, high = mean_interval(values)
        lines += ["", f"Mean over the seeds: {mean:.1f}, 95 % bootstrap interval from {low:.1f} to {high:.1f}."]
    return lines


def use(repo: str, name: str, parts: Sequence[Part], learns: bool) -> list[str]:
    """Return lines on how to download and use the run: commands and programs that run as they are."""
    run = parts[0].run
    place = "/".join(filter(None, (name, parts[0].name)))
    lines = ["With iqlearn and its extra `hub` installed:", ""]
    lines += block("sh", [f"iqlearn pull {repo} --out {name}", *evaluation(run, name)])
    lines += [*named(run), ""]
    obs = f"obs = {example(run.task.obs)}  # one row for each observation"
    lines += block(
        "python",
        [
            "import numpy as np",
            "",
            "import iqlearn as iq",
            "",
            f'run = iq.Run.load("{place}")',
            obs,
            "action, _ = run.policy.predict(obs)",
            *(
                ["reward = run.reward(iq.Transitions(obs, action, obs, np.zeros(1, bool)))  # r(s, a, s'), here s' = s"]
                if learns
                else []
            ),
        ],
    )
    lines += ["", "On a machine with NumPy alone, with `policy.npz` and the file `portable.py` of iqlearn:", ""]
    lines += block(
        "python",
        [
            "import numpy as np",
            "",
            "from iqlearn.portable import Policy  # or, with a copy of the file: from portable import Policy",
            "",
            obs,
            f'policy = Policy("{place}/policy.npz")',
            "action, _ = policy.predict(obs)",
        ],
    )
    if learns:
        told = "The reward is one of many that explain the expert. It says little about states that neither expert"
        lines += ["", f"{told} nor learner visited."]
    return lines


def evaluation(run: Run, place: str) -> list[str]:
    """Return the command that evaluates a run. FILE and MODULE:ID in it stand for what the run folder does not name."""
    environment = run.origin.environment
    if environment is None:
        return [f"iqlearn evaluate {place} --demos FILE"]
    if environment.source is None:
        return [f"iqlearn evaluate {place} --env MODULE:ID"]
    return [f"iqlearn evaluate {place}{' --trust' if module_of(environment) else ''}"]


def named(run: Run) -> list[str]:
    """Return lines on what an evaluation needs besides the folder; empty if nothing."""
    environment = run.origin.environment
    if environment is None:
        return ["", "It names no environment: `evaluate` compares its actions with those of your demonstrations."]
    if environment.source is None:
        told = f"The environment was made by the function {code(environment.name)}, which no file holds: name one with"
        return ["", f"{told} the same observations and actions."]
    if module := module_of(environment):
        told = f"The environment is that of the module {code(module)}, which is not part of this repository"
        return ["", f"{told}. `--trust` imports it: look at it first."]
    return []


def module_of(environment: Environment) -> str:
    """Return the module that defines an environment; empty if Gymnasium or this package defines it."""
    source = environment.source
    entry = str(source.entry_point) if isinstance(source, EnvSpec) else environment.name
    module = entry.partition(":")[0] if ":" in entry else ""
    return "" if module.partition(".")[0] in OWN else module


def source(parts: Sequence[Part]) -> list[str]:
    """Return lines on the demonstrations or the reward that each seed learnt from."""
    origin = parts[0].run.origin
    if origin.demos is None:
        if origin.reward is None:
            return ["None: the policy was trained on the environment's own reward."]
        held = code(parts[0].config["origin"]["reward"])
        return [f"None: the policy was trained on the recovered reward {held}, SHA-256 {code(origin.reward_sha256)}."]
    rows = []
    for part in parts:
        o = part.run.origin
        taken = ", ".join(f"{name}({', '.join(map(str, given))})" for name, *given in o.selection)
        found = part.config["origin"]["demos"], taken or "all", o.episodes, o.transitions, o.sha256
        rows.append((part.run.schedule.seed, code(found[0]), code(found[1]), *found[2:4], code(found[4])))
    heads = ("seed", "source", "selection", "episodes", "transitions", "SHA-256 of what was seen")
    return [*table(heads, rows), "", "The demonstrations are not part of this repository."]


def settings(run: Run) -> list[str]:
    """Return lines with the settings that differ from the defaults, and below a fold all others."""
    kinds = [run.settings, run.schedule, *([] if run.interaction is None else [run.interaction])]
    given, usual = (
        {n: v for one in them for n, v in flat(to_dict(one))} for them in (kinds, [type(k)() for k in kinds])
    )
    for extension in run.settings.extensions:
        usual |= dict(flat(to_dict(EXTENSIONS[extension.name]()), f"{extension.name}."))
    given = {name: value for name, value in given.items() if name not in ("name", "reason", "seed")}
    changed = {name: value for name, value in given.items() if value != usual.get(name)}
    rows = [(code(name), code(value), code(usual.get(name, "–"))) for name, value in changed.items()]
    lines = table(("setting", "value", "default"), rows) if rows else ["Every setting is a default."]
    rest = [(code(name), code(value)) for name, value in given.items() if name not in changed]
    fold = "<summary>All others, which are the defaults of the algorithm and its extensions</summary>"
    return [*lines, "", "<details>", fold, "", *table(("setting", "value"), rest), "", "</details>"]


def flat(plain: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Yield settings by name. The name of a part is a prefix of its settings: `part.name`."""
    for name, value in plain.items():
        if name == "extensions":
            yield name, ", ".join(part["name"] for part in value) or "none"
            for part in value:
                yield from flat({n: v for n, v in part.items() if n != "name"}, f"{part['name']}.")
        elif isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", " ".join(map(str, value)) if isinstance(value, list) else value


def short(environment: Environment) -> str:
    """Return the id of an environment without its module."""
    return environment.name.rpartition(":")[2]


def example(spec: ObsSpec) -> str:
    """Return Python code for a batch of one observation of zeros."""
    if isinstance(spec, ArraySpec):
        return f'np.zeros({(1, *spec.shape)}, "{spec.dtype}")'
    return "{" + ", ".join(f'"{name}": {example(part)}' for name, part in spec.items()) + "}"


def spread(values: Sequence[float]) -> str:
    """Return the mean with the standard deviation as text."""
    return f"{np.mean(values):.1f} ± {np.std(values):.1f}"


def figure(value: float | None, form: str = ".2f") -> str:
    """Return a number as text, or a dash for None."""
    return "–" if value is None else format(value, form)


def number(count: int, what: str) -> str:
    """Return a count with its noun as text."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def code(value: Any) -> str:
    """Return a value as Markdown code, also for use in a table."""
    text = " ".join(str(value).split()).replace("`", "'").replace("|", r"\|")
    return f"`{text}`"


def block(language: str, lines: Sequence[str]) -> list[str]:
    """Return a Markdown block of code."""
    return [f"```{language}", *lines, "```"]


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Return a Markdown table."""
    return [f"| {' | '.join(map(str, row))} |" for row in (heads, ["---"] * len(heads), *rows)]
