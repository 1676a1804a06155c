"""The policy that a run leaves behind: NumPy in, NumPy out."""

import jax
import jax.random as jr
import numpy as np
from jaxtyping import Array, Shaped

from iqlearn.errors import InputError
from iqlearn.models.continuous import ContinuousSoftQ
from iqlearn.models.discrete import DiscreteSoftQ
from iqlearn.types import PRNGKey

SoftQModel = DiscreteSoftQ | ContinuousSoftQ
Actions = Shaped[np.ndarray, "*n"]


@jax.jit
def _act(model: SoftQModel, obs: Shaped[Array, "n *obs"], key: PRNGKey | None) -> Shaped[Array, "n *act"]:
    return model.act(obs, key)


class Policy:
    """Acts on one observation or a batch. `predict` is the one that Stable-Baselines3 users know.

    >>> policy = Policy(model, seed=0)
    >>> action, _ = policy.predict(obs, deterministic=True)
    """

    def __init__(self, model: SoftQModel, seed: int = 0) -> None:
        self.model = model
        self._key = jr.key(seed)
        self._draws = 0

    def __call__(self, obs: Shaped[np.ndarray, "*n_obs"], deterministic: bool = True) -> Actions:
        """Actions for observations of shape (*obs_shape) or (n, *obs_shape).

        Raises:
            InputError: the observations have another shape.
        """
        obs = np.asarray(obs)
        shape = self.model.scale.mean.shape
        if obs.shape[-len(shape) :] != shape or obs.ndim - len(shape) not in (0, 1):
            raise InputError(f"Observations have shape {obs.shape}; expected {shape}, or rows of that shape.")
        single = obs.ndim == len(shape)
        key = None if deterministic else self._next_key()
        actions = np.asarray(_act(self.model, obs[None] if single else obs, key))
        actions = actions.astype(np.int64) if actions.ndim == 1 else actions
        return actions[0, ...] if single else actions

    def predict(
        self,
        observation: Shaped[np.ndarray, "*n_obs"],
        state: None = None,
        episode_start: Shaped[np.ndarray, " n"] | None = None,
        deterministic: bool = True,
    ) -> tuple[Actions, None]:
        """(actions, state): the state is always None, the policy has no memory."""
        del state, episode_start
        return self(observation, deterministic), None

    def _next_key(self) -> PRNGKey:
        self._draws += 1
        return jr.fold_in(self._key, self._draws)
