"""EPIC: how far two rewards are apart when shaping and scale do not count (Gleave et al., ICLR 2021).

A reward R is first brought to its canonical form, in which every potential Φ of a shaping γΦ(s') − Φ(s) cancels:

    C(R)(s,a,s') = R(s,a,s') + γ·m(s') − m(s) − γ·E_S[m(S)],    m(s) = E_{A,S'}[R(s,A,S')],

with A and S, S' drawn from coverage distributions of actions and of states. The distance is √((1 − ρ)/2), ρ the
correlation of the two canonical forms: 0 for R and a·R + shaping + c with a > 0, 1 for R and −R, 1/√2 for rewards that
have nothing in common.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from iqlearn.evaluation.comparison import pearson
from iqlearn.types import RewardFunction, Transitions, on_host

BLOCK = 65_536
"""Transitions a call of a reward function, at most (or one state's coverage, where that is more)."""


class Coverage(NamedTuple):
    """Draws of (S', A), a pair a row: states and actions on which the rewards are to be told apart.

    Rows are independent draws, or every pair once (`Coverage.every`), which is the exact expectation.
    """

    state: Shaped[np.ndarray, "k *obs"]
    action: Shaped[np.ndarray, "k *act"]

    @staticmethod
    def every(states: Shaped[np.ndarray, "s *obs"], actions: Shaped[np.ndarray, "a *act"]) -> "Coverage":
        """Each of the states with each of the actions."""
        return Coverage(np.repeat(states, len(actions), axis=0), np.concatenate([actions] * len(states)))


def canonical(
    reward: RewardFunction, transitions: Transitions, coverage: Coverage, gamma: float
) -> Float[np.ndarray, " n"]:
    """C(R) of each transition, float64. It costs the reward of k·(2n + k) transitions, k the rows of the coverage.

    The coverage's transitions have no ends. Where one of `transitions` truly ended there is no s' and no potential of
    it to cancel, so γ·m(s') is left out.
    """
    obs, next_obs = np.asarray(transitions.obs), np.asarray(transitions.next_obs)
    follows = ~np.asarray(transitions.terminal)
    here, there = mean_rewards(reward, obs, coverage), mean_rewards(reward, next_obs, coverage)
    everywhere = mean_rewards(reward, coverage.state, coverage).mean()
    told = np.asarray(reward(transitions), np.float64)
    return told + gamma * follows * there - here - gamma * everywhere


def mean_rewards(
    reward: RewardFunction, states: Shaped[np.ndarray, "n *obs"], coverage: Coverage
) -> Float[np.ndarray, " n"]:
    """m(s) = E_{A,S'}[R(s,A,S')] over the coverage, block by block; equal states are computed once."""
    distinct, place = np.unique(states.reshape(len(states), -1), axis=0, return_inverse=True)
    distinct = distinct.reshape(-1, *states.shape[1:])
    means = [reward(rows).reshape(-1, len(coverage.state)).mean(axis=1) for rows in _crossed(distinct, coverage)]
    return np.concatenate(means, dtype=np.float64)[place.reshape(-1)]


def _crossed(states: Shaped[np.ndarray, "n *obs"], coverage: Coverage) -> Iterator[Transitions]:
    """Blocks of (s, A, S'): every state with every row of the coverage."""
    size = len(coverage.state)
    chunk = max(BLOCK // size, 1)
    for start in range(0, len(states), chunk):
        block = states[start : start + chunk]
        action, reached = (np.concatenate([x] * len(block)) for x in (coverage.action, coverage.state))
        yield on_host(np.repeat(block, size, axis=0), action, reached, np.zeros(len(action), bool))


def correlation(
    first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"] | None = None
) -> float:
    """Pearson's, with weights; 0 where one side is constant: it tells nothing about the other."""
    return pearson(first, second, weights) or 0.0


def pearson_distance(rho: float) -> float:
    """√((1 − ρ)/2), from 0 to 1; a metric (Gleave et al., lemma 4.5)."""
    return float(np.sqrt((1.0 - rho) / 2.0))


def epic_distance(
    first: RewardFunction, second: RewardFunction, transitions: Transitions, coverage: Coverage, gamma: float
) -> float:
    """The EPIC distance of two rewards on these transitions, in [0, 1].

    Args:
        first, second: the rewards; both are asked about transitions (s, A, S') that the environment may never make.
        transitions: where the canonical rewards are compared, the coverage distribution of (s, a, s').
        coverage: draws of (S', A) for the canonical form; shaping cancels exactly for any.
        gamma: the discount of the shaping that does not count.

    >>> run = iq.learn(iq.IQLearn(), demos)
    >>> epic_distance(run.reward, truth, demos.transitions, Coverage(demos.next_obs, demos.act), gamma=0.99)
    """
    canonical_first, canonical_second = (canonical(reward, transitions, coverage, gamma) for reward in (first, second))
    return pearson_distance(correlation(canonical_first, canonical_second))


def tabular_epic_distance(
    first: Float[np.ndarray, "S A S"],
    second: Float[np.ndarray, "S A S"],
    gamma: float,
    transition: Float[np.ndarray, "S A S"] | None = None,
) -> float:
    """The exact distance of two tables R[s,a,s'], in [0, 1].

    Without `transition` it is EPIC with uniform coverage of states and actions, on all S·A·S triples, also those that
    no environment makes. Of these a recovered reward knows nothing, so that it is far from the truth in this sense even
    where it explains the expert perfectly. With `transition`, P(s'|s,a), only what the environment can do is asked:
    S' ~ P(·|s,A), and C(R) = R + γV(s') − V(s), V the value of the uniformly random policy (the value
    canonicalisation of Skalse et al., ICLR 2024). One formula: EPIC is the same in a world where every action leads to
    a state drawn uniformly.
    """
    states = len(first)
    if transition is None:
        transition = np.full(first.shape, 1.0 / states)
    flow = transition.mean(axis=1)

    def shaped(reward: Float[np.ndarray, "S A S"]) -> Float[np.ndarray, " n"]:
        value = np.linalg.solve(np.eye(states) - gamma * flow, (transition * reward).sum(axis=2).mean(axis=1))
        return (reward + gamma * value - value[:, None, None]).ravel()

    return pearson_distance(correlation(shaped(first), shaped(second), transition.ravel()))


def tabular_state_reward(
    reward: Float[np.ndarray, "S A S"], transition: Float[np.ndarray, "S A S"], gamma: float
) -> Float[np.ndarray, " S"]:
    """The reward g(s') of entering each state that is left when a potential is taken out: r ≈ g(s') + γh(s') − h(s).

    The decomposition of Fu et al. (ICLR 2018), by least squares over the transitions that are possible. Where the true
    reward is of s' alone, an exactly recovered one gives it back up to a constant. Unlike r it says something of
    transitions that the environment never makes, as EPIC asks.
    """
    states = len(reward)
    here, _, there = (index.ravel() for index in np.indices(reward.shape))
    one = np.eye(states)
    system = np.concatenate([one[there], gamma * one[there] - one[here]], axis=1)
    root = np.sqrt(transition.ravel())[:, None]
    possible = root[:, 0] > 0.0
    wanted = (root[:, 0] * reward.ravel())[possible]
    return np.linalg.lstsq((root * system)[possible], wanted, rcond=1e-9)[0][:states]
