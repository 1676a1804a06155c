"""The states around the expert's that a warm start clones as well."""

from dataclasses import replace

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from iqlearn import Demos
from iqlearn.algorithms import InverseSoftActorCritic
from iqlearn.settings import Imitation, IQLearnContinuous, Network
from iqlearn.training import neighbours, on_device, warm_started
from iqlearn.training.neighbours import process_of, with_neighbours
from iqlearn.types import Bounds, TaskSpec

SPEC = TaskSpec((3,), Bounds((-2.0, -1.0), (2.0, 3.0)))
SMALL = Network(hidden=(32,), activation="silu")
SETTINGS = IQLearnContinuous(network=replace(SMALL, ensemble=2), actor=SMALL)


def wanted(obs: np.ndarray) -> np.ndarray:
    """What the expert does, in units of the environment."""
    return np.stack([2.0 * np.tanh(obs[:, 0] / 5.0), 1.0 + obs[:, 1]], axis=1).astype(np.float32)


@pytest.fixture
def demos() -> Demos:
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(60, 3)).astype(np.float32) * [5.0, 0.5, 0.0] + [0.0, 0.0, 7.0]
    obs = obs.astype(np.float32)
    n = len(obs)
    arrays = {"obs": obs, "act": wanted(obs), "next_obs": obs, "ep": np.zeros(n, int)}
    return Demos.from_arrays(arrays | {"term": np.zeros(n, bool), "trunc": np.arange(n) == n - 1})


@pytest.fixture
def state(demos):
    return InverseSoftActorCritic(SETTINGS).init(SPEC, demos.observation_scale(), jr.key(0))


def made(demos, state, reach: float = 0.3):
    return around(on_device([demos])[0], state, reach)


def around(demonstrations, state, reach: float):
    rng = np.random.default_rng(1)
    process = process_of(demonstrations, state.model, rng)
    assert process is not None
    return with_neighbours(demonstrations, state.model, process, reach, rng)


def test_half_are_the_experts_own_and_half_are_close_to_one_of_them(demos, state):
    rows = made(demos, state).transitions.rows
    obs, half = np.asarray(rows.obs), neighbours.ROWS
    assert len(obs) == 2 * half
    apart = np.abs(obs[:half, None] - demos.obs[None]).sum(axis=2)
    assert np.all(apart.min(axis=1) == 0.0)
    np.testing.assert_array_equal(rows.action[:half], demos.actions[apart.argmin(axis=1)])
    scaled = obs[half:, None, :2] / demos.obs[:, :2].std(axis=0) - demos.obs[None, :, :2] / demos.obs[:, :2].std(axis=0)
    nearest = np.sqrt((scaled**2).sum(axis=2).min(axis=1))
    assert nearest.min() > 0.0
    assert nearest.max() < 5 * 0.3  # standard deviations of a normal
    np.testing.assert_array_equal(obs[half:, 2], 7.0)  # what never varies stays


def test_their_actions_are_what_the_expert_would_do_in_units_of_the_environment(demos, state):
    rows = made(demos, state).transitions.rows
    obs, action = (np.asarray(x)[neighbours.ROWS :] for x in (rows.obs, rows.action))
    true = np.clip(wanted(obs), [-2.0, -1.0], [2.0, 3.0])
    assert np.sqrt(np.mean((action - true) ** 2)) < 0.03
    assert np.all(action >= [-2.0, -1.0])
    assert np.all(action <= [2.0, 3.0])


def test_padding_is_no_demonstration(demos, state):
    """Two seeds' demonstrations are padded to one size; the padding never enters."""
    padded = on_device([demos.subsample(2), demos])[0]
    rows = around(padded, state, 0.3).transitions.rows
    kept = {tuple(row) for row in demos.subsample(2).obs.tolist()}
    assert {tuple(row) for row in np.asarray(rows.obs)[: neighbours.ROWS].tolist()} <= kept


def test_where_there_is_plenty_nothing_is_made_up(demos, state, monkeypatch):
    monkeypatch.setattr(neighbours, "ENOUGH", 59)
    device = on_device([demos])[0]
    assert process_of(device, state.model, np.random.default_rng(1)) is None
    _, process = warm_started(SETTINGS, Imitation(warm_start=10, reach=0.3), state, device, jr.key(0))
    assert process is None


def test_the_warm_start_learns_them(demos, state):
    """Its clone is nearer to what the process says around the path than a clone of the path alone."""
    rows = made(demos, state, 1.0).transitions.rows
    obs, action = rows.obs[neighbours.ROWS :], rows.action[neighbours.ROWS :]

    def error(reach: float) -> float:
        imitation = Imitation(warm_start=5_000, reach=reach)
        cloned, _ = warm_started(SETTINGS, imitation, state, on_device([demos])[0], jr.key(0))
        return float(jnp.mean((cloned.model.act(obs) - action) ** 2))

    assert error(1.0) < 0.8 * error(0.0)


def test_made_up_states_of_whole_numbers_are_not_wrapped_around(demos):
    """Below 0 an unsigned byte would begin again at 255."""
    bytes_ = np.random.default_rng(2).integers(0, 12, size=demos.obs.shape).astype(np.uint8)
    arrays = {"obs": bytes_, "act": demos.act, "next_obs": bytes_, "ep": demos.ep, "term": demos.term}
    whole = Demos.from_arrays(arrays | {"trunc": demos.trunc})
    state = InverseSoftActorCritic(SETTINGS).init(SPEC, whole.observation_scale(), jr.key(0))
    obs = np.asarray(made(whole, state, reach=0.5).transitions.rows.obs)[neighbours.ROWS :]
    assert obs.min() < 0.0
    assert obs.max() < 12 + 0.5 * 5 * bytes_.std()
