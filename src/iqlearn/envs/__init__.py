"""Environments: the Gymnasium interface, and small worlds whose true reward is known.

Importing this package registers the ids of its own worlds with Gymnasium.
"""

from iqlearn.envs import worlds

worlds.register()
