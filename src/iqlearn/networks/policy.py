"""The policy that a run leaves: NumPy in, NumPy out."""

from typing import Any

import jax
import jax.random as jr
import numpy as np
from jaxtyping import Array, Shaped

from iqlearn.errors import InputError
from iqlearn.networks.soft_q import DiscreteSoftQ, SoftQ
from iqlearn.types import ArraySpec, Obs, ObsSpec, PRNGKey, in_words

Actions = Shaped[np.ndarray, "*n"]


@jax.jit
def _act(model: SoftQ, obs: Obs, key: PRNGKey | None) -> Shaped[Array, "n *act"]:
    return model.act(obs, key)


class Policy:
    """Acts on one observation or a batch. `predict` takes the arguments of Stable-Baselines3's. Its default differs:
    `deterministic` is True.

    >>> policy = Policy(model, seed=0)
    >>> action, _ = policy.predict(obs, deterministic=True)
    """

    def __init__(self, model: SoftQ, seed: int = 0) -> None:
        self.model = model
        self._key = jr.key(seed)
        self._draws = 0

    def __call__(self, obs: Any, deterministic: bool = True) -> Actions:
        """Actions for one observation or a batch.

        Args:
            obs: an array of shape `(*obs_shape)` or `(n, *obs_shape)`, or a dictionary (or tuple) of such arrays.
            deterministic: the most likely actions instead of samples.

        Returns:
            An action, or (n, ...) actions, in the environment's units and within its bounds: int64, or float32 (whole
            numbers, where the environment's actions are).

        Raises:
            InputError: the observations have another structure or shape.
        """
        spec = self.model.encoder.spec
        batch, single = as_batch(obs, spec)
        key = None if deterministic else self._next_key()
        actions = np.asarray(_act(self.model, batch, key))
        if isinstance(self.model, DiscreteSoftQ):
            actions = actions.astype(np.int64)
        else:
            actions = self.model.actions.bounds.clip(actions)
        return actions[0, ...] if single else actions

    def predict(
        self, observation: Any, state: None = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Actions, None]:
        """(actions, state). The state is always None: the policy has no memory."""
        del state, episode_start
        return self(observation, deterministic), None

    def _next_key(self) -> PRNGKey:
        self._draws += 1
        return jr.fold_in(self._key, self._draws)


def as_batch(obs: Any, spec: ObsSpec) -> tuple[Obs, bool]:
    """Observations as a batch of the right dtypes, and whether a single one was given.

    Raises:
        InputError: they have another structure or shape.
    """
    found = _matched(obs, spec)
    leading = set() if found is None else {a.shape[: max(a.ndim - len(s.shape), 0)] for s, a in found}
    single = leading == {()}
    fits = found is not None and all(a.shape[a.ndim - len(s.shape) :] == s.shape for s, a in found)
    if found is None or not fits or len(leading) != 1 or max(map(len, leading)) > 1:
        has = jax.tree.map(np.shape, obs) if found is None or not isinstance(spec, ArraySpec) else np.shape(obs)
        raise InputError(f"Observations have shape {has}; expected {in_words(spec)}, or rows of that shape.")
    arrays = [np.asarray(a[None] if single else a, s.dtype) for s, a in found]
    return jax.tree.unflatten(jax.tree.structure(spec), arrays), single


def _matched(obs: Any, spec: ObsSpec) -> list[tuple[ArraySpec, np.ndarray]] | None:
    """Each array beside its specification, in the order of the tree; none where the structure is another."""
    if isinstance(spec, ArraySpec):
        return None if isinstance(obs, dict) else [(spec, np.asarray(obs))]
    parts = dict(zip(map(str, range(len(obs))), obs, strict=True)) if isinstance(obs, tuple) else obs
    if not isinstance(parts, dict) or parts.keys() != spec.keys():
        return None
    found = [_matched(parts[name], spec[name]) for name in sorted(spec)]
    return None if any(part is None for part in found) else [pair for part in found if part for pair in part]
