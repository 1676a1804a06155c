"""`Environment`: its name, its spaces, and faults that are reported in one sentence."""

import json
import re
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, OneOf, Text, Tuple
from gymnasium.wrappers import RecordEpisodeStatistics, TimeLimit

from iqlearn.envs.gym import Environment
from iqlearn.envs.spaces import canonical, executed, obs_spec
from iqlearn.envs.worlds.grid import GridWorld
from iqlearn.envs.worlds.maze import PointMaze
from iqlearn.errors import InputError
from iqlearn.types import ArraySpec, Bounds, TaskSpec, spec_from_dict, spec_to_dict

SMALL = Box(-1.0, 1.0, (2,))
PAIR = ArraySpec((2,))


class Bare(gym.Env):
    """Samples observations from its space, and keeps the actions that it is given."""

    def __init__(self, observations: gym.Space, actions: gym.Space) -> None:
        self.observation_space, self.action_space = observations, actions
        self.taken = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.taken.append(action)
        return self.observation_space.sample(), 0.0, False, False, {}


@pytest.fixture
def spec_of():
    """`spec_of(observations, actions)` is the `TaskSpec` of an environment with these spaces."""

    def told(observations: gym.Space, actions: gym.Space) -> TaskSpec:
        gym.register("IqlearnBare-v0", entry_point=lambda: Bare(observations, actions))
        return Environment.of("IqlearnBare-v0").task

    yield told
    gym.registry.pop("IqlearnBare-v0", None)


@pytest.fixture
def counted():
    """A function that makes a grid world, and the list of the worlds it made."""
    made = []

    def world(size: int = 5) -> gym.Env:
        made.append(GridWorld(size, goal=(0, 0)))
        return made[-1]

    return world, made


def sentence(caught) -> str:
    told = str(caught.value)
    assert "\n" not in told
    assert told.endswith(".")
    return told


def test_task_describes_continuous_and_discrete_environments():
    pendulum, cartpole = Environment.of("Pendulum-v1"), Environment.of("CartPole-v1")
    assert pendulum.task == TaskSpec(ArraySpec((3,)), Bounds((-2.0,), (2.0,)))
    assert cartpole.task == TaskSpec(ArraySpec((4,)), 2)
    assert (pendulum.task.discrete, cartpole.task.discrete) == (False, True)
    assert (pendulum.time_limit, cartpole.time_limit) == (200, 500)
    assert cartpole.true_reward is None


def test_each_action_coordinate_has_its_own_bounds(spec_of):
    actions = Box(np.array([-2.0, 0.0], np.float32), np.array([1.0, 5.0], np.float32))
    assert spec_of(SMALL, actions) == TaskSpec(PAIR, Bounds((-2.0, 0.0), (1.0, 5.0)))


def wrapped(env: gym.Env, message: str) -> gym.Env:
    """The environment, wrapped as the message says. As in users' code, the name `env` is rebound."""
    code = re.search(r"wrap it as (gymnasium\.wrappers\.\w+\(.*\))", message)
    names = {"gymnasium": gym, "numpy": np, "env": env}
    exec(f"env = {code[1]}", names)
    return names["env"]


@pytest.mark.parametrize(
    ("actions", "first"),
    [
        (Box(-np.inf, np.inf, (2,)), [0.5, 0.5]),
        (Box(np.array([-1.0, -1.0], np.float32), np.array([1.0, np.inf], np.float32)), [0.5, 0.5]),
        (Box(-1.0, 1.0, (2, 2)), [[0.5, 0.5], [0.5, 0.5]]),
        (Box(np.zeros((1, 2)), np.array([[1.0, 3.0]]), dtype=np.float64), [[0.5, 0.5]]),
        (Box(0, 9, (2, 1), np.uint8), [[0], [0]]),
        (MultiDiscrete([2, 3]), [1, 2]),
        (MultiDiscrete([2, 3], start=[4, -1]), [5, 1]),
        (MultiDiscrete([[2, 3], [1, 2]]), [[0, 2], [0, 1]]),
        (MultiBinary(3), [1, 0, 1]),
        (MultiBinary((3, 2)), [[0, 0], [0, 1], [0, 1]]),
        (Discrete(6, start=3), 8),
    ],
    ids=str,
)
def test_suggested_action_wrapper_works(spec_of, actions, first):
    with pytest.raises(InputError, match=r"^Actions of 'IqlearnBare-v0' are .*; expected .*\.$") as caught:
        spec_of(SMALL, actions)
    env = wrapped(Bare(SMALL, actions), sentence(caught))
    task = Environment.of(lambda: env).task
    env.step(5 if task.discrete else executed(env.action_space, np.full(task.action_shape, 0.5)))
    assert np.asarray(env.unwrapped.taken[-1]).tolist() == first


