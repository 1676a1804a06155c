"""Load damaged and hostile demonstration files. Each must be refused in one sentence, or read.

    python benchmarks/damage_demos.py                    # 3,000 variants
    python benchmarks/damage_demos.py --count 20000 --seed 1

Prints how many files of each kind were refused in one sentence, read with the same data, read with other data (whose
checksums are valid), or ended in another error. Also prints whether anything was executed, the slowest file and the
peak memory.
"""

import io
import multiprocessing
import pickle
import resource
import struct
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tyro

import iqlearn as iq
from iqlearn.errors import InputError

MIB = 2**20


class Trap:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str, str], object], tuple[str, str]]:
        return open, (str(self.path), "w")


def sound(compressed: bool, rows: int = 60) -> dict[str, bytes]:
    """Return the members of a good archive, and the archive itself under the name ""."""
    rng, ends = np.random.default_rng(0), np.arange(rows) % 20 == 19
    arrays = {
        "obs": rng.normal(size=(rows, 3)).astype(np.float32),
        "next_obs": rng.normal(size=(rows, 3)).astype(np.float32),
        "act": rng.integers(0, 3, rows),
        "term": ends,
        "trunc": np.zeros(rows, bool),
        "ep": np.arange(rows) // 20,
        "rew": rng.normal(size=rows),
        "env": np.array("CartPole-v1"),
    }
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)  # pyright: ignore[reportArgumentType]
    with zipfile.ZipFile(file) as archive:
        return {"": file.getvalue()} | {name: archive.read(name) for name in archive.namelist()}


