"""Rewards that are separate networks: made by `RecoveredReward.distil` and `refit`, stored in a file."""

from __future__ import annotations

import typing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import jax
import jax.random as jr
import numpy as np

from iqlearn import files
from iqlearn.data.demos import Demos
from iqlearn.errors import InputError
from iqlearn.networks import encoders
from iqlearn.networks.host import in_blocks
from iqlearn.networks.reward import SATURATION, RewardNet, Seen
from iqlearn.rewards.base import Ends, Rewards, of_task
from iqlearn.types import ActionScale, PRNGKey, TaskSpec, Transitions, spec_from_dict, spec_to_dict

Kind = Literal["state", "state-action"]


@dataclass(frozen=True)
class DistilledReward:
    """A reward r(s) or r(s, a). At a true end it adds the later rewards, as `RecoveredReward` does.

    >>> reward.save("reward.safetensors"); DistilledReward.load("reward.safetensors")
    """

    net: RewardNet
    spec: TaskSpec
    ends: Ends

    @property
    def kind(self) -> Kind:
        """What the reward depends on."""
        return "state-action" if self.net.of_action else "state"

    def __call__(self, transitions: Transitions | Demos, absorbing: bool = False) -> Rewards:
        """Return the reward of each transition without reading s'. `absorbing` leaves out rewards after a true end.

        Raises:
            InputError: the transitions are of another task.
        """
        batch = of_task(transitions, self.spec, "the reward")
        step = in_blocks(lambda block: _judge(self.net, Seen(block.obs, block.action)), batch)
        return step if absorbing else self.ends.paid(step, np.asarray(batch.terminal))

    def at_discount(self, gamma: float) -> DistilledReward:
        """Return the same reward for an agent with another discount, as `RecoveredReward.at_discount` does."""
        return replace(self, ends=self.ends.at_discount(gamma))

    def save(self, path: str | Path) -> None:
        """Write one safetensors file with the task in its header."""
        about = {"kind": self.kind, "ends": asdict(self.ends), "spec": spec_to_dict(self.spec)}
        files.write_tree(Path(path), self.net, about)

    @classmethod
    def load(cls, path: str | Path) -> DistilledReward:
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing, damaged, or something else.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"No file {path}; expected one written by iqlearn reward --distil or --refit.")
        try:
            found = files.read_arrays(path)
            spec, kind, ends = spec_from_dict(found.about["spec"]), found.about["kind"], Ends(**found.about["ends"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path} is no distilled reward; expected one written by iqlearn reward --distil or --refit."
            ) from error
        like = jax.eval_shape(lambda: blank(spec, kind, 1.0, jr.key(0)))
        return cls(found.tree(like, finite=True), spec, ends)


def check_kind(kind: str) -> None:
    """Raise `InputError` unless `kind` is a kind of reward."""
    if kind not in typing.get_args(Kind):
        raise InputError(f"kind is {kind!r}; expected one of {', '.join(typing.get_args(Kind))}.")


def blank(spec: TaskSpec, kind: Kind, limit: float, key: PRNGKey, actions: ActionScale | None = None) -> RewardNet:
    """Return a reward network before its encoder is fitted."""
    encoder = encoders.blank(spec.obs, "standard", SATURATION)
    return RewardNet(spec, encoder, kind == "state-action", limit, key, actions)


@jax.jit
def _judge(net: RewardNet, seen: Seen) -> jax.Array:
    return net(seen.obs, seen.action)
