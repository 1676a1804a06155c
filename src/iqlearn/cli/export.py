"""The command `iqlearn export`."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import iqlearn as iq
from iqlearn.errors import InputError


def export(o: Namespace) -> None:
    """Write the policy or the reward of a run for other programs, and compare the file with the run.

    onnx runs in onnxruntime and on many devices, stablehlo in JAX without iqlearn (`jax.export.deserialize`), npz with
    NumPy alone (`iqlearn.portable.Policy`, one file that may be copied). The file includes the scaling. The batch size
    is free.

    DIR  Run folder.
    --format onnx|stablehlo|npz [required]  Format of the file.
    --out FILE [required]  File to write.
    --part policy|reward [policy]  Export the policy's most likely actions (with discrete actions also Q), or the reward
        of transitions. npz holds policies only.
    --last  Use policy and reward of the last evaluation (default: those whose states were closest to the expert's).
    --overwrite  Replace the file.
    --json  Print one JSON object.
    """
    from iqlearn import exports
    from iqlearn.cli.demos import free
    from iqlearn.cli.output import show
    from iqlearn.runs.folder import OWN

    free(o.out, o.overwrite)
    if o.out.resolve() in {(o.dir / name).resolve() for name in OWN}:
        raise InputError(f"{o.out} is a file of the run itself; expected another one, choose another --out.")
    run = iq.Run.load(o.dir, o.last)
    source = exports.policy(run.model, run.task) if o.part == "policy" else exports.reward(run.reward)
    about = {"run": str(o.dir), "task": run.origin.title, "algorithm": run.settings.name, "seed": run.schedule.seed}
    about["iqlearn"] = iq.__version__
    recorded, told = recorded_inputs(run, o, source)
    errors = exports.export(source, o.format, o.out, about, recorded)
    facts: dict[str, Any] = {"file": str(o.out), "part": o.part, "format": o.format, "bytes": o.out.stat().st_size}
    facts["inputs"] = {name: [*spec.shape] for name, spec in source.inputs.items()}
    facts["outputs"] = [*source.outputs]
    facts["largest_error"] = errors | ({"demonstrations": told} if told else {})
    show(facts, o.json)


def recorded_inputs(run: Any, o: Namespace, source: Any) -> tuple[Any, str]:
    """Return the demonstrations of the run as inputs of the export, and an empty text; else None and the reason."""
    from iqlearn import origins

    if run.origin.demos is None:
        return None, "not compared, because the run learnt from none"
    try:
        demos = origins.demos_of(run, o.dir)
    except InputError:
        return None, "not compared, because their file is missing or was changed"
    return source.of(demos), ""
