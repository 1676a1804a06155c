"""Cells as processes on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from signal import SIGTERM
from typing import Any

from iqlearn import interrupts
from iqlearn.benchmark.cells import Place, Progress

PERIOD = 0.5
"""Seconds between two checks of the processes."""
GRACE = 60.0
"""Seconds that processes have to write their checkpoints after a request to stop."""
SHARING = {"MPLBACKEND": "agg", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""Environment variables for processes without a display, which share the memory of a GPU if there is one."""


def run(places: Sequence[Place], demos: Path | None, workers: int, show: Callable[[Progress], object]) -> Progress:
    """Run every cell that is not finished, up to `workers` at a time. A cell whose process dies resumes from its last
    checkpoint.

    Args:
        places: the cells.
        demos: the folder of demonstrations.
        workers: number of processes that run at the same time.
        show: called with the progress about twice a second.

    Returns:
        The final progress.

    Raises:
        KeyboardInterrupt: a signal asked to stop. The processes have been stopped.
    """
    now = Progress.of(places)
    try:
        while now.waiting or now.running:
            interrupts.check()
            while now.waiting and len(now.running) < workers:
                place = now.next()
                now.running[place] = begun(place, place.command(demos))
            for place, process in [*now.running.items()]:
                if process.poll() is not None:
                    now.ended(place, process.returncode)
            show(now)
            time.sleep(PERIOD)
    finally:
        stop(now.running.values())
    show(now)
    return now


def begun(place: Place, command: Sequence[str], cores: float = 1.0) -> Any:
    """Start a process for a cell that writes its output to the log of the cell, and return it.

    The process does not receive the Ctrl-C of the terminal: `stop` asks it to end, so that each Ctrl-C counts once.

    Args:
        place: the cell.
        command: the arguments of `iqlearn`.
        cores: CPU cores of the process. With up to one, it computes in one thread.
    """
    place.folder.mkdir(parents=True, exist_ok=True)
    environment = {**SHARING, **(one_core() if cores <= 1.0 else os.environ)}
    with place.log.open("ab") as log, interrupts.deaf():
        how: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": log, "stderr": log}
        return subprocess.Popen([sys.executable, "-m", "iqlearn.benchmark.worker", *command], env=environment, **how)


def one_core() -> dict[str, str]:
    """Return the environment variables of this process, with those that keep a process to one core. Variables that are
    already set are kept."""
    flags = os.environ.get("XLA_FLAGS", "")
    flags = flags if "multi_thread_eigen" in flags else f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
    return {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **os.environ, "XLA_FLAGS": flags}


def stop(processes: Any) -> None:
    """Send SIGTERM to the processes, wait for them, and kill those that still run after `GRACE` seconds."""
    for process in processes:
        process.send_signal(SIGTERM)
    until = time.monotonic() + GRACE
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
