"""What training shows in a real Jupyter kernel, and the notebooks of the examples."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CELLS = (
    "import iqlearn as iq\ndemos = iq.Demos.builtin('iqlearn/GridWorld-v0')",
    "settings = iq.recommended(demos, network=iq.Network((4,)))",
    "run = iq.learn(settings, demos, steps=200, evaluations=20, eval_episodes=1)",
    "from iqlearn.training.callbacks import working\n"
    "with working('') as tell:\n    for i in range(101):\n        tell('fitting', i / 100)",
    "bad = iq.Demos.from_arrays({**demos.arrays(), 'act': demos.act[:, None].repeat(2, axis=1) * 1.0})\n"
    "run = iq.learn(iq.BCContinuous(), bad, mode='offline', steps=2, evaluations=1)",
)
