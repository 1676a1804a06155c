"""The summary of a benchmark: groups of methods, steps to the goal, and offline methods."""

import pytest

from iqlearn.benchmark import plots, summary
from iqlearn.benchmark.grid import Cell
from iqlearn.benchmark.results import Evaluated
from iqlearn.report.page import in_words


def run_of(method: str, group: str, scores: list[float], task: str = "T", acts: bool = True) -> Evaluated:
    """A run with an evaluation every 100 steps."""
    rows = [{"step": 100.0 * (i + 1), "normalised": score} for i, score in enumerate(scores)]
    result = {"env_steps": 100 * len(rows) if acts else 0, "normalised_return": scores[-1]}
    return Evaluated(Cell(method, task, 1, 0, {}, group), rows, result)


CELLS = [
    run_of("ours", "A", [0.5, 0.9, 1.0]),
    run_of("theirs", "A", [0.1, 0.2, 0.9]),
    run_of("slow", "A", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]),
    run_of("ours, cold", "B", [0.1, 0.2, 0.3]),
    run_of("theirs, cold", "B", [0.9, 0.2, 0.3]),
    run_of("clone", "", [0.7], acts=False),
]


def test_a_method_without_a_group_is_in_every_group():
    groups = {compared.name: summary.methods_of(compared.cells) for compared in summary.groups_of(CELLS)}
    assert groups == {"A": ["ours", "theirs", "slow", "clone"], "B": ["ours, cold", "theirs, cold", "clone"]}
    (whole,) = summary.groups_of(CELLS[-1:])
    assert (whole.name, whole.suffix) == ("", "")


def test_efficiency_reports_steps_to_the_goal_in_each_group():
    first, second = (summary.efficiency(compared) for compared in summary.groups_of(CELLS))
    assert first.title == "Steps to a normalised return of 0.9 · A"
    assert first.columns == ("task, demonstrations", "ours", "theirs", "slow", "best other method")
    assert first.rows == [("T, 1", "200 (1.0 ×)", "300 (1.5 ×)", "> 600 (3.0 ×)", "1.5 ×")]
    assert second.rows == [("T, 1", "> 300", "100", None)], "no ratio to a method that does not reach the goal"


def test_scores_that_round_to_zero_have_no_sign():
    cells = [run_of("ours", "", [-0.001]), run_of("theirs", "", [0.001])]
    (compared,) = summary.groups_of(cells)
    assert summary.by_task(cells, "last").rows == [("ours", "0.00"), ("theirs", "0.00")]
    assert [in_words(row[2]) for row in summary.aggregates(compared, "last").rows] == ["0.00", "0.00"]


def test_scores_have_a_row_per_task_or_per_method_if_there_are_more_methods():
    cells = [run_of("ours", "", [0.1], "T"), run_of("theirs", "", [0.2], "T"), run_of("ours", "", [0.3], "U")]
    table = summary.by_task(cells, "last")
    assert table.columns == ("task, demonstrations", "ours", "theirs")
    assert table.rows == [("T, 1", "0.10", "0.20"), ("U, 1", "0.30", None)]
    table = summary.by_task([*cells, run_of("third", "", [0.4], "U")], "last")
    assert table.columns == ("method", "T, 1", "U, 1")
    assert table.rows == [("ours", "0.10", "0.30"), ("theirs", "0.20", None), ("third", None, "0.40")]


def test_run_that_returns_its_clone_is_marked():
    """Such a run gains nothing from training, however good its clone is."""
    ours, theirs = run_of("ours", "", [0.9]), run_of("theirs", "", [1.0])
    cells = [ours, theirs._replace(result=theirs.result | {"best_step": 0.0, "last_normalised_return": 0.1})]
    table = summary.by_task(cells, "returned")
    assert table.rows == [("ours", "0.90"), ("theirs", "1.00*")]
    assert "*: the run returns its policy from before the first update" in table.note
    last = summary.by_task(cells, "last")
    assert last.rows == [("ours", "0.90"), ("theirs", "0.10")]
    assert "*" not in last.note


