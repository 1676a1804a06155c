"""Multi-layer perceptrons, and ensembles of them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int

from iqlearn.errors import require, require_types
from iqlearn.types import PRNGKey, Scalar

Activation = Literal["relu", "tanh", "elu", "silu"]
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "elu": jax.nn.elu,
    "silu": jax.nn.silu,
    "periodic": lambda x: jnp.sin(x) + jnp.cos(x),
}
"""Activation functions by name. `periodic` is for the last hidden layer of a stationary network."""
SMOOTH = 0.125
"""Scale of the weights of a periodic layer, in place of 2, so that its functions vary slowly at first."""
Hidden = Callable[[Array], Array]
"""The function after a hidden layer: normalisation, if any, and activation."""
POWER_ITERATIONS = 40
"""Power iterations that estimate a largest singular value."""


@dataclass(frozen=True)
class Network:
    """Layers of a multi-layer perceptron."""

    hidden: tuple[int, ...] = (256, 256)
    """Units of each hidden layer."""
    activation: Activation = "relu"
    """Non-linearity between the layers."""
    layer_norm: bool = False
    """Normalise each hidden layer before its non-linearity."""

    def __post_init__(self) -> None:
        require_types(self)
        whole = all(isinstance(n, Integral) and n > 0 for n in self.hidden)
        require(whole, "hidden", self.hidden, "whole numbers above 0")
        object.__setattr__(self, "hidden", tuple(map(int, self.hidden)))


class Linear(eqx.Module):
    """x·W + b, with normal weights of variance scale/inputs (He: scale 2) and zero biases at the start."""

    weight: Float[Array, "inputs outputs"]
    bias: Float[Array, " outputs"]

    def __init__(self, inputs: int, outputs: int, scale: float, key: PRNGKey) -> None:
        self.weight = jr.normal(key, (inputs, outputs)) * (scale / inputs) ** 0.5
        self.bias = jnp.zeros(outputs)

    def __call__(self, x: Float[Array, "n inputs"]) -> Float[Array, "n outputs"]:
        return affine(x, self.weight, self.bias)

    def bounded(self) -> "Linear":
        """Return the layer with its weight matrix divided by its largest singular value where that exceeds 1."""
        return eqx.tree_at(lambda m: m.weight, self, self.weight / jnp.maximum(spectral_norm(self.weight), 1.0))


@jax.custom_vjp
def affine(
    x: Float[Array, "n inputs"], weight: Float[Array, "inputs outputs"], bias: Float[Array, " outputs"]
) -> Float[Array, "n outputs"]:
    """Return x·W + b. `layer_gradient` computes its gradients in W and b."""
    return x @ weight + bias


def _affine_forward(x: Array, weight: Array, bias: Array) -> tuple[Array, tuple[Array, Array]]:
    return affine(x, weight, bias), (x, weight)


def _affine_backward(saved: tuple[Array, Array], slope: Array) -> tuple[Array, Array, Array]:
    x, weight = saved
    return slope @ weight.T, *layer_gradient(x, slope)


affine.defvjp(_affine_forward, _affine_backward)


def layer_gradient(
    x: Float[Array, "n inputs"], slope: Float[Array, "n outputs"]
) -> tuple[Float[Array, "inputs outputs"], Float[Array, " outputs"]]:
    """Return xᵀ·slope and the sum of the rows of slope: the gradients of a layer in its weights and biases.

    On a CPU, XLA's matrix product is slow where the result has few columns, so the transposed product is computed; the
    barrier keeps XLA from undoing this. XLA's sum over rows depends on the number of cores. A product with ones does
    not, so it replaces the sum.
    """
    ones = jax.lax.optimization_barrier(jnp.ones((1, len(slope))))
    of_bias = (ones @ slope)[0]
    if slope.shape[1] < x.shape[1]:
        return jax.lax.optimization_barrier(slope.T @ x).T, of_bias
    return x.T @ slope, of_bias


def spectral_norm(weight: Float[Array, "inputs outputs"]) -> Scalar:
    """Return the largest singular value, by power iteration from a fixed vector. Its gradient is u·vᵀ."""
    fixed = jax.lax.stop_gradient(weight)

    def step(_: Int[Array, ""], v: Float[Array, " outputs"]) -> Float[Array, " outputs"]:
        v = (fixed @ v) @ fixed
        return v / (jnp.linalg.norm(v) + 1e-12)

    v = jax.lax.fori_loop(0, POWER_ITERATIONS, step, jnp.sin(1.0 + jnp.arange(weight.shape[1], dtype=weight.dtype)))
    u = fixed @ v
    return u / (jnp.linalg.norm(u) + 1e-12) @ weight @ v


def layer_norm(x: Float[Array, "n units"]) -> Float[Array, "n units"]:
    """Normalise to zero mean and unit variance over the units, without trained scale and shift."""
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + 1e-5)


class MLP(eqx.Module):
    """A multi-layer perceptron. The weights of its last layer start small.

    A stationary network has a periodic last hidden layer, sin x + cos x. With normal weights, the kernel of these
    features depends only on the distance between two inputs. Far from all data the outputs therefore return to the last
    bias (Meronen, Trapp and Solin, "Periodic Activation Functions Induce Stationarity", NeurIPS 2021).
    """

    layers: tuple[Linear, ...]
    activation: Activation = eqx.field(static=True)
    last: str = eqx.field(static=True)
    """The activation of the last hidden layer."""
    normalise: bool = eqx.field(static=True)
    spectral: bool = eqx.field(static=True)
    """Whether every weight matrix is divided by its largest singular value where that exceeds 1."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        network: Network,
        key: PRNGKey,
        spectral: bool = False,
        stationary: bool = False,
    ) -> None:
        widths = (inputs, *network.hidden, outputs)
        scales = [2.0] * len(network.hidden) + [0.01]
        if stationary:
            scales[-2] = SMOOTH
        self.layers = tuple(
            Linear(n, m, scale, jr.fold_in(key, i))
            for i, (n, m, scale) in enumerate(zip(widths[:-1], widths[1:], scales, strict=True))
        )
        self.activation, self.last = network.activation, "periodic" if stationary else network.activation
        self.normalise, self.spectral = network.layer_norm, spectral

    def __call__(self, x: Float[Array, "n inputs"]) -> Float[Array, "n outputs"]:
        *hidden, last = self._layers()
        for layer, after in zip(hidden, self._between(), strict=True):
            x = after(layer(x))
        return last(x)

    def apart(self, x: Float[Array, "n inputs"], m: int) -> tuple[Float[Array, "m 1"], Float[Array, "n 1"]]:
        """Return the single output of the first m rows, and that of all rows.

        The former is differentiable in the weights only, the latter in `x` only.
        """
        return _apart(self._between(), m, self._layers(), x)

    def _layers(self) -> tuple[Linear, ...]:
        return tuple(layer.bounded() for layer in self.layers) if self.spectral else self.layers

    def _between(self) -> tuple[Hidden, ...]:
        """Return the function after each hidden layer."""
        names = [self.activation] * (len(self.layers) - 2) + [self.last]
        return tuple(partial(_activated, name, self.normalise) for name in names[: len(self.layers) - 1])


