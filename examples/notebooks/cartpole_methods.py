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
# Four methods learn from the same demonstration: the paper's method as the paper has
# it, the settings that worked best here, and two peers. Each is trained with several
# seeds. One seed says little: seeds of one method can differ more than methods.

# %%
import matplotlib.pyplot as plt

import iqlearn as iq
from iqlearn.evaluation.statistics import mean_interval

# %matplotlib inline

# %% [markdown]
# ## One demonstration, every 20th step
#
# In CartPole a cart balances a pole. Every step pays 1, and an episode ends when the
# pole falls or after 500 steps, so 500 is the best return. An observation is position,
# velocity, angle and angular velocity; the action is a push to the left or right.
#
# All methods learn from one expert episode of which every 20th step is kept, as is
# usual in tests of imitation: a task that is too easy tells no methods apart.

# %%
ENV, SEEDS = "CartPole-v1", range(5)
demos = iq.Demos.builtin(ENV).take(1).subsample(20)
print(demos)

# %% [markdown]
# ## The methods
#
# | name here | settings | what it is |
# | --- | --- | --- |
# | paper | `iq.IQLearn()` | IQ-Learn as the paper has it: one Q-function gives policy and reward |
# | recommended | `iq.recommended(demos, ENV)` | the same with the settings that worked best in this project |
# | cloning | `iq.BC()` | behavioural cloning: classification of the expert's actions |
# | SQIL | `iq.SQIL()` | Q-learning with reward 1 on the expert's steps and 0 on its own |
#
# The comparison is not even: SQIL has to act in the environment while it learns
# (*online*). The other three read the demonstration only (*offline*); they meet the
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
# All seeds of a method are trained side by side. The offline methods do 10,000 updates.
# SQIL does 10,000 steps in the environment with an update for each, but for the first
# 1,000, which are random. Ten times during training, ten episodes are played. The
# progress line shows the first seed. A remark tells of each seed whose last policy is
# much farther from the expert than an earlier one.

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
# A policy can be good in between and worse at the end. So each run has two policies to
# report. The *last* one is that of the last evaluation. The *returned* one is that of
# the evaluation whose states were closest to the expert's; no reward is read for that
# choice, but the evaluations have to be played, so without an environment there is only
# the last one. The returned policy plays 20 new episodes here. The last column is the
# mean over the seeds with its 95 % bootstrap interval.


# %%
def row(name, returns):
    """Print the return of each seed, and their mean."""
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
# What can be read from this, and what not:
#
# - The rows are about *this* task with *this* demonstration. `iq.recommended` printed
#   above what it added, and why: an extension that helps where a linear model predicts
#   the dynamics, as it does in CartPole. [Results](../results.md) has tasks where it
#   does not.
# - The curves of SQIL are bought with steps in the environment, those of the others are
#   not. Where you have a simulator, that may be a good price.
# - With five seeds, an interval that contains another method's mean says that they were
#   not told apart.
#
# Next: [the objective](../objective.md), [the settings of paper and recommendation side
# by side](../algorithms/iq.md), [how to choose](../choosing.md).
