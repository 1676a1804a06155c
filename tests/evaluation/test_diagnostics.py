"""The distance of what a policy visits to what the expert visited; no reward is read."""

import numpy as np
import pytest

from iqlearn.data import Demos
from iqlearn.evaluation import Familiar
from iqlearn.evaluation.diagnostics import SAMPLE, mean_distance, thinned


def demos(n: int = 400, seed: int = 0) -> Demos:
    obs = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32) * [1.0, 20.0, 0.1]
    ends = np.zeros(n, bool)
    arrays = {"obs": obs, "act": np.zeros((n, 1), np.float32), "next_obs": obs, "term": ends, "trunc": ends}
    return Demos.from_arrays({**arrays, "obs": obs.astype(np.float32), "ep": np.zeros(n, int)})


def familiar_with(expert: Demos) -> Familiar:
    return Familiar(expert.obs, expert.observation_scale())


def test_the_same_states_are_no_distance_apart():
    assert familiar_with(demos()).distance(demos().obs) == pytest.approx(0.0, abs=1e-3)


def test_other_states_of_the_same_distribution_are_hardly_any_distance_apart():
    assert familiar_with(demos()).distance(demos(seed=1).obs) < 0.06


def test_the_distance_grows_with_a_shift_in_any_coordinate():
    familiar, obs = familiar_with(demos()), demos(seed=1).obs
    for direction in np.diag([1.0, 20.0, 0.1]).astype(np.float32):
        distances = [familiar.distance(obs + size * direction) for size in (0.0, 0.5, 1.0, 2.0, 4.0)]
        assert (np.diff(distances) > 0).all()
        assert distances[-1] > 10 * distances[0]


def test_narrower_and_wider_states_are_apart_too():
    familiar, obs = familiar_with(demos()), demos(seed=1).obs
    assert familiar.distance(0.3 * obs) > 0.1
    assert familiar.distance(3.0 * obs) > 0.1


def test_it_repeats_and_is_never_negative():
    familiar, obs = familiar_with(demos()), demos(50, seed=2).obs
    assert familiar.distance(obs) == familiar.distance(obs) == familiar_with(demos()).distance(obs)
    assert familiar.distance(obs) >= 0.0


def test_many_states_are_thinned_evenly():
    rows = np.arange(10 * SAMPLE)[:, None]
    few = thinned(rows)
    assert len(few) == SAMPLE
    assert (few[0, 0], few[-1, 0]) == (0, 10 * SAMPLE - 1)
    assert np.ptp(np.diff(few[:, 0])) <= 1
    assert thinned(rows[:5]).tolist() == rows[:5].tolist()


def test_mean_distance_by_hand():
    a, b = np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[0.0, 0.0]])
    assert mean_distance(a, b) == pytest.approx(2.5)
    assert mean_distance(a, a) == pytest.approx(2.5)


def test_discrete_tasks_are_measured_as_their_networks_see_them(cartpole):
    familiar = familiar_with(cartpole)
    assert familiar.distance(cartpole.obs) == pytest.approx(0.0, abs=1e-3)
    assert familiar.distance(cartpole.obs + 1.0) > 0.5