@pytest.mark.parametrize(
    ("observations", "spec"), [(Discrete(3, start=1), ArraySpec((), "int32", 3)), (Box(0.0, 1.0, ()), ArraySpec((1,)))]
)
def test_suggested_observation_wrapper_works(spec_of, observations, spec):
    with pytest.raises(InputError) as caught:
        spec_of(observations, SMALL)
    assert Environment.of(lambda: wrapped(Bare(observations, SMALL), sentence(caught))).task.obs == spec


@pytest.mark.parametrize("actions", [MultiDiscrete([11] * 7), MultiBinary(40)], ids=str)
def test_too_many_action_combinations_are_rejected(spec_of, actions):
    with pytest.raises(InputError, match=r" combinations; expected at most 100,000, or a flat Box with bounds\.$"):
        spec_of(SMALL, actions)


@pytest.mark.parametrize("what", ["action_space", "observation_space"])
@pytest.mark.parametrize("missing", [True, False])
def test_environment_without_a_space_is_rejected(what, missing):
    def make():
        env = Bare(SMALL, SMALL)
        env.__dict__.pop(what) if missing else setattr(env, what, None)
        env.close = lambda: closed.append(env)
        return env

    closed = []
    with pytest.raises(InputError, match=rf"has None as {what}; expected a space"):
        _ = Environment.of(make).task
    assert closed


@pytest.mark.parametrize(
    "actions",
    [Tuple([Discrete(2), SMALL]), Dict({"a": SMALL}), Box(1.0, 1.0, (2,)), Box(-1.0, 1.0, (0,))],
    ids=str,
)
def test_unsupported_actions_are_rejected_in_one_sentence(spec_of, actions):
    with pytest.raises(InputError, match=r"^Actions of 'IqlearnBare-v0' are .*; expected .*\.$") as caught:
        spec_of(SMALL, actions)
    sentence(caught)


def test_fixed_coordinates_and_integer_actions_are_supported(spec_of):
    actions = Box(np.array([-1.0, 2.0], np.float32), np.array([1.0, 2.0], np.float32))
    assert spec_of(SMALL, actions).actions == Bounds((-1.0, 2.0), (1.0, 2.0))
    assert spec_of(SMALL, Box(-2, 9, (1,), np.int16)).actions == Bounds((-2,), (9,), whole=True)


@pytest.mark.parametrize(
    ("space", "spec"),
    [
        (SMALL, PAIR),
        (Box(-1.0, 1.0, (2,), np.float64), PAIR),
        (Box(0, 255, (8, 8, 3), np.uint8), ArraySpec((8, 8, 3), "uint8")),
        (Box(-5, 5, (1, 2), np.int64), ArraySpec((1, 2), "int32")),
        (Discrete(5), ArraySpec((), "int32", 5)),
        (MultiBinary((2, 3)), ArraySpec((2, 3), "int32")),
        (MultiDiscrete([2, 4]), ArraySpec((2,), "int32")),
        (Tuple([SMALL, Discrete(3)]), {"0": PAIR, "1": ArraySpec((), "int32", 3)}),
        (Dict({"b": SMALL, "a": Dict({"c": Tuple([SMALL])})}), {"a": {"c": {"0": PAIR}}, "b": PAIR}),
    ],
    ids=str,
)
def test_observation_spaces_become_trees_of_array_specs(spec_of, space, spec):
    told = spec_of(space, SMALL)
    assert told.obs == spec
    assert spec_from_dict(json.loads(json.dumps(spec_to_dict(told)))) == told


def test_task_spec_hash_does_not_depend_on_key_order():
    first, second = (obs_spec(Dict([(name, SMALL) for name in names]), "it") for names in ("ab", "ba"))
    assert hash(TaskSpec(first, 2)) == hash(TaskSpec(second, 2))


def test_canonical_copies_observations_and_converts_their_dtypes():
    space = Dict({"a": Tuple([Box(-1.0, 1.0, (2,), np.float64), Discrete(3)]), "b": Box(0, 255, (2, 2), np.uint8)})
    spec = obs_spec(space, "it")
    shown = space.sample()
    obs = canonical(shown, spec)
    assert {name: part.dtype for name, part in obs["a"].items()} == {"0": np.float32, "1": np.int32}
    assert obs["b"].dtype == np.uint8
    np.testing.assert_allclose(obs["a"]["0"], shown["a"][0], rtol=1e-6)
    assert obs["a"]["1"] == shown["a"][1]
    before = obs["b"].copy()
    shown["b"][:] += 1
    np.testing.assert_array_equal(obs["b"], before)


