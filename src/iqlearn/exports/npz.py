"""A policy as one `.npz` file, which `iqlearn.portable.Policy` runs with NumPy alone. `Policy.save` writes it too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from iqlearn.errors import InputError
from iqlearn.exports.base import Exported
from iqlearn.networks import saved
from iqlearn.portable import Policy


def write(exported: Exported, about: dict[str, Any], path: Path) -> None:
    """Write a policy. `about` holds facts about its origin.

    Raises:
        InputError: `exported` is a reward.
    """
    if exported.model is None:
        raise InputError("Format npz is for policies; expected format onnx or stablehlo for a reward.")
    saved.write(exported.model, about, path)


def opened(path: Path) -> Callable[..., tuple[np.ndarray, ...]]:
    """Return the function in a file."""
    policy = Policy(path)

    def act(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        inputs, _ = policy.encoded(arrays)
        if not policy.about["discrete"]:
            return (policy.act(inputs),)
        return policy.act(inputs), policy.q(inputs)

    return act
