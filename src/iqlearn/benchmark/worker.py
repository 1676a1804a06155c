"""A process that runs one command of iqlearn, and ends with the program that began it.

Its standard input is a pipe from there, which the system closes when that program dies.
"""

import os
import runpy
import threading


def end_with_input() -> None:
    """End this process when its standard input ends. What was learnt is in the last checkpoint."""
    while os.read(0, 1):  # not through sys.stdin, whose lock the interpreter needs to end
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with_input, daemon=True).start()
    runpy.run_module("iqlearn", run_name="__main__", alter_sys=True)
