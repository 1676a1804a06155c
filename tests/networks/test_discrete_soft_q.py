"""The soft Q-function of discrete actions: consistency of policy, value and Q."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from iqlearn import Network
from iqlearn.networks import encoders
from iqlearn.networks.soft_q import DiscreteSoftQ
from iqlearn.types import ArraySpec, TaskSpec

SPEC = TaskSpec(ArraySpec((4,)), 3)
ENCODER = encoders.blank(SPEC.obs, "whiten")
OBS = jr.normal(jr.key(9), (7, 4))
ACTION = jnp.array([0, 1, 2, 0, 1, 2, 0])


@eqx.filter_jit
def call(m: DiscreteSoftQ, name: str, *arguments: jax.Array) -> jax.Array:
    """A method of the model, compiled."""
    return getattr(m, name)(*arguments)


@eqx.filter_jit
def model(members: int = 1, temperature: float = 0.3, output_scale: float = 5.0) -> DiscreteSoftQ:
    return DiscreteSoftQ(SPEC, Network(hidden=(16,)), members, ENCODER, jr.key(0), temperature, output_scale)


@pytest.mark.parametrize("members", [1, 3])
def test_policy_value_and_q_are_consistent(members):
    m = model(members)
    every, q, v = np.asarray(call(m, "all_q", OBS)), call(m, "q", OBS, ACTION), call(m, "v", OBS)
    np.testing.assert_allclose(q, every[np.arange(7), np.asarray(ACTION)], rtol=1e-6)
    np.testing.assert_allclose(v, 0.3 * np.log(np.exp(every / 0.3).sum(axis=1)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(call(m, "log_prob", OBS, ACTION), (q - v) / 0.3, atol=1e-4)
    total = sum(np.exp(call(m, "log_prob", OBS, jnp.full(7, a))) for a in range(3))
    np.testing.assert_allclose(total, 1.0, atol=1e-5)


def test_members_differ_and_all_q_is_their_mean():
    m = model(3)
    members = call(m, "member_q", OBS)
    assert members.shape == (3, 7, 3)
    assert float(jnp.abs(members[0] - members[1]).max()) > 1e-3
    np.testing.assert_allclose(call(m, "all_q", OBS), members.mean(axis=0), atol=1e-6)


def test_actions_follow_the_soft_policy():
    m = model(temperature=5.0)
    one = OBS[:1]
    draws = call(m, "act", jnp.repeat(one, 4000, axis=0), jr.key(1))
    frequency = np.bincount(np.asarray(draws), minlength=3) / 4000
    np.testing.assert_allclose(
        frequency, np.exp([float(call(m, "log_prob", one, jnp.array([a]))[0]) for a in range(3)]), atol=0.03
    )
    np.testing.assert_array_equal(call(m, "act", OBS), jnp.argmax(call(m, "all_q", OBS), axis=1))


def test_encoder_has_no_gradient():
    gradient = jax.jit(jax.grad(lambda m: m.q(OBS, ACTION).sum()))(model())
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradient.encoder))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(gradient.net))


def test_output_scale_multiplies_q():
    twice = call(model(output_scale=10.0), "all_q", OBS)
    np.testing.assert_allclose(twice, 2.0 * call(model(), "all_q", OBS), rtol=1e-5)
