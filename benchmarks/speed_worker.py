"""Measure the updates per second offline. `speed.py` runs it as a process. Prints JSON, a list of (what, value, unit).

    PYTHONPATH=CHECKOUT/src python benchmarks/speed_worker.py 5000

It measures the `iqlearn` on the path: the current one, or that of commit a2a333b, which had another API (`OLD`).
"""

import importlib.util
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import iqlearn as iq

OLD = importlib.util.find_spec("iqlearn.session") is not None
Figure = tuple[str, float, str]
SEEDS = 1, 10


def offline(steps: int) -> Iterator[Figure]:
    """Yield the updates per second, summed over the seeds, of the compiled loop without its compilation. The task is
    CartPole-v1 with every 20th step of one demonstration."""
    demos = replace(iq.Demos.builtin("CartPole-v1").take(1).subsample(20), env=None)
    for name, settings in (old_settings() if OLD else new_settings(demos)).items():
        for seeds in SEEDS:
            learn = partial(iq.learn_seeds, demos=[demos] * seeds) if OLD else partial(iq.learn, demos=demos)
            runs = learn(settings, seeds=range(seeds), steps=steps, evaluations=1, quiet=True)
            yield f"updates of {name}, {seeds} seeds", runs[0].result["updates_per_second"], "1/s"


def new_settings(demos: iq.Demos) -> dict[str, Any]:
    """Return the recommended settings with and without model rollouts, and those of behavioural cloning."""
    recommended = partial(iq.recommended, demos, mode="offline", quiet=True)
    return {"iq, with model rollouts": recommended(), "iq, without": recommended(extensions=()), "bc": iq.BC()}


def old_settings() -> dict[str, Any]:
    """Return the same settings in the API of commit a2a333b."""
    from iqlearn.settings import Imagination

    without = iq.IQLearn(imagination=Imagination(error_limit=0.0))
    return {"iq, with model rollouts": iq.IQLearn(), "iq, without": without, "bc": iq.BC()}


if __name__ == "__main__":
    print(json.dumps(list(offline(int(sys.argv[1])))))
