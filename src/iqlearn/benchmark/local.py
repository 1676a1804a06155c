"""Cells in processes of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGTERM
from typing import Any

from iqlearn import interrupts
from iqlearn.benchmark.cells import Place

RETRIES = 2
"""How often a cell whose process died is begun again from its last checkpoint."""
BAD_INPUT, INTERRUPTED = 2, 130
"""Exit codes of `iqlearn`."""
PERIOD = 0.5
"""Seconds between two looks at the processes."""
GRACE = 60.0
"""Seconds that processes have to write what they learnt, after a request to stop."""
ALONE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "agg"}
"""Each process keeps to one core: others have the other cores."""
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"


@dataclass
class Progress:
    """Where the cells stand."""

    waiting: list[Place]
    running: dict[Place, subprocess.Popen[bytes]] = field(default_factory=dict)
    done: list[Place] = field(default_factory=list)
    failed: dict[Place, str] = field(default_factory=dict)
    """What the process of a cell said last."""
    tries: dict[Place, int] = field(default_factory=dict)


def run(places: Sequence[Place], demos: Path | None, workers: int, show: Callable[[Progress], object]) -> Progress:
    """Run every cell that is not finished, so many at a time. A cell whose process dies goes on from its checkpoint.

    Args:
        places: the cells.
        demos: the folder of demonstrations.
        workers: processes at a time.
        show: called twice a second.

    Raises:
        KeyboardInterrupt: a signal asked to stop. The processes have ended in order.
    """
    now = Progress([place for place in places if not place.finished], done=[p for p in places if p.finished])
    try:
        while now.waiting or now.running:
            interrupts.check()
            while now.waiting and len(now.running) < workers:
                place = now.waiting.pop(0)
                now.tries[place] = now.tries.get(place, 0) + 1
                now.running[place] = begun(place, demos)
            for place, process in [*now.running.items()]:
                if process.poll() is not None:
                    del now.running[place]
                    ended(now, place, process.returncode)
            show(now)
            time.sleep(PERIOD)
    finally:
        stop(now.running.values())
    show(now)
    return now


def begun(place: Place, demos: Path | None) -> Any:
    """A process for a cell."""
    place.folder.mkdir(parents=True, exist_ok=True)
    flags = os.environ.get("XLA_FLAGS", "")
    flags = flags if "multi_thread_eigen" in flags else f"{flags} {ONE_THREAD}".strip()
    command = [sys.executable, "-m", "iqlearn.benchmark.worker", *place.command(demos)]
    with place.log.open("ab") as log:
        environment = {**ALONE, **os.environ, "XLA_FLAGS": flags}
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment)


def ended(now: Progress, place: Place, code: int) -> None:
    """Note how the process of a cell ended, and let it wait for another try where that may help."""
    if place.finished:
        now.done.append(place)
    elif code not in (0, BAD_INPUT) and now.tries[place] <= RETRIES:
        now.waiting.insert(0, place)
    else:
        now.failed[place] = place.said() or f"exit code {code}"


def stop(processes: Any) -> None:
    """Ask processes to stop, wait until they have written what they learnt, and end those that do not."""
    for process in processes:
        process.send_signal(SIGTERM)
    until = time.monotonic() + GRACE
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
