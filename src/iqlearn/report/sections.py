"""The sections of a report: tables and figures of the gathered data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from iqlearn.evaluation.diagnostics import BETTER
from iqlearn.evaluation.plots import COUNTS, RANGE, Judged
from iqlearn.evaluation.recording import recording
from iqlearn.evaluation.returns import Episode
from iqlearn.evaluation.statistics import mean_interval
from iqlearn.files import Row
from iqlearn.report.gather import Shown
from iqlearn.report.page import (
    Facts,
    Figure,
    Film,
    Folded,
    Item,
    Picture,
    Section,
    Table,
    Trace,
    Words,
    colour,
    dash,
    label,
)
from iqlearn.runs.run import Run

MAIN = ("loss", "critic_loss", "expert_reward", "log_likelihood", "squared_error")
"""Metrics that are shown next to the return, if a run has them. Other metrics are shown only after a click."""
KINDS = {
    "demos": "demonstrations",
    "policy": "policy",
    "noisy": "disturbed policy",
    "random": "random actions",
}
"""The kinds of episodes that a reward is judged on, in words."""
AGREEMENT = (
    *("pearson_transition", "spearman_transition", "pearson_episode", "spearman_episode"),
    *("pearson_length", "epic"),
)
"""Measures of the agreement of a learnt reward with the true one."""
Points = tuple[np.ndarray, np.ndarray, list[str]]
"""True values, learnt values, and the hover text of each point."""
Numbered = Sequence[tuple[int, Shown]]
"""Folders with their numbers, which determine their colours."""


def sections(found: Sequence[Shown]) -> list[Section]:
    """Return all sections, in the order of the page."""
    everything = [*enumerate(found)]
    return [
        results(found),
        training(everything),
        diagnostics(everything),
        episodes(everything),
        rewards(found),
        films(found),
        data(found),
        settings(found),
    ]


def results(found: Sequence[Shown]) -> Section:
    """Return the section of final results: a table of folders with intervals over seeds, then a table of seeds."""
    items: list[Item] = []
    if any(len(shown.runs) > 1 for shown in found) or len(found) > 1:
        columns = "run", "task", "algorithm", "seeds", "return", "interval", "normalised", "interval", "expert"
        rows = [run_row(shown) for shown in found]
        items.append(known("Runs", columns, rows, "Means over seeds, with their 95 % bootstrap intervals."))
    names = "run", "seed", "status", "steps", "unit", "policy of", "return", "std", "normalised"
    names = *names, "expert", "random", "seconds"
    which = "last policy" if found[0].last else "policy that the run returns, whose states were closest to the expert's"
    note = (
        f"The return is the mean of an evaluation in training: that of the {which}. “Policy of” is the step of that "
        "evaluation. Normalised: the expert's mean return is 1, and that of random actions is 0."
    )
    rows = [seed_row(shown, run) for shown in found for run in shown.runs]
    items.append(known("Seeds", names, rows, note if any(row[6] is not None for row in rows) else ""))
    items += [prediction(found)] if any(shown.imitation for shown in found) else []
    told = [f"{shown.name}: {remark}" for shown in found for remark in shown.remarks]
    return Section("results", "Results", [*items, *([Words(told)] if told else [])])


def known(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], note: str) -> Table:
    """Return a table without the columns that hold only None."""
    kept = [i for i in range(len(columns)) if any(row[i] is not None for row in rows)]
    return Table(title, [columns[i] for i in kept], [[row[i] for i in kept] for row in rows], note)


def run_row(shown: Shown) -> tuple[Any, ...]:
    """Return the row of a folder in the table of runs."""
    earned, share = (over_seeds(shown, name) for name in ("mean_return", "normalised_return"))
    first = shown.first
    expert = first.result.get("expert_return")
    return shown.name, shown.task, first.settings.name, len(shown.runs), *earned, *share, expert


def over_seeds(shown: Shown, name: str) -> tuple[float | None, str | None]:
    """Return the mean of a result over the seeds that have it, and its interval as text; None where it is unknown."""
    values = [value for run in shown.runs if (value := outcome(shown, run, name)) is not None]
    if len(values) < 2:
        return (values[0] if values else None), None
    mean, low, high = mean_interval(values)
    return mean, f"{low:.4g} … {high:.4g}"


def outcome(shown: Shown, run: Run, name: str) -> float | None:
    """Return a result of the policy in the report: that of the last evaluation, or the one that the run returns."""
    last = run.result.get(f"last_{name}") if shown.last else None
    return run.result.get(name) if last is None else last


def seed_row(shown: Shown, run: Run) -> tuple[Any, ...]:
    """Return the row of a seed in the table of seeds."""
    r = run.result
    steps = int(run.rows[-1]["step"] or 0) if run.rows else None
    step = steps if shown.last or r.get("best_step") is None else int(r["best_step"])
    std = next((row.get("return_std") for row in run.rows if row["step"] == step), None)
    earned = outcome(shown, run, "mean_return"), std, outcome(shown, run, "normalised_return")
    ends = r.get("expert_return"), r.get("random_return"), r.get("seconds")
    return shown.name, run.schedule.seed, r.get("status"), steps, shown.unit, step, *earned, *ends


def prediction(found: Sequence[Shown]) -> Table:
    """Return a table of how well the policies predict the expert's actions."""
    facts = [name for shown in found for one in shown.imitation[:1] for name in one]
    names = [*dict.fromkeys(facts)]
    rows = [
        (shown.name, run.schedule.seed, *(one.get(name) for name in names))
        for shown in found
        for run, one in zip(shown.runs, shown.imitation, strict=False)
    ]
    note = (
        "Held out: the episodes that the run did not learn from; where there are none, all of them. The relative error "
        "is 1 for a policy that always takes the expert's mean action."
    )
    return known("The expert's actions, predicted", ("run", "seed", *map(spaced, names)), rows, note)


