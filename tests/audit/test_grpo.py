"""What is fixed inside a loss of GRPO, or left out of it, is worked out and told."""

import numpy as np
import pytest

from rlhf_lab import audit
from rlhf_lab.audit.zoo import grpo, kl

ESTIMATES = {
    "k3": lambda d, u: np.exp(-d) - 1 + d,
    "k2": lambda d, u: d**2 / 2,
    "k3 times the ratio": lambda d, u: (np.exp(-d) - 1 + d) * u,
    "k1 times the ratio": lambda d, u: d * u,
}


def loss_of(kl, log_pi, log_old, log_ref, advantage, mask, clip_range, beta):
    ratio, advantage = np.exp(log_pi - log_old), advantage[:, None]
    each = -np.minimum(ratio * advantage, np.clip(ratio, 1 - clip_range, 1 + clip_range) * advantage)
    return np.mean(((each + beta * kl(log_pi - log_ref, ratio)) * mask).sum(-1) / mask.sum(-1))


@pytest.mark.parametrize("name", ESTIMATES)
@pytest.mark.parametrize("weight", [0.04, 0.3])
def test_a_kl_weight_inside_is_worked_out_from_every_estimate(name, weight):
    report = audit.grpo_loss(lambda log_pi, log_old, log_ref, advantages, mask, epsilon: loss_of(
        ESTIMATES[name], log_pi, log_old, log_ref, advantages, mask, epsilon, weight))  # fmt: skip
    assert report.ok, str(report)
    told = f"no parameter for the KL weight: {weight:.4g}, worked out from its values, is fixed inside it"
    assert told in report.conventions
    assert any(text.startswith(f"KL by {name}: ") for text in report.conventions)


def test_what_is_left_out_is_told():
    def fresh(log_pi, log_ref, advantages, mask, beta):
        return grpo.grpo_loss(log_pi, log_pi, log_ref, advantages, mask, 0.2, beta)

    def free(log_pi, log_old, advantages, mask, epsilon):
        return grpo.grpo_loss(log_pi, log_old, log_pi, advantages, mask, epsilon, 0.0)

    told = "takes no old log-probabilities: right for one step on fresh answers, where they are those of now"
    assert told in audit.grpo_loss(fresh).conventions
    report = audit.grpo_loss(free)
    assert report.ok
    assert set(report.conventions) == {
        "takes no reference: no KL term in this loss",
        "the mean over the tokens of each answer, and over answers",
    }


def test_another_aggregation_than_was_asked_for_is_told_in_words():
    report = audit.grpo_loss(grpo.grpo_loss, aggregation="token")
    assert (report.ok, report.verdict) == (False, "another aggregation")
    assert report.told == "It is right, but aggregates otherwise: you asked for the mean over all tokens."


@pytest.mark.parametrize("estimate", [kl.k1, kl.k2], ids=["k1", "k2"])
def test_a_divergence_of_stored_log_probabilities_by_other_estimates(estimate):
    def loss(log_pi, log_old, log_ref, advantage, mask, clip_range, beta):
        plain = grpo.grpo_loss(log_pi, log_old, log_ref, advantage, mask, clip_range, 0.0)
        return plain + beta * np.mean(np.sum(estimate(log_old, log_ref) * mask, axis=1) / np.sum(mask, axis=1))

    assert audit.grpo_loss(loss).verdict == "KL of the old log-probabilities"
