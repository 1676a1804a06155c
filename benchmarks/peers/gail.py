"""Train GAIL of the library `imitation` with the settings of its documented example: `python gail.py TASK FILE SEED`.

Learns from the one episode of the file. After each round it prints the environment steps and the mean return of ten
episodes as JSON, until it is killed. The example uses environments with a fixed horizon; these tasks have none.
"""

import json
import sys

import numpy as np
from imitation.algorithms.adversarial.gail import GAIL
from imitation.data.types import TrajectoryWithRew
from imitation.rewards.reward_nets import BasicRewardNet
from imitation.util.networks import RunningNorm
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

TASK, FILE, SEED = sys.argv[1], sys.argv[2], int(sys.argv[3])
ENVIRONMENTS, EPISODES = 8, 10


def demonstration() -> TrajectoryWithRew:
    """Read the one episode of the file."""
    with np.load(FILE) as file:
        all_obs, ended = np.concatenate([file["obs"], file["next_obs"][-1:]]), bool(file["term"][-1])
        return TrajectoryWithRew(all_obs, file["act"], infos=None, terminal=ended, rews=file["rew"].astype(float))


def after_round(_: int) -> None:
    mean, _ = evaluate_policy(learner, evaluation, EPISODES)
    print(json.dumps({"steps": learner.num_timesteps, "return": float(mean)}), file=sys.__stdout__, flush=True)


sys.stdout = sys.stderr  # output of the library; the results go to the original stdout
demo = demonstration()
training, evaluation = make_vec_env(TASK, ENVIRONMENTS, seed=SEED), make_vec_env(TASK, seed=10_000 + SEED)
of_ppo = {"batch_size": 64, "ent_coef": 0.0, "learning_rate": 4e-4, "gamma": 0.95, "n_epochs": 5}
learner = PPO("MlpPolicy", training, seed=SEED, device="cpu", **of_ppo)
spaces = training.observation_space, training.action_space
trainer = GAIL(
    demonstrations=[demo],
    demo_batch_size=min(1024, len(demo)),  # 1024 in the example, which has more rows
    gen_replay_buffer_capacity=512,
    n_disc_updates_per_round=8,
    venv=training,
    gen_algo=learner,
    reward_net=BasicRewardNet(*spaces, normalize_input_layer=RunningNorm),
    allow_variable_horizon=True,
)
trainer.train(10**9, after_round)
