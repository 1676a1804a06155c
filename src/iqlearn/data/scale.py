"""How observations are scaled for a network."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from iqlearn.types import ObservationScale

SHRINKAGE = 0.03
"""Added to each eigenvalue of the correlation matrix: directions the data hardly vary in are not blown up."""
SATURATION = 10.0
"""Standard deviations at which a standardised coordinate saturates, where demonstrations are what it is scaled by."""
NO_LIMIT = 1e9
"""Finite, because a target network averages all that a model holds, and ∞ − ∞ is no number."""


def whitening(obs: Shaped[np.ndarray, "n *obs"]) -> ObservationScale:
    """Zero-phase whitening: x ↦ (x − mean)·D⁻¹·(C + 0.03·I)^(−1/2), D the standard deviations, C the correlations.

    A feedback controller's observations are strongly correlated (an upright pole: angle against position), and what
    its action depends on is often a direction of small variance; scaling each coordinate alone hides that direction.
    A constant coordinate passes unscaled.
    """
    flat = obs.reshape(len(obs), -1).astype(np.float64)
    std = flat.std(axis=0)
    std = np.where(std < 1e-4, 1.0, std)
    standard = (flat - flat.mean(axis=0)) / std
    correlation = standard.T @ standard / len(standard) + np.diag((standard == 0).all(axis=0) * (1.0 - SHRINKAGE))
    eigenvalues, vectors = np.linalg.eigh(correlation)
    root = vectors / np.sqrt(np.maximum(eigenvalues, 0.0) + SHRINKAGE) @ vectors.T
    return ObservationScale(
        jnp.asarray(flat.mean(axis=0).reshape(obs.shape[1:]), jnp.float32),
        jnp.asarray(root / std[:, None], jnp.float32),
        jnp.float32(NO_LIMIT),
    )


def standard(obs: Shaped[np.ndarray, "n *obs"], limit: float = SATURATION) -> ObservationScale:
    """x ↦ (x − mean)/std a coordinate, within ±`limit`. A constant coordinate passes unscaled."""
    flat = obs.reshape(len(obs), -1).astype(np.float64)
    std = flat.std(axis=0)
    factor = 1.0 / np.where(std < 1e-4, 1.0, std)
    mean = flat.mean(axis=0).reshape(obs.shape[1:])
    return ObservationScale(jnp.asarray(mean, jnp.float32), jnp.asarray(factor, jnp.float32), jnp.float32(limit))
