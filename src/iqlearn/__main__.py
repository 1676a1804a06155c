"""Run the command line: `python -m iqlearn`."""

from iqlearn.cli import main

main()
