"""What s' tells: a linear model of the dynamics, fitted to the demonstrations, and how far it can be trusted."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from iqlearn.types import ObservationScale, TaskSpec, Transitions

RIDGE = 1e-3
"""Weight of the squared coefficients, in whitened coordinates."""


class LinearDynamics(eqx.Module):
    """s' = s + [z(s), onehot(a)]·W, z the whitened observation. Flat observations and discrete actions."""

    scale: ObservationScale
    weights: Float[Array, "features obs"]

    def __call__(self, obs: Shaped[Array, "n obs"], action: Int[Array, " n"]) -> Float[Array, "n obs"]:
        """The next observation of each row."""
        z = self.scale(obs)
        choices = jnp.arange(self.weights.shape[0] - z.shape[1])
        return obs + jnp.concatenate([z, action[:, None] == choices], axis=1) @ self.weights


def fit_linear(transitions: Transitions, scale: ObservationScale, spec: TaskSpec) -> tuple[LinearDynamics, float]:
    """Ridge regression of the step s' − s, and its relative error.

    The error is the root mean square of the leave-one-out residuals over that of the steps, in the coordinate where
    it is worst: 0 is a known dynamics, 1 one of which nothing is known. It needs no reward and no environment.
    """
    obs, action, next_obs = (np.asarray(x, np.float64) for x in transitions[:3])
    z = np.asarray(scale(transitions.obs), np.float64)
    features = np.concatenate([z, action[:, None] == np.arange(spec.choices)], axis=1)
    step = next_obs - obs
    gram_inverse = np.linalg.inv(features.T @ features + RIDGE * np.eye(features.shape[1]))
    weights = gram_inverse @ features.T @ step
    leverage = np.einsum("nf,fg,ng->n", features, gram_inverse, features)
    residual = (step - features @ weights) / (1.0 - np.minimum(leverage, 0.99))[:, None]
    size = np.sqrt(np.mean(step**2, axis=0))
    moving = size > 1e-8
    relative = np.sqrt(np.mean(residual**2, axis=0))[moving] / size[moving]
    return LinearDynamics(scale, jnp.asarray(weights, jnp.float32)), float(relative.max(initial=0.0))
