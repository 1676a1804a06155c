"""A grid world whose true reward, soft-optimal policy and occupancy are all known exactly."""

from typing import Any

import gymnasium as gym
import numpy as np
from jaxtyping import Float, Int, Shaped

ACTIONS = ("up", "down", "left", "right", "stay")
STEPS = np.array([(-1, 0), (1, 0), (0, -1), (0, 1), (0, 0)])
"""(rows, columns) that each action moves by; row 0 is the top."""


class GridWorld(gym.Env[np.ndarray, np.integer]):
    """`iqlearn/GridWorld-v0`: walk to the goal cell, and stay there.

    Cells are numbered row by row from the top left. An observation is the one-hot vector of the cell, (size²,) of
    float32, so that a linear layer is a table. Five actions: up, down, left, right, stay; a step against the border
    does not move. Every transition *into* the goal pays 1 (also staying there), every other transition pays 0. The
    first cell is drawn uniformly. No state ends an episode; episodes end at the id's time limit of 50 steps.

    Args:
        size: cells along one side.
        goal: row and column of the goal.
        slip: probability that an action is replaced by one drawn uniformly from the five.

    >>> world = GridWorld()
    >>> world.true_reward(world.observe([7, 8]), np.array([3, 4]), world.observe([8, 8]))
    array([1., 1.], dtype=float32)
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, size: int = 5, goal: tuple[int, int] = (1, 3), slip: float = 0.0) -> None:
        if size < 2 or not all(0 <= place < size for place in goal) or not 0.0 <= slip <= 1.0:
            raise ValueError(
                f"size {size}, goal {goal}, slip {slip}; expected size ≥ 2, a goal inside, slip in [0, 1]."
            )
        self.size, self.slip = size, slip
        self.goal = goal[0] * size + goal[1]
        self.observation_space = gym.spaces.Box(0.0, 1.0, (size**2,), np.float32)
        self.action_space = gym.spaces.Discrete(len(ACTIONS))
        self._cell = 0

    @property
    def cells(self) -> int:
        """The number of cells, S."""
        return self.size**2

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begin in a cell drawn uniformly, or in `options["cell"]`."""
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(self.cells))
        self._cell = int((options or {}).get("cell", drawn))
        return self.observe([self._cell])[0], {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Move by one cell at most."""
        if self.np_random.random() < self.slip:
            action = self.np_random.integers(len(ACTIONS))
        self._cell = int(self.moves()[self._cell, int(action)])
        return self.observe([self._cell])[0], float(self._cell == self.goal), False, False, {}

    def observe(self, cells: Int[np.ndarray, " n"] | list[int]) -> Float[np.ndarray, "n S"]:
        """Return the observations of cells."""
        return np.eye(self.cells, dtype=np.float32)[np.asarray(cells)]

    def cells_of(self, obs: Shaped[np.ndarray, "n S"]) -> Int[np.ndarray, " n"]:
        """Return the cells of observations."""
        return np.argmax(obs, axis=-1)

    def moves(self) -> Int[np.ndarray, "S A"]:
        """Return the cell that each action leads to from each cell, without slips."""
        row, column = np.divmod(np.arange(self.cells), self.size)
        to = np.stack([row, column], axis=1)[:, None] + STEPS
        row, column = np.moveaxis(np.clip(to, 0, self.size - 1), -1, 0)
        return row * self.size + column

    def true_reward(
        self,
        obs: Shaped[np.ndarray, "n S"],
        action: Shaped[np.ndarray, " n"],
        next_obs: Shaped[np.ndarray, "n S"],
    ) -> Float[np.ndarray, " n"]:
        """Return the environment's reward of each transition: 1 where s' is the goal, else 0."""
        return (self.cells_of(np.asarray(next_obs)) == self.goal).astype(np.float32)
