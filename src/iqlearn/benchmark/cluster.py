"""Cells as tasks of a Ray cluster. Nothing but Ray is shared: each task gets the files that it needs, and gives those
of its run folder back whenever they change, so that a lost one goes on from there elsewhere.
"""

from __future__ import annotations

import hashlib
import logging
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from iqlearn import files, interrupts
from iqlearn.benchmark import local
from iqlearn.benchmark.cells import Place, Progress
from iqlearn.benchmark.grid import Cell
from iqlearn.errors import InputError, missing
from iqlearn.runs.manifest import MANIFEST, listed

PERIOD = 1.0
"""Seconds between two looks at a run folder."""
PATIENCE = 5.0
"""Seconds that a cluster has to answer."""
LOST = -9
"""What counts as exit code of a task whose worker is gone."""


class Given(NamedTuple):
    """What a task needs."""

    cell: Cell
    folder: dict[str, bytes]
    """The files of the run folder so far."""
    demos: bytes | None
    """The file of demonstrations, if the cell names one."""


class News(NamedTuple):
    """What a task gives back while it runs."""

    folder: dict[str, bytes]
    """Files of the run folder that changed."""
    log: bytes
    """What its process said since."""
    code: int | None = None
    """The exit code, at the end."""


def run(
    places: Sequence[Place], demos: Path | None, address: str, cores: float, show: Callable[[Progress], object]
) -> Progress:
    """Run every cell that is not finished as a task of a cluster. It is retried from its last checkpoint where its
    worker is lost.

    Args:
        places: the cells.
        demos: the folder of demonstrations on this machine. Their files are sent.
        address: of the cluster: auto, or HOST:PORT.
        cores: of each task.
        show: called about twice a second.

    Raises:
        InputError: Ray is not installed, or there is no cluster at the address.
        KeyboardInterrupt: a signal asked to stop. What was given back is kept.
    """
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
    try:
        while now.waiting or now.running:
            interrupts.check()
            while now.waiting:
                place = now.next()
                now.running[place] = task.remote(given(place, demos))
            for place, news in [*now.running.items()]:
                hear(now, place, news, ray)
            show(now)
            time.sleep(local.PERIOD)
    finally:
        ray.shutdown()
    show(now)
    return now


def require_there(address: str) -> None:
    """Raise `InputError` where nothing listens at HOST:PORT: Ray would wait for minutes."""
    host, colon, port = address.rpartition(":")
    try:
        if colon:
            socket.create_connection((host, int(port)), PATIENCE).close()
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(f"No Ray cluster at {address!r} ({error}); begin one with: ray start --head.") from error


def given(place: Place, demos: Path | None) -> Given:
    """What the task of a cell needs."""
    place.folder.mkdir(parents=True, exist_ok=True)
    name = place.cell.flags.get("demos")
    file = None if name is None else (demos or Path()) / str(name)
    content = files.read(file) if file is not None and file.is_file() else None
    return Given(place.cell, snapshot(place.folder) if place.begun else {}, content)


def hear(now: Progress, place: Place, news: Any, ray: Any) -> None:
    """Take what a task gave back since, as far as it is there."""
    code: int | None = None
    try:
        while code is None and (ref := next_ready(news, ray)) is not None:
            found: News = ray.get(ref)
            for name, content in sorted(found.folder.items(), key=lambda item: item[0] == MANIFEST):
                files.write(place.folder / name, content)
            with place.log.open("ab") as log:
                log.write(found.log)
            code = found.code
    except StopIteration:
        code = LOST if code is None else code
    except ray.exceptions.RayError as error:
        with place.log.open("a", encoding="utf-8") as log:
            log.write(f"{type(error).__name__}: the worker is lost\n")
        code = LOST
    if code is not None:
        now.ended(place, code)


def next_ready(news: Any, ray: Any) -> Any:
    """The next thing that a task gave back, if it is there.

    Raises:
        StopIteration: there is nothing left.
    """
    ready, _ = ray.wait([news], timeout=0, fetch_local=False)
    return next(news) if ready else None


def worked(given: Given) -> Iterator[News]:
    """Run a cell on a machine of the cluster."""
    with tempfile.TemporaryDirectory() as scratch:
        cell = given.cell
        if given.demos is not None:
            name = Path(str(cell.flags["demos"])).name
            cell = replace(cell, flags={**cell.flags, "demos": name})
            files.write(Path(scratch) / name, given.demos)
        place = Place(cell, Path(scratch) / "run")
        place.folder.mkdir()
        for name, content in given.folder.items():
            files.write(place.folder / name, content)
        command = place.command(None if given.demos is None else Path(scratch))
        process, known, heard = local.begun(place, command), {}, 0
        while True:
            code = process.poll()
            changed = snapshot(place.folder)
            changed = {name: content for name, content in changed.items() if known.get(name) != digest(content)}
            known |= {name: digest(content) for name, content in changed.items()}
            said = place.log.read_bytes()
            if changed or code is not None:
                yield News(changed, said[heard:], code)
                heard = len(said)
            if code is not None:
                return
            time.sleep(PERIOD)


def snapshot(folder: Path) -> dict[str, bytes]:
    """The files of a run folder at one moment, of which the manifest says that they are whole; none amid a change."""
    with suppress(InputError):
        manifest = listed(folder)
        if manifest is not None and not manifest.before:
            found = {name: files.read(folder / name) for name in manifest.files}
            if all(digest(content) == manifest.files[name] for name, content in found.items()):
                return found | {MANIFEST: files.read(folder / MANIFEST)}
    return {}


def digest(content: bytes) -> str:
    """SHA-256."""
    return hashlib.sha256(content).hexdigest()
