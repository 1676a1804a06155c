"""The manifest of a run folder: SHA-256 of every file, written last and checked whenever a file is read.

It is also a journal. Before files are replaced, a manifest is written that accepts the old and the new content of each.
Afterwards, a manifest is written that accepts only the new content. The folder is therefore valid after a stop at any
moment.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from iqlearn import files, interrupts
from iqlearn.errors import InputError
from iqlearn.files import DIGEST, Arrays

MANIFEST, FORMAT = "manifest.json", 1
CHECKPOINT, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"
CONFIG, MODEL = "config.json", "model.safetensors"


class Manifest(NamedTuple):
    """The content of a run folder."""

    files: Mapping[str, str] = {}
    """SHA-256 of each file."""
    before: Mapping[str, str] = {}
    """SHA-256 of each file before a change that may be incomplete; empty after a complete change."""
    seeds: Sequence[str] = ()
    """Names of the run folders of several seeds, in a folder that holds only these."""


def listed(folder: Path) -> Manifest | None:
    """Return the manifest, or None if it is missing or damaged.

    Raises:
        InputError: the manifest is of a newer version.
    """
    try:
        content = files.read_json(folder / MANIFEST)
    except InputError:
        return None
    if content.pop(DIGEST, None) != _digest(content):
        return None
    if isinstance(found := content.pop("format", None), int) and found > FORMAT:
        told = f"{folder} was written by a newer version of iqlearn, in format {found}; expected at most {FORMAT}"
        raise InputError(f"{told}, update iqlearn.")
    digests = all(isinstance(content.get(name, {}), dict) for name in ("files", "before"))
    known = content.keys() <= set(Manifest._fields) and isinstance(content.get("seeds", []), list)
    return Manifest(**content) if found == FORMAT and digests and known else None


@interrupts.finishing()
def enlist(folder: Path, manifest: Manifest) -> None:
    """Write the manifest."""
    content = {"format": FORMAT} | {name: part for name, part in manifest._asdict().items() if part}
    files.write_json(folder / MANIFEST, content | {DIGEST: _digest(content)})


def content_of(folder: Path, name: str) -> bytes:
    """Return the content of a file of the folder, checked against the manifest.

    Raises:
        InputError: the file is missing, or its SHA-256 is not the one in the manifest.
    """
    while True:
        manifest = listed(folder)
        wrong = MANIFEST if manifest is None else name
        if manifest is not None and (folder / name).is_file():
            content = files.read(folder / name)
            if hashlib.sha256(content).hexdigest() in (manifest.files.get(name), manifest.before.get(name)):
                return content
        if manifest == listed(folder):  # else a process that trains has replaced files: read again
            break
    kept = any((folder / checkpoint).is_file() for checkpoint in (CHECKPOINT, PREVIOUS))
    remedy = f"iqlearn resume {folder} writes it again" if kept else "copy the folder again"
    state = "is damaged or was replaced" if (folder / wrong).is_file() else "is missing"
    raise InputError(f"{folder / wrong} {state}; expected a run folder as iqlearn wrote it, {remedy}.")


def update(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Replace files of the folder. The old checkpoint is kept under the name `PREVIOUS`.

    Raises:
        InputError: the files cannot be written. The folder is then as it was.
    """
    manifest = listed(folder) or Manifest()
    before = _whole(folder)[0] if manifest.before else manifest.files
    after = {**before} | {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    rotates = CHECKPOINT in contents and CHECKPOINT in before and (folder / CHECKPOINT).is_file()
    after |= {PREVIOUS: before[CHECKPOINT]} if rotates else {}
    partials = {name: files.partial_of(folder / name) for name in contents}
    with files.writing(folder, *partials.values()):
        for name, partial in partials.items():
            partial.write_bytes(contents[name])
            files.flush(partial)
        enlist(folder, Manifest(after, before))
        if rotates:
            os.replace(folder / CHECKPOINT, folder / PREVIOUS)
        for name, partial in partials.items():
            os.replace(partial, folder / name)
        files.flush(folder)
    enlist(folder, Manifest(after))


def newest_checkpoint(folder: Path) -> Arrays | None:
    """Return the newest checkpoint that is whole, or None where nothing was learnt yet. A warning names damaged files.

    If files are damaged or the newest checkpoint is not whole, the found checkpoint gets the name `CHECKPOINT`, and the
    manifest is written again with the files that are there.

    Raises:
        InputError: there is no checkpoint, or none is whole.
    """
    whole, damaged = _whole(folder)
    found = None
    for name in sorted((CHECKPOINT, PREVIOUS), key=lambda name: name not in whole):  # without a manifest, the newest
        with suppress(InputError):
            found = files.read_arrays(folder / name)
            break
    if found is None:
        if whole.keys() == {CONFIG} and not damaged:
            return None
        told = f"{', '.join(damaged)} damaged or missing in {folder}, and no {CHECKPOINT} is whole"
        told = told if damaged else f"No {CHECKPOINT} in {folder}, because run.save and iqlearn pull write none"
        raise InputError(f"{told}; expected a run that was trained with --out (in Python out=...), begin it anew.")
    if damaged:
        told = f"{folder}: {', '.join(damaged)} damaged, missing or replaced; going on from {found.path.name}"
        warnings.warn(f"{told}, and the others are written again.", stacklevel=4)
    if damaged or found.path.name == PREVIOUS:
        whole[CHECKPOINT] = files.sha256(found.path)
        with files.writing(folder):
            os.replace(found.path, folder / CHECKPOINT)
        enlist(folder, Manifest({name: digest for name, digest in whole.items() if (folder / name).is_file()}))
    return found


def _whole(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Return the SHA-256 of the files that match the manifest, and the names of those that do not."""
    manifest = listed(folder)
    if manifest is None:
        return {}, [MANIFEST]
    whole, damaged = {}, []
    for name, digest in manifest.files.items():
        found = files.sha256(folder / name) if (folder / name).is_file() else None
        if found in (digest, manifest.before.get(name, digest)):
            whole[name] = found
        elif found is not None or not manifest.before:  # during a change a file may not be there yet
            damaged.append(name)
    return whole, damaged


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
