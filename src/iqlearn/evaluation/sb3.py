"""Policies of Stable-Baselines3: read from the zip that `model.save` wrote, and played as experts.

Nothing in the zip is unpickled unless it is trusted. The policy's class and settings are read as text, its weights only
as tensors.
"""

from __future__ import annotations

import importlib
import io
import json
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from iqlearn.data.formats.base import GIB
from iqlearn.data.formats.npz import METHODS, RATIO, ROOM
from iqlearn.envs.gym import Environment
from iqlearn.envs.worker import one_line
from iqlearn.errors import InputError, missing
from iqlearn.evaluation.returns import Act
from iqlearn.types import Obs

DATA, WEIGHTS = "data", "policy.pth"
"""Members of a zip: JSON that contains pickles, and the policy's tensors."""
CLASS, SETTINGS, ACTIONS = "policy_class", "policy_kwargs", "action_space"
"""Keys that the JSON must have."""
LIBRARY = re.compile(r"stable_baselines3\.(common|dqn|sac|td3)\.policies|sb3_contrib\.(\w+\.)+policies")
"""Modules whose policies can be read without trust."""
CLASSES = {
    "activation_fn": "torch.nn.modules.activation",
    "features_extractor_class": "stable_baselines3.common.torch_layers",
}
"""Settings that are classes → modules whose classes can be read without trust."""
TRAINING = ("optimizer_class", "optimizer_kwargs")
"""Settings that do not affect the actions."""
WROTE = "expected one that model.save of Stable-Baselines3 wrote"
TRUST = (
    "--trust reads the file with its own pickles (in Python trust=True), which can run any code in it: add it if you "
    "trust who made the file"
)


def policy(path: Path, environment: Environment, trust: bool = False, statistics: Path | None = None) -> Act:
    """Return the policy of a zip, which acts as `model.predict(obs, deterministic=True)` of Stable-Baselines3 does.

    Args:
        path: the zip, or its name without `.zip`.
        environment: where the policy is played; it must have the spaces with which the policy was trained.
        trust: unpickle the policy's class and settings, and the statistics. This can run any code in the files.
        statistics: the file of `VecNormalize.save`, a pickle. Observations are normalised by it.

    Raises:
        InputError: stable-baselines3 is not installed; a file is missing, damaged or of another kind; the zip unpacks
            to too many bytes; the policy is recurrent, does not fit the environment, or needs trust. The returned
            policy raises it if it fails, or if an action is not finite.
    """
    try:
        importlib.import_module("stable_baselines3")
    except ImportError as error:
        raise missing("stable-baselines3, which reads its policies,", "sb3") from error
    path = zip_of(path)
    if statistics is not None and not trust:
        raise InputError(f"{statistics} is a pickle, which can run any code; add --trust if you trust who made it.")
    about, weights = contents(path)
    kind, settings = (unpickled if trust else plain)(path, about)
    settings |= {"use_sde": True} if about.get("use_sde") is True else {}
    state = tensors(path, weights)
    require_actions(path, about[ACTIONS], environment)
    if not trust:
        require_layers(path, settings, state)
    model = built(path, kind, settings, environment)
    require_fit(path, model.state_dict(), state, environment, trust)
    model.load_state_dict(state)
    normalised = None if statistics is None else normaliser(statistics, environment)
    told_so = "gae_lambda" in about and about.get("_last_original_obs") is not None  # in PPO and the like only
    if told_so and normalised is None:
        told = f"{path} was trained in a VecNormalize. If that normalised observations, the policy acts badly without"
        warnings.warn(f"{told} its statistics; give them with --vecnormalize FILE.", stacklevel=2)

    def act(obs: Obs) -> np.ndarray:
        try:
            seen = obs if normalised is None else normalised(obs)
            actions = np.asarray(model.predict(seen, deterministic=True)[0])
        except Exception as error:
            told = f"The policy of {path} raised {type(error).__name__}: {one_line(error)}"
            raise InputError(f"{told}; expected one that acts on what {environment.name} shows.") from error
        if not np.isfinite(actions).all():
            raise InputError(f"The policy of {path} gave an action that is not finite; expected a trained policy.")
        return actions

    return act


def zip_of(path: Path) -> Path:
    """Return the path of a zip, whose name may be given without `.zip` as in Stable-Baselines3."""
    zipped = path.with_name(f"{path.name}.zip")
    return zipped if not path.is_file() and zipped.is_file() else path


