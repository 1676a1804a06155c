"""A policy does not depend on the units of observations and actions, nor on the width of the bounds."""

import gymnasium as gym
import jax.numpy as jnp
import numpy as np
import pytest

import iqlearn as iq
from iqlearn.extensions.reward_first import leave_one_out_error
from iqlearn.networks.distributions import KINDS, policy
from iqlearn.types import ActionScale, ArraySpec, Bounds, TaskSpec


class Linear(gym.Env):
    """Random observations. The expert's action is a linear function of them."""

    def __init__(self, action: float = 1.0, obs: float = 1.0, bound: float = 1.0) -> None:
        self.scales = action, obs
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (3,))
        self.action_space = gym.spaces.Box(-bound, bound, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.show(), {}

    def step(self, action):
        return self.show(), 0.0, False, True, {}

    def show(self) -> np.ndarray:
        return (self.scales[1] * self.np_random.normal(size=3)).astype(np.float32)


def recorded(action: float = 1.0, obs: float = 1.0, n: int = 400, seed: int = 0) -> iq.Demos:
    rng = np.random.default_rng(seed)
    seen, after = rng.normal(size=(2, n, 3))
    done = np.arange(n) == n - 1
    arrays = {"obs": (obs * seen).astype(np.float32), "next_obs": (obs * after).astype(np.float32)}
    act = action * seen @ [[0.1, -0.2], [0.2, 0.05], [-0.05, 0.1]]
    return iq.Demos.from_arrays(
        arrays | {"act": act.astype(np.float32), "term": ~done & done, "trunc": done, "ep": np.zeros(n, int)}
    )


SCALES = [
    *({"action": scale} for scale in (1.0, 1e-3, 1e-6)),
    *({"obs": scale} for scale in (1e-8, 1e-4, 1e8)),
    *({"bound": scale} for scale in (1e3, 1e6)),
]


@pytest.mark.parametrize("scales", SCALES, ids=str)
def test_a_linear_expert_is_cloned_at_every_scale(scales):
    units = {name: scale for name, scale in scales.items() if name != "bound"}
    run = iq.learn(
        iq.BCContinuous(batch_size=64),
        recorded(**units),
        env=lambda: Linear(**scales),
        steps=600,
        evaluations=1,
        eval_episodes=1,
        quiet=True,
    )
    held = recorded(**units, seed=1)
    error = np.square(run.policy(held.obs) - held.act).sum(axis=0)
    assert np.all(1.0 - error / np.square(held.act - held.act.mean(axis=0)).sum(axis=0) > 0.95)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6])
def test_the_leave_one_out_error_does_not_depend_on_the_scale_of_the_actions(scale):
    """An expert with unpredictable actions has a large error, even if the actions are small."""
    known = recorded(scale, n=60)
    task = TaskSpec(ArraySpec((3,)), Bounds((-1.0, -1.0), (1.0, 1.0))).spanned(known.act)
    rng = np.random.default_rng(0)
    shuffled = iq.Demos.from_arrays(known.arrays() | {"act": rng.permutation(known.act)})
    assert leave_one_out_error(known, task) < 0.05
    assert leave_one_out_error(shuffled, task) > 0.2


def test_span_is_narrowed_only_for_small_ranges_of_actions():
    task = TaskSpec(ArraySpec((3,)), Bounds((-1.0, 0.0, -5.0), (1.0, 10.0, 5.0)))
    actions = np.array([[-1.0, 4.0, 2.0], [0.9, 4.4, 2.0]])
    low, high, _ = task.spanned(actions).span
    assert (low, high) == (pytest.approx((-1.0, 3.8, -5.0)), pytest.approx((1.0, 4.6, 5.0)))
    assert task.spanned(actions).bounds == task.bounds
    assert task.spanned(None) == task
    assert TaskSpec(task.obs, 4).spanned(np.array([1, 2])).choices == 4


def test_actions_may_exceed_the_span_but_not_the_bounds():
    task = TaskSpec(ArraySpec((3,)), Bounds((-1.0, -1.0), (1.0, 3.0))).spanned(np.array([[0.0, 0.0], [0.05, 2.0]]))
    scale = ActionScale(task)
    np.testing.assert_allclose(scale.to_unit(scale.limits), scale.unit_limits, rtol=1e-5)
    assert scale.unit_limits[:, 0] == pytest.approx([-20.5, 19.5])
    np.testing.assert_array_equal(scale.unit_limits[:, 1], [-1.0, 1.0])
    for squash in KINDS:
        mode = policy(jnp.array([[3.0, 0.2, 0.0, 0.0], [-1e6, -1e6, 0.0, 0.0]]), squash, scale.unit_limits).mode
        acted = scale.to_env(mode)
        assert acted[0, 0] > 0.09  # beyond the span
        np.testing.assert_allclose(acted[1], [-1.0, -1.0], rtol=1e-5)
