"""Margins that are clipped: told where pairs of some nats are lost, a caution where none comes as far."""

import numpy as np
import pytest
from scipy.special import expit, log_expit

from rlhf_lab import audit


def margin(policy_chosen, policy_rejected, reference_chosen, reference_rejected):
    return policy_chosen - reference_chosen - policy_rejected + reference_rejected


def dpo(change):
    def loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
        h = margin(policy_chosen, policy_rejected, reference_chosen, reference_rejected)
        return np.logaddexp(0, -change(h, beta)).mean()

    return loss


@pytest.mark.parametrize("far", [1.0, 5.0, 10.0, 30.0])
def test_a_clipped_margin_of_dpo_has_a_name_and_is_shown_at_45_nats(far):
    for change in (lambda h, beta: beta * np.clip(h, -far, far), lambda h, beta: np.clip(beta * h, -far / 2, far / 2)):
        found = audit.dpo_loss(dpo(change))
        assert (found.ok, found.verdict) == (False, "margin clipped")
        shown = found.identities["far margins still count"]
        beta = 0.5
        assert "policy_chosen = [-45.]" in shown
        assert f"it should be {round(float(np.logaddexp(0, beta * 45)), 4):g}" in shown


def test_a_clip_on_each_log_ratio_has_the_same_name():
    def loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
        ratios = [
            np.clip(policy - reference, -1, 1)
            for policy, reference in ((policy_chosen, reference_chosen), (policy_rejected, reference_rejected))
        ]
        return np.logaddexp(0, -beta * (ratios[0] - ratios[1]))

    assert audit.dpo_loss(loss).verdict == "margin clipped"


@pytest.mark.parametrize("far", [46.0, 500.0])
def test_a_clip_that_nothing_comes_as_far_as_is_a_caution(far):
    found = audit.dpo_loss(dpo(lambda h, beta: beta * np.clip(h, -far, far)))
    assert found.ok
    assert found.identities["far margins still count"] == "holds"
    assert found.identities["finite at far margins"].startswith("CAUTION")


@pytest.mark.parametrize("far", [2.0, 20.0])
def test_a_clipped_margin_of_ipo_has_a_name(far):
    def loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, tau):
        h = margin(policy_chosen, policy_rejected, reference_chosen, reference_rejected)
        return ((np.clip(h, -far, far) - 0.5 / tau) ** 2).mean()

    assert audit.ipo_loss(loss).verdict == "margin clipped in IPO"


@pytest.mark.parametrize(
    "loss",
    [
        lambda chosen, rejected: -log_expit(2 * expit(chosen - rejected)).mean(),
        lambda chosen, rejected: (1 - expit(chosen - rejected) ** 2).mean(),
        lambda chosen, rejected: np.mean(0 * chosen) + 0.3,
    ],
)
def test_what_ends_because_it_is_bounded_is_not_clipped(loss):
    found = audit.reward_model_loss(loss)
    assert not found.ok
    assert found.verdict != "difference clipped"
    assert found.identities["far differences still count"] == "holds"
