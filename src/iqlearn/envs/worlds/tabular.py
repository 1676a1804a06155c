"""Small Markov decision processes whose soft-optimal Q, V and π are known exactly: the yardstick of every law.

Everything here is float64 on the host, without JAX: it judges the code that uses JAX.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class TabularMDP(NamedTuple):
    """States 0…S−1, actions 0…A−1. A `terminal` state is entered and then the episode is over: its value is 0."""

    transition: Float[np.ndarray, "S A S"]
    """P(s'|s,a), rows sum to 1."""
    initial: Float[np.ndarray, " S"]
    """Distribution of s0."""
    terminal: Bool[np.ndarray, " S"]
    gamma: float


class SoftSolution(NamedTuple):
    """The soft-optimal solution of a reward."""

    q: Float[np.ndarray, "S A"]
    v: Float[np.ndarray, " S"]
    policy: Float[np.ndarray, "S A"]


class Rows(NamedTuple):
    """Transitions as rows: a finite sample, or one whose frequencies *are* the occupancy."""

    state: Int[np.ndarray, " n"]
    action: Int[np.ndarray, " n"]
    next_state: Int[np.ndarray, " n"]
    terminal: Bool[np.ndarray, " n"]


def soft_backup(
    mdp: TabularMDP, reward: Float[np.ndarray, "S A"], v: Float[np.ndarray, " S"]
) -> Float[np.ndarray, "S A"]:
    """The soft Bellman operator: r(s,a) + γ·E[V(s')], with V = 0 in terminal states."""
    return reward + mdp.gamma * mdp.transition @ np.where(mdp.terminal, 0.0, v)


def inverse_backup(
    mdp: TabularMDP, q: Float[np.ndarray, "S A"], v: Float[np.ndarray, " S"]
) -> Float[np.ndarray, "S A"]:
    """The inverse soft Bellman operator: Q(s,a) − γ·E[V(s')], the reward that belongs to Q."""
    return q - mdp.gamma * mdp.transition @ np.where(mdp.terminal, 0.0, v)


def soft_optimal(
    mdp: TabularMDP, reward: Float[np.ndarray, "S A"], temperature: float, tolerance: float = 1e-13
) -> SoftSolution:
    """Soft value iteration to the fixed point (a contraction with factor γ)."""
    v = np.zeros(len(mdp.initial))
    while True:
        q = soft_backup(mdp, reward, v)
        peak = q.max(axis=1)
        weights = np.exp((q - peak[:, None]) / temperature)
        new = peak + temperature * np.log(weights.sum(axis=1))
        if np.abs(new - v).max() < tolerance:
            return SoftSolution(q, new, weights / weights.sum(axis=1, keepdims=True))
        v = new


def occupancy(mdp: TabularMDP, policy: Float[np.ndarray, "S A"]) -> Float[np.ndarray, "S A"]:
    """Discounted occupancy ρ(s,a) = (1−γ)·Σ_t γ^t P(s_t=s, a_t=a) over the non-terminal states.

    Its sum is 1 without terminal states, and less with them: what is missing is time after the end.
    """
    alive = ~mdp.terminal
    flow = np.einsum("sa,sat->st", policy, mdp.transition)[np.ix_(alive, alive)]
    visits = np.linalg.solve(np.eye(alive.sum()) - mdp.gamma * flow.T, (1.0 - mdp.gamma) * mdp.initial[alive])
    states = np.zeros(len(alive))
    states[alive] = visits
    return states[:, None] * policy


def as_rows(mdp: TabularMDP, rho: Float[np.ndarray, "S A"], n: int) -> Rows:
    """About n transitions whose frequencies are ρ(s,a)·P(s'|s,a) up to rounding by half a row each."""
    joint = rho[:, :, None] * mdp.transition
    counts = np.rint(n * joint / joint.sum()).astype(int)
    state, action, next_state = (np.repeat(index, counts.ravel()) for index in np.indices(counts.shape).reshape(3, -1))
    return Rows(state, action, next_state, mdp.terminal[next_state])
