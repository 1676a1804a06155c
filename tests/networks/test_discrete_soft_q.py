"""The soft Q-function and the policy that acts with it."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from iqlearn import InputError, Network, Policy
from iqlearn.data.scale import whitening
from iqlearn.models import DiscreteSoftQ
from iqlearn.types import ObservationScale, TaskSpec

SPEC = TaskSpec((4,), 3)
SCALE = ObservationScale(jnp.zeros(4), jnp.eye(4), jnp.float32(1e9))
OBS = jr.normal(jr.key(9), (7, 4))
ACTION = jnp.array([0, 1, 2, 0, 1, 2, 0])


def model(ensemble: int = 1, temperature: float = 0.3) -> DiscreteSoftQ:
    network = Network(hidden=(16,), ensemble=ensemble)
    return DiscreteSoftQ(SPEC, network, SCALE, jr.key(0), temperature, unit=5.0)


@pytest.mark.parametrize("ensemble", [1, 3])
def test_policy_value_and_q_belong_together(ensemble):
    m = model(ensemble)
    q = m.all_q(OBS)
    np.testing.assert_allclose(m.q(OBS, ACTION), np.asarray(q)[np.arange(7), np.asarray(ACTION)], rtol=1e-6)
    np.testing.assert_allclose(m.v(OBS), 0.3 * np.log(np.exp(np.asarray(q) / 0.3).sum(axis=1)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(m.log_prob(OBS, ACTION), (m.q(OBS, ACTION) - m.v(OBS)) / 0.3, atol=1e-4)
    total = sum(np.exp(m.log_prob(OBS, jnp.full(7, a))) for a in range(3))
    np.testing.assert_allclose(total, 1.0, atol=1e-5)


def test_members_differ_and_their_mean_is_the_function():
    m = model(3)
    members = m.member_q(OBS)
    assert members.shape == (3, 7, 3)
    assert float(jnp.abs(members[0] - members[1]).max()) > 1e-3
    np.testing.assert_allclose(m.all_q(OBS), members.mean(axis=0), atol=1e-6)


def test_actions_follow_the_soft_policy():
    m = model(temperature=5.0)
    one = OBS[:1]
    draws = m.act(jnp.repeat(one, 4000, axis=0), jr.key(1))
    frequency = np.bincount(np.asarray(draws), minlength=3) / 4000
    np.testing.assert_allclose(
        frequency, np.exp([float(m.log_prob(one, jnp.array([a]))[0]) for a in range(3)]), atol=0.03
    )
    np.testing.assert_array_equal(m.act(OBS), jnp.argmax(m.all_q(OBS), axis=1))


def test_the_scale_is_no_parameter():
    gradient = jax.grad(lambda m: m.q(OBS, ACTION).sum())(model())
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradient.scale))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(gradient.net))


def test_predict_is_the_one_of_stable_baselines3():
    policy = Policy(model())
    action, state = policy.predict(np.asarray(OBS[0]), deterministic=True)
    assert state is None
    assert action.shape == ()
    assert action.dtype == np.int64
    batch, _ = policy.predict(np.asarray(OBS), state=None, episode_start=np.ones(7, bool), deterministic=True)
    np.testing.assert_array_equal(batch, policy(np.asarray(OBS)))
    assert int(batch[0]) == int(action)


def test_sampled_actions_differ_from_call_to_call_and_agree_from_policy_to_policy():
    a, b = Policy(model(temperature=5.0), seed=3), Policy(model(temperature=5.0), seed=3)
    many = np.zeros((200, 4), np.float32)
    first, second = a(many, deterministic=False), a(many, deterministic=False)
    assert (first != second).any()
    np.testing.assert_array_equal(first, b(many, deterministic=False))


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 2, 4), ()])
def test_observations_of_another_shape_are_told(shape):
    with pytest.raises(InputError, match=r"Observations have shape .*expected \(4,\)"):
        Policy(model())(np.zeros(shape, np.float32))


def test_whitening_decorrelates_and_leaves_constants_alone():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(5000, 3)) * [1.0, 20.0, 0.1]
    obs = np.column_stack([base, base[:, 0] + rng.normal(size=5000), np.full(5000, 12345.678)]).astype(np.float32)
    z = np.asarray(whitening(obs)(jnp.asarray(obs)))
    covariance = np.cov(z.T)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 0.12
    assert np.abs(z[:, -1]).max() < 0.01
