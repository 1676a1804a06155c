"""Episodes of mixed quality, to judge a reward on what it was not trained on."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped

from iqlearn.envs import gym
from iqlearn.errors import InputError
from iqlearn.evaluation.returns import Act, Episode, Evaluator

KINDS = ("expert", "random", "noisy")
SEED = 7_000_000
"""Reset seeds from here on are used by neither training, evaluation nor demonstrations."""
LEAST_NOISE, MOST_NOISE = 0.05, 0.75
"""Shares of random actions that noisy episodes spread over."""


def rollouts(env_id: str, policy: Act, kinds: Sequence[str], episodes: int, seed: int = 0) -> dict[str, list[Episode]]:
    """`episodes` episodes of each kind, with the environment's own reward.

    `expert`: the policy as it is. `random`: actions drawn uniformly. `noisy`: the policy, but each action is replaced
    by a random one with a probability that grows from 0.05 in the first episode to 0.75 in the last.

    Raises:
        InputError: a kind is unknown, or `episodes` is not positive.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"No rollouts of kind {kind!r}; expected some of {', '.join(KINDS)}.")
    if episodes < 1:
        raise InputError(f"{episodes} episodes a kind of rollouts; expected at least 1.")
    played: dict[str, list[Episode]] = {}
    for kind in dict.fromkeys(kinds):
        first = SEED + seed * 100_000 + KINDS.index(kind) * 10_000
        evaluator = Evaluator(env_id, lanes=1 if kind == "noisy" else min(episodes, 50))
        try:
            if kind == "noisy":
                shares = np.linspace(LEAST_NOISE, MOST_NOISE, episodes)
                played[kind] = [
                    evaluator.play(disturbed(env_id, policy, share, first + i), 1, first + i)[0]
                    for i, share in enumerate(shares)
                ]
            else:
                act = policy if kind == "expert" else disturbed(env_id, policy, 1.0, first)
                played[kind] = evaluator.play(act, episodes, first)
        finally:
            evaluator.close()
    return played


def disturbed(env_id: str, policy: Act, share: float, seed: int) -> Act:
    """The policy with that share of its actions replaced by uniformly random ones."""
    env = gym.make(env_id)
    space, rng = env.action_space, np.random.default_rng(seed)
    env.close()
    space.seed(seed)

    def act(obs: Shaped[np.ndarray, "n *obs"]) -> Shaped[np.ndarray, "n *act"]:
        drawn = np.stack([space.sample() for _ in obs])
        if share >= 1.0:
            return drawn
        chosen = rng.random(len(obs)) < share
        return np.where(chosen.reshape(-1, *[1] * (drawn.ndim - 1)), drawn, policy(obs))

    return act