def training(found: Numbered) -> Section:
    """Return the section of the metrics over training, with a line for each seed."""
    rows = [row for _, shown in found for run in shown.runs for row in run.rows]
    names = dict.fromkeys(name for row in rows for name in row if row[name] is not None)
    items: list[Item] = [*returns(found)] if "return_mean" in names else []
    elsewhere = "return_mean", *COUNTS, *RANGE, *BETTER
    figures = {name: by_task(found, name) for name in names if name not in elsewhere}
    items += [figure for name in MAIN for figure in figures.pop(name, ())]
    items += (
        [Folded(f"{len(figures)} more metrics", [one for each in figures.values() for one in each])] if figures else []
    )
    return Section("training", "Training", items, "A line for each seed. docs/runs.md says what each metric is.")


def diagnostics(found: Numbered) -> Section:
    """Return the section of the diagnostics over training that need no true reward."""
    figures = [figure for name in BETTER for figure in by_task(found, name)]
    items = [replace(f, small=True, layout=f.layout | {"yaxis": {}, "showlegend": False}) for f in figures]
    about = (
        "Figures of every evaluation that need no true reward. Less is better, but for the held-out log-likelihood and "
        "agreement. docs/stopping.md says what each is. Lines have the colours of the curves above."
    )
    return Section("diagnostics", "Reward-free diagnostics", items, about)


def returns(found: Numbered) -> list[Figure]:
    """Return a figure of the return over the steps for each task."""
    figures = []
    for task in dict.fromkeys(shown.task for _, shown in found):
        part = [(i, shown) for i, shown in found if shown.task == task]
        traces = [*lines(part, "return_mean"), *references(part)]
        figures.append(Figure(f"return · {task}", traces, over_steps(part, "return")))
    return figures


def references(found: Numbered) -> list[Trace]:
    """Return horizontal lines at the mean returns of the expert and of random actions, over the steps of all runs."""
    steps = [run.rows[-1]["step"] or 0 for _, shown in found for run in shown.runs if run.rows]
    last = max(steps, default=0)
    traces = []
    for name, dashes in (("expert", "dash"), ("random", "dot")):
        known = (run.result.get(f"{name}_return") for _, shown in found for run in shown.runs)
        for value in dict.fromkeys(value for value in known if value is not None):
            said = f"{name}: {value:,.5g}"
            traces.append(
                {
                    "x": [0, last],
                    "y": [value, value],
                    "mode": "lines",
                    "name": said,
                    "line": {"dash": dashes, "width": 1, "color": "#8a8f98"},
                    "hovertemplate": f"{said}<extra></extra>",
                }
            )
    return traces


