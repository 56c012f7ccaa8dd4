"""Losses of reward models as people write them: right ones pass, with their convention; wrong ones are named."""

import numpy as np
import pytest
from audited import broken, bugs, check_named, check_right
from scipy.special import expit, log_expit

from rlhf_lab import audit
from rlhf_lab.audit import rewards


@pytest.mark.parametrize("bug", bugs("reward_model_loss"), ids=lambda bug: bug.name)
def test_every_bug_of_the_zoo_is_named(bug):
    check_named(bug)


def test_every_identity_can_break():
    assert broken("reward_model_loss") == {identity.name for identity in rewards.REWARD_MODEL.identities}


def optional_margin(chosen_rewards, rejected_rewards, margin=None):
    return -log_expit(chosen_rewards - rejected_rewards - (0 if margin is None else margin)).mean()


@pytest.mark.parametrize(
    ("function", "conventions"),
    [
        (optional_margin, ["the mean over the batch"]),
        (lambda r_w, r_l: np.log(1 + np.exp(r_l - r_w)).mean(), ["the mean over the batch"]),
        (lambda rewards_j, rewards_k: -np.log(expit(rewards_j - rewards_k)), ["a loss for each comparison"]),
        (lambda a, b: -(a - np.logaddexp(a, b)).mean(), ["the mean over the batch"]),
        (lambda reject, accepted: np.logaddexp(0, reject - accepted).sum(), ["the sum over the batch"]),
        (lambda winners, losers: -np.log(expit(winners - losers) + 1e-8).mean(), ["the mean over the batch"]),
        (lambda chosen, rejected: -np.log(np.exp(chosen) / (np.exp(chosen) + np.exp(rejected))), []),
        (lambda chosen, rejected: {"accuracy": 1.0, "loss": -log_expit(chosen - rejected).mean()}, []),
        (lambda chosen, rejected: -log_expit(chosen - rejected - 0.5).mean(), ["a margin of 0.5 is asked for"]),
        (lambda chosen, rejected: -log_expit((chosen - rejected) / 2).mean(), [
            "rewards are multiplied by 0.5, which only changes their unit"
        ]),
        (lambda chosen, rejected: -log_expit(2 * (chosen - rejected) - 1).mean(), [
            "rewards are multiplied by 2, which only changes their unit; a margin of 1 is asked for"
        ]),
        (lambda chosen, rejected: -0.9 * log_expit(chosen - rejected) - 0.1 * log_expit(rejected - chosen), [
            "label smoothing of 0.1"
        ]),
        (lambda chosen, rejected: -1.4 * log_expit(chosen - rejected) - 0.6 * log_expit(rejected - chosen), [
            "label smoothing of 0.3", "2 times the loss: a matter of the step size"
        ]),
        (lambda chosen, rejected: np.mean(-log_expit(chosen - rejected) + 0.01 * (chosen + rejected) ** 2), [
            "0.01 times the squared sum of the rewards keeps them centred"
        ]),
        (lambda chosen, rejected: np.mean(-log_expit(chosen - rejected) + 0.001 * (chosen**2 + rejected**2)), [
            "0.001 times the squared rewards keeps them small"
        ]),
    ],
)  # fmt: skip
def test_right_losses_pass_with_their_convention(function, conventions):
    check_right("reward_model_loss", function, *conventions)


def test_a_bug_that_nobody_knows_is_told_by_what_breaks():
    report = audit.reward_model_loss(lambda chosen, rejected: -log_expit(chosen - 1.7 * rejected).mean())
    assert report.verdict == "wrong"
    assert report.identities["a constant in all rewards cancels"].startswith("BROKEN")
    assert report.identities["a batch is made of its comparisons"] == "holds"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda chosen, rejected: np.maximum(0, rejected - chosen) ** 2,
        lambda chosen, rejected: np.maximum(0, rejected - chosen) ** 2 - 1,
        lambda chosen, rejected: -0.4 * log_expit(chosen - rejected) - 0.6 * log_expit(rejected - chosen),
    ],
)
def test_what_costs_nothing_at_a_tie_or_trusts_the_wrong_label_has_no_margin_and_no_smoothing(wrong):
    report = audit.reward_model_loss(wrong)
    assert (report.ok, report.verdict) == (False, "wrong")
    assert not any("margin" in told or "smoothing" in told for told in report.conventions)


def test_a_margin_and_a_unit_are_the_only_conventions_of_a_loss_that_has_these():
    report = audit.reward_model_loss(lambda r_w, r_l: np.logaddexp(0, 1 - 2 * (r_w - r_l)))
    assert set(report.conventions) == {
        "rewards are multiplied by 2, which only changes their unit; a margin of 1 is asked for",
        "a loss for each comparison",
        "not written for automatic differentiation: only its numbers are judged",
    }


def test_a_loss_that_is_not_finite_is_told():
    report = audit.reward_model_loss(lambda chosen, rejected: np.log(chosen) - rejected)
    assert (report.ok, report.verdict) == (False, "not finite")
    assert report.told == "It returns NaN or infinity for inputs that have a finite answer."


@pytest.mark.parametrize("far", [3.0, 5.0, 7.0])
def test_a_difference_that_is_cut_off_has_a_name(far):
    def cut(chosen, rejected):
        return np.logaddexp(0, -np.clip(chosen - rejected, -far, far)).mean()

    report = audit.reward_model_loss(cut)
    assert (report.ok, report.verdict) == (False, "difference clipped")
    told = f"it gives {np.logaddexp(0, far):.4f}; it should be 45."
    state = report.identities["far differences still count"]
    assert state == f"BROKEN: with chosen_rewards = [-45.], rejected_rewards = [0.] {told}"
