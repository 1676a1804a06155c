"""The notebooks of the examples, which the build of the documentation executes."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.py"))


def test_every_notebook_is_linked_in_the_documentation_and_readme():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    toctree = [line for line in index.splitlines() if line.startswith("notebooks/")]
    assert sorted(toctree) == [f"notebooks/{path.stem}" for path in NOTEBOOKS]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in NOTEBOOKS:
        assert f"](notebooks/{path.stem}.ipynb)" in index
        assert f"](examples/notebooks/{path.name})" in readme


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_a_script_in_percent_format(path):
    """It begins with a title and a link to open it; its cells are in the percent format."""
    text = path.read_text(encoding="utf-8")
    ast.parse(text)
    header, title, *cells = text.split("\n# %%")
    assert "format_name: percent" in header
    assert title.startswith(" [markdown]\n# # ")
    assert f"examples/notebooks/{path.name}" in title
    assert all(cell.startswith((" [markdown]\n# ", "\n")) for cell in cells)