def by_task(found: Numbered, name: str) -> list[Figure]:
    """Return a figure of one metric over the steps for each task, because the scales of tasks differ."""
    figures, tasks = [], dict.fromkeys(shown.task for _, shown in found)
    for task in tasks:
        part = [(i, shown) for i, shown in found if shown.task == task]
        if traces := lines(part, name):
            title = spaced(name) if len(tasks) == 1 else f"{spaced(name)} · {task}"
            figures.append(Figure(title, traces, over_steps(part, spaced(name))))
    return figures


def over_steps(found: Numbered, title: str) -> dict[str, Any]:
    """Return the layout of a figure over the steps."""
    units = " or ".join(dict.fromkeys(shown.unit for _, shown in found))
    x = {"title": {"text": units}, "tickformat": ","}
    return {"xaxis": x, "yaxis": {"title": {"text": title}}, "hovermode": "closest"}


def lines(found: Numbered, name: str) -> list[Trace]:
    """Return a line for each seed that has the metric. The seeds of a folder share a colour and a legend entry."""
    traces = []
    for i, shown in found:
        paint, name_of = colour(i), label(shown.name)
        each = {run.schedule.seed: [row for row in run.rows if row.get(name) is not None] for run in shown.runs}
        each = {seed: rows for seed, rows in each.items() if rows}
        for seed, rows in each.items():
            traces.append(
                {
                    "x": [row["step"] for row in rows],
                    "y": finite(row[name] for row in rows),
                    "text": [spread_of(row) if name == "return_mean" else "" for row in rows],
                    "mode": "lines+markers",
                    "marker": {"size": 5, "color": paint},
                    "line": {"width": 1.5, "color": paint, "dash": dash(i)},
                    "name": name_of,
                    "legendgroup": name_of,
                    "showlegend": seed == next(iter(each)),
                    "hovertemplate": f"{name_of} · seed {seed}<br>step %{{x:,}}: %{{y:,.5g}}%{{text}}<extra></extra>",
                }
            )
    return traces


def spread_of(row: Row) -> str:
    """Return the minimum and maximum return of an evaluation, for the hover text."""
    low, high = row.get("return_min"), row.get("return_max")
    return "" if low is None or high is None else f"<br>episodes from {low:,.5g} to {high:,.5g}"


def episodes(found: Numbered) -> Section:
    """Return the section of the returns of the episodes that were played for the report."""
    items: list[Item] = []
    for task in dict.fromkeys(shown.task for _, shown in found if shown.episodes):
        part = [(i, shown) for i, shown in found if shown.task == task and shown.episodes]
        traces = [
            dots(label(f"{shown.name} · {run.schedule.seed}"), played, colour(i))
            for i, shown in part
            for run, played in zip(shown.runs, shown.episodes, strict=True)
        ]
        source = part[0][1].source
        if source is not None and source.episode_return is not None:
            said = [f"episode {n}" for n in range(source.episodes)]
            traces.append(strip("expert", source.episode_return, said, "#8a8f98"))
        layout = {"yaxis": {"title": {"text": "return"}}, "xaxis": {"automargin": True}, "showlegend": False}
        items.append(Figure(f"returns of episodes · {task}", traces, layout))
    about = (
        "A dot for each episode that a policy played for this report, as iqlearn evaluate plays them. Grey: the "
        "expert's episodes, as they were recorded."
    )
    return Section("episodes", "Episodes", items, about)


def dots(name: str, played: Sequence[Episode], paint: str) -> Trace:
    """Return the points of a policy's episodes, with their returns and hover texts."""
    ends = ("ended" if episode.terminated else "met its time limit" for episode in played)
    said = [f"episode {n}: {len(e.rew)} steps, {end}" for n, (e, end) in enumerate(zip(played, ends, strict=True))]
    return strip(name, [float(episode.rew.sum()) for episode in played], said, paint)


