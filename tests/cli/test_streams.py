"""The output may be closed, full or of a narrow encoding, and its reader may be gone."""

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
    """Greek letters are replaced in encodings that lack them."""
    done = command("train", "--help", PYTHONCOERCECLOCALE="0", **more)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"(1-?)" in done.stdout


def test_output_to_a_closed_pipe_is_no_error():
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
def test_full_output_device_is_reported():
    with open("/dev/full", "wb") as full:
        done = command("--version", stdout=full)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"The output cannot be written" in done.stderr


def test_broken_pipe_inside_a_command_raises(monkeypatch):
    """For example, the pipe to a process of the environment."""

    def broken(_):
        raise BrokenPipeError

    broken.__doc__ = "Fails."
    monkeypatch.setitem(COMMANDS, "evaluate", broken)
    with pytest.raises(BrokenPipeError):
        cli.main(["evaluate"])


def test_unknown_jax_platform_is_reported():
    done = command("demos", "inspect", "x.npz", JAX_PLATFORMS="nosuch")
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"JAX has no device for JAX_PLATFORMS='nosuch'" in done.stderr
