"""Where the output goes does not matter: its reader may be gone, it may be closed or of a narrow encoding."""

import os
import subprocess
import sys

import pytest

from iqlearn import cli
from iqlearn.cli.commands import COMMANDS


def command(*words, stdout=subprocess.PIPE, **more):
    env = {**os.environ, **more}
    call = [sys.executable, "-m", "iqlearn", *words]
    return subprocess.run(call, stdout=stdout, stderr=subprocess.PIPE, env=env, check=False)


@pytest.mark.parametrize("more", [{"PYTHONIOENCODING": "cp1252"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_help_is_printed_in_every_encoding(more):
    """Its Greek letters are replaced where there are none."""
    done = command("train", "--help", PYTHONCOERCECLOCALE="0", **more)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"(1-?)" in done.stdout


def test_a_reader_that_is_gone_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    done = command("train", "--help", stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_closed_output_is_no_error():
    program = "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, '-m', 'iqlearn', '--help'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_a_full_output_is_told():
    with open("/dev/full", "wb") as full:
        done = command("--version", stdout=full)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"The output cannot be written" in done.stderr


def test_a_broken_pipe_of_something_else_is_an_error(monkeypatch):
    """As that of a process of the environment."""

    def broken(_):
        raise BrokenPipeError

    broken.__doc__ = "Fails."
    monkeypatch.setitem(COMMANDS, "evaluate", broken)
    with pytest.raises(BrokenPipeError):
        cli.main(["evaluate"])


def test_an_absent_device_is_told():
    done = command("demos", "inspect", "x.npz", JAX_PLATFORMS="nosuch")
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"JAX has no device for JAX_PLATFORMS='nosuch'" in done.stderr
