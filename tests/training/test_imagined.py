"""The model of the dynamics and the learner's imagined half of the mixture."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from iqlearn import IQLearn
from iqlearn.algorithms import InverseSoftQ
from iqlearn.beginning import begin
from iqlearn.data import Demos
from iqlearn.models.dynamics import fit_linear
from iqlearn.settings import Imagination, Schedule
from iqlearn.training import in_imagination, on_device
from iqlearn.types import TaskSpec

SPEC = TaskSpec((3,), 2)
RNG = np.random.default_rng(0)
DRIFT = np.array([[0.9, 0.1, 0.0], [-0.2, 1.0, 0.05], [0.0, 0.0, 0.97]])
PUSH = np.array([[0.1, 0.0, -0.3], [-0.1, 0.2, 0.3]])


def linear_demos(n: int = 60, noise: float = 0.0) -> Demos:
    """Transitions of a linear system under random actions, one episode."""
    rng = np.random.default_rng(1)
    obs, act = [np.array([1.0, -1.0, 0.5])], rng.integers(0, 2, n)
    for a in act:
        obs.append(obs[-1] @ DRIFT.T + PUSH[a] + noise * rng.normal(size=3))
    path = np.array(obs, np.float32)
    ends = np.zeros(n, bool)
    arrays = {"obs": path[:-1], "act": act, "next_obs": path[1:], "term": ends, "trunc": ends, "ep": np.zeros(n, int)}
    return Demos.from_arrays(arrays)


def test_linear_dynamics_are_found_and_known_to_be_found():
    demos = linear_demos()
    dynamics, error = fit_linear(demos.transitions, demos.observation_scale(), SPEC)
    assert error < 0.01
    obs = jnp.asarray(RNG.normal(size=(20, 3)), jnp.float32)
    action = jnp.asarray(RNG.integers(0, 2, 20))
    truth = np.asarray(obs) @ DRIFT.T + PUSH[np.asarray(action)]
    np.testing.assert_allclose(dynamics(obs, action), truth, atol=0.02)


def test_the_error_tells_a_model_that_knows_nothing():
    demos = linear_demos(noise=5.0)
    assert fit_linear(demos.transitions, demos.observation_scale(), SPEC)[1] > 0.5


@pytest.mark.parametrize(("limit", "imagining"), [(0.1, True), (0.0, False)])
def test_the_model_is_used_where_it_is_good_enough(limit, imagining):
    run = begin(IQLearn(imagination=Imagination(error_limit=limit)), linear_demos(), Schedule(), env=None)
    assert run.imagines == imagining
    assert (run.state.particles is not None) == imagining
    assert (run.state.target is not None) == imagining, "auto: a target network where the learner acts"


def test_a_bad_model_is_not_used():
    assert not begin(IQLearn(), linear_demos(noise=5.0), Schedule(), env=None).imagines


def test_a_batch_holds_every_action_of_every_particle_and_moves_each_by_one_of_them():
    demos, settings = linear_demos(), IQLearn(imagination=Imagination(particles=5, horizon=10**9, exploration=0.0))
    run = begin(settings, demos, Schedule(), env=None)
    data = in_imagination(on_device([demos]), [demos], settings.imagination, SPEC)[0]
    batch, state = data.draw(run.state, jr.key(3), 8)
    before, after = np.asarray(run.state.particles), np.asarray(state.particles)
    np.testing.assert_array_equal(batch.visited.obs, np.repeat(before, 2, axis=0))
    np.testing.assert_array_equal(batch.visited.action, np.tile([0, 1], 5))
    np.testing.assert_allclose(batch.visited.next_obs, data.dynamics(batch.visited.obs, batch.visited.action))
    assert not batch.visited.terminal.any()
    reached = np.asarray(batch.visited.next_obs).reshape(5, 2, 3)
    assert all(any(np.allclose(after[i], reached[i, a], atol=1e-5) for a in (0, 1)) for i in range(5))


def test_particles_start_again_after_their_horizon():
    demos, settings = linear_demos(), IQLearn(imagination=Imagination(particles=200, horizon=1, start_noise=0.0))
    run = begin(settings, demos, Schedule(), env=None)
    data = in_imagination(on_device([demos]), [demos], settings.imagination, SPEC)[0]
    _, state = data.draw(run.state, jr.key(4), 8)
    seen = {tuple(row) for row in np.asarray(demos.obs)}
    assert {tuple(row) for row in np.asarray(state.particles)} <= seen
    beginnings = np.all(np.asarray(state.particles) == demos.initial_obs[0], axis=1).mean()
    assert 0.35 < beginnings < 0.65


def test_jitter_keeps_the_action_and_moves_s_along_with_the_dynamics():
    demos, settings = linear_demos(), Imagination(expert_noise=0.5)
    data = in_imagination(on_device([demos]), [demos], settings, SPEC)[0]
    expert = demos.transitions
    moved = data.jitter(expert, jr.key(5))
    assert float(jnp.abs(moved.obs - expert.obs).max()) > 0.05
    np.testing.assert_array_equal(moved.action, expert.action)
    np.testing.assert_allclose(moved.next_obs, data.dynamics(moved.obs, moved.action), atol=0.05)


def test_noise_has_unit_size_in_whitened_coordinates():
    demos = linear_demos()
    data = in_imagination(on_device([demos]), [demos], Imagination(), SPEC)[0]
    whitened = np.asarray(data.noise(jr.key(6), 4000) @ data.dynamics.scale.transform)
    np.testing.assert_allclose(np.cov(whitened.T), np.eye(3), atol=0.12)


def test_least_squares_is_for_chi2_with_transitions_of_the_learner_only():
    assert InverseSoftQ(IQLearn(), learner_acts=True).least_squares
    assert not InverseSoftQ(IQLearn(), learner_acts=False).least_squares
    assert not InverseSoftQ(IQLearn(divergence="tv"), learner_acts=True).least_squares
    assert not InverseSoftQ(IQLearn(form="inverse"), learner_acts=True).least_squares


def test_least_squares_and_inverse_form_agree_where_q_is_v():
    """With one action Q = V, and χ² on the mixture is the squared error with rewards ±r_max up to a constant."""
    spec = TaskSpec((3,), 1)
    demos = linear_demos()
    demos = Demos.from_arrays({**demos.arrays(), "act": np.zeros(len(demos), np.int64)})
    gradients = []
    for form in ("least_squares", "inverse"):
        settings = IQLearn(form=form, imagination=Imagination(error_limit=1e9))
        algorithm = InverseSoftQ(settings, learner_acts=True)
        state = algorithm.init(spec, demos.observation_scale(), jr.key(0))
        data = in_imagination(on_device([demos]), [demos], settings.imagination, spec)[0]
        state = data.begin(state, jr.key(1))
        batch, state = data.draw(state, jr.key(2), 16)

        def loss(model, algorithm=algorithm, state=state, batch=batch):
            return algorithm.loss(model, state.target, batch, jr.key(3))[0]

        gradient = jax.grad(loss)(state.model)
        gradients.append(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient.net)]))
    cosine = gradients[0] @ gradients[1] / np.linalg.norm(gradients[0]) / np.linalg.norm(gradients[1])
    assert cosine == pytest.approx(1.0, abs=1e-3)
