"""The reward of a run."""

import numpy as np
import pytest

import iqlearn as iq


@pytest.mark.parametrize(("ended", "pays"), [(False, -1.0), (True, None)])
def test_run_reward_penalises_termination_only_if_no_expert_episode_terminated(ended: bool, pays: float | None) -> None:
    rng, last = np.random.default_rng(1), np.arange(20) == 19
    obs = rng.normal(size=(21, 3)).astype(np.float32)
    arrays = {
        "obs": obs[:-1],
        "act": rng.uniform(-1, 1, size=(20, 2)).astype(np.float32),
        "next_obs": obs[1:],
        "term": last & ended,
        "trunc": last & (not ended),
        "ep": np.zeros(20, int),
    }
    small = iq.Network((4,))
    settings = iq.IQLearnContinuous(batch_size=4, critic=small, actor=small, absorbing=True)
    run = iq.learn(settings, iq.Demos.from_arrays(arrays), steps=1, evaluations=1, quiet=True)
    assert (run.reward.ends.pays, run.reward.ends.absorb, run.reward.limit) == (pays, True, 1.0)
    assert np.isfinite(run.reward(iq.Demos.from_arrays(arrays))).all()
