"""Updates: what they change, what they leave, and that many seeds are many single ones."""

import gc
from dataclasses import replace
from pathlib import Path
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iqlearn import BC, Demos, IQLearn, Network, learn, learn_seeds
from iqlearn.algorithms import SoftQLearning, TrainState, algorithm
from iqlearn.algorithms.descent import is_weight, refresh
from iqlearn.beginning import begin
from iqlearn.session import Session
from iqlearn.settings import DivergenceName, Imagination, Schedule, SoftQ
from iqlearn.training import compiled, on_device, updates
from iqlearn.training.updates import train
from iqlearn.types import ObservationScale, Rewarded, TaskSpec, Transitions

MAPPED = Path("/proc/self/maps")
SMALL = Network(hidden=(16,))
PLAIN = Imagination(error_limit=0.0)


def trained(settings, demos, steps=40) -> tuple[TrainState, dict]:
    run = begin(settings, demos, Schedule(), env=None)
    session = Session([run], [demos], [None])
    session.advance(steps)
    return session.states[0], session._metrics[0]


@pytest.mark.parametrize("divergence", get_args(DivergenceName))
def test_every_divergence_trains_with_a_learners_half(divergence, cartpole):
    """Without one: test_every_divergence.py."""
    settings = IQLearn(divergence=divergence, imagination=Imagination(error_limit=1e9), network=SMALL)
    state, metrics = trained(settings, cartpole)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state) if leaf.dtype == np.float32)
    assert np.isfinite(metrics["loss"])


@pytest.mark.parametrize("value_term", ["initial", "expert_states", "expert", "mixture"])
@pytest.mark.parametrize("target_update", ["none", "hard", "polyak"])
def test_every_value_term_trains_with_every_target(value_term, target_update, cartpole):
    settings = IQLearn(
        divergence="chi2", value_term=value_term, target_update=target_update, imagination=PLAIN, network=SMALL
    )
    state, metrics = trained(settings, cartpole)
    assert np.isfinite(metrics["loss"])
    assert (state.target is None) == (target_update == "none")


def test_value_terms_are_different_losses(cartpole):
    losses = {
        term: float(trained(IQLearn(value_term=term, imagination=PLAIN, network=SMALL), cartpole, 1)[1]["loss"])
        for term in ("initial", "expert_states", "expert")
    }
    assert len(set(losses.values())) == 3


def test_the_gradient_through_the_next_value_is_a_setting(cartpole):
    norms = {
        flag: float(
            trained(IQLearn(next_value_gradient=flag, imagination=PLAIN, network=SMALL), cartpole, 1)[1][
                "gradient_norm"
            ]
        )
        for flag in (True, False)
    }
    assert norms[True] != norms[False]


@pytest.mark.parametrize("settings", [IQLearn(imagination=PLAIN), BC()])
def test_the_policy_learns_the_experts_actions(settings):
    """On one whole demonstration of the built-in expert, before training about one action in two is right."""
    demos = replace(Demos.builtin("CartPole-v1").take(1), env=None)
    run = learn(settings, demos, steps=1500, evaluations=1)
    assert np.mean(run.policy(demos.obs) == demos.act) > 0.9


