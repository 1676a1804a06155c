"""Gradient descent for the whole library: the optimiser, slow copies, and one compiled loop for regressions."""

from collections.abc import Callable, Hashable
from functools import lru_cache, partial
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, Int

from iqlearn import interrupts
from iqlearn.types import PRNGKey, Scalar

Model = TypeVar("Model")
"""Any tree of arrays."""
Rows = TypeVar("Rows")
"""Any tree of arrays with the same number of rows."""
Decay = Callable[[Int[Array, ""], Int[Array, ""] | int], Scalar]
"""A function of `step` and the number of updates that returns the share of the learning rate that is left."""
Report = Callable[[float], object]
"""A function that is called with the share of a regression that is done."""
PIECE = 1_000
"""Updates between two safe points of a regression (`interrupts.check`)."""
PATIENCE, LITTLE = 4, 0.02
"""A regression ends early when its error on held-out rows has fallen by less than 2 % in the last 4 pieces."""
KEPT = 32
"""Number of compiled programs that are kept. Each one uses about 600 of the 65,530 memory mappings that Linux allows a
process, and XLA ends a process that has none left. A process that trains many times must release old programs."""


def compiled(function: Callable[..., Any], static: tuple[Hashable, ...], *args: Any) -> Callable[..., Any]:
    """Compile `function(*static, *args)` for arrays of the shapes of `args`. The last 32 programs are kept."""
    interrupts.check()
    leaves, structure = jax.tree.flatten(args)
    shapes = tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
    return _program(function, static, structure, shapes).lower(*args).compile()


@lru_cache(KEPT)
def _program(function: Callable[..., Any], static: tuple[Hashable, ...], *_shapes: Hashable) -> Any:
    """Return a jitted function for one set of shapes. JAX releases its programs together with the function."""
    return jax.jit(partial(function, *static))


def optimizer(learning_rate: float, weight_decay: float = 0.0) -> Any:
    """Return Adam with decoupled decay of the weight matrices (AdamW, Loshchilov & Hutter, 2019)."""
    if weight_decay == 0.0:
        return optax.adam(learning_rate)
    return optax.adamw(learning_rate, weight_decay=weight_decay, mask=is_weight)


def is_weight(model: Model) -> Model:
    """Return the mask of weight decay: True for weight matrices, False for biases and the scale of observations."""
    return jax.tree_util.tree_map_with_path(lambda path, _: getattr(path[-1], "name", None) == "weight", model)


def step_down(
    optimiser: Any, gradient: Any, model: Any, opt_state: Any, share: Scalar | float = 1.0
) -> tuple[Any, Any]:
    """Return the model and the optimiser's state after one step that is scaled by `share`."""
    updates, opt_state = optimiser.update(gradient, opt_state, model)
    return eqx.apply_updates(model, jax.tree.map(lambda update: share * update, updates)), opt_state


def rate_left(decay_after: int, step: Int[Array, ""]) -> Scalar | float:
    """Return the share of a learning rate that is left: 1 for `decay_after` updates, then decay_after/updates.

    `decay_after` = 0 never decays.
    """
    return 1.0 if decay_after == 0 else jnp.minimum(1.0, decay_after / (step + 1.0))


def linear(step: Int[Array, ""], updates: Int[Array, ""] | int) -> Scalar:
    """Linear decay to 0."""
    return 1.0 - step / updates


def hyperbolic(step: Int[Array, ""], updates: Int[Array, ""] | int) -> Scalar:
    """No decay during the first fifth of the updates, then decay as 1/updates."""
    return jnp.minimum(1.0, jnp.maximum(updates // 5, 1) / (step + 1.0))


def fit(
    loss: Callable[[Any, Any, PRNGKey], Scalar],
    net: Model,
    data: Any,
    key: PRNGKey,
    updates: int,
    decay: Decay = linear,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-4,
    judge: Callable[[Model], Any] | None = None,
    report: Report = lambda share: None,
) -> tuple[Model, float]:
    """Minimise `loss(net, data, key)` by AdamW in a compiled loop.

    Args:
        loss: a function defined at module level, so that the compiled loop is reused. It draws its own minibatches
            with the key.
        net: the network to fit. Every array in it is trained.
        data: any tree of arrays.
        key: the key of all random numbers.
        updates: number of gradient steps.
        decay: decay of the learning rate.
        learning_rate: initial learning rate.
        weight_decay: decoupled decay of the weight matrices.
        judge: returns the error of a network on held-out rows. The fit ends early when that error has fallen by
            less than 2 % in 4,000 updates.
        report: called every 1,000 updates with the share of the updates that is done.

    Returns:
        The network, and the loss of the last minibatch.

    Raises:
        KeyboardInterrupt: a signal asked to stop.
    """
    carry, bounds = (net, optimizer(learning_rate, weight_decay).init(net), jnp.zeros(())), jnp.zeros(3, jnp.int32)
    run = compiled(_fit, (loss, decay, learning_rate, weight_decay), carry, data, key, bounds)
    errors: list[float] = []
    for first in range(0, updates, PIECE):
        interrupts.check()
        report(first / updates)
        bounds = jnp.int32([first, min(first + PIECE, updates), updates])
        carry = jax.block_until_ready(run(carry, data, key, bounds))
        if judge is not None:
            errors.append(float(judge(carry[0])))
            if len(errors) > PATIENCE and min(errors[-PATIENCE:]) > (1.0 - LITTLE) * min(errors[:-PATIENCE]):
                break
    report(1.0)
    return carry[0], float(carry[2])


def _fit(
    loss: Callable[[Any, Any, PRNGKey], Scalar],
    decay: Decay,
    learning_rate: float,
    weight_decay: float,
    carry: tuple[Any, Any, Scalar],
    data: Any,
    key: PRNGKey,
    bounds: Int[Array, "3"],
) -> tuple[Any, Any, Scalar]:
    """Run the updates from `bounds[0]` to before `bounds[1]`. `bounds[2]` is the total number of updates."""
    optimiser = optimizer(learning_rate, weight_decay)

    def update(step: Int[Array, ""], carry: tuple[Any, Any, Scalar]) -> tuple[Any, Any, Scalar]:
        net, opt_state, _ = carry
        value, gradient = jax.value_and_grad(loss)(net, data, jr.fold_in(key, step))
        return *step_down(optimiser, gradient, net, opt_state, decay(step, bounds[2])), value

    return jax.lax.fori_loop(bounds[0], bounds[1], update, carry)


def polyak(target: Model, model: Model, rate: float) -> Model:
    """Return target + rate·(model − target)."""
    return jax.tree.map(lambda old, new: old + rate * (new - old), target, model)


def between(expert: Rows, visited: Rows, key: PRNGKey) -> Rows:
    """Return a random point between each expert row and a random visited row. Integers are those of the nearer row."""
    share_key, other_key = jr.split(key)
    n, m = (len(jax.tree.leaves(part)[0]) for part in (expert, visited))
    share, other = jr.uniform(share_key, (n,)), jr.randint(other_key, (n,), 0, m)

    def mix(a: Array, b: Array) -> Array:
        if jnp.issubdtype(a.dtype, jnp.integer):
            return jnp.where(share > 0.5, a, b[other])
        weight: Float[Array, "n ..."] = share.reshape(n, *(1,) * (a.ndim - 1))
        return weight * a + (1.0 - weight) * b[other]

    return jax.tree.map(mix, expert, visited)
