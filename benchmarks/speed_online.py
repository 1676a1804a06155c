"""Speed of learning online on this machine, into `results/speed_online.csv`. Run it on an idle machine.

    python benchmarks/speed_online.py
    python benchmarks/speed_online.py --against OTHER    # in turns with another checkout

Updates a second end to end on Hopper-v5, and the share of the machine's peak of float32 matrix products that the
updates reach (`speed_worker.py`). Every figure is a median of medians of five chunks.
"""

from pathlib import Path

import tables
import tyro
from speed import in_turns, worker


def main(
    against: Path | None = None, repeats: int = 3, chunk: int = 1_000, out: Path = tables.RESULTS / "speed_online.csv"
) -> None:
    """Measure, print and write.

    Args:
        against: another checkout.
        repeats: turns.
        chunk: environment steps of each chunk, at least 1,000.
        out: the table.
    """
    in_turns(lambda checkout: worker(checkout, "online", chunk), against, repeats, out)


if __name__ == "__main__":
    tyro.cli(main)
