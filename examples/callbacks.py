"""Watch a run and stop it early: TensorBoard, early stopping, and a function of your own.

python examples/callbacks.py
"""

import importlib.util
from typing import Any

import iqlearn as iq


def good_enough(training: Any) -> bool:
    """Print the last evaluation, and return True, which stops the run, if all its episodes have a return of 500."""
    row = training.runs[0].rows[-1]
    print(f"{training.done:6,} updates: return {row['return_mean']:.1f}, distance {row['occupancy_distance']:.3f}")
    return row["return_min"] == 500.0


def main() -> None:
    demos = iq.Demos.builtin("CartPole-v1").take(1).subsample(20)
    callbacks: list[Any] = [good_enough, iq.EarlyStopping(patience=5)]
    if importlib.util.find_spec("tensorboard"):  # pip install -e '.[tensorboard]'
        callbacks.append(iq.TensorBoard("runs/tensorboard"))
    run = iq.learn(iq.recommended(demos), demos, evaluations=20, callbacks=callbacks, quiet=True)
    print(run.result["status"], run.evaluate(episodes=10).mean())


if __name__ == "__main__":
    main()
