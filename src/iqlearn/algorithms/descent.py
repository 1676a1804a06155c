"""Steps that the algorithms share: the optimiser, a gradient step, a target network."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Int

from iqlearn.settings import TargetUpdate
from iqlearn.types import Metrics, PRNGKey, Scalar

Model = TypeVar("Model")
"""Any tree of arrays."""
Rows = TypeVar("Rows")
"""Any tree of arrays with one row an item."""


@runtime_checkable
class Descent(Protocol):
    """The settings that the optimiser reads."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...


def optimizer(settings: Descent) -> optax.GradientTransformation:
    """Adam with decoupled weight decay on the weight matrices (Loshchilov & Hutter, 2019)."""
    if settings.weight_decay == 0.0:
        return optax.adam(settings.learning_rate)
    return optax.adamw(settings.learning_rate, weight_decay=settings.weight_decay, mask=is_weight)


def is_weight(model: Model) -> Model:
    """True for the weight matrices: biases and the observation scale do not decay."""
    return jax.tree_util.tree_map_with_path(lambda path, _: getattr(path[-1], "name", None) == "weight", model)


def begin(settings: Descent, model: Any) -> optax.OptState:
    """The optimiser's state before the first step."""
    return optimizer(settings).init(model)


def stride(settle_after: int, step: Int[Array, ""]) -> Scalar | float:
    """What is left of a step size after `step` updates: all of it until `settle_after` (0: ever), then as 1/updates."""
    return 1.0 if settle_after == 0 else jnp.minimum(1.0, settle_after / (step + 1.0))


def descend(
    settings: Descent,
    loss: Callable[[Any], tuple[Scalar, Metrics]],
    model: Any,
    opt_state: optax.OptState,
    share: Scalar | float = 1.0,
) -> tuple[Any, optax.OptState, Metrics]:
    """One gradient step on `loss(model) -> (scalar, metrics)`, `share` of its size; adds `loss` and `gradient_norm`."""
    (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(model)
    updates, opt_state = optimizer(settings).update(gradient, opt_state, model)
    updates = jax.tree.map(lambda update: share * update, updates)
    metrics = {"loss": value, **metrics, "gradient_norm": norm(gradient)}
    return eqx.apply_updates(model, updates), opt_state, metrics


def between(expert: Rows, visited: Rows, key: PRNGKey) -> Rows:
    """A point on the way from each expert row to a random visited one; of integers the nearer row's."""
    share_key, other_key = jr.split(key)
    n, m = (len(jax.tree.leaves(rows)[0]) for rows in (expert, visited))
    share, other = jr.uniform(share_key, (n,)), jr.randint(other_key, (n,), 0, m)

    def mix(a: Array, b: Array) -> Array:
        if jnp.issubdtype(a.dtype, jnp.integer):
            return jnp.where(share > 0.5, a, b[other])
        weight = share.reshape(n, *(1,) * (a.ndim - 1))
        return weight * a + (1.0 - weight) * b[other]

    return jax.tree.map(mix, expert, visited)


def norm(tree: Any) -> Scalar:
    """Euclidean norm of all arrays of a tree together."""
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))


def polyak(target: Model, model: Model, rate: float) -> Model:
    """The target moved towards the model by `rate`."""
    return jax.tree.map(lambda old, new: old + rate * (new - old), target, model)


def refresh(target: Model, model: Model, update: TargetUpdate, rate: float, period: int, step: Int[Array, ""]) -> Model:
    """The target network after an update: a Polyak average, or a copy every `period` updates."""
    if update == "polyak":
        return polyak(target, model, rate)
    due = step % period == 0
    return jax.tree.map(lambda new, old: jnp.where(due, new, old), model, target)
