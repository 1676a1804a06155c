"""Steps that the algorithms share: the optimiser, a gradient step, a target network."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from iqlearn.models import DiscreteSoftQ
from iqlearn.settings import TargetUpdate
from iqlearn.types import Metrics, Scalar

Loss = Callable[[DiscreteSoftQ], tuple[Scalar, Metrics]]


def is_weight(model: DiscreteSoftQ) -> DiscreteSoftQ:
    """True for the weight matrices: decay neither biases nor the observation scale."""
    return jax.tree_util.tree_map_with_path(lambda path, _: getattr(path[-1], "name", None) == "weight", model)


def adam(learning_rate: float, weight_decay: float) -> optax.GradientTransformation:
    """Adam with decoupled weight decay on the weight matrices (Loshchilov & Hutter, 2019)."""
    if weight_decay == 0.0:
        return optax.adam(learning_rate)
    return optax.adamw(learning_rate, weight_decay=weight_decay, mask=is_weight)


def descend(
    optimizer: optax.GradientTransformation, loss: Loss, model: DiscreteSoftQ, opt_state: optax.OptState
) -> tuple[DiscreteSoftQ, optax.OptState, Metrics]:
    """One gradient step on `loss(model) -> (scalar, metrics)`; adds `loss` and `gradient_norm` to the metrics."""
    (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(model)
    updates, opt_state = optimizer.update(gradient, opt_state, model)
    metrics = {"loss": value, **metrics, "gradient_norm": optax.global_norm(gradient)}
    return eqx.apply_updates(model, updates), opt_state, metrics


def refresh(
    target: DiscreteSoftQ,
    model: DiscreteSoftQ,
    update: TargetUpdate,
    rate: float,
    period: int,
    step: Int[Array, ""],
) -> DiscreteSoftQ:
    """The target network after an update: a Polyak average, or a copy every `period` updates."""
    if update == "polyak":
        return optax.incremental_update(model, target, rate)
    due = step % period == 0
    return jax.tree.map(lambda new, old: jnp.where(due, new, old), model, target)
