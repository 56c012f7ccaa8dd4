"""Losses of DPO and IPO as people write them: right ones pass, with their convention; wrong ones are named."""

import functools
import math
import re

import autograd.numpy as anp
import numpy as np
import pytest
from audited import broken, bugs, check_named, check_right
from scipy.special import expit, log_expit

from rlhf_lab import audit
from rlhf_lab.audit import functions, names, pair_inputs, pairs
from rlhf_lab.audit.zoo import pairs as zoo


@pytest.mark.parametrize("bug", [*bugs("dpo_loss"), *bugs("ipo_loss")], ids=lambda bug: bug.name)
def test_every_bug_of_the_zoo_is_named(bug):
    check_named(bug)


def overflowing(pc, pr, rc, rr, beta):
    return np.log(1 + np.exp(-beta * (pc - pr - rc + rr)))


@pytest.mark.parametrize("kind", ["dpo_loss", "ipo_loss"])
def test_every_identity_can_break(kind):
    contract = {"dpo_loss": pairs.DPO, "ipo_loss": pairs.IPO}[kind]
    assert broken(kind) == {identity.name for identity in contract.identities}


def trl(
    policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps, beta=0.1, label_smoothing=0.0
):
    logits = policy_chosen_logps - policy_rejected_logps - (ref_chosen_logps - ref_rejected_logps)
    losses = -log_expit(beta * logits) * (1 - label_smoothing) - log_expit(-beta * logits) * label_smoothing
    return losses, beta * (policy_chosen_logps - ref_chosen_logps), beta * (policy_rejected_logps - ref_rejected_logps)


def softmax_of_rewards(logp_w, logp_l, logp_ref_w, logp_ref_l, beta):
    rewards = beta * np.stack([logp_w - logp_ref_w, logp_l - logp_ref_l])
    return -np.mean(rewards[0] - np.log(np.sum(np.exp(rewards), axis=0)))


def in_another_order(pi_w, ref_w, pi_l, ref_l):
    return np.sum(np.logaddexp(0, -0.25 * (pi_w - ref_w - pi_l + ref_l)))


def scalars(chosen_logps, rejected_logps, reference_chosen_logps, reference_rejected_logps, beta):
    total = 0.0
    for a, b, c, d in zip(chosen_logps, rejected_logps, reference_chosen_logps, reference_rejected_logps, strict=True):
        total += math.log(1 + math.exp(-beta * ((a - c) - (b - d))))
    return total / len(chosen_logps)


def keywords(*, policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps, beta=0.1):
    margin = policy_chosen_logps - policy_rejected_logps - reference_chosen_logps + reference_rejected_logps
    return {"margin": margin.mean(), "loss": np.logaddexp(0, -beta * margin).mean()}


def single_precision(pi_w, pi_l, ref_w, ref_l, beta):
    a, b, c, d = (x.astype(np.float32) for x in (pi_w, pi_l, ref_w, ref_l))
    return float(np.mean(np.log1p(np.exp(-np.float32(beta) * (a - b - c + d)))))


def as_in_the_paper(pi_logps, ref_logps, yw_idxs, yl_idxs, beta):
    pi, ref = pi_logps[yw_idxs] - pi_logps[yl_idxs], ref_logps[yw_idxs] - ref_logps[yl_idxs]
    return -log_expit(beta * (pi - ref)), beta * (pi_logps - ref_logps)


class Loss:
    def __init__(self, beta):
        self.beta = beta

    def __call__(self, policy_chosen, policy_rejected, ref_chosen, ref_rejected):
        return zoo.dpo_loss(policy_chosen, policy_rejected, ref_chosen, ref_rejected, self.beta)


def with_margin(loss):
    return lambda pi_w, pi_l, ref_w, ref_l, beta: loss(pi_w - pi_l - ref_w + ref_l, beta)


@pytest.mark.parametrize(
    ("function", "conventions"),
    [
        (trl, ["returns 3 results, of which the first is read", "a loss for each comparison"]),
        (functools.partial(trl, beta=0.2), ["a loss for each comparison"]),
        (functools.partial(trl, label_smoothing=0.1), ["label smoothing of 0.1"]),
        (softmax_of_rewards, ["the mean over the batch"]),
        (in_another_order, ["no parameter beta: 0.25, worked out from its slope, is fixed inside it"]),
        (scalars, ["the mean over the batch"]),
        (keywords, ["returns a dictionary, of which 'loss' is read"]),
        (single_precision, ["equal to four digits: a small number in a denominator, or single precision inside"]),
        (as_in_the_paper, ["takes all answers in one array, and their places"]),
        (Loss(0.07), ["no parameter beta: 0.07, worked out from its slope, is fixed inside it"]),
        (overflowing, ["a loss for each comparison"]),
        (lambda *given: zoo.dpo_loss(*given), ["a loss for each comparison"]),
        (lambda h, beta: anp.logaddexp(0, -beta * h), ["takes the margin h"]),
        (
            lambda pi_logratios, ref_logratios, beta: -log_expit(beta * (pi_logratios - ref_logratios)),
            ["takes the log-ratio of the answers under policy and reference"],
        ),
        (
            lambda chosen_logratios, rejected_logratios: -log_expit(0.1 * (chosen_logratios - rejected_logratios)),
            ["takes the log-ratio of each answer between policy and reference"],
        ),
        (with_margin(lambda h, beta: log_expit(beta * h).mean()), ["minus the loss: a number to be maximised"]),
        (with_margin(lambda h, beta: -np.log(expit(beta * h)) / beta), ["divided by beta: a matter of the step size"]),
        (
            with_margin(lambda h, beta: (-0.9 * log_expit(beta * h) + 0.1 * log_expit(-beta * h)) / 0.8),
            ["robust to labels of which 0.1 are flipped"],
        ),
    ],
)
def test_right_losses_of_dpo_pass_with_their_convention(function, conventions):
    check_right("dpo_loss", function, *conventions)


