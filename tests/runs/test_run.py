"""A run and its folder: saving, loading, and one-line errors for damaged files."""

import functools
import json
from pathlib import Path

import gymnasium as gym
import jax
import numpy as np
import pytest

import iqlearn as iq
from iqlearn.runs import folder
from iqlearn.types import rows

SETTINGS = iq.IQLearn(network=iq.Network((8,)), batch_size=4)


@pytest.fixture(scope="module")
def demos(cartpole):
    arrays = cartpole.take(3).subsample(2).arrays()
    del arrays["env"]
    return iq.Demos.from_arrays(arrays, source="part.npz")


@pytest.fixture(scope="module")
def whole(demos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    iq.learn(SETTINGS, demos, seed=5, out=out, steps=10, evaluations=4, quiet=True)
    return out


def copied(source: Path, target: Path) -> Path:
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_a_loaded_run_is_the_run_that_was_saved(demos, whole, tmp_path):
    run = iq.Run.load(whole)
    run.save(tmp_path / "copy")
    for name in (folder.MODEL, folder.METRICS, folder.CONFIG, folder.RESULT):
        assert (tmp_path / "copy" / name).read_bytes() == (whole / name).read_bytes(), name
    with pytest.raises(iq.InputError, match="not empty"):
        run.save(tmp_path / "copy")
    run.save(tmp_path / "copy", overwrite=True)
    assert run.settings == SETTINGS
    assert run.origin.sha256 == demos.sha256()


def test_a_run_in_memory_is_the_run_in_its_folder(demos, tmp_path):
    run = iq.learn(SETTINGS, demos, steps=4, evaluations=2, out=tmp_path / "run", quiet=True)
    loaded = iq.Run.load(tmp_path / "run")
    assert (loaded.settings, loaded.schedule, loaded.origin) == (run.settings, run.schedule, run.origin)
    assert (loaded.task, loaded.interaction) == (run.task, run.interaction)
    np.testing.assert_array_equal(loaded.policy(demos.obs), run.policy(demos.obs))
    np.testing.assert_array_equal(loaded.reward(demos), run.reward(demos))
    assert loaded.result == json.loads((tmp_path / "run" / folder.RESULT).read_text())


@pytest.mark.parametrize("name", ["config.json", "result.json", "metrics.csv", "model.safetensors"])
def test_missing_file_raises_a_one_line_error(whole, tmp_path, name):
    (copied(whole, tmp_path) / name).unlink()
    with pytest.raises(iq.InputError, match=rf"{name}.*expected") as caught:
        iq.Run.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "result.json", "model.safetensors"])
def test_truncated_file_raises_a_one_line_error(whole, tmp_path, name):
    path = copied(whole, tmp_path) / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(iq.InputError, match=rf"{name}.*damaged.*expected") as caught:
        iq.Run.load(tmp_path)
    assert "\n" not in str(caught.value)


def places(content: object) -> list[tuple[str | int, ...]]:
    """The paths to every value of nested JSON."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [path for key, part in items for path in ((key,), *((key, *rest) for rest in places(part)))]


WRONG = [None, 2.5, "x", {"name": {}}, [[]], "deleted", "unknown"]


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_malformed_config_raises_a_one_line_error(whole, wrong):
    """Values are replaced, deleted or joined by an unknown key: all top-level values and a share of the nested ones."""
    path, taken, told = whole / "config.json", [], []
    everything = places(json.loads(path.read_text()))
    share = everything[WRONG.index(wrong) :: len(WRONG)]
    for *way, last in [place for place in everything if len(place) == 1 or place in share]:
        config = json.loads(path.read_text())
        part = functools.reduce(lambda part, key: part[key], way, config)
        if wrong == "deleted":
            del part[last]
        elif wrong == "unknown" and isinstance(part, dict):
            part["unknown"] = 1
        else:
            part[last] = wrong
        try:
            iq.Run.of_config(config, path)
            taken.append(last)
        except iq.InputError as error:
            told.append(str(error))
    assert all(text.startswith(f"{path} is damaged (") and "\n" not in text for text in told)
    assert not {"settings", "origin", "task"} & {*taken}


def test_repr_of_run_and_demonstrations_is_one_line(demos, whole):
    assert repr(iq.Run.load(whole)) == "<Run iq on part.npz, seed 5: completed>"
    assert repr(demos) == f"<Demos part.npz: {len(demos)} transitions of 3 episodes>"


def test_load_rejects_a_folder_of_several_seeds(demos, tmp_path):
    iq.learn(SETTINGS, demos, seeds=[3, 4], steps=4, evaluations=1, out=tmp_path / "runs", quiet=True)
    assert [iq.Run.load(path).schedule.seed for path in folder.runs_in(tmp_path / "runs")] == [3, 4]
    with pytest.raises(iq.InputError, match=r"holds the runs of 2 seeds; expected one, such as .*seed-3"):
        iq.Run.load(tmp_path / "runs")


def test_last_policy_is_returned_without_an_environment(whole):
    for a, b in zip(*(jax.tree.leaves(iq.Run.load(whole, last=last).model) for last in (False, True)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def played(cartpole, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "played"
    length = {"steps": 20, "evaluations": 4, "eval_episodes": 2, "sampled": True, "quiet": True}
    return iq.learn(SETTINGS, cartpole, env="CartPole-v1", seed=2, out=out, **length), out


def test_best_policy_has_the_smallest_occupancy_distance(cartpole, played):
    run, out = played
    distances = [row["occupancy_distance"] for row in run.rows]
    best = distances.index(min(distances))
    assert run.result["best_step"] == run.rows[best]["step"]
    assert run.drift == pytest.approx(distances[-1] / min(distances))
    loaded = iq.Run.load(out)
    short = (
        iq.learn(
            SETTINGS,
            cartpole,
            env="CartPole-v1",
            seed=2,
            steps=20,
            evaluations=4,
            eval_episodes=2,
            quiet=True,
            callbacks=[lambda training: training.done == run.result["best_step"]],
        )
        if best < 3
        else run
    )
    np.testing.assert_array_equal(loaded.reward(cartpole), short.reward(cartpole))


def test_evaluate_samples_actions_by_default_if_training_did(played):
    run, out = played
    loaded = iq.Run.load(out)
    returns = {sampled: loaded.evaluate(4, sampled=sampled).tolist() for sampled in (None, True, False)}
    assert returns[None] == returns[True] != returns[False]
    assert returns[None] == loaded.evaluate(4).tolist() == run.evaluate(4).tolist()
    assert loaded.evaluate(4, seed=1).tolist() != returns[None]


def test_evaluate_accepts_only_environments_of_the_same_task(played, whole):
    run, _ = played
    shorter = functools.partial(gym.make, "CartPole-v1", max_episode_steps=5)
    assert run.evaluate(3, env=shorter).tolist() == [5.0] * 3
    with pytest.raises(iq.InputError, match=r"Acrobot-v1 has .* as the run was trained on"):
        run.evaluate(1, env="Acrobot-v1")
    with pytest.raises(iq.InputError, match="The run names no environment; expected one"):
        iq.Run.load(whole).evaluate(1)


def test_reward_of_a_run_raises_for_an_algorithm_without_one(demos):
    run = iq.learn(iq.BC(network=iq.Network((8,))), demos, steps=2, evaluations=1, quiet=True)
    with pytest.raises(iq.InputError, match="'bc' learns no reward; train with --algorithm iq"):
        _ = run.reward
    assert len(run.policy(demos.obs)) == rows(demos.obs)
