"""The page of a benchmark, with the figures that need no reward: its content, and its display in a browser."""

import json
import shutil

import pytest

from iqlearn import InputError
from iqlearn.benchmark import results, write
from iqlearn.benchmark.agreement import trained
from iqlearn.benchmark.cells import Place
from iqlearn.benchmark.grid import Cell, grid_of
from iqlearn.benchmark.results import Evaluated
from iqlearn.files import rows_bytes

pytest.importorskip("plotly.graph_objects", reason="needs the extra report")
RETURNS = {"first": ([100.0, 300.0, 200.0], [50.0, 250.0, 450.0]), "second": ([20.0, 30.0, 10.0], [90.0, 80.0, 70.0])}


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Two methods with two seeds each, whose occupancy distance falls as the return rises, and whose bound rises."""
    root = tmp_path_factory.mktemp("benchmark")
    methods = [{"name": name} for name in RETURNS]
    grid = grid_of({"seeds": [0, 1], "tasks": [{"env": "CartPole-v1"}], "methods": methods}, "small")
    places = [Place(cell, root / "cells" / cell.name) for cell in grid.cells]
    for place in places:
        earned = RETURNS[place.cell.method][place.cell.seed]
        rows = [
            {
                **{"step": 100.0 * (i + 1), "return_mean": r},
                **{"occupancy_distance": 5.0 - r / 100, "reward_gap": 0.1 * i, "reward_bound": r},
            }
            for i, r in enumerate(earned)
        ]
        last = {"normalised_return": earned[-1] / 500, "last_normalised_return": earned[-1] / 500}
        facts = {"status": "completed", "expert_return": 500.0, "random_return": 0.0, "seconds_at": [1.0, 2.0, 3.0]}
        place.folder.mkdir(parents=True)
        (place.folder / "metrics.csv").write_bytes(rows_bytes(rows))
        (place.folder / "result.json").write_text(json.dumps(facts | last))
    write(grid, results.evaluated(places, root), root)
    return root


def test_page_is_rebuilt_identically_from_the_csv_tables(out, tmp_path):
    methods = [{"name": name} for name in RETURNS]
    grid = grid_of({"seeds": [0, 1], "tasks": [{"env": "CartPole-v1"}], "methods": methods}, "small")
    write(grid, results.read_csv(grid.cells, out), tmp_path)
    for name in ("results.csv", "runs.csv", "table.md", "index.html"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes(), name


@pytest.mark.parametrize(
    "table",
    [
        b"method,task\n1,2\n",
        b"method,task,demonstrations,seed,status\na,CartPole-v1,1.0,0,completed\n",
        b"method,task,demonstrations,seed,status\na,CartPole-v1,,0.0,completed\n",
        b"method,task,demonstrations,seed,status\na,CartPole-v1,,0,completed,3\n",
        b"method,task,demonstrations,seed,status\na,CartPole-v1\n",
    ],
)
def test_damaged_table_is_rejected(out, tmp_path, table):
    shutil.copy(out / "results.csv", tmp_path)
    (tmp_path / "runs.csv").write_bytes(table)
    with pytest.raises(InputError, match=r"runs\.csv is damaged; expected a table written by iqlearn benchmark"):
        results.read_csv([], tmp_path)


def test_tables_of_offline_and_online_runs_read_back_unchanged(tmp_path):
    """Offline runs have no updates column, and a method may lack a figure of another one."""
    offline = Evaluated(Cell("clone", "T", 1, 0, {}), [{"step": 5.0, "normalised": 0.4, "return_mean": 1.0}], {})
    row = {"step": 9.0, "updates": 3.0, "normalised": None, "return_mean": 2.0, "reward_gap": 0.1}
    online = Evaluated(Cell("ours", "T", None, 0, {}), [row], {"normalised_return": 0.3, "env_steps": 9.0})
    results.write_csv(tmp_path, [offline, online])
    first, second = results.read_csv([offline.of, online.of], tmp_path)
    assert first.rows == [offline.rows[0] | {"seconds": None}]
    assert second.rows == [online.rows[0] | {"seconds": None}]
    assert [cell.last for cell in (first, second)] == [offline.last, online.last]
    assert trained(first.rows), "its evaluation is one after the first update"


def test_diagnostics_table_reports_agreement_of_each_figure_with_the_return(out):
    text = (out / "table.md").read_text(encoding="utf-8")
    table = text.partition("## Diagnostics\n")[2].partition("\n## ")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table if "|" in line]
    lines = {name: rest for name, *rest in cells}
    assert lines["occupancy distance"][:4] == ["less", "4", "1.00 [1.00, 1.00]", "1.00 [1.00, 1.00]"]
    assert lines["occupancy distance"][5] == "0.00 [0.00, 0.00]", "it picks the best"
    assert lines["reward gap"][4].startswith("0.13 "), "it picks the first of each run: 100, 50, 20 and 90 of 500"
    assert lines["last evaluation"][:4] == ["–", "4", "–", "–"]


def test_a_browser_draws_the_page_sorts_tables_and_shows_values(out, browse):
    script = """
      document.querySelectorAll("details").forEach(d => { d.open = true; });
      await later(2000);
      const figures = [...document.querySelectorAll(".figure")];
      const of = title => figures.find(f => f.ariaLabel === title);
      const section = document.querySelector("#diagnostics");
      const aggregates = document.querySelector("#results table");
      return {
        sections: [...document.querySelectorAll("section")].map(s => s.id),
        missing: figures.filter(f => !f.querySelector(".main-svg")).map(f => f.ariaLabel),
        methods: sorted(aggregates, "method"),
        means: sorted(aggregates, "mean"),
        within: sorted(section.querySelector("table"), "within a run"),
        curve: await hovered(of("CartPole-v1"), 1, 2),
        distance: await hovered(of("occupancy distance · CartPole-v1"), 0, 1),
        agreement: await hovered(of("Spearman's correlation with the true return"), 0, 0),
        small: of("occupancy distance · CartPole-v1").clientHeight < of("CartPole-v1").clientHeight,
        back: getComputedStyle(document.body).backgroundColor,
      };
    """
    seen = {scheme: browse(out / "index.html", script, scheme) for scheme in ("light", "dark")}
    for facts in seen.values():
        assert facts["sections"] == ["results", "efficiency", "profiles", "diagnostics"]
        assert facts["missing"] == []
        assert facts["methods"] == [["first", "second"], ["second", "first"]]
        assert [text.split()[0] for text in facts["means"][0]] == ["0.08", "0.65"]
        assert [text.split()[0] for text in facts["within"][0]] == ["-1.00", "0.00", "1.00", "–"], "by number"
        assert facts["curve"] == "first · seed 1 step 300: 0.900"
        assert facts["distance"] == "first · seed 0 step 200: 2.000"
        assert facts["agreement"] == "occupancy distance, within a run: 1.00"
        assert facts["small"]
    assert seen["light"]["back"] != seen["dark"]["back"]
