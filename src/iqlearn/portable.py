"""Exported policies on a machine without JAX. This file needs only Python and NumPy, and may be copied on its own.

>>> from iqlearn.portable import Policy
>>> policy = Policy("policy.npz")  # written by: iqlearn export DIR --format npz --out policy.npz
>>> action, _ = policy.predict(obs)
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

FORMAT = 1
"""Newest version of the file format that this module reads."""
LOG_STD = -5.0, 2.0
"""Range of the logarithm of the standard deviation of continuous actions."""


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0.0)


def elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0.0, x, np.expm1(np.minimum(x, 0.0)))


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1.0 + np.exp(-np.maximum(x, -80.0)))


def periodic(x: np.ndarray) -> np.ndarray:
    return np.sin(x) + np.cos(x)


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": relu,
    "tanh": np.tanh,
    "elu": elu,
    "silu": silu,
    "periodic": periodic,
}


def check(about: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Raise `ValueError` or `KeyError` if a file lacks a part of a policy, or its arrays do not match or hold NaN."""
    leaves = about["obs"]
    size = sum(math.prod(leaf["shape"]) * (leaf["choices"] or 1) for leaf in leaves if np.dtype(leaf["dtype"]))
    needed = ["temperature", "output_scale"] if about["discrete"] else ["squash", "whole"]
    needed += ["layer_norm"]
    if size != arrays["mean"].size or not {*needed} <= about.keys():
        raise ValueError("the inputs do not fit")
    for i in range(about["layers"]):
        weight, bias = arrays[f"weight/{i}"], arrays[f"bias/{i}"]
        if weight.shape[1] != size or bias.shape != (len(weight), weight.shape[2]):
            raise ValueError(f"layer {i} does not fit")
        size = weight.shape[2]
    scale = [] if about["discrete"] else ["centre", "half", "limits", "unit_limits"]
    for name in ("mean", "transform", *(["limit"] if about["limited"] else []), *scale):
        if arrays[name].dtype.kind != "f":
            raise ValueError(f"{name} is no array of numbers")
    if any(np.isnan(array).any() for array in arrays.values()):
        raise ValueError("an array holds what is no number")


