"""What the learning tests share: the median of three seeds, because one seed alone may fail by chance."""

import numpy as np
import pytest

import iqlearn as iq


@pytest.fixture
def median_return():
    def median(settings, demos: iq.Demos, env: str | None = None, steps: int | None = None) -> float:
        """Median of the normalised returns of the last policies of seeds 0 to 2."""
        runs = iq.learn(settings, demos, env=env, steps=steps, evaluations=1, seeds=range(3), quiet=True)
        return float(np.median([run.result["normalised_return"] for run in runs]))

    return median
