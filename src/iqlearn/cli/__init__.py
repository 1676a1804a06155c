"""The command line: it builds arguments and calls `learn`, `train_expert`, `resume` and `recommended`."""

from iqlearn.cli.main import main

__all__ = ["main"]
