"""The recovered reward: evaluated on transitions, distilled, or refitted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from iqlearn.data.demos import Demos
from iqlearn.errors import InputError
from iqlearn.networks import encoders
from iqlearn.networks.host import in_blocks
from iqlearn.networks.reward import SATURATION, RewardNet, Seen, contrast, fit_to
from iqlearn.networks.soft_q import SoftQ
from iqlearn.objectives import SoftValues, discounted, implied_reward
from iqlearn.rewards.base import Ends, Rewards, of_task
from iqlearn.rewards.distil import DistilledReward, Kind, blank, check_kind
from iqlearn.types import TaskSpec, Transitions, rows

ENOUGH = 64
"""Smallest number of transitions for a fit."""


@dataclass(frozen=True)
class RecoveredReward:
    """r(s,a,s') = Q(s,a) − γ(1−d)·V(s'): the reward for which Q is the soft-optimal value.

    Other rewards, for instance shaped ones, have the same policy. With `chi2_mixture` the reward tends to +r_max = 2α
    in states that only the expert visits, to −r_max in those that only the learner visits, and to 0 where both agree.
    In a state that both visit with different actions it is up to 2·r_max either way. r_max is 1 by default.

    **True ends** (d = 1; a time limit is no end): with the setting `absorbing`, training has an absorbing state, worth
    −r_max/(1−γ) if the learner failed and +r_max/(1−γ) if the expert finished. A reinforcement-learning library takes
    V(s') as 0 there, so the last step pays all later rewards at once. An agent that maximises the return of this
    reward gains nothing from ending an episode early or from delaying its end, provided that its discount is that of
    training. `at_discount` is for other discounts. `absorbing=True` gives the reward of the last step alone. Without
    the setting there are no rewards after an end.

    If no expert episode ended, every end is a failure: it pays −r_max, as does every later step, even if training never
    saw that end. Otherwise the end may be the expert's or the learner's, and r = (1−γ)·Q there: Q = r + γr/(1−γ).

    >>> run.reward(demos), run.reward(transitions, absorbing=True)
    >>> reward = run.reward.distil(demos.transitions, kind="state")
    """

    model: SoftQ
    ends: Ends
    spec: TaskSpec
    limit: float = 1.0
    """r_max"""

    @property
    def gamma(self) -> float:
        """Discount in training."""
        return self.ends.gamma

    def __call__(self, transitions: Transitions | Demos, absorbing: bool = False) -> Rewards:
        """Return the reward of each transition. `absorbing` leaves out the rewards after a true end.

        Raises:
            InputError: the transitions are of another task.
        """
        batch = self._of(transitions)
        steps = self.steps(batch)
        return steps if absorbing else self.ends.paid(steps, np.asarray(batch.terminal))

    def steps(self, batch: Transitions) -> Rewards:
        """Return the reward of each step alone, as with `absorbing`. The arrays are not checked."""
        return in_blocks(lambda block: _steps(self.model, block, self.ends), batch)

    def at_discount(self, gamma: float) -> RecoveredReward:
        """Return the same reward for an agent with discount `gamma`: an end pays all later rewards at that discount.

        Raises:
            InputError: `gamma` is not in [0, 1).
        """
        return replace(self, ends=self.ends.at_discount(gamma))

    def distil(
        self, transitions: Transitions | Demos, kind: Kind = "state-action", updates: int = 5_000, seed: int = 0
    ) -> DistilledReward:
        """Return a small network r(s) or r(s, a), fitted by least squares to the reward of these transitions.

        The fit is good only near these transitions, so give the expert's and others, for instance random ones.
        A state reward drops what depends on the action and on the dynamics. What remains carries over to other dynamics
        (Fu et al., AIRL, 2018).

        Raises:
            InputError: there are fewer than 64 transitions, or they are of another task.
        """
        check_kind(kind)
        batch = self._of(transitions)
        if (n := rows(batch)) < ENOUGH:
            raise InputError(f"{n} transitions to distil from; expected at least {ENOUGH}.")
        target = self(batch, absorbing=True)
        init_key, fit_key = jr.split(jr.key(seed))
        encoder = encoders.fit(self.spec.obs, batch.obs, "standard", SATURATION)
        limit = float(np.abs(target).max())
        net = RewardNet(self.spec, encoder, kind == "state-action", limit, init_key, self.model.actions)
        return DistilledReward(fit_to(net, batch, jnp.asarray(target), fit_key, updates), self.spec, self.ends)

    def refit(
        self,
        expert: Transitions | Demos,
        others: Transitions | Demos,
        kind: Kind = "state-action",
        updates: int = 20_000,
        seed: int = 0,
    ) -> DistilledReward:
        """Return a reward r(s) or r(s, a) to train on: the solution of the objective for a fixed policy.

        Once the learner acts as the expert does, Q(s,a) − γV(s') separates the two by small differences only, and its
        values elsewhere are guesses. Here the learner's half of the mixture consists of transitions that a new agent
        will meet: `others`, for instance of a random policy and of the run's disturbed policy, and states that nobody
        visited. With a fixed policy every Q has one reward, and the loss of LS-IQ (equation 12) is a regression of that
        reward, to +r_max on the expert's transitions and to −r_max on the others. A penalty on the slope between the
        two makes the reward rise all the way to the expert. Q is not read. Ends pay as in the recovered reward.

        Raises:
            InputError: there is no transition of the expert, there are fewer than 64 of others, or transitions are of
                another task.
        """
        check_kind(kind)
        sides = self._of(expert), self._of(others)
        n_expert, n_others = map(rows, sides)
        if n_expert < 1 or n_others < ENOUGH:
            has = f"{n_expert} transitions of the expert and {n_others} of others to refit between"
            raise InputError(f"{has}; expected at least 1 and {ENOUGH}.")
        rng, (init_key, fit_key) = np.random.default_rng(seed), jr.split(jr.key(seed))
        of_expert, of_others = (jax.tree.map(jnp.asarray, Seen(side.obs, side.action)) for side in sides)
        net = blank(self.spec, kind, self.limit, init_key, self.model.actions)
        net = contrast(net, of_expert, of_others, rng, fit_key, updates)
        return DistilledReward(net, self.spec, self.ends)

    def _of(self, transitions: Transitions | Demos) -> Transitions:
        return of_task(transitions, self.spec, "the run")


def steps_of(model: SoftQ, batch: Transitions, ends: Ends) -> Float[Array, " n"]:
    """Return Q(s,a) − γV(s') of each transition (IQ-Learn, section 4), and `ends.step` at a true end."""
    q, v = model.q(batch.obs, batch.action), model.v(batch.next_obs)
    inner = implied_reward(SoftValues(q, v, discounted(v, batch.terminal, ends.gamma)))
    return jnp.where(batch.terminal, ends.step(q), inner)


_steps = partial(jax.jit, static_argnames=("ends",))(steps_of)
