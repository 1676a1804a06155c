"""LS-IQ as published: its settings, the fixed target of the expert's transitions, and the preset."""

from dataclasses import asdict, replace

import jax.numpy as jnp
import numpy as np
import pytest

import iqlearn as iq
from iqlearn import InputError
from iqlearn.algorithms.objective import critic_loss
from iqlearn.objectives import SoftValues

KINDS = pytest.mark.parametrize("kind", [iq.IQLearn, iq.IQLearnContinuous])
FIXED = iq.IQLearnContinuous.ls_iq(gamma=0.9)
"""r_max is 2, so that values are at most 20."""


@KINDS
def test_ls_iq_changes_only_its_own_settings_of_iq_learn(kind):
    ours = asdict(kind.ls_iq())
    changed = {name: value for name, value in ours.items() if value != asdict(kind())[name]}
    wanted = {
        "divergence": "chi2_mixture",
        "form": "least_squares_fixed",
        "chi2_alpha": 1.0,
        "absorbing": True,
        "clip_value": True,
        "target_rate": 0.005,
    }
    if kind.discrete:
        assert changed.pop("output_scale") == pytest.approx(200.0)
    else:
        assert [changed.pop(name) for name in ("scaling", "critics", "average_rate")] == ["standard", 2, 0.005]
        assert changed.pop("critic")["layer_norm"]
    assert {**wanted, **changed} == wanted
    assert kind.ls_iq(gamma=0.5).gamma == 0.5


def test_explicit_output_scale_is_kept():
    assert iq.IQLearn.ls_iq(output_scale=3.0).output_scale == 3.0
    assert iq.IQLearn.ls_iq(gamma=0.5).output_scale == 4.0


def values():
    """Two critics, three expert and two learner transitions."""
    draw = np.random.default_rng(0).normal
    return SoftValues(*(jnp.asarray(draw(size=(2, 5)), jnp.float32) for _ in range(3)))


def test_fixed_target_loss_matches_the_hand_computed_value():
    """Expert: (Q − r_max/(1−γ))². Learner: (Q − γV(s') + r_max)². Half of each mean."""
    found = values()
    loss, figures = critic_loss(FIXED, found, 3, None, None)
    q, after = np.asarray(found.q, np.float64), np.asarray(found.discounted_next_v, np.float64)
    expert, visited = q[:, :3] - 20.0, q[:, 3:] - after[:, 3:] + 2.0
    assert float(loss) == pytest.approx(0.5 * ((expert**2).mean() + (visited**2).mean()), rel=1e-5)
    implied = (q - after)[:, :3].mean()
    assert float(figures["expert_reward"]) == pytest.approx(implied, rel=1e-4), (
        "that of the critics, whatever the target"
    )


def test_fixed_target_equals_least_squares_where_next_values_are_at_the_bound():
    found = values()
    found = found._replace(discounted_next_v=found.discounted_next_v.at[:, :3].set(0.9 * 20.0))
    fixed, bootstrapped = (critic_loss(replace(FIXED, form=form), found, 3, None, None)[0] for form in FORMS)
    assert float(fixed) == pytest.approx(float(bootstrapped), rel=1e-6)


FORMS = ("least_squares_fixed", "least_squares")


@KINDS
@pytest.mark.parametrize("form", FORMS)
def test_squared_forms_refuse_other_divergences_and_offline_runs(kind, form):
    with pytest.raises(InputError, match=f"form is '{form}'; expected inverse with divergence tv"):
        kind.ls_iq(form=form, divergence="tv")
    with pytest.raises(InputError, match=f"form is '{form}'; expected inverse offline"):
        kind.ls_iq(form=form).check(False)
