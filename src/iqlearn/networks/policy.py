"""The policy of a run, with NumPy arrays as inputs and outputs."""

from itertools import count
from pathlib import Path
from typing import Any

import jax
import jax.random as jr
import numpy as np
from jaxtyping import Array, Shaped

from iqlearn import portable
from iqlearn.errors import InputError
from iqlearn.networks import saved
from iqlearn.networks.host import as_arrays, in_blocks
from iqlearn.networks.soft_q import DiscreteSoftQ, SoftQ
from iqlearn.types import Obs, ObsSpec, PRNGKey, in_words

Actions = Shaped[np.ndarray, "*n"]


@jax.jit
def _act(model: SoftQ, obs: Obs, key: PRNGKey | None) -> Shaped[Array, "n *act"]:
    return model.act(obs, key)


class Policy:
    """A policy that acts on one observation or a batch.

    `predict` has the arguments of `predict` in Stable-Baselines3, but `deterministic` is True by default.

    >>> policy = Policy(model, seed=0)
    >>> action, _ = policy.predict(obs, deterministic=True)
    """

    def __init__(self, model: SoftQ, seed: int = 0) -> None:
        self.model = model
        self._key = jr.key(seed)
        self._draws = count(1)  # a counter, because threads may share a policy

    def __call__(self, obs: Any, deterministic: bool = True) -> Actions:
        """Return actions for one observation or a batch.

        Args:
            obs: an array of shape `(*obs_shape)` or `(n, *obs_shape)`, or a dictionary (or tuple) of such arrays.
                Lists and arrays of any kind are accepted.
            deterministic: whether to return the most likely actions instead of samples.

        Returns:
            An action, or (n, ...) actions, in the environment's units and within its bounds: int64, or float32
            (whole numbers if the environment's actions are whole numbers).

        Raises:
            InputError: the observations have another structure or shape, or values that their dtype cannot hold.
        """
        batch, single = as_batch(obs, self.model.encoder.spec)
        actions = in_blocks(lambda block: _act(self.model, block, None if deterministic else self._next_key()), batch)
        if isinstance(self.model, DiscreteSoftQ):
            actions = actions.astype(np.int64)
        else:
            actions = self.model.actions.executed(actions)
        return actions[0, ...] if single else actions

    def predict(
        self, observation: Any, state: None = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Actions, None]:
        """Return (actions, state). The state is always None, because the policy has no memory."""
        del state, episode_start
        return self(observation, deterministic), None

    def save(self, path: str | Path, about: dict[str, Any] | None = None) -> None:
        """Write one `.npz` file for `load` and `iqlearn.portable.Policy`. It contains the scaling, but no critics.

        Args:
            path: the file.
            about: further facts for the file, for instance where the policy comes from. Plain JSON values.

        Raises:
            InputError: the file cannot be written.
        """
        saved.save(self.model, about or {}, Path(path))

    @staticmethod
    def load(path: str | Path, seed: int = 0) -> portable.Policy:
        """Load a policy from a file of `save` or `iqlearn export --format npz`. The policy runs with NumPy alone.

        Raises:
            InputError: the file is missing, damaged, or does not contain a policy.
        """
        try:
            return portable.Policy(path, seed)
        except (OSError, ValueError) as error:
            told = f"{path} is no policy ({error})"
            raise InputError(f"{told}; expected a file of Policy.save or iqlearn export.") from error

    def _next_key(self) -> PRNGKey:
        return jr.fold_in(self._key, next(self._draws))


def as_batch(obs: Any, spec: ObsSpec) -> tuple[Obs, bool]:
    """Return the observations as a batch with the dtypes of `spec`, and whether a single observation was given.

    Raises:
        InputError: they have another structure or shape, or values that their dtype cannot hold.
    """
    arrays = as_arrays(obs, spec, "Observations")
    pairs = [] if arrays is None else [*zip(jax.tree.leaves(arrays), jax.tree.leaves(spec), strict=True)]
    leading = {a.shape[: max(a.ndim - len(s.shape), 0)] for a, s in pairs}
    fits = all(a.shape[a.ndim - len(s.shape) :] == s.shape for a, s in pairs)
    if not fits or len(leading) != 1 or max(map(len, leading)) > 1:
        has = jax.tree.map(np.shape, obs if arrays is None else arrays)
        raise InputError(f"Observations have shape {has}; expected {in_words(spec)}, or rows of that shape.")
    single = leading == {()}
    return (jax.tree.map(lambda a: a[None], arrays) if single else arrays), single
