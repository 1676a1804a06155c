"""Settings of inverse soft-Q learning for continuous actions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from iqlearn.settings.actor_critic import ActorCritic, smooth_actor, smooth_critic
from iqlearn.settings.common import (
    Form,
    Network,
    Objective,
    Squash,
    require,
    require_not_negative,
    require_positive,
)


@dataclass(frozen=True)
class Imitation:
    """What the actor is told of the expert's actions, beside what it learns from the critics."""

    warm_start: int = 0
    """Updates of behavioural cloning that the actor begins from; 0 begins from random weights."""
    reach: float = 0.0
    """How far from the expert's states, in standard deviations of each coordinate, the warm start clones as well what
    a Gaussian process makes of the expert's actions, so that the clone finds back; 0: it clones the expert's alone."""
    cloning: float = 0.0
    """Weight of the squared error of the expert's actions in the actor's loss."""
    anchor: float = 0.0
    """Weight of the squared distance to what that clone would do, in the learner's states, each times 1 + r/r_max of
    its reward, within [0, 1]: where expert and learner are hardly told apart, noise does not lead away, and where the
    clone leads astray, it is let go. Nothing without a warm start."""

    def __post_init__(self) -> None:
        require_not_negative(self, "warm_start", "reach", "cloning", "anchor")


