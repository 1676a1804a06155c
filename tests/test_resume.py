"""A run that was stopped and goes on is the run that was never stopped, bit for bit."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

import iqlearn as iq
from iqlearn import records

NETWORK = iq.Network(hidden=(8,))
SETTINGS = iq.IQLearn(network=NETWORK, target_update="hard", target_period=3, batch_size=4, value_term="initial")
LENGTH = {"steps": 10, "evaluations": 4, "quiet": True}
"""Evaluations after 3, 6, 9 and 10 updates."""


@pytest.fixture(scope="module")
def demos(cartpole):
    """Without an environment, so that nothing is played."""
    arrays = cartpole.take(3).subsample(2).arrays()
    del arrays["env"]
    return iq.Demos.from_arrays(arrays, source="part.npz")


@pytest.fixture(scope="module")
def whole(demos, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    iq.learn(SETTINGS, demos, seed=5, out=folder, **LENGTH)
    return folder


def same_files(a: Path, b: Path) -> None:
    for name in (records.CHECKPOINT, records.MODEL, records.METRICS, records.CONFIG):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    clock = ("seconds", "updates_per_second")
    results = [{k: v for k, v in records.read_json(x / records.RESULT).items() if k not in clock} for x in (a, b)]
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "number",
    [
        1,
        2,
        4,
    ],
)
def test_an_interrupted_run_resumed_is_the_whole_run(demos, whole, tmp_path, stop_at, number):
    stop_at(number)
    with pytest.warns(RuntimeWarning, match="interrupted"):
        stopped = iq.learn(SETTINGS, demos, seed=5, out=tmp_path / "run", **LENGTH)
    assert stopped.result["status"] == "interrupted"
    assert [row["step"] for row in stopped.rows] == [3, 6, 9][: number - 1]
    assert int(stopped.state.step) == 3 * (number - 1)
    resumed = iq.resume(tmp_path / "run", demos, quiet=True)
    assert resumed.result["status"] == "completed"
    assert [row["step"] for row in resumed.rows] == [3, 6, 9, 10]
    same_files(tmp_path / "run", whole)


def test_a_run_that_crashed_goes_on_from_its_last_evaluation(demos, whole, tmp_path, stop_at):
    """As after a power cut: nothing was written at the end, `result.json` still says `running`."""
    stop_at(3, MemoryError)
    with pytest.raises(MemoryError):
        iq.learn(SETTINGS, demos, seed=5, out=tmp_path / "run", **LENGTH)
    assert records.read_json(tmp_path / "run" / records.RESULT)["status"] == "running"
    iq.resume(tmp_path / "run", demos, quiet=True)
    same_files(tmp_path / "run", whole)


@pytest.mark.parametrize("name", [records.CHECKPOINT, records.MODEL, records.METRICS, records.RESULT])
def test_a_stop_between_two_files_loses_no_evaluation(demos, whole, tmp_path, monkeypatch, name):
    """The second update of the folder stops just before this file is replaced."""
    replace, seen = os.replace, []

    def stopped(source: Path, target: Path) -> None:
        seen.append(Path(target).name)
        if seen.count(name) == 2:
            raise MemoryError
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stopped)
        with pytest.raises(MemoryError):
            iq.learn(SETTINGS, demos, seed=5, out=tmp_path / "run", **LENGTH)
    iq.resume(tmp_path / "run", demos, quiet=True)
    same_files(tmp_path / "run", whole)


def test_resuming_a_completed_run_changes_nothing(demos, whole):
    before = {path.name: path.read_bytes() for path in whole.iterdir() if path.name != records.CURVES}
    iq.resume(whole, demos, quiet=True)
    assert {name: (whole / name).read_bytes() for name in before} == before


def test_resume_refuses_other_demonstrations(demos, whole):
    before = (whole / records.CHECKPOINT).read_bytes()
    with pytest.raises(iq.InputError, match=r"part\.npz is not what .*expected SHA-256 \w{12}….*found \w{12}"):
        iq.resume(whole, demos.take(2), quiet=True)
    assert (whole / records.CHECKPOINT).read_bytes() == before


def test_the_same_seed_repeats_and_another_differs(demos, whole):
    again = iq.learn(SETTINGS, demos, seed=5, **LENGTH)
    other = iq.learn(SETTINGS, demos, seed=6, **LENGTH)
    first = iq.Run.load(whole)
    assert again.reward(demos).tolist() == first.reward(demos).tolist()
    assert not np.allclose(other.reward(demos), first.reward(demos))


def test_a_loaded_run_is_the_run_that_was_saved(demos, whole, tmp_path):
    run = iq.Run.load(whole)
    run.save(tmp_path / "copy")
    same_files(tmp_path / "copy", whole)
    with pytest.raises(iq.InputError, match="not empty"):
        run.save(tmp_path / "copy")
    assert run.settings == SETTINGS
    assert run.origin.sha256 == demos.sha256()


def copied(folder: Path, target: Path) -> Path:
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


@pytest.mark.parametrize("name", ["config.json", "result.json", "metrics.csv"])
def test_a_missing_file_is_one_sentence(whole, tmp_path, name):
    (copied(whole, tmp_path) / name).unlink()
    with pytest.raises(iq.InputError, match=rf"{name}.*expected") as caught:
        iq.Run.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "result.json", "checkpoint.safetensors"])
def test_a_file_cut_short_is_one_sentence(whole, tmp_path, name):
    path = copied(whole, tmp_path) / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(iq.InputError, match=rf"{name}.*damaged.*expected") as caught:
        iq.Run.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["settings", "schedule", "origin", "spec"])
@pytest.mark.parametrize("change", ["gone", "null", "unknown"])
def test_a_config_with_a_wrong_part_names_the_file(whole, tmp_path, key, change):
    path = copied(whole, tmp_path) / "config.json"
    config = json.loads(path.read_text())
    part = config.pop(key)
    if change != "gone":
        config[key] = None if change == "null" else {**part, "unknown": 1}
        if key == "spec" and change == "unknown":
            del config[key]["actions"]
    path.write_text(json.dumps(config))
    with pytest.raises(iq.InputError, match=r"config\.json"):
        iq.Run.load(tmp_path)


def test_without_its_checkpoint_a_run_still_acts_and_judges_but_does_not_go_on(demos, whole, tmp_path):
    """Who ships a policy need not ship what training needs, online the whole replay."""
    for path in whole.iterdir():
        if path.name != records.CHECKPOINT:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    run, shipped = iq.Run.load(whole), iq.Run.load(tmp_path)
    np.testing.assert_array_equal(shipped.policy(demos.obs), run.policy(demos.obs))
    np.testing.assert_array_equal(shipped.reward(demos), run.reward(demos))
    assert len(shipped.rows) == len(run.rows)
    with pytest.raises(iq.InputError, match=r"No checkpoint\.safetensors in .*training cannot go on without"):
        iq.resume(tmp_path, demos, quiet=True)


def test_a_run_and_demonstrations_print_as_one_line(demos, whole):
    assert repr(iq.Run.load(whole)) == "<Run iq on part.npz, seed 5: completed>"
    assert repr(demos) == f"<Demos part.npz: {len(demos)} transitions of 3 episodes>"
