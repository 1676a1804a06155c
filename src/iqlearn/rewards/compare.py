"""The evaluation of a reward against the true one: its transitions, its figures and its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from iqlearn import files, interrupts
from iqlearn.data.demos import Demos
from iqlearn.envs.gym import Environment
from iqlearn.errors import InputError
from iqlearn.evaluation import plots
from iqlearn.evaluation.returns import LANES, Act, as_arrays, rollouts
from iqlearn.rewards.base import DISTILLED, REFIT, rows_at
from iqlearn.rewards.correlations import Episodes, baselines, in_absorbing_state, pearson, report
from iqlearn.rewards.distil import DistilledReward, Kind
from iqlearn.rewards.epic import Coverage, epic_distance
from iqlearn.rewards.recovered import RecoveredReward
from iqlearn.types import Transitions

AnyReward = RecoveredReward | DistilledReward
EPIC_ROWS, EPIC_COVERAGE = 512, 256
"""Number of transitions that EPIC compares, and number of draws over which its canonical form averages."""
HELD_OUT = 5
"""Every fifth episode is held out from a distillation, to measure it."""
OTHERS, FITTED_ON = ("random", "noisy"), 500
"""Rollouts against which a reward is refitted, and the offset of their seed: `material` plays other episodes."""


def material(
    environment: Environment | None,
    policy: Act,
    demos: Demos | None,
    kinds: Sequence[str],
    episodes: int,
    seed: int,
    lanes: int = LANES,
) -> dict[str, Demos]:
    """Return the transitions on which a reward is evaluated, by kind.

    These are the demonstrations, and rollouts of the given kinds in `lanes` copies of the environment.

    Raises:
        InputError: there are neither demonstrations nor rollouts, or rollouts are requested without an environment.
    """
    sets = {} if demos is None else {"demos": demos}
    if kinds:
        if environment is None:
            raise InputError("The run names no environment to play rollouts in; expected one trained with --env.")
        for kind, played in rollouts(environment, policy, kinds, episodes, seed, lanes).items():
            sets[kind] = Demos.from_arrays(as_arrays(played), kind)
    if not sets:
        raise InputError("Nothing to judge; give transitions with --demos FILE, or --rollouts policy,random,noisy.")
    return sets


def refitted(
    environment: Environment | None,
    policy: Act,
    reward: RecoveredReward,
    expert: Demos,
    kind: Kind,
    episodes: int,
    seed: int,
    out: Path,
    lanes: int = LANES,
) -> DistilledReward:
    """Return a reward that is refitted to demonstrations and to new rollouts of a random and of the disturbed policy.

    It is also written to `out`, a folder that exists.

    Raises:
        InputError: there is no environment, or the demonstrations hold no actions and `kind` needs them.
    """
    if environment is None:
        raise InputError("The run names no environment to meet others in; expected one trained with --env.")
    played = rollouts(environment, policy, OTHERS, episodes, FITTED_ON + seed, lanes)
    others = Demos.from_arrays(as_arrays([episode for part in played.values() for episode in part]), "others")
    expert = expert.with_placeholders(reward.spec) if kind == "state" else expert
    fitted = reward.refit(expert, others, kind, seed=seed)
    fitted.save(out / f"{REFIT.format(kind)}.safetensors")
    return fitted


def compare(
    environment: Environment | None, reward: AnyReward, sets: Mapping[str, Demos], stem: Path, title: str
) -> dict[str, Any]:
    """Return the figures of `judge`.

    They are written to `stem`.json. If a true reward is known, a picture is written to `stem`.png.
    """
    facts, judged = judge(environment, reward, sets)
    interrupts.check()
    with interrupts.finishing():  # both files, or none
        files.write_json(stem.with_suffix(".json"), facts)
        if pictured := {kind: one for kind, one in judged.items() if one.true is not None}:
            plots.rewards(stem.with_suffix(".png"), pictured, title)
    return facts


def judge(
    environment: Environment | None, reward: AnyReward, sets: Mapping[str, Demos]
) -> tuple[dict[str, Any], dict[str, plots.Judged]]:
    """Return the `report` over all kinds together and for each kind, and the rewards of each kind.

    The rewards are those of single steps (`absorbing=True`). The return of an episode that truly ended includes the
    rewards of the absorbing state up to the time limit.
    """
    limit = (environment and environment.time_limit) or max(int(demos.lengths.max()) for demos in sets.values())
    judged: dict[str, plots.Judged] = {}
    for kind, demos in sets.items():
        steps = reward(demos, absorbing=True)
        after = in_absorbing_state(reward.ends.after(steps), demos.ep, demos.term, limit)
        judged[kind] = plots.Judged(steps, demos.rew, demos.ep, demos.obs, after)
    learned, rest = (np.concatenate([getattr(one, name) for one in judged.values()]) for name in ("learned", "after"))
    true = [one.true for one in judged.values() if one.true is not None]
    everything = np.concatenate(true) if len(true) == len(sets) else None
    facts = report(learned, everything, numbered(sets), rest)
    if everything is not None:
        facts |= baselines(learned, everything, numbered(sets))
    if environment is not None:
        facts["epic"] = epic(environment, reward, _all_transitions(sets))
    facts["kinds"] = {kind: report(one.learned, one.true, one.episode, one.after) for kind, one in judged.items()}
    return facts, judged


def distilled(reward: RecoveredReward, sets: Mapping[str, Demos], kind: Kind, out: Path) -> dict[str, Any]:
    """Distil the reward on these transitions and write it to the folder `out`.

    Return its path and its correlation with the reward on held-out episodes, which is None with fewer than five.
    """
    held, rows = numbered(sets) % HELD_OUT == HELD_OUT - 1, _all_transitions(sets)
    small = reward.distil(rows_at(rows, ~held), kind)
    path = out / f"{DISTILLED.format(kind)}.safetensors"
    small.save(path)
    kept = rows_at(rows, held)
    known = held.any()  # with fewer than five episodes none is held out
    score = pearson(small(kept, absorbing=True), reward(kept, absorbing=True)) if known else None
    return {"distilled": str(path), "distilled_pearson": score}


def epic(environment: Environment, reward: AnyReward, transitions: Transitions) -> float | None:
    """Return the EPIC distance to the true reward on a sample of the transitions.

    None if the environment has no method `true_reward` of any (s, a, s'). Those of this package have it.
    """
    if (truth := environment.true_reward) is None:
        return None
    rng = np.random.default_rng(0)
    sampled, cover = (rng.integers(len(transitions.terminal), size=size) for size in (EPIC_ROWS, EPIC_COVERAGE))
    coverage = Coverage(rows_at(transitions, cover).obs, np.asarray(transitions.action)[rng.permutation(cover)])

    def true(of: Transitions) -> np.ndarray:
        return np.asarray(truth(*jax.tree.map(np.asarray, of[:3])))

    return epic_distance(reward, true, rows_at(transitions, sampled), coverage, reward.ends.gamma)


def numbered(sets: Mapping[str, Demos]) -> Episodes:
    """Return the episode number of each transition, of shape (n,), unique over all sets."""
    kind = np.repeat(np.arange(len(sets)), [len(demos.ep) for demos in sets.values()])
    pairs = np.stack([kind, np.concatenate([demos.ep for demos in sets.values()])])
    return np.unique(pairs, axis=1, return_inverse=True)[1].reshape(-1)


def _all_transitions(sets: Mapping[str, Demos]) -> Transitions:
    parts = [demos.transitions for demos in sets.values()]
    return jax.tree.map(lambda *columns: np.concatenate(columns), *parts)