def contents(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return the JSON of a zip, and the bytes of the file with its weights, which is a zip too.

    Raises:
        InputError: the file is missing, damaged, no zip of Stable-Baselines3, or unpacks to too many bytes.
    """
    if not path.is_file():
        raise InputError(f"No file {path}; {WROTE}, check the path.")
    try:
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
            if lacking := {DATA, WEIGHTS} - set(archive.namelist()):
                raise InputError(f"{path} is damaged, or of another kind: it lacks {min(lacking)!r}; {WROTE}.")
            packed = [archive.getinfo(name) for name in (DATA, WEIGHTS)]
            require_small(path, packed)
            text, weights = map(archive.read, packed)
        with zipfile.ZipFile(io.BytesIO(weights)) as inner:
            require_small(path, inner.infolist())
        about = json.loads(text)
        if not all(isinstance(about[name], dict) for name in (CLASS, SETTINGS, ACTIONS)):
            raise ValueError("its settings are no objects")
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); expected a file that may be read.") from error
    except Exception as error:
        raise InputError(f"{path} is damaged, or no zip of Stable-Baselines3; {WROTE}.") from error
    return about, weights


def require_small(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Raise `InputError` if members unpack to too many bytes, `ValueError` if one has an unusual compression method."""
    require_size(path, sum(member.file_size for member in members))
    if any(member.compress_type not in METHODS for member in members):
        raise ValueError("packed by a method that Stable-Baselines3 does not use")


def require_size(path: Path, count: int) -> None:
    """Raise `InputError` if `count`, the unpacked bytes of a zip, exceeds the limit of an `.npz` file of its size."""
    limit = max(ROOM, RATIO * path.stat().st_size / GIB)
    if count / GIB > limit:
        told = f"{path} unpacks to {count / GIB:.3g} GiB; expected at most {limit:.3g} of a file of its size"
        raise InputError(f"{told}, get it again from who made it.")


def tensors(path: Path, weights: bytes) -> dict[str, Any]:
    """Return the tensors of a policy by name. Nothing else is unpickled.

    Raises:
        InputError: the weights are damaged, contain other objects than tensors, are too large, or are not finite.
    """
    import torch  # pyright: ignore[reportMissingImports]

    try:
        state = dict(torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True))
        require_size(path, sum(tensor.numel() * tensor.element_size() for tensor in state.values()))
        finite = all(bool(torch.isfinite(tensor).all()) for tensor in state.values())
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} is damaged ({WEIGHTS}); {WROTE}.") from error
    if not finite:
        raise InputError(f"{path} holds weights that are not finite; expected those of a trained policy.")
    return state


