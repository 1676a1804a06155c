"""Signals are requests that are read at safe points. Code that may block is left at once; the third signal ends all."""

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
    """Interrupts are heard, also where the tests were started in the background, which ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def ask(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_read_at_the_next_safe_point_and_handlers_come_back(number):
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


def test_what_must_be_finished_has_no_safe_points():
    with interrupts.listening():
        ask()
        with interrupts.finishing():
            with interrupts.finishing():
                interrupts.check()
            interrupts.check()
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()


def test_inside_another_one_nothing_changes():
    with interrupts.listening():
        with interrupts.listening():
            ask()
        assert interrupts.requested()


def test_the_handler_of_a_user_stays():
    heard = []
    signal.signal(signal.SIGINT, lambda *_: heard.append(1))
    with interrupts.listening():
        ask()
        interrupts.check()
    assert heard == [1]


def test_what_blocks_is_left_at_once():
    with interrupts.listening():
        threading.Timer(0.05, ask).start()
        with pytest.raises(KeyboardInterrupt), interrupts.Foreign(), interrupts.Foreign():
            time.sleep(600)
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()


def test_a_second_signal_does_not_raise_while_the_region_is_left():
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
def test_the_third_signal_ends_the_process_and_its_workers_which_hear_none(tmp_path, times, code, said):
    """The worker holds the output open, so `run` returns after both have ended."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    done = subprocess.run([sys.executable, program, str(times)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.split()[1:]) == (code, said)
    assert "ends the process" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("code", [0, 130])
def test_a_signal_at_the_end_of_the_interpreter_keeps_the_exit_code(number, code):
    """What ran is over, and said how it ended."""
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
