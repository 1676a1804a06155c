"""Run folders that a cluster sends back, file by file."""

import pytest

import iqlearn as iq
from iqlearn import files
from iqlearn.benchmark.cluster import replace_files, snapshot
from iqlearn.files import read_json
from iqlearn.runs.folder import RESULT
from iqlearn.runs.manifest import MANIFEST


@pytest.fixture(scope="module")
def states(cartpole_file, tmp_path_factory):
    """The files of a run folder at two evaluations."""
    folder, found = tmp_path_factory.mktemp("states") / "run", []

    def copy(_training):
        found.append(snapshot(folder))

    demos = iq.Demos.load(cartpole_file)
    iq.learn(iq.BC(batch_size=8), demos, steps=30, evaluations=3, quiet=True, out=folder, callbacks=[copy])
    return found[-2], found[-1]


def test_folder_equals_the_last_files_that_were_sent(states, tmp_path):
    for contents in states:
        replace_files(tmp_path, contents)
        assert snapshot(tmp_path) == contents


@pytest.mark.parametrize("written", range(1, 7))
def test_copy_that_was_killed_halfway_can_be_sent_and_resumed(states, tmp_path, monkeypatch, written):
    old, new = states
    changed = {name: content for name, content in new.items() if content != old.get(name)}
    assert len(changed) > 4
    replace_files(tmp_path / "here", old)
    write, count = files.write, [0]

    def stopped(path, content):
        count[0] += 1
        if count[0] > written:
            raise OSError("killed")
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write", stopped)
        with pytest.raises(OSError, match="killed"):
            replace_files(tmp_path / "here", changed)
    assert snapshot(tmp_path / "here") == {}, "a folder that is being changed is not sent back"
    sent = snapshot(tmp_path / "here", changing=True)
    assert MANIFEST in sent
    for name, content in sent.items():
        write(tmp_path / "there" / name, content)
    run = iq.resume(tmp_path / "there", quiet=True)
    assert run.rows[-1]["step"] == 30
    assert read_json(tmp_path / "there" / RESULT)["status"] == "completed"
