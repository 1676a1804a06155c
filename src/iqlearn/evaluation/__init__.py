"""Evaluation of a policy: returns in the environment, distance to the expert's states, statistics and pictures."""