@pytest.mark.parametrize(
    "space", [Text(5), Discrete(3, start=1), Box(0.0, 1.0, ()), OneOf([SMALL]), Dict({"a": Tuple([Text(5)])})], ids=str
)
def test_unsupported_observations_are_rejected_in_one_sentence(spec_of, space):
    wanted = r"^Observations of 'IqlearnBare-v0' are .*; expected a Box with an axis, a Discrete .*wrapper.*\.$"
    with pytest.raises(InputError, match=wanted) as caught:
        spec_of(space, SMALL)
    sentence(caught)


def test_unknown_environment_is_rejected_in_one_sentence():
    for name in ("Nonsense-v0", "no_such_module:CartPole-v1"):
        with pytest.raises(InputError, match=rf"'{name}'.*expected a Gymnasium id") as caught:
            _ = Environment.of(name).task
        sentence(caught)


@pytest.mark.parametrize(
    ("extra", "error"),
    [
        ("mujoco", gym.error.DependencyNotInstalled("pip install mujoco")),
        ("box2d", gym.error.DependencyNotInstalled("box2D is missing")),
        ("dmc", ModuleNotFoundError("No module named 'dm_control'")),
    ],
)
def test_missing_package_error_names_the_extra(extra, error):
    def needs_more():
        raise error

    gym.register("IqlearnNeedy-v0", entry_point=needs_more)
    try:
        with pytest.raises(InputError, match=rf"pip install .*\[{extra}\]'\.$") as caught:
            Environment.of("IqlearnNeedy-v0").make()
        sentence(caught)
    finally:
        del gym.registry["IqlearnNeedy-v0"]


def test_keyword_arguments_reach_the_environment():
    assert Environment.of("iqlearn/PointMaze-v0", {"gap": "left"}).make().unwrapped.gap == "left"
    assert Environment.of("iqlearn/PointMaze-v0", {"max_episode_steps": 7}).time_limit == 7
    given = Environment.of(Environment.of("iqlearn/GridWorld-v0", {"size": 3}), {"goal": (0, 0)})
    assert given.kwargs == {"size": 3, "goal": (0, 0)}


@pytest.mark.parametrize("kwargs", [{"colour": "red"}, {"size": 1}])
def test_wrong_keyword_arguments_are_rejected_in_one_sentence(kwargs):
    with pytest.raises(InputError, match=r"GridWorld-v0' cannot be made with .*; expected") as caught:
        Environment.of("iqlearn/GridWorld-v0", kwargs).make()
    sentence(caught)


def test_environment_can_be_given_as_a_function(counted):
    world, made = counted
    environment = Environment.of(world, {"size": 3})
    assert environment.name.endswith(".world")
    assert environment.task == TaskSpec(ArraySpec((9,)), 5)
    assert environment.time_limit is None
    assert environment.true_reward.__self__ is made[0]
    assert len(made) == 1, "one look says everything"
    assert environment.make() is made[1]


def test_lambdas_classes_and_partials_have_names_and_time_limits():
    limited = Environment.of(lambda: RecordEpisodeStatistics(TimeLimit(PointMaze(), 7)))
    assert limited.time_limit == 7
    assert "<lambda>" in limited.name
    for of in (GridWorld, partial(GridWorld, size=3)):
        assert Environment.of(of).name == "iqlearn.envs.worlds.grid.GridWorld"


def test_environment_can_be_given_as_a_specification():
    environment = Environment.of(gym.spec("CartPole-v1"))
    assert (environment.name, environment.task) == ("CartPole-v1", Environment.of("CartPole-v1").task)
    shorter = gym.make("CartPole-v1", max_episode_steps=9).spec
    assert Environment.of(shorter).time_limit == 9


@pytest.mark.parametrize("wrong", [3, None, PointMaze()])
def test_invalid_environment_argument_is_rejected_in_one_sentence(wrong):
    with pytest.raises(InputError, match=r"^env is a .*; expected a Gymnasium id, .* copies") as caught:
        Environment.of(wrong)
    sentence(caught)


def test_function_that_returns_no_environment_is_rejected():
    with pytest.raises(InputError, match=r"returned a int; expected a gymnasium.Env\.$"):
        _ = Environment.of(lambda: 3).task


def test_environment_round_trips_through_json(counted):
    made = gym.make("CartPole-v1", max_episode_steps=9).spec
    for given in (Environment.of("iqlearn/GridWorld-v0", {"size": 6}), Environment.of(made)):
        again = Environment.from_dict(json.loads(json.dumps(given.to_dict())))
        assert (again.name, again.kwargs, again.task, again.time_limit) == (
            given.name,
            given.kwargs,
            given.task,
            given.time_limit,
        )
    lost = Environment.from_dict(json.loads(json.dumps(Environment.of(counted[0], {"size": 3}).to_dict())))
    assert lost.name.endswith(".world")
    with pytest.raises(InputError, match=r"world was a function, which no file holds; expected .*\.$") as caught:
        lost.make()
    sentence(caught)
