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
# In reinforcement learning a reward is given and behaviour is found. *Inverse*
# reinforcement learning goes the other way: an expert's behaviour is given, and the
# reward that explains it is found. Such a reward can judge behaviour that nobody
# demonstrated, and train another agent.
#
# This notebook learns from demonstrations, looks at the reward that comes out, compares
# it with the true one, and trains a new agent on it. The whole takes a few minutes on
# two cores.

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
# A point moves in a plane; an observation is its position (x, y). A wall blocks the way
# from the bottom to a goal at the top but for a gap on the right. The true reward of a
# step is minus the distance to the goal, with a small price of effort. The learner
# never sees it. We use it only to check the result, which is possible because this
# world is made up.
#
# The package ships ten demonstrations.

# %%
ENV = "iqlearn/PointMazeWall-v0"
GOAL = (0.0, 0.8)
demos = iq.Demos.builtin(ENV)
print(demos, f"mean true return {demos.expert_return:.1f}", sep="\n")


# %%
def maze(panel, title):
    """Prepare a panel: the wall, the goal, and the axes."""
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
# Inverse soft-Q learning (IQ-Learn) learns one function, Q(s, a): what an action is
# worth in a state. The policy picks actions with a high Q. The reward follows from Q:
# it is what an action is worth beyond what comes later, r(s, a, s') = Q(s, a) −
# γ·V(s'), where V is the worth of the next state and γ the discount.
#
# The learner acts in the maze itself, because a reward that should tell good from bad
# has to see both. `iq.recommended` begins with *behavioural cloning*, which is
# regression from observations to actions.

# %%
cloning = iq.Cloning(updates=4_000)  # fewer than by default, enough for two coordinates
settings = iq.recommended(demos, ENV, extensions=(cloning,))
run = iq.learn(settings, demos, env=ENV, steps=3_000, evaluations=3)
run.save("runs/maze", overwrite=True)

# %% [markdown]
# ## Something to judge
#
# A reward that only ever sees good behaviour cannot show that it recognises bad
# behaviour. So we play three kinds of episodes: the learnt policy, a random one, and
# the learnt policy with 5 to 75 % of its actions replaced by random ones.

# %%
KINDS = ["expert", "random", "noisy"]  # "expert" is the learnt policy here


def play(env, policy, kinds, seed=0):
    """20 episodes of each kind, one after another."""
    kinds = rollouts(env, policy, kinds, episodes=20, seed=seed).values()
    return iq.Demos.from_arrays(
        as_arrays([episode for each in kinds for episode in each])
    )


together = play(ENV, run.policy, KINDS)
print(together)

# %% [markdown]
# ## Recovered against true reward
#
# The recovered reward has no unit, so compare it by correlation: 1 is perfect agreement
# up to scale and offset, 0 is none. *By step* asks whether single steps are judged as
# the true reward judges them, *by episode* whether the sums are.
#
# A correlation alone can mislead. Put two cheap alternatives beside it:
#
# - the *length* of the episode. Where failures end early, length alone predicts the
#   return;
# - minus the distance to the *nearest expert state*: a reward without any learning.


# %%
def nearest(transitions):
    """Minus the distance from s' to the nearest state of a demonstration."""
    return -KDTree(demos.obs).query(transitions.next_obs)[0]


def correlations(judged, rewards):
    """Print each reward's correlation with the true one; – where a side is constant."""
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
# Read the rows against each other, not alone. Where a cheap alternative does as well,
# the recovered reward has told little more than where the expert was. The length says
# nothing here, because every episode of this task has 100 steps.
#
# ## Where length says it all
#
# CartPole is the opposite: it pays 1 for every step, and an episode ends when the pole
# falls. Train there on one demonstration, and make the same table.

# %%
poles = iq.Demos.builtin("CartPole-v1").take(1).subsample(20)
balance = iq.learn(iq.recommended(poles), poles, steps=4_000, evaluations=1)

# %%
tried = play("CartPole-v1", balance.policy, KINDS)
correlations(tried, {"recovered": balance.reward(tried), "length": np.ones(len(tried))})

# %% [markdown]
# The length *is* the return in CartPole. No reward can beat counting steps, so a
# correlation by episode says little about a reward there, and by step nothing can be
# said: the true reward is the same everywhere.
#
# In a terminal, `iqlearn reward runs/maze --rollouts expert,random,noisy` prints such
# figures for a saved run, with the length as `pearson_length`. It continues an episode
# that ended early up to the time limit, so its figures by episode are others where
# episodes end early.
#
# ## A reward to train on
#
# Back to the maze. A learner that began as a clone of the expert has hardly seen bad
# behaviour, so its reward is a guess there, and a new agent begins with bad behaviour.
# `refit` fits a new reward between two sides: high where the expert was, low where
# others were, rising smoothly from one to the other. Others are random and disturbed
# episodes, not those that we judge on. With `kind="state"` it reads the position only.

# %%
others = play(ENV, run.policy, ["random", "noisy"], seed=1)
refitted = run.reward.refit(demos, others, kind="state", updates=5_000)
refitted.save("maze-reward.safetensors")  # iq.DistilledReward.load reads it
learnt = {"recovered": run.reward(together), "refitted": refitted(together)}
correlations(together, {**learnt, **cheap})

# %% [markdown]
# ## A map
#
# The state of this task is two numbers, so a reward can be drawn. From each place the
# learnt policy takes one step; the colour is what that step is paid. The colours of
# each panel have their own scale, because the rewards have no unit.

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
# `iq.RewardWrapper` pays the learnt reward in place of the environment's own, which
# stays in `info["true_reward"]`. Any library that takes Gymnasium environments can
# train in it, Stable-Baselines3 for instance. Here it is the package's own soft
# actor-critic (SAC). The agent never sees a demonstration or the true reward.


# %%
def paid():
    """The maze with the refitted reward."""
    return iq.RewardWrapper(gym.make(ENV), refitted)


agent = iq.train_expert(paid, iq.SAC(), steps=8_000, evaluations=4, eval_episodes=10)

# %% [markdown]
# Its line of progress shows the *refitted* return. What counts is the true one, of new
# episodes:

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
(episodes,) = rollouts(ENV, agent.policy, ["expert"], episodes=10, seed=2).values()
for episode in episodes:
    panel.plot(*np.append(episode.obs, episode.next_obs[-1:], axis=0).T, linewidth=1)
maze(panel, "The agent on the refitted reward")
plt.show()

# %% [markdown]
# This is one seed and a short training. [The recovered reward](../reward.md) says when
# a reward is the true one, and takes it to a maze with other dynamics;
# [results](../results.md) has more seeds and tasks.
