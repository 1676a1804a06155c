"""Which part of which file demonstrations are, so that a run finds the same ones again."""

import json
import os

import pytest

from iqlearn.data.demos import Demos
from iqlearn.errors import InputError


@pytest.fixture
def file(counting, tmp_path):
    counting.save(tmp_path / "counting.npz")
    return tmp_path / "counting.npz"


def test_what_was_taken_is_recorded(counting):
    part = counting.take(2, seed=4).subsample(3, offset=1)
    assert counting.selection == ()
    assert part.selection == (("take", 2, 4), ("subsample", 3, 1, None))
    assert part.without_actions().selection == part.selection


def test_a_selection_gives_the_same_part_again(counting):
    part = counting.take(2, seed=4).subsample(3, seed=5).take(1)
    written = json.loads(json.dumps(part.selection))
    again = counting.select(written)
    assert again.sha256() == part.sha256()
    assert again.selection == part.selection
    assert counting.select(()).sha256() == counting.sha256()


def test_a_selection_that_does_not_fit_is_told(counting):
    with pytest.raises(InputError, match=r"^7 trajectories asked for, but counting\.npz holds 3"):
        counting.select([["take", 7, None]])
    with pytest.raises(InputError, match=r"^7 trajectories asked for, but 2 of counting\.npz are left"):
        counting.leave_out(3).take(7)


def test_a_loaded_file_knows_its_absolute_path(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    demos = Demos.load("counting.npz")
    assert (demos.path, demos.source) == (os.path.realpath(file), "counting.npz")
    assert demos.take(1).path == demos.path


def test_a_part_of_a_file_is_found_again(file):
    part = Demos.load(file).take(2, seed=1).subsample(2)
    found = Demos.find(part.source, part.path, part.selection)
    assert found.sha256() == part.sha256()
    assert (found.source, found.path, found.selection) == (part.source, part.path, part.selection)


def test_a_part_of_the_builtin_ones_is_found_again():
    part = Demos.builtin("CartPole-v1").take(1, seed=0).subsample(20)
    assert part.path is None
    found = Demos.find(part.source, part.path, part.selection)
    assert (found.source, found.sha256()) == ("builtin:CartPole-v1", part.sha256())


def test_what_was_put_together_in_python_is_not_found(counting):
    with pytest.raises(InputError, match=r"^The demonstrations 'counting\.npz' were put together in Python.*expected"):
        Demos.find(counting.source, counting.path, counting.selection)


def test_a_file_that_is_gone_is_told(file):
    demos = Demos.load(file)
    file.unlink()
    with pytest.raises(InputError, match=r"^No demonstrations at .*counting\.npz"):
        Demos.find(demos.source, demos.path, demos.selection)