def packed(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip archive of these members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def npy(header: bytes, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """Return an `.npy` file with this header."""
    size = struct.pack("<H" if version == b"\x01\x00" else "<I", len(header))
    return b"\x93NUMPY" + version + size + header + data


def header(descr: str, shape: str, order: str = "False") -> bytes:
    """Return the header of an array."""
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()


DESCRS = (
    "'<f4'",
    "'>f8'",
    "'|O'",
    "'<U9'",
    "'<U0'",
    "'<U99999999'",
    "'|V8'",
    "[('a', '|O')]",
    "'<M8[s]'",
    "'<c8'",
    "7",
)
SHAPES = (
    "()",
    "(60,)",
    "(60, 3)",
    "(-60, 3)",
    "(0, 3)",
    "(10**9,)",
    f"({10**30},)",
    f"({2**62}, 4, 0)",
    "(True,)",
    "60",
)
EXTRA = (
    npy(b"(" * 9_000),
    npy(b"{" * 3_000 + b"}" * 3_000),
    npy(b"-" * 9_900 + b"1"),
    npy(b"'" + b"a" * 60_000 + b"'"),
    npy(header("'<f4'", "(60, 3)"), bytes(720), b"\x02\x00"),
    npy(header("'<f4'", "(60, 3)"), bytes(720), b"\x03\x00"),
    npy(b"__import__('os').system('true')"),
    b"",
    b"\x93NUMPY",
)


def cut(good: dict[str, bytes], rng: np.random.Generator) -> bytes:
    return good[""][: rng.integers(len(good[""]))]


def flipped(good: dict[str, bytes], rng: np.random.Generator) -> bytes:
    content = bytearray(good[""])
    for place in rng.integers(len(content), size=rng.integers(1, 9)):
        content[place] ^= 1 << int(rng.integers(8))
    return bytes(content)


def zeroed(good: dict[str, bytes], rng: np.random.Generator) -> bytes:
    content = bytearray(good[""])
    start, size = rng.integers(len(content)), rng.integers(1, 600)
    content[start : start + size] = bytes(len(content[start : start + size]))
    return bytes(content)


def missing(good: dict[str, bytes], rng: np.random.Generator) -> bytes:
    start = rng.integers(len(good[""]))
    return good[""][:start] + good[""][start + rng.integers(1, 400) :]


def directory(good: dict[str, bytes], rng: np.random.Generator) -> bytes:
    """Change bytes in the directory or the local headers of the archive: methods, flags, sizes, offsets, versions."""
    content = bytearray(good[""])
    for _ in range(rng.integers(1, 4)):
        begin, size = [(b"PK\x01\x02", 46), (b"PK\x05\x06", 22), (b"PK\x03\x04", 30)][rng.integers(3)]
        places = [i for i in range(len(content)) if content.startswith(begin, i)]
        place = int(rng.choice(places or [0])) + int(rng.integers(4, size))
        if place < len(content):
            content[place] = rng.choice([0, 1, 2, 8, 9, 12, 14, 93, 127, 128, 255])
    return bytes(content)


def swapped(good: dict[str, bytes], rng: np.random.Generator) -> bytes:
    """Return an archive in which members have the names of others, or the same name with and without `.npy`."""
    members = {name: content for name, content in good.items() if name}
    names, others = list(members), rng.choice(list(members), size=2)
    return packed(dict(zip(names, map(members.get, rng.permutation(names)), strict=True)) | {  # pyright: ignore
        str(others[0]): members[str(others[1])], str(others[1]).removesuffix(".npy"): b"x"
    } if rng.random() < 0.5 else members | {str(others[0]): members[str(others[1])]})  # fmt: skip


def hostile(good: dict[str, bytes], rng: np.random.Generator) -> bytes:
    """Return an archive in which one member has a random or hostile header."""
    members = {name: content for name, content in good.items() if name}
    text = header(str(rng.choice(DESCRS)), str(rng.choice(SHAPES)), str(rng.choice(["True", "False", "2"])))
    data = npy(text, bytes(int(rng.choice([0, 1, 60, 240, 720, 1440])))) if rng.random() < 0.8 else rng.choice(EXTRA)
    return packed(members | {str(rng.choice(list(members))): bytes(data)})


def noisy(good: dict[str, bytes], rng: np.random.Generator) -> bytes:
    """Return an archive with valid checksums in which one member has random bytes in its header."""
    members = {name: content for name, content in good.items() if name}
    name = str(rng.choice(list(members)))
    content = bytearray(members[name])
    for place in rng.integers(min(len(content), 128), size=rng.integers(1, 6)):
        content[place] = rng.choice(list(b"()[]{},:'0189-+*<>|OfiuUV \x00\xff"))
    return packed(members | {name: bytes(content)})


def method(good: dict[str, bytes], rng: np.random.Generator) -> bytes:
    """Return an archive with another compression method and one damaged byte."""
    members = {name: content for name, content in good.items() if name}
    content = bytearray(packed(members, int(rng.choice([zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]))))
    content[rng.integers(len(content))] ^= 255
    return bytes(content)


KINDS = (cut, flipped, zeroed, missing, directory, swapped, hostile, noisy, method)


def large(good: dict[str, bytes], trap: Path, scale: float = 1.0) -> Iterator[tuple[str, bytes]]:
    """Yield the kind and the content of small files that could take unlimited time, memory or stack, or run code."""
    members = {name: content for name, content in good.items() if name}
    zeros = bytes(int(1024 * scale) * MIB)
    wide = header("'<f4'", f"(60, {len(zeros) // 240})")
    yield "bomb", packed(members | {"obs.npy": npy(wide, zeros)})
    for packing in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield "bomb", packed(members | {"obs.npy": npy(wide, zeros[: len(zeros) // 4])}, packing)
    yield "bomb", packed(members | {f"obs/{i}.npy": npy(wide, zeros[: len(zeros) // 64]) for i in range(64)})
    bomb = bytearray(packed(members | {"obs.npy": npy(wide, zeros[: len(zeros) // 4])}))
    at = bomb.rfind(b"PK\x01\x02", 0, bomb.rfind(b"obs.npy"))
    bomb[at + 24 : at + 28] = struct.pack("<I", 1_000)
    yield "bomb whose directory lies", bytes(bomb)
    text = npy(header(f"'<U{len(zeros) // 8}'", "()"), zeros[: len(zeros) // 2])
    yield "long string", packed(members | {"env.npy": text})
    yield "long header", packed(members | {"obs.npy": npy(zeros[: len(zeros) // 8], b"", b"\x02\x00")})
    many = int(60_000 * scale)
    yield "many members", packed(members | {f"x{i}": b"" for i in range(many)})
    yield "many members", packed(members | {f"obs/{i}.npy": members["obs.npy"] for i in range(many // 20)})
    deep = "/".join("a" * 20_000)
    yield "deep names", packed(members | {f"obs/{deep}.npy": members["obs.npy"]})
    for name in members:
        boxed = io.BytesIO()
        np.save(boxed, np.array([Trap(trap)], object), allow_pickle=True)
        yield "objects", packed(members | {name: boxed.getvalue()})
        yield "objects", packed(members | {name: pickle.dumps(Trap(trap))})
    yield "objects", pickle.dumps(Trap(trap))


def variants(count: int, seed: int, trap: Path, scale: float = 1.0) -> Iterator[tuple[str, bytes]]:
    """Yield the kind and the content of the sound files, the files of `large`, and `count` damaged files."""
    rng, good = np.random.default_rng(seed), (sound(False), sound(True))
    yield "sound", good[0][""]
    yield "sound", good[1][""]
    yield from large(good[1], trap, scale)
    for i in range(count):
        kind = KINDS[i % len(KINDS)]
        yield kind.__name__, kind(good[rng.integers(2)], rng)


def write(folder: Path, count: int, seed: int, trap: Path, scale: float = 1.0) -> None:
    """Write all variants to `folder`. The names begin with a number."""
    for i, (kind, content) in enumerate(variants(count, seed, trap, scale)):
        (folder / f"{i:06} {kind}.npz").write_bytes(content)


def outcome(path: Path, same: str = "") -> str:
    """Load and summarise a file, and return the outcome as text. `same` is the SHA-256 of the sound data."""
    try:
        facts = iq.Demos.load(path).summary()
    except InputError as error:
        text = str(error)
        return "refused" if "\n" not in text and path.name in text and len(text) < 1_000 else "REFUSED BADLY"
    except Exception as error:
        return f"TRACEBACK {type(error).__name__}"
    return "read" if facts["sha256"] == same else "read, other data"


def main(count: int = 3_000, seed: int = 0) -> None:
    """Load all files and print the outcomes.

    Args:
        count: number of damaged files, in addition to those of `large`.
        seed: seed of the damage.
    """
    found: Counter[tuple[str, str]] = Counter()
    slowest = 0.0, ""
    with tempfile.TemporaryDirectory() as name:
        folder, trap = Path(name), Path(name) / "sprung"
        # In a separate process, because writing needs much memory, and the peak memory of reading is measured.
        writer = multiprocessing.get_context("spawn").Process(target=write, args=(folder, count, seed, trap))
        writer.start()
        writer.join()
        first, *_ = files = sorted(folder.glob("*.npz"))
        same, begun = iq.Demos.load(first).sha256(), held()
        for path in files:
            start, kind = time.perf_counter(), path.stem.partition(" ")[2]
            found[kind, outcome(path, same)] += 1
            slowest = max(slowest, (time.perf_counter() - start, kind))
        for (kind, result), number in sorted(found.items()):
            print(f"{kind:28}{result:28}{number:7,}")
        total = Counter(result for _, result in found.elements())
        print(", ".join(f"{result} {number:,}" for result, number in total.items()), f"of {total.total():,}")
        print(f"executed: {trap.exists()}; slowest {slowest[0]:.2f} s ({slowest[1]})")
        print(f"memory: {begun:.0f} MiB after the first file, peak {held():.0f} MiB")


def held() -> float:
    """Return the peak memory of the process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    tyro.cli(main)
