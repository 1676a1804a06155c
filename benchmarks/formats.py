"""Measure time and memory of reading a million transitions in each format, into `results/formats.csv`.

    python benchmarks/formats.py                      # Hopper's shapes, 1,000 episodes of 1,000 steps
    python benchmarks/formats.py --episodes 100
    python benchmarks/formats.py --episodes 6000 --max-gib 0.05 --out thinned.csv    # memory if rows are left out

Each format is read in a separate process. Seconds are those of `iq.Demos.load`, including the import of the format's
library. Memory is the peak memory of the process in Linux's `/proc/self/status` (`getrusage` may return that of the
parent); about 0.4 GB of it are JAX. All files, including Minari's dataset, are in a temporary folder.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tables
import tyro

import iqlearn as iq

COLUMNS = ("format", "commit", "transitions", "seconds", "gigabytes", "megabytes on disk")
READ = """
import json, sys, time
import iqlearn as iq
iq.Demos
started = time.perf_counter()
demos = iq.Demos.load(sys.argv[1], float(sys.argv[2]))
seconds = time.perf_counter() - started
most = next(line for line in open("/proc/self/status", encoding="utf-8") if line.startswith("VmHWM"))
print(json.dumps([len(demos), seconds, int(most.split()[1]) / 1e6, demos.sha256()]))
"""
LENGTH, OBS, ACT = 1_000, 11, 3
WHOLE = 64.0


def recording(episodes: int) -> iq.Demos:
    """Return `episodes` episodes of random numbers with Hopper's shapes."""
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(episodes, LENGTH + 1, OBS)).astype(np.float32)
    last = np.tile(np.arange(LENGTH) == LENGTH - 1, episodes)
    return iq.Demos.from_arrays(
        {
            "obs": seen[:, :-1].reshape(-1, OBS),
            "next_obs": seen[:, 1:].reshape(-1, OBS),
            "act": rng.uniform(-1, 1, (episodes * LENGTH, ACT)).astype(np.float32),
            "term": np.zeros(episodes * LENGTH, bool),
            "trunc": last,
            "ep": np.repeat(np.arange(episodes), LENGTH),
            "rew": rng.normal(size=episodes * LENGTH).astype(np.float32),
        }
    )


def to_d4rl(demos: iq.Demos, path: Path) -> None:
    """Write an HDF5 file in D4RL's layout."""
    import h5py

    names = {"observations": "obs", "actions": "act", "next_observations": "next_obs", "rewards": "rew"}
    with h5py.File(path, "w") as file:
        for name, field in (names | {"terminals": "term", "timeouts": "trunc"}).items():
            file[name] = getattr(demos, field)


def main(episodes: int = 1_000, max_gib: float = WHOLE, out: Path = tables.RESULTS / "formats.csv") -> None:
    """Write and read each format.

    Args:
        episodes: number of episodes, of 1,000 steps each.
        max_gib: the size in GiB that demonstrations may take. Below the default, the `.npz` file is left out, because
            `.npz` files are never thinned.
        out: the table.
    """
    demos, rows = recording(episodes), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MINARI_DATASETS_PATH"] = str(folder / "minari")
        written = {
            "Minari, HDF5": "minari:test/large-v0",
            "D4RL, HDF5": str(folder / "large.hdf5"),
            "Parquet": str(folder / "large.parquet"),
            "Arrow": str(folder / "large.arrow"),
            "CSV": str(folder / "large.csv"),
            "npz": str(folder / "large.npz"),
        }
        if max_gib < WHOLE:
            del written["npz"]
        for form, source in written.items():
            to_d4rl(demos, Path(source)) if form == "D4RL, HDF5" else demos.save(source)
            place = folder / "minari" if source.startswith("minari:") else Path(source)
            files = [place, *place.rglob("*")] if place.is_dir() else [place]
            size = sum(path.stat().st_size for path in files if path.is_file()) / 1e6
            command = [sys.executable, "-c", READ, source, str(max_gib)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            count, seconds, gigabytes, digest = json.loads(done.stdout.splitlines()[-1])
            assert digest == demos.subsample(-(-len(demos) // count)).sha256(), form
            row = (form, tables.COMMIT, count, round(seconds, 2), round(gigabytes, 2), round(size))
            print(*row, flush=True)
            rows.append(dict(zip(COLUMNS, row, strict=True)))
    tables.merge(out, COLUMNS, rows, key=2)


if __name__ == "__main__":
    tyro.cli(main)
