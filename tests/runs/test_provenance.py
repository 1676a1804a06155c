"""What a run was made of: schedules and interactions are checked, and settings come back from their JSON."""

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


def test_a_choice_that_there_is_not_is_told_with_those_that_there_are():
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
def test_settings_that_cannot_be_are_told(make, told):
    with pytest.raises(iq.InputError, match=told):
        make()


def test_rounds_are_whole_numbers_of_steps_of_all_copies():
    assert iq.Interaction(num_envs=4).steps_per_round == 52
    assert iq.Interaction(num_envs=5).steps_per_round == 50
    assert iq.Interaction(num_envs=4).round_steps == 50, "what was set stays"


def test_evaluations_are_evenly_spread_and_the_last_one_is_at_the_end():
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


def test_values_of_the_wrong_type_are_told_where_no_test_checks_types():
    """In a process of its own: here types are checked already. Numbers of NumPy become Python's."""
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
def test_settings_come_back_from_their_json(name):
    settings = ALGORITHMS[name]()
    written = json.loads(json.dumps(to_dict(settings)))
    assert written["name"] == name
    assert settings_of(written) == settings


def test_extensions_come_back_with_their_settings():
    extensions = tuple(kind() for kind in EXTENSIONS.values())
    settings = iq.IQLearnContinuous(extensions=extensions, critic=iq.Network((8,), "silu", layer_norm=True), critics=3)
    assert settings_of(json.loads(json.dumps(to_dict(settings)))) == settings


def test_the_sentence_of_recommended_is_written_but_does_not_make_settings_differ():
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
def test_damaged_settings_are_told(change, told):
    with pytest.raises(iq.InputError, match=told):
        settings_of(to_dict(iq.IQLearn()) | change)


def test_an_origin_comes_back_with_its_selection(cartpole):
    demos = cartpole.take(3, seed=1).subsample(2)
    origin = Origin(Environment.of("CartPole-v1"), demos.source, None, demos.selection)
    found = Origin.from_dict(json.loads(json.dumps(to_dict(origin))))
    assert found == origin
    assert found.environment is not None
    assert (found.title, found.environment.name) == ("CartPole-v1", "CartPole-v1")
    nameless = replace(origin, environment=None)
    assert (nameless.title, nameless.environment) == ("random.npz", None)


def test_the_versions_name_what_a_result_depends_on():
    assert {"python", "iqlearn", "jax", "gymnasium", "numpy", "device"} <= versions().keys()