def _activated(activation: str, normalise: bool, x: Float[Array, "n units"]) -> Float[Array, "n units"]:
    return ACTIVATIONS[activation](layer_norm(x) if normalise else x)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _apart(
    between: tuple[Hidden, ...], m: int, layers: tuple[Linear, ...], x: Float[Array, "n inputs"]
) -> tuple[Float[Array, "m 1"], Float[Array, "n 1"]]:
    """Compute `MLP.apart`. Both results have the same gradients in the hidden units of a row, up to one factor for each
    row, so that one backward pass is enough for both."""
    return _apart_forward(between, m, layers, x)[0]


def _apart_forward(
    between: tuple[Hidden, ...], m: int, layers: tuple[Linear, ...], x: Float[Array, "n inputs"]
) -> tuple[Any, tuple[Any, ...]]:
    inputs, sums = [x], []
    for layer, after in zip(layers[:-1], between, strict=True):
        sums.append(layer(inputs[-1]))
        inputs.append(after(sums[-1]))
    outputs = layers[-1](inputs[-1])
    return (outputs[:m], outputs), (layers, inputs, sums)


def _apart_backward(between: tuple[Hidden, ...], m: int, saved: Any, slopes: Any) -> tuple[Any, Any]:
    (layers, inputs, sums), (of_weights, of_inputs) = saved, slopes
    gradients, slope = [], jnp.ones_like(of_inputs)
    for i in reversed(range(len(layers))):
        of_rows = of_weights * slope[:m]
        gradient = layer_gradient(inputs[i][:m], of_rows)
        gradients.append(eqx.tree_at(lambda layer: (layer.weight, layer.bias), layers[i], gradient))
        slope = slope @ layers[i].weight.T
        if i > 0:
            (slope,) = jax.vjp(between[i - 1], sums[i - 1])[1](slope)
    return tuple(gradients[::-1]), of_inputs * slope


_apart.defvjp(_apart_forward, _apart_backward)


class Ensemble(eqx.Module):
    """Networks of one shape from different initial weights, stacked along a leading axis."""

    members: MLP

    def __init__(
        self, inputs: int, outputs: int, network: Network, members: int, key: PRNGKey, spectral: bool = False
    ) -> None:
        keys = jr.split(key, members)
        self.members = jax.vmap(lambda k: MLP(inputs, outputs, network, k, spectral))(keys)

    def __call__(self, x: Float[Array, "n inputs"]) -> Float[Array, "members n outputs"]:
        """Return the outputs of each member. Members run one by one: large batched products are slow on a CPU."""
        return jnp.stack([member(x) for member in self._each()])

    def apart(
        self, x: Float[Array, "n inputs"], m: int
    ) -> tuple[Float[Array, "members m 1"], Float[Array, "members n 1"]]:
        """Return `MLP.apart` of each member."""
        of_weights, of_inputs = zip(*(member.apart(x, m) for member in self._each()), strict=True)
        return jnp.stack(of_weights), jnp.stack(of_inputs)

    def _each(self) -> list[MLP]:
        size = self.members.layers[0].bias.shape[0]
        return [jax.tree.map(lambda leaf, k=k: leaf[k], self.members) for k in range(size)]
