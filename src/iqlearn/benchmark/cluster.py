"""Cells as tasks of a Ray cluster. The machines need no shared disk: Ray sends each task the files that it needs.

A task returns the files of its run folder whenever they change. If its worker is lost, the cell resumes from the files
that were returned last, on another worker.
"""

from __future__ import annotations

import hashlib
import logging
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from iqlearn import files, interrupts
from iqlearn.benchmark import local
from iqlearn.benchmark.cells import BAD_INPUT, Place, Progress
from iqlearn.benchmark.grid import Cell
from iqlearn.errors import InputError, missing
from iqlearn.runs.manifest import MANIFEST, PREVIOUS, listed, update

PERIOD = 1.0
"""Seconds between two checks of a run folder by its task."""
PATIENCE = 5.0
"""Seconds to wait for a connection to the cluster."""
LOST = -9
"""The exit code that is recorded for a task whose worker is lost."""
OWN = MANIFEST, PREVIOUS
"""The files that each run folder keeps for itself: a task does not return them."""


class Given(NamedTuple):
    """The input of a task."""

    cell: Cell
    folder: dict[str, bytes]
    """The files of the run folder so far, by name; empty without a checkpoint."""
    cores: float
    """CPU cores of its process."""


class News(NamedTuple):
    """One report of a running task. The first one is empty: it says that the task has begun."""

    folder: Mapping[str, bytes] = {}
    """The files of the run folder that changed since the last report, by name, without those of `OWN`."""
    log: bytes = b""
    """The output of its process since the last report."""
    code: int | None = None
    """The exit code of its process; None while it runs."""


