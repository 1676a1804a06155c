"""The report: one file, with the figures of the runs, that a browser draws."""

import base64
import json
import shutil
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

import iqlearn as iq
from iqlearn import cli
from iqlearn.errors import InputError
from iqlearn.evaluation.statistics import Interval
from iqlearn.files import json_bytes, rows_bytes
from iqlearn.report import report
from iqlearn.report.gather import names_of
from iqlearn.report.page import Figure, Section, Table, colour, dash, in_words, label, page
from iqlearn.runs.manifest import update

graph_objects = pytest.importorskip("plotly.graph_objects", reason="needs the extra report")


class Reader(HTMLParser):
    """Reads the figures, tables, sections and links of a page."""

    def __init__(self, text):
        super().__init__()
        self.figures, self.tables, self.sections, self.sources, self.scripts, self._cell = {}, [], [], [], 0, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if a.get("class") == "figure":
            self.figures[a["aria-label"]] = json.loads(a["data-traces"]), json.loads(a["data-layout"])
        self.sections += [a["id"]] if tag == "section" else []
        self.sources += [a[name] for name in ("src", "href") if name in a]
        self.scripts += tag == "script"
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._cell = self.tables[-1][-1]

    def handle_endtag(self, tag):
        self._cell = None if tag in ("td", "th") else self._cell

    def handle_data(self, data):
        if self._cell is not None:
            self._cell[-1] += data.strip()


@pytest.fixture(scope="module")
def runs(cartpole_file, tmp_path_factory):
    """Two seeds of one run, and a clone without an environment."""
    root = tmp_path_factory.mktemp("runs")
    demos = iq.Demos.load(cartpole_file).take(4)
    short = {"steps": 40, "evaluations": 2, "eval_episodes": 2, "quiet": True}
    iq.learn(iq.IQLearn(), demos, env="CartPole-v1", seeds=[0, 1], out=root / "iq", **short)
    iq.learn(iq.BC(), replace(demos, env=None), out=root / "clone", steps=40, evaluations=2, quiet=True)
    return root


@pytest.fixture(scope="module")
def read(runs):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDL_VIDEODRIVER", "dummy")
        left_out = report([runs / "iq", runs / "clone"], runs / "both.html", episodes=2)
    assert not left_out
    return Reader((runs / "both.html").read_text())


def test_page_has_every_section_and_no_external_sources(read):
    assert read.sections == ["results", "training", "diagnostics", "episodes", "reward", "video", "data", "settings"]
    assert all(source.startswith(("#", "data:")) for source in read.sources)
    films = [source for source in read.sources if source.startswith("data:video/mp4;base64,")]
    assert len(films) == 1
    assert b"ftyp" in base64.b64decode(films[0].partition(",")[2])[:16]


def test_curves_match_the_metrics_of_every_seed(read, runs):
    traces, layout = read.figures["return · CartPole-v1"]
    assert layout["xaxis"]["title"]["text"] == "updates"
    lines = [trace for trace in traces if trace["mode"] == "lines+markers"]
    for line, seed in zip(lines, (0, 1), strict=True):
        rows = iq.Run.load(runs / "iq" / f"seed-{seed}").rows
        assert line["x"] == [row["step"] for row in rows]
        assert line["y"] == [row["return_mean"] for row in rows]
        assert f"iq · seed {seed}" in line["hovertemplate"]
    for task, run in (("CartPole-v1", "iq"), ("random.npz", "clone")):
        traces, _ = read.figures[f"log likelihood · {task}"]
        assert [trace["name"] for trace in traces if trace["showlegend"]] == [run]
    for name in iq.Run.load(runs / "iq" / "seed-0").rows[-1]:
        shown = (
            name in ("step", "updates")
            or name.startswith("return_")
            or f"{name.replace('_', ' ')} · CartPole-v1" in read.figures
        )
        assert shown, name


def test_every_figure_is_valid_for_plotly(read):
    for traces, layout in read.figures.values():
        graph_objects.Figure(traces, layout)


def test_episode_returns_match_evaluate(read, runs):
    traces, _ = read.figures["returns of episodes · CartPole-v1"]
    for trace, seed in zip(traces, (0, 1), strict=False):
        assert trace["y"] == iq.Run.load(runs / "iq" / f"seed-{seed}").evaluate(2).tolist()
    assert traces[-1]["name"] == "expert"
    assert len(traces[-1]["y"]) == 6, "every episode of the file"


