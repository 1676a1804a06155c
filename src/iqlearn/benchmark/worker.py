"""A process that runs one command of iqlearn, and ends when its parent process ends.

Its standard input is a pipe from the parent. The system closes the pipe when the parent dies.
"""

import os
import runpy
import threading


def end_with_input() -> None:
    """End this process when its standard input is closed. The last checkpoint keeps the state of training."""
    while os.read(0, 1):  # not sys.stdin.read: it holds a lock that the interpreter needs at exit
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with_input, daemon=True).start()
    runpy.run_module("iqlearn", run_name="__main__", alter_sys=True)
