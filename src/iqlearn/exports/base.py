"""A policy or a reward as one function of arrays, which includes the scaling of inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Shaped

from iqlearn.data.demos import Demos
from iqlearn.data.fields import flat
from iqlearn.networks.mlp import MLP, Network
from iqlearn.networks.reward import Seen
from iqlearn.networks.soft_q import SoftQ
from iqlearn.rewards.distil import DistilledReward
from iqlearn.rewards.recovered import RecoveredReward, steps_of
from iqlearn.types import ArraySpec, ObsSpec, TaskSpec, Transitions

Part = Literal["policy", "reward"]
BATCH = "batch"
"""Name of the batch axis, whose length is free."""


@dataclass(frozen=True)
class Exported:
    """A function of arrays whose first axis is the batch."""

    part: Part
    function: Callable[..., tuple[Array, ...]]
    inputs: dict[str, ArraySpec]
    """Name of each argument, and the specification of one of its rows."""
    outputs: tuple[str, ...]
    model: SoftQ | None = None
    """The model of a policy. None for a reward."""

    def of(self, demos: Demos) -> list[np.ndarray]:
        """Return demonstrations as arguments, with zeros in place of actions that were not recorded."""
        fields = {**flat("obs", demos.obs), **flat("next_obs", demos.next_obs), "terminal": demos.term}
        spec = self.inputs.get("action")
        if spec is not None:
            fields["action"] = np.zeros((len(demos), *spec.shape)) if demos.act is None else demos.act
        return [np.asarray(fields[name], spec.dtype) for name, spec in self.inputs.items()]

    def __call__(self, *arrays: Any) -> tuple[np.ndarray, ...]:
        """Return the outputs as the library itself computes them."""
        return tuple(map(np.asarray, jax.jit(self.function)(*arrays)))


def policy(model: SoftQ, task: TaskSpec) -> Exported:
    """Return the function from observations to their most likely actions.

    With discrete actions it also returns Q. The policy is softmax(Q/τ).
    """
    names, model = named("obs", task.obs), settled(model)

    def act(*arrays: Shaped[Array, "n *_"]) -> tuple[Array, ...]:
        obs = tree(task.obs, arrays)
        if task.discrete:
            return jnp.argmax(q := model.all_q(obs), axis=-1), q  # type: ignore[union-attr]
        low, high = (jnp.asarray(limit) for limit in model.actions.limits)  # type: ignore[union-attr]
        action = model.act(obs)
        return (jnp.clip(jnp.round(action) if task.bounds.whole else action, low, high),)

    return Exported("policy", act, names, ("action", "q") if task.discrete else ("action",), model)


def reward(source: RecoveredReward | DistilledReward) -> Exported:
    """Return the function from transitions (s, a, s', terminal) to rewards. A distilled reward has no argument s'.

    At a true end the reward includes all that the absorbing state pays afterwards (`Ends.paid`).
    """
    spec = source.spec
    action = ArraySpec((), "int32", spec.choices) if spec.discrete else ArraySpec(spec.action_shape)
    names = {**named("obs", spec.obs), "action": action}
    if recovered := isinstance(source, RecoveredReward):
        source = replace(source, model=settled(source.model))
    names |= named("next_obs", spec.obs) if recovered else {}
    names["terminal"] = ArraySpec((), "bool")
    n = len(named("obs", spec.obs))

    def judge(*arrays: Shaped[Array, "n *_"]) -> tuple[Array]:
        obs, taken, ended = tree(spec.obs, arrays[:n]), arrays[n], arrays[-1]
        if isinstance(source, RecoveredReward):
            after = tree(spec.obs, arrays[n + 1 : -1])
            step = steps_of(source.model, Transitions(obs, taken, after, ended), source.ends)
        else:
            step = source.net(*Seen(obs, taken))
        ends: Any = source.ends  # its methods take JAX arrays as well as NumPy arrays
        return (ends.paid(step, ended),)

    return Exported("reward", judge, names, ("reward",))


def settled(model: SoftQ) -> SoftQ:
    """Return the model with plain layers in place of spectrally normalised ones, with normalised weights."""

    def of(net: MLP) -> MLP:
        sizes = [layer.bias.shape[0] for layer in net.layers]
        network = Network(tuple(sizes[:-1]), net.activation, net.normalise)
        plain = MLP(net.layers[0].weight.shape[0], sizes[-1], network, jr.key(0))
        return eqx.tree_at(lambda one: one.layers, plain, tuple(layer.bounded() for layer in net.layers))

    name = "net" if model.actions is None else "critic"
    members = getattr(model, name).members
    if not members.spectral:
        return model
    return eqx.tree_at(lambda one: getattr(one, name).members, model, eqx.filter_vmap(of)(members))


def named(field: str, spec: ObsSpec) -> dict[str, ArraySpec]:
    """Return the array specifications of an observation by name: obs, or obs/NAME for a dictionary."""
    return flat(field, spec)


def tree(spec: ObsSpec, arrays: Sequence[Any]) -> Any:
    """Return the observation that consists of these arrays."""
    return jax.tree.unflatten(jax.tree.structure(spec), arrays)


def largest_error(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """Return the largest difference of the outputs, relative to the largest absolute value of `ours` if that exceeds 1.

    It is infinite if a shape differs or a number is not finite. Discrete actions are compared by their Q.
    """

    def of(a: np.ndarray, b: np.ndarray) -> float:
        if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
            return math.inf
        if a.dtype.kind in "iu":
            q, row = ours[1], np.arange(len(a))
            return float(np.max(q[row, a] - q[row, b], initial=0.0) / max(1.0, float(np.abs(q).max(initial=0.0))))
        return float(np.max(np.abs(a - b), initial=0.0) / max(1.0, float(np.max(np.abs(a), initial=0.0))))

    return max(of(a, b) for a, b in zip(ours, theirs, strict=True))
