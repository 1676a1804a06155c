"""Encoders turn observations into the inputs of networks. They scale, whiten, one-hot code and flatten observations.

No other code depends on the structure of an observation. `fit` chooses the encoder of a task. An encoder for pixels
would be one more class here with the same `__call__` and `size`, chosen by the specification of the observation.
"""

import math
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from iqlearn.errors import InputError
from iqlearn.types import ArraySpec, Obs, ObsSpec

Scaling = Literal["none", "standard", "whiten"]
SHRINKAGE = 0.03
"""Added to each eigenvalue of the correlation matrix, so that directions of little variance are amplified at most
6-fold."""
CONSTANT = 1e-6
"""A coordinate counts as constant, and is not scaled, where its standard deviation is at most this share of its largest
absolute value. That is the precision of float32."""
FARTHER = 2.0
"""Saturation begins at no less than this multiple of the largest absolute input when the encoder is fitted."""
LARGEST = 1024
"""Largest number of inputs that can be whitened in reasonable time."""


class FlatEncoder(eqx.Module):
    """Flattens and concatenates the arrays of an observation, then applies an affine map that has no gradient.

    Categories become one-hot vectors. Without scaling, `uint8` values are divided by 255.
    """

    mean: Float[Array, " inputs"]
    transform: Float[Array, "inputs inputs"] | Float[Array, " inputs"]
    """A matrix, or one factor for each input."""
    limit: Float[Array, " inputs"] | None
    """Inputs grow logarithmically beyond ±limit, so that far observations stay moderate and distinct. None leaves
    inputs unchanged."""
    leaves: tuple[ArraySpec, ...] = eqx.field(static=True)
    structure: Any = eqx.field(static=True)

    @property
    def spec(self) -> ObsSpec:
        """The specification of the observations that are encoded."""
        return jax.tree.unflatten(self.structure, self.leaves)

    @property
    def size(self) -> int:
        """The number of inputs."""
        return self.mean.shape[0]

    def __call__(self, obs: Obs) -> Float[Array, "n inputs"]:
        """Return the network inputs of a batch of observations."""
        arrays = zip(self.leaves, jax.tree.leaves(obs), strict=True)
        flat = jnp.concatenate([_flat(spec, jnp.asarray(array), jnp) for spec, array in arrays], axis=1)
        mean, transform, limit = jax.lax.stop_gradient((self.mean, self.transform, self.limit))
        centred = flat - mean
        inputs = centred @ transform if transform.ndim == 2 else centred * transform
        return inputs if limit is None else bent(inputs, limit)


def bent(inputs: Float[Array, "n inputs"], limit: Float[Array, " inputs"]) -> Float[Array, "n inputs"]:
    """Return inputs that are unchanged up to ±limit and logarithmic beyond, with slope 1 where the two parts meet."""
    size = jnp.abs(inputs)
    return jnp.sign(inputs) * (jnp.minimum(size, limit) + jnp.log1p(jnp.maximum(size - limit, 0.0)))


def fit(spec: ObsSpec, obs: Obs, scaling: Scaling, saturation: float = 0.0) -> FlatEncoder:
    """Return the encoder of a task, scaled by the statistics of these observations.

    Args:
        spec: specification of a single observation.
        obs: a batch of observations on the host.
        scaling: `none`; `standard` divides each coordinate by its standard deviation; `whiten` also removes
            correlations: x ↦ (x − mean)·D⁻¹·(C + 0.03·I)^(−1/2), with D the standard deviations and C the correlations.
            The observations of a feedback controller are strongly correlated, and its action often depends on a
            direction of small variance. Scaling each coordinate alone does not amplify this direction.
        saturation: inputs grow logarithmically beyond ±saturation, or beyond twice their largest size in `obs`
            where that is more. 0 leaves inputs unchanged.

    Raises:
        InputError: there are too many inputs to whiten.
    """
    leaves = tuple(jax.tree.leaves(spec))
    flat = np.concatenate([_flat(s, np.asarray(x), np) for s, x in zip(leaves, jax.tree.leaves(obs), strict=True)], 1)
    flat = flat.astype(np.float64)
    if scaling == "none":
        mean, transform = np.zeros(flat.shape[1]), unscaled(leaves)
    elif scaling == "standard":
        category = np.concatenate([np.full(width(s), s.choices > 0) for s in leaves])
        mean = np.where(category, 0.0, flat.mean(axis=0))
        transform = 1.0 / np.where(category, 1.0, spread(flat))
    else:
        mean, transform = flat.mean(axis=0), whitening(flat)
    inputs = (flat - mean) @ transform if transform.ndim == 2 else (flat - mean) * transform
    limit = np.maximum(saturation, FARTHER * np.abs(inputs).max(axis=0)) if saturation > 0.0 else None
    mean, transform, limit = jax.tree.map(lambda part: jnp.asarray(part, jnp.float32), (mean, transform, limit))
    return FlatEncoder(mean, transform, limit, leaves, jax.tree.structure(spec))


def blank(spec: ObsSpec, scaling: Scaling, saturation: float = 0.0) -> FlatEncoder:
    """Return an encoder with the shapes of a fitted one, but without the statistics of any observations."""
    leaves = tuple(jax.tree.leaves(spec))
    size = sum(width(s) for s in leaves)
    transform = jnp.eye(size) if scaling == "whiten" else jnp.asarray(unscaled(leaves), jnp.float32)
    limit = jnp.full(size, saturation) if saturation > 0.0 else None
    return FlatEncoder(jnp.zeros(size), transform, limit, leaves, jax.tree.structure(spec))


def unscaled(leaves: tuple[ArraySpec, ...]) -> np.ndarray:
    """Return the factor of each input without scaling: 1/255 for `uint8`, else 1."""
    return np.concatenate([np.full(width(s), 1 / 255 if s.dtype == "uint8" else 1.0) for s in leaves])


def width(spec: ArraySpec) -> int:
    """Return the number of inputs that an array is encoded as."""
    return spec.choices or math.prod(spec.shape)


def spread(flat: np.ndarray) -> np.ndarray:
    """Return the standard deviation of each column, or 1 where the column is constant."""
    return np.where(constant(flat), 1.0, flat.std(axis=0))


def constant(flat: np.ndarray) -> np.ndarray:
    """Return whether each column counts as constant."""
    return flat.std(axis=0) <= CONSTANT * np.abs(flat).max(axis=0)


def whitening(flat: np.ndarray) -> np.ndarray:
    """Return the matrix that whitens these rows. A constant column is not scaled."""
    if flat.shape[1] > LARGEST:
        raise InputError(
            f"Observations have {flat.shape[1]} coordinates; expected at most {LARGEST} with scaling whiten, use "
            "standard (--scaling standard)."
        )
    std = spread(flat)
    fixed = constant(flat)
    standard = np.where(fixed, 0.0, flat - flat.mean(axis=0)) / std
    correlation = standard.T @ standard / len(standard) + np.diag(fixed * (1.0 - SHRINKAGE))
    eigenvalues, vectors = np.linalg.eigh(correlation)
    return vectors / np.sqrt(np.maximum(eigenvalues, 0.0) + SHRINKAGE) @ vectors.T / std[:, None]


def _flat(spec: ArraySpec, array: Any, xp: Any) -> Any:
    """Return an array of a batch as rows of numbers. `xp` is NumPy on the host, or `jax.numpy` on the device."""
    if spec.choices:
        return (array[:, None] == xp.arange(spec.choices)).astype(xp.float32)
    flat = array.reshape(array.shape[0], -1)
    return flat.astype(xp.float32) if xp is jnp else flat
