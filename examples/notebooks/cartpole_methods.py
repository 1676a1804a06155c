# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {name: python3, display_name: Python 3, language: python}
# ---

# %% [markdown]
# # The paper's method and its peers on CartPole
#
# *Open this page's file, `examples/notebooks/cartpole_methods.py`, as a notebook: `pip
# install -e . jupyterlab jupytext`, then right-click it in JupyterLab and choose Open
# With → Notebook.*
#
# Four methods learn from the same demonstration: IQ-Learn with the settings of the
# paper, IQ-Learn with the settings that worked best in this project, behavioural
# cloning and SQIL. Each is trained with five seeds, because two seeds of one method can
# differ more than two methods.

# %%
import matplotlib.pyplot as plt

import iqlearn as iq
from iqlearn.evaluation.statistics import mean_interval

# %matplotlib inline

# %% [markdown]
# ## One demonstration, every 20th step
#
# In CartPole a cart balances a pole. The reward of every step is 1. An episode ends
# when the pole falls or after 500 steps, so the best return is 500. An observation is
# the cart's position and velocity and the pole's angle and angular velocity. The action
# is a push to the left or to the right.
#
# All methods learn from every 20th step of one expert episode. Benchmarks of imitation
# learning often sub-sample like this: with whole episodes the task is too easy to show
# a difference between methods.

# %%
ENV, SEEDS = "CartPole-v1", range(5)
demos = iq.Demos.builtin(ENV).take(1).subsample(20)
print(demos)

# %% [markdown]
# ## The methods
#
# | name here | settings | what it is |
# | --- | --- | --- |
# | paper | `iq.IQLearn()` | IQ-Learn with the settings of the paper: one Q-function gives policy and reward |
# | recommended | `iq.recommended(demos, ENV)` | IQ-Learn with the settings that worked best in this project |
# | cloning | `iq.BC()` | behavioural cloning: classification of the expert's actions |
# | SQIL | `iq.SQIL()` | soft Q-learning with reward 1 on the expert's steps and 0 on the learner's steps |
#
# SQIL has an advantage: it acts in the environment while it learns (*online*). The
# other three learn from the demonstration alone (*offline*); they act in the
# environment only when they are evaluated. The paper's method can learn online too,
# with `mode="online"`.

# %%
methods = {
    "paper": iq.IQLearn(),
    "recommended": iq.recommended(demos, ENV),
    "cloning": iq.BC(),
    "SQIL": iq.SQIL(),
}

# %% [markdown]
# All seeds of a method are trained in parallel. The offline methods do 10,000 updates.
# SQIL does 10,000 environment steps: the first 1,000 with random actions, then one
# update for each step. Training is interrupted ten times for an evaluation of ten
# episodes. The progress line shows the first seed. A warning names each seed whose last
# policy is much farther from the expert than an earlier one.

# %%
how = {"steps": 10_000, "evaluations": 10, "eval_episodes": 10}
runs = {
    name: iq.learn(settings, demos, env=ENV, seeds=SEEDS, **how)
    for name, settings in methods.items()
}

# %% [markdown]
# ## During training
#
# One line for each seed.

# %%
figure, panels = plt.subplots(2, 2, figsize=(7.5, 5.5), layout="constrained")
for panel, (name, of_seeds) in zip(panels.flat, runs.items(), strict=True):
    for run in of_seeds:
        steps = [row["step"] for row in run.rows]
        returns = [row["return_mean"] for row in run.rows]
        panel.plot(steps, returns, linewidth=1.2, label=f"seed {run.schedule.seed}")
    panel.axhline(demos.expert_return, color="0.5", linestyle="--", label="expert")
    unit = "steps in the environment" if name == "SQIL" else "updates"
    panel.set(title=name, xlabel=unit, ylabel="mean return", ylim=(0, 520))
    panel.grid(alpha=0.3)
lines = panels[0, 0].get_lines()
figure.legend(handles=lines, loc="outside lower center", ncols=len(lines))
plt.show()

# %% [markdown]
# ## At the end
#
# A policy can be good during training and worse at the end. So there are two policies
# to report for each run:
#
# - The *last* policy is that of the last evaluation. Its return is that of the ten
#   episodes of this evaluation.
# - The *returned* policy is that of the evaluation whose states were closest to the
#   expert's. This choice reads no reward, but it needs an environment: without one, a
#   run returns the last policy. The returned policy plays 20 new episodes here.
#
# The last column is the mean over the seeds with its 95 % bootstrap interval.


# %%
def row(name, returns):
    """Print the return of each seed, their mean and its interval."""
    mean, low, high = mean_interval(returns)
    cells = "".join(f"{value:>8.1f}" for value in returns)
    print(f"{name:<22}{cells}{mean:>9.1f}  [{low:.1f}, {high:.1f}]")


print(
    f"{'mean return of seed':<22}" + "".join(f"{s:>8}" for s in SEEDS) + f"{'mean':>9}"
)
for name, of_seeds in runs.items():
    row(f"{name}, returned", [run.evaluate(episodes=20).mean() for run in of_seeds])
    row(f"{name}, last", [run.result["last_mean_return"] for run in of_seeds])

# %% [markdown]
# How to read the table:
#
# - It holds for *this* task with *this* demonstration. `iq.recommended` printed above
#   what it added, and why: an extension that helps if a linear model predicts the
#   dynamics, as in CartPole. [Results](../results.md) lists tasks where it does not
#   help.
# - SQIL needs environment steps, the other methods do not. With a simulator, that may
#   be acceptable.
# - If the interval of a method contains the mean of another method, five seeds do not
#   show a difference between them.
#
# Next: [the objective](../objective.md), [the settings of paper and recommendation side
# by side](../algorithms/iq.md), [how to choose](../choosing.md).
