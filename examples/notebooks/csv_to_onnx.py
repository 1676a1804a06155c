# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {name: python3, display_name: Python 3, language: python}
# ---

# %% [markdown]
# # From a CSV of recordings to a policy on ONNX
#
# *Open this page's file, `examples/notebooks/csv_to_onnx.py`, as a notebook: `pip
# install -e '.[onnx,tables]' jupyterlab jupytext`, then right-click it in JupyterLab
# and choose Open With → Notebook.*
#
# You have a log of an operator who controls a machine, and no simulator. The log is a
# CSV file with named columns. This notebook learns a policy from it and exports the
# policy, so that it runs without iqlearn: in onnxruntime, and with NumPy alone. A
# *policy* is the function from what the machine measures (the *observation*) to what it
# should do next (the *action*).
#
# The machine here is a crane: a trolley on a rail with a load on a 1.5 m rope. The
# operator brings the trolley to a mark at 0 m without letting the load swing.

# %%
import subprocess
import sys
import warnings

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime

import iqlearn as iq
from iqlearn import portable

# %matplotlib inline

# %% [markdown]
# ## The recordings
#
# In your case the CSV file exists. Here a few lines simulate the crane and the
# operator, so that the notebook needs no other file. The operator's commands have noise
# with a standard deviation of 0.05 m/s².

# %%
STEP, STEPS = 0.1, 100  # seconds, steps of a trial
ROPE, GRAVITY, NOISE = 1.5, 9.81, 0.05  # m, m/s², m/s²
STATE = ["x", "v", "angle", "rate"]  # m, m/s, rad, rad/s
LOG = "crane.csv"


def crane(state, accel):
    """Return the state 0.1 s later; the trolley accelerates by `accel` m/s²."""
    x, v, angle, rate = state
    rate = rate - STEP * (GRAVITY * np.sin(angle) + accel * np.cos(angle)) / ROPE
    v = v + STEP * accel
    return np.array([x + STEP * v, v, angle + STEP * rate, rate])


def operator(state):
    """Return the command in m/s², between −1 and 1."""
    return np.clip(state @ [-0.5, -1.2, 1.2, 0.6], -1.0, 1.0)


def drive(control, start):
    """Run a trial. Return the states before each step, and the commands."""
    state, states, commands = start, [], []
    for _ in range(STEPS):
        states.append(state)
        commands.append(float(np.squeeze(control(state))))
        state = crane(state, commands[-1])
    return np.array(states), np.array(commands)


# %%
rng = np.random.default_rng(0)


def noisy_operator(state):
    """Return the command with noise."""
    return np.clip(operator(state) + rng.normal(scale=NOISE), -1.0, 1.0)


with open(LOG, "w", encoding="utf-8") as log:
    print("trial,time,x,v,angle,rate,accel,battery", file=log)
    for trial in range(12):
        start = rng.uniform([-4, -0.5, -0.2, 0], [4, 0.5, 0.2, 0])
        states, commands = drive(noisy_operator, start)
        for i in range(STEPS):
            numbers = i * STEP, *states[i], commands[i], 48 - 0.001 * i
            print(trial, *(f"{number:.4f}" for number in numbers), sep=",", file=log)

# %% [markdown]
# ## Read and check the recordings
#
# `columns` names the columns of the observation (`obs`) and of the action (`act`), and
# the column with the number of the trial (`ep`, for episode). Other columns, such as
# the battery's voltage, are not read.

# %%
columns = {"obs": STATE, "act": "accel", "ep": "trial"}
demos = iq.Demos.load(LOG, columns=columns)
print(demos)

# %% [markdown]
# This CSV file lacks some information that learning needs, so iqlearn makes
# assumptions. `remarks()` lists these assumptions. It also lists probable mistakes in
# the data, such as a coordinate that never changes or commands that were recorded a
# step late.

# %%
for remark in demos.remarks():
    print("-", remark)

# %% [markdown]
# Both assumptions are right here: a trial ends because ten seconds are over, and
# nothing was measured after the last command. Training would repeat them as warnings.
# You know them now, so silence the warnings.

# %%
warnings.filterwarnings("ignore", message=LOG)

# %% [markdown]
# Look at some trials before you learn from them.

# %%
figure, panels = plt.subplots(3, 1, figsize=(7, 5.5), sharex=True, layout="constrained")
for trial in range(4):
    rows = demos.ep == trial
    seconds = np.arange(rows.sum()) * STEP
    panels[0].plot(seconds, demos.obs[rows, 0], label=f"trial {trial}")
    panels[1].plot(seconds, np.rad2deg(demos.obs[rows, 2]))
    panels[2].plot(seconds, demos.actions[rows, 0])
names = "trolley (m)", "rope (degrees)", "command (m/s²)"
for panel, name in zip(panels, names, strict=True):
    panel.set_ylabel(name)
    panel.grid(alpha=0.3)
panels[0].set_title("Four recorded trials")
panels[0].legend(fontsize="small", ncols=4)
panels[-1].set_xlabel("time (s)")
plt.show()

# %% [markdown]
# ## Train offline
#
# *Offline* means from the recordings alone: the policy does not act while it learns. It
# learns from nine trials. Three trials are held out for a later test.
#
# The method is inverse soft-Q learning (IQ-Learn). It learns a Q-function, which gives
# the policy and a reward. [The next notebook](expert_reward.ipynb) is about the reward.
# `iq.recommended` chooses settings for the recordings and prints the reasons.

