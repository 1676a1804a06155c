"""Pictures are drawn whatever the rows hold, and whole."""

from pathlib import Path

import matplotlib.image
import pytest

from iqlearn.plots import curves

LAST = {"step": 200, "return_mean": 5.0, "return_std": 1.0, "return_min": 4.0, "return_max": 6.0, "loss": 0.5}
FIRST = {**LAST, "step": 100, "return_mean": 3.0, "loss": None, "gap": 0.1}


def drawn(path: Path) -> tuple[int, int]:
    """Height and width of what lies there in pixels, after a look that something is on it and nothing beside it."""
    picture = matplotlib.image.imread(path)
    assert picture.min() < 0.5 < picture.max()
    assert list(path.parent.iterdir()) == [path]
    return picture.shape[:2]


@pytest.mark.parametrize("expert", [None, 6.0])
@pytest.mark.parametrize(("rows", "panels"), [([FIRST, LAST], 3), ([LAST], 2)])
def test_a_run_has_a_panel_a_metric(tmp_path, rows, panels, expert):
    """The return with its range is one panel; a metric that ended early has one too."""
    curves(tmp_path / "curves.png", rows, expert, "a run")
    assert drawn(tmp_path / "curves.png") == pytest.approx((2.9 * 120, panels * 4.2 * 120), abs=1)


def test_more_than_three_panels_take_more_lines(tmp_path):
    rows = [{**LAST, "updates": step, **dict.fromkeys("abcd", 1.0)} for step in (1, 2)]
    curves(tmp_path / "curves.png", rows, None, "a run")
    assert drawn(tmp_path / "curves.png") == pytest.approx((2 * 2.9 * 120, 3 * 4.2 * 120), abs=1)
