# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {name: python3, display_name: Python 3, language: python}
# ---

# %% [markdown]
# # What did the expert want? A reward in fifteen minutes
#
# *Open this page's file, `examples/notebooks/expert_reward.py`, as a notebook: `pip
# install -e . jupyterlab jupytext`, then right-click it in JupyterLab and choose Open
# With → Notebook.*
#
# Reinforcement learning finds the behaviour for a given reward. *Inverse* reinforcement
# learning finds a reward that explains the given behaviour of an expert. Such a reward
# can evaluate behaviour that nobody demonstrated, and train another agent.
#
# This notebook learns from demonstrations, compares the recovered reward with the true
# reward, and trains a new agent on it. It takes a few minutes on two CPU cores.

# %%
import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np
from scipy.spatial import KDTree

import iqlearn as iq
from iqlearn.evaluation.returns import as_arrays, rollouts
from iqlearn.rewards.correlations import by_episode, pearson

# %matplotlib inline

# %% [markdown]
# ## The task
#
# A point moves in a plane; an observation is its position (x, y). A wall with a gap on
# the right stands between the start at the bottom and the goal at the top. The true
# reward of a step is minus the distance to the goal, minus a small cost of the action.
# The learner never sees it. We use it only to check the result.
#
# The package ships ten demonstrations.

# %%
ENV = "iqlearn/PointMazeWall-v0"
GOAL = (0.0, 0.8)
demos = iq.Demos.builtin(ENV)
print(demos, f"mean true return {demos.expert_return:.1f}", sep="\n")


# %%
def maze(panel, title):
    """Draw the wall and the goal, and set up the axes."""
    panel.add_patch(plt.Rectangle((-1, -0.1), 1.4, 0.2, color="0.4"))
    panel.plot(*GOAL, "k*", markersize=11)
    panel.set(title=title, xlabel="x", ylabel="y", aspect="equal")
    panel.set(xlim=(-1, 1), ylim=(-1, 1))


figure, panel = plt.subplots(figsize=(4, 4), layout="constrained")
for episode in range(demos.episodes):
    panel.plot(*demos.obs[demos.ep == episode].T, linewidth=1)
maze(panel, "Ten demonstrations")
plt.show()

# %% [markdown]
# ## Learn policy and reward together
#
# Inverse soft-Q learning (IQ-Learn) learns one function, Q(s, a): the soft value of an
# action in a state. The policy prefers actions with a high Q. The reward follows from Q
# by the Bellman equation: r(s, a, s') = Q(s, a) − γ·V(s'), where V is the soft value of
# a state and γ the discount factor.
#
# The learner acts in the maze (online), because the reward is learnt from good and bad
# behaviour. `iq.recommended` begins with *behavioural cloning*, which is regression
# from observations to actions.

# %%
cloning = iq.Cloning(updates=4_000)  # fewer than by default, enough for two coordinates
settings = iq.recommended(demos, ENV, extensions=(cloning,))
run = iq.learn(settings, demos, env=ENV, steps=3_000, evaluations=3)
run.save("runs/maze", overwrite=True)

# %% [markdown]
# ## Episodes to test the reward on
#
# A test on good behaviour alone cannot show whether the reward recognises bad
# behaviour. So we play three kinds of episodes: the learnt policy, a random policy, and
# the learnt policy with 5 to 75 % of its actions replaced by random ones.

# %%
KINDS = ["policy", "random", "noisy"]


def play(env, policy, kinds, seed=0):
    """Play 20 episodes of each kind, and return all of them."""
    kinds = rollouts(env, policy, kinds, episodes=20, seed=seed).values()
    return iq.Demos.from_arrays(
        as_arrays([episode for each in kinds for episode in each])
    )


together = play(ENV, run.policy, KINDS)
print(together)

# %% [markdown]
# ## Recovered against true reward
#
# The recovered reward has no unit, so compare it with the true reward by correlation: 1
# is perfect agreement up to scale and offset, 0 is none. *By step* correlates the
# rewards of single steps, *by episode* their sums over an episode.
#
# A correlation alone can mislead. Compare it with those of two simple baselines:
#
# - the *length* of the episode: if failures end an episode early, its length alone
#   predicts the return;
# - minus the distance to the *nearest expert state*: a reward without any learning.


# %%
def nearest(transitions):
    """Return minus the distance from s' to the nearest demonstrated state."""
    return -KDTree(demos.obs).query(transitions.next_obs)[0]


def correlations(judged, rewards):
    """Print each reward's correlation with the true one; – if one is constant."""
    print(f"{'':<22}{'by step':>12}{'by episode':>12}")
    for name, values in rewards.items():
        sums = [by_episode(each, judged.ep) for each in (values, judged.rew)]
        found = pearson(values, judged.rew), pearson(*sums)
        cells = ["–" if r is None else f"{r:.2f}" for r in found]
        print(f"{name:<22}" + "".join(f"{cell:>12}" for cell in cells))


cheap = {"nearest expert state": nearest(together)}
cheap["length"] = np.ones(len(together))
correlations(together, {"recovered": run.reward(together), **cheap})

