"""Updates with discrete actions: gradients, members, target networks, seeds side by side, and compiled programs."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import iqlearn as iq
from iqlearn import BC, Demos, IQLearn, Network, SoftQLearning
from iqlearn.data.sources import Demonstrations
from iqlearn.networks import descent, encoders
from iqlearn.training.loop import program
from iqlearn.types import ArraySpec, Batch, Rewarded, TaskSpec, Transitions

SMALL = Network(hidden=(16,))
TASK = TaskSpec(ArraySpec((4,)), 2)


def begun(settings: Any, demos: Demos) -> tuple[Any, Demonstrations]:
    """The state before the first update, and the source of its batches."""
    encoder = encoders.fit(TASK.obs, np.concatenate([demos.obs, demos.next_obs]), settings.scaling, settings.saturation)
    return settings.init(TASK, encoder, jr.key(0)), Demonstrations.of(demos)


def test_next_value_gradient_setting_changes_the_gradient(cartpole):
    norms = []
    for flag in (True, False):
        settings = IQLearn(next_value_gradient=flag, network=SMALL)
        state, source = begun(settings, cartpole)
        batch, _ = source.draw(state, jr.key(2), 8)
        norms.append(float(jax.jit(settings.update)(state, batch, jr.key(1))[1]["gradient_norm"]))
    assert norms[0] != norms[1]


def test_members_have_separate_weights_and_the_policy_uses_their_mean(cartpole):
    state, _ = begun(IQLearn(network=SMALL, members=2), cartpole)
    weight = state.model.net.members.layers[0].weight
    assert weight.shape == (2, 4, 16)
    assert np.abs(weight[0] - weight[1]).max() > 1e-2
    obs = jnp.asarray(cartpole.obs[:20])
    np.testing.assert_array_equal(state.model.act(obs), np.argmax(state.model.member_q(obs).mean(axis=0), axis=1))


@pytest.mark.parametrize("settings", [IQLearn.recommended(False, False), BC()], ids=["iq", "bc"])
def test_the_policy_learns_the_experts_actions(settings):
    """The data are one whole demonstration. Before training about half of the actions are right."""
    demos = replace(Demos.builtin("CartPole-v1").take(1), env=None)
    run = iq.learn(settings, demos, steps=1500, evaluations=1, quiet=True)
    assert np.mean(run.policy(demos.obs) == demos.act) > 0.9


def test_seeds_trained_side_by_side_equal_seeds_trained_alone(cartpole):
    once = {"steps": 50, "evaluations": 1, "eval_episodes": 1, "quiet": True}
    together = iq.learn(BC(network=SMALL), [cartpole] * 2, seeds=[3, 4], **once)
    alone = iq.learn(BC(network=SMALL), cartpole, seed=4, **once)
    for a, b in zip(jax.tree.leaves(together[1].model), jax.tree.leaves(alone.model), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert any(
        np.abs(a - b).max() > 1e-3
        for a, b in zip(jax.tree.leaves(together[0].model), jax.tree.leaves(together[1].model), strict=True)
    )


def test_seeds_side_by_side_accept_unequal_demonstrations_with_their_own_expert_return(cartpole):
    parts = [replace(cartpole.take(n), expert_return=expert) for n, expert in ((1, 100.0), (3, 500.0))]
    runs = iq.learn(IQLearn(network=SMALL), parts, seeds=[0, 1], steps=20, evaluations=1, eval_episodes=1, quiet=True)
    assert [run.origin.transitions for run in runs] == [len(part) for part in parts]
    assert all(np.isfinite(run.rows[-1]["loss"]) for run in runs)
    assert [run.result["expert_return"] for run in runs] == [100.0, 500.0]
    for run in runs:
        expert, random = run.result["expert_return"], run.result["random_return"]
        normalised = (run.result["mean_return"] - random) / (expert - random)
        assert run.result["normalised_return"] == pytest.approx(normalised)


def test_one_program_serves_chunks_of_any_length_and_data_of_one_shape(cartpole):
    """The program is made once. Other shapes and settings have their own programs."""
    descent._program.cache_clear()
    settings, key = BC(network=SMALL), jr.key(0)
    state, data = begun(settings, cartpole)
    loop = program(settings, state, data, key, 1)
    assert int(loop(state, data, key, 3)[0].step) == 3
    assert int(loop(state, data, key, 7)[0].step) == 7
    program(BC(network=SMALL), state, data, jr.key(1), 1)
    assert descent._program.cache_info().misses == 1
    program(settings, state, Demonstrations.of(cartpole.take(2)), key, 1)
    program(BC(network=SMALL, learning_rate=0.1), state, data, key, 1)
    assert descent._program.cache_info().misses == 3
    descent._program.cache_clear()


def test_target_network_is_copied_periodically_or_follows_slowly(cartpole):
    rows = Demonstrations.of(cartpole).expert()
    batch = Batch(rows, None, rows.obs[:1])
    for settings in (
        IQLearn(network=SMALL, target_rate=1.0, target_period=3),
        IQLearn(network=SMALL, target_rate=0.25),
    ):
        state, _ = begun(settings, cartpole)
        update, old = jax.jit(settings.update), state.target
        for step in range(1, 7):
            state, _ = update(state, batch, jr.key(step))
            wanted = (
                old if step % settings.target_period else descent.polyak(old, state.model.net, settings.target_rate)
            )
            for a, b in zip(jax.tree.leaves(state.target), jax.tree.leaves(wanted), strict=True):
                np.testing.assert_allclose(a, b, atol=1e-7)
            old = state.target


def test_soft_q_learning_finds_the_soft_values_of_a_two_state_problem():
    """In state 0, action 1 ends with reward 1 and action 0 stays with reward 0: Q(0, 1) = 1, Q(0, 0) = γV(0)."""
    spec = TaskSpec(ArraySpec((2,)), 2)
    states = jnp.array([[1.0, 0.0], [1.0, 0.0]])
    batch = Rewarded(Transitions(states, jnp.array([0, 1]), states, jnp.array([False, True])), jnp.array([0.0, 1.0]))
    settings = SoftQLearning(gamma=0.9, temperature=0.1, target_rate=0.1, learning_rate=3e-3, network=SMALL)

    @jax.jit
    def learnt(key):
        state = settings.init(spec, encoders.blank(spec.obs, "whiten"), key)
        return jax.lax.fori_loop(0, 1500, lambda _, s: settings.update(s, batch, key)[0], state)

    stay = 0.0
    for _ in range(500):
        stay = 0.9 * 0.1 * np.log(np.exp(stay / 0.1) + np.exp(1.0 / 0.1))
    np.testing.assert_allclose(learnt(jr.key(0)).model.all_q(states[:1])[0], [stay, 1.0], atol=0.03)
