"""Run folders that a cluster sends back, file by file."""

import os
from pathlib import Path

import pytest

import iqlearn as iq
from iqlearn import files
from iqlearn.benchmark.cluster import OWN, replace_files, snapshot
from iqlearn.files import read_json
from iqlearn.runs.folder import RESULT
from iqlearn.runs.manifest import CHECKPOINT, MANIFEST, PREVIOUS


@pytest.fixture(scope="module")
def states(cartpole_file, tmp_path_factory):
    """The files of a run folder that a task returns, at two evaluations."""
    folder, found = tmp_path_factory.mktemp("states") / "run", []

    def copy(_training):
        found.append({name: content for name, content in snapshot(folder).items() if name not in OWN})

    demos = iq.Demos.load(cartpole_file)
    iq.learn(iq.BC(batch_size=8), demos, steps=30, evaluations=3, quiet=True, out=folder, callbacks=[copy])
    return found[-2], found[-1]


def test_folder_equals_the_last_files_that_were_sent(states, tmp_path):
    for contents in states:
        replace_files(tmp_path, contents)
        found = snapshot(tmp_path)
        assert {n: x for n, x in found.items() if n not in OWN} == contents
    assert found[PREVIOUS] == states[0][CHECKPOINT]


@pytest.mark.parametrize("replaced", range(1, 5))
def test_copy_that_was_killed_halfway_can_be_sent_and_resumed(states, tmp_path, monkeypatch, replaced):
    old, new = states
    changed = {name: content for name, content in new.items() if content != old.get(name)}
    assert len(changed) >= 4
    (tmp_path / "here").mkdir()
    replace_files(tmp_path / "here", old)
    replace, count = os.replace, [0]

    def stopped(source, target):
        count[0] += Path(target).name != MANIFEST
        if count[0] > replaced:
            raise SystemExit
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stopped)
        with pytest.raises(SystemExit):
            replace_files(tmp_path / "here", changed)
    assert snapshot(tmp_path / "here") == {}, "a folder that is being changed is not sent back"
    sent = snapshot(tmp_path / "here", changing=True)
    assert MANIFEST in sent
    for name, content in sent.items():
        files.write(tmp_path / "there" / name, content)
    run = iq.resume(tmp_path / "there", quiet=True)
    assert run.rows[-1]["step"] == 30
    assert read_json(tmp_path / "there" / RESULT)["status"] == "completed"
