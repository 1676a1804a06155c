"""Rewards of transitions: recovered, distilled, compared with the true one, and paid to other learners."""

from iqlearn.rewards.base import Ends, in_blocks
from iqlearn.rewards.distil import DistilledReward
from iqlearn.rewards.recovered import RecoveredReward
from iqlearn.rewards.wrappers import RewardWrapper, VectorRewardWrapper

__all__ = ["DistilledReward", "Ends", "RecoveredReward", "RewardWrapper", "VectorRewardWrapper", "in_blocks"]
