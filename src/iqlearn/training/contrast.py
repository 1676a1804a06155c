"""A reward fitted with the policy fixed: high on the expert's transitions, low on others, and smooth between them."""

from collections.abc import Sequence
from threading import Lock
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, Shaped

from iqlearn.data import Buffer, filled
from iqlearn.data.scale import standard
from iqlearn.models.networks import MLP
from iqlearn.models.reward import RewardNet
from iqlearn.objectives import steepness
from iqlearn.training.updates import join
from iqlearn.types import PRNGKey, Scalar

BATCH, LEARNING_RATE, WEIGHT_DECAY = 128, 1e-3, 1e-4
SMOOTHNESS = 1.0
"""Weight of the mean squared slope of r/r_max over one standard deviation of each coordinate."""
COMPILING = Lock()
"""Runs side by side have threads of their own: the first one compiles the program, the others wait for it instead of
compiling it as well, at which XLA once ended the process."""


class Seen(NamedTuple):
    """What a reward sees of a transition: s and a."""

    obs: Shaped[Array, "n *obs"]
    action: Shaped[Array, "n *act"]


class Sides(eqx.Module):
    """The expert's transitions, and two kinds of others."""

    expert: Buffer[Seen]
    others: Buffer[Seen]
    background: Buffer[Seen]


def regressed(
    net: RewardNet, expert: Seen, others: Seen, rng: np.random.Generator, key: PRNGKey, updates: int
) -> RewardNet:
    """The network told expert from others, on the scale of all that it sees."""
    return regressed_each([net], [expert], [others], [rng], key, updates)


def regressed_each(
    nets: Sequence[RewardNet],
    expert: Sequence[Seen],
    others: Sequence[Seen],
    rngs: Sequence[np.random.Generator],
    keys: Key[Array, "*runs"],
    updates: int,
) -> RewardNet:
    """`regressed` for several runs at once; the result has a leading axis of runs, as the keys. One goes without."""
    beside = [background(e, o, len(e.obs) + len(o.obs), rng) for e, o, rng in zip(expert, others, rngs, strict=True)]
    kinds = (expert, others, beside)
    rooms = [max(len(part.obs) for part in kind) for kind in kinds]
    scaled, sides = [], []
    for net, *parts in zip(nets, *kinds, strict=True):
        scale = standard(np.concatenate([np.asarray(part.obs) for part in parts]))
        scaled.append(eqx.tree_at(lambda n: n.scale, net, scale))
        sides.append(Sides(*map(filled, parts, rooms)))
    fit = contrast if len(nets) == 1 else contrast_each
    with COMPILING:
        return fit(join(scaled), join(sides), keys, updates)


def background(expert: Seen, others: Seen, n: int, rng: np.random.Generator) -> Seen:
    """n states and actions that nobody met: each coordinate is that of a row of its own, the expert's every other time.

    They keep the reward low where the coordinates are usual and their combination is not.
    """

    def mixed(a: Any, b: Any) -> Array:
        a, b = np.asarray(a), np.asarray(b)
        shape = a.shape[1:]
        a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
        own = rng.random((n, a.shape[1])) < 0.5
        column = np.arange(a.shape[1])
        drawn = (x[rng.integers(len(x), size=own.shape), column] for x in (a, b))
        return jnp.asarray(np.where(own, *drawn).reshape(n, *shape))

    return Seen(mixed(expert.obs, others.obs), mixed(expert.action, others.action))


@jax.jit
def contrast(net: RewardNet, sides: Sides, key: PRNGKey, updates: Int[Array, ""] | int) -> RewardNet:
    """Least squares towards +r_max on the expert's rows and −r_max on all others, the slope in between penalised."""
    optimizer = optax.adamw(lambda step: LEARNING_RATE * (1.0 - step / updates), weight_decay=WEIGHT_DECAY)

    def inputs(seen: Seen) -> Float[Array, "n inputs"]:
        return net.inputs(seen.obs, seen.action)

    def loss(layers: MLP, key: PRNGKey) -> Scalar:
        expert_key, other_key, background_key, between_key = jr.split(key, 4)
        expert = inputs(sides.expert.sample(expert_key, BATCH))
        halves = sides.others.sample(other_key, BATCH // 2), sides.background.sample(background_key, BATCH // 2)
        other = jnp.concatenate([inputs(half) for half in halves])
        share = jr.uniform(between_key, (BATCH, 1))

        def judge(x: Float[Array, "n inputs"]) -> Float[Array, " n"]:
            return layers(x)[:, 0] / net.limit

        slopes = jax.grad(lambda x: jnp.sum(judge(x)))(share * expert + (1.0 - share) * other)
        fit = 0.5 * (jnp.mean((judge(expert) - 1.0) ** 2) + jnp.mean((judge(other) + 1.0) ** 2))
        return fit + SMOOTHNESS * steepness(slopes, 0.0)

    def update(step: Int[Array, ""], carry: tuple[MLP, optax.OptState]) -> tuple[MLP, optax.OptState]:
        layers, opt_state = carry
        gradient = jax.grad(loss)(layers, jr.fold_in(key, step))
        params: Any = layers
        moved, opt_state = optimizer.update(gradient, opt_state, params)
        return eqx.apply_updates(layers, moved), opt_state

    start: Any = net.net
    return eqx.tree_at(lambda n: n.net, net, jax.lax.fori_loop(0, updates, update, (net.net, optimizer.init(start)))[0])


contrast_each = jax.jit(jax.vmap(contrast, in_axes=(0, 0, 0, None)))
