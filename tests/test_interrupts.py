"""Ctrl-C: training stops soon, what was evaluated last is kept whole, and nothing is torn down under a live thread."""

import os
import signal
import threading

import pytest

import iqlearn as iq
from iqlearn import acting, learning
from iqlearn.evaluation import Evaluator
from iqlearn.settings import Schedule
from iqlearn.settings.continuous import Imitation
from iqlearn.telling import finish

pytestmark = pytest.mark.usefixtures("few_random_episodes")
SMALL = iq.Network(hidden=(4,))
SETTINGS = iq.IQLearnContinuous(network=SMALL, actor=SMALL, batch_size=4, online=Imitation())


@pytest.fixture(autouse=True)
def heard():
    """Interrupts are heard, also where the tests were started in the background, which ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_it_stops_within_a_round_and_waits_for_the_environments(pendulum, monkeypatch):
    """Two interrupts amid 2,000 rounds: few more are played, and none is when the environments are closed."""
    rounds, alive = [], []
    interact, close = acting.interact, acting.Online.close

    def interrupting(*arguments):
        rounds.append(len(rounds))
        if len(rounds) in (3, 4):
            os.kill(os.getpid(), signal.SIGINT)
        return interact(*arguments)

    def closing(self):
        alive.extend(t for t in threading.enumerate() if t.name.startswith("ThreadPoolExecutor"))
        close(self)

    monkeypatch.setattr(acting, "interact", interrupting)
    monkeypatch.setattr(acting.Online, "close", closing)
    playing = iq.Interaction(random_steps=10, round_steps=10)
    with pytest.warns(RuntimeWarning, match="before its time, after step 0: .* interrupted"):
        run = iq.learn(SETTINGS, pendulum, env="Pendulum-v1", interaction=playing, steps=20_000, evaluations=1)
    assert run.result["status"] == "interrupted"
    assert run.rows == []
    assert len(rounds) < 200
    assert alive == []


def test_runs_that_had_not_begun_when_the_others_were_stopped_go_on_too(cartpole, tmp_path, stop_at, capsys):
    """Runs of different settings go one after the other; all are in their folders from the start."""
    settings = [iq.IQLearn(network=SMALL, batch_size=size) for size in (4, 5)]
    runs = [learning.begin(each, cartpole, Schedule(4, 2, 1, seed=i), "CartPole-v1") for i, each in enumerate(settings)]
    folders = [tmp_path / f"seed-{i}" for i in range(2)]
    for folder in folders:
        folder.mkdir()
    stop_at(2)
    stopped = learning.continue_runs(runs, [cartpole] * 2, folders, quiet=True)
    assert [run.result["status"] for run in stopped] == ["interrupted", "running"]
    with pytest.raises(SystemExit) as caught:
        finish(stopped, folders)
    assert caught.value.code == 130
    assert f"Go on with: iqlearn resume {tmp_path}\n" in capsys.readouterr().out
    resumed = learning.resume_seeds(folders, [cartpole] * 2, quiet=True)
    assert [run.result["status"] for run in resumed] == ["completed"] * 2
    assert [run.result["seeds_together"] for run in resumed] == [1, 1]
    assert [run.settings.batch_size for run in map(iq.Run.load, folders)] == [4, 5]


def test_an_interrupted_evaluation_leaves_every_seed_as_it_was(cartpole, tmp_path, monkeypatch):
    """Two seeds, stopped in the second evaluation of the second one: result, metrics and model are of the first."""
    play, played = Evaluator.play, []

    def stopping(self, *arguments):
        played.append(arguments)
        if len(played) == 5:  # random policy, two seeds, the first seed again, the second one
            raise KeyboardInterrupt
        return play(self, *arguments)

    settings = iq.IQLearn(network=SMALL, batch_size=4)
    runs = [learning.begin(settings, cartpole, Schedule(40, 2, 1, seed=seed), "CartPole-v1") for seed in (0, 1)]
    folders = [tmp_path / "0", tmp_path / "1"]
    for folder in folders:
        folder.mkdir()
    monkeypatch.setattr(Evaluator, "play", stopping)
    learning.continue_runs(runs, [cartpole, cartpole], folders, quiet=True)
    monkeypatch.setattr(Evaluator, "play", play)
    for seed, folder in enumerate(folders):
        run = iq.Run.load(folder)
        assert run.result["status"] == "interrupted"
        assert run.result["updates"] == 20
        assert [row["step"] for row in run.rows] == [20]
        assert run.evaluate(1, 1_000_000 + 1_000 * seed).tolist() == run.result["returns"]
