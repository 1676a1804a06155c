"""With infinite data the objective recovers the grid world's true reward, up to shaping and scale."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tabular
from scipy.optimize import minimize

from iqlearn.envs.worlds.grid import GridWorld
from iqlearn.objectives import soft_value
from iqlearn.objectives.divergences import chi2

GAMMA, TEMPERATURE = 0.95, 1.0
WORLD = GridWorld(size=4, goal=(1, 2))


@pytest.fixture(scope="module")
def true_reward() -> np.ndarray:
    """R[s,a,s'] = 1 where s' is the goal."""
    return np.broadcast_to(np.arange(WORLD.cells) == WORLD.goal, (WORLD.cells, 5, WORLD.cells)).astype(np.float64)


def recovered(true_reward: np.ndarray, penalty: float) -> np.ndarray:
    """R[s,a,s'] of the table Q that maximises J over the expert's exact occupancy; `penalty` is τ/(4α)."""
    mdp, moves = tabular.of_grid(WORLD, GAMMA), WORLD.moves()
    expert = tabular.soft_optimal(mdp, (mdp.transition * true_reward).sum(axis=2), TEMPERATURE)
    rho, phi = tabular.occupancy(mdp, expert.policy), chi2(TEMPERATURE / (4.0 * penalty))

    def loss(flat):
        q = flat.reshape(rho.shape)
        v = soft_value(q, TEMPERATURE)
        next_v = GAMMA * v[moves]
        return jnp.sum(rho * (v[:, None] - next_v - phi(q - next_v)))

    with jax.enable_x64(True):
        value, slope, curvature = (jax.jit(f) for f in (loss, jax.grad(loss), jax.hessian(loss)))
        found = minimize(
            lambda x: float(value(x)),
            np.zeros(rho.size),
            jac=lambda x: np.asarray(slope(x)),
            hess=lambda x: np.asarray(curvature(x)),
            method="trust-exact",
            options={"gtol": 1e-10, "maxiter": 200},
        )
        q = jnp.asarray(found.x.reshape(rho.shape))
        return np.asarray(q[:, :, None] - GAMMA * soft_value(q, TEMPERATURE))


@pytest.fixture(scope="module")
def found(true_reward) -> dict[float, np.ndarray]:
    return {penalty: recovered(true_reward, penalty) for penalty in (0.5, 1e-2, 1e-5)}


def test_epic_distance_vanishes_with_the_penalty(true_reward, found):
    transition = tabular.of_grid(WORLD, GAMMA).transition
    distances = [tabular.epic_distance(found[p], true_reward, GAMMA, transition) for p in sorted(found, reverse=True)]
    assert (np.diff(distances) < 0).all()
    assert distances[-1] < 0.01


def test_reward_of_entering_a_state_matches_the_true_one(true_reward, found):
    state = tabular.state_reward(found[1e-5], tabular.of_grid(WORLD, GAMMA).transition, GAMMA)
    of_state = np.broadcast_to(state, true_reward.shape)
    assert tabular.epic_distance(of_state, true_reward, GAMMA) < 0.01
    assert np.abs(state - state.min() - (np.arange(WORLD.cells) == WORLD.goal)).max() < 0.05


def test_epic_distance_over_impossible_transitions_stays_large(true_reward, found):
    """EPIC over all triples includes impossible transitions, so it does not measure this reward."""
    assert tabular.epic_distance(found[1e-5], true_reward, GAMMA) > 0.3