def strip(name: str, values: Iterable[float], said: Sequence[str], paint: str) -> Trace:
    """Return a box plot of the returns of episodes, with a point for each. The line in the box is the median."""
    return {
        "type": "box",
        "name": name,
        "y": finite(values),
        "text": said,
        "boxpoints": "all",
        "jitter": 0.5,
        "pointpos": 0,
        "hoveron": "points",
        "fillcolor": "rgba(0,0,0,0)",
        "line": {"width": 1},
        "marker": {"color": paint, "size": 6},
        "hovertemplate": "%{text}<br>return %{y:,.5g}<extra></extra>",
    }


def rewards(found: Sequence[Shown]) -> Section:
    """Return the section of the learnt reward: its agreement with the true one, and its course over an episode."""
    items: list[Item] = []
    judged = [shown for shown in found if shown.judged]
    for shown in judged:
        pairs = {kind: one for kind, one in shown.judged.items() if one.true is not None}
        who = hover(shown, shown.first.schedule.seed)
        if pairs:
            items += [against(f"{who}: reward of a transition", pairs, transitions)]
            items += [against(f"{who}: return of an episode", pairs, sums)]
        kind = next(kind for kind in ("policy", "demos") if kind in shown.judged)
        items.append(along(f"{who}: along the first episode ({KINDS[kind]})", shown.judged[kind]))
    told = [shown for shown in judged if any(one.true is not None for one in shown.judged.values())]
    items += [agreement(told)] if told else []
    about = (
        "Many rewards explain one expert, so the scale and offset of the learnt one say nothing. Look at the order: "
        "a good reward is higher where the true one is higher. Training does not read the true reward."
    )
    return Section("reward", "Reward", items, about)


def agreement(judged: Sequence[Shown]) -> Table:
    """Return a table of the correlations of learnt and true reward."""
    rows = []
    for shown in judged:
        each = {"all together": shown.reward} | {KINDS[kind]: facts for kind, facts in shown.reward["kinds"].items()}
        rows += [(shown.name, kind, *map(facts.get, AGREEMENT)) for kind, facts in each.items()]
    note = (
        "Pearson length is the correlation of the length of an episode with its true return: a learnt reward that is "
        "no better says no more than the length. EPIC is a distance from 0 to 1. Disturbed: 5 to 75 % of the policy's "
        "actions are replaced by random ones."
    )
    columns = "run", "episodes", *map(spaced, AGREEMENT)
    return known("Correlation of learnt and true reward", columns, rows, note)


def against(title: str, pairs: dict[str, Judged], of: Callable[[Judged], Points]) -> Figure:
    """Return a scatter plot of learnt against true values, with a colour for each kind of episodes."""
    traces = []
    for i, (kind, one) in enumerate(pairs.items()):
        true, learned, said = of(one)
        traces.append(
            {
                "type": "scattergl" if len(true) > 500 else "scatter",
                "mode": "markers",
                "x": finite(true),
                "y": finite(learned),
                "text": said,
                "name": KINDS[kind],
                "marker": {"color": colour(i), "size": 5, "opacity": 0.6},
                "hovertemplate": "%{text}<br>true %{x:.4g}, learnt %{y:.4g}<extra></extra>",
            }
        )
    return Figure(title, traces, {"xaxis": {"title": {"text": "true"}}, "yaxis": {"title": {"text": "learnt"}}})


def transitions(one: Judged) -> Points:
    """Return the true and learnt rewards of evenly spread transitions, and their hover texts."""
    rows = one.sampled
    first = np.flatnonzero(np.diff(one.row, prepend=-1))
    step = np.arange(len(one.row)) - first[one.row]
    said = [f"episode {one.row[row]}, step {step[row]}" for row in rows]
    return one.known[rows], one.learned[rows], said


def sums(one: Judged) -> Points:
    """Return the true and learnt return of each episode, and the hover texts."""
    true, learned = one.returns
    return true, learned, [f"episode {n}" for n in range(len(true))]


