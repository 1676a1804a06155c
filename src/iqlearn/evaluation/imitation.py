"""How well a policy predicts an expert's actions. No environment is needed."""

import jax
import numpy as np
from jaxtyping import Array, Float

from iqlearn.data.demos import Demos
from iqlearn.networks.host import in_blocks
from iqlearn.networks.policy import Policy
from iqlearn.networks.soft_q import SoftQ
from iqlearn.types import Transitions


def imitation(model: SoftQ, demos: Demos) -> dict[str, float | None]:
    """Compare the policy's most likely actions with the expert's.

    Returns:
        `log_likelihood`: mean log π(a|s); for continuous actions, π is the density of the model's scaled actions.
        `agreement`, for discrete actions: the share of states in which the actions are the same.
        `action_error`, for continuous ones: the root mean squared error over all coordinates, in their own units.
        `relative_error`: the same with each coordinate divided by the standard deviation of the expert's actions,
            without constant coordinates; a policy that always takes the mean action has 1. None if the expert's actions
            are constant.

    Raises:
        InputError: the demonstrations hold no actions.
    """
    action, known = demos.actions, demos.transitions
    facts: dict[str, float | None] = {"log_likelihood": float(in_blocks(lambda x: _log_prob(model, x), known).mean())}
    chosen = Policy(model)(demos.obs)
    if demos.discrete:
        return {"agreement": float((chosen == action).mean())} | facts
    error, spread = chosen.astype(np.float64) - action, action.std(axis=0, dtype=np.float64)
    moving = spread > 0.0
    relative = float(np.sqrt(((error[:, moving] / spread[moving]) ** 2).mean())) if moving.any() else None
    return {"action_error": float(np.sqrt((error**2).mean())), "relative_error": relative} | facts


@jax.jit
def _log_prob(model: SoftQ, batch: Transitions) -> Float[Array, " n"]:
    return model.log_prob(batch.obs, batch.action)