def test_plotted_rewards_match_the_run(read, runs):
    run = iq.Run.load(runs / "iq" / "seed-0")
    demos = iq.Demos.load(run.origin.path).take(2)
    shown = {trace["name"]: trace for trace in read.figures["iq · seed 0: reward of a transition"][0]}
    assert {*shown} == {"demonstrations", "policy", "disturbed policy", "random actions"}
    np.testing.assert_allclose(shown["demonstrations"]["y"], run.reward(demos, absorbing=True))
    np.testing.assert_allclose(shown["demonstrations"]["x"], demos.rew)
    (learnt, true), _ = read.figures["iq · seed 0: along the first episode (policy)"]
    assert len(learnt["y"]) == len(true["y"])
    assert set(true["y"]) == {1.0}


def test_differing_settings_come_first(read):
    table = next(table for table in read.tables if table[0][0] == "setting")
    assert [*table[0]] == ["setting", "iq", "clone"]
    differing = {row[0]: row[1:] for row in table[1:]}
    assert differing["settings.name"] == ["iq", "bc"]
    assert "schedule.steps" not in differing
    everything = max((table for table in read.tables if table[0][0] == "setting"), key=len)
    assert any(row[0] == "schedule.steps" for row in everything)


def test_settings_are_those_of_the_folder_without_paths(runs, tmp_path):
    """The package versions are those that trained the run, not those that make the page."""
    shutil.copytree(runs / "clone", tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["versions"]["jax"] = "0.0.1"
    config["origin"]["reward"] = "/home/someone/reward"
    update(tmp_path / "run", {"config.json": json_bytes(config)})
    report([tmp_path / "run"], tmp_path / "page.html", episodes=0)
    page = (tmp_path / "page.html").read_text()
    table = next(table for table in Reader(page).tables if table[0][0] == "setting")
    assert ["versions.jax", "0.0.1"] in table
    assert "/home/someone" not in page
    assert config["origin"]["path"] not in page


@pytest.mark.usefixtures("read")
def test_page_has_no_paths_of_the_machine(runs):
    text = (runs / "both.html").read_text()
    assert str(iq.Run.load(runs / "clone").origin.path) not in text
    assert str(runs) not in text


def test_names_are_escaped_in_the_page():
    evil = "</script><script>alert('x')</script>\"'><img src=x onerror=alert(1)>"
    figure = Figure(evil, [{"x": [1], "y": [2], "name": evil}], {"title": {"text": evil}})
    text = page(evil, evil, [Section("a", evil, [figure, Table(evil, [evil], [[evil], [1.0]])], evil)], evil)
    found = Reader(text)
    assert found.scripts == 2
    assert found.sources == ["#a"]
    assert found.figures[evil][0][0]["name"] == evil
    assert found.tables == [[[evil], [evil], ["1"]]]


def test_missing_demonstrations_are_reported_and_their_sections_left_out(cartpole, tmp_path):
    path = tmp_path / "gone.npz"
    cartpole.save(path)
    demos = iq.Demos.load(path)
    iq.learn(iq.IQLearn(), replace(demos, env=None), out=tmp_path / "run", steps=20, evaluations=1, quiet=True)
    path.unlink()
    (told,) = report([tmp_path / "run"], tmp_path / "page.html", episodes=1)
    assert "gone.npz" in told
    found = Reader((tmp_path / "page.html").read_text())
    assert found.sections == ["results", "training", "diagnostics", "settings"]


def test_report_has_figures_per_task_and_accepts_a_run_without_metrics(runs, pendulum, tmp_path):
    short = {"steps": 20, "evaluations": 2, "eval_episodes": 1, "quiet": True, "max_episode_steps": 20}
    iq.learn(iq.BCContinuous(), pendulum, env="Pendulum-v1", out=tmp_path / "pendulum", **short)
    shutil.copytree(runs / "iq" / "seed-0", tmp_path / "begun")
    update(tmp_path / "begun", {"metrics.csv": b"step\n", "result.json": b"{}"})
    folders = [tmp_path / "begun", tmp_path / "pendulum", runs / "iq"]
    report(folders, tmp_path / "page.html", episodes=0, filmed=0)
    found = Reader((tmp_path / "page.html").read_text())
    assert {"loss · CartPole-v1", "loss · Pendulum-v1", "return · CartPole-v1"} <= found.figures.keys()
    assert [trace["name"] for trace in found.figures["loss · Pendulum-v1"][0]] == ["pendulum"]
    report(folders[:1], tmp_path / "alone.html", episodes=0, filmed=0)


def test_report_with_last_shows_the_last_policies(runs, tmp_path):
    report([runs / "iq"], tmp_path / "page.html", episodes=1, filmed=0, last=True)
    seeds = next(table for table in Reader((tmp_path / "page.html").read_text()).tables if "policy of" in table[0])
    for line in seeds[1:]:
        row = iq.Run.load(runs / "iq" / f"seed-{line[1]}").rows[-1]
        assert line[seeds[0].index("policy of")] == f"{row['step']:.0f}"
        assert line[seeds[0].index("return")] == in_words(row["return_mean"])
    assert "that of the last policy" in (tmp_path / "page.html").read_text()


def test_warnings_are_shown_on_the_page(runs, tmp_path):
    """For example, that the reward comes from critics before their first update."""
    folder = shutil.copytree(runs / "iq" / "seed-0", tmp_path / "run")
    run = iq.Run.load(folder)
    rows = [run.rows[0] | {"step": 0}, *run.rows[1:]]
    update(folder, {"metrics.csv": rows_bytes(rows), "result.json": json_bytes(run.result | {"best_step": 0})})
    told = report([folder], tmp_path / "page.html", episodes=1, filmed=0)
    assert any("critics before their first update" in remark for remark in told)
    assert "critics before their first update" in (tmp_path / "page.html").read_text()


def test_runs_of_one_colour_differ_in_dash_and_labels_are_escaped():
    assert colour(8) == colour(0)
    assert len({(colour(i), dash(i)) for i in range(32)}) == 32
    assert label("<b>%{y}</b> & co") == "&lt;b&gt;&#37;{y}&lt;/b&gt; &amp; co"


def test_folders_of_the_same_name_get_distinct_names(tmp_path):
    assert names_of([tmp_path / "a" / "run", tmp_path / "b" / "run", tmp_path / "c"]) == [
        "a/run",
        "b/run",
        f"{tmp_path.name}/c",
    ]
    assert names_of([tmp_path / "a" / "run", tmp_path / "b" / "other"]) == ["run", "other"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        *[
            (None, "–"),
            (float("nan"), "–"),
            (3, "3"),
            (12345, "12,345"),
            (12345.6, "12,346"),
            (0.123456, "0.1235"),
            (1e31, "1e+31"),
        ],
        *[
            (Interval(0.5, -0.001, 1.0), "0.50 [0.00, 1.00]"),
            (True, "yes"),
            ({"a": 1, "b": None}, "a: 1, b: –"),
            ([], "–"),
            ([1, "x"], "1; x"),
            ("", ""),
        ],
    ],
)
def test_in_words_formats_values(value, words):
    assert in_words(value) == words


