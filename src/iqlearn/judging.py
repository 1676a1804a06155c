"""A run's reward held against the truth: what is judged, what comes out, and the pictures of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from iqlearn import folders, plots, records
from iqlearn.data import Demos
from iqlearn.envs import gym
from iqlearn.errors import InputError
from iqlearn.evaluation.comparison import baselines, in_absorbing_state, pearson, report
from iqlearn.evaluation.epic import Coverage, epic_distance
from iqlearn.evaluation.returns import as_arrays
from iqlearn.evaluation.rollouts import rollouts
from iqlearn.reward import DistilledReward, RecoveredReward
from iqlearn.reward import Kind as Seen
from iqlearn.run import Run
from iqlearn.types import Transitions, on_host

EPIC_ROWS, EPIC_COVERAGE = 512, 256
"""Transitions that EPIC compares, and draws of states and actions that its canonical form averages over."""
HELD_OUT = 5
"""Every fifth episode is kept from a distillation, to measure it."""
OTHERS, FITTED_ON = ("random", "noisy"), 500
"""What a reward is refitted against, and the first seed of these episodes: far from those that judge it."""
AnyReward = RecoveredReward | DistilledReward
Rewards = Mapping[str, Float[np.ndarray, " n"]]


def material(run: Run, demos: Demos | None, kinds: Sequence[str], episodes: int, seed: int) -> dict[str, Demos]:
    """What the reward is to judge, by kind: the demonstrations, and rollouts of the run's environment.

    Raises:
        InputError: there is nothing to judge, or rollouts are asked for without an environment.
    """
    sets = {} if demos is None else {"demos": demos}
    if kinds:
        if run.origin.env is None:
            raise InputError("The run names no environment to play rollouts in; expected one trained with --env.")
        for kind, played in rollouts(run.origin.env, run.played, kinds, episodes, seed).items():
            sets[kind] = Demos.from_arrays(as_arrays(played), kind)
    if not sets:
        raise InputError("Nothing to judge; give transitions with --demos FILE, or --rollouts expert,random,noisy.")
    return sets


def judge(reward: AnyReward, sets: Mapping[str, Demos]) -> Rewards:
    """The reward of every transition, kind by kind: of the single step (`absorbing`), without what follows an end."""
    return {kind: reward(demos, absorbing=True) for kind, demos in sets.items()}


def refitted(run: Run, expert: Demos, kind: Seen, episodes: int, seed: int, out: Path) -> DistilledReward:
    """The reward refitted between the run's demonstrations and episodes of a random and of its disturbed policy,
    written to `out`. None of these episodes is among those of `material`.

    Raises:
        InputError: the run names no environment, or the demonstrations hold no actions and `kind` asks for them.
    """
    if run.origin.env is None:
        raise InputError("The run names no environment to meet others in; expected one trained with --env.")
    played = rollouts(run.origin.env, run.played, OTHERS, episodes, FITTED_ON + seed)
    others = Demos.from_arrays(as_arrays([episode for part in played.values() for episode in part]), "others")
    expert = expert.placeholders(run.spec) if kind == "state" and expert.act is None else expert
    reward = run.reward.refit(expert, others, kind, seed=seed)
    folders.make(out)
    reward.save(out / f"{records.REFIT.format(kind)}.safetensors")
    return reward


def compare(
    run: Run, reward: AnyReward, sets: Mapping[str, Demos], judged: Rewards, stem: Path, title: str
) -> dict[str, Any]:
    """Correlations over everything together and kind by kind, written with a picture to `stem`.json and `stem`.png.

    `judged` are the rewards of single steps; the return of an episode that truly ended goes on in the absorbing state
    up to the time limit.
    """
    limit = (gym.time_limit(run.origin.env) if run.origin.env else None) or longest(sets)
    after = {kind: what_follows(reward, demos, judged[kind], limit) for kind, demos in sets.items()}
    known = all(demos.rew is not None for demos in sets.values())
    learned, rest = (np.concatenate(list(part.values())) for part in (judged, after))
    true = np.concatenate([demos.rew for demos in sets.values() if demos.rew is not None]) if known else None
    facts = report(learned, true, numbered(sets), rest)
    if true is not None:
        facts |= baselines(learned, true, numbered(sets))
    if run.origin.env is not None:
        facts["epic"] = epic(reward, run.origin.env, [demos.transitions for demos in sets.values()])
    facts["kinds"] = {kind: report(judged[kind], demos.rew, demos.ep, after[kind]) for kind, demos in sets.items()}
    folders.make(stem.parent)
    records.write_json(stem.with_suffix(".json"), facts)
    pictured = {
        kind: plots.Judged(judged[kind], demos.rew, demos.ep, demos.obs, after[kind])
        for kind, demos in sets.items()
        if demos.rew is not None
    }
    if pictured:
        plots.rewards(stem.with_suffix(".png"), pictured, title)
    return facts


def longest(sets: Mapping[str, Demos]) -> int:
    """Steps of the longest episode of all."""
    return max(int(demos.lengths.max()) for demos in sets.values())


def what_follows(reward: AnyReward, demos: Demos, learned: np.ndarray, limit: int) -> np.ndarray:
    """What the absorbing state pays after each transition, up to the time limit."""
    return in_absorbing_state(reward.ends.after(learned), demos.ep, demos.term, limit)


def epic(reward: AnyReward, env_id: str, parts: Sequence[Transitions]) -> float | None:
    """EPIC distance to the true reward on what was judged; none where the environment does not tell its reward of any
    (s, a, s'), as those of the package do with `true_reward`."""
    env = gym.make(env_id)
    try:
        truth = getattr(env.unwrapped, "true_reward", None)
    finally:
        env.close()
    if truth is None:
        return None
    columns = [np.concatenate([np.asarray(x) for x in column]) for column in zip(*parts, strict=True)]
    rng = np.random.default_rng(0)
    rows, cover = (rng.integers(len(columns[0]), size=size) for size in (EPIC_ROWS, EPIC_COVERAGE))
    batch = on_host(*(column[rows] for column in columns))
    coverage = Coverage(columns[0][cover], columns[1][rng.permutation(cover)])

    def true(of: Transitions) -> np.ndarray:
        return np.asarray(truth(*map(np.asarray, of[:3])))

    return epic_distance(reward, true, batch, coverage, reward.ends.gamma)


def distilled(run: Run, sets: Mapping[str, Demos], judged: Rewards, kind: Seen, out: Path) -> dict[str, Any]:
    """The reward distilled from what was judged, written to `out`, and how well it fits on episodes kept from it."""
    episode = numbered(sets)
    held = episode % HELD_OUT == HELD_OUT - 1
    rows = [np.concatenate(parts) for parts in zip(*(demos.transitions for demos in sets.values()), strict=True)]
    target = np.concatenate([judged[of] for of in sets])
    small = run.reward.fit(on_host(*(x[~held] for x in rows)), target[~held], kind)
    path = out / f"{records.DISTILLED.format(kind)}.safetensors"
    small.save(path)
    kept = held if held.any() else ~held
    told = small(on_host(*(x[kept] for x in rows)), absorbing=True)
    return {"distilled": str(path), "distilled_pearson": pearson(told, target[kept])}


def numbered(sets: Mapping[str, Demos]) -> np.ndarray:
    """Episode numbers over all sets, each episode its own."""
    numbers, first = [], 0
    for demos in sets.values():
        numbers.append(first + np.unique(demos.ep, return_inverse=True)[1])
        first += demos.episodes
    return np.concatenate(numbers)
