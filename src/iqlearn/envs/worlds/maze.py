"""A point in a plane with a wall: one reward, mazes in which different ways are right."""

from typing import Any, Literal

import gymnasium as gym
import numpy as np
from jaxtyping import Float, Shaped

Gap = Literal["none", "left", "right"]
"""Where the wall leaves a way: `none` is no wall at all."""
Start = Literal["bottom", "anywhere"]
"""Where episodes begin."""

STRIDE = 0.1
"""What a full action moves a coordinate by."""
GOAL = np.array([0.0, 0.8], np.float32)
"""At the top, (x, y)."""
START_LOW, START_HIGH = np.array([-0.8, -0.9]), np.array([0.8, -0.7])
"""Corners of the area at the bottom."""
WALL_END = np.float32(0.4)
"""The wall reaches from one side to this |x| on the other; the gap is the rest, 0.6 wide."""
WALL_HALF = np.float32(0.1)
"""The wall is where |y| is less. It is thicker than a step is long, and its two sides look different: across a mere
line, two places that are nearly the same would have values far apart, which is hard for a network to tell."""
EFFORT = 0.01
"""Price of |a|²."""


class PointMaze(gym.Env[np.ndarray, np.ndarray]):
    """`iqlearn/PointMaze-v0`, `-Wall-v0`, `-Mirrored-v0`: move a point without inertia to a goal behind a wall.

    An observation is the position (x, y) in [−1, 1]², float32; an action in [−1, 1]² moves it by 0.1·a. The border and
    the wall, 0.2 thick, stop the motion towards them and let the point slide along. Episodes begin at the bottom and
    have no end but the id's time limit of 100 steps. In `iqlearn/PointMazeMirroredAnywhere-v0` they begin anywhere, for
    an agent that need not be good at exploring.

    The reward is −‖s' − goal‖ − 0.01·‖a‖². It knows nothing of the wall: it is right in every maze, while the way to
    the goal is not. That makes the pair of mirrored mazes a test of whether a *reward* was learnt rather than a policy
    (Fu et al., ICLR 2018).

    Args:
        gap: where the wall leaves a way.
        start: where episodes begin.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, gap: Gap = "none", start: Start = "bottom") -> None:
        self.observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.gap: Gap = gap
        self.start: Start = start
        self._position = GOAL

    def inside(self, position: Float[np.ndarray, "2"]) -> bool:
        """Whether the wall is there; its surface is free."""
        if self.gap == "none" or abs(position[1]) >= WALL_HALF:
            return False
        return bool(position[0] < WALL_END if self.gap == "right" else position[0] > -WALL_END)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begin at a free place drawn uniformly, at the bottom or anywhere, or at `options["position"]`."""
        super().reset(seed=seed)
        low, high = (START_LOW, START_HIGH) if self.start == "bottom" else (-np.ones(2), np.ones(2))
        drawn = self.np_random.uniform(low, high)
        while self.inside(drawn):
            drawn = self.np_random.uniform(low, high)
        self._position = np.asarray((options or {}).get("position", drawn), np.float32)
        return self._position.copy(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Move by at most 0.1 along each coordinate."""
        before, action = self._position, np.clip(np.asarray(action, np.float32), -1.0, 1.0)
        after = np.clip(before + np.float32(STRIDE) * action, -1.0, 1.0)
        if self.inside(after) and abs(before[1]) >= WALL_HALF:  # from above or below
            after[1] = np.copysign(WALL_HALF, before[1])
        elif self.inside(after):  # from within the gap
            after[0] = WALL_END if self.gap == "right" else -WALL_END
        self._position = after
        reward = self.true_reward(before[None], action[None], after[None])[0]
        return after.copy(), float(reward), False, False, {}

    def true_reward(
        self,
        obs: Shaped[np.ndarray, "n 2"],
        action: Shaped[np.ndarray, "n 2"],
        next_obs: Shaped[np.ndarray, "n 2"],
    ) -> Float[np.ndarray, " n"]:
        """The environment's reward of each transition, −‖s' − goal‖ − 0.01·‖a‖²; the same in every maze."""
        distance = np.linalg.norm(np.asarray(next_obs, np.float32) - GOAL, axis=1)
        return (-distance - EFFORT * np.sum(np.asarray(action, np.float32) ** 2, axis=1)).astype(np.float32)
