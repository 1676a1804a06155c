"""The distance of what a policy visits to what the expert visited; no reward is read."""

import numpy as np
import pytest

from iqlearn.evaluation.occupancy import SAMPLE, ExpertStates, mean_distance, thinned
from iqlearn.types import ArraySpec

SPEC = ArraySpec((3,))


def states(n: int = 400, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(n, 3)) * [1.0, 20.0, 0.1]).astype(np.float32)


def familiar_with(expert: np.ndarray) -> ExpertStates:
    return ExpertStates(expert, SPEC)


def test_the_same_states_are_no_distance_apart():
    assert familiar_with(states()).distance(states()) == pytest.approx(0.0, abs=1e-3)


def test_other_states_of_the_same_distribution_are_hardly_any_distance_apart():
    assert familiar_with(states()).distance(states(seed=1)) < 0.06


def test_the_distance_grows_with_a_shift_in_any_coordinate():
    familiar, obs = familiar_with(states()), states(seed=1)
    for direction in np.diag([1.0, 20.0, 0.1]).astype(np.float32):
        distances = [familiar.distance(obs + size * direction) for size in (0.0, 0.5, 1.0, 2.0, 4.0)]
        assert (np.diff(distances) > 0).all()
        assert distances[-1] > 10 * distances[0]


def test_narrower_and_wider_states_are_apart_too():
    familiar, obs = familiar_with(states()), states(seed=1)
    assert familiar.distance(0.3 * obs) > 0.1
    assert familiar.distance(3.0 * obs) > 0.1


def test_it_repeats_and_is_never_negative():
    familiar, obs = familiar_with(states()), states(50, seed=2)
    assert familiar.distance(obs) == familiar.distance(obs) == familiar_with(states()).distance(obs)
    assert familiar.distance(obs) >= 0.0


def test_many_states_are_thinned_evenly():
    rows = np.arange(10 * SAMPLE)[:, None]
    few = thinned(rows)
    assert len(few) == SAMPLE
    assert (few[0, 0], few[-1, 0]) == (0, 10 * SAMPLE - 1)
    assert np.ptp(np.diff(few[:, 0])) <= 1
    assert thinned(rows[:5]).tolist() == rows[:5].tolist()
    assert {part.shape for part in thinned({"a": rows, "b": rows[:, 0]}).values()} == {(SAMPLE, 1), (SAMPLE,)}


def test_mean_distance_by_hand():
    a, b = np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[0.0, 0.0]])
    assert mean_distance(a, b) == pytest.approx(2.5)
    assert mean_distance(a, a) == pytest.approx(2.5)


def test_trees_and_categories_are_measured_too():
    spec = {"cell": ArraySpec((), "int32", 4), "place": SPEC}
    obs = {"cell": np.arange(400, dtype=np.int32) % 2, "place": states()}
    familiar = ExpertStates(obs, spec)
    assert familiar.distance(obs) == pytest.approx(0.0, abs=1e-3)
    assert familiar.distance({**obs, "place": states() + 1.0}) > 0.1
    assert familiar.distance({**obs, "cell": obs["cell"] + 2}) > 0.1


def test_one_outlier_does_not_decide():
    obs = states()
    far = obs.copy()
    far[0] = 1e9
    assert familiar_with(obs).distance(far) < 0.1