def test_an_sft_term_and_label_smoothing_are_worked_out_together():
    def both(pi_w, pi_l, ref_w, ref_l, beta):
        h = beta * (pi_w - pi_l - ref_w + ref_l)
        return 2 * (-0.8 * log_expit(h) - 0.2 * log_expit(-h) - 0.5 * pi_w)

    sft = "0.5 times minus the log-probability of the chosen answer is added, an SFT term"
    check_right("dpo_loss", both, f"label smoothing of 0.2; {sft}", "2 times the loss: a matter of the step size")
    check_right("dpo_loss", lambda pc, pr, rc, rr, b: zoo.dpo_loss(pc, pr, rc, rr, b) - 0.5 * pc, sft)


def test_label_smoothing_is_reversed_whatever_its_size():
    def wrong(pi_w, pi_l, ref_w, ref_l, beta):
        h = beta * (pi_w - pi_l - ref_w + ref_l)
        return -0.2 * log_expit(h) - 0.8 * log_expit(-h)

    assert audit.dpo_loss(wrong).verdict == "smoothing reversed"


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        (lambda a, b, c, d: -log_expit(0.1 * (b - a - d + c)).mean(), "chosen and rejected swapped"),
        (lambda a, b, c, d: 1 - expit(0.1 * (a - b - c + d)).mean(), "logarithm missing"),
        (lambda a, b, c, d: -log_expit(0.1 * (a - b)).mean(), "reference missing"),
        (lambda a, b, c, d: np.maximum(0, 1 - 0.1 * (a - b - c + d)), "hinge in place of logistic"),
    ],
)
def test_bugs_are_named_where_beta_is_fixed_inside(loss, name):
    report = audit.dpo_loss(loss)
    assert report.verdict == name
    assert any(text.startswith("no parameter beta: 0.1") for text in report.conventions)


@pytest.mark.parametrize(
    ("function", "conventions"),
    [
        (lambda pi_w, pi_l, ref_w, ref_l, beta=0.1: (pi_w - pi_l - ref_w + ref_l - 1 / (2 * beta)) ** 2, []),
        (lambda a, b, c, d, tau: np.mean(((a - b) - (c - d) - 0.5 / tau) ** 2), ["the mean over the batch"]),
        (lambda pi_w, pi_l, ref_w, ref_l: ((pi_w - pi_l - ref_w + ref_l - 5) ** 2, 0), [
            "no parameter tau: 0.1, worked out from its value at margin 0, is fixed inside it"
        ]),
        (with_margin(lambda h, tau: (tau * h - 0.5) ** 2), ["times tau squared: a matter of the step size"]),
        (with_margin(lambda h, tau: 0.5 * np.sum((h - 0.5 / tau) ** 2)), [
            "0.5 times the loss: a matter of the step size"
        ]),
        (with_margin(lambda h, tau: np.mean(h**2 - h / tau)), [
            "without its constant, 1 / (4 tau^2), which has no gradient"
        ]),
        (lambda h, beta: (h - 1 / (2 * beta)) ** 2, ["takes the margin h"]),
        (lambda pi_logratios, ref_logratios, tau: np.square(pi_logratios - ref_logratios - 0.5 / tau), [
            "takes the log-ratio of the answers under policy and reference"
        ]),
    ],
)  # fmt: skip
def test_right_losses_of_ipo_pass_with_their_convention(function, conventions):
    check_right("ipo_loss", function, *conventions)


def test_what_overflows_or_raises_far_away_is_a_caution():
    for function in (overflowing, scalars):
        report = audit.dpo_loss(function)
        assert report.ok
        assert report.identities["finite at far margins"].startswith("CAUTION: ")
    assert "It raises OverflowError: math range error" in report.identities["finite at far margins"]


def test_a_told_weight_is_used_in_place_of_a_guess():
    assert not audit.dpo_loss(in_another_order, beta=0.1)
    assert audit.ipo_loss(lambda a, b, c, d: (a - b - c + d - 5) ** 2, tau=0.1)
    assert audit.ipo_loss(lambda a, b, c, d: (a - b - c + d - 5) ** 2, tau=0.2).verdict == "target twice as far"


def test_the_loss_of_one_column_against_one_row_is_told_by_its_shape():
    report = audit.dpo_loss(lambda a, b, c, d, e: zoo.dpo_loss(a[:, None], b, c[:, None], d, e))
    assert report.verdict == "not audited"
    assert "it returns shape (7, 7); it should be () or (7,)" in report.told


def test_cases_are_small_first_and_vary_in_size_and_weight():
    for contract, weight in ((pairs.DPO, "beta"), (pairs.IPO, "tau")):
        sizes = [np.size(case["policy_chosen"]) for case in contract.cases]
        assert sizes == sorted(sizes)
        assert len({case[weight] for case in contract.cases}) > 4
        assert all(functions.told(case) for case in contract.cases)


def test_words_for_a_policy_are_none_for_a_reference():
    policy, reference = (pair_inputs._name(names.CHOSEN, *who) for who in ((), (names.REFERENCE,)))
    assert re.fullmatch(policy, "actor_chosen_logps")
    assert not re.fullmatch(reference, "actor_ref_chosen_logps")
    assert re.fullmatch(reference, "ref_chosen_logps")
