"""Make the demonstrations that ship: a soft-Q expert, trained on CartPole's true reward, and its episodes.

    python benchmarks/make_builtin_demos.py

The expert is the last one on the way whose evaluation is perfect. Evaluation and recording start from reset seeds that
neither training nor any benchmark uses. Takes about a minute.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import tyro
from iqlearn.training.expert import train_expert

import iqlearn
from iqlearn.algorithms import SoftQLearning
from iqlearn.data import Demos
from iqlearn.envs import gym
from iqlearn.envs.vector import VectorEnv
from iqlearn.evaluation import Evaluator
from iqlearn.evaluation.returns import as_arrays
from iqlearn.models import Policy
from iqlearn.settings import Network, SoftQ
from iqlearn.types import ObservationScale

ENV = "CartPole-v1"
EXPERT = SoftQ(temperature=2.0, learning_rate=5e-4, network=Network(activation="relu"))
SCALE = ObservationScale(jnp.zeros(4), jnp.diag(jnp.array([1.0, 1.0, 10.0, 1.0])))
"""The pole's angle in tenths of a radian, the rest as it is."""
OUT = Path(iqlearn.__file__).parent / "data" / "builtin" / f"{ENV}.npz"


def main(out: Path = OUT, rounds: int = 600, episodes: int = 6, seed: int = 0) -> None:
    """Train, keep the last perfect expert, record its most likely actions."""
    evaluator, best = Evaluator(ENV), None
    env = VectorEnv(ENV, copies=8, seed=seed)
    learning = train_expert(SoftQLearning(EXPERT), env, gym.task_spec(ENV), SCALE, seed, rounds=rounds)
    for number, (state, _) in enumerate(learning, start=1):
        if number % 50 == 0:
            returns = evaluator.returns(Policy(state.model), episodes=40, seed=5_000_000)
            print(f"round {number}: mean return {returns.mean():.1f}, least {returns.min():.0f}", flush=True)
            best = state.model if returns.min() == 500.0 else best
    env.close()
    if best is None:
        raise SystemExit("No perfect expert on the way; expected one, try another --seed.")
    played = evaluator.play(Policy(best), episodes, seed=6_000_000)
    demos = Demos.from_arrays({**as_arrays(played), "env": np.array(ENV)}, str(out))
    demos.save(out)
    print(demos.summary(), f"{out.stat().st_size} bytes")


if __name__ == "__main__":
    tyro.cli(main)
