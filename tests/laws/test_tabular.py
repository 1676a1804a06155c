"""The objective against small MDPs that are solved exactly."""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tabular
from scipy.optimize import minimize

from iqlearn.objectives import SoftValues, discounted, divergence, implied_reward, iq_loss, soft_value, value_term
from iqlearn.objectives.divergences import DivergenceName

GAMMA = 0.9
DIVERGENCES = [name for name in get_args(DivergenceName) if name != "w1"]
"""W1 has no maximiser in a table: its objective is linear in the rewards, and only the slope of a network bounds it."""


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def random_mdp(seed: int, deterministic: bool = True, terminal: bool = False) -> tabular.TabularMDP:
    """Four states, three actions, every state an initial one; with `terminal` a fifth that ends the episode."""
    rng = np.random.default_rng(seed)
    states = 5 if terminal else 4
    if deterministic:
        transition = np.eye(states)[rng.integers(0, states, (states, 3))]
    else:
        transition = rng.dirichlet(np.ones(states), (states, 3))
    ends = np.arange(states) == 4
    initial = np.where(ends, 0.0, 0.25)
    return tabular.TabularMDP(transition, initial, ends, GAMMA)


def values(q, rows: tabular.Rows, temperature: float) -> SoftValues:
    v = soft_value(q, temperature)
    next_v = discounted(v[rows.next_state], jnp.asarray(rows.terminal), GAMMA)
    return SoftValues(q[rows.state, rows.action], v[rows.state], next_v)


def optimum(mdp, rows: tabular.Rows, name: str, temperature: float) -> np.ndarray:
    """The Q that maximises J over these rows, found by a general-purpose optimiser from Q = 0."""
    fit = divergence(name, chi2_alpha=0.5, reward_bound=1.0)
    shape = mdp.transition.shape[:2]

    def loss(flat):
        q = flat.reshape(shape)
        expert = values(q, rows, temperature)
        initial_v = jnp.repeat(soft_value(q, temperature), np.rint(mdp.initial * 4).astype(int))
        return iq_loss(expert, expert, fit, value_term("initial", expert, expert, initial_v, GAMMA))

    start = np.zeros(shape).ravel()
    options = {"maxiter": 5_000, "maxfun": 20_000, "ftol": 1e-16, "gtol": 1e-10, "maxls": 60}
    found = minimize(jax.jit(jax.value_and_grad(loss)), start, jac=True, method="L-BFGS-B", options=options)
    return found.x.reshape(shape)


def shaping_residual(mdp, difference: np.ndarray) -> float:
    """How far a difference of rewards (S, A) is from γ·E[Φ(s')] − Φ(s) for the best potential Φ."""
    states = len(mdp.initial)
    shaping = mdp.gamma * mdp.transition - np.eye(states)[:, None, :]
    system = shaping.reshape(-1, states)
    potential = np.linalg.lstsq(system, difference.ravel(), rcond=None)[0]
    return float(np.abs(system @ potential - difference.ravel()).max())


@pytest.mark.parametrize("name", DIVERGENCES)
def test_optimum_recovers_the_experts_policy_and_reward(name):
    """At low temperature the regulariser vanishes beside the fit: π → π_E and r/τ → r_E/τ up to shaping."""
    mdp, temperature = random_mdp(0), 0.01
    rng = np.random.default_rng(1)
    true_reward = temperature * rng.normal(size=(4, 3))
    expert = tabular.soft_optimal(mdp, true_reward, temperature)
    rows = tabular.as_rows(mdp, tabular.occupancy(mdp, expert.policy), 20_000)
    q = optimum(mdp, rows, name, temperature)

    learned = np.asarray(jax.nn.softmax(q / temperature, axis=1))
    assert np.abs(learned - expert.policy).max() < 0.02
    reward = tabular.inverse_backup(mdp, q, np.asarray(soft_value(jnp.asarray(q), temperature)))
    assert shaping_residual(mdp, (reward - true_reward) / temperature) < 0.1
    uniform = np.full_like(learned, 1 / 3)
    assert np.abs(uniform - expert.policy).max() > 0.2, "the expert must differ from a policy that knows nothing"


