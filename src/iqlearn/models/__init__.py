"""What is learnt: models offer `q`, `v`, `log_prob` and `act`; a `Policy` acts with one."""

from iqlearn.models.continuous import ContinuousSoftQ
from iqlearn.models.discrete import DiscreteSoftQ
from iqlearn.models.policy import Policy, SoftQModel

__all__ = ["ContinuousSoftQ", "DiscreteSoftQ", "Policy", "SoftQModel"]
