"""Rewards of transitions: recovered, distilled, compared with the true one, and paid to other learners."""
