"""Episodes that a policy plays, and their returns."""

import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import count
from typing import Any, NamedTuple

import jax
import numpy as np
from gymnasium import spaces
from jaxtyping import Float, Shaped

from iqlearn.envs.gym import Environment, EnvSource
from iqlearn.envs.spaces import actions_seed
from iqlearn.envs.stepper import TIMEOUT, Faults, Step, Stepper, Vectorization
from iqlearn.errors import InputError
from iqlearn.types import Obs, TaskSpec, rows

Act = Callable[[Obs], Shaped[np.ndarray, "n *act"]]
"""Function that returns the actions for a batch of observations, as a NumPy array on the host."""

LANES = 20
"""Largest number of episodes played side by side, so that the policy computes many actions at once."""
RESET_SEEDS = {"in_training": 1_000_000, "rollouts": 7_000_000, "evaluate": 1_000_000_000, "collect": 1_500_000_000}
"""First reset seed by purpose: evaluation in training, rollouts on which a reward is judged, evaluation of a finished
run, collection of demonstrations. Training itself resets with smaller seeds."""
KINDS = ("policy", "random", "noisy")
SEEDS_PER_KIND = 10_000
"""Reset seeds of the rollouts of one kind, and so the largest number of episodes: kinds do not share seeds."""


def reset_seed(purpose: str, seed: int) -> int:
    """Return the first reset seed of a purpose for the user's seed.

    Successive user's seeds have first reset seeds that are 1,000 apart, for rollouts 100,000. A purpose has room for
    6,000 (in_training), 9,930 (rollouts), 500,000 (evaluate) or 647,483 (collect) user's seeds. A greater seed wraps
    around: it shares episodes with another seed, but never with another purpose.
    """
    first, apart = RESET_SEEDS[purpose], 100_000 if purpose == "rollouts" else 1_000
    end = min((other for other in RESET_SEEDS.values() if other > first), default=2**31)
    return first + seed % ((end - first) // apart) * apart


class Episode(NamedTuple):
    """One episode as it was played: T transitions."""

    obs: Obs
    act: Shaped[np.ndarray, "T *act"]
    next_obs: Obs
    rew: Float[np.ndarray, " T"]
    terminated: bool
    """Whether the episode terminated; otherwise its time limit truncated it."""


class Evaluator:
    """A player of episodes of one environment, whose copies stay open for the next evaluation.

    Episode i begins from reset seed `seed + i`, whatever the number of lanes. At most `lanes` episodes are played side
    by side, each in a copy. With `faults="restart"` an episode whose copy fails is played again.

    Args:
        env, vectorization, faults, timeout: see `Stepper`.
        lanes: largest number of episodes played side by side.

    Raises:
        EnvironmentFault: as `Stepper`. All methods that play raise it.
    """

    def __init__(
        self,
        env: EnvSource | Environment,
        lanes: int = LANES,
        vectorization: Vectorization = "sync",
        faults: Faults = "stop",
        timeout: float = TIMEOUT,
    ) -> None:
        self.environment = Environment.of(env)
        self.lanes = lanes
        self.restarts = 0
        """Number of times that a copy was made again."""
        self._how: Any = vectorization, faults, timeout
        self._stepper: Stepper | None = None
        self._told = False

    def returns(self, act: Act, episodes: int, seed: int, lanes: int | None = None) -> Float[np.ndarray, " episodes"]:
        """Play `episodes` episodes and return the undiscounted true return of each."""
        return np.array([episode.rew.sum() for episode in self.play(act, episodes, seed, lanes)], np.float64)

    def random_returns(self, episodes: int, seed: int) -> Float[np.ndarray, " episodes"]:
        """Return the episode returns of a uniformly random policy, the zero of the normalised return. Uses one lane."""
        return self.returns(uniform(self.environment.task, seed), episodes, seed, lanes=1)

    def play(self, act: Act, episodes: int, seed: int, lanes: int | None = None) -> list[Episode]:
        """Play `episodes` episodes and return them in order. `act` gets batches with the same number of rows."""
        lanes = min(lanes or self.lanes, episodes)
        if self._stepper is None or self._stepper.copies != lanes:
            self.close()
            self._stepper = Stepper(self.environment, lanes, *self._how)
            if self.environment.time_limit is None and not self._told:
                self._told = True
                warnings.warn(
                    f"Environment {self.environment.name!r} has no time limit: an episode that does not end by itself "
                    "is played for ever; set one with --max-episode-steps (in Python max_episode_steps=N).",
                    stacklevel=2,
                )
        stepper, before = self._stepper, self._stepper.restarts
        playing, begun = list(range(lanes)), [0] * lanes  # the episode of each lane, and its first step
        waiting = count(lanes)
        steps: list[Step] = []
        played: dict[int, Episode] = {}

        def next_seed(lane: int) -> int | None:
            playing[lane] = next(waiting)
            return seed + playing[lane] if playing[lane] < episodes else None  # no episode is left: not recorded

        stepper.reset(seed)
        while len(played) < episodes:
            now = list(playing)
            steps.append(stepper.step(act(stepper.obs), next_seed))
            for lane in np.flatnonzero(steps[-1].ended | steps[-1].lost).tolist():
                if now[lane] < episodes and steps[-1].ended[lane]:
                    played[now[lane]] = _episode(steps[begun[lane] :], lane)
                begun[lane] = len(steps)
        self.restarts += stepper.restarts - before
        return [played[i] for i in range(episodes)]

    def close(self) -> None:
        """Close the environment's copies."""
        if self._stepper is not None:
            self._stepper.close()
        self._stepper = None


def _episode(steps: Sequence[Step], lane: int) -> Episode:
    """Return the episode that one lane played in these steps."""

    def column(parts: Sequence[Obs]) -> Obs:
        return jax.tree.map(lambda *arrays: np.stack([array[lane] for array in arrays]), *parts)

    obs, act, next_obs, rew = (column(part) for part in list(zip(*steps, strict=True))[:4])
    return Episode(obs, act, next_obs, rew, bool(steps[-1].terminal[lane]))


def uniform(task: TaskSpec, seed: int) -> Act:
    """Return a policy that draws its actions uniformly, independently of an episode with the same reset seed."""
    seed = actions_seed(seed)
    if task.discrete:
        space = spaces.Discrete(task.choices, seed=seed)
    else:
        low, high, whole = task.bounds
        kind = np.int64 if whole else np.float32
        space = spaces.Box(np.array(low, kind), np.array(high, kind), dtype=kind, seed=seed)
    return lambda obs: np.stack([space.sample() for _ in range(rows(obs))])


def disturbed(policy: Act, task: TaskSpec, share: float, seed: int) -> Act:
    """Return the policy with each action replaced by a uniformly random one with probability `share`."""
    # A third stream, beside those of the episode and of the random actions: no draw may decide two things.
    random, rng = uniform(task, seed), np.random.default_rng([seed, 1])

    def act(obs: Obs) -> Shaped[np.ndarray, "n *act"]:
        drawn = random(obs)
        chosen = rng.random(len(drawn)) < share
        return np.where(chosen.reshape(-1, *[1] * (drawn.ndim - 1)), drawn, policy(obs))

    return act


def rollouts(
    env: EnvSource | Environment, policy: Act, kinds: Sequence[str], episodes: int, seed: int = 0, lanes: int = LANES
) -> dict[str, list[Episode]]:
    """Play `episodes` episodes of each kind and return them by kind, with the environment's own reward.

    `policy`: the policy as it is. `random`: actions drawn uniformly. `noisy`: the policy, but each action is replaced
    by a random one with a probability that grows from 0.05 in the first episode to 0.75 in the last. At most `lanes`
    copies of the environment play at a time.

    Raises:
        InputError: a kind is unknown, or `episodes` is not from 1 to 10,000.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"No rollouts of kind {kind!r}; expected some of {', '.join(KINDS)}.")
    if not 1 <= episodes <= SEEDS_PER_KIND:
        raise InputError(f"{episodes} episodes a kind of rollouts; expected a number from 1 to {SEEDS_PER_KIND:,}.")
    with closing(Evaluator(env, lanes)) as evaluator:
        task, played = evaluator.environment.task, {}
        for kind in dict.fromkeys(kinds):
            first = reset_seed("rollouts", seed) + SEEDS_PER_KIND * KINDS.index(kind)
            if kind == "noisy":
                shares = np.linspace(0.05, 0.75, episodes)
                acts = [disturbed(policy, task, share, first + i) for i, share in enumerate(shares)]
                played[kind] = [evaluator.play(act, 1, first + i)[0] for i, act in enumerate(acts)]
            else:
                played[kind] = evaluator.play(policy if kind == "policy" else uniform(task, first), episodes, first)
        return played


def normalised(mean: float | None, expert: float | None, random: float | None) -> float | None:
    """Return the mean return, scaled so that the expert's mean is 1 and a random policy's mean is 0.

    None if one of them is unknown, or if the expert's mean equals the random policy's.
    """
    if mean is None or expert is None or random is None or expert == random:
        return None
    return (mean - random) / (expert - random)


def as_arrays(episodes: Sequence[Episode]) -> dict[str, np.ndarray]:
    """Return episodes as the arrays of the demonstration format. Parts of an observation are named `obs/NAME`."""
    lengths = [len(episode.rew) for episode in episodes]
    last, ended = np.cumsum(lengths) - 1, np.array([episode.terminated for episode in episodes])
    term, trunc = np.zeros((2, sum(lengths)), bool)
    term[last], trunc[last] = ended, ~ended
    fields = [{"obs": e.obs, "act": e.act, "next_obs": e.next_obs, "rew": e.rew.astype(np.float32)} for e in episodes]
    joined = jax.tree.map(lambda *parts: np.concatenate(parts), *fields)
    named = {"/".join(key.key for key in path): part for path, part in jax.tree.leaves_with_path(joined)}
    return {**named, "term": term, "trunc": trunc, "ep": np.repeat(np.arange(len(episodes)), lengths)}
