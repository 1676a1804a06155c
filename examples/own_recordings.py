"""Learn a policy and a reward from your own recordings, without an environment.

    python examples/own_recordings.py

Here a hand-written controller of CartPole makes the recordings. In your case they are arrays from a log.
"""

from pathlib import Path

import gymnasium as gym
import numpy as np

import iqlearn as iq


def record(episodes: int) -> dict[str, np.ndarray]:
    """Return the transitions of a controller that pushes in the direction in which the pole falls."""
    env = gym.make("CartPole-v1")
    rows: list[tuple[np.ndarray, int, np.ndarray, bool, bool, int]] = []
    for episode in range(episodes):
        obs, _ = env.reset(seed=episode)
        over = False
        while not over:
            action = int(obs @ [0.1, 0.2, 1.0, 0.6] > 0)
            next_obs, _, terminated, truncated, _ = env.step(action)
            rows.append((obs, action, next_obs, terminated, truncated, episode))
            obs, over = next_obs, terminated or truncated
    columns = zip(*rows, strict=True)
    return dict(zip(("obs", "act", "next_obs", "term", "trunc", "ep"), map(np.array, columns), strict=True))


def main() -> None:
    path = Path("recordings.npz")
    np.savez_compressed(path, **record(episodes=2))  # pyright: ignore[reportArgumentType]
    demos = iq.Demos.load(path).subsample(10, seed=0)
    print(f"{len(demos)} transitions of {demos.episodes} episodes")

    settings = iq.recommended(demos)  # prints its reasons; iq.IQLearn() is the method of the paper
    run = iq.learn(settings, demos, seed=0)  # there is no environment, so there is no evaluation
    print("agreement with the expert:", np.mean(run.policy(demos.obs) == demos.act))
    print("recovered reward, mean:", run.reward(demos).mean())
    print("return in the real CartPole:", run.evaluate(episodes=10, env="CartPole-v1").mean())
    run.save("runs/recordings", overwrite=True)


if __name__ == "__main__":
    main()
