"""Where experience comes from: Gymnasium environments, and small MDPs that are solved exactly.

Importing it makes the ids of the package's own worlds known to Gymnasium.
"""

from iqlearn.envs import worlds

worlds.register()