def arrays_of(obs: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Return the arrays of an observation by their path of keys in dictionaries and of indices in tuples."""
    parts = dict(zip(map(str, range(len(obs))), obs, strict=True)) if isinstance(obs, tuple) else obs
    if not isinstance(parts, dict):
        return {path: obs}
    return {place: x for name, part in parts.items() for place, x in arrays_of(part, (*path, str(name))).items()}


def typed(values: Any, leaf: dict[str, Any], place: str) -> np.ndarray:
    """Return the values of one part of an observation as an array of the dtype of that part.

    Raises:
        ValueError: the values are not numbers that the dtype can hold, or not choices of a discrete observation.
    """
    given, dtype = np.asarray(values), np.dtype(leaf["dtype"])
    if given.dtype.kind not in "biuf":
        raise ValueError(f"{place} holds {given.dtype}; expected numbers")
    with np.errstate(all="ignore"):
        array = given.astype(dtype)
    if dtype.kind != "f" and not np.array_equal(array, given):
        raise ValueError(f"{place} has values that {dtype} cannot hold")
    if leaf["choices"] and array.size and not 0 <= array.min() <= array.max() < leaf["choices"]:
        raise ValueError(f"{place} has values from {array.min()} to {array.max()}; expected 0 to {leaf['choices'] - 1}")
    return array


class Policy:
    """A policy that acts on one observation or a batch, as `iqlearn.Policy` does. Its only state is that of its random
    numbers. It can be pickled, and threads may share it.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not an exported policy, is damaged, or has a newer version of the format.
    """

    def __init__(self, path: Any, seed: int = 0) -> None:
        try:
            with np.load(path, allow_pickle=False) as file:
                self._arrays = {name: file[name] for name in file.files}
            self.about: dict[str, Any] = json.loads(str(self._arrays.pop("about")))
            """The task, the layers, and the origin of the policy."""
            newer = self.about["format"] > FORMAT
            if not newer:
                check(self.about, self._arrays)
                self._activation = ACTIVATIONS[self.about["activation"]]
                self._last = ACTIVATIONS[self.about.get("last", self.about["activation"])]
        except OSError:
            raise
        except Exception as error:  # a damaged file raises errors of many kinds
            wanted = "expected a file of: iqlearn export DIR --format npz"
            raise ValueError(f"{path} is no exported policy, or damaged; {wanted}") from error
        if newer:
            raise ValueError(f"{path} has version {self.about['format']} of the format; expected at most {FORMAT}")
        self._rng = np.random.default_rng(seed)

    def predict(
        self, observation: Any, state: None = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[np.ndarray, None]:
        """Return (actions, state), with the arguments of Stable-Baselines3. The state is always None."""
        del state, episode_start
        return self(observation, deterministic), None

    def __call__(self, obs: Any, deterministic: bool = True) -> np.ndarray:
        """Return actions for one observation or a batch.

        Args:
            obs: an array of shape (*obs_shape) or (n, *obs_shape), or a dictionary (or tuple) of such arrays.
            deterministic: return the most likely actions instead of samples.

        Returns:
            An action, or (n, ...) actions, in the environment's units and within its bounds: int64 or float32.

        Raises:
            ValueError: the observations have another structure or shape, or hold values that are not finite or do not
                fit their types.
        """
        found = arrays_of(obs)
        paths = [tuple(leaf["path"]) for leaf in self.about["obs"]]
        if found.keys() != {*paths}:
            has, wanted = (", ".join(sorted("/".join(path) for path in each)) for each in (found, paths))
            raise ValueError(f"the observation has the parts {has or 'none'}; expected {wanted or 'a single array'}")
        inputs, single = self.encoded([found[path] for path in paths])
        actions = self.act(inputs, deterministic)
        return actions[0, ...] if single else actions

    def act(self, inputs: np.ndarray, deterministic: bool = True) -> np.ndarray:
        """Return the action of each row of network inputs, (n, inputs)."""
        return (self._discrete if self.about["discrete"] else self._continuous)(inputs, deterministic)

    def encoded(self, given: Sequence[Any]) -> tuple[np.ndarray, bool]:
        """Return the inputs of the network, (n, inputs), and whether a single observation was given.

        `given` is the arrays of an observation in the order of `about["obs"]`.
        """
        parts, leading = [], set()
        for leaf, values in zip(self.about["obs"], given, strict=True):
            place, shape = "/".join(["observation", *leaf["path"]]), tuple(leaf["shape"])
            array = typed(values, leaf, place)
            lead = array.shape[: max(array.ndim - len(shape), 0)]
            if array.shape[len(lead) :] != shape or len(lead) > 1:
                raise ValueError(f"{place} has shape {array.shape}; expected {shape}, or rows of that shape")
            leading.add(lead)
            rows = array.reshape(lead[0] if lead else 1, *shape)
            if leaf["choices"]:
                rows = rows[:, None] == np.arange(leaf["choices"])
            parts.append(rows.reshape(len(rows), math.prod(rows.shape[1:])).astype(np.float32))
        if len(leading) != 1:
            raise ValueError("the parts of the observation have different numbers of rows")
        x = (np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]) - self._arrays["mean"]
        if not np.isfinite(x).all():
            raise ValueError("the observation has values that are not finite")
        transform = self._arrays["transform"]
        x = x @ transform if transform.ndim == 2 else x * transform
        if self.about["limited"]:  # logarithmic beyond the limit
            size, limit = np.abs(x), self._arrays["limit"]
            x = np.sign(x) * (np.minimum(size, limit) + np.log1p(np.maximum(size - limit, 0.0)))
        return x, leading == {()}

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs of each member of the network, (members, n, outputs)."""
        for i in range(self.about["layers"]):
            if i:
                if self.about["layer_norm"]:
                    x = x - x.mean(axis=-1, keepdims=True)
                    x = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(1e-5))
                x = (self._last if i == self.about["layers"] - 1 else self._activation)(x)
            x = x @ self._arrays[f"weight/{i}"] + self._arrays[f"bias/{i}"][:, None]
        return x

    def q(self, x: np.ndarray) -> np.ndarray:
        """Return Q of each discrete action, (n, actions), for each row of inputs."""
        return np.float32(self.about["output_scale"]) * self.outputs(x).mean(axis=0)

    def _discrete(self, x: np.ndarray, deterministic: bool) -> np.ndarray:
        q = self.q(x)
        if not deterministic:  # the argmax of Q/τ plus Gumbel noise is a sample of the softmax
            q = q / self.about["temperature"] + self._rng.gumbel(size=q.shape)
        return q.argmax(axis=1)

    def _continuous(self, x: np.ndarray, deterministic: bool) -> np.ndarray:
        a = self._arrays
        mean, raw = np.split(self.outputs(x)[0], 2, axis=1)
        low, high = a["unit_limits"]
        if not deterministic:
            log_std = LOG_STD[0] + 0.5 * (LOG_STD[1] - LOG_STD[0]) * (np.tanh(raw) + 1.0)
            mean = mean + np.exp(log_std) * self._rng.standard_normal(mean.shape)
        if self.about["squash"] == "tanh":
            middle, half = 0.5 * (low + high), 0.5 * (high - low)
            unit = middle + half * np.tanh((mean - middle) / half)
        else:
            unit = np.minimum(np.maximum(mean, low), high)
        action = a["centre"] + a["half"] * unit
        action = np.rint(action) if self.about["whole"] else action
        return np.minimum(np.maximum(action, a["limits"][0]), a["limits"][1]).astype(np.float32)