def test_report_command_writes_the_page_and_rejects_invalid_arguments(runs, told, capsys, monkeypatch):
    monkeypatch.chdir(runs)
    cli.main(["report", "clone", "--episodes", "1"])
    assert capsys.readouterr().out == "written: clone/report.html\n"
    assert "exists; choose another file, or add --overwrite" in told("report", "clone")
    cli.main(["report", "clone", "--overwrite", "--video", "0"])
    assert "a folder is given twice" in told("report", "clone", "clone", "--out", "x.html")
    assert "--video is -1; expected a number of at least 0" in told("report", "clone", "--video", "-1")
    idle = told("report", "clone", "--out", "y.html", "--seed", "3", "--episodes", "0", "--video", "0")
    assert "--seed has no effect with --episodes 0 and --video 0" in idle
    assert "No config.json in nowhere" in told("report", "nowhere")


def test_overwriting_a_run_deletes_its_old_report(cartpole, tmp_path):
    short = {"steps": 20, "evaluations": 1, "quiet": True, "out": tmp_path / "run"}
    iq.learn(iq.BC(), cartpole, **short)
    report([tmp_path / "run"], tmp_path / "run" / "report.html")
    iq.learn(iq.BC(), cartpole, overwrite=True, **short)
    assert not (tmp_path / "run" / "report.html").exists()


def test_missing_package_is_reported_with_the_install_command(runs, monkeypatch):
    monkeypatch.setattr(sys.modules["iqlearn.report.page"], "find_spec", lambda package: None)
    with pytest.raises(InputError, match=r"install it with: pip install .*\[report\]"):
        report([runs / "clone"], runs / "never.html")


def test_browser_draws_every_figure_and_sorts_tables(runs, read, browse):
    """A script clicks on the page and returns its state."""
    script = """
      const drawn = () => [...document.querySelectorAll(".figure")].filter(f => f.querySelector(".main-svg")).length;
      const before = drawn();
      document.querySelectorAll("details").forEach(d => { d.open = true; });
      const table = [...document.querySelectorAll("table")].find(t => t.tHead.textContent.includes("status"));
      const seeds = sorted(table, "seed");
      await later(2000);
      return {before, after: drawn(), seeds, back: getComputedStyle(document.body).backgroundColor};
    """
    seen = {scheme: browse(runs / "both.html", script, scheme) for scheme in ("light", "dark")}
    for facts in seen.values():
        assert 0 < facts["before"] < facts["after"] == len(read.figures)
        assert facts["seeds"] == [["0", "0", "1"], ["1", "0", "0"]]
    assert seen["light"]["back"] != seen["dark"]["back"]
