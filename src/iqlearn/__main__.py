"""`python -m iqlearn` is the command line."""

from iqlearn.cli import main

main()
