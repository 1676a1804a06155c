"""What is learnt: models offer `q`, `v`, `log_prob` and `act`; a `Policy` acts with one."""

from iqlearn.models.discrete import DiscreteSoftQ
from iqlearn.models.policy import Policy

__all__ = ["DiscreteSoftQ", "Policy"]
