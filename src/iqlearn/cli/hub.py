"""The commands `iqlearn push` and `iqlearn pull`: runs on the Hugging Face Hub."""

from __future__ import annotations

import shlex
from argparse import Namespace
from typing import Any

from iqlearn.cli.flags import as_flag
from iqlearn.errors import InputError


def push(o: Namespace) -> None:
    """Publish a run on the Hugging Face Hub, with a model card. With --out, only write it to a folder.

    It publishes settings, metrics, model, curves and rewards, a policy for NumPy alone, and replay.mp4 and report.html
    if they are in the folder. It publishes no checkpoint, no demonstrations and no paths of this machine.
    Log in with `hf auth login`, or set HF_TOKEN.

    DIR  Run folder, or the folder of several seeds.
    REPO  Repository: USER/NAME. It is created if it does not exist.
    --private  Make a new repository private.
    --message TEXT  Message of the commit (default: Publish a run of iqlearn).
    --license ID  Licence of the policy for the card, as the Hub calls it: mit, apache-2.0, cc-by-4.0, ...
    --out FOLDER  Write to this folder what would be published, and upload nothing.
    --overwrite  Replace the run in --out.
    --json  Print one JSON object.
    """
    from iqlearn import hub
    from iqlearn.cli.output import show
    from iqlearn.training.callbacks import working

    idle = ("overwrite",) if o.out is None else ("private", "message")
    for name in idle:
        if getattr(o, name):
            raise InputError(f"{as_flag(name)} has no effect with{'out' * (o.out is None)} --out; leave it out.")
    with working("publishing …"):
        if o.out is None:
            where, files = hub.push(o.dir, o.repo, o.private, o.message, o.license)
        else:
            where, files = str(o.out), hub.write(o.dir, o.out, o.repo, o.license, o.overwrite)
    show({"published" if o.out is None else "written": where, "files": files}, o.json)


def pull(o: Namespace) -> None:
    """Download a run that `iqlearn push` published. Nothing in it is executed, and no module that it names is imported.

    REPO  Repository: USER/NAME; or a folder that `iqlearn push --out` wrote.
    --revision REV  Branch, tag or commit of the repository (default: main).
    --out DIR [required]  Run folder to write.
    --overwrite  Replace the run in --out.
    --json  Print one JSON object.
    """
    from iqlearn import hub
    from iqlearn.cli.output import show
    from iqlearn.training.callbacks import working

    with working("downloading …"):
        where, runs = hub.pull(o.repo, o.out, o.revision, o.overwrite)
    first = runs[0]
    facts: dict[str, Any] = {"run": str(o.out), "from": where, "algorithm": first.settings.name}
    facts |= {"task": first.origin.title, "seeds": [run.schedule.seed for run in runs]}
    facts["mean_return"] = [run.result.get("mean_return") for run in runs]
    show(facts | {"go_on": hub.evaluation(first, shlex.quote(str(o.out)))[0]}, o.json)