def along(title: str, one: Judged) -> Figure:
    """Return a plot of both rewards over the steps of the first episode, in two panels, because their scales differ."""
    first = one.row == 0
    rows = {"learnt": one.learned[first]} | ({} if one.true is None else {"true": one.true[first]})
    axis: dict[str, Any] = {"title": {"text": "step"}, "anchor": "y2" if len(rows) > 1 else "y"}
    traces, layout = [], {"xaxis": axis, "showlegend": False, "hovermode": "x unified"}
    for i, (name, values) in enumerate(rows.items()):
        number = str(i + 1) if i else ""
        low, high = (0.0, 1.0) if len(rows) == 1 else (0.53, 1.0) if i == 0 else (0.0, 0.47)
        layout[f"yaxis{number}"] = {"title": {"text": name}, "domain": [low, high]}
        traces.append(
            {
                "x": [*range(len(values))],
                "y": finite(values),
                "yaxis": f"y{number}",
                "mode": "lines",
                "name": name,
                "line": {"width": 1.2, "color": colour(i)},
                "hovertemplate": "%{y:.4g}",
            }
        )
    return Figure(title, traces, layout, wide=True)


def films(found: Sequence[Shown]) -> Section:
    """Return the section with a video of each folder's first seed."""
    items = [Film(hover(shown, shown.first.schedule.seed), shown.film) for shown in found if shown.film]
    return Section("video", "Video", items, "The learnt reward and the true return stand under the picture.")


def data(found: Sequence[Shown]) -> Section:
    """Return the section of the demonstrations that the first seed of each folder learnt from."""
    items: list[Item] = []
    seen: set[str] = set()
    for shown in found:
        if shown.demos is None or shown.first.origin.sha256 in seen:
            continue
        seen.add(shown.first.origin.sha256)
        facts = shown.demos.summary()
        facts["taken"] = [f"{name}({', '.join(map(str, given))})" for name, *given in shown.demos.selection]
        title = f"{hover(shown, shown.first.schedule.seed)}: {shown.demos.source}"
        items.append(Facts(title, {spaced(name): value for name, value in facts.items()}))
        who = hover(shown, shown.first.schedule.seed)
        items.append(Picture(f"{who}: what was learnt from", recording(shown.demos)))
    about = "What the first seed learnt from. Other seeds may have drawn other episodes: see their config.json."
    return Section("data", "Demonstrations", items, about if any(len(shown.runs) > 1 for shown in found) else "")


def settings(found: Sequence[Shown]) -> Section:
    """Return the section of the settings of each folder's first seed: those that differ, then all."""
    each = [flattened(shown.config) for shown in found]
    names = [*dict.fromkeys(name for one in each for name in one)]
    rows = [(name, *(one.get(name, "–") for one in each)) for name in names]
    different = [row for row in rows if any(value != row[1] for value in row[2:])]
    columns = ("setting", *(shown.name for shown in found))
    items: list[Item] = [Table("What differs", columns, different)] if different else []
    items += [Words([f"{shown.name}: {told}"]) for shown in found if (told := shown.first.settings.reason)]
    items.append(Table("All settings", columns, rows, folded=True))
    return Section("settings", "Settings", items)


def flattened(content: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted name. The prefix of an extension's settings is its name.

    The files of the demonstrations and of a reward are left out, because the page may be passed on.
    """
    found: dict[str, Any] = {}
    for name, value in content.items():
        if prefix + name in ("task", "origin.path", "origin.reward"):
            continue
        if isinstance(value, dict):
            found |= flattened(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and all(isinstance(part, dict) and "name" in part for part in value):
            for part in value:
                found |= flattened(part, f"{prefix}{part['name']}.")
        else:
            found[prefix + name] = value
    return found


def finite(values: Iterable[float]) -> list[float | None]:
    """Return values for JSON, with None for those that are not finite, which are not drawn."""
    return [float(value) if math.isfinite(value) else None for value in values]


def hover(shown: Shown, seed: int) -> str:
    """Return the label of a run: its folder and its seed."""
    return f"{shown.name} · seed {seed}"


def spaced(name: str) -> str:
    """Return the name of a metric or fact with spaces instead of underscores."""
    return name.replace("_", " ")
