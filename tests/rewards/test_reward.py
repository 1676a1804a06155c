"""The recovered reward: values, episode ends, distillations, refits and files."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from iqlearn.errors import InputError
from iqlearn.networks import encoders
from iqlearn.networks.mlp import Network
from iqlearn.networks.soft_q import ContinuousSoftQ, DiscreteSoftQ
from iqlearn.rewards.base import Ends, of_task, rows_at
from iqlearn.rewards.distil import DistilledReward, check_kind
from iqlearn.rewards.recovered import RecoveredReward
from iqlearn.types import ArraySpec, Bounds, TaskSpec, Transitions

SPEC = TaskSpec(ArraySpec((3,)), Bounds((-2.0, -1.0), (2.0, 1.0)))
GAMMA = 0.9


@pytest.fixture(scope="module")
def model() -> ContinuousSoftQ:
    obs = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    encoder = encoders.fit(SPEC.obs, obs, "standard", 10.0)
    return ContinuousSoftQ(SPEC, Network((16,)), 2, Network((16,)), encoder, jr.key(0), 0.01)


@pytest.fixture(scope="module")
def reward(model: ContinuousSoftQ) -> RecoveredReward:
    return RecoveredReward(model, Ends(GAMMA, True), SPEC)


@pytest.fixture(scope="module")
def of_survivors(model: ContinuousSoftQ) -> RecoveredReward:
    """The reward of a run whose expert never ended an episode."""
    return RecoveredReward(model, Ends(GAMMA, True, -2.0), SPEC)


def rows(n: int, ends: float = 0.2, seed: int = 1) -> Transitions:
    rng = np.random.default_rng(seed)
    obs, next_obs = rng.normal(size=(2, n, 3)).astype(np.float32)
    action = rng.uniform(-1, 1, size=(n, 2)).astype(np.float32)
    return Transitions(obs, action, next_obs, rng.random(n) < ends)


def test_reward_is_q_minus_discounted_v_with_zero_v_after_termination(
    model: ContinuousSoftQ, reward: RecoveredReward
) -> None:
    batch = rows(40)
    q = np.asarray(model.q(jnp.asarray(batch.obs), jnp.asarray(batch.action)))
    v = np.asarray(model.v(jnp.asarray(batch.next_obs)))
    np.testing.assert_allclose(reward(batch), q - GAMMA * np.where(batch.terminal, 0.0, v), atol=1e-5)


def test_absorbing_form_excludes_rewards_after_termination(reward: RecoveredReward) -> None:
    batch = rows(40)
    paid, step = reward(batch), reward(batch, absorbing=True)
    ends = np.asarray(batch.terminal)
    assert ends.any()
    np.testing.assert_array_equal(paid[~ends], step[~ends])
    np.testing.assert_allclose(step[ends], (1.0 - GAMMA) * paid[ends], rtol=1e-5)


def test_every_termination_pays_minus_r_max_if_no_expert_episode_terminated(
    reward: RecoveredReward, of_survivors: RecoveredReward
) -> None:
    """−r_max at the end itself, for any Q, and in each step after it."""
    batch = rows(200)
    ends = np.asarray(batch.terminal)
    step, paid = of_survivors(batch, absorbing=True), of_survivors(batch)
    np.testing.assert_array_equal(step[ends], -2.0)
    np.testing.assert_allclose(paid[ends], -2.0 / (1.0 - GAMMA), rtol=1e-5)
    np.testing.assert_array_equal(step[~ends], reward(batch)[~ends])
    np.testing.assert_array_equal(of_survivors.ends.after(step), np.full(200, -2.0))


def test_rewards_at_ends_agree_with_the_fixed_point_of_training() -> None:
    """If Q is optimal for the objective, −r_max/(1−γ) at a failure, both rules give −r_max for the last step."""
    q = jnp.full(3, -2.0 / (1.0 - GAMMA))
    for ends in (Ends(GAMMA, True), Ends(GAMMA, True, -2.0)):
        np.testing.assert_allclose(ends.step(q), -2.0, rtol=1e-5)
        np.testing.assert_allclose(ends.paid(np.full(3, -2.0), np.ones(3, bool)), q, rtol=1e-5)


def test_at_discount_changes_only_rewards_after_termination(reward, of_survivors) -> None:
    batch = rows(40)
    ends = np.asarray(batch.terminal)
    for told in (reward, of_survivors, of_survivors.distil(rows(200), updates=20)):
        other, step = told.at_discount(0.99), told(batch, absorbing=True)
        np.testing.assert_array_equal(other(batch, absorbing=True), step)
        np.testing.assert_array_equal(other(batch)[~ends], step[~ends])
        follows = told.ends.after(step)[ends]
        np.testing.assert_allclose(other(batch)[ends] - step[ends], 99.0 * follows, rtol=1e-4)
    with pytest.raises(InputError, match="expected a number in"):
        reward.at_discount(1.0)


@pytest.mark.parametrize("n", [1, 7, 64, 16_384 + 3])
def test_reward_of_a_row_does_not_depend_on_its_batch(reward: RecoveredReward, n: int) -> None:
    batch = rows(n)
    some = np.unique([0, n // 2, n - 1])
    one_by_one = np.concatenate([reward(rows_at(batch, [i])) for i in some])
    np.testing.assert_allclose(reward(batch)[some], one_by_one, atol=1e-5)


@pytest.mark.slow
def test_state_action_distillation_recovers_the_reward_better_than_state_distillation(reward: RecoveredReward) -> None:
    batch = rows(4_000, ends=0.0)._replace(next_obs=np.zeros((4_000, 3), np.float32))  # r depends on (s, a) only
    held = rows(500, ends=0.0, seed=2)._replace(next_obs=np.zeros((500, 3), np.float32))
    both, state = (reward.distil(batch, kind, updates=2_000) for kind in ("state-action", "state"))
    true = reward(held)
    assert np.corrcoef(both(held), true)[0, 1] > 0.98
    assert np.mean((state(held) - true) ** 2) > 2.0 * np.mean((both(held) - true) ** 2)
    other = held._replace(action=-np.asarray(held.action), next_obs=held.obs)
    np.testing.assert_array_equal(state(other), state(held))
    assert np.abs(both(held._replace(next_obs=held.obs)) - both(held)).max() == 0.0
    assert np.abs(both(other)).max() <= np.abs(reward(batch, absorbing=True)).max() * 1.001


def test_distilled_reward_includes_the_absorbing_state_after_termination(
    reward: RecoveredReward, of_survivors: RecoveredReward
) -> None:
    """Where every end pays −r_max, the rewards after an end are those of the recovered reward. Those of the last step
    are fitted, to a constant, so they are nearly the same."""
    small = reward.distil(rows(500), updates=50)
    batch = rows(30)
    paid, step = small(batch), small(batch, absorbing=True)
    ends = np.asarray(batch.terminal)
    np.testing.assert_array_equal(paid[~ends], step[~ends])
    np.testing.assert_allclose(paid[ends], step[ends] / (1.0 - GAMMA), rtol=1e-5)
    fitted = of_survivors.distil(rows(500, ends=1.0), updates=200)
    later = [one(batch) - one(batch, absorbing=True) for one in (fitted, of_survivors)]
    np.testing.assert_allclose(*later, rtol=1e-5)
    assert (later[1][ends] < -17.0).all()
    np.testing.assert_allclose(fitted(batch)[ends], of_survivors(batch)[ends], rtol=2e-2)


@pytest.mark.parametrize("kind", ["state", "state-action"])
def test_distilled_reward_round_trips_through_its_file(reward: RecoveredReward, tmp_path, kind) -> None:
    small = reward.distil(rows(200), kind, updates=20)
    small.save(tmp_path / "reward.safetensors")
    again = DistilledReward.load(tmp_path / "reward.safetensors")
    np.testing.assert_array_equal(again(rows(10)), small(rows(10)))
    assert (again.kind, again.spec) == (kind, SPEC)


def test_distillation_fits_the_reward_of_single_steps(model, of_survivors) -> None:
    """Rewards after termination are not part of the fit, so they may change later."""
    fitted = of_survivors.distil(rows(200), "state", updates=20)
    later = of_survivors.at_discount(0.99).distil(rows(200), "state", updates=20)
    np.testing.assert_array_equal(fitted(rows(10), absorbing=True), later(rows(10), absorbing=True))
    other = RecoveredReward(model, Ends(GAMMA, True, -5.0), SPEC).distil(rows(200), "state", updates=20)
    assert (other(rows(10), absorbing=True) != fitted(rows(10), absorbing=True)).all()


@pytest.fixture(scope="module")
def refits(reward: RecoveredReward) -> dict[str, DistilledReward]:
    """Refitted rewards of s, and of (s, a), for an expert and others that differ in one coordinate of each."""
    return {
        kind: reward.refit(side(1.0), side(-1.0, seed=2), kind, updates=1_000) for kind in ("state", "state-action")
    }


def side(offset: float, n: int = 400, seed: int = 1) -> Transitions:
    batch = rows(n, ends=0.0, seed=seed)
    obs, action = np.asarray(batch.obs).copy(), np.asarray(batch.action).copy()
    obs[:, 0], action[:, 0] = 0.1 * obs[:, 0] + offset, 0.1 * action[:, 0] + offset
    return batch._replace(obs=obs, action=action)


@pytest.mark.parametrize("kind", ["state", "state-action"])
def test_refit_is_high_on_the_expert_and_rises_towards_it(refits, kind) -> None:
    """Also between the data of both: an agent climbs this slope."""
    between = [refits[kind](side(offset, seed=3)).mean() for offset in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    assert between[-1] > 0.2
    assert between[0] < -0.4
    assert (np.diff(between) > 0.05).all()
    assert max(np.abs(refits[kind](side(offset, seed=3))).max() for offset in (-5.0, 5.0)) <= 1.0


def test_state_action_refit_is_low_for_unseen_combinations(refits) -> None:
    """States of the expert with actions of the others; each is common alone."""
    wrong = side(1.0, seed=3)._replace(action=side(-1.0, seed=4).action)
    assert refits["state-action"](wrong).mean() < refits["state-action"](side(1.0, seed=3)).mean() - 0.2
    np.testing.assert_array_equal(refits["state"](wrong), refits["state"](side(1.0, seed=3)))


def test_refit_is_deterministic_pays_ends_and_round_trips_through_its_file(reward, tmp_path) -> None:
    first, again = (reward.refit(side(1.0), side(-1.0, seed=2), "state", updates=20) for _ in range(2))
    again.save(tmp_path / "refit.safetensors")
    batch = rows(30)
    told = first(batch)
    np.testing.assert_array_equal(DistilledReward.load(tmp_path / "refit.safetensors")(batch), told)
    ends, step = np.asarray(batch.terminal), first(batch, absorbing=True)
    np.testing.assert_allclose(told[ends], step[ends] / (1.0 - GAMMA), rtol=1e-5)
    assert (reward.refit(side(1.0), side(-1.0), "state", updates=5, seed=1)(batch) != told).any()


def test_refit_requires_1_expert_transition_and_64_others(reward) -> None:
    for expert, others in ((1, 63), (0, 64)):
        with pytest.raises(InputError, match="expected at least 1 and 64"):
            reward.refit(side(1.0, n=expert), side(-1.0, n=others))
    assert np.isfinite(reward.refit(side(1.0, n=1), side(-1.0, n=64), updates=5)(rows(10))).all()


def test_missing_or_damaged_reward_file_is_rejected(tmp_path) -> None:
    with pytest.raises(InputError, match="No file"):
        DistilledReward.load(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"not at all")
    with pytest.raises(InputError, match="damaged"):
        DistilledReward.load(tmp_path / "bad.safetensors")


def test_distillation_requires_64_transitions(reward: RecoveredReward) -> None:
    with pytest.raises(InputError, match="at least 64"):
        reward.distil(rows(10))


def test_unknown_reward_kind_is_rejected_with_the_known_kinds() -> None:
    check_kind("state")
    with pytest.raises(InputError, match=r"kind is 'foo'; expected one of state, state-action"):
        check_kind("foo")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"obs": np.zeros(3, np.float32)}, "obs has shape"),
        ({"action": np.zeros((4, 2), np.float32)}, "action has shape"),
        ({"action": np.full(4, 7)}, "action: values are 7 to 7; expected 0 to 1"),
        ({"terminal": np.zeros(2, bool)}, "terminal has shape"),
    ],
)
def test_transitions_of_another_task_are_rejected(change, told) -> None:
    """Out-of-bounds indices would otherwise be read as other indices, silently."""
    good = Transitions(np.zeros((4, 3)), np.zeros(4, int), np.zeros((4, 3)), np.zeros(4, bool))
    assert of_task(good, TaskSpec(ArraySpec((3,)), 2), "the run").action.dtype == np.int32
    with pytest.raises(InputError, match=told):
        of_task(good._replace(**change), TaskSpec(ArraySpec((3,)), 2), "the run")


PARTS = TaskSpec(
    {"image": ArraySpec((4, 4), "uint8"), "at": {"cell": ArraySpec((), "int32", 5), "speed": ArraySpec((2,))}}, 3
)
"""A task whose observations have parts: an image, a category and numbers."""


def parts(n: int, seed: int = 1) -> Transitions:
    rng = np.random.default_rng(seed)

    def obs():
        cell, speed = rng.integers(0, 5, n).astype(np.int32), rng.normal(size=(n, 2)).astype(np.float32)
        return {"image": rng.integers(0, 256, (n, 4, 4)).astype(np.uint8), "at": {"cell": cell, "speed": speed}}

    return Transitions(obs(), rng.integers(0, 3, n).astype(np.int32), obs(), rng.random(n) < 0.2)


@pytest.fixture(scope="module")
def of_parts() -> RecoveredReward:
    encoder = encoders.fit(PARTS.obs, parts(100).obs, "standard", 10.0)
    return RecoveredReward(DiscreteSoftQ(PARTS, Network((16,)), 1, encoder, jr.key(0)), Ends(GAMMA, True), PARTS)


def test_reward_of_nested_observations_does_not_depend_on_the_batch(of_parts) -> None:
    batch = parts(70)
    told = of_parts(batch)
    np.testing.assert_allclose(told[[3, 50]], of_parts(rows_at(batch, [3, 50])), atol=1e-5)
    assert len(np.unique(told)) == 70


@pytest.mark.parametrize("kind", ["state", "state-action"])
def test_fitted_rewards_of_nested_observations_round_trip_through_files(of_parts, tmp_path, kind) -> None:
    batch = parts(80, seed=3)
    for small in (of_parts.distil(parts(200), kind, updates=20), of_parts.refit(parts(5), parts(200), kind, updates=5)):
        small.save(tmp_path / "reward.safetensors")
        again = DistilledReward.load(tmp_path / "reward.safetensors")
        np.testing.assert_array_equal(again(batch), small(batch))
        assert (again.kind, again.spec) == (kind, PARTS)


def test_nested_observations_of_another_task_are_rejected(of_parts) -> None:
    good = parts(4)
    for change, told in (
        ({"obs": good.obs["at"]}, "obs has shape"),
        ({"next_obs": {**good.obs, "image": good.obs["image"][:, :2]}}, "next_obs has shape"),
        (
            {"obs": {**good.obs, "at": {**good.obs["at"], "cell": np.full(4, 5)}}},
            "obs: values are 5 to 5; expected 0 to 4",
        ),
    ):
        with pytest.raises(InputError, match=told):
            of_parts(good._replace(**change))
