"""Make demonstrations to ship: a soft-Q expert, trained on CartPole's true reward, and its episodes.

    python benchmarks/make_builtin_demos.py

The expert is the last one on the way whose evaluation is perfect. Evaluation and recording start from reset seeds that
neither training nor any benchmark uses. Takes about a minute. The file in the package was made by the version of this
script in commit 690f487, whose replay drew other batches; another expert of the same kind comes out now.
"""

from pathlib import Path

import numpy as np
import tyro

from iqlearn.beginning import begin_expert
from iqlearn.data import Demos
from iqlearn.evaluation import Evaluator
from iqlearn.evaluation.returns import as_arrays
from iqlearn.models import Policy
from iqlearn.session import Session
from iqlearn.settings import Interaction, Network, Schedule, SoftQ

ENV = "CartPole-v1"
EXPERT = SoftQ(temperature=2.0, learning_rate=5e-4, network=Network(activation="relu"))
ACTING = Interaction(num_envs=8, random_steps=4_096, update_ratio=1 / 8, round_steps=512)


def main(out: Path, steps: int = 307_200, episodes: int = 6, seed: int = 0) -> None:
    """Train, keep the last perfect expert, record its most likely actions in the file `out`."""
    schedule = Schedule(steps, evaluations=12, eval_episodes=40, seed=seed)
    session, best = Session([begin_expert(EXPERT, schedule, ENV, ACTING)], [], [None]), None
    while session.done < steps:
        session.advance(schedule.chunk)
        session.evaluate()
        run = session.runs[0]
        print(f"step {session.done}: mean return {run.rows[-1]['return_mean']:.1f}", flush=True)
        best = run.model if run.rows[-1]["return_min"] == 500.0 else best
    session.close()
    if best is None:
        raise SystemExit("No perfect expert on the way; expected one, try another --seed.")
    evaluator = Evaluator(ENV)
    played = evaluator.play(Policy(best), episodes, seed=6_000_000)
    evaluator.close()
    demos = Demos.from_arrays({**as_arrays(played), "env": np.array(ENV)}, str(out))
    demos.save(out)
    print(demos.summary(), f"{out.stat().st_size} bytes")


if __name__ == "__main__":
    tyro.cli(main)
