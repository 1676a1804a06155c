"""Ctrl-C: training stops soon, keeps the last evaluation complete, and closes no environment under a live thread."""

import os
import signal
import threading
from functools import partial

import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv

import iqlearn as iq
from iqlearn import cli, files, interrupts
from iqlearn.cli.output import finish
from iqlearn.data.demos import Demos
from iqlearn.evaluation.returns import Evaluator, reset_seed
from iqlearn.rewards import compare
from iqlearn.training import trainer
from iqlearn.training.learner import Learner

SMALL = iq.Network(hidden=(4,))
SETTINGS = iq.IQLearnContinuous(critic=SMALL, actor=SMALL, batch_size=4)


@pytest.fixture(autouse=True)
def heard():
    """Interrupts arrive, even if the tests were started in the background, where they are ignored by default."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("seeds", [None, range(2)])
def test_interrupt_stops_training_soon_and_waits_for_the_environments(pendulum, monkeypatch, seeds):
    """Two interrupts amid 2,000 rounds. Few more rounds are played, and none is running when the environments close."""
    rounds, alive, playing = [], [], []
    act, close = Learner.act, Learner.close

    def interrupting(self, *arguments):
        rounds.append(len(rounds))
        if len(rounds) in (3, 4):
            os.kill(os.getpid(), signal.SIGINT)
        playing.append(threading.current_thread())
        try:
            return act(self, *arguments)
        finally:
            playing.pop()

    def closing(self):
        alive.extend(playing)
        close(self)

    monkeypatch.setattr(Learner, "act", interrupting)
    monkeypatch.setattr(Learner, "close", closing)
    interaction = iq.Interaction(random_steps=10, round_steps=10)
    more = {"steps": 20_000, "evaluations": 1, "seeds": seeds}
    with pytest.warns(RuntimeWarning, match="before its time, after step 0: .* interrupted"):
        found = iq.learn(SETTINGS, pendulum, env="Pendulum-v1", interaction=interaction, **more)
    for run in [found] if seeds is None else found:
        assert run.result["status"] == "interrupted"
        assert run.rows == []
    assert len(rounds) < 200
    assert seeds is None or alive == []


def test_stopped_seeds_resume_together(cartpole_file, tmp_path, stop_at, capsys):
    """Every seed has its folder from the start."""
    demos, out = iq.Demos.load(cartpole_file), tmp_path / "runs"
    stop_at(2)
    with pytest.warns(RuntimeWarning, match="interrupted"):
        stopped = iq.learn(
            iq.IQLearn(network=SMALL, batch_size=4),
            demos,
            steps=4,
            evaluations=2,
            eval_episodes=1,
            seeds=range(2),
            out=out,
            quiet=True,
        )
    folders = [out / f"seed-{i}" for i in range(2)]
    assert finish(stopped, folders) == 130
    assert f"Go on with: iqlearn resume {out}\n" in capsys.readouterr().out
    resumed = iq.resume(out, quiet=True)
    assert [run.result["status"] for run in resumed] == ["completed"] * 2
    assert [run.result["seeds_together"] for run in resumed] == [2, 2]


def test_interrupted_evaluation_keeps_every_seed_at_its_previous_evaluation(cartpole, tmp_path, monkeypatch):
    """The second evaluation of the second seed is interrupted. Both seeds keep the state of their first evaluation."""
    play, played = Evaluator.play, []

    def stopping(self, *arguments, **more):
        played.append(arguments)
        if len(played) == 5:  # random policy, two seeds, the first seed again, the second one
            raise KeyboardInterrupt
        return play(self, *arguments, **more)

    settings = iq.IQLearn(network=SMALL, batch_size=4)
    more = {"steps": 40, "evaluations": 2, "eval_episodes": 1, "out": tmp_path / "runs", "quiet": True}
    monkeypatch.setattr(Evaluator, "play", stopping)
    with pytest.warns(RuntimeWarning, match="interrupted"):
        iq.learn(settings, cartpole, env="CartPole-v1", seeds=range(2), **more)
    monkeypatch.setattr(Evaluator, "play", play)
    for seed in range(2):
        run = iq.Run.load(tmp_path / "runs" / f"seed-{seed}")
        assert run.result["status"] == "interrupted"
        assert run.result["updates"] == 20
        assert [row["step"] for row in run.rows] == [20]
        evaluator = Evaluator("CartPole-v1")
        assert evaluator.returns(run.player(), 1, reset_seed("in_training", seed)).tolist() == run.result["returns"]
        evaluator.close()


class Signals(iq.Callback):
    """Sends a signal at the n-th call of a hook."""

    def __init__(self, hook: str, n: int) -> None:
        self.left = n
        setattr(self, hook, self.send)

    def send(self, _) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("hook", "at", "rows", "status"),
    [
        ("on_start", 1, 0, "interrupted"),
        ("on_round", 1, 0, "interrupted"),
        ("on_evaluation", 1, 1, "interrupted"),
        ("on_round", 2, 1, "interrupted"),
        ("on_evaluation", 2, 2, "completed"),
        ("on_end", 1, 2, "completed"),
    ],
)
def test_interrupt_after_the_last_evaluation_leaves_the_run_completed(cartpole, recwarn, hook, at, rows, status):
    """The run has two evaluations with a round before each. After the second one nothing is left to interrupt."""
    settings = iq.IQLearn(network=SMALL, batch_size=4)
    more = {"steps": 4, "evaluations": 2, "eval_episodes": 1, "quiet": True, "callbacks": [Signals(hook, at)]}
    run = iq.learn(settings, cartpole, env="CartPole-v1", **more)
    assert (len(run.rows), run.result["status"]) == (rows, status)
    assert len(recwarn) == (status == "interrupted")


class Hanging(CartPoleEnv):
    """Sends an interrupt and hangs after a few steps."""

    def __init__(self, freed):
        super().__init__()
        self.freed, self.steps = freed, 0

    def step(self, action):
        self.steps += 1
        if self.steps > 5 and not self.freed.is_set():  # not while the environment is first examined
            os.kill(os.getpid(), signal.SIGINT)
            self.freed.wait(600)
        return super().step(action)


@pytest.mark.parametrize("seeds", [None, range(2)])
def test_hanging_environment_does_not_prevent_stopping(cartpole, monkeypatch, seeds):
    """With several seeds each environment hangs in its own thread, which is abandoned."""
    monkeypatch.setattr(trainer, "GRACE", 0.1)
    freed = threading.Event()
    settings, acting = iq.IQLearn(network=SMALL, batch_size=4), iq.Interaction(random_steps=10, round_steps=10)
    with pytest.warns(RuntimeWarning, match="interrupted"):
        iq.learn(
            settings, cartpole, env=partial(Hanging, freed), interaction=acting, steps=100, seeds=seeds, quiet=True
        )
    freed.set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_at_any_moment_leaves_a_completed_or_resumable_run(cartpole_file, tmp_path, number):
    """The exit code is 0 if the run is completed, else 130. A run in the folder can be resumed."""
    words = "--mode online --steps 90 --evaluations 3 --eval-episodes 1 --random-steps 10 --network.hidden 4"
    for i, moment in enumerate(np.random.default_rng(int(number)).uniform(0.0, 1.0, 4)):
        out, alarm = tmp_path / str(i), threading.Timer(moment, os.kill, (os.getpid(), number))
        with interrupts.listening(number):  # a late signal must not reach pytest
            alarm.start()
            code = exit_code("train", "--demos", cartpole_file, *words.split(), "--out", out)
            alarm.join()
        begun = (out / "config.json").is_file()
        assert code == 130 or (code == 0 and begun)
        if begun:
            assert (code == 0) == (iq.Run.load(out).result["status"] == "completed")
            assert iq.resume(out, quiet=True).result["status"] == "completed"


def exit_code(*words):
    try:
        cli.main([str(word) for word in words])
    except SystemExit as error:
        return error.code
    return 0


@pytest.fixture(scope="module")
def short_run(cartpole_file, tmp_path_factory):
    """The run folder of a very short training; tests read it only."""
    folder = tmp_path_factory.mktemp("short") / "run"
    words = "--steps 2 --evaluations 1 --eval-episodes 1 --network.hidden 4 --preset paper"
    cli.main(["train", "--demos", str(cartpole_file), "--out", str(folder), *words.split()])
    return folder


WRITERS = (
    "export RUN --format npz --out a.npz",
    "export RUN --format stablehlo --out a.stablehlo",
    "demos collect RUN --episodes 1 --out a.npz",
    "demos convert DEMOS a.npz",
    "demos merge --sources DEMOS DEMOS --out a.npz",
    "demos split DEMOS a.npz --trajectories 1 --rest b.npz",
    "demos plot DEMOS --out a.png",
    "push RUN ada/a --out a",
    "pull RUN --out a",
)


@pytest.mark.parametrize("words", WRITERS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_command_writes_nothing_and_reports_it(
    words, number, short_run, cartpole_file, tmp_path, monkeypatch, capsys
):
    """The signal arrives when the first file is begun."""
    if words.startswith("push"):
        pytest.importorskip("huggingface_hub", reason="needs the extra hub")
    monkeypatch.chdir(tmp_path)
    partial_of, asked = files.partial_of, []

    def first(path):
        asked.append(path)
        if len(asked) == 1:
            os.kill(os.getpid(), number)
        return partial_of(path)

    monkeypatch.setattr(files, "partial_of", first)
    places = {"RUN": short_run, "DEMOS": cartpole_file}
    assert exit_code(*(places.get(word, word) for word in words.split())) == 130
    assert capsys.readouterr().err.endswith("iqlearn: Stopped. Nothing was written.\n")
    assert list(tmp_path.iterdir()) == []


def test_stopped_reward_command_writes_neither_figures_nor_picture(short_run, cartpole_file, tmp_path, monkeypatch):
    judge, words = compare.judge, ("reward", short_run, "--demos", cartpole_file, "--out", tmp_path)
    monkeypatch.setattr(compare, "judge", lambda *given: (os.kill(os.getpid(), signal.SIGINT), judge(*given))[1])
    assert exit_code(*words) == 130
    assert list(tmp_path.iterdir()) == []


def test_split_stopped_between_two_files_reports_the_written_one(cartpole_file, tmp_path, monkeypatch, capsys):
    save = Demos.save
    monkeypatch.setattr(Demos, "save", lambda self, path: (save(self, path), os.kill(os.getpid(), signal.SIGINT)))
    one, two = tmp_path / "one.npz", tmp_path / "two.npz"
    assert exit_code("demos", "split", cartpole_file, one, "--rest", two, "--trajectories", 1) == 130
    assert capsys.readouterr().err.endswith(f"iqlearn: Stopped. Written before: {one}.\n")
    assert list(tmp_path.iterdir()) == [one]


@pytest.mark.parametrize("name", ["a.npz", "a.csv"])
def test_stopped_recording_keeps_the_played_episodes(short_run, tmp_path, monkeypatch, capsys, name):
    if name.endswith("csv"):
        pytest.importorskip("pyarrow", reason="needs the extra tables")
    save, out = Demos.save, tmp_path / name
    monkeypatch.setattr(Demos, "save", lambda self, path: (os.kill(os.getpid(), signal.SIGINT), save(self, path)))
    assert exit_code("demos", "record", "--run", short_run, "--hidden", "--out", out, "--episodes", 3) == 130
    assert capsys.readouterr().err.endswith(f"iqlearn: Stopped. {out} holds what was played.\n")
    assert 1 <= iq.Demos.load(out).episodes <= 2


def test_callback_finishes_writing_after_a_stop_request(cartpole, tmp_path):
    """The signal arrives in the same hook, before the file is written."""

    def write(training):
        os.kill(os.getpid(), signal.SIGINT)
        training.runs[0].policy.save(tmp_path / "policy.npz")

    settings = iq.IQLearn(network=SMALL, batch_size=4)
    with pytest.warns(RuntimeWarning, match="interrupted"):
        run = iq.learn(settings, cartpole, steps=4, evaluations=2, callbacks=[write], quiet=True)
    assert len(run.rows) == 1
    iq.Policy.load(tmp_path / "policy.npz")
