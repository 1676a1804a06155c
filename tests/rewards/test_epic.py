"""EPIC distance: its invariances, its sensitivity and its range."""

import numpy as np
import pytest
import tabular

from iqlearn.rewards import epic
from iqlearn.rewards.epic import Coverage, correlation, epic_distance
from iqlearn.types import Transitions

GAMMA = 0.9
LARGEST = np.sqrt(0.5)
"""√(1/2): the distance of uncorrelated rewards."""


def batch(n: int = 400, seed: int = 0) -> Transitions:
    """Transitions with 2-D states and 1-D actions, drawn at random."""
    rng = np.random.default_rng(seed)
    obs, next_obs, action = (rng.normal(size=(n, k)).astype(np.float32) for k in (2, 2, 1))
    return Transitions(obs, action, next_obs, np.zeros(n, bool))


def coverage(k: int = 50, seed: int = 1) -> Coverage:
    rng = np.random.default_rng(seed)
    return Coverage(rng.normal(size=(k, 2)).astype(np.float32), rng.normal(size=(k, 1)).astype(np.float32))


def first(rows: Transitions) -> np.ndarray:
    return np.asarray(np.sin(rows.obs[:, 0]) * rows.action[:, 0] + rows.next_obs[:, 1], np.float64)


def second(rows: Transitions) -> np.ndarray:
    return np.asarray(np.cos(2 * rows.obs[:, 1]) * rows.action[:, 0] ** 2 + rows.next_obs[:, 0], np.float64)


def potential(obs) -> np.ndarray:
    return np.asarray(obs[:, 0] ** 2 + 3 * np.sin(obs[:, 1]), np.float64)


def altered(rows: Transitions) -> np.ndarray:
    """The first reward: scaled, shaped and shifted."""
    return 3.0 * first(rows) + GAMMA * potential(rows.next_obs) - potential(rows.obs) + 7.0


def distance(a, b, gamma: float = GAMMA) -> float:
    return epic_distance(a, b, batch(), coverage(), gamma)


def test_distance_is_invariant_to_scale_shaping_and_constants():
    assert distance(first, altered) < 1e-6
    assert distance(second, altered) == pytest.approx(distance(second, first), abs=1e-6)


def test_distance_detects_shaping_with_another_discount():
    assert distance(first, altered, gamma=0.5) > 0.05


def test_distance_to_the_negated_reward_is_1():
    assert distance(first, lambda rows: -altered(rows)) == pytest.approx(1.0)


def test_distance_is_symmetric_and_obeys_the_triangle_inequality():
    def third(rows: Transitions) -> np.ndarray:
        return first(rows) + 0.5 * second(rows)

    assert distance(first, second) == distance(second, first)
    assert 0.0 < distance(first, third) < distance(first, second) < 1.0
    assert distance(first, second) <= distance(first, third) + distance(third, second)


def test_distance_to_a_constant_or_to_pure_shaping_is_the_uncorrelated_one():
    def shaping_alone(rows: Transitions) -> np.ndarray:
        return GAMMA * potential(rows.next_obs) - potential(rows.obs)

    assert distance(first, lambda rows: np.ones(len(rows.obs))) == pytest.approx(LARGEST)
    assert distance(first, shaping_alone) == pytest.approx(LARGEST, abs=0.05)


def test_canonical_reward_does_not_depend_on_the_block_size(monkeypatch):
    whole = epic.canonical(first, batch(), coverage(), GAMMA)
    monkeypatch.setattr(epic, "BLOCK", 120)
    sizes = []

    def counted(rows: Transitions) -> np.ndarray:
        sizes.append(len(rows.obs))
        return first(rows)

    np.testing.assert_allclose(epic.canonical(counted, batch(), coverage(), GAMMA), whole)
    assert sorted(sizes)[-2] <= 120, "all but the transitions themselves come in blocks"


def test_canonical_reward_has_no_next_potential_after_termination():
    rows = batch(4)
    ended = rows._replace(terminal=np.array([True, False, True, False]))
    whole, cut = (epic.canonical(first, r, coverage(), GAMMA) for r in (rows, ended))
    there = epic.mean_rewards(first, rows.next_obs, coverage())
    np.testing.assert_allclose(whole - cut, GAMMA * there * [1, 0, 1, 0])


def test_distance_of_functions_matches_the_tabular_distance():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 4, 3, 4))
    states, actions = np.arange(4, dtype=np.float32)[:, None], np.arange(3)
    s, c, t = np.indices((4, 3, 4)).reshape(3, -1)
    rows = Transitions(states[s], c, states[t], np.zeros(len(s), bool))

    def of(table):
        return lambda r: table[r.obs[:, 0].astype(int), r.action, r.next_obs[:, 0].astype(int)]

    found = epic_distance(of(a), of(b), rows, Coverage.every(states, actions), GAMMA)
    assert found == pytest.approx(tabular.epic_distance(a, b, GAMMA))


