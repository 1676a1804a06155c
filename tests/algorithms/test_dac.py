"""DAC: the discriminator tells expert from learner, its logit is the reward, and ends lead to an absorbing state."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import iqlearn as iq
from iqlearn.algorithms import dac
from iqlearn.networks import encoders
from iqlearn.types import ArraySpec, Batch, Bounds, TaskSpec, Transitions

TASK = TaskSpec(ArraySpec((2,)), Bounds((-1.0,), (1.0,)))
SMALL = iq.Network((16,), "tanh")


def rows(offset, ended=(), n=32):
    rng = np.random.default_rng(int(10 * offset) + 100)
    obs = jnp.asarray(rng.normal(offset, 0.1, (n, 2)), jnp.float32)
    action = jnp.asarray(rng.uniform(-1, 1, (n, 1)), jnp.float32)
    return Transitions(obs, action, obs, jnp.isin(jnp.arange(n), jnp.array([*ended, -1])))


def begun(settings):
    return settings.init(TASK, encoders.blank(TASK.obs, "none"), jr.key(0))


def trained(settings, batch, updates=200):
    update = jax.jit(settings.update)
    state = begun(settings)
    for i in range(updates):
        state, metrics = update(state, batch, jr.key(i))
    return state, metrics


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_the_reward_is_high_where_the_expert_was(penalty):
    settings = iq.DACContinuous(
        critic=SMALL, actor=SMALL, discriminator=SMALL, discriminator_learning_rate=1e-2, discriminator_penalty=penalty
    )
    batch = Batch(rows(1.0), rows(-1.0), rows(1.0).obs)
    state, metrics = trained(settings, batch)
    assert float(metrics["expert_reward"]) > 0.5 > -0.5 > float(metrics["visited_reward"])
    judged = dac.judged(settings, state, batch, jr.key(0))[1]
    logits = state.beside.net(dac.seen(state.model, batch.visited))[:, 0]
    np.testing.assert_allclose(judged.reward, logits[:32], rtol=1e-5)
    assert judged.rows is batch.visited


def test_absorbing_reward_is_low_after_learner_ends_and_high_after_expert_ends():
    settings = iq.DACContinuous(
        critic=SMALL, actor=SMALL, discriminator=SMALL, discriminator_learning_rate=1e-2, discriminator_penalty=0.0
    )
    for of_expert, of_learner in (((), range(8)), (range(8), ())):
        batch = Batch(rows(0.0, of_expert), rows(0.1, of_learner), rows(0.0).obs)
        absorbing = float(trained(settings, batch)[1]["absorbing_reward"])
        assert absorbing < -1.0 if of_learner else absorbing > 1.0


def test_an_early_end_does_not_pay_under_the_gradient_penalty():
    """The absorbing state is as near to the expert's states as the learner's are. Its reward falls below theirs."""
    settings = iq.DACContinuous(critic=SMALL, actor=SMALL, discriminator=SMALL, discriminator_learning_rate=1e-2)
    batch = Batch(rows(0.0), rows(1.0, range(8)), rows(0.0).obs)
    _, metrics = trained(settings, batch, 600)
    assert float(metrics["absorbing_reward"]) < float(metrics["visited_reward"]) < float(metrics["expert_reward"])


def test_the_value_of_the_absorbing_state_is_learnt_at_the_rate_of_the_target_networks():
    """A fixed discriminator, one whose rate is 0: the value moves towards its reward divided by 1 − γ."""
    batch = Batch(rows(0.0), rows(0.1, range(8)), rows(0.0).obs)
    changes = {"critic": SMALL, "actor": SMALL, "discriminator": SMALL, "gamma": 0.5}
    for rate, updates, share in ((0.5, 1, 0.5), (0.5, 40, 2.0), (0.01, 1, 0.01)):
        settings = iq.DACContinuous(**changes, target_rate=rate, discriminator_learning_rate=1e-12)
        state, metrics = trained(settings, batch, updates)
        np.testing.assert_allclose(state.beside.end, share * metrics["absorbing_reward"], rtol=1e-3)


def test_rows_of_either_side_change_the_discriminator_but_only_visited_ones_the_actor():
    settings = iq.DACContinuous(critic=SMALL, actor=SMALL, discriminator=SMALL)
    batch = Batch(rows(1.0), rows(-1.0), rows(1.0).obs)
    start, update = begun(settings), jax.jit(settings.update)

    def updated(batch):
        state = update(start, batch, jr.key(1))[0]
        return np.asarray(state.beside.net.layers[0].weight), np.asarray(state.model.actor.layers[0].weight)

    judge, actor = updated(batch)
    for which in ("expert", "visited"):
        other_judge, other_actor = updated(batch._replace(**{which: rows(3.0)}))
        assert not np.array_equal(other_judge, judge)
        assert np.array_equal(other_actor, actor) == (which == "expert")
