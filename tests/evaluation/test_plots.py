"""Plots are drawn for any set of metrics, each into one file."""

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from iqlearn.evaluation.plots import Judged, curves, rewards

LAST = {"step": 200, "return_mean": 5.0, "return_std": 1.0, "return_min": 4.0, "return_max": 6.0, "loss": 0.5}
FIRST = {**LAST, "step": 100, "return_mean": 3.0, "loss": None, "gap": 0.1}


def drawn(path: Path) -> tuple[int, int]:
    """Height and width of an image in pixels. It must not be blank and must be the only file in its folder."""
    picture = matplotlib.image.imread(path)
    assert picture.min() < 0.5 < picture.max()
    assert list(path.parent.iterdir()) == [path]
    return picture.shape[:2]


@pytest.mark.parametrize("expert", [None, 6.0])
@pytest.mark.parametrize(("rows", "panels"), [([FIRST, LAST], 3), ([LAST], 2)])
def test_curves_have_one_panel_per_metric(tmp_path, rows, panels, expert):
    """The return and its range share one panel; a metric that some rows lack has one too."""
    (tmp_path / "curves.png").write_bytes(curves(rows, expert, "a run"))
    assert drawn(tmp_path / "curves.png") == pytest.approx((2.9 * 120, panels * 4.2 * 120), abs=1)


def test_curves_are_drawn_if_an_evaluation_has_no_return(tmp_path):
    rows = [FIRST, {"step": 150, "loss": 0.3}, {**LAST, "return_min": None}]
    (tmp_path / "curves.png").write_bytes(curves(rows, 6.0, "a run"))
    drawn(tmp_path / "curves.png")


def test_more_than_three_panels_take_several_rows(tmp_path):
    rows = [{**LAST, "updates": step, **dict.fromkeys("abcd", 1.0)} for step in (1, 2)]
    (tmp_path / "curves.png").write_bytes(curves(rows, None, "a run"))
    assert drawn(tmp_path / "curves.png") == pytest.approx((2 * 2.9 * 120, 3 * 4.2 * 120), abs=1)


def judged(obs) -> Judged:
    learned, true = np.arange(6.0), np.arange(6.0)[::-1]
    return Judged(learned, true, np.array([4, 4, 4, 7, 7, 9]), obs, np.array([0.0, 0, 10, 0, 0, 0]))


def test_returns_are_episode_sums_and_learned_ones_include_the_absorbing_state():
    true, learned = judged(np.zeros((6, 3))).returns
    assert true.tolist() == [5 + 4 + 3, 2 + 1, 0]
    assert learned.tolist() == [0 + 1 + 2 + 10, 3 + 4, 5]


@pytest.mark.parametrize(
    ("obs", "panels"),
    [(np.arange(12.0).reshape(6, 2), 5), (np.zeros((6, 3)), 3), ({"a": np.zeros((6, 2))}, 3)],
    ids=["a plane", "a vector", "a tree"],
)
def test_reward_map_is_drawn_only_for_two_dimensional_observations(tmp_path, obs, panels):
    rewards(tmp_path / "reward.png", {"random": judged(obs), "expert": judged(obs)}, "a reward")
    assert drawn(tmp_path / "reward.png") == pytest.approx((3.6 * 120, panels * 4.2 * 120), abs=1)
