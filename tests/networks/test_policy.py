"""The policy that acts: one observation or a batch, of any structure, NumPy in and NumPy out."""

import gymnasium as gym
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from iqlearn import InputError, Network, Policy
from iqlearn.networks import encoders
from iqlearn.networks.soft_q import ContinuousSoftQ, DiscreteSoftQ
from iqlearn.types import ActionScale, ArraySpec, Bounds, TaskSpec

VECTOR = ArraySpec((4,))
TREE = {"goal": ArraySpec((2,)), "state": {"cell": ArraySpec((), "int32", 3), "image": ArraySpec((2, 2), "uint8")}}
PAIR = {"0": ArraySpec((2,)), "1": ArraySpec((), "int32", 3)}
BOUNDS = Bounds((-2.0, 0.5, 0.0), (3.0, 0.75, 100.0))
NETWORK = Network(hidden=(16,))


def discrete(spec=VECTOR, temperature: float = 0.3) -> DiscreteSoftQ:
    task = TaskSpec(spec, 3)
    return DiscreteSoftQ(task, NETWORK, 1, encoders.blank(spec, "none"), jr.key(0), temperature, 5.0)


def continuous(spec=VECTOR, bounds=BOUNDS) -> ContinuousSoftQ:
    return ContinuousSoftQ(TaskSpec(spec, bounds), NETWORK, 1, NETWORK, encoders.blank(spec, "none"), jr.key(0))


def tree(n: int) -> dict:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (n, 2, 2), np.uint8)
    return {"goal": rng.normal(size=(n, 2)), "state": {"cell": rng.integers(0, 3, n), "image": image}}


def test_predict_follows_the_stable_baselines3_interface():
    policy, obs = Policy(discrete()), np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    action, state = policy.predict(obs[0], deterministic=True)
    assert state is None
    assert action.shape == ()
    assert action.dtype == np.int64
    batch, _ = policy.predict(obs, state=None, episode_start=np.ones(7, bool), deterministic=True)
    np.testing.assert_array_equal(batch, policy(obs))
    assert int(batch[0]) == int(action)


def test_predict_returns_vectors_for_continuous_actions():
    policy, obs = Policy(continuous()), np.random.default_rng(0).normal(size=(7, 4))
    action, state = policy.predict(obs[0], deterministic=True)
    assert state is None
    assert (action.shape, action.dtype) == ((3,), np.float32)
    assert policy(obs, deterministic=False).shape == (7, 3)
    np.testing.assert_allclose(policy(obs)[0], action, rtol=1e-5)
    with pytest.raises(InputError, match=r"expected \(4,\)"):
        policy(np.zeros(3, np.float32))


def test_samples_differ_between_calls_and_agree_between_policies_of_one_seed():
    a, b = Policy(discrete(temperature=5.0), seed=3), Policy(discrete(temperature=5.0), seed=3)
    many = np.zeros((200, 4), np.float32)
    first, second = a(many, deterministic=False), a(many, deterministic=False)
    assert (first != second).any()
    np.testing.assert_array_equal(first, b(many, deterministic=False))


@pytest.mark.parametrize("make", [discrete, continuous])
def test_single_and_batched_dictionary_observations_give_the_same_actions(make):
    policy, obs = Policy(make(TREE)), tree(5)
    batch = policy(obs)
    assert batch.shape == ((5,) if make is discrete else (5, 3))
    for i in range(5):
        one = {
            "goal": obs["goal"][i],
            "state": {"cell": int(obs["state"]["cell"][i]), "image": obs["state"]["image"][i]},
        }
        np.testing.assert_allclose(policy(one), batch[i], rtol=1e-5)


def test_tuple_observations_equal_dictionaries_keyed_by_position():
    policy = Policy(continuous(PAIR))
    places = np.random.default_rng(0).normal(size=(5, 2)), np.arange(5) % 3
    batch = policy(places)
    np.testing.assert_array_equal(policy({"0": places[0], "1": places[1]}), batch)
    assert policy((places[0][0], 0)).shape == (3,)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 2, 4), ()])
def test_observations_of_another_shape_are_refused(shape):
    with pytest.raises(InputError, match=r"Observations have shape .*expected \(4,\)"):
        Policy(discrete())(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    "obs",
    [
        np.zeros(4, np.float32),
        (np.zeros(2), np.zeros(2)),
        {"goal": np.zeros(2)},
        {"goal": np.zeros(2), "state": np.zeros(2)},
        {**tree(3), "more": np.zeros(3)},
        {**tree(3), "goal": np.zeros((3, 5))},
        {**tree(3), "goal": np.zeros(2)},
        {**tree(3), "goal": np.zeros((4, 2))},
    ],
    ids=["array", "tuple", "missing", "flat", "more", "shape", "one and many", "rows"],
)
def test_observations_of_another_structure_are_refused(obs):
    with pytest.raises(InputError, match=r"Observations have shape .*expected \{goal: \(2,\), state: \{cell: one of 3"):
        Policy(discrete(TREE))(obs)


def test_a_dictionary_is_refused_where_an_array_is_expected():
    with pytest.raises(InputError, match=r"Observations have shape \{'a': \(4,\)\}; expected \(4,\)"):
        Policy(discrete())({"a": np.zeros(4)})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("low", "high"), [(-1.2, 0.7), (-0.1, 0.3), (1 / 3, 2 / 3), (-1e6, 1e-3), (0.5, 0.5)])
def test_rounding_never_puts_an_action_outside_its_bounds(low, high, dtype):
    space = gym.spaces.Box(np.array([low, -1.0], dtype), np.array([high, 1.0], dtype), dtype=dtype)
    bounds = Bounds(tuple(space.low.tolist()), tuple(space.high.tolist()))
    model = continuous(ArraySpec((2,)), bounds)
    observations = np.float32([[1e4, 0.0], [-1e4, 0.0], [0.0, 1e4], [0.0, -1e4], [0.1, 0.1]])
    for action in (*Policy(model)(observations), *Policy(model)(observations, deterministic=False)):
        assert action.dtype == np.float32
        assert space.contains(action.astype(dtype)), (action, space)


def test_whole_actions_are_rounded():
    bounds = Bounds((-3.0, 0.0), (5.0, 2.0), whole=True)
    actions = Policy(continuous(ArraySpec((2,)), bounds))(np.eye(2), deterministic=False)
    assert (actions == np.rint(actions)).all()
    assert ActionScale(TaskSpec(ArraySpec((2,)), bounds)).executed(np.float32([[1.6, -0.4], [-9.0, 9.0]])).tolist() == [
        [2.0, 0.0],
        [-3.0, 2.0],
    ]


def test_fixed_action_coordinate_scales_to_zero_and_back_to_its_value():
    scale = ActionScale(TaskSpec(ArraySpec((2,)), Bounds((-1.0, 2.0), (3.0, 2.0))))
    unit = scale.to_unit(jnp.float32([[3.0, 2.0], [1.0, 2.0]]))
    assert unit.tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert scale.to_env(jnp.float32([[1.0, 0.7]])).tolist() == [[3.0, 2.0]]
