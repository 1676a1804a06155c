"""Random streams: no two phases of training share numbers. Every key that draws is recorded and may draw once."""

import inspect
import sys
from collections import defaultdict
from functools import partial, wraps

import jax
import jax.random as jr
import numpy as np
import pytest

import iqlearn as iq
from iqlearn.algorithms.base import Extension
from iqlearn.evaluation.returns import RESET_SEEDS
from iqlearn.extensions import EXTENSIONS
from iqlearn.networks import descent
from iqlearn.training import learner
from iqlearn.training.streams import MOST, Streams

TINY = iq.Network((2,))
ACTING = iq.Interaction(random_steps=4, round_steps=4)


def test_streams_differ_within_and_across_seeds():
    keys = [np.asarray(jr.key_data(key)).tolist() for seed in range(3) for key in Streams.of(seed)]
    assert len({tuple(key) for key in keys}) == 3 * len(Streams._fields)
    for key in Streams.of(0):
        assert tuple(np.asarray(jr.key_data(key))) != tuple(np.asarray(jr.key_data(jr.key(0))))


def test_streams_of_a_seed_are_deterministic():
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool(a == b), Streams.of(7), Streams.of(7))))


def test_reset_seeds_of_training_are_below_those_of_every_other_purpose():
    seeds = {Streams.of(seed).reset_seed(done) for seed in range(3) for done in range(20)}
    assert len(seeds) == 60
    assert all(0 <= seed < MOST < min(RESET_SEEDS.values()) for seed in seeds)


class Recorder:
    """Records where each key was used: to draw numbers, or to make other keys."""

    MAKE = ("split", "fold_in")

    def __init__(self) -> None:
        self.drawn, self.parents = defaultdict(list), defaultdict(list)
        self.key_data = jr.key_data

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        for name in dir(jr):
            function = getattr(jr, name)
            if callable(function) and not name.startswith("_") and not inspect.isclass(function):
                names = list(inspect.signature(function).parameters)
                if names[:1] in (["key"], ["keys"]) and name not in ("key_impl", "clone"):
                    patch.setattr(jr, name, self.recorded(name, function))

    def recorded(self, name: str, function):
        @wraps(function)
        def used(key, *arguments, **more):
            kept, place = self.parents if name in self.MAKE else self.drawn, f"{name} at {where()}"

            def note(data) -> None:
                for row in np.asarray(data).reshape(-1, 2).tolist():
                    kept[tuple(row)].append(place)

            jax.debug.callback(note, self.key_data(key))
            return function(key, *arguments, **more)

        return used

    def faults(self) -> list[str]:
        """Keys that draw twice, and keys that draw and also make other keys: these share numbers too."""
        jax.effects_barrier()
        twice = [f"drawn {len(uses)} times: {sorted(set(uses))}" for uses in self.drawn.values() if len(uses) > 1]
        both = self.drawn.keys() & self.parents.keys()
        return twice + [f"drawn and split: {self.drawn[key] + self.parents[key]}" for key in both]


def where() -> str:
    """The innermost line of the library that is running."""
    frame = sys._getframe(2)
    while frame is not None and "iqlearn" not in frame.f_globals.get("__name__", ""):
        frame = frame.f_back
    return "" if frame is None else f"{frame.f_globals['__name__']}:{frame.f_lineno}"


@pytest.fixture(scope="module")
def watched():
    """Records keys while programs run. Traced programs are dropped before and afterwards."""

    def forget() -> None:
        descent._program.cache_clear()
        jax.clear_caches()

    forget()
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        recorder.watch(patch)
        yield recorder
    forget()


@pytest.fixture
def recorder(watched):
    watched.drawn.clear()
    watched.parents.clear()
    return watched


def test_recorder_detects_reused_keys(recorder):
    key = jr.key(0)
    child = jr.fold_in(key, 1)
    jr.normal(child)
    assert recorder.faults() == []
    jax.vmap(lambda k: jr.uniform(k))(jr.split(key, 3))
    assert len(recorder.faults()) == 1, "split and fold_in of one key make the same keys"
    jr.bits(key)
    assert len(recorder.faults()) == 2


INITIAL = {"value_term": "initial", "batch_size": 2}
CONTINUOUS = partial(iq.IQLearnContinuous, critic=TINY, actor=TINY, average_rate=0.1, **INITIAL)
DISCRETE = partial(iq.IQLearn, network=TINY, members=2, gradient_penalty=1.0, **INITIAL)
SMALLEST = {
    "action_inference": {"steps": 8, "rounds": 2, "updates": 2, "clone_updates": 2},
    "reward_regression": {"steps": 4, "updates": 2},
    "cloning": {"updates": 2},
    "model_rollouts": {"particles": 3},
}


def those(*names: str) -> tuple[Extension, ...]:
    """The registered extensions with these names."""
    return tuple(kind(**SMALLEST[name]) for name, kind in EXTENSIONS.items() if name in names)


EVERY = those("action_inference", "reward_regression", "cloning")
CASES = {
    "online, all extensions": (CONTINUOUS(state_only=EVERY[0].gives_actions, extensions=EVERY), "online"),
    "offline, model rollouts": (DISCRETE(extensions=those("model_rollouts")), "offline"),
    "online, discrete, state_only": (DISCRETE(state_only=True), "online"),
}


@pytest.mark.parametrize("case", CASES)
def test_no_two_phases_share_numbers(case, recorder, pendulum, cartpole):
    settings, mode = CASES[case]
    demos = (cartpole if settings.discrete else pendulum).take(1).subsample(20)
    env = "CartPole-v1" if settings.discrete else "Pendulum-v1"
    run = iq.learn(
        settings,
        demos,
        env=env,
        env_kwargs={"max_episode_steps": 3},
        mode=mode,
        interaction=ACTING if mode == "online" else None,
        steps=20 if mode == "online" else 3,
        evaluations=2,
        eval_episodes=1,
        sampled=False,
        quiet=True,
    )
    for _ in range(2 * len(Streams._fields)):  # samples of the policy afterwards
        run.policy(demos.obs[:2], deterministic=False)
    assert recorder.faults() == []
    drawn = {place.partition(" at ")[2].partition(":")[0] for uses in recorder.drawn.values() for place in uses}
    assert "iqlearn.data.replay" in drawn
    assert len(recorder.drawn) > 10
    if mode == "online":
        assert {"iqlearn.training.learner", "iqlearn.training.streams"} <= drawn
    for extension in settings.extensions:
        assert any(extension.name in place or "descent" in place or "bc" in place for place in drawn)


def test_expert_phases_share_no_random_numbers(recorder, monkeypatch):
    monkeypatch.setattr(learner, "RANDOM_OBSERVATIONS", 5)
    settings = iq.SAC(critic=TINY, critics=1, actor=TINY, batch_size=2)
    length = {"steps": 12, "evaluations": 1, "eval_episodes": 1, "quiet": True}
    iq.train_expert("Pendulum-v1", settings, env_kwargs={"max_episode_steps": 3}, interaction=ACTING, **length)
    assert recorder.faults() == []
