"""Demonstrations record their file and the part of it, so that a run can load the same ones again."""

import json
import os

import pytest

from iqlearn.data.demos import Demos
from iqlearn.errors import InputError


@pytest.fixture
def file(counting, tmp_path):
    counting.save(tmp_path / "counting.npz")
    return tmp_path / "counting.npz"


def test_selection_records_take_and_subsample(counting):
    part = counting.take(2, seed=4).subsample(3, offset=1)
    assert counting.selection == ()
    assert part.selection == (("take", 2, 4), ("subsample", 3, 1, None))
    assert part.without_actions().selection == part.selection


def test_select_reproduces_the_same_part(counting):
    part = counting.take(2, seed=4).subsample(3, seed=5).take(1)
    written = json.loads(json.dumps(part.selection))
    again = counting.select(written)
    assert again.sha256() == part.sha256()
    assert again.selection == part.selection
    assert counting.select(()).sha256() == counting.sha256()


def test_selection_of_too_many_episodes_is_rejected(counting):
    with pytest.raises(InputError, match=r"^7 trajectories asked for, but counting\.npz holds 3"):
        counting.select([["take", 7, None]])
    with pytest.raises(InputError, match=r"^7 trajectories asked for, but 2 of counting\.npz are left"):
        counting.leave_out(3).take(7)


def test_loaded_demonstrations_keep_their_absolute_path(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    demos = Demos.load("counting.npz")
    assert (demos.path, demos.source) == (os.path.realpath(file), "counting.npz")
    assert demos.take(1).path == demos.path


def test_find_reloads_a_part_of_a_file(file):
    part = Demos.load(file).take(2, seed=1).subsample(2)
    found = Demos.find(part.source, part.path, part.selection)
    assert found.sha256() == part.sha256()
    assert (found.source, found.path, found.selection) == (part.source, part.path, part.selection)


def test_find_reloads_a_part_of_builtin_demonstrations():
    part = Demos.builtin("CartPole-v1").take(1, seed=0).subsample(20)
    assert part.path is None
    found = Demos.find(part.source, part.path, part.selection)
    assert (found.source, found.sha256()) == ("builtin:CartPole-v1", part.sha256())


def test_find_rejects_demonstrations_made_in_python(counting):
    with pytest.raises(InputError, match=r"^The demonstrations 'counting\.npz' were put together in Python.*expected"):
        Demos.find(counting.source, counting.path, counting.selection)


def test_find_reports_a_missing_file(file):
    demos = Demos.load(file)
    file.unlink()
    with pytest.raises(InputError, match=r"^No demonstrations at .*counting\.npz"):
        Demos.find(demos.source, demos.path, demos.selection)


def test_episodes_not_taken_are_held_out(counting):
    assert counting.held_out is None
    part = counting.take(2)
    assert part.held_out is not None
    assert (part.ep.max(), set(part.held_out.ep.tolist())) == (3, {9})
    assert part.held_out.held_out is None
    thinned = part.subsample(2)
    assert thinned.held_out is not None
    assert len(thinned.held_out) == 7, "all their rows, whatever the learner gets of its own"
    assert (part.held_out.every, part.held_out.lengths.tolist()) == (1, [7])
    assert counting.subsample(2).take(2).held_out.every == 2
    assert counting.take(3).held_out is None
    assert part.without_actions().held_out is None
    for drawn in (counting.take(1, seed=seed) for seed in range(5)):
        assert {*drawn.ep.tolist()} | {*drawn.held_out.ep.tolist()} == {2, 3, 9}


def test_episodes_left_out_by_number_are_not_held_out(counting):
    """An episode that the user leaves out may be wrong."""
    assert counting.leave_out(3).held_out is None
    assert {*counting.leave_out(3).take(1).held_out.ep.tolist()} == {9}
    assert {*counting.take(2).leave_out(3).held_out.ep.tolist()} == {9}


def test_at_most_ten_episodes_are_held_out_and_find_reloads_them(cartpole_arrays, tmp_path):
    many = Demos.merged([Demos.from_arrays(cartpole_arrays)] * 4)
    part = many.take(1)
    assert part.held_out.episodes == 10
    assert part.held_out.ep[0] == 1
    assert part.held_out.ep[-1] == 23
    many.save(tmp_path / "many.npz")
    found = Demos.load(tmp_path / "many.npz").take(2, seed=3)
    again = Demos.find(found.source, found.path, found.selection)
    assert again.held_out.sha256() == found.held_out.sha256()
