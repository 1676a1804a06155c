"""Provenance of a run: schedules and interactions are checked, and settings round-trip through JSON."""

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Any, Literal

import pytest

import iqlearn as iq
from iqlearn.algorithms import ALGORITHMS
from iqlearn.envs.gym import Environment
from iqlearn.errors import require_types
from iqlearn.extensions import EXTENSIONS
from iqlearn.runs.provenance import Origin, Schedule, settings_of, to_dict, versions


@dataclass
class Chosen:
    colour: Any
    size: Any


Chosen.__annotations__.update(colour=Literal["red", "green"], size=int)


def test_invalid_choice_is_rejected_with_the_valid_choices():
    require_types(Chosen("green", 1))
    with pytest.raises(iq.InputError, match=r"^Setting colour is 'blue'; expected one of red, green\.$"):
        require_types(Chosen("blue", 1))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: iq.SAC(gamma=1.5), r"gamma is 1\.5; expected a number in \[0, 1\)"),
        (lambda: iq.SAC(temperature=-1.0), r"temperature is -1\.0"),
        (lambda: iq.Interaction(replay=10), r"replay is 10; expected room for a round, 50 steps"),
        (lambda: iq.Interaction(num_envs=0), "num_envs is 0"),
        (lambda: iq.Interaction(random_steps=-1), "random_steps is -1"),
        (lambda: iq.Interaction(update_ratio=0.0), r"update_ratio is 0\.0"),
        (lambda: Schedule(steps=0), "steps is 0"),
        (lambda: Schedule(evaluations=-1), "evaluations is -1"),
        (lambda: Schedule(eval_envs=0), "eval_envs is 0"),
        (lambda: Schedule(max_episode_steps=0), "max_episode_steps is 0"),
        (lambda: iq.Interaction(env_timeout=5.0), "env_timeout is 5.0; expected vectorization async"),
        (lambda: Schedule(seed=-1), "seed is -1; expected a number of at least 0"),
    ],
)
def test_invalid_settings_are_rejected(make, told):
    with pytest.raises(iq.InputError, match=told):
        make()


def test_steps_per_round_are_a_multiple_of_num_envs():
    assert iq.Interaction(num_envs=4).steps_per_round == 52
    assert iq.Interaction(num_envs=5).steps_per_round == 50
    assert iq.Interaction(num_envs=4).round_steps == 50, "what was set stays"


def test_chunk_is_the_number_of_steps_between_evaluations():
    assert Schedule(steps=10, evaluations=4).chunk == 3
    assert Schedule(steps=10, evaluations=20).chunk == 1
    assert Schedule(steps=100, evaluations=0).chunk == 10, "checkpoints go on"


MISTAKES = """
import dataclasses, typing
import iqlearn as iq, numpy
from iqlearn.algorithms import ALGORITHMS
from iqlearn.extensions import EXTENSIONS
assert iq.Network(hidden=[64, 32]).hidden == (64, 32)
print(repr(iq.Schedule(seed=numpy.arange(4)[3])))
for make in (
    lambda: iq.BCContinuous(squash="x"), lambda: iq.Schedule(steps=2.5), lambda: iq.learn(iq.IQLearn(), "expert.npz"),
    lambda: iq.learn(iq.IQLearn, iq.Demos.builtin("CartPole-v1")), lambda: iq.Network((2.5,))
):
    try:
        make()
    except iq.InputError as error:
        print(error)
for kind in (*ALGORITHMS.values(), *EXTENSIONS.values(), iq.Schedule, iq.Interaction, iq.Network):
    for name, hint in typing.get_type_hints(kind).items():
        wrong = {int: (2.5, "1", True), float: ("1", True, [1.0]), bool: (1, "yes")}.get(hint, ())
        for value in wrong if name in {f.name for f in dataclasses.fields(kind)} else ():
            try:
                kind(**{name: value})
            except iq.InputError as error:
                assert str(error).startswith(f"Setting {name} is {value!r}; expected "), error
            else:
                print(f"{kind.__name__}({name}={value!r}) is taken")
"""


def test_wrong_types_are_rejected_without_runtime_type_checking():
    """In a separate process, since the tests check types. NumPy numbers become Python numbers."""
    said = subprocess.run([sys.executable, "-c", MISTAKES], capture_output=True, text=True, check=True).stdout
    first, *rest = said.splitlines()
    assert "seed=3," in first
    assert rest == [
        "Setting squash is 'x'; expected one of clip, tanh.",
        "Setting steps is 2.5; expected a whole number.",
        "demos is a str; expected Demos, as iq.Demos.load(FILE) gives them.",
        "settings is the class IQLearn; expected an object, iq.IQLearn().",
        "Setting hidden is (2.5,); expected whole numbers above 0.",
    ]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_settings_round_trip_through_json(name):
    settings = ALGORITHMS[name]()
    written = json.loads(json.dumps(to_dict(settings)))
    assert written["name"] == name
    assert settings_of(written) == settings


def test_extensions_round_trip_through_json():
    extensions = tuple(kind() for kind in EXTENSIONS.values())
    settings = iq.IQLearnContinuous(extensions=extensions, critic=iq.Network((8,), "silu", layer_norm=True), critics=3)
    assert settings_of(json.loads(json.dumps(to_dict(settings)))) == settings


def test_reason_is_saved_but_ignored_in_comparisons_of_settings():
    settings = iq.IQLearn(reason="because")
    assert settings == iq.IQLearn()
    assert settings_of(json.loads(json.dumps(to_dict(settings)))).reason == "because"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "ppo"}, "Algorithm 'ppo' is unknown; expected one of iq, iq-continuous"),
        ({"name": None}, "Algorithm None is unknown"),
        ({"colour": "blue"}, "colour is 'blue'; expected a setting that IQLearn has"),
        ({"extensions": [{"name": "luck"}]}, "Extension 'luck' is unknown; expected one of "),
        ({"gamma": 2.0}, r"gamma is 2\.0"),
    ],
)
def test_damaged_settings_raise_a_clear_error(change, told):
    with pytest.raises(iq.InputError, match=told):
        settings_of(to_dict(iq.IQLearn()) | change)


def test_origin_round_trips_through_json_with_its_selection(cartpole):
    demos = cartpole.take(3, seed=1).subsample(2)
    origin = Origin(Environment.of("CartPole-v1"), demos.source, None, demos.selection)
    found = Origin.from_dict(json.loads(json.dumps(to_dict(origin))))
    assert found == origin
    assert found.environment is not None
    assert (found.title, found.environment.name) == ("CartPole-v1", "CartPole-v1")
    nameless = replace(origin, environment=None)
    assert (nameless.title, nameless.environment) == ("random.npz", None)


def test_versions_include_python_packages_and_device():
    assert {"python", "iqlearn", "jax", "gymnasium", "numpy", "device"} <= versions().keys()
