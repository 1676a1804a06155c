"""The distance between the states of a policy and those of the expert. No reward is read."""

import numpy as np
import pytest

from iqlearn.evaluation.occupancy import SAMPLE, ExpertStates, Visited, alone, mean_distance, timeline
from iqlearn.types import ArraySpec

SPEC = ArraySpec((3,))


def states(n: int = 400, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(n, 3)) * [1.0, 20.0, 0.1]).astype(np.float32)


class Familiar:
    """Distances to the states of an expert whose episodes never terminate."""

    def __init__(self, expert, spec=SPEC) -> None:
        self._states = ExpertStates(alone(expert), spec, 10_000)

    def distance(self, obs) -> float:
        return self._states.distance(alone(obs))


familiar_with = Familiar


def test_distance_of_equal_states_is_zero():
    assert familiar_with(states()).distance(states()) == pytest.approx(0.0, abs=1e-3)


def test_distance_of_two_samples_of_one_distribution_is_small():
    assert familiar_with(states()).distance(states(seed=1)) < 0.06


def test_the_distance_grows_with_a_shift_in_any_coordinate():
    familiar, obs = familiar_with(states()), states(seed=1)
    for direction in np.diag([1.0, 20.0, 0.1]).astype(np.float32):
        distances = [familiar.distance(obs + size * direction) for size in (0.0, 0.5, 1.0, 2.0, 4.0)]
        assert (np.diff(distances) > 0).all()
        assert distances[-1] > 10 * distances[0]


def test_distance_is_positive_for_narrower_and_wider_states():
    familiar, obs = familiar_with(states()), states(seed=1)
    assert familiar.distance(0.3 * obs) > 0.1
    assert familiar.distance(3.0 * obs) > 0.1


def test_distance_is_deterministic_and_not_negative():
    familiar, obs = familiar_with(states()), states(50, seed=2)
    assert familiar.distance(obs) == familiar.distance(obs) == familiar_with(states()).distance(obs)
    assert familiar.distance(obs) >= 0.0


def test_timeline_subsamples_many_steps_evenly():
    few, absorbed = timeline(np.array([6 * SAMPLE, 4 * SAMPLE]), np.array([0, 0]))
    assert not absorbed.any()
    assert len(few) == SAMPLE
    assert (few[0], few[-1]) == (0, 10 * SAMPLE - 1)
    assert np.ptp(np.diff(few)) <= 1
    assert timeline(np.array([2, 3]), np.array([0, 0]))[0].tolist() == [0, 1, 2, 3, 4]


def test_timeline_adds_absorbing_steps_after_termination():
    row, absorbed = timeline(np.array([2, 3, 1]), np.array([2, 0, 1]))
    assert row.tolist() == [0, 1, 1, 1, 2, 3, 4, 5, 5]
    assert np.flatnonzero(absorbed).tolist() == [2, 3, 8]


@pytest.mark.parametrize("expert_ends", [False, True])
def test_episodes_that_end_too_early_or_too_late_are_far_from_the_expert(expert_ends):
    """The states are the same; only the ends of the episodes differ."""
    obs = np.tile(states(50), (8, 1))

    def played(length: int, ended: bool) -> Visited:
        return Visited(obs, np.full(400 // length, length), np.full(400 // length, ended))

    expert = ExpertStates(played(50 if expert_ends else 200, expert_ends), SPEC, 200)
    distances = [expert.distance(played(*kind)) for kind in ((50, True), (100, True), (200, False))]
    order = np.argsort(distances).tolist()
    assert order == ([0, 1, 2] if expert_ends else [2, 1, 0])
    assert min(distances) == pytest.approx(0.0, abs=0.02)
    assert sorted(distances)[1] > 0.2


def test_each_row_of_subsampled_episodes_counts_for_several_steps():
    whole = Visited(states(100), np.array([100]), np.array([True]))
    few = Visited(states(100)[::10], np.array([10]), np.array([True]), 10)
    assert (
        ExpertStates(few, SPEC, 200).distance(whole)
        < 0.1
        < ExpertStates(few._replace(every=1), SPEC, 200).distance(whole)
    )


def test_mean_distance_matches_values_by_hand():
    a, b = np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[0.0, 0.0]])
    assert mean_distance(a, b) == pytest.approx(2.5)
    assert mean_distance(a, a) == pytest.approx(2.5)


def test_distance_covers_nested_and_categorical_observations():
    spec = {"cell": ArraySpec((), "int32", 4), "place": SPEC}
    obs = {"cell": np.arange(400, dtype=np.int32) % 2, "place": states()}
    familiar = Familiar(obs, spec)
    assert familiar.distance(obs) == pytest.approx(0.0, abs=1e-3)
    assert familiar.distance({**obs, "place": states() + 1.0}) > 0.1
    assert familiar.distance({**obs, "cell": obs["cell"] + 2}) > 0.1


def test_one_outlier_hardly_changes_the_distance():
    obs = states()
    far = obs.copy()
    far[0] = 1e9
    assert familiar_with(obs).distance(far) < 0.1