def run(
    places: Sequence[Place], demos: Path | None, address: str, cores: float, show: Callable[[Progress], object]
) -> Progress:
    """Run every cell that is not finished as a task of a cluster. A cell whose worker is lost is retried from its last
    checkpoint.

    Args:
        places: the cells.
        demos: the folder of demonstrations on this machine. The files are sent to the tasks.
        address: address of the cluster: auto, or HOST:PORT.
        cores: CPU cores of each task.
        show: called with the progress about twice a second.

    Returns:
        The final progress.

    Raises:
        InputError: Ray is not installed, there is no cluster at the address, or demonstrations are a folder, which
            cannot be sent.
        KeyboardInterrupt: a signal asked to stop. The files that tasks have returned are kept.
    """
    for file in filter(None, (place.cell.file(demos) for place in places)):
        if file.is_dir():
            raise InputError(
                f"{file} is a folder, but --ray sends one file to each task; expected an .npz file, made by: "
                "iqlearn demos convert."
            )
    try:
        import ray
    except ImportError as error:
        raise missing("Ray, which runs cells on a cluster,", "ray") from error
    require_there(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(f"No Ray cluster at {address!r} ({error}); begin one with: ray start --head.") from error
    task: Any = ray.remote(num_cpus=cores, max_retries=0)(worked)
    now = Progress.of(places)
    sent: dict[Path, Any] = {}
    try:
        while now.waiting or now.running:
            interrupts.check()
            while now.waiting:
                place = now.next()
                now.running[place] = task.remote(given(place, cores), reference(place.cell.file(demos), sent, ray))
                now.queued.add(place)
            for place, news in [*now.running.items()]:
                hear(now, place, news, ray)
            show(now)
            time.sleep(local.PERIOD)
    finally:
        ray.shutdown()
    show(now)
    return now


def require_there(address: str) -> None:
    """Raise `InputError` unless something listens at HOST:PORT, because Ray itself would wait for minutes."""
    host, colon, port = address.rpartition(":")
    try:
        if colon:
            socket.create_connection((host, int(port)), PATIENCE).close()
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(f"No Ray cluster at {address!r} ({error}); begin one with: ray start --head.") from error


def given(place: Place, cores: float) -> Given:
    """Make the run folder of a cell, and return the input of its task."""
    place.folder.mkdir(parents=True, exist_ok=True)
    return Given(place.cell, snapshot(place.folder, changing=True) if place.begun else {}, cores)


def reference(file: Path | None, sent: dict[Path, Any], ray: Any) -> Any:
    """Return Ray's reference to the content of a file, which is sent once; None without a file."""
    if file is None or not file.is_file():
        return None
    if file not in sent:
        sent[file] = ray.put(files.read(file))
    return sent[file]


def hear(now: Progress, place: Place, news: Any, ray: Any) -> None:
    """Copy the files and the log that a task has returned since the last call into the run folder.

    If the task has ended, failed or lost its worker, record that in `now`. A task that failed is not retried.
    """
    code: int | None = None
    try:
        while code is None and (ref := next_ready(news, ray)) is not None:
            found: News = ray.get(ref)
            now.queued.discard(place)
            replace_files(place.folder, found.folder)
            with place.log.open("ab") as log:
                log.write(found.log)
            code = found.code
    except StopIteration:
        code = LOST if code is None else code
    except ray.exceptions.RayError as error:
        failed = isinstance(error, ray.exceptions.RayTaskError)
        reason, what = (error.cause, "the task failed") if failed else (error, "the worker is lost")
        with place.log.open("a", encoding="utf-8") as log:
            log.write(f"{what}: {type(reason).__name__}: {' '.join(str(reason).split())}\n")
        code = BAD_INPUT if failed else LOST
    if code is not None:
        now.ended(place, code)


def next_ready(news: Any, ray: Any) -> Any:
    """Return a reference to the next report of a task; None if none is ready.

    Raises:
        StopIteration: the task has ended and all its reports were read.
    """
    ready, _ = ray.wait([news], timeout=0, fetch_local=False)
    return next(news) if ready else None


def worked(given: Given, demos: bytes | None) -> Iterator[News]:
    """Run a cell on a machine of the cluster, and yield a report at its begin, when its run folder changes, and at its
    end.

    Args:
        given: the input of the task.
        demos: the content of the file of demonstrations; None if the cell names no file.
    """
    yield News()
    with tempfile.TemporaryDirectory() as scratch:
        cell = given.cell
        if demos is not None:
            name = Path(str(cell.flags["demos"])).name
            cell = replace(cell, flags={**cell.flags, "demos": name})
            files.write(Path(scratch) / "demos" / name, demos)
        place = Place(cell, Path(scratch) / "run")
        place.folder.mkdir()
        for name, content in given.folder.items():
            files.write(place.folder / name, content)
        command = place.command(None if demos is None else Path(scratch) / "demos")
        process, known, heard = local.begun(place, command, given.cores), {}, 0
        while True:
            code = process.poll()
            changed = snapshot(place.folder)
            changed = {n: x for n, x in changed.items() if n not in OWN and known.get(n) != digest(x)}
            known |= {name: digest(content) for name, content in changed.items()}
            said = place.log.read_bytes()
            if changed or code is not None:
                yield News(changed, said[heard:], code)
                heard = len(said)
            if code is not None:
                return
            time.sleep(PERIOD)


@interrupts.finishing()
def replace_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Update a run folder with the files that a task returned."""
    if contents:
        update(folder, contents)


def snapshot(folder: Path, changing: bool = False) -> dict[str, bytes]:
    """Return the files of a run folder that match its manifest, and the manifest, by name; empty if one does not match.

    A folder whose change is not complete gives nothing, unless `changing` is set: then each file may be the old or the
    new one.
    """
    with suppress(InputError):
        manifest = listed(folder)
        if manifest is not None and (changing or not manifest.before):
            names = [name for name in manifest.files if not manifest.before or (folder / name).is_file()]
            found = {name: files.read(folder / name) for name in names}
            known = {name: (manifest.files[name], manifest.before.get(name)) for name in names}
            if all(digest(content) in known[name] for name, content in found.items()):
                return found | {MANIFEST: files.read(folder / MANIFEST)}
    return {}


def digest(content: bytes) -> str:
    """Return the SHA-256 digest in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
