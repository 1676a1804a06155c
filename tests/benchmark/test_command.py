"""The command `iqlearn benchmark`: what it checks before any run starts, and what it prints."""

import json
import shlex
import shutil
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from iqlearn import benchmark, cli
from iqlearn.benchmark import grid, local
from iqlearn.benchmark.cells import Place, Progress
from iqlearn.cli.benchmark import Table, picture
from iqlearn.files import rows_bytes

TASK = '[[tasks]]\nenv = "CartPole-v1"\n'
GRIDS = Path(__file__).parents[2] / "benchmarks" / "grids"
METHOD = '[[methods]]\nname = "a clone"\nalgorithm = "bc"\n'


@pytest.fixture
def toml(tmp_path, monkeypatch):
    """`toml(text)` writes a grid and returns the words of its command. No process may start."""

    def write(text):
        (tmp_path / "g.toml").write_text(text)
        return ["benchmark", str(tmp_path / "g.toml"), "--out", str(tmp_path / "out")]

    monkeypatch.setattr(local, "begun", lambda *_: pytest.fail("a process started"))
    return write


def place_of(tmp_path, result, rows=(), method="a clone"):
    """A run folder with this result and these evaluations."""
    (cell,) = grid.grid_of({"tasks": [{"env": "CartPole-v1"}], "methods": [{"name": method}]}, "g").cells
    place = Place(cell, tmp_path / "out" / "cells" / cell.name)
    place.folder.mkdir(parents=True)
    (place.folder / "result.json").write_text(json.dumps(result))
    if rows:
        (place.folder / "metrics.csv").write_bytes(rows_bytes([*rows]))
    return place


@pytest.mark.parametrize("dry", [False, True])
@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("algoritm = 'bc'", "has no flag --algoritm; the nearest is --algorithm"),
        ("stepz = 3", "has no flag --stepz; the nearest is --steps"),
        ("steps = 'many'", "Argument --steps: invalid whole number value: 'many'"),
        ("steps = [200, 400]", "Unexpected argument '400' after --steps"),
        ("algorithm = 'dac'\nsquash = 'tahn'", "Argument --squash: invalid choice: 'tahn'"),
        ("algorithm = 'bc'\npreset = 'paper'", "--preset paper belongs to algorithm iq"),
        ("evaluations = -1", "Setting evaluations is -1; expected a finite number of at least 0"),
        ("num-envs = 0", "Setting num_envs is 0; expected a finite number above 0"),
        ("algorithm = 'gail'", "--algorithm is 'gail'; expected one of iq, bc"),
        ("extensions = ['clonning']", "--extensions is 'clonning' with algorithm iq; expected some of"),
        ("cloning.weigt = 0", "has no flag --cloning.weigt; the nearest is --cloning.weight"),
        ("gamma = 0.5\nalgorithm = 'bc'", "iqlearn train with algorithm bc has no flag --gamma"),
    ],
)
def test_wrong_key_of_a_grid_is_reported_before_any_run_starts(toml, sentence, key, wanted, dry):
    words = toml(f'{TASK}[[methods]]\nname = "mine"\n{key}\n')
    said = sentence(*words, *(["--dry-run"] if dry else []))
    assert "Grid g, task CartPole-v1, method mine: " in said
    assert wanted in said


@pytest.mark.parametrize("source", [*grid.PRESETS, *sorted(GRIDS.glob("*.toml"))], ids=lambda found: Path(found).stem)
def test_flags_of_every_committed_grid_exist(tmp_path, source, capsys):
    cells = grid.read(str(source)).cells
    named = {str(cell.flags["demos"]) for cell in cells if "demos" in cell.flags}
    for name in named:
        (tmp_path / name).touch()
    folder = ["--demos", str(tmp_path)] if named else []
    cli.main(["benchmark", str(source), *folder, "--out", str(tmp_path / "out"), "--dry-run"])
    assert len(capsys.readouterr().out.splitlines()) == len(cells)


@pytest.mark.parametrize("dry", [False, True])
def test_missing_demonstrations_are_reported_before_any_run_starts(toml, sentence, tmp_path, dry):
    words = [*toml(f'{TASK}demos = "a.npz"\n{METHOD}'), *(["--dry-run"] if dry else [])]
    assert "method a clone: demos is a.npz, which does not exist; expected a file, name its folder" in sentence(*words)
    folder = tmp_path / "data"
    assert f"demos is {folder / 'a.npz'}, which does not exist" in sentence(*words, "--demos", folder)


