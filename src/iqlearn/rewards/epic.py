"""EPIC: the distance of two rewards, without regard to shaping and scale (Gleave et al., ICLR 2021).

A reward R is first brought to its canonical form, in which every potential Φ of a shaping γΦ(s') − Φ(s) cancels:

    C(R)(s,a,s') = R(s,a,s') + γ·m(s') − m(s) − γ·E_S[m(S)],    m(s) = E_{A,S'}[R(s,A,S')],

with A and S, S' drawn from coverage distributions of actions and of states. The distance is √((1 − ρ)/2), ρ the
correlation of the two canonical forms. It is 0 for R and a·R + shaping + c with a > 0, 1 for R and −R, and 1/√2 for
rewards that have nothing in common.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Shaped

from iqlearn.rewards.base import rows_at
from iqlearn.rewards.correlations import pearson
from iqlearn.types import Obs, RewardFunction, Transitions, rows

BLOCK = 65_536
"""Largest number of transitions in one call of a reward function, unless the coverage of one state is larger."""


class Coverage(NamedTuple):
    """Draws of (S', A), one pair a row: the states and actions on which the rewards are compared.

    Rows are independent draws, or every pair once (`Coverage.every`), which gives the exact expectation.
    """

    state: Obs
    action: Shaped[np.ndarray, "k *act"]

    @staticmethod
    def every(states: Obs, actions: Shaped[np.ndarray, "a *act"]) -> Coverage:
        """Return each of the states with each of the actions."""
        state, action = (index.ravel() for index in np.indices((rows(states), len(actions))))
        return Coverage(rows_at(states, state), actions[action])


def canonical(
    reward: RewardFunction, transitions: Transitions, coverage: Coverage, gamma: float
) -> Float[np.ndarray, " n"]:
    """Return C(R) of each transition, float64. It evaluates at most n + k·(2n + k) rewards; the coverage has k rows.

    The coverage's transitions have no ends. At a true end of `transitions` there is no potential of s' to cancel, so
    γ·m(s') is left out.
    """
    follows = ~np.asarray(transitions.terminal)
    here, there, everywhere = (
        mean_rewards(reward, states, coverage) for states in (transitions.obs, transitions.next_obs, coverage.state)
    )
    own = np.asarray(reward(transitions), np.float64)
    return own + gamma * follows * there - here - gamma * everywhere.mean()


def mean_rewards(reward: RewardFunction, states: Obs, coverage: Coverage) -> Float[np.ndarray, " n"]:
    """Return m(s) = E_{A,S'}[R(s,A,S')] over the coverage. It is computed in blocks, once for equal states."""
    states = jax.tree.map(np.asarray, states)
    flat = np.concatenate([x.reshape(len(x), -1) for x in jax.tree.leaves(states)], axis=1)
    _, distinct, place = np.unique(flat, axis=0, return_index=True, return_inverse=True)
    blocks = _crossed(rows_at(states, distinct), coverage)
    means = [reward(block).reshape(-1, rows(coverage.state)).mean(axis=1) for block in blocks]
    return np.concatenate(means, dtype=np.float64)[place.reshape(-1)]


def _crossed(states: Obs, coverage: Coverage) -> Iterator[Transitions]:
    """Yield blocks of (s, A, S'): every state with every row of the coverage."""
    size = rows(coverage.state)
    chunk = max(BLOCK // size, 1)
    for start in range(0, rows(states), chunk):
        n = min(chunk, rows(states) - start)
        here, draw = (index.ravel() for index in np.indices((n, size)))
        reached, action, terminal = rows_at((*coverage, np.zeros(size, bool)), draw)
        yield Transitions(rows_at(states, start + here), action, reached, terminal)


def correlation(
    first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"] | None = None
) -> float:
    """Return Pearson's weighted correlation; 0 if one side is constant, which has no information about the other."""
    return pearson(first, second, weights) or 0.0


def pearson_distance(rho: float) -> float:
    """Return √((1 − ρ)/2), from 0 to 1; a metric (Gleave et al., lemma 4.5)."""
    return float(np.sqrt((1.0 - rho) / 2.0))


def epic_distance(
    first: RewardFunction, second: RewardFunction, transitions: Transitions, coverage: Coverage, gamma: float
) -> float:
    """Return the EPIC distance of two rewards on these transitions, in [0, 1].

    Args:
        first, second: the rewards. Both are evaluated on transitions (s, A, S') that the environment may never make.
        transitions: draws from the coverage distribution of (s, a, s'), on which the canonical rewards are compared.
        coverage: draws of (S', A) for the canonical form. Shaping cancels exactly for any draws, unless transitions
            have true ends: there Φ(s') is not added, and a shaping with a large mean Φ counts as a difference.
        gamma: the discount of the shaping that the distance ignores.

    >>> run = iq.learn(iq.IQLearn(), demos)
    >>> epic_distance(run.reward, truth, demos.transitions, Coverage(demos.next_obs, demos.act), gamma=0.99)
    """
    return pearson_distance(correlation(*(canonical(r, transitions, coverage, gamma) for r in (first, second))))
