"""Cells in real processes: stopped cells resume, finished cells are not run again, and failed cells are reported."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from iqlearn import InputError, benchmark, cli
from iqlearn.benchmark import grid, local, results
from iqlearn.benchmark.cells import RETRIES
from iqlearn.files import rows_bytes
from iqlearn.runs.folder import CHECKPOINT

QUICK = {"env": "CartPole-v1", "steps": 40, "evaluations": 2, "eval-episodes": 2, "batch-size": 4}
GRID = (
    'seeds = [0]\nsteps = 40\nevaluations = 2\neval-episodes = 2\n[[tasks]]\nenv = "CartPole-v1"\n'
    '[[methods]]\nname = "clone"\nalgorithm = "bc"\n'
)
LONG = {
    "env": "CartPole-v1",
    "steps": 2_000_000,
    "evaluations": 4_000,
    "eval-episodes": 1,
    "algorithm": "iq",
    "preset": "paper",
}


def places(tmp_path, tasks, methods, seeds=(0,)):
    found = grid.grid_of({"seeds": [*seeds], "tasks": tasks, "methods": methods}, "g")
    return found, benchmark.places(found.cells, tmp_path / "out")


def finish(place):
    """Write the files of a completed run."""
    place.folder.mkdir(parents=True)
    result = {"status": "completed", "expert_return": 500.0, "random_return": 0.0, "normalised_return": 0.2}
    (place.folder / "result.json").write_text(json.dumps(result))
    (place.folder / "metrics.csv").write_bytes(rows_bytes([{"step": 40.0, "return_mean": 100.0}]))


def wait_for(what, seconds=90.0):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.05)


def test_finished_cells_are_not_run_again_and_failed_ones_are_reported(tmp_path, monkeypatch, capsys):
    (tmp_path / "g.toml").write_text(GRID + '[[methods]]\nname = "wrong"\nalgorithm = "bc"\nlearning-rate = -1\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(["benchmark", "g.toml", "--out", "out", "--workers", "2"])
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert "CartPole-v1/wrong/seed-0 failed: iqlearn: Setting learning_rate is -1" in said.err
    rows = list(csv.DictReader((tmp_path / "out" / "results.csv").open()))
    assert [(row["method"], row["task"], row["seed"], row["step"]) for row in rows] == [
        ("clone", "CartPole-v1", "0", "20"),
        ("clone", "CartPole-v1", "0", "40"),
    ]
    assert all(float(row["seconds"]) > 0.0 for row in rows)
    for name in ("table.md", "curves.png", "index.html"):
        assert (tmp_path / "out" / name).stat().st_size > 0
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "CartPole-v1/wrong/seed-0" in page, "what failed is not hidden"
    result = tmp_path / "out" / "cells" / "CartPole-v1" / "clone" / "seed-0" / "result.json"
    before = result.stat().st_mtime_ns
    (tmp_path / "g.toml").write_text(GRID)
    cli.main(["benchmark", "g.toml", "--out", "out", "--workers", "2"])
    assert result.stat().st_mtime_ns == before, "a finished cell is not run again"


def test_results_of_other_flags_are_refused_and_results_of_deleted_folders_kept(tmp_path):
    """No result is lost, even if the grid has changed."""
    out = tmp_path / "out"

    seen = []

    def run(name="clone", show=lambda _: None, **changes):
        found, each = places(tmp_path, [QUICK | changes], [{"name": name, "algorithm": "bc"}])
        benchmark.run(found, out, None, 1, show)
        return each

    _, (place,) = places(tmp_path, [QUICK], [{"name": "clone", "algorithm": "bc"}])
    finish(place)
    run(show=lambda now: seen.append((len(now.done), (out / "runs.csv").is_file())))
    assert seen[0] == (1, True), "the tables are there as soon as a run has ended"
    tables = {name: (out / name).read_bytes() for name in ("results.csv", "runs.csv", "table.md", "index.html")}
    for folder_is_there in (True, False):
        if not folder_is_there:
            shutil.rmtree(place.folder)
        with pytest.raises(InputError, match=r"seed-0 was begun with other flags: .*--steps 40") as told:
            run(steps=60)
        assert "expected those of its grid: --env CartPole-v1 --steps 60" in str(told.value)
        assert f"delete that folder and its row in {out / 'runs.csv'}" in str(told.value)
    with pytest.raises(InputError, match=r"runs\.csv holds CartPole-v1/clone/seed-0, which is no run of the grid"):
        run(name="another")
    (recorded,) = run()
    assert (recorded.status, recorded.finished, recorded.folder.exists()) == ("completed", True, False)
    assert {name: (out / name).read_bytes() for name in tables} == tables


@pytest.mark.parametrize(("age", "there"), [(0.0, True), (3600.0, False)])
def test_page_is_there_while_runs_go_on_unless_it_was_made_just_before(age, there, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "REFRESH", age)
    found, (place,) = places(tmp_path, [QUICK], [{"name": "clone", "algorithm": "bc"}])
    finish(place)
    seen = []
    benchmark.run(found, tmp_path / "out", None, 1, lambda _: seen.append((tmp_path / "out" / "index.html").is_file()))
    assert seen[0] == there


def test_runs_csv_counts_the_rollbacks_of_the_guard(tmp_path):
    found, (place, other) = places(tmp_path, [QUICK], [{"name": n, "algorithm": "bc"} for n in ("clone", "other")])
    finish(place)
    finish(other)
    result = json.loads((other.folder / "result.json").read_text())
    back = {"step": 40, "because": "the states of the policy are far from the expert's"}
    (other.folder / "result.json").write_text(json.dumps(result | {"guard": [back, back]}))
    benchmark.run(found, tmp_path / "out", None, 1, lambda _: None)
    rows = csv.DictReader((tmp_path / "out" / "runs.csv").open())
    assert {row["method"]: row["rollbacks"] for row in rows} == {"clone": "0", "other": "2"}


def test_finished_run_without_an_evaluation_is_reported_on_the_page(tmp_path):
    tasks = [QUICK, QUICK | {"name": "other"}]
    found, (place, other) = places(tmp_path, tasks, [{"name": "clone", "algorithm": "bc"}])
    finish(other)
    place.folder.mkdir(parents=True)
    (place.folder / "result.json").write_text('{"status": "diverged"}')
    benchmark.run(found, tmp_path / "out", None, 1, lambda _: None)
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert place.cell.name in page
    assert "ended without an evaluation" in page


def test_failed_cells_are_on_the_page_also_after_an_interrupt(tmp_path):
    tasks = [QUICK, QUICK | {"name": "other"}]
    found, (place, other) = places(tmp_path, tasks, [{"name": "clone", "algorithm": "bc"}])
    finish(other)

    def show(now):
        if now.failed:
            raise KeyboardInterrupt

    place.folder.mkdir(parents=True)
    (place.folder / "result.json").write_text("{}")
    (place.folder / CHECKPOINT).write_bytes(b"damaged")
    with pytest.raises(KeyboardInterrupt, match="Run the same command again to continue"):
        benchmark.run(found, tmp_path / "out", None, 1, show)
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert place.cell.name in page
    assert "Results of 1 of 2 runs." in page


def test_resume_command_of_a_begun_run_has_the_given_demonstrations(tmp_path):
    _, (place,) = places(tmp_path, [QUICK | {"demos": "a.npz"}], [{"name": "clone", "algorithm": "bc"}])
    place.folder.mkdir(parents=True)
    (place.folder / CHECKPOINT).write_bytes(b"")
    assert place.begun
    assert place.command(tmp_path)[2:] == ["--demos", str(tmp_path / "a.npz")]
    assert place.command(None)[2:] == []


def test_process_of_a_cell_does_not_receive_the_interrupts_of_the_terminal(tmp_path):
    _, (place,) = places(tmp_path, [QUICK], [{"name": "clone"}])
    process = local.begun(place, ["--version"])
    process.send_signal(signal.SIGINT)
    assert process.wait(90) == 0
    assert place.said().startswith("iqlearn ")


@pytest.mark.slow
def test_second_interrupt_of_the_terminal_leaves_the_checkpoint(tmp_path):
    """A terminal sends Ctrl-C to the driver and to the processes of its cells."""
    _, (place,) = places(tmp_path, [LONG], [{"name": "iq"}])
    lines = ["[[tasks]]", *(f"{k} = {json.dumps(v)}" for k, v in LONG.items()), "[[methods]]", 'name = "iq"']
    (tmp_path / "g.toml").write_text("\n".join(lines))
    words = ["benchmark", tmp_path / "g.toml", "--out", tmp_path / "out", "--workers", "1"]
    driver = subprocess.Popen(
        [sys.executable, "-m", "iqlearn", *words], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for(lambda: len(place.rows) > 2)
    for _ in range(2):
        os.killpg(driver.pid, signal.SIGINT)
    _, told = driver.communicate(timeout=120)
    assert driver.returncode == 130
    assert f"The results so far are in {tmp_path / 'out'}. Run the same command again to continue." in told
    assert place.status == "interrupted"
    assert place.begun


@pytest.mark.slow
def test_killed_worker_resumes_from_its_checkpoint(tmp_path):
    _, (place,) = places(tmp_path, [LONG | {"steps": 3_000, "evaluations": 60}], [{"name": "iq"}])
    killed = []

    def kill(now):
        if not killed and place.status == "running" and len(place.rows) > 1:
            process = now.running[place]
            process.send_signal(signal.SIGKILL)
            killed.append(len(place.rows))

    now = local.run([place], None, 1, kill)
    assert now.done == [place]
    assert now.tries[place] == 2
    assert place.status == "completed"
    (cell,) = results.evaluated([place], tmp_path / "out")
    assert [row["step"] for row in cell.rows] == [50 * (i + 1) for i in range(60)]
    assert "resume" not in place.log.read_text().splitlines()[0]


@pytest.mark.slow
def test_cell_that_keeps_dying_fails_after_all_retries(tmp_path):
    _, (place,) = places(tmp_path, [LONG], [{"name": "iq"}])
    now = local.run([place], None, 1, lambda now: [process.kill() for process in now.running.values()])
    assert list(now.failed) == [place]
    assert now.tries[place] == 1 + RETRIES


@pytest.mark.slow
def test_workers_of_a_killed_driver_end_and_the_next_driver_resumes(tmp_path):
    _, (place,) = places(tmp_path, [LONG], [{"name": "iq"}])
    (tmp_path / "g.toml").write_text(
        "\n".join(["[[tasks]]", *(f"{k} = {json.dumps(v)}" for k, v in LONG.items()), "[[methods]]", 'name = "iq"'])
    )
    command = [
        sys.executable,
        "-m",
        "iqlearn",
        "benchmark",
        tmp_path / "g.toml",
        "--out",
        tmp_path / "out",
        "--workers",
        "1",
    ]
    driver = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    wait_for(lambda: len(place.rows) > 2)
    driver.kill()
    driver.wait()
    worker = int((place.folder / ".lock").read_text().split()[1])
    wait_for(lambda: not alive(worker), 20.0)
    known = place.rows
    driver = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: len(place.rows) > len(known) + 1)
    driver.send_signal(signal.SIGTERM)
    _, told = driver.communicate(timeout=120)
    assert driver.returncode == 130
    assert f"The results so far are in {tmp_path / 'out'}. Run the same command again to continue." in told
    assert place.rows[: len(known)] == known
    assert place.status == "interrupted"
    assert not alive(int((place.folder / ".lock").read_text().split()[1]))
    for name in ("results.csv", "runs.csv", "table.md", "curves.png", "index.html"):
        assert (tmp_path / "out" / name).is_file(), "what there is, is written"


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{process}/stat", encoding="utf-8") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"
