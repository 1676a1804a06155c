"""A reward network r(s) or r(s, a), and the two regressions that fit it. The network does not read the next state."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Shaped

from iqlearn.networks import encoders
from iqlearn.networks.descent import fit
from iqlearn.networks.encoders import FlatEncoder
from iqlearn.networks.mlp import MLP, Network
from iqlearn.objectives import steepness
from iqlearn.types import ActionScale, Obs, PRNGKey, Scalar, TaskSpec, Transitions, rows

NETWORK = Network(hidden=(128, 128), activation="relu", layer_norm=True)
BATCH = 256
"""Transitions in an update. In `contrast`, half of them are the expert's and half are others."""
SATURATION = 10.0
SMOOTHNESS = 1.0
"""Weight of the mean squared gradient norm of r/r_max, with coordinates in standard deviations."""


class RewardNet(eqx.Module):
    """The reward r(s) or r(s, a) of raw observations, and of actions in the environment's units."""

    net: MLP
    encoder: FlatEncoder
    actions: ActionScale | None
    """Scale of continuous actions. Discrete actions become one-hot vectors."""
    limit: Float[Array, ""]
    """Rewards are clipped to ±limit."""
    of_action: bool = eqx.field(static=True)
    choices: int = eqx.field(static=True)

    def __init__(
        self,
        task: TaskSpec,
        encoder: FlatEncoder,
        of_action: bool,
        limit: float,
        key: PRNGKey,
        actions: ActionScale | None = None,
    ) -> None:
        self.choices = task.choices if task.discrete else 0
        self.actions = None if task.discrete else actions or ActionScale(task)
        width = (task.choices if task.discrete else len(task.bounds.low)) if of_action else 0
        self.net = MLP(encoder.size + width, 1, NETWORK, key)
        self.encoder, self.of_action, self.limit = encoder, of_action, jnp.float32(limit)

    def __call__(self, obs: Obs, action: Shaped[Array, "n *act"]) -> Float[Array, " n"]:
        """Return the reward of each row. r(s) does not read the action."""
        return jnp.clip(self.net(self.inputs(obs, action))[:, 0], -self.limit, self.limit)

    def inputs(self, obs: Obs, action: Shaped[Array, "n *act"]) -> Float[Array, "n inputs"]:
        """Return the inputs of the network: encoded observations and, for r(s, a), scaled or one-hot actions."""
        inputs = self.encoder(obs)
        if not self.of_action:
            return inputs
        unit = jax.nn.one_hot(action, self.choices) if self.actions is None else self.actions.to_unit(action)
        return jnp.concatenate([inputs, unit], axis=1)


class Seen(NamedTuple):
    """The part of a transition that a reward network reads."""

    obs: Obs
    action: Shaped[Array, "n *act"]


def fit_to(
    net: RewardNet, transitions: Transitions, target: Float[Array, " n"], key: PRNGKey, updates: int
) -> RewardNet:
    """Fit the network to given rewards by least squares: to their mean, given the part that the network reads."""
    inputs = net.inputs(jax.tree.map(jnp.asarray, transitions.obs), jnp.asarray(transitions.action))
    return eqx.tree_at(
        lambda n: n.net, net, fit(_squared_error, net.net, (inputs, jnp.asarray(target)), key, updates)[0]
    )


def _squared_error(layers: MLP, data: tuple[Array, Array], key: PRNGKey) -> Scalar:
    inputs, target = data
    row = jr.randint(key, (BATCH,), 0, len(inputs))
    return jnp.mean((layers(inputs[row])[:, 0] - target[row]) ** 2)


def contrast(
    net: RewardNet, expert: Seen, others: Seen, rng: np.random.Generator, key: PRNGKey, updates: int
) -> RewardNet:
    """Fit a reward with the policy fixed (LS-IQ, equation 12): r_max on expert rows, −r_max on others, smooth between.

    Half of the other rows in each update are made-up states and actions. Each of their coordinates is that of a random
    row, which with probability ½ is one of the expert's and else one of the others. They keep the reward low where each
    coordinate is usual but the combination is not. The encoder is fitted to all these rows.
    """
    strange = _recombined(expert, others, rows(expert) + rows(others), rng)
    everything = jax.tree.map(lambda *x: np.concatenate([np.asarray(part) for part in x]), expert, others, strange)
    encoder = encoders.fit(net.encoder.spec, everything.obs, "standard", SATURATION)
    net = eqx.tree_at(lambda n: n.encoder, net, encoder)
    data = tuple(net.inputs(*jax.tree.map(jnp.asarray, tuple(part))) for part in (expert, others, strange))
    layers, _ = fit(_contrast, net.net, (*data, net.limit), key, updates)
    return eqx.tree_at(lambda n: n.net, net, layers)


def _contrast(layers: MLP, data: tuple[Array, Array, Array, Array], key: PRNGKey) -> Scalar:
    *sides, limit = data
    *keys, between_key = jr.split(key, 4)
    sizes = BATCH // 2, BATCH // 4, BATCH // 4
    drawn = [side[jr.randint(k, (n,), 0, len(side))] for side, k, n in zip(sides, keys, sizes, strict=True)]
    expert, other = drawn[0], jnp.concatenate(drawn[1:])
    share = jr.uniform(between_key, (len(expert), 1))

    def judge(x: Float[Array, "n inputs"]) -> Float[Array, " n"]:
        return layers(x)[:, 0] / limit

    slopes = jax.grad(lambda x: jnp.sum(judge(x)))(share * expert + (1.0 - share) * other)
    error = 0.5 * (jnp.mean((judge(expert) - 1.0) ** 2) + jnp.mean((judge(other) + 1.0) ** 2))
    return error + SMOOTHNESS * steepness(slopes, 0.0)


def _recombined(expert: Seen, others: Seen, n: int, rng: np.random.Generator) -> Seen:
    """Return n rows, each coordinate from a random row of the expert's or of the others."""

    def mixed(a: Any, b: Any) -> np.ndarray:
        a, b = np.asarray(a), np.asarray(b)
        shape = a.shape[1:]
        a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
        own = rng.random((n, a.shape[1])) < 0.5
        column = np.arange(a.shape[1])
        return np.where(own, *(x[rng.integers(len(x), size=own.shape), column] for x in (a, b))).reshape(n, *shape)

    return jax.tree.map(mixed, expert, others)
