"""Small Markov decision processes whose soft-optimal Q, V and π are known exactly: the yardstick of every law.

Everything here is float64 NumPy on the host: it judges the code that uses JAX.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from iqlearn.envs.worlds.grid import GridWorld
from iqlearn.rewards.epic import correlation, pearson_distance


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


def of_grid(world: GridWorld, gamma: float) -> TabularMDP:
    """A grid world as a table: transition probabilities (S, A, S), uniform beginnings, no ends."""
    chosen = np.eye(world.cells)[world.moves()]
    transition = (1.0 - world.slip) * chosen + world.slip * chosen.mean(axis=1, keepdims=True)
    return TabularMDP(transition, np.full(world.cells, 1.0 / world.cells), np.zeros(world.cells, bool), gamma)


def epic_distance(
    first: Float[np.ndarray, "S A S"],
    second: Float[np.ndarray, "S A S"],
    gamma: float,
    transition: Float[np.ndarray, "S A S"] | None = None,
) -> float:
    """The exact distance of two tables R[s,a,s'], in [0, 1].

    Without `transition` it is EPIC with uniform coverage, on all S·A·S triples. A recovered reward knows nothing of
    the impossible ones, so this distance to the truth is large even if the reward explains the expert perfectly. With
    `transition`, P(s'|s,a), only possible ones count: S' ~ P(·|s,A), and C(R) = R + γV(s') − V(s), V the value of the
    uniformly random policy (value canonicalisation, Skalse et al., ICLR 2024). EPIC is the case where every action
    leads to a uniformly drawn state.
    """
    states = len(first)
    transition = np.full(first.shape, 1.0 / states) if transition is None else transition
    flow = transition.mean(axis=1)

    def shaped(reward: Float[np.ndarray, "S A S"]) -> Float[np.ndarray, " n"]:
        value = np.linalg.solve(np.eye(states) - gamma * flow, (transition * reward).sum(axis=2).mean(axis=1))
        return (reward + gamma * value - value[:, None, None]).ravel()

    return pearson_distance(correlation(shaped(first), shaped(second), transition.ravel()))


def state_reward(
    reward: Float[np.ndarray, "S A S"], transition: Float[np.ndarray, "S A S"], gamma: float
) -> Float[np.ndarray, " S"]:
    """The reward g(s') of entering each state, which remains when a potential is removed: r ≈ g(s') + γh(s') − h(s).

    Least squares over the possible transitions (Fu et al., ICLR 2018). If the true reward depends on s' alone, g of an
    exactly recovered reward equals it up to a constant. Unlike r, g is defined on impossible transitions too.
    """
    states = len(reward)
    here, _, there = (index.ravel() for index in np.indices(reward.shape))
    one = np.eye(states)
    system = np.concatenate([one[there], gamma * one[there] - one[here]], axis=1)
    root = np.sqrt(transition.ravel())[:, None]
    possible = root[:, 0] > 0.0
    wanted = (root[:, 0] * reward.ravel())[possible]
    return np.linalg.lstsq((root * system)[possible], wanted, rcond=1e-9)[0][:states]
