"""The package's own environments under their Gymnasium ids."""

import gymnasium as gym

MAZE = "iqlearn.envs.worlds.maze:PointMaze"
WORLDS = {
    "iqlearn/GridWorld-v0": ("iqlearn.envs.worlds.grid:GridWorld", {}, 50),
    "iqlearn/PointMaze-v0": (MAZE, {"gap": "none"}, 100),
    "iqlearn/PointMazeWall-v0": (MAZE, {"gap": "right"}, 100),
    "iqlearn/PointMazeMirrored-v0": (MAZE, {"gap": "left"}, 100),
    "iqlearn/PointMazeMirroredAnywhere-v0": (MAZE, {"gap": "left", "start": "anywhere"}, 100),
}
"""Id → class, its keyword arguments, time limit in steps."""


def register() -> None:
    """Register the ids with Gymnasium. Ids that are registered already stay as they are.

    Importing `iqlearn.envs` calls this function. Gymnasium 1 loads no plugins, so code that does not import it names
    the module with the id:

    >>> gym.make("iqlearn.envs:iqlearn/GridWorld-v0")
    """
    for env_id, (entry_point, kwargs, steps) in WORLDS.items():
        if env_id not in gym.registry:
            gym.register(env_id, entry_point=entry_point, kwargs=kwargs, max_episode_steps=steps)
