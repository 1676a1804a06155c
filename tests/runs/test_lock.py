"""The lock of a run folder: one process trains in it, and a dead process does not hold it."""

import os
import signal
import subprocess
import sys

import pytest

import iqlearn as iq
from iqlearn.runs.lock import LOCK, locked

HOLDS = """
import fcntl, sys, time
file = open(sys.argv[1], "a+")
fcntl.flock(file, fcntl.LOCK_EX)
print("process 7 on elsewhere", file=file, end="", flush=True)
print("held", flush=True)
time.sleep(600)
"""


def test_lock_creates_the_folder_and_has_one_holder_at_a_time(tmp_path):
    with (
        locked(tmp_path / "a" / "b"),
        pytest.raises(iq.InputError, match=rf"b is in use by process {os.getpid()} on .*; wait until it has ended"),
        locked(tmp_path / "a" / "b"),
    ):
        pass
    out = tmp_path / "a" / "b"
    with locked(out):
        told = rf"b is in use by process {os.getpid()} on .*; wait until it has ended, or choose another folder"
        with pytest.raises(iq.InputError, match=told), locked(out):
            pass
        assert out.is_dir()
    with locked(out, out):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="needs fcntl")
def test_lock_error_names_the_holder_and_a_killed_holder_releases_the_lock(cartpole_file, tmp_path):
    demos, out = iq.Demos.load(cartpole_file), tmp_path / "run"
    known = {"steps": 2, "evaluations": 1, "eval_episodes": 1, "out": out, "quiet": True}
    settings = iq.BC(network=iq.Network((4,)))
    iq.learn(settings, demos, **known)
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(out / LOCK)], stdout=subprocess.PIPE) as holding:
        assert holding.stdout is not None
        assert holding.stdout.readline() == b"held\n"
        for begin in (lambda: iq.resume(out), lambda: iq.learn(settings, demos, **known, overwrite=True)):
            with pytest.raises(iq.InputError, match=r"run is in use by .*process 7 on elsewhere; wait"):
                begin()
        assert iq.Run.load(out).result["status"] == "completed", "to read it is free"
        holding.send_signal(signal.SIGKILL)
    assert iq.resume(out, quiet=True).result["status"] == "completed"


def test_lock_removes_partial_files_of_a_killed_process(tmp_path):
    (tmp_path / "model.safetensors.0123.partial").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    with locked(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK, "notes.txt"]


def test_file_system_without_locks_is_used_unlocked(tmp_path, monkeypatch):
    def none(*_) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", none)
    with locked(tmp_path), locked(tmp_path):
        pass
