"""Rules for the code that the type checker and the linter do not check."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import iqlearn
from iqlearn.algorithms import ALGORITHMS
from iqlearn.extensions import EXTENSIONS

SOURCE = Path(iqlearn.__file__).parent
REGISTRIES = {"algorithms/__init__.py", "extensions/__init__.py"}
MODELS = {"DiscreteSoftQ", "ContinuousSoftQ", "SoftQ", "RewardNet", "Policy", "ClippedGaussian", "TanhGaussian"}
MAY_IMPORT_LATE = {
    *(f"benchmark/{name}.py" for name in ("cluster", "plots")),
    *(
        f"data/formats/{name}.py"
        for name in ("columns", "hdf5", "huggingface", "lerobot", "minari", "tables", "videos")
    ),
    *(f"evaluation/{name}.py" for name in ("plots", "record", "recording", "sb3", "video")),
    "exports/onnx.py",
    *(f"hub/{name}.py" for name in ("card", "client")),
    "report/page.py",
    *(f"training/{name}.py" for name in ("callbacks", "notebook")),
}
"""These import optional packages. The command line may import late too, so that it starts fast."""


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield path.relative_to(SOURCE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} | {
        n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)
    }


def kinds() -> set[str]:
    """Names of the classes of settings, algorithms, extensions and models, and of what they inherit from."""
    classes = [c for kind in (*ALGORITHMS.values(), *EXTENSIONS.values()) for c in kind.__mro__]
    return {c.__name__ for c in classes if c.__module__.startswith("iqlearn.")} | MODELS | {"Algorithm", "Network"}


def test_isinstance_checks_of_settings_and_models_are_rare():
    asked = []
    for path, tree in trees():
        for node in ast.walk(tree):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id
            if called in ("isinstance", "issubclass") and names(node.args[1]) & kinds():
                asked.append(f"{path}:{node.lineno}")
            if isinstance(node, ast.MatchClass) and names(node.cls) & kinds():
                asked.append(f"{path}:{node.lineno}")
    assert len([place for place in asked if place.split(":")[0] not in REGISTRIES]) <= 3, asked


def test_imports_stand_at_the_top_of_a_file():
    late = []
    for path, tree in trees():
        if path.startswith("cli/") or path in MAY_IMPORT_LATE:
            continue
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
                inside = (n for n in ast.walk(function) if isinstance(n, ast.Import | ast.ImportFrom))
                late += [f"{path}:{node.lineno}" for node in inside]
    assert late == []


def test_import_does_not_load_slow_packages():
    """Statistics, plots and loggers: `iqlearn train` starts without them."""
    slow = ("scipy.stats", "matplotlib", "tensorboard")
    script = f"import sys, iqlearn; iqlearn.learn; print(*(m for m in {slow} if m in sys.modules))"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.strip() == ""


def test_text_files_are_opened_as_utf_8():
    """The encoding is named, so it does not depend on the locale."""
    others = []
    for path, tree in trees():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name, _, method = ast.unparse(call.func).rpartition(".")
            told = ast.unparse(call)
            ours = (
                method in ("open", "read_text", "write_text")
                and name not in ("os", "archive", "av", "Image")
                and "distribution" not in name
            )
            text = not any(f"{mode}b'" in told for mode in "rwa")
            named = [ast.unparse(word.value) for word in call.keywords if word.arg == "encoding"]
            if ours and text and named != ["'utf-8'"]:
                others.append(f"{path}:{call.lineno}")
    assert others == []
