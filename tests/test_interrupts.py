"""Signals are requests, read at safe points. They interrupt blocking code at once; the third one ends the process."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from types import SimpleNamespace

import pytest

from iqlearn import interrupts


@pytest.fixture(autouse=True)
def heard():
    """Handle interrupts even if the tests run in the background, where they are ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def ask(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_raises_at_the_next_safe_point_and_handlers_are_restored(number):
    before = signal.getsignal(number)
    with interrupts.listening(number):
        interrupts.check()
        assert not interrupts.requested()
        ask(number)
        assert interrupts.requested()
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
        with pytest.raises(KeyboardInterrupt), interrupts.Foreign():
            pytest.fail("nothing that may block is begun any more")
    assert signal.getsignal(number) is before
    interrupts.check()


def test_finishing_defers_interrupts_until_its_end():
    with interrupts.listening():
        ask()
        with interrupts.finishing():
            with interrupts.finishing():
                interrupts.check()
            interrupts.check()
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()


def test_nested_listening_keeps_the_request():
    with interrupts.listening():
        with interrupts.listening():
            ask()
        assert interrupts.requested()


def test_listening_keeps_a_signal_handler_of_the_user():
    heard = []
    signal.signal(signal.SIGINT, lambda *_: heard.append(1))
    with interrupts.listening():
        ask()
        interrupts.check()
    assert heard == [1]


def test_blocking_code_is_interrupted_at_once():
    with interrupts.listening():
        threading.Timer(0.05, ask).start()
        with pytest.raises(KeyboardInterrupt), interrupts.Foreign(), interrupts.Foreign():
            time.sleep(600)
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()


def test_second_signal_does_not_raise_while_blocking_code_is_left():
    with interrupts.listening():
        with pytest.raises(KeyboardInterrupt), interrupts.Foreign(), closing(SimpleNamespace(close=ask)):
            ask()
        assert interrupts.requested()


PROGRAM = """
import multiprocessing, os, signal, sys, time
from iqlearn import interrupts
from iqlearn.interrupts import Foreign

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with interrupts.listening(), interrupts.deaf():
        process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,), daemon=True)
        process.start()
    print(process.pid, flush=True)
    with interrupts.listening():
        for i in range(int(sys.argv[1])):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(process.pid, signal.SIGINT)
            time.sleep(0.2)
        print(process.is_alive(), flush=True)
        time.sleep(600 * (int(sys.argv[1]) == 3))
"""


@pytest.mark.parametrize(("times", "code", "said"), [(2, 0, ["True"]), (3, 130, [])])
def test_workers_ignore_signals_and_the_third_signal_ends_all_processes(tmp_path, times, code, said):
    """The worker holds the output open, so `run` returns after both have ended."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    done = subprocess.run([sys.executable, program, str(times)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.split()[1:]) == (code, said)
    assert "ends the process" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("code", [0, 130])
def test_signal_at_interpreter_exit_keeps_the_exit_code(number, code):
    """The program is over and its exit code is set."""
    program = f"""
import atexit, os, signal
from iqlearn import interrupts
signal.signal(signal.SIGINT, signal.default_int_handler)
atexit.register(lambda: os.kill(os.getpid(), {int(number)}))
interrupts.conclude({code})
raise SystemExit({code})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, "")
