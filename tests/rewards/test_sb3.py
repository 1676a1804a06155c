"""Stable-Baselines3 trains on the recovered reward, through the wrapper."""

import gymnasium as gym
import numpy as np
import pytest

from iqlearn import Interaction, IQLearnContinuous, Network, RewardWrapper, Transitions, learn

sb3 = pytest.importorskip("stable_baselines3", reason="needs the extra sb3: pip install -e '.[sb3]'")


def test_sac_of_stable_baselines3_trains_on_the_recovered_reward(pendulum) -> None:
    from stable_baselines3.common.monitor import Monitor

    small = Network(hidden=(8,))
    settings = IQLearnContinuous(batch_size=8, critic=small, actor=small)
    acting = Interaction(random_steps=10, round_steps=10)
    run = learn(settings, pendulum, env="Pendulum-v1", interaction=acting, steps=50, evaluations=1, eval_episodes=1)
    true = Monitor(gym.make("Pendulum-v1"))
    env = RewardWrapper(true, run.reward)
    agent = sb3.SAC("MlpPolicy", env, learning_starts=50, policy_kwargs={"net_arch": [8]}, seed=0, device="cpu")
    agent.learn(400)

    held = agent.replay_buffer
    assert held is not None
    assert held.size() == 400
    obs, action, next_obs = (x[:400, 0] for x in (held.observations, held.actions, held.next_observations))
    told = run.reward(Transitions(obs, 2.0 * action, next_obs, np.zeros(400, bool)))  # it stores actions in [−1, 1]
    np.testing.assert_allclose(held.rewards[:400, 0], told, atol=1e-4)
    assert true.get_episode_rewards()[0] < -100.0  # the monitor inside sees the environment's own