def random_world(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Transition probabilities, a reward R[s,a,s'], a potential; no transition to s' = s is possible."""
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.ones(5), (5, 3)) * (1.0 - np.eye(5)[:, None, :])
    transition /= transition.sum(axis=2, keepdims=True)
    return transition, rng.normal(size=(5, 3, 5)), rng.normal(size=5)


@pytest.mark.parametrize("of_the_world", [False, True])
def test_tabular_distance_is_symmetric_and_invariant_to_scale_and_shaping(of_the_world):
    transition, reward, phi = random_world(1)
    world = transition if of_the_world else None
    same = 2.0 * reward + GAMMA * phi - phi[:, None, None] - 4.0
    assert tabular.epic_distance(reward, same, GAMMA, world) < 1e-6
    assert tabular.epic_distance(reward, -same, GAMMA, world) == pytest.approx(1.0)
    other = np.random.default_rng(2).normal(size=reward.shape)
    there, back = tabular.epic_distance(reward, other, GAMMA, world), tabular.epic_distance(other, reward, GAMMA, world)
    assert there == pytest.approx(back)
    assert 0.3 < there < 1.0


def test_only_the_distance_under_the_dynamics_ignores_impossible_transitions():
    transition, reward, _ = random_world(3)
    impossible = np.where(transition == 0.0, 10.0, reward)
    assert tabular.epic_distance(reward, impossible, GAMMA, transition) < 1e-6
    assert tabular.epic_distance(reward, impossible, GAMMA) > 0.1


def test_distances_with_and_without_dynamics_agree_for_uniform_transitions():
    _, a, _ = random_world(4)
    b = np.random.default_rng(5).normal(size=a.shape)
    uniform = np.full(a.shape, 1 / 5)
    assert tabular.epic_distance(a, b, GAMMA, uniform) == pytest.approx(tabular.epic_distance(a, b, GAMMA))


def test_state_reward_is_recovered_from_a_shaped_reward():
    transition, _, phi = random_world(6)
    of_state = np.random.default_rng(7).normal(size=5)
    shaped = of_state + GAMMA * phi - phi[:, None, None]
    shaped = np.where(transition > 0.0, shaped, 99.0)
    found = tabular.state_reward(shaped, transition, GAMMA)
    assert np.ptp(found - of_state) < 1e-8


def test_weighted_correlation_matches_repeated_rows():
    rng = np.random.default_rng(8)
    a, b, times = rng.normal(size=20), rng.normal(size=20), rng.integers(1, 5, 20)
    repeated = np.corrcoef(np.repeat(a, times), np.repeat(b, times))[0, 1]
    assert correlation(a, b, times.astype(float)) == pytest.approx(repeated)
    assert correlation(a, np.full(20, 0.1)) == 0.0


def test_shaped_rewards_have_zero_distance_and_the_same_soft_optimal_policy():
    """Shaping with any potential changes neither the policy nor the distance."""
    transition, reward, phi = random_world(9)
    mdp = tabular.TabularMDP(transition, np.full(5, 0.2), np.zeros(5, bool), GAMMA)
    shaped = reward + GAMMA * phi - phi[:, None, None]
    policies = [tabular.soft_optimal(mdp, (transition * r).sum(axis=2), 0.3).policy for r in (reward, shaped)]
    assert np.abs(policies[0] - policies[1]).max() < 1e-9
    assert tabular.epic_distance(reward, shaped, GAMMA, transition) < 1e-6


def test_canonical_reward_of_nested_observations_matches_flat_ones():
    """A dictionary with an image and a category gives the same numbers as one flat vector."""
    rng = np.random.default_rng(10)
    image, cell = rng.integers(0, 3, (2, 60, 2)).astype(np.uint8), rng.integers(0, 3, (2, 60)).astype(np.int32)
    obs, next_obs = ({"image": image[i], "cell": {"at": cell[i]}} for i in range(2))
    action, ends = rng.integers(0, 3, 60), np.zeros(60, bool)

    def flat(parts):
        return np.concatenate([parts["image"], parts["cell"]["at"][:, None]], axis=1)

    def of_rows(rows: Transitions) -> np.ndarray:
        return np.asarray(np.sin(rows.obs @ [1.0, 2.0, 3.0]) * rows.action + np.cos(rows.next_obs @ [3.0, 1.0, 2.0]))

    def of_parts(rows: Transitions) -> np.ndarray:
        assert rows.obs["image"].dtype == np.uint8
        return of_rows(rows._replace(obs=flat(rows.obs), next_obs=flat(rows.next_obs)))

    parts = epic.canonical(of_parts, Transitions(obs, action, next_obs, ends), Coverage(next_obs, action), GAMMA)
    plain = Transitions(flat(obs), action, flat(next_obs), ends)
    np.testing.assert_allclose(parts, epic.canonical(of_rows, plain, Coverage(flat(next_obs), action), GAMMA))
    every = Coverage.every(obs, np.arange(3))
    assert every.state["cell"]["at"].shape == every.action.shape == (180,)