# %% [markdown]
# Compare the rows with each other. If the nearest expert state has the same
# correlation, the recovered reward contains little more information than the expert's
# states. The length has no correlation here, because every episode of this task has 100
# steps.
#
# ## A task in which the length is the return
#
# CartPole is the opposite: the reward of every step is 1, and an episode ends when the
# pole falls. Train there on one demonstration, and print the same table.

# %%
poles = iq.Demos.builtin("CartPole-v1").take(1).subsample(20)
balance = iq.learn(iq.recommended(poles), poles, steps=4_000, evaluations=1)

# %%
tried = play("CartPole-v1", balance.policy, KINDS)
correlations(tried, {"recovered": balance.reward(tried), "length": np.ones(len(tried))})

# %% [markdown]
# In CartPole the length *is* the return. No reward can have a higher correlation by
# episode, so that correlation says little about a reward. By step there is no
# correlation, because the true reward is constant.
#
# In a terminal, `iqlearn reward runs/maze --rollouts policy,random,noisy` prints such
# figures for a saved run, with the length as `pearson_length`. It adds the rewards of
# the absorbing state to an episode that ended early, up to the time limit. So its
# figures by episode differ from these if episodes end early.
#
# ## A reward to train on
#
# Back to the maze. A learner that began with behavioural cloning has hardly seen bad
# behaviour, so its reward is unreliable there. But a new agent begins with bad
# behaviour. `refit` fits a new reward by regression: high in the expert's states, low
# in the states of random and noisy episodes. These episodes are new, not those of the
# test. With `kind="state"` the reward depends on the position only.

# %%
others = play(ENV, run.policy, ["random", "noisy"], seed=1)
refitted = run.reward.refit(demos, others, kind="state", updates=5_000)
refitted.save("maze-reward.safetensors")  # iq.DistilledReward.load reads it
learnt = {"recovered": run.reward(together), "refitted": refitted(together)}
correlations(together, {**learnt, **cheap})

# %% [markdown]
# ## A map
#
# The state of this task has two coordinates, so a reward can be drawn as a map. From
# each position the learnt policy takes one step; the colour is the reward of that step.
# Each panel has its own colour scale, because the rewards have no unit.

# %%
world = gym.make(ENV).unwrapped
axis = np.linspace(-0.98, 0.98, 50, dtype=np.float32)
places = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
actions = run.policy(places)
arrived = []
for place, action in zip(places, actions, strict=True):
    world.reset(options={"position": place})
    arrived.append(world.step(action)[0])
steps = iq.Transitions(places, actions, np.array(arrived), np.zeros(len(places), bool))

# %%
maps = {
    "true": world.true_reward(*steps[:3]),
    "recovered": run.reward(steps),
    "refitted": refitted(steps),
    "nearest expert state": nearest(steps),
}
figure, panels = plt.subplots(2, 2, figsize=(7.5, 6.5), layout="constrained")
for panel, (name, values) in zip(panels.flat, maps.items(), strict=True):
    colours = panel.pcolormesh(axis, axis, values.reshape(len(axis), -1))
    figure.colorbar(colours, ax=panel, shrink=0.8)
    maze(panel, name)
figure.suptitle("Reward of the step that begins at (x, y)")
plt.show()

# %% [markdown]
# ## Train another agent on it
#
# `iq.RewardWrapper` replaces the reward of the environment by the refitted reward; the
# true reward is in `info["true_reward"]`. Any library that trains in Gymnasium
# environments can use it, for instance Stable-Baselines3. Here the agent is the
# package's own soft actor-critic (SAC). It never sees a demonstration or the true
# reward.


# %%
def paid():
    """Return the maze with the refitted reward."""
    return iq.RewardWrapper(gym.make(ENV), refitted)


agent = iq.train_expert(paid, iq.SAC(), steps=8_000, evaluations=4, eval_episodes=10)

# %% [markdown]
# The progress line shows the return in the *refitted* reward. The result is the true
# return of new episodes:

# %%
returns = {
    "random policy": play(ENV, run.policy, ["random"]).episode_return,
    "agent on the refitted reward": agent.evaluate(episodes=20, env=ENV),
    "IQ-Learn's own policy": run.evaluate(episodes=20),
    "expert": demos.episode_return,
}
print(f"{'true return':<30}{'mean':>8}{'worst':>8}{'best':>8}")
for name, of in returns.items():
    print(f"{name:<30}{np.mean(of):>8.1f}{np.min(of):>8.1f}{np.max(of):>8.1f}")

# %%
figure, panel = plt.subplots(figsize=(4, 4), layout="constrained")
(episodes,) = rollouts(ENV, agent.policy, ["policy"], episodes=10, seed=2).values()
for episode in episodes:
    panel.plot(*np.append(episode.obs, episode.next_obs[-1:], axis=0).T, linewidth=1)
maze(panel, "The agent on the refitted reward")
plt.show()

# %% [markdown]
# This is one seed and a short training. [The recovered reward](../reward.md) explains
# when the recovered reward equals the true one, and uses it in a maze with other
# dynamics. [Results](../results.md) lists more seeds and tasks.