def test_aggregates_warn_where_methods_have_different_tasks():
    same = [run_of("ours", "", [0.9], "T"), run_of("theirs", "", [0.8], "T")]
    for cells, told in ((same, False), ([*same, run_of("ours", "", [0.1], "U")], True)):
        (compared,) = summary.groups_of(cells)
        assert ("different tasks" in summary.aggregates(compared, "last").note) == told


@pytest.mark.parametrize("tasks", [1, 4])
def test_picture_of_many_methods_tells_them_apart_and_shows_the_whole_legend(monkeypatch, tasks):
    drawn = []
    monkeypatch.setattr(plots, "png", lambda figure: drawn.append(figure) or b"")
    names = [f"a method with quite a long name, number {i}" for i in range(14)]
    plots.curves([run_of(name, "", [0.1, 0.2], f"T{task}") for task in range(tasks) for name in names])
    (figure,) = drawn
    figure.draw_without_rendering()
    styles = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines if line.get_label() in names}
    assert len(styles) == len(names)
    (legend,) = figure.legends
    around, place = figure.bbox, legend.get_window_extent()
    assert len(legend.texts) == len(names)
    assert 0 <= place.x0 < place.x1 <= around.x1
    assert 0 <= place.y0 < place.y1 < figure.axes[0].get_window_extent().y0 or tasks > 3


def test_curves_of_groups_have_plots_of_their_own(monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "png", lambda figure: drawn.append(figure) or b"")
    cells = [
        run_of(*who, [0.1, 0.2], f"T{task}")
        for task in range(4)
        for who in (("ours", "A"), ("theirs", "B"), ("bc", ""))
    ]
    titles = [f"T{task}, 1 · {group}" for group in "AB" for task in range(4)]
    assert [figure.title for figure in summary.curves(cells)] == titles
    assert [trace["name"] for trace in summary.curves(cells)[4].traces] == ["theirs", "bc"]
    plots.curves(cells)
    panels = [panel for panel in drawn[0].axes if panel.axison]
    assert [panel.get_title() for panel in panels] == titles
    assert [line.get_label() for line in panels[4].lines][:2] == ["theirs", "bc"]
    assert len(drawn[0].axes) == 12, "each group begins a new row"


def test_a_median_that_depends_on_a_bound_is_a_bound():
    """Also if it is the mean of an exact number and a bound, for example if one of two seeds reaches the goal."""
    assert summary.median_of([(100.0, False), (500.0, True)]) == (300.0, True)
    assert summary.median_of([(100.0, False), (200.0, False), (500.0, True)]) == (200.0, False)
    assert summary.median_of([(2.0, False), (3.0, False), (4.0, True), (5.0, True)]) == (3.5, True)
    assert summary.median_of([(2.0, False), (4.0, False)]) == (3.0, False)


def test_run_that_ended_early_is_reported_and_hides_no_other_run():
    short = run_of("short", "", [0.1])
    short.result["status"] = "diverged"
    cells = [run_of("ours", "", [0.1, 0.1, 0.9]), run_of("theirs", "", [0.1, 0.9]), short]
    (compared,) = summary.groups_of(cells)
    assert summary.efficiency(compared).rows == [("T, 1", "300 (1.0 ×)", "200 (0.7 ×)", "> 300 (1.0 ×)", "0.7 ×")]
    (table,) = (table for table in summary.tables(cells) if table.title == "Runs that did not complete")
    assert ("T-1/short/seed-0", "diverged", 100.0) in table.rows


@pytest.mark.parametrize(("third", "told"), [([0.9], "2.0 ×"), ([0.1] * 5, "3.0 ×"), ([0.1] * 2, "> 2.0 ×")])
def test_efficiency_reports_the_ratio_of_the_median_task(third, told):
    cells = [run_of("ours", "", [0.9], task) for task in "TUV"]
    cells += [run_of("theirs", "", [0.1, 0.9], "T"), run_of("theirs", "", [0.1] * 2 + [0.9], "U")]
    cells.append(run_of("theirs", "", third, "V"))
    (compared,) = summary.groups_of(cells)
    assert summary.efficiency(compared).rows[-1] == ("median task", None, None, told)


