"""Comparison of a reward with the true one: transitions, figures and files."""

from functools import partialmethod

import jax.random as jr
import numpy as np
import pytest

from iqlearn import files
from iqlearn.data.demos import Demos
from iqlearn.envs.gym import Environment
from iqlearn.errors import InputError
from iqlearn.evaluation import plots
from iqlearn.networks import encoders
from iqlearn.networks.mlp import Network
from iqlearn.networks.policy import Policy
from iqlearn.networks.soft_q import DiscreteSoftQ
from iqlearn.rewards.base import Ends
from iqlearn.rewards.compare import compare, distilled, material, numbered, refitted
from iqlearn.rewards.distil import DistilledReward
from iqlearn.rewards.recovered import RecoveredReward

GRID = Environment.of("iqlearn.envs:iqlearn/GridWorld-v0", {"size": 4})
KINDS = ("policy", "random", "noisy")


@pytest.fixture(scope="module")
def model() -> DiscreteSoftQ:
    return DiscreteSoftQ(GRID.task, Network((8,)), 1, encoders.blank(GRID.task.obs, "none"), jr.key(0))


@pytest.fixture(scope="module")
def reward(model) -> RecoveredReward:
    return RecoveredReward(model, Ends(0.9, True, -1.0), GRID.task)


@pytest.fixture(scope="module")
def sets(model) -> dict[str, Demos]:
    return material(GRID, Policy(model), None, KINDS, 3, 0)


@pytest.fixture(scope="module", autouse=True)
def drawn():
    """The sets of transitions in each plot."""
    pictures = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "rewards", lambda path, kinds, title: pictures.update({path.name: (list(kinds), title)}))
        yield pictures


def test_compare_reports_figures_of_all_transitions_and_of_each_kind(reward, sets, drawn, tmp_path) -> None:
    facts = compare(GRID, reward, sets, tmp_path / "reward", "title")
    assert list(facts["kinds"]) == list(KINDS)
    spread = {"transitions", "mean", "std", "min", "max", "episodes", "episode_mean"}
    correlations = {f"{name}_{what}" for name in ("pearson", "spearman") for what in ("transition", "episode")}
    assert facts.keys() == spread | correlations | {"pearson_length", "pearson_mean", "epic", "kinds"}
    assert all(kind.keys() == spread | correlations for kind in facts["kinds"].values())
    assert facts["episodes"] == 9
    assert facts["transitions"] == sum(kind["transitions"] for kind in facts["kinds"].values())
    assert 0.0 < facts["epic"] < 1.0
    assert files.read_json(tmp_path / "reward.json")["epic"] == facts["epic"]
    assert drawn == {"reward.png": (list(KINDS), "title")}


def test_true_reward_has_zero_epic_distance_to_itself(reward, sets, tmp_path) -> None:
    class Truth(RecoveredReward):
        def __call__(self, transitions, absorbing=False):
            rows = transitions.transitions if isinstance(transitions, Demos) else transitions
            return 2.0 * np.asarray(GRID.true_reward(*map(np.asarray, rows[:3])), np.float64)

    truth = Truth(reward.model, Ends(0.9, True, 0.0), GRID.task)
    facts = compare(GRID, truth, sets, tmp_path / "reward", "")
    assert facts["epic"] == pytest.approx(0.0, abs=1e-6)
    assert facts["pearson_transition"] == pytest.approx(1.0)


def test_correlations_are_not_reported_without_a_true_reward(reward, sets, drawn, tmp_path) -> None:
    arrays = {name: x for name, x in sets["noisy"].arrays().items() if name != "rew"}
    unknown = {"demos": Demos.from_arrays(arrays)}
    drawn.clear()
    facts = compare(None, reward, unknown, tmp_path / "reward", "")
    assert not {"epic", "pearson_transition", "pearson_length"} & facts.keys()
    assert drawn == {}
    some = {**unknown, "random": sets["random"]}
    facts = compare(None, reward, some, tmp_path / "some", "")
    assert "pearson_transition" not in facts
    assert "pearson_transition" in facts["kinds"]["random"]
    assert drawn == {"some.png": (["random"], "")}


def test_episodes_are_numbered_across_all_sets(sets) -> None:
    numbers = numbered(sets)
    lengths = np.concatenate([demos.lengths for demos in sets.values()])
    np.testing.assert_array_equal(numbers, np.repeat(np.arange(9), lengths))


@pytest.fixture
def quick(monkeypatch) -> None:
    """Fits of few updates."""
    for name in ("distil", "refit"):
        monkeypatch.setattr(RecoveredReward, name, partialmethod(getattr(RecoveredReward, name), updates=5))


@pytest.mark.usefixtures("quick")
def test_distilled_reward_is_saved_and_reported_with_its_correlation(reward, sets, tmp_path) -> None:
    facts = distilled(reward, sets, "state", tmp_path)
    assert -1.0 <= facts["distilled_pearson"] <= 1.0
    assert facts["distilled"] == str(tmp_path / "reward-state.safetensors")
    assert DistilledReward.load(facts["distilled"]).kind == "state"


@pytest.mark.usefixtures("quick")
def test_distilled_correlation_is_none_with_fewer_than_five_episodes(reward, sets, tmp_path) -> None:
    few = {"noisy": sets["noisy"].take(2)}
    assert distilled(reward, few, "state", tmp_path)["distilled_pearson"] is None


@pytest.mark.usefixtures("quick")
def test_refit_is_saved_and_a_state_action_refit_requires_actions(model, reward, sets, tmp_path) -> None:
    expert = sets["policy"].without_actions()
    told = refitted(GRID, Policy(model), reward, expert, "state", 3, 0, tmp_path)
    again = DistilledReward.load(tmp_path / "refit-state.safetensors")
    np.testing.assert_array_equal(again(sets["noisy"]), told(sets["noisy"]))
    with pytest.raises(InputError):
        refitted(GRID, Policy(model), reward, expert, "state-action", 3, 0, tmp_path)


def test_missing_environment_or_empty_material_is_rejected(model, reward, sets, tmp_path) -> None:
    with pytest.raises(InputError, match="names no environment to play rollouts in"):
        material(None, Policy(model), None, KINDS, 1, 0)
    with pytest.raises(InputError, match="Nothing to judge"):
        material(GRID, Policy(model), None, (), 1, 0)
    with pytest.raises(InputError, match="names no environment to meet others in"):
        refitted(None, Policy(model), reward, sets["policy"], "state", 1, 0, tmp_path)