@dataclass(frozen=True)
class Inference:
    """How a learner that is shown states only finds out, online, what the expert did: it watches what its own actions
    lead to, and asks an inverse model of that about the expert's transitions (BCO, Torabi et al., IJCAI 2018). Of the
    guesses made on the way the one is kept whose clone came to the states most like the expert's."""

    steps: int = 10_000
    """Steps of acting before inverse soft-Q learning begins."""
    rounds: int = 10
    """Parts of these steps. After each but the last the model is fitted anew and what it infers is cloned. In the first
    part the learner acts at random, then half by the newest clone's mode, to judge it, half by samples of the best."""
    updates: int = 5_000
    """Updates of the model each time."""

    def __post_init__(self) -> None:
        require_positive(self, "steps", "rounds", "updates")
        require(2 <= self.rounds <= self.steps, "inference.rounds", self.rounds, f"2 to inference.steps, {self.steps}")

    @property
    def part(self) -> int:
        """Steps between two rounds."""
        return self.steps // self.rounds

    def due(self, done: int) -> int:
        """Rounds that are over after `done` steps."""
        return min(done * self.rounds // self.steps, self.rounds)


@dataclass(frozen=True)
class Regression:
    """With `form=regressed`, online, and with `auto` where it comes to that: the reward is found first, Q follows from
    it by soft Bellman backups. It is regressed once, to r_max on the expert's states and -r_max on those that a
    newcomer meets, its slope penalised (`RecoveredReward.refit`), and stays as it is: nothing adversarial."""

    steps: int = 5_000
    """Steps of acting before, at random at first and more and more as the clone does. With `state_only` it is what
    inference did."""
    updates: int = 20_000
    """Updates of the reward."""
    error_limit: float = 0.07
    """With `form=auto`, how far from the expert's actions, in [−1, 1] and beyond their noise, a Gaussian process of
    the others may be (root mean square) for a clone to be trusted. It is fitted for the warm start with its
    `reach`; without it every clone is trusted."""

    def __post_init__(self) -> None:
        require_positive(self, "steps", "updates")
        require_not_negative(self, "error_limit")


REGRESSED: dict[str, Any] = {"gamma": 0.97, "learn_temperature": True, "settle_after": 20_000}
"""What differs by default where Q is learnt from a reward that was found before."""


def online_imitation() -> Imitation:
    return Imitation(warm_start=20_000, reach=0.5, cloning=20.0, anchor=1.0)


def offline_imitation() -> Imitation:
    return Imitation(warm_start=20_000, reach=0.5, cloning=1_000.0)


@dataclass(frozen=True)
class IQLearnContinuous(ActorCritic, Objective):
    """Inverse soft-Q learning (Garg et al., NeurIPS 2021) with an actor, for continuous actions."""

    name: ClassVar[str] = "iq-continuous"

    form: Form = "auto"
    """Of `chi2_mixture`: the inverse-Bellman form, LS-IQ's squared Bellman error, or LS-IQ's reward first and Q from
    that (`Regression`). `auto` is the reward first where learning acts and the expert's actions are not to be cloned
    (`regression.error_limit`), with the settings of `regressed` where these are at their defaults, and the
    inverse-Bellman form elsewhere; the run has what was taken. In Python the settings that go with the reward first
    are `IQLearnContinuous.regressed()`; `form="regressed"` changes the form alone."""
    target_update: Literal["none", "polyak"] = "none"
    """Where V(s') comes from: each critic itself, differentiated as the objective says, or the least of slow copies of
    them, a fixed target (which `least_squares` and `regressed` always have)."""
    gamma: float = 0.9
    """Discount, in [0, 1)."""
    temperature: float = 0.002
    """Weight of the entropy in the soft value."""
    settle_after: int = 8_000
    """Updates after which both step sizes fall as 1/updates, so that the policy settles; 0: they never fall."""
    absorbing: bool = True
    """After a true end the value is that of an absorbing state whose reward is +r_max for the expert and -r_max for
    the learner; else it is 0."""
    network: Network = field(default_factory=smooth_critic)
    """The critics."""
    actor: Network = field(default_factory=smooth_actor)
    """The actor."""
    squash: Squash = "clip"
    """How the actor's Gaussian is brought into the bounds of the actions: by clipping, which meets an expert at the
    bounds exactly, or by tanh."""
    online: Imitation = field(default_factory=online_imitation)
    """What the actor is told of the expert's actions where the learner acts; with `state_only` they are inferred."""
    offline: Imitation = field(default_factory=offline_imitation)
    """The same where there are expert transitions only; nothing with `state_only`, where no action is known."""
    inference: Inference = field(default_factory=Inference)
    """With `state_only`, online: how the expert's actions are inferred."""
    regression: Regression = field(default_factory=Regression)
    """With `form=regressed`, online: how the reward is found."""

    @classmethod
    def regressed(cls, **changes: Any) -> IQLearnContinuous:
        """The settings that `form=regressed` has by default, where they differ: its Q is learnt from a given reward, by
        soft Bellman backups, with a temperature that keeps the policy's samples from narrowing.
        `--form regressed` means these.

        >>> iq.learn(iq.IQLearnContinuous.regressed(), demos, env="HalfCheetah-v5")
        """
        differing: dict[str, Any] = {**REGRESSED, "form": "regressed", **changes}
        return cls(**differing)

    def formed(self, error: float | None, steps: int) -> IQLearnContinuous:
        """What `form=auto` stands for, if that is the form, and these settings else.

        Args:
            error: how far from the expert's actions they tell each other (`GaussianProcess.left_out`), if known.
            steps: of the environment, 0 offline. The reward first takes at least twice `regression.steps`.
        """
        if self.form != "auto":
            return self
        hard = self.state_only or (error is not None and error > self.regression.error_limit)
        if not hard or self.divergence != "chi2_mixture" or steps < 2 * self.regression.steps:
            return replace(self, form="inverse")
        default = IQLearnContinuous()
        left = {name: new for name, new in REGRESSED.items() if getattr(self, name) == getattr(default, name)}
        return replace(self, form="regressed", **left)

    def __post_init__(self) -> None:
        Objective.__post_init__(self)
        ActorCritic.__post_init__(self)
        self.require_lipschitz(self.network)
        told = self.form != "regressed" or self.divergence == "chi2_mixture"
        require(told, "divergence", self.divergence, "chi2_mixture with form=regressed, which is its least squares")
        if self.state_only:
            self._forbid_cloning()
            object.__setattr__(self, "offline", Imitation())
        require(not self.offline.anchor, "offline.anchor", self.offline.anchor, "0, offline the learner has no states")

    def _forbid_cloning(self) -> None:
        """What was not asked for, the default, is turned off silently."""
        for name in ("warm_start", "reach", "cloning", "anchor"):
            value, allowed = getattr(self.offline, name), (0, getattr(offline_imitation(), name))
            require(value in allowed, f"offline.{name}", value, "0 with state_only, which reads no expert action")
