"""A point in a plane with a wall. All mazes share one reward, but the way to the goal differs."""

from typing import Any, Literal

import gymnasium as gym
import numpy as np
from jaxtyping import Float, Shaped

Gap = Literal["none", "left", "right"]
"""Side on which the wall leaves a gap; `none` means no wall."""
Start = Literal["bottom", "anywhere"]
"""Where episodes begin."""

STRIDE = 0.1
"""Distance by which a full action moves a coordinate."""
GOAL = np.array([0.0, 0.8], np.float32)
"""Position (x, y) of the goal, at the top."""
START_LOW, START_HIGH = np.array([-0.8, -0.9]), np.array([0.8, -0.7])
"""Corners of the area at the bottom in which episodes begin."""
WALL_END = np.float32(0.4)
"""The wall reaches from one border to this |x| on the other side. The gap is the rest, 0.6 wide."""
WALL_HALF = np.float32(0.1)
"""Half the thickness of the wall, which lies where |y| is less. The wall is thicker than a step is long, so that
observations on its two sides differ clearly. On the two sides of a thin line, nearly equal observations would have very
different values, which are hard for a network to represent."""
EFFORT = 0.01
"""Weight of the cost ‖a‖² in the reward."""


class PointMaze(gym.Env[np.ndarray, np.ndarray]):
    """`iqlearn/PointMaze-v0`, `-Wall-v0`, `-Mirrored-v0`: move a point without inertia to a goal behind a wall.

    An observation is the position (x, y) in [−1, 1]², float32; an action in [−1, 1]² moves it by 0.1·a. The border and
    the wall, 0.2 thick, stop the motion towards them and let the point slide along. Episodes begin at the bottom and
    end only at the id's time limit of 100 steps. In `iqlearn/PointMazeMirroredAnywhere-v0` they begin anywhere, so that
    an agent need not be good at exploring.

    The reward is −‖s' − goal‖ − 0.01·‖a‖². It does not depend on the wall: it is correct in every maze, whereas a
    policy is not. The pair of mirrored mazes therefore tests whether a *reward* was learnt rather than a policy (Fu et
    al., ICLR 2018).

    Args:
        gap: side on which the wall leaves a gap.
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
        """Whether the position is inside the wall. The wall's surface is free."""
        if self.gap == "none" or abs(position[1]) >= WALL_HALF:
            return False
        return bool(position[0] < WALL_END if self.gap == "right" else position[0] > -WALL_END)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begin at a free position drawn uniformly, at the bottom or anywhere, or at `options["position"]`."""
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
        """Return the environment's reward of each transition, −‖s' − goal‖ − 0.01·‖a‖², the same in every maze."""
        distance = np.linalg.norm(np.asarray(next_obs, np.float32) - GOAL, axis=1)
        return (-distance - EFFORT * np.sum(np.asarray(action, np.float32) ** 2, axis=1)).astype(np.float32)
