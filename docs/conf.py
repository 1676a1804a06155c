"""Sphinx configuration."""

import importlib.metadata
import shutil
from pathlib import Path

import jupytext

from iqlearn import benchmark

project = "iqlearn"
author = "The iqlearn authors"
project_copyright = "2026, the iqlearn authors"
release = importlib.metadata.version("iqlearn")
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600  # seconds for a cell
nb_merge_streams = True
html_theme = "furo"
html_title = "iqlearn"
html_static_path = ["_static"]
html_css_files = ["notebooks.css"]
html_extra_path = ["extra"]
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": False}

pages = Path(__file__).parent / "notebooks"
pages.mkdir(exist_ok=True)
for script in (Path(__file__).parents[1] / "examples" / "notebooks").glob("*.py"):
    jupytext.write(jupytext.read(script), pages / f"{script.stem}.ipynb")

# Write the page of each benchmark from its measured tables.
extra = Path(__file__).parent / "extra"
shutil.rmtree(extra, ignore_errors=True)
for measured in (Path(__file__).parents[1] / "benchmarks" / "results" / "benchmark").iterdir():
    grid = benchmark.read(measured.name)
    benchmark.write(grid, benchmark.read_csv(grid.cells, measured), extra / "benchmark" / measured.name)
