"""Data on the command line: moved files, held-out episodes, numbers of actions, and files that are refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

import iqlearn as iq
from iqlearn import cli, files
from iqlearn.runs import manifest

SHORT = ("--steps", "6", "--evaluations", "2", "--network.hidden", "8", "--batch-size", "8", "--preset", "paper")


@pytest.fixture(scope="module")
def plain_file(cartpole_arrays, tmp_path_factory):
    """The demonstrations of `cartpole_file` without the name of the environment."""
    path = tmp_path_factory.mktemp("data") / "plain.npz"
    iq.Demos.from_arrays({name: array for name, array in cartpole_arrays.items() if name != "env"}).save(path)
    return path


@pytest.fixture(scope="module")
def seeds(plain_file, tmp_path_factory):
    """The folder of two seeds that learnt from two of six episodes each; tests read it only."""
    folder = tmp_path_factory.mktemp("seeds") / "runs"
    flags = ("--trajectories", "2", "--actions", "3", "--seeds", "2", *SHORT)
    cli.main(["train", "--demos", str(plain_file), "--out", str(folder), *flags])
    return folder


def edit(folder, part, **changes):
    """Change settings of a run, in every file that holds them."""
    kept = files.read_arrays(folder / manifest.CHECKPOINT)
    kept.about["config"][part] |= changes
    contents = {manifest.CHECKPOINT: files.arrays_bytes(kept.arrays, kept.about)}
    manifest.update(folder, contents | {manifest.CONFIG: files.json_bytes(kept.about["config"])})


def test_actions_flag_sets_and_checks_the_number_of_actions(seeds, plain_file, tmp_path, sentence):
    assert iq.Run.load(seeds / "seed-0").task.actions == 3
    assert "expected 0 to 0, as --actions says" in sentence("train", "--demos", plain_file, "--actions", 1)
    told = sentence("train", "--demos", plain_file, "--env", "CartPole-v1", "--actions", 3, "--out", tmp_path / "run")
    assert "--actions is 3; expected 2 as CartPole-v1 has" in told


def test_evaluate_with_demos_uses_the_held_out_episodes(seeds, plain_file, capsys):
    capsys.readouterr()
    cli.main(["evaluate", str(seeds), "--demos", str(plain_file), "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert [facts["seeds"][f"seed-{i}"]["episodes"] for i in (0, 1)] == [4, 4]
    demos = iq.Demos.load(plain_file)
    for i in (0, 1):
        run, found = iq.Run.load(seeds / f"seed-{i}"), facts["seeds"][f"seed-{i}"]
        rest = demos.leave_out(*np.unique(demos.take(2, i).ep).tolist())
        assert found["held_out"]
        assert found["agreement"] == pytest.approx(float((run.policy(rest.obs) == rest.act).mean()))
        assert found["log_likelihood"] < 0.0
    mean = np.mean([facts["seeds"][f"seed-{i}"]["agreement"] for i in (0, 1)])
    assert facts["agreement"] == pytest.approx(mean)


def test_evaluate_warns_if_no_episode_is_held_out(seeds, plain_file, tmp_path, capsys):
    iq.Demos.load(plain_file).take(2, 0).save(tmp_path / "same.npz")
    shutil.copytree(seeds / "seed-0", tmp_path / "run")
    edit(tmp_path / "run", "origin", selection=[])
    capsys.readouterr()
    cli.main(
        ["evaluate", str(tmp_path / "run"), "--demos", str(tmp_path / "same.npz"), "--trajectories", "1", "--json"]
    )
    out, err = capsys.readouterr()
    assert "learnt from every episode of same.npz; none is held out" in err
    assert (json.loads(out)["held_out"], json.loads(out)["episodes"]) == (False, 1)


def test_action_error_is_reported_absolute_and_relative_to_the_spread_of_actions(pendulum):
    run = iq.learn(iq.BCContinuous(), replace(pendulum.take(1), env=None), steps=2, evaluations=1, quiet=True)
    facts = run.imitation(pendulum)
    error = run.policy(pendulum.obs) - pendulum.act
    assert facts["action_error"] == pytest.approx(float(np.sqrt((error**2).mean())), rel=1e-4)
    assert facts["relative_error"] == pytest.approx(facts["action_error"] / float(pendulum.act.std()), rel=1e-4)
    assert np.isfinite(facts["log_likelihood"])


@pytest.mark.parametrize(
    "flags",
    [
        ("--trajectories", 1),
        ("--max-demos-gib", 1),
        *(
            ("--demos", "FILE", *more)
            for more in (("--episodes", 2), ("--seed", 1), ("--env", "CartPole-v1"), ("--sampled",))
        ),
    ],
)
def test_flags_without_effect_on_an_evaluation_are_refused(seeds, plain_file, sentence, flags):
    words = [plain_file if word == "FILE" else word for word in flags]
    assert "has no effect with" in sentence("evaluate", seeds, *words)


def test_resume_accepts_moved_demonstrations_with_the_demos_flag(seeds, plain_file, tmp_path, sentence):
    """Only a file with the same data is accepted; the run stores its new path."""
    shutil.copytree(seeds, tmp_path / "runs")
    for i in (0, 1):
        edit(tmp_path / "runs" / f"seed-{i}", "origin", path=str(tmp_path / "gone.npz"))
        edit(tmp_path / "runs" / f"seed-{i}", "schedule", steps=12)
    assert "If that was moved, name it with --demos" in sentence("resume", tmp_path / "runs")
    iq.Demos.builtin("CartPole-v1").save(tmp_path / "other.npz")
    assert "is not what" in sentence("resume", tmp_path / "runs", "--demos", tmp_path / "other.npz")
    assert "--reward has no effect" in sentence("resume", tmp_path / "runs", "--reward", seeds / "seed-0")
    moved = tmp_path / "moved.npz"
    shutil.copy(plain_file, moved)
    cli.main(["resume", str(tmp_path / "runs"), "--demos", str(moved)])
    for i in (0, 1):
        run = iq.Run.load(tmp_path / "runs" / f"seed-{i}")
        assert (run.origin.path, run.result["status"], run.rows[-1]["step"]) == (str(moved), "completed", 12)


def test_resume_accepts_a_moved_reward_with_the_reward_flag(cartpole_file, tmp_path, sentence):
    flags = ("--steps", "70", "--evaluations", "2", "--eval-episodes", "1", "--random-steps", "10")
    cli.main(["train", "--demos", str(cartpole_file), "--out", str(tmp_path / "run"), "--eval-episodes", "1", *SHORT])
    flags = ("--env", "CartPole-v1", "--reward", str(tmp_path / "run"), "--out", str(tmp_path / "agent"), *flags)
    cli.main(["expert", *flags, "--network.hidden", "8", "--batch-size", "8"])
    (tmp_path / "run").rename(tmp_path / "moved")
    assert "If that was moved, name it with --reward" in sentence("resume", tmp_path / "agent")
    assert "--demos has no effect" in sentence("resume", tmp_path / "agent", "--demos", cartpole_file)
    cli.main(["resume", str(tmp_path / "agent"), "--reward", str(tmp_path / "moved")])


def test_inspect_and_train_refuse_the_same_files(cartpole_arrays, tmp_path, sentence, capsys):
    """Actions that the environment lacks, an impossible number of actions, and a file that is too large."""
    files = {name: tmp_path / f"{name}.npz" for name in ("more", "huge", "large")}
    act = cartpole_arrays["act"] + np.where(np.arange(len(cartpole_arrays["act"])) == 4, 2, 0)
    np.savez(files["more"], **{**cartpole_arrays, "act": act})
    np.savez(files["huge"], **{**cartpole_arrays, "act": 10**4 * act, "env": np.array("Gone-v0")})
    for file in ("more", "huge"):
        said = {sentence(*words, files[file]) for words in (("demos", "inspect"), ("train", "--demos"))}
        assert len(said) == 1, said
    np.savez(files["large"], **cartpole_arrays)
    for words in (("demos", "inspect"), ("train", "--demos")):
        assert "unpacks to" in sentence(*words, files["large"], "--max-demos-gib", "1e-7")
    cli.main(["demos", "inspect", str(files["huge"]), "--actions", "90000", "--json"])
    assert "cannot be made, so nothing is compared" in json.loads(capsys.readouterr().out)["remarks"][0]