def test_seeds_side_by_side_are_the_seeds_alone(cartpole):
    together = learn_seeds(BC(network=SMALL), [cartpole] * 2, seeds=[3, 4], steps=50, evaluations=1, eval_episodes=1)
    alone = learn(BC(network=SMALL), cartpole, seed=4, steps=50, evaluations=1, eval_episodes=1)
    for a, b in zip(jax.tree.leaves(together[1].model), jax.tree.leaves(alone.model), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert any(
        np.abs(a - b).max() > 1e-3
        for a, b in zip(jax.tree.leaves(together[0].model), jax.tree.leaves(together[1].model), strict=True)
    )


def test_demonstrations_of_unequal_length_go_side_by_side(cartpole):
    parts = [cartpole.take(1), cartpole.take(3)]
    runs = learn_seeds(IQLearn(network=SMALL), parts, seeds=[0, 1], steps=20, evaluations=1, eval_episodes=1)
    assert [run.origin.transitions for run in runs] == [len(part) for part in parts]
    assert all(np.isfinite(run.rows[-1]["loss"]) for run in runs)


def test_each_seed_is_measured_by_its_own_expert(cartpole):
    parts = [replace(cartpole, expert_return=expert) for expert in (100.0, 500.0)]
    runs = learn_seeds(BC(network=SMALL), parts, seeds=[0, 1], steps=20, evaluations=1, eval_episodes=1)
    assert [run.result["expert_return"] for run in runs] == [100.0, 500.0]
    for run in runs:
        expert, random = run.result["expert_return"], run.result["random_return"]
        normalised = (run.result["mean_return"] - random) / (expert - random)
        assert run.result["normalised_return"] == pytest.approx(normalised)


def test_one_program_does_chunks_of_any_length_and_data_of_one_shape(cartpole, monkeypatch):
    """It is made once, whoever asks for it; other shapes and settings have their own."""
    made = []
    monkeypatch.setattr(updates, "train", lambda *arguments: made.append(arguments) or train(*arguments))
    run, learner = begin(BC(network=SMALL), cartpole, Schedule(), env=None), algorithm(BC(network=SMALL))
    data, key = on_device([cartpole])[0], jax.random.key(0)
    updates.loop_of.cache_clear()
    program = compiled(learner, run.state, data, key)
    assert int(program(run.state, data, key, 3)[0].step) == 3
    assert int(program(run.state, data, key, 7)[0].step) == 7
    compiled(algorithm(BC(network=SMALL)), run.state, data, jax.random.key(1))
    assert len(made) == 1
    compiled(learner, run.state, on_device([cartpole.take(2)])[0], key)
    compiled(algorithm(BC(network=SMALL, learning_rate=0.1)), run.state, data, key)
    assert len(made) == 3
    updates.loop_of.cache_clear()


@pytest.mark.skipif(not MAPPED.is_file(), reason="what a process has mapped is read where Linux tells it")
def test_a_program_that_is_let_go_of_leaves_the_process(cartpole):
    """Nothing else holds it, and the memory that holds its code, of which a process has so many pieces, is free."""

    def pieces() -> int:
        gc.collect()
        return len(MAPPED.read_text().splitlines())

    run, data = begin(BC(network=SMALL), cartpole, Schedule(), env=None), on_device([cartpole])[0]
    updates.loop_of.cache_clear()  # what other tests left is not to go meanwhile
    jax.clear_caches()
    before = pieces()
    made = [
        compiled(algorithm(BC(network=SMALL, learning_rate=rate)), run.state, data, jax.random.key(0))
        for rate in np.linspace(0.01, 0.02, 8).tolist()
    ]
    held = pieces()
    assert held > before + 16
    made.clear()
    updates.loop_of.cache_clear()
    assert pieces() < before + (held - before) / 2


def test_only_weight_matrices_decay(cartpole):
    run = begin(BC(network=SMALL), cartpole, Schedule(), env=None)
    mask = is_weight(run.model)
    assert all(jax.tree.leaves(layer.weight) == [True] for layer in mask.net.members.layers)
    assert all(jax.tree.leaves(layer.bias) == [False] for layer in mask.net.members.layers)
    assert not any(jax.tree.leaves(mask.scale))


def test_targets_follow():
    old, new = {"w": jnp.zeros(2)}, {"w": jnp.ones(2)}
    np.testing.assert_allclose(refresh(old, new, "polyak", 0.25, 10, jnp.int32(3))["w"], 0.25)
    np.testing.assert_allclose(refresh(old, new, "hard", 0.25, 10, jnp.int32(3))["w"], 0.0)
    np.testing.assert_allclose(refresh(old, new, "hard", 0.25, 10, jnp.int32(20))["w"], 1.0)


def test_soft_q_learning_finds_the_soft_values_of_a_two_state_problem():
    """From state 0 action 1 ends with reward 1, action 0 stays for nothing: Q(0, 1) = 1, Q(0, 0) = γV(0)."""
    spec = TaskSpec((2,), 2)
    states = jnp.array([[1.0, 0.0], [1.0, 0.0]])
    rows = Transitions(states, jnp.array([0, 1]), states, jnp.array([False, True]))
    batch = Rewarded(rows, jnp.array([0.0, 1.0]))
    learner = SoftQLearning(SoftQ(gamma=0.9, temperature=0.1, target_rate=0.1, learning_rate=3e-3, network=SMALL))
    state = learner.init(spec, ObservationScale(jnp.zeros(2), jnp.eye(2), jnp.float32(1e9)), jax.random.key(0))
    update = jax.jit(learner.update)
    for _ in range(1500):
        state, _ = update(state, batch, jax.random.key(1))
    stay = 0.0
    for _ in range(500):
        stay = 0.9 * 0.1 * np.log(np.exp(stay / 0.1) + np.exp(1.0 / 0.1))
    np.testing.assert_allclose(state.model.all_q(states[:1])[0], [stay, 1.0], atol=0.03)
