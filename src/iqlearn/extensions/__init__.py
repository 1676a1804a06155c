"""Extensions: optional parts of a method. Each has its own file and one line in the registry below."""

from iqlearn.algorithms.base import Extension
from iqlearn.extensions.action_inference import ActionInference
from iqlearn.extensions.cloning import Cloning
from iqlearn.extensions.cold_start import ColdStart
from iqlearn.extensions.energy_reward import EnergyReward
from iqlearn.extensions.model_rollouts import ModelRollouts
from iqlearn.extensions.reward_regression import RewardRegression

EXTENSIONS: dict[str, type[Extension]] = {
    kind.name: kind
    for kind in (
        ActionInference,
        RewardRegression,
        EnergyReward,
        Cloning,
        ColdStart,
        ModelRollouts,
    )
}
"""The class of each extension by its name, in the order in which their hooks are called."""

__all__ = ["ActionInference", "Cloning", "ColdStart", "EnergyReward", "ModelRollouts", "RewardRegression"]
