"""The examples of docs/demonstrations.md run, and give demonstrations."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from iqlearn.data.demos import Demos

TEXT = (Path(__file__).parents[2] / "docs" / "demonstrations.md").read_text(encoding="utf-8")
SECTION = TEXT.partition("## An example of each format\n")[2].partition("\n## ")[0]
RECORDING, *EXAMPLES = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)


def package_of(example):
    """The package that an example imports first."""
    return re.search(r"(?:import|from) (\w+)", example)[1]


@pytest.fixture(scope="module")
def recording():
    names = {}
    exec(RECORDING, names)
    return names


@pytest.mark.parametrize("example", EXAMPLES, ids=package_of)
def test_an_example_of_each_format_runs(example, recording, tmp_path, monkeypatch):
    if find_spec(package_of(example)) is None:
        pytest.skip(f"needs {package_of(example)}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    names = dict(recording)
    exec(example, names)
    found = names["demos"] if isinstance(names["demos"], list) else [names["demos"]]
    assert all(isinstance(demos, Demos) and demos.episodes in (1, 2) for demos in found)
    assert len({demos.sha256() for demos in found}) == 1


def test_there_is_an_example_of_each_format():
    assert [*map(package_of, EXAMPLES)] == ["minari", "h5py", "h5py", "lerobot", "datasets", "pyarrow", "pathlib"]
