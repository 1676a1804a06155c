"""Energy reward: high where a state is nearer to the expert's states than to the learner's, and renewed."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

import iqlearn as iq
from iqlearn.extensions import reward_first
from iqlearn.extensions.energy_reward import FLOOR, POINTS, EnergyReward, Witness
from iqlearn.networks import encoders
from iqlearn.types import ArraySpec

SMALL = iq.Network((8,))
SETTINGS = iq.IQLearnContinuous(
    critic=SMALL, actor=SMALL, average_rate=0.1, batch_size=4, extensions=(EnergyReward(steps=30, every=20),)
)
ACTING = iq.Interaction(random_steps=5, round_steps=10)
SHORT = {"env": "Pendulum-v1", "env_kwargs": {"max_episode_steps": 10}, "interaction": ACTING, "quiet": True}


def of(extension: EnergyReward) -> iq.IQLearnContinuous:
    return replace(SETTINGS, extensions=(extension,))


class Look(iq.Callback):
    """Records the reward's points and the updates after each round, and the newest transitions at the end."""

    def __init__(self) -> None:
        self.points, self.updates = [], []

    def on_round(self, training):
        state = training.groups[0].states
        self.points.append(np.asarray(state.aux["energy_reward"]["witness"].visited))
        self.updates.append(int(state.step))

    def on_evaluation(self, training):
        self.met = jax.tree.map(np.asarray, training.groups[0].sources.replay.newest(30))


@pytest.mark.slow
def test_the_reward_is_found_before_the_first_update_and_renewed(pendulum):
    look = Look()
    run = iq.learn(SETTINGS, pendulum, steps=80, evaluations=1, eval_episodes=1, callbacks=[look], **SHORT)
    assert look.updates == [0, 0, 0, 0, 10, 20, 30, 40]
    new = [not np.array_equal(a, b) for a, b in itertools.pairwise(look.points)]
    assert new == [False, True, False, True, False, True, False]
    witness = run.state.aux["energy_reward"]["witness"]
    of_expert, of_others = (witness(jnp.asarray(part.next_obs)) for part in (pendulum.transitions, look.met))
    assert float(of_expert.mean()) > float(of_others.mean()), "a newcomer does not swing up in ten steps"
    assert max(np.abs(of_expert).max(), np.abs(of_others).max()) <= SETTINGS.limit


def witness_of(expert: np.ndarray, visited: np.ndarray, limit: float = 1.0) -> Witness:
    """The witness of states that need no scaling."""
    encoder, zero = encoders.blank(ArraySpec(expert.shape[1:]), "none"), jnp.zeros(())
    points = jnp.asarray(expert, jnp.float32)
    return Witness(encoder, points, points, zero, zero, zero, jnp.float32(limit)).renewed(np.float32(visited))


def test_witness_is_the_difference_of_mean_distances_and_gives_the_energy_distance():
    """Székely & Rizzo, 2013: 2·E|X − Y| − E|X − X'| − E|Y − Y'|."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(POINTS, 3)), rng.normal(1.0, 2.0, size=(POINTS, 3))
    witness, new = witness_of(x, y), rng.normal(size=(5, 3))
    np.testing.assert_allclose(
        witness.value(jnp.asarray(new, jnp.float32)), cdist(new, y).mean(1) - cdist(new, x).mean(1), rtol=1e-3
    )
    energy = 2.0 * cdist(x, y).mean() - cdist(x, x).mean() - cdist(y, y).mean()
    assert 2.0 * float(witness.half) == pytest.approx(energy, rel=1e-2)


def test_mean_reward_is_the_limit_for_the_expert_and_minus_the_limit_for_the_learner():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(POINTS, 2)), rng.normal(8.0, 1.0, size=(POINTS, 2))
    witness = witness_of(x, y, limit=2.0)
    means = [float(witness(jnp.asarray(part, jnp.float32)).mean()) for part in (x, y, 0.5 * (x + y))]
    assert means == pytest.approx([2.0, -2.0, 0.0], abs=0.2)


def test_reward_is_finite_if_the_learner_starts_in_the_expert_states():
    x = np.random.default_rng(0).normal(size=(POINTS, 2))
    assert np.isfinite(witness_of(x, x)(jnp.asarray(x, jnp.float32))).all()


def test_rewards_stay_small_when_the_learner_comes_close_to_the_expert():
    """The scale is at least half of the first one. Otherwise small differences would give large, noisy rewards."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(POINTS, 2)), rng.normal(4.0, 1.0, size=(POINTS, 2))
    first = witness_of(x, y)
    closer = first.renewed(np.float32(rng.normal(size=(POINTS, 2))))
    assert float(closer.half) == float(closer.floor) == pytest.approx(FLOOR * float(first.half))
    assert float(jnp.abs(closer(closer.visited)).mean()) < 0.2


@pytest.mark.parametrize("change", [{"steps": 0}, {"every": 0}, {"recent": 0}])
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(iq.InputError, match=f"{next(iter(change))} is 0"):
        EnergyReward(**change)


@pytest.mark.parametrize(
    ("error", "change", "online", "steps", "used"),
    [
        (0.29, {}, True, 100_000, False),
        (0.31, {}, True, 100_000, True),
        (None, {}, True, 100_000, False),
        (0.31, {}, False, 100_000, False),
        (0.31, {}, True, 9_999, False),
        (0.31, {"divergence": "tv"}, True, 100_000, False),
        (0.31, {"state_only": True}, True, 100_000, False),
    ],
)
def test_energy_reward_is_recommended_without_pretraining_where_cloning_is_hopeless(
    pendulum, monkeypatch, error, change, online, steps, used
):
    monkeypatch.setattr(reward_first, "leave_one_out_error", lambda *_: error)
    asked = pendulum, pendulum.task_spec(), iq.IQLearnContinuous(**change), online, steps
    found, reason = EnergyReward.suggest(*asked)
    assert found == (EnergyReward() if used else None)
    assert ("no pretraining, because" in reason) == used
    if used:
        assert iq.RewardRegression.suggest(*asked) == (None, "")
        assert iq.Cloning.suggest(*asked)[0] == iq.Cloning(updates=0, weight=1.0, regularisation=0.0)


def test_energy_reward_is_not_recommended_for_subsampled_demonstrations(pendulum, monkeypatch):
    monkeypatch.setattr(reward_first, "leave_one_out_error", lambda *_: 0.9)
    asked = pendulum.task_spec(), iq.IQLearnContinuous(), True, 100_000
    assert EnergyReward.suggest(pendulum.subsample(5), *asked) == (None, "")
    assert iq.RewardRegression.suggest(pendulum.subsample(5), *asked)[0] == iq.RewardRegression()
    assert EnergyReward.suggest(pendulum, *asked)[0] == EnergyReward()


def test_two_rewards_at_once_are_refused(pendulum):
    both = replace(SETTINGS, extensions=(iq.RewardRegression(), EnergyReward()))
    with pytest.raises(iq.InputError, match="expected one of reward_regression and energy_reward, because each gives"):
        iq.learn(both, pendulum, steps=20_000, **SHORT)
