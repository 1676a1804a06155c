"""Damaged run folders: errors name the file, and a resumed run equals the uninterrupted one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import iqlearn as iq
from iqlearn.files import arrays_bytes, json_bytes, read_arrays, tree_bytes
from iqlearn.runs import folder, manifest
from iqlearn.training.learner import Learner

SETTINGS = iq.IQLearn(network=iq.Network((8,)), batch_size=4)
LENGTH = {"env": "CartPole-v1", "seed": 2, "steps": 20, "evaluations": 4, "eval_episodes": 2, "quiet": True}
LOADED = (folder.CONFIG, folder.METRICS, folder.RESULT, folder.MODEL, folder.MANIFEST)
EVERY = (*LOADED, folder.LAST, folder.CHECKPOINT, folder.PREVIOUS, folder.CURVES)


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGES: dict[str, Callable[[bytes, bytes], bytes | None]] = {
    "truncated": lambda content, _: content[: len(content) // 2],
    "emptied": lambda *_: b"",
    "zeroed": lambda content, _: bytes(len(content)),
    "flipped": lambda content, _: flipped(content),
    "older": lambda _, older: older,
    "deleted": lambda *_: None,
}


def damage(path: Path, how: str, older: Path) -> bool:
    """Damage a file. Return whether its content changed."""
    before = path.read_bytes()
    content = DAMAGES[how](before, (older / path.name).read_bytes())
    path.unlink() if content is None else path.write_bytes(content)
    return content != before


@pytest.fixture(scope="module")
def whole(cartpole_file, tmp_path_factory) -> tuple[Path, Path]:
    """A run folder, and the same after its second evaluation."""
    parent = tmp_path_factory.mktemp("damage")

    def copy(training) -> None:
        if training.done == 10:
            shutil.copytree(parent / "whole", parent / "older")
            (parent / "older" / folder.CURVES).write_bytes(b"older")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("iqlearn.evaluation.plots.curves", lambda *_: b"a picture")
        iq.learn(SETTINGS, iq.Demos.load(cartpole_file), out=parent / "whole", callbacks=[copy], **LENGTH)
    return parent / "whole", parent / "older"


@pytest.fixture
def run(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole[0], tmp_path / "run"))


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("name", EVERY)
def test_load_rejects_each_damaged_file_that_it_reads(whole, run, name, how):
    changed = damage(run / name, how, whole[1])
    for last in (False, True):
        read = name in LOADED if not last else name in {*LOADED, folder.LAST} - {folder.MODEL}
        if not (read and changed):
            iq.Run.load(run, last)
            continue
        wrong = "" if (name, how) == (folder.MANIFEST, "older") else name  # the other files do not match it
        with pytest.raises(
            iq.InputError, match=rf"{wrong}.*; expected .*, iqlearn resume {run} writes it again"
        ) as told:
            iq.Run.load(run, last)
        assert "\n" not in str(told.value)


@pytest.mark.parametrize(("name", "how"), [(name, [*DAMAGES][i % len(DAMAGES)]) for i, name in enumerate(EVERY, 1)])
def test_resume_names_the_damaged_file_and_rewrites_it(whole, run, same_run, name, how):
    damage(run / name, how, whole[1])
    with pytest.warns(UserWarning, match=rf"{name}.* damaged, missing or replaced; going on from checkpoint"):
        iq.resume(run, quiet=True)
    same_run(run, whole[0])
    iq.Run.load(run, last=True)


@pytest.mark.parametrize("how", ["flipped", "deleted"])
def test_resume_falls_back_to_the_previous_checkpoint(whole, run, same_run, how):
    damage(run / folder.CHECKPOINT, how, whole[1])
    with pytest.warns(UserWarning, match=r"checkpoint\.safetensors.*going on from checkpoint\.previous\.safetensors"):
        resumed = iq.resume(run, quiet=True)
    assert [row["step"] for row in resumed.rows] == [5, 10, 15, 20]
    same_run(run, whole[0])


def test_resume_recovers_from_an_older_manifest(whole, run, same_run):
    """As after a partly restored backup."""
    shutil.copy(whole[1] / folder.MANIFEST, run)
    with pytest.warns(UserWarning, match=r"checkpoint\.safetensors.*damaged, missing or replaced"):
        iq.resume(run, quiet=True)
    same_run(run, whole[0])


def test_resume_is_refused_without_an_intact_checkpoint(whole, run):
    for name in (folder.CHECKPOINT, folder.PREVIOUS):
        damage(run / name, "flipped", whole[1])
    with pytest.raises(iq.InputError, match=r"checkpoint\.previous\.safetensors damaged.*no checkpoint.*begin it anew"):
        iq.resume(run, quiet=True)
    iq.Run.load(run)


def test_resume_ignores_the_content_of_metrics_and_result_files(whole, run, same_run):
    """The step, the rows and the best policy come from the checkpoint."""
    shutil.copytree(whole[1], run, dirs_exist_ok=True)
    manifest.update(run, {folder.METRICS: b"\n", folder.RESULT: b"{}\n"})
    iq.resume(run, quiet=True)
    same_run(run, whole[0])
    assert (run / folder.LAST).read_bytes() == (whole[0] / folder.LAST).read_bytes()


def test_file_of_a_newer_format_is_reported(run):
    content = json.loads((run / folder.MANIFEST).read_text()) | {"format": 2}
    del content["sha256"]
    content["sha256"] = manifest._digest(content)
    (run / folder.MANIFEST).write_bytes(json_bytes(content))
    for read in (iq.Run.load, iq.resume):
        with pytest.raises(
            iq.InputError, match=r"written by a newer version of iqlearn, in format 2; .*, update iqlearn"
        ):
            read(run)


@pytest.mark.parametrize(
    "change",
    [{"format": None}, {"format": []}, {"format": "1"}, {"files": "x"}, {"files": 3}, {"seeds": "x"}, {"more": 1}],
    ids=str,
)
def test_malformed_manifest_is_reported_as_damaged(run, change):
    """Its own digest is valid."""
    content = {k: v for k, v in (json.loads((run / folder.MANIFEST).read_text()) | change).items() if v is not None}
    del content["sha256"]
    (run / folder.MANIFEST).write_bytes(json_bytes(content | {"sha256": manifest._digest(content)}))
    with pytest.raises(iq.InputError, match=r"manifest\.json is damaged or was replaced"):
        iq.Run.load(run)


@pytest.mark.parametrize(
    "change",
    [
        {"mean_return": "high"},
        {"seconds": [1]},
        {"returns": {}},
        {"guard": 3},
        {"status": None},
        {"last_mean_return": {}},
    ],
    ids=str,
)
def test_results_of_a_wrong_type_are_reported_as_damaged(run, change):
    result = json.loads((run / folder.RESULT).read_text()) | change
    manifest.update(run, {folder.RESULT: json_bytes(result)})
    with pytest.raises(
        iq.InputError, match=rf"result\.json is damaged \({next(iter(change))}\); expected it as iqlearn"
    ):
        iq.Run.load(run)
    found = read_arrays(run / folder.CHECKPOINT)
    manifest.update(run, {folder.CHECKPOINT: arrays_bytes(found.arrays, found.about | {"result": result})})
    with pytest.raises(iq.InputError, match=r"checkpoint\.safetensors is damaged"):
        iq.resume(run, quiet=True)


@pytest.mark.parametrize(
    "rows", [None, 3, ["x"], [{"step": None}], [{"step": 1, "loss": []}], [{"loss": 1.0}]], ids=str
)
def test_malformed_checkpoint_rows_are_reported_as_damaged(run, rows):
    found = read_arrays(run / folder.CHECKPOINT)
    manifest.update(run, {folder.CHECKPOINT: arrays_bytes(found.arrays, found.about | {"rows": rows})})
    with pytest.raises(iq.InputError, match=r"checkpoint\.safetensors is damaged \(rows\)"):
        iq.resume(run, quiet=True)


def test_resume_accepts_nan_occupancy_distances(run):
    """Training keeps such rows: the best policy is chosen among the others."""
    found = read_arrays(run / folder.CHECKPOINT)
    rows = [row | {"occupancy_distance": float("nan")} for row in found.about["rows"]]
    manifest.update(run, {folder.CHECKPOINT: arrays_bytes(found.arrays, found.about | {"rows": rows})})
    assert iq.resume(run, quiet=True).result["status"] == "completed"


def test_nonfinite_weights_are_rejected(run):
    nan = jax.tree.map(lambda x: x * jnp.nan, iq.Run.load(run).model)
    manifest.update(run, {folder.MODEL: tree_bytes(nan)})
    with pytest.raises(iq.InputError, match=r"model\.safetensors holds numbers in .* that are not finite"):
        iq.Run.load(run)


def test_reader_of_a_training_run_sees_consistent_files(run, monkeypatch):
    """Files that are replaced after the manifest was read are read again."""
    listed, seen = manifest.listed, []

    def slow(path: Path) -> manifest.Manifest | None:
        found = listed(path)
        seen.append(path)
        if len(seen) == 1:
            with monkeypatch.context() as patch:
                patch.setattr(manifest, "listed", listed)
                manifest.update(run, {folder.RESULT: b'{"status": "running"}\n'})
        return found

    monkeypatch.setattr(manifest, "listed", slow)
    assert manifest.content_of(run, folder.RESULT) == b'{"status": "running"}\n'
    assert len(seen) == 3


def stopped(at: int, monkeypatch, *arguments) -> None:
    """End training, as by a power cut, before the rename of a file with number `at`."""
    replace, seen = manifest.os.replace, []

    def stop(old: Path, new: Path) -> None:
        seen.append(new)
        if len(seen) >= at:
            raise SystemExit
        replace(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(manifest.os, "replace", stop)
        with pytest.raises(SystemExit):
            iq.learn(*arguments, **LENGTH)


@pytest.mark.parametrize("at", [1, 3, 4, 5, 6, 10, 12, 13, 18])
def test_power_cut_between_any_two_writes_loses_nothing(
    cartpole_file, whole, tmp_path, monkeypatch, same_run, recwarn, at
):
    """In the first three updates of the folder: before training, at its start, at the first evaluation."""
    out, demos = tmp_path / "run", iq.Demos.load(cartpole_file)
    with monkeypatch.context() as patch:
        patch.setitem(LENGTH, "out", out)
        stopped(at, monkeypatch, SETTINGS, demos)
        if at > 3:
            iq.resume(out, quiet=True)
        else:  # no run is recorded in the folder yet: it is free
            iq.learn(SETTINGS, demos, **LENGTH)
    same_run(out, whole[0])
    assert [str(warning.message) for warning in recwarn if "damaged" in str(warning.message)] == []
    assert not list(out.glob("*.partial"))


def test_interrupt_during_pretraining_resumes_to_the_same_run(cartpole_file, tmp_path, monkeypatch, same_run):
    """A prepared seed is not prepared again; the others start over."""
    demos, prepare, begun = iq.Demos.load(cartpole_file), Learner.prepare, []
    arguments = {"seeds": [0, 1], "steps": 4, "evaluations": 2, "quiet": True}
    iq.learn(SETTINGS, demos, out=tmp_path / "whole", **arguments)

    def stopping(self, tell) -> None:
        begun.append(self.run.schedule.seed)
        if len(begun) == 2:
            raise KeyboardInterrupt
        prepare(self, tell)

    monkeypatch.setattr(Learner, "prepare", stopping)
    with pytest.raises(KeyboardInterrupt):
        iq.learn(SETTINGS, demos, out=tmp_path / "run", **arguments)
    assert [run.result["status"] for run in iq.resume(tmp_path / "run", quiet=True)] == ["completed"] * 2
    assert begun == [0, 1, 1]
    for seed in range(2):
        same_run(tmp_path / "run" / f"seed-{seed}", tmp_path / "whole" / f"seed-{seed}")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError(), ValueError("no font")])
def test_failed_curves_plot_does_not_fail_the_run(cartpole_file, tmp_path, monkeypatch, error):
    def failing(*_) -> bytes:
        raise error

    monkeypatch.setattr("iqlearn.evaluation.plots.curves", failing)
    with pytest.warns(UserWarning, match=r"curves\.png was not drawn"):
        run = iq.learn(SETTINGS, iq.Demos.load(cartpole_file), out=tmp_path / "run", **LENGTH)
    assert run.result["status"] == iq.Run.load(tmp_path / "run").result["status"] == "completed"


def test_full_disk_at_a_checkpoint_keeps_the_previous_one(cartpole_file, whole, tmp_path, monkeypatch, same_run):
    write, room = Path.write_bytes, []

    def filling(self: Path, content: bytes) -> int:
        room.append(self)
        if len(room) > 20:
            write(self, content[:10])
            raise OSError(28, "No space left on device")
        return write(self, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", filling)
        with pytest.raises(
            iq.InputError, match=r"run.* cannot be written \(No space left on device\); expected"
        ) as told:
            iq.learn(SETTINGS, iq.Demos.load(cartpole_file), out=tmp_path / "run", **LENGTH)
    assert "\n" not in str(told.value)
    iq.Run.load(tmp_path / "run")
    iq.resume(tmp_path / "run", quiet=True)
    same_run(tmp_path / "run", whole[0])
