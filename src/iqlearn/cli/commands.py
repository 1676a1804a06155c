"""The commands of `iqlearn`, by name.

The docstring of a command is its help. Each line for a flag declares it: name, placeholder of the value, [default],
and help. Modules that load slowly are imported where commands use them.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable

from iqlearn.cli import benchmark, demos, evaluate, export, hub, report, reward, training

COMMANDS: dict[str, Callable[..., int | None]] = {
    "train": training.train,
    "expert": training.expert,
    "resume": training.resume,
    "evaluate": evaluate.evaluate,
    "reward": reward.reward,
    "export": export.export,
    "report": report.report,
    "benchmark": benchmark.benchmark,
    "push": hub.push,
    "pull": hub.pull,
    **demos.COMMANDS,
}
BEGINNINGS: dict[str, Callable[[Namespace], training.Begun]] = {
    "train": training.begin_train,
    "expert": training.begin_expert,
}
"""For each command that trains, the function for the first pass over its flags."""
