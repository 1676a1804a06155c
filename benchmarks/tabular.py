"""Small Markov decision processes whose soft-optimal Q, V and π are known exactly: the reference of `tests/laws`.

Everything here is float64 NumPy. The code that uses JAX is checked against it.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from iqlearn.envs.worlds.grid import GridWorld
from iqlearn.rewards.epic import correlation, pearson_distance


class TabularMDP(NamedTuple):
    """States 0…S−1, actions 0…A−1. Entering a `terminal` state ends the episode; its value is 0."""

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
    """Transitions as rows: a finite sample, or one whose frequencies are equal to the occupancy."""

    state: Int[np.ndarray, " n"]
    action: Int[np.ndarray, " n"]
    next_state: Int[np.ndarray, " n"]
    terminal: Bool[np.ndarray, " n"]


def soft_backup(
    mdp: TabularMDP, reward: Float[np.ndarray, "S A"], v: Float[np.ndarray, " S"]
) -> Float[np.ndarray, "S A"]:
    """Apply the soft Bellman operator: return r(s,a) + γ·E[V(s')], with V = 0 in terminal states."""
    return reward + mdp.gamma * mdp.transition @ np.where(mdp.terminal, 0.0, v)


def inverse_backup(
    mdp: TabularMDP, q: Float[np.ndarray, "S A"], v: Float[np.ndarray, " S"]
) -> Float[np.ndarray, "S A"]:
    """Apply the inverse soft Bellman operator: return Q(s,a) − γ·E[V(s')], the reward of Q."""
    return q - mdp.gamma * mdp.transition @ np.where(mdp.terminal, 0.0, v)


def soft_optimal(
    mdp: TabularMDP, reward: Float[np.ndarray, "S A"], temperature: float, tolerance: float = 1e-13
) -> SoftSolution:
    """Return the fixed point of soft value iteration (a contraction with factor γ)."""
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
    """Return the discounted occupancy ρ(s,a) = (1−γ)·Σ_t γ^t P(s_t=s, a_t=a), 0 in terminal states.

    Its sum is 1 without terminal states. With them it is less, because the time after the end is missing.
    """
    alive = ~mdp.terminal
    flow = np.einsum("sa,sat->st", policy, mdp.transition)[np.ix_(alive, alive)]
    visits = np.linalg.solve(np.eye(alive.sum()) - mdp.gamma * flow.T, (1.0 - mdp.gamma) * mdp.initial[alive])
    states = np.zeros(len(alive))
    states[alive] = visits
    return states[:, None] * policy


def as_rows(mdp: TabularMDP, rho: Float[np.ndarray, "S A"], n: int) -> Rows:
    """Return about n transitions with the frequencies ρ(s,a)·P(s'|s,a), each up to rounding by half a row."""
    joint = rho[:, :, None] * mdp.transition
    counts = np.rint(n * joint / joint.sum()).astype(int)
    state, action, next_state = (np.repeat(index, counts.ravel()) for index in np.indices(counts.shape).reshape(3, -1))
    return Rows(state, action, next_state, mdp.terminal[next_state])


def of_grid(world: GridWorld, gamma: float) -> TabularMDP:
    """Return a grid world as a table, with a uniform initial distribution and no terminal states."""
    chosen = np.eye(world.cells)[world.moves()]
    transition = (1.0 - world.slip) * chosen + world.slip * chosen.mean(axis=1, keepdims=True)
    return TabularMDP(transition, np.full(world.cells, 1.0 / world.cells), np.zeros(world.cells, bool), gamma)


def epic_distance(
    first: Float[np.ndarray, "S A S"],
    second: Float[np.ndarray, "S A S"],
    gamma: float,
    transition: Float[np.ndarray, "S A S"] | None = None,
) -> float:
    """Return the exact distance of two reward tables R[s,a,s'], in [0, 1].

    Without `transition` it is EPIC with uniform coverage, on all S·A·S triples. A recovered reward is undetermined on
    impossible triples, so its distance from the true reward is large even if it explains the expert perfectly.
    With `transition`, P(s'|s,a), only possible triples count: S' ~ P(·|s,A), and C(R) = R + γV(s') − V(s), where V is
    the value of the uniformly random policy (value canonicalisation, Skalse et al., ICLR 2024). EPIC is the special
    case in which every action leads to a uniformly drawn state.
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
    """Return the reward g(s') of entering each state, which is left after a potential h is removed from r:
    r ≈ g(s') + γh(s') − h(s).

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