@pytest.mark.parametrize("name", [n for n in DIVERGENCES if n not in ("chi2_mixture", "donsker_varadhan")])
def test_optimum_is_the_saddle_point(name):
    """At any temperature: ρ_π = ρ_E·φ'(r), the stationarity of J (IQ-Learn, proposition 3.3)."""
    mdp, temperature = random_mdp(2), 0.5
    expert = tabular.soft_optimal(mdp, 0.3 * np.random.default_rng(3).normal(size=(4, 3)), temperature)
    rho_expert = tabular.occupancy(mdp, expert.policy)
    rows = tabular.as_rows(mdp, rho_expert, 20_000)
    q = optimum(mdp, rows, name, temperature)

    fit = divergence(name, chi2_alpha=0.5, reward_bound=1.0)
    reward = tabular.inverse_backup(mdp, q, np.asarray(soft_value(jnp.asarray(q), temperature)))
    slope = jax.vmap(jax.grad(lambda r: fit(r[None], jnp.zeros(1))))(jnp.asarray(reward.ravel())).reshape(4, 3)
    rho = tabular.occupancy(mdp, np.asarray(jax.nn.softmax(q / temperature, axis=1)))
    assert np.abs(rho - rho_expert * np.asarray(slope)).max() < 1e-3


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("terminal", [False, True])
def test_value_terms_telescope(deterministic, terminal):
    """E_μ[V(s) − γV(s')] = (1−γ)·E[V(s0)] for any occupancy μ, any V, with and without true ends."""
    mdp = random_mdp(4, deterministic, terminal)
    rng = np.random.default_rng(5)
    states = len(mdp.initial)
    q = jnp.asarray(rng.normal(size=(states, 3)))
    policy = rng.dirichlet(np.ones(3), states)
    rho = tabular.occupancy(mdp, policy)
    seen = values(q, tabular.as_rows(mdp, rho, 40_000), 1.0)
    initial_v = soft_value(q, 1.0)[:4]
    # Rows are frequencies: they leave out the time after an end, which is the missing mass of ρ.
    exact = value_term("initial", seen, seen, initial_v, GAMMA)
    for term in ("expert", "mixture"):
        assert float(rho.sum() * value_term(term, seen, seen, initial_v, GAMMA)) == pytest.approx(
            float(exact), abs=1e-3
        )


def test_expert_states_term_equals_the_initial_term_at_expert_states():
    q = jnp.asarray(np.random.default_rng(6).normal(size=(4, 3)))
    rows = tabular.Rows(np.arange(4), np.zeros(4, int), np.arange(4), np.zeros(4, bool))
    seen = values(q, rows, 1.0)
    by_states = value_term("expert_states", seen, seen, jnp.zeros(1), GAMMA)
    assert float(by_states) == pytest.approx(float(value_term("initial", seen, seen, seen.v, GAMMA)))


@pytest.mark.parametrize("terminal", [False, True])
def test_inverse_bellman_undoes_bellman(terminal):
    mdp = random_mdp(7, deterministic=False, terminal=terminal)
    reward = np.random.default_rng(8).normal(size=(len(mdp.initial), 3))
    solution = tabular.soft_optimal(mdp, reward, 0.3)
    assert np.abs(tabular.inverse_backup(mdp, solution.q, solution.v) - reward).max() < 1e-12
    assert np.abs(tabular.soft_backup(mdp, reward, solution.v) - solution.q).max() < 1e-12


def test_implied_reward_of_the_soft_optimal_q_is_the_true_reward():
    """The test above with the objective's own functions, for each transition, also with ends."""
    mdp = random_mdp(9, terminal=True)
    reward = np.random.default_rng(10).normal(size=(5, 3))
    solution = tabular.soft_optimal(mdp, reward, 0.3)
    rows = tabular.as_rows(mdp, tabular.occupancy(mdp, solution.policy), 500)
    assert rows.terminal.any()
    recovered = implied_reward(values(jnp.asarray(solution.q), rows, 0.3))
    np.testing.assert_allclose(recovered, reward[rows.state, rows.action], atol=1e-9)


def test_shaping_leaves_the_policy_alone():
    mdp = random_mdp(11, deterministic=False)
    rng = np.random.default_rng(12)
    reward, potential = rng.normal(size=(4, 3)), rng.normal(size=4)
    shaped = reward + GAMMA * mdp.transition @ potential - potential[:, None]
    a, b = tabular.soft_optimal(mdp, reward, 0.3), tabular.soft_optimal(mdp, shaped, 0.3)
    assert np.abs(a.policy - b.policy).max() < 1e-10
    assert shaping_residual(mdp, shaped - reward) < 1e-12
