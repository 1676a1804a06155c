"""The package's own environments under their Gymnasium ids."""

import gymnasium as gym

WORLDS = {
    "iqlearn/GridWorld-v0": ("iqlearn.envs.grid:GridWorld", {}, 50),
    "iqlearn/PointMaze-v0": ("iqlearn.envs.maze:PointMaze", {"gap": "none"}, 100),
    "iqlearn/PointMazeWall-v0": ("iqlearn.envs.maze:PointMaze", {"gap": "right"}, 100),
    "iqlearn/PointMazeMirrored-v0": ("iqlearn.envs.maze:PointMaze", {"gap": "left"}, 100),
    "iqlearn/PointMazeMirroredAnywhere-v0": ("iqlearn.envs.maze:PointMaze", {"gap": "left", "start": "anywhere"}, 100),
}
"""Id → class, its arguments, steps after which an episode is cut."""


def register() -> None:
    """Make the ids known to Gymnasium; once is enough, and again does no harm.

    The library and its command line do so by themselves. Gymnasium 1 loads no plugins, so elsewhere the id names the
    module to import:

    >>> gym.make("iqlearn.envs:iqlearn/GridWorld-v0")
    """
    for env_id, (entry_point, kwargs, steps) in WORLDS.items():
        if env_id not in gym.registry:
            gym.register(env_id, entry_point=entry_point, kwargs=kwargs, max_episode_steps=steps)
