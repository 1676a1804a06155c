"""Imitation from observations only: no action of the expert is read, whatever the algorithm and the mode."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import iqlearn as iq
from iqlearn import ActionInference, Cloning, Demos, InputError, IQLearn, IQLearnContinuous, Network
from iqlearn.networks import encoders
from iqlearn.training import trainer
from iqlearn.types import ArraySpec, Batch, Bounds, TaskSpec, Transitions

NETWORK = Network(hidden=(8,))
DISCRETE = IQLearn(state_only=True, network=NETWORK, batch_size=8)
CONTINUOUS = IQLearnContinuous(state_only=True, critic=NETWORK, actor=NETWORK, batch_size=8)
INFERRED = replace(
    CONTINUOUS,
    average_rate=0.1,
    extensions=(
        ActionInference(steps=20, rounds=2, updates=5, clone_updates=0),
        Cloning(updates=5, reach=0.0, weight=1.0),
    ),
)
ACTING = iq.Interaction(random_steps=10, round_steps=10)


def learnt(settings: Any, demos: Demos, online: bool) -> iq.Run:
    mode, acting = ("online", ACTING) if online else ("offline", None)
    once = {"steps": 45, "evaluations": 1, "eval_episodes": 1, "quiet": True}
    return iq.learn(settings, demos, mode=mode, interaction=acting, **once)


@pytest.mark.parametrize(
    ("settings", "online"),
    [(DISCRETE, False), (DISCRETE, True), (CONTINUOUS, False), pytest.param(INFERRED, True, marks=pytest.mark.slow)],
    ids=["discrete offline", "discrete online", "continuous offline", "inferred online"],
)
def test_a_run_does_not_depend_on_the_experts_actions(settings, online, cartpole, pendulum):
    """Shuffled actions and missing actions give the same run, bit for bit."""
    demos = cartpole if settings.discrete else pendulum
    scrambled = replace(demos, act=np.random.default_rng(0).permutation(demos.actions))
    assert not np.array_equal(scrambled.act, demos.act)
    first, other = (learnt(settings, part, online) for part in (scrambled, demos.without_actions()))
    for a, b in zip(jax.tree.leaves(first.state), jax.tree.leaves(other.state), strict=True):
        np.testing.assert_array_equal(a, b)
    assert other.rows == first.rows
    assert other.origin == first.origin
    assert "entropy" in first.rows[-1]
    assert not {"log_likelihood", "squared_error"} & set(first.rows[-1]), "metrics do not speak of unknown actions"


def test_run_without_state_only_depends_on_the_expert_actions(cartpole):
    """Without this the test above would also pass if nothing was learnt."""
    scrambled = replace(cartpole, act=1 - cartpole.actions)
    a, b = (learnt(replace(DISCRETE, state_only=False), part, False) for part in (cartpole, scrambled))
    assert any(np.any(x != y) for x, y in zip(jax.tree.leaves(a.model), jax.tree.leaves(b.model), strict=True))


def test_expert_discrete_actions_are_replaced_by_samples_of_the_policy(monkeypatch):
    task = TaskSpec(ArraySpec((2,)), 3)
    settings = replace(DISCRETE, temperature=1.0)
    state = settings.init(task, encoders.blank(task.obs, "none"), jr.key(0))
    obs = jr.normal(jr.key(1), (600, 2))
    rows = Transitions(obs, jnp.full(600, 2), obs, jnp.zeros(600, bool))
    read = []

    def spied(_settings, model, _state, batch, _key):
        read.append(batch)
        return jnp.sum(model.net.members.layers[0].bias), {}

    monkeypatch.setattr(IQLearn, "loss", spied)
    settings.update(state, Batch(rows, None, obs), jr.key(2))
    settings.update(state, Batch(rows, rows, obs), jr.key(3))
    replace(settings, state_only=False).update(state, Batch(rows, rows, obs), jr.key(3))
    alone, mixed, known = read
    assert alone.visited is None
    share = np.bincount(alone.expert.action, minlength=3) / 600
    likely = np.exp(state.model.log_prob(obs[:1].repeat(3, 0), jnp.arange(3)))
    np.testing.assert_allclose(share, likely, atol=0.1)
    assert (mixed.visited.action == 2).all()
    assert (mixed.expert.action != alone.expert.action).any()
    assert (known.expert.action == 2).all()


def test_expert_continuous_actions_do_not_affect_the_loss_unless_inferred():
    """The expert's action only changes the loss if it was inferred. The learner's action always changes the loss."""
    task = TaskSpec(ArraySpec((3,)), Bounds((-1.0, 0.0), (1.0, 4.0)))
    state = CONTINUOUS.init(task, encoders.blank(task.obs, "none"), jr.key(0))
    obs = jr.normal(jr.key(1), (8, 3))
    first = Transitions(obs, jnp.full((8, 2), 0.2), obs[::-1], jnp.arange(8) == 3)
    other = first._replace(action=jnp.full((8, 2), 0.9))

    def losses(settings: IQLearnContinuous) -> tuple[float, float, float]:
        program = jax.jit(lambda *sides: settings.loss(state.model, state, Batch(*sides, obs), jr.key(2))[0])
        return tuple(float(program(*sides)) for sides in ((first, first), (other, first), (first, other)))

    plain, expert, learner = losses(CONTINUOUS)
    assert plain == expert != learner
    inferred, expert, learner = losses(replace(CONTINUOUS, extensions=(ActionInference(),)))
    assert len({plain, inferred, expert, learner}) == 4


def test_no_model_of_the_dynamics_is_recommended_without_actions(cartpole):
    settings = iq.recommended(cartpole, mode="offline", state_only=True, quiet=True)
    assert settings.state_only
    assert settings.extensions == ()


@pytest.mark.parametrize("online", [True, False])
def test_cloning_with_state_only_is_refused_without_action_inference(online):
    part = Cloning(updates=7, regularisation=0.0)
    part.check(replace(CONTINUOUS, state_only=False, extensions=(part,)), online, 100)
    with pytest.raises(InputError, match=r"expected no cloning with state_only, or action_inference before it"):
        part.check(replace(CONTINUOUS, extensions=(part,)), online, 100)
    part.check(replace(CONTINUOUS, extensions=(ActionInference(), part)), online, 100)


@pytest.mark.parametrize("settings", [replace(DISCRETE, state_only=False), iq.BC()], ids=["iq", "bc"])
def test_algorithms_without_state_only_refuse_demonstrations_without_actions(settings, cartpole):
    with pytest.raises(InputError, match=r"random\.npz: field 'act' is missing; expected .*--state-only"):
        learnt(settings, cartpole.without_actions(), False)
    with pytest.raises(InputError, match=r"'act' is missing"):
        iq.learn(settings, [cartpole.without_actions()], seeds=[0])


def test_demonstrations_without_actions_are_refused_without_an_environment(cartpole):
    with pytest.raises(InputError, match=r"random\.npz: the actions of the task are unknown.*--env"):
        learnt(DISCRETE, replace(cartpole, env=None), False)


def test_seeds_side_by_side_train_without_actions_as_each_seed_alone(cartpole, monkeypatch):
    """Bit for bit in separate programs. Stacked into one program, as on a GPU, up to the order of sums."""
    once = {"steps": 5, "evaluations": 1, "eval_episodes": 1, "quiet": True}
    parts = [cartpole.without_actions(), cartpole.without_actions().take(2, seed=0)]
    alone = [iq.learn(DISCRETE, demos, seed=seed, **once) for seed, demos in enumerate(parts)]
    assert alone[0].rows[-1]["loss"] != alone[1].rows[-1]["loss"]
    for same in (np.testing.assert_array_equal, partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5)):
        for run, single in zip(iq.learn(DISCRETE, parts, seeds=[0, 1], **once), alone, strict=True):
            jax.tree.map(same, run.state, single.state)
            same(run.rows[-1]["loss"], single.rows[-1]["loss"])
        monkeypatch.setattr(trainer.jax, "default_backend", lambda: "gpu")
