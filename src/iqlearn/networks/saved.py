"""Save a policy as one `.npz` file, which `iqlearn.portable.Policy` runs with NumPy alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

from iqlearn.errors import InputError
from iqlearn.files import replacing
from iqlearn.networks.mlp import MLP
from iqlearn.networks.soft_q import SoftQ
from iqlearn.portable import FORMAT
from iqlearn.types import ArraySpec, ObsSpec


def save(model: SoftQ, about: dict[str, Any], path: Path) -> None:
    """Write the policy of a model: the whole file or none. `about` contains where the policy comes from.

    Raises:
        InputError: the file cannot be written, or JSON cannot hold `about`.
    """
    with replacing(path) as partial:
        write(model, about, partial)


def write(model: SoftQ, about: dict[str, Any], path: Path) -> None:
    """Write the policy of a model to a temporary path that is renamed afterwards. See `save`."""
    arrays, facts = parts_of(model)
    try:
        text = json.dumps(about | facts)
    except TypeError as error:
        raise InputError(
            f"about holds what JSON cannot ({error}); expected texts, numbers, lists and dictionaries."
        ) from error
    with path.open("wb") as file:
        np.savez(file, about=np.array(text), **arrays)  # pyright: ignore[reportArgumentType]


def parts_of(model: SoftQ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays of a policy by name, and the other facts that are needed to run it, as JSON values."""
    encoder = model.encoder
    of, discrete = cast(Any, model), model.actions is None  # the parts of a model depend on the kind of action
    net: MLP = of.net.members if discrete else jax.tree.map(lambda x: x[None], of.actor)
    arrays: dict[str, Any] = {"mean": encoder.mean, "transform": encoder.transform}
    arrays |= {} if encoder.limit is None else {"limit": encoder.limit}
    for i, layer in enumerate(net.layers):
        layer = jax.vmap(type(layer).bounded)(layer) if net.spectral else layer
        arrays |= {f"weight/{i}": layer.weight, f"bias/{i}": layer.bias}
    facts: dict[str, Any] = {
        "format": FORMAT,
        "discrete": discrete,
        "obs": leaves(encoder.spec),
        "limited": encoder.limit is not None,
        "layers": len(net.layers),
        "activation": net.activation,
        "layer_norm": net.normalise,
    }
    facts |= {} if net.last == net.activation else {"last": net.last}
    if discrete:
        facts |= {"temperature": of.temperature, "output_scale": of.output_scale}
    else:
        scale = of.actions
        arrays |= {"centre": scale.centre, "half": scale.half, "limits": scale.limits, "unit_limits": scale.unit_limits}
        facts |= {"squash": of.squash, "whole": scale.whole}
    return {name: np.asarray(array) for name, array in arrays.items()}, facts


def leaves(spec: ObsSpec, path: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Return the path, shape, dtype and choices of each array of an observation, in the order of the encoder."""
    if isinstance(spec, ArraySpec):
        return [{"path": list(path), "shape": list(spec.shape), "dtype": spec.dtype, "choices": spec.choices}]
    return [leaf for name in sorted(spec) for leaf in leaves(spec[name], (*path, name))]