def plain(path: Path, about: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the class and the settings of a policy, as the text of the JSON names them.

    Raises:
        InputError: the policy is not the library's own, its package is not installed, or a setting is pickled.
    """
    module, made = about[CLASS].get("__module__"), about[CLASS].get("__init__")
    name = re.match(r"<function (\w+)\.__init__ at ", str(made))
    if not (name and LIBRARY.fullmatch(str(module))):
        raise InputError(f"{path} has a policy of {module!r}, which is not the library's own; {TRUST}.")
    found: dict[str, Any] = {}
    for setting, value in about[SETTINGS].items():
        if setting.startswith(":") or setting in TRAINING:
            continue
        home = CLASSES.get(setting, "")
        text = re.fullmatch(rf"<class '{re.escape(home)}\.(\w+)'>", str(value))
        found[setting] = getattr(importlib.import_module(home), text[1], value) if home and text else value
        if isinstance(found[setting], str):
            raise InputError(f"{path} has the setting {setting} = {value}, which is pickled; {TRUST}.")
    try:
        return getattr(importlib.import_module(str(module)), name[1], None), found
    except ImportError as error:
        told = f"{path} has a policy of {module}, which is not installed"
        raise InputError(f"{told}; install it with: pip install -U sb3-contrib.") from error


def unpickled(path: Path, about: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the class and the settings of a policy, as Stable-Baselines3 unpickles them.

    Raises:
        InputError: they cannot be unpickled here.
    """
    from stable_baselines3.common.save_util import json_to_data  # pyright: ignore[reportMissingImports]

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", "Could not deserialize")
            found = json_to_data(json.dumps({name: about[name] for name in (CLASS, SETTINGS)}))
        return found[CLASS], dict(found[SETTINGS])
    except (Exception, SystemExit) as error:
        told = f"{path} cannot be unpickled: {type(error).__name__}: {one_line(error)}"
        raise InputError(f"{told}; expected the modules and packages that it was made with.") from error


def require_actions(path: Path, trained: Mapping[str, Any], environment: Environment) -> None:
    """Raise `InputError` unless the environment has the actions that the policy was trained with.

    The descriptions of the two action spaces in Stable-Baselines3's JSON are compared.
    """
    from stable_baselines3.common.save_util import data_to_json  # pyright: ignore[reportMissingImports]

    own = json.loads(data_to_json({ACTIONS: environment.facts.actions}))[ACTIONS]
    found, wanted = (
        f"{space['n']} discrete actions" if "n" in space else f"actions from {space.get('low')} to {space.get('high')}"
        for space in (trained, own)
    )
    if found != wanted:
        told = f"{path} was trained with {found}; expected {wanted}, as {environment.name} has them"
        raise InputError(f"{told}, name another environment with --env.")


def require_layers(path: Path, settings: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Raise `InputError` if settings ask for layers whose weights are missing, before any layer is made."""
    shapes = Counter(tuple(tensor.shape) for tensor in state.values())
    parts = [settings.get(name) for name in ("net_arch", "features_extractor_kwargs")]
    counts = [value for value in settings.values() if isinstance(value, int) and (value,) not in shapes]
    if Counter(shape for part in parts for shape in layers(part)) - shapes or max(counts, default=0) > len(state):
        raise InputError(f"{path} has settings of layers for which it holds no weights; {TRUST}.")


def layers(part: Any, depth: int = 3) -> Iterator[tuple[int, ...]]:
    """Yield the shapes of weights and biases that the sizes of layers imply.

    A size n implies a bias of shape (n,). Two successive sizes a, b in a list also imply weights of shape (b, a).
    """
    if depth and isinstance(part, dict | list):
        inner = list(part.values()) if isinstance(part, dict) else part
        yield from (shape for value in inner for shape in layers(value, depth - 1))
        if isinstance(part, list):
            yield from ((b, a) for a, b in pairwise(part) if isinstance(a, int) and isinstance(b, int))
    elif isinstance(part, int) and not isinstance(part, bool):
        yield (part,)


def built(path: Path, kind: Any, settings: dict[str, Any], environment: Environment) -> Any:
    """Return a new policy for the spaces of an environment.

    Raises:
        InputError: the policy is recurrent, or cannot be made.
    """
    from stable_baselines3.common.policies import BasePolicy  # pyright: ignore[reportMissingImports]

    with closing(environment.make()) as env:
        seen, actions = env.observation_space, env.action_space
    try:
        if not issubclass(kind, BasePolicy):
            raise TypeError("it is no policy")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model: Any = kind(channels_first(seen), actions, lambda _: 0.0, **settings)
    except Exception as error:
        told = f"{path}: its policy cannot be made for {environment.name}: {type(error).__name__}: {one_line(error)}"
        raise InputError(f"{told}; name the environment that it was trained in with --env.") from error
    if hasattr(model, "lstm_actor"):
        raise InputError(f"{path} has a recurrent policy; expected one that acts on the observation alone.")
    return model


def channels_first(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """Return an observation space as policies see it: images have their channels first."""
    from stable_baselines3.common import preprocessing  # pyright: ignore[reportMissingImports]
    from stable_baselines3.common.vec_env import VecTransposeImage  # pyright: ignore[reportMissingImports]

    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: channels_first(part) for key, part in space.spaces.items()})
    image = preprocessing.is_image_space(space) and not preprocessing.is_image_space_channels_first(space)
    return VecTransposeImage.transpose_space(space) if image else space


def require_fit(
    path: Path, own: Mapping[str, Any], state: Mapping[str, Any], environment: Environment, trust: bool
) -> None:
    """Raise `InputError` unless the tensors of a zip match those of the new policy (`own`) by name and shape."""
    wanted, found = ({name: tuple(tensor.shape) for name, tensor in part.items()} for part in (own, state))
    for name in (*wanted, *found):
        if wanted.get(name) != found.get(name):
            told = f"{path} does not fit {environment.name}, with {environment.task}: tensor {name} is"
            told += f" {found.get(name, 'missing')}; expected {wanted.get(name, 'none')}"
            more = "" if trust else f"; if it is the right one, {TRUST}"
            raise InputError(f"{told}, name the environment that it was trained in with --env{more}.")


def normaliser(path: Path, environment: Environment) -> Callable[[Obs], Obs]:
    """Return the function with which a pickled VecNormalize normalises observations.

    Raises:
        InputError: the file is missing, no VecNormalize, of another environment, or normalises no observations.
    """
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize  # pyright: ignore[reportMissingImports]

    wrote = "expected the one that VecNormalize.save wrote beside the policy"
    if not path.is_file():
        raise InputError(f"No file {path}; {wrote}, check the path.")
    try:
        with closing(DummyVecEnv([environment.make])) as env:
            found = VecNormalize.load(str(path), env)
        acts = bool(found.norm_obs)
    except (Exception, SystemExit) as error:
        told = f"{path} does not load for {environment.name}: {type(error).__name__}: {one_line(error)}"
        raise InputError(f"{told}; {wrote}.") from error
    if not acts:
        raise InputError(f"--vecnormalize has no effect, because {path} normalises no observations; leave it out.")
    return found.normalize_obs
