"""Settings in Python: what the command line cannot let through is told all the same."""

import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Any, Literal

import pytest

import iqlearn as iq
from iqlearn.settings import SAC, Regression
from iqlearn.settings.common import require_choices


@dataclass
class Chosen:
    colour: Any
    size: Any


Chosen.__annotations__.update(colour=Literal["red", "green"], size=int)


def test_whole_numbers_of_numpy_are_kept_as_python_has_them():
    """In a process of its own: here types are checked already."""
    program = "import numpy; from iqlearn.settings import Schedule; print(repr(Schedule(seed=numpy.arange(4)[3])))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "seed=3)" in told.stdout


def test_a_choice_that_there_is_not_is_told_with_those_that_there_are():
    require_choices(Chosen("green", "large"))
    with pytest.raises(iq.InputError, match=r"^Setting colour is 'blue'; expected one of red, green\.$"):
        require_choices(Chosen("blue", 1))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: SAC(gamma=1.5), r"gamma is 1\.5; expected a number in \[0, 1\)"),
        (lambda: SAC(temperature=-1.0), r"temperature is -1\.0"),
        (
            lambda: iq.IQLearnContinuous.regressed(divergence="w1"),
            r"divergence is 'w1'; expected chi2_mixture with form",
        ),
        (lambda: iq.Interaction(replay=10), r"replay is 10; expected room for a round, 50 steps"),
    ],
)
def test_settings_that_cannot_be_are_told(make, told):
    with pytest.raises(iq.InputError, match=told):
        make()


CONTINUOUS = iq.IQLearnContinuous()


@pytest.mark.parametrize(
    ("settings", "error", "steps", "form"),
    [
        (CONTINUOUS, 0.06, 100_000, "inverse"),
        (CONTINUOUS, 0.08, 100_000, "regressed"),
        (CONTINUOUS, None, 100_000, "inverse"),
        (CONTINUOUS, 0.08, 0, "inverse"),
        (CONTINUOUS, 0.08, 9_999, "inverse"),
        (replace(CONTINUOUS, regression=Regression(error_limit=0.1)), 0.08, 100_000, "inverse"),
        (replace(CONTINUOUS, divergence="tv"), 0.08, 100_000, "inverse"),
        (replace(CONTINUOUS, state_only=True), None, 100_000, "regressed"),
        (replace(CONTINUOUS, state_only=True), None, 0, "inverse"),
    ],
)
def test_the_form_of_auto_follows_from_how_far_the_expert_can_be_cloned(settings, error, steps, form):
    assert settings.formed(error, steps).form == form


def test_auto_has_the_settings_of_its_form_where_they_were_left_as_they_are():
    assert CONTINUOUS.formed(0.01, 100_000) == replace(CONTINUOUS, form="inverse")
    assert CONTINUOUS.formed(0.5, 100_000) == iq.IQLearnContinuous.regressed()
    told = replace(CONTINUOUS, gamma=0.95, temperature=0.1).formed(0.5, 100_000)
    assert told == iq.IQLearnContinuous.regressed(gamma=0.95, temperature=0.1)


@pytest.mark.parametrize("form", ["inverse", "least_squares", "regressed"])
def test_a_form_that_was_asked_for_stays(form):
    settings = iq.IQLearnContinuous(form=form)
    assert settings.formed(0.5, 100_000) is settings


def test_rounds_are_whole_numbers_of_steps_of_all_copies():
    assert iq.Interaction(num_envs=4).round_steps == 52
    assert iq.Interaction(num_envs=5).round_steps == 50


MISTAKES = """
import iqlearn as iq
from iqlearn.settings import Schedule
assert iq.Network(hidden=[64, 32]).hidden == (64, 32)
for make in (
    lambda: iq.BCContinuous(squash="x"), lambda: Schedule(steps=2.5), lambda: iq.learn(iq.IQLearn(), "expert.npz")
):
    try:
        make()
    except iq.InputError as error:
        print(error)
"""


def test_values_of_the_wrong_type_are_told_where_no_test_checks_types():
    said = subprocess.run([sys.executable, "-c", MISTAKES], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == [
        "Setting squash is 'x'; expected one of clip, tanh.",
        "Setting steps is 2.5; expected a whole number.",
        "demos is a str; expected Demos, as iq.Demos.load(FILE) gives them.",
    ]