def test_single_run_per_task_has_no_interval():
    """The spread is unknown. An interval of zero width would claim that there is none."""
    cells = [run_of(name, "", [score], task) for name, score in (("ours", 0.914), ("theirs", 0.5)) for task in "TU"]
    (compared,) = summary.groups_of(cells)
    row = summary.aggregates(compared, "returned").rows[0]
    assert [*map(in_words, row)] == ["ours", "2", "0.91", "0.91", "0.91", "0.09"]
    (compared,) = summary.groups_of([run_of("ours", "", [1.0]), run_of("ours", "", [0.5])])
    assert in_words(summary.aggregates(compared, "returned").rows[0][2]) == "0.75 [0.50, 1.00]"


@pytest.mark.parametrize(
    ("ours", "theirs", "told"), [(1, 1, "–"), (3, 1, "–"), (1, 3, "–"), (2, 2, "1.00 [1.00, 1.00]")]
)
def test_probability_of_improvement_needs_two_runs_of_both_methods(ours, theirs, told):
    """Of one run each it would be 0 or 1, however close they are."""
    cells = [run_of("ours", "", [0.9]) for _ in range(ours)] + [run_of("theirs", "", [0.5]) for _ in range(theirs)]
    (compared,) = summary.groups_of(cells)
    table = summary.improvement(compared, "returned")
    assert table is not None
    assert [*map(in_words, table.rows[0])] == ["theirs", "1", told]


def unknown(method: str, steps: int = 3) -> Evaluated:
    """A run on demonstrations without rewards, whose normalised return is unknown."""
    run = run_of(method, "", [0.0] * steps)
    rows = [row | {"normalised": None} for row in run.rows]
    return Evaluated(run.of, rows, {"env_steps": 100 * steps, "normalised_return": None})


def test_run_of_unknown_normalised_return_counts_nowhere():
    cells = [run_of("ours", "", [0.1, 0.9]), unknown("theirs"), run_of("third", "", [0.1, 0.1, 0.1, 0.9])]
    (compared,) = summary.groups_of(cells)
    assert summary.efficiency(compared).rows == [("T, 1", "200 (1.0 ×)", "–", "400 (2.0 ×)", "2.0 ×")]
    assert [trace["name"] for trace in summary.curves(cells)[0].traces] == ["ours", "third"]
    assert summary.steps_to_goal([unknown("ours"), run_of("ours", "", [0.1, 0.9])], "T, 1", "ours") == (200.0, False)


def test_tables_and_figures_without_a_known_return_are_left_out():
    cells = [unknown("ours"), unknown("theirs")]
    for cell in cells:
        cell.result["status"] = "completed"
    assert summary.tables(cells) == []
    assert [section.items for section in summary.sections(cells, [])] == [[], [], []]


def test_level_line_of_an_offline_run_is_as_long_as_the_runs_of_its_task():
    clone = run_of("clone", "", [0.7], acts=False)
    cells = [clone, run_of("ours", "", [0.1] * 3), run_of("ours", "", [0.1] * 9, "U")]
    assert summary.curve(clone, cells) == ([0, 300.0], [0.7, 0.7])
    assert summary.curve(clone, [clone, cells[2]]) == ([100.0], [0.7]), "no run of its task is online"


def test_efficiency_of_offline_methods_counts_updates():
    offline = [run_of("ours", "", [0.9], acts=False), run_of("clone", "", [0.5, 0.9], acts=False)]
    (compared,) = summary.groups_of(offline)
    assert summary.efficiency(compared).title == "Updates to a normalised return of 0.9"
    assert summary.curve(CELLS[-1], CELLS) == ([0, 600.0], [0.7, 0.7]), "a level line beside runs that act"
    assert summary.curve(offline[1], offline) == ([100.0, 200.0], [0.5, 0.9])
