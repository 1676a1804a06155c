"""Damage every file of a run folder in many ways, then load and resume it. No damage may change the result silently.

python benchmarks/damage_runs.py [TIMES [CONFIGS]]

In each file TIMES single bits are flipped, one at a time, and the file is truncated to TIMES lengths. It is also
emptied, zeroed, replaced by an older version and deleted. In CONFIGS variants of config.json, with valid checksums in
the manifest, a value is replaced, given another type or removed, or an unknown key is added. Prints how many of each
were reported in one sentence, had no effect, changed the result silently, or ended in a traceback.
"""

import json
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

import iqlearn as iq
from iqlearn import files
from iqlearn.runs import folder
from iqlearn.runs.manifest import update

WRONG: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    2.5,
    10**30,
    float("nan"),
    "",
    "x",
    "../x",
    [],
    [1],
    [[]],
    {},
    {"a": 1},
)
Content = bytes | None


def main(times: int = 25, configs: int = 3_000) -> None:
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        whole, older, run = (Path(name) / part for part in ("whole", "older", "run"))

        def copy(training: Any) -> None:
            if training.done == 20:
                shutil.copytree(whole, older)

        demos = iq.Demos.builtin("CartPole-v1").take(1).subsample(20)
        settings = iq.IQLearn(network=iq.Network((8,)), batch_size=8)
        more = {"env": "CartPole-v1", "steps": 40, "evaluations": 4, "eval_episodes": 1}
        iq.learn(settings, demos, out=whole, callbacks=[copy], quiet=True, **more)
        (older / folder.CURVES).write_bytes(b"older")
        files.flush = lambda path: None  # it protects against power failures only
        expected = facts(whole) | {read.__name__: loaded(read(whole)) for read in (iq.Run.load, last)}
        for path in sorted(whole.iterdir()):
            if path.name == folder.LOCK:
                continue
            found: dict[str, Counter[str]] = {}
            for how, content in damages(path.read_bytes(), (older / path.name).read_bytes(), times, random):
                for read in (iq.Run.load, last, resumed):
                    shutil.rmtree(run, ignore_errors=True)
                    shutil.copytree(whole, run)
                    path_of_run = run / path.name
                    path_of_run.unlink() if content is None else path_of_run.write_bytes(content)
                    came = outcome(read, run, expected)
                    found.setdefault(read.__name__, Counter())[came] += 1
                    if came in ("SILENT", "TRACEBACK"):
                        print(f"  {path.name} {how}: {came} in {read.__name__}")
            print(f"{path.name}: " + "; ".join(f"{name} {dict(each)}" for name, each in found.items()), flush=True)
        print(f"malformed config.json: {dict(malformed(whole, run, configs, random))}")


def damages(content: bytes, older: bytes, times: int, random: np.random.Generator) -> Iterator[tuple[str, Content]]:
    """Yield a description and the damaged content of each variant of a file; the content is None for a deleted file."""
    yield "deleted", None
    for how, other in (("emptied", b""), ("zeroed", bytes(len(content))), ("older", older)):
        if other != content:
            yield how, other
    for place in random.integers(8 * len(content), size=times).tolist():
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        yield f"bit {place} flipped", bytes(flipped)
    for length in random.integers(len(content), size=times).tolist():
        yield f"cut to {length} bytes", content[:length]


def last(run: Path) -> iq.Run:
    return iq.Run.load(run, last=True)


def resumed(run: Path) -> iq.Run:
    iq.resume(run, quiet=True)
    return iq.Run.load(run)


def loaded(run: iq.Run) -> bytes:
    """Return the configuration, metrics, result and arrays of a loaded run as bytes."""
    told = run.config() | {"rows": run.rows, "result": run.result}
    return json.dumps(told).encode() + b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(run.model))


def facts(run: Path) -> dict[str, bytes]:
    """Return the metrics, configuration, models and last checkpoint of a run folder, without times."""
    names = (folder.MODEL, folder.LAST, folder.CHECKPOINT)
    arrays = {name: files.read_arrays(run / name).arrays for name in names}
    each = {f"{name} {key}": array.tobytes() for name in names for key, array in arrays[name].items()}
    return each | {name: (run / name).read_bytes() for name in (folder.CONFIG, folder.METRICS)}


def outcome(read: Callable[[Path], iq.Run], run: Path, expected: dict[str, bytes]) -> str:
    """Read a damaged folder and return the outcome: "named", "without effect", "SILENT" or "TRACEBACK"."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            found = read(run)
        except iq.InputError as error:
            return "named" if "\n" not in str(error) else "TRACEBACK"
        except Exception:
            return "TRACEBACK"
    right = loaded(found) == expected[read.__name__] if read is not resumed else facts(run).items() <= expected.items()
    if not right:
        return "SILENT"
    return "named" if any("damaged" in str(warning.message) for warning in told) else "without effect"


def malformed(whole: Path, run: Path, times: int, random: np.random.Generator) -> Counter[str]:
    """Count the outcomes of loading `times` malformed configurations. "taken" means other, valid settings."""
    found: Counter[str] = Counter()
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(whole, run)
    original = (whole / folder.CONFIG).read_bytes()
    for _ in range(times):
        config = json.loads(original)
        part: Any = config
        while True:
            key = random.choice(list(part) if isinstance(part, dict) else range(len(part)))
            key = str(key) if isinstance(part, dict) else int(key)
            if not isinstance(part[key], dict | list) or not part[key] or random.random() < 0.2:
                break
            part = part[key]
        kind = random.integers(8)
        if kind == 0:
            del part[key]
        elif kind == 1 and isinstance(part, dict):
            part["unknown"] = 1
        else:
            part[key] = WRONG[random.integers(len(WRONG))]
        update(run, {folder.CONFIG: json.dumps(config).encode()})
        try:
            iq.Run.load(run)
            found["taken"] += 1
        except iq.InputError as error:
            found["named" if "\n" not in str(error) else "TRACEBACK"] += 1
        except Exception as error:
            found["TRACEBACK"] += 1
            print(f"  {key}: {type(error).__name__}: {error}")
    return found


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