# %%
learnt = demos.take(9, seed=0)
settings = iq.recommended(learnt)
run = iq.learn(settings, learnt, steps=1_000, evaluations=1)

# %% [markdown]
# The baseline is *behavioural cloning*, which is regression from observations to
# actions. Compare every other method with it.

# %%
cloned = iq.learn(iq.BCContinuous(), learnt, steps=3_000, evaluations=1)

# %% [markdown]
# ## Evaluate the policies without a simulator
#
# How well do the policies predict the commands of the held-out trials? The action error
# is the root mean squared error in the unit of the commands (m/s²). The relative error
# is the action error divided by the standard deviation of the commands: a policy that
# always gives the mean command has 1. The last row is the simulated operator without
# noise: no policy can be expected to have a smaller error. With real recordings this
# row is unknown.

# %%
held_out = run.held_out(demos)
command = held_out.actions[:, 0]
runs = {"recommended": run, "behavioural cloning": cloned}
print(f"{'':<24}{'action error':>14}{'relative error':>16}")
for name, one in runs.items():
    of = one.imitation(held_out)
    print(f"{name:<24}{of['action_error']:>9.3f} m/s²{of['relative_error']:>16.2f}")
least = np.sqrt(np.mean((operator(held_out.obs) - command) ** 2))
print(f"{'operator without noise':<24}{least:>9.3f} m/s²{least / command.std():>16.2f}")

# %%
rows = held_out.ep == held_out.ep[0]
seconds = np.arange(rows.sum()) * STEP
figure, panel = plt.subplots(figsize=(7, 3), layout="constrained")
panel.plot(seconds, command[rows], color="0.6", label="operator")
for name, one in runs.items():
    panel.plot(seconds, one.policy(held_out.obs[rows])[:, 0], linewidth=1, label=name)
panel.set(
    title="Commands of a held-out trial", xlabel="time (s)", ylabel="command (m/s²)"
)
panel.grid(alpha=0.3)
panel.legend(fontsize="small")
plt.show()

# %% [markdown]
# ## Export the policy
#
# Save the run to a folder. Then export the policy twice: to ONNX, and to an `.npz` file
# for NumPy alone. In a terminal, type `iqlearn export …`; in this notebook, a helper
# function runs the command. The command compares each exported file with the run, on
# random observations and on the recordings. It prints the largest difference as
# `largest error`.

# %%
run.save("runs/crane", overwrite=True)


def iqlearn(arguments):
    """Run an iqlearn command and print its output."""
    command = [sys.executable, "-m", "iqlearn", *arguments.split()]
    print(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


iqlearn("export runs/crane --format onnx --out crane.onnx --overwrite")

# %%
iqlearn("export runs/crane --format npz --out crane.npz --overwrite")

# %% [markdown]
# ## Run it without iqlearn
#
# An ONNX file runs in onnxruntime, on many kinds of hardware. The file includes the
# scaling and the action limits: it takes observations as they are measured and returns
# commands in m/s².

# %%
session = onnxruntime.InferenceSession("crane.onnx", providers=["CPUExecutionProvider"])
(from_onnx,) = session.run(["action"], {"obs": held_out.obs})

# %% [markdown]
# The `.npz` file needs only NumPy and `portable.py`, a single file of this package that
# you copy to the machine.

# %%
policy = portable.Policy("crane.npz")
from_numpy, _ = policy.predict(held_out.obs)

# %% [markdown]
# The run and both exported policies give the same commands up to rounding. The
# differences are in m/s².

# %%
ours = run.policy(held_out.obs)
for name, theirs in (("onnxruntime", from_onnx), ("NumPy", from_numpy)):
    print(f"{name:<12}largest difference {np.abs(theirs - ours).max():.0e}")
    np.testing.assert_allclose(theirs, ours, atol=1e-4)

# %% [markdown]
# ## The first trial on the machine
#
# A low held-out error does not prove that the policy controls the machine. An error of
# the policy leads to states that are not in the recordings, where its next errors may
# be larger. On a real machine, begin at low speed and with an emergency stop at hand.
# Here the crane is simulated, so the exported policy can be compared with the operator
# from three new starts.

# %%
figure, panels = plt.subplots(2, 1, figsize=(7, 4.5), sharex=True, layout="constrained")
seconds = np.arange(STEPS) * STEP
starts = np.array([[-3.5, 0, 0.1, 0], [2, 0.4, -0.1, 0], [3.5, -0.3, 0, 0]])
for colour, start in zip(("C0", "C1", "C2"), starts, strict=True):
    for control, style in ((operator, "--"), (policy, "-")):
        states, _ = drive(control, start)
        panels[0].plot(seconds, states[:, 0], style, color=colour)
        panels[1].plot(seconds, np.rad2deg(states[:, 2]), style, color=colour)
panels[0].set(title="Three new starts: operator dashed, policy solid")
panels[0].set_ylabel("trolley (m)")
panels[1].set(ylabel="rope (degrees)", xlabel="time (s)")
for panel in panels:
    panel.grid(alpha=0.3)
plt.show()

# %% [markdown]
# Next: [other formats and what they need](../demonstrations.md), [export a
# policy](../export.md), [how to choose](../choosing.md).
