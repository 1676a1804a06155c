"""Offline, a resumed run equals the uninterrupted run, bit for bit."""

import os
from pathlib import Path

import numpy as np
import pytest

import iqlearn as iq
from iqlearn.files import read_json
from iqlearn.runs import folder
from iqlearn.training.callbacks import RunFolder

SETTINGS = iq.IQLearn(network=iq.Network((8,)), target_rate=1.0, target_period=3, batch_size=4, value_term="initial")
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
    out = tmp_path_factory.mktemp("runs") / "whole"
    iq.learn(SETTINGS, demos, seed=5, out=out, **LENGTH)
    return out


@pytest.mark.parametrize("number", [1, 2, 4])
def test_resumed_run_equals_the_uninterrupted_run(demos, whole, tmp_path, stop_at, same_run, number):
    stop_at(number)
    with pytest.warns(RuntimeWarning, match=f"before its time, after step {3 * (number - 1)}: .* interrupted"):
        stopped = iq.learn(SETTINGS, demos, seed=5, out=tmp_path / "run", **LENGTH)
    assert stopped.result["status"] == "interrupted"
    assert [row["step"] for row in stopped.rows] == [3, 6, 9][: number - 1]
    assert int(stopped.state.step) == 3 * (number - 1)
    resumed = iq.resume(tmp_path / "run", demos, quiet=True)
    assert resumed.result["status"] == "completed"
    assert [row["step"] for row in resumed.rows] == [3, 6, 9, 10]
    same_run(tmp_path / "run", whole)


@pytest.mark.parametrize("status", ["failed", "running"])
def test_a_run_that_crashed_goes_on_from_its_last_evaluation(
    demos, whole, tmp_path, stop_at, same_run, monkeypatch, status
):
    """After an error, or a power cut: then `result.json` still says `running`, as nothing was written at the end."""
    if status == "running":
        monkeypatch.setattr(RunFolder, "on_end", lambda *_: None)
    stop_at(3, MemoryError)
    with pytest.raises(MemoryError):
        iq.learn(SETTINGS, demos, seed=5, out=tmp_path / "run", **LENGTH)
    monkeypatch.undo()
    assert read_json(tmp_path / "run" / folder.RESULT)["status"] == status
    iq.resume(tmp_path / "run", demos, quiet=True)
    same_run(tmp_path / "run", whole)


@pytest.mark.parametrize("name", [folder.CHECKPOINT, folder.MODEL, folder.METRICS, folder.RESULT])
def test_power_cut_between_two_writes_loses_no_evaluation(demos, whole, tmp_path, monkeypatch, same_run, name):
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
    same_run(tmp_path / "run", whole)


def test_resuming_a_completed_run_changes_nothing(demos, whole):
    before = {path.name: path.read_bytes() for path in whole.iterdir() if path.name != folder.CURVES}
    iq.resume(whole, demos, quiet=True)
    assert {name: (whole / name).read_bytes() for name in before} == before


def test_resume_refuses_other_demonstrations(demos, whole):
    before = (whole / folder.CHECKPOINT).read_bytes()
    with pytest.raises(iq.InputError, match=r"part\.npz is not what .*expected SHA-256 \w{12}….*found \w{12}"):
        iq.resume(whole, demos.take(2), quiet=True)
    assert (whole / folder.CHECKPOINT).read_bytes() == before


def test_resume_asks_for_demonstrations_made_in_python(whole):
    with pytest.raises(iq.InputError, match=r"learns from demonstrations: .*'part\.npz' were put together in Python"):
        iq.resume(whole, quiet=True)


def test_the_same_seed_repeats_and_another_differs(demos, whole):
    again = iq.learn(SETTINGS, demos, seed=5, **LENGTH)
    other = iq.learn(SETTINGS, demos, seed=6, **LENGTH)
    first = iq.Run.load(whole)
    assert again.reward(demos).tolist() == first.reward(demos).tolist()
    assert not np.allclose(other.reward(demos), first.reward(demos))


def test_run_without_its_checkpoint_can_be_loaded_but_not_resumed(demos, whole, tmp_path):
    """A policy can be shared without the data for training, which online includes the whole replay."""
    for path in whole.iterdir():
        if path.name not in (folder.CHECKPOINT, folder.PREVIOUS):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    run, shipped = iq.Run.load(whole), iq.Run.load(tmp_path)
    np.testing.assert_array_equal(shipped.policy(demos.obs), run.policy(demos.obs))
    np.testing.assert_array_equal(shipped.reward(demos), run.reward(demos))
    assert len(shipped.rows) == len(run.rows)
    with pytest.raises(
        iq.InputError, match=r"checkpoint\.safetensors.* missing in .*expected a run that was trained with --out"
    ):
        iq.resume(tmp_path, demos, quiet=True)
