"""What `speed.py` and `speed_online.py` measure in a process of its own: prints JSON, a list of (what, value, unit).

    PYTHONPATH=CHECKOUT/src python benchmarks/speed_worker.py offline 5000
    PYTHONPATH=CHECKOUT/src python benchmarks/speed_worker.py online 1000

It measures the `iqlearn` that Python finds: this one, or that of commit a2a333b, which had another API (`OLD`).
"""

import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import iqlearn as iq
from iqlearn.types import Batch

OLD = importlib.util.find_spec("iqlearn.session") is not None
Figure = tuple[str, float, str]
SEEDS = 1, 10
ENV, TRANSITIONS, CHUNKS, WARMING = "Hopper-v5", 1_000, 5, 2
SIDE = 2_048


def offline(steps: int) -> Iterator[Figure]:
    """Updates a second of all seeds together, inside the compiled loop, compilation left out: CartPole-v1 from one
    demonstration, every 20th step."""
    demos = replace(iq.Demos.builtin("CartPole-v1").take(1).subsample(20), env=None)
    for name, settings in (old_settings() if OLD else new_settings(demos)).items():
        for seeds in SEEDS:
            learn = partial(iq.learn_seeds, demos=[demos] * seeds) if OLD else partial(iq.learn, demos=demos)
            runs = learn(settings, seeds=range(seeds), steps=steps, evaluations=1, quiet=True)
            yield f"updates of {name}, {seeds} seeds", runs[0].result["updates_per_second"], "1/s"


def new_settings(demos: iq.Demos) -> dict[str, Any]:
    """The main job with and without model rollouts, and behavioural cloning."""
    recommended = partial(iq.recommended, demos, mode="offline", quiet=True)
    return {"iq, with model rollouts": recommended(), "iq, without": recommended(extensions=()), "bc": iq.BC()}


def old_settings() -> dict[str, Any]:
    """The same of commit a2a333b."""
    from iqlearn.settings import Imagination

    without = iq.IQLearn(imagination=Imagination(error_limit=0.0))
    return {"iq, with model rollouts": iq.IQLearn(), "iq, without": without, "bc": iq.BC()}


def online(chunk: int) -> Iterator[Figure]:
    """Updates a second end to end on Hopper-v5, environment stepping included: one critic, two layers of 256, batch
    256 + 256, one update a step. Of this library also the share of the machine's peak of float32 matrix products that
    the updates reach, both in turns. Demonstrations are random: speed does not depend on them."""
    if OLD:
        yield "updates end to end", statistics.median(old_online(chunk)), "1/s"
        return
    clock = Clock(chunk)
    critic, actor = iq.Network((256, 256), "relu", layer_norm=True), iq.Network((256, 256), "relu")
    common = iq.IQLearnContinuous.recommended(True, False)
    settings = replace(common, critics=1, batch_size=256, critic=critic, actor=actor)
    steps = (CHUNKS + WARMING) * chunk
    shared = {"evaluations": 1, "eval_episodes": 1, "quiet": True}
    iq.learn(settings, random_demos(), env=ENV, mode="online", steps=steps, callbacks=[clock], **shared)
    yield "updates end to end", statistics.median(clock.rates), "1/s"
    yield "matrix product peak", statistics.median(clock.peaks) / 1e9, "GFLOP/s"
    yield "work of an update", clock.work / 1e9, "GFLOP"
    shares = [rate * clock.work / peak for rate, peak in zip(clock.rates, clock.peaks, strict=True)]
    yield "share of the peak, environment stepping included", statistics.median(shares), ""


class Clock(object if OLD else iq.Callback):
    """Times the chunks after the first ones, which act at random and compile."""

    def __init__(self, chunk: int) -> None:
        self.chunk, self.rates, self.peaks, self.work = chunk, [], [], 0.0

    def on_round(self, training: Any) -> None:
        if training.done % self.chunk or training.done < WARMING * self.chunk:
            return
        jax.block_until_ready(training.groups[0].states)
        if training.done > WARMING * self.chunk:
            self.rates.append(self.chunk / (time.perf_counter() - self.started))
            self.peaks.append(peak())
        else:
            learner = training.learners[0]
            self.work = flops(learner.algorithm, training.groups[0].states, learner.demonstrations.expert())
        self.started = time.perf_counter()


def flops(algorithm: Any, state: Any, expert: Any) -> float:
    """Float operations of one update, as the compiler counts them."""
    rows = jax.tree.map(lambda x: jnp.zeros((algorithm.batch_size, *x.shape[1:]), x.dtype), expert)
    batch = Batch(rows, jax.tree.map(jnp.copy, rows), rows.obs)
    costs = jax.jit(algorithm.update).lower(state, batch, jr.key(0)).compile().cost_analysis()
    return float(costs["flops"])


def peak() -> float:
    """Float operations a second of a large float32 matrix product."""
    x = jr.normal(jr.key(0), (SIDE, SIDE))
    product = jax.jit(jnp.matmul).lower(x, x).compile()
    product(x, x).block_until_ready()
    started = time.perf_counter()
    for _ in range(5):
        product(x, x).block_until_ready()
    return 5 * 2 * SIDE**3 / (time.perf_counter() - started)


def old_online(chunk: int) -> list[float]:
    """Rates of commit a2a333b, with the same settings."""
    from iqlearn.beginning import begin
    from iqlearn.session import Session
    from iqlearn.settings import Imitation, Interaction, Network, Schedule

    critic, actor = Network((256, 256), "relu", layer_norm=True), Network((256, 256), "relu")
    plain = {"form": "inverse", "online": Imitation()}
    settings = iq.IQLearnContinuous(batch_size=256, network=critic, actor=actor, **plain)
    demos, schedule = random_demos(), Schedule((CHUNKS + WARMING) * chunk)
    run = begin(settings, demos, schedule, ENV, interaction=Interaction())
    session, rates = Session([run], [demos], [None]), []
    session.advance(WARMING * chunk)
    for _ in range(CHUNKS):
        started = time.perf_counter()
        session.advance(chunk)
        rates.append(chunk / (time.perf_counter() - started))
    session.close()
    return rates


def random_demos() -> iq.Demos:
    """Transitions of Hopper's shapes."""
    rng, rows = np.random.default_rng(0), TRANSITIONS
    obs, next_obs = rng.normal(size=(2, rows, 11)).astype(np.float32)
    act = rng.uniform(-1.0, 1.0, (rows, 3)).astype(np.float32)
    ends = {"term": np.zeros(rows, bool), "trunc": np.arange(rows) == rows - 1, "ep": np.zeros(rows, np.int64)}
    return iq.Demos.from_arrays({"obs": obs, "act": act, "next_obs": next_obs, **ends})


if __name__ == "__main__":
    print(json.dumps(list({"offline": offline, "online": online}[sys.argv[1]](int(sys.argv[2])))))