def test_dataset_is_no_missing_file_and_flags_of_either_kind_of_actions_pass(toml, capsys):
    cli.main([*toml(f'{TASK}demos = "minari:a/b-v0"\n[[methods]]\nname = "m"\nactor.hidden = [8, 8]\n'), "--dry-run"])
    assert "--demos minari:a/b-v0 --actor.hidden 8 8" in capsys.readouterr().out


def test_finished_runs_need_no_demonstrations(toml, tmp_path, capsys):
    place_of(tmp_path, {"status": "completed"}, [{"step": 40.0, "return_mean": 100.0}])
    cli.main([*toml(f'{TASK}demos = "a.npz"\n{METHOD}'), "--dry-run"])
    assert capsys.readouterr().out == ""


def test_folder_of_demonstrations_without_effect_is_refused(toml, sentence, tmp_path):
    assert "--demos has no effect, because grid g names no file" in sentence(*toml(TASK + METHOD), "--demos", tmp_path)


def test_printed_commands_can_be_pasted_into_a_shell(toml, capsys):
    words = toml(f"{TASK}env-arg = \"render_mode='rgb array'\"\n{METHOD}")
    cli.main([*words, "--dry-run"])
    found = shlex.split(capsys.readouterr().out)
    assert found[:6] == ["iqlearn", "train", "--env", "CartPole-v1", "--env-arg", "render_mode='rgb array'"]


def test_benchmark_without_an_evaluation_does_not_claim_to_have_written_a_page(toml, tmp_path, capsys):
    place_of(tmp_path, {"status": "diverged"})
    with pytest.raises(SystemExit) as ended:
        cli.main(toml(TASK + METHOD))
    out, err = capsys.readouterr()
    assert ended.value.code == 1
    assert out == ""
    assert "No run has an evaluation, so nothing was written; the reasons are in" in err
    assert not (tmp_path / "out" / "index.html").exists()


def test_deleted_runs_without_their_evaluations_are_reported_before_any_run_starts(toml, sentence, tmp_path):
    place = place_of(tmp_path, {"status": "completed"}, [{"step": 40.0, "return_mean": 100.0}])
    words = toml(TASK + METHOD)
    cli.main(words)
    shutil.rmtree(place.folder)
    (tmp_path / "out" / "results.csv").unlink()
    said = sentence(*words, "--dry-run")
    assert "results.csv is missing; expected a table written by iqlearn benchmark, restore it from a copy" in said
    assert "or delete results.csv and runs.csv to repeat the runs whose folders are gone" in said
    (tmp_path / "out" / "runs.csv").unlink()
    (again,) = benchmark.places([place.cell], tmp_path / "out")
    assert not again.finished, "the remedy works"


def test_failed_run_is_not_printed_as_running(tmp_path, capsys):
    place = place_of(tmp_path, {"status": "running"}, [{"step": 40.0, "return_mean": 12.0}])
    with Table() as table:
        table.show(Progress([], [], failed={place: "killed"}))
    assert capsys.readouterr().err == f"{place.cell.name}: failed  (0 left)\n"


def test_queued_tasks_of_a_cluster_are_shown_as_waiting(tmp_path):
    first, second = (place_of(tmp_path, {}, method=name) for name in ("first", "second"))
    out = StringIO()
    Console(file=out, width=120).print(picture(Progress([], [], {first: None, second: None}, queued={second})))
    assert "0 done · 0 failed · 1 waiting" in out.getvalue()
    assert first.cell.name in out.getvalue()
    assert second.cell.name not in out.getvalue()


def test_dry_run_refuses_changed_flags_and_says_that_nothing_is_left(toml, sentence, tmp_path, capsys):
    place_of(tmp_path, {"status": "completed"}, [{"step": 40.0, "return_mean": 100.0}])
    words = toml(TASK + METHOD)
    cli.main(words)
    capsys.readouterr()
    cli.main([*words, "--dry-run"])
    assert capsys.readouterr().err == "iqlearn: Every run of the grid is finished.\n"
    assert "was begun with other flags" in sentence(*toml(f"{TASK}{METHOD}steps = 3\n"), "--dry-run")
