"""Sign, factor and constant of a loss are conventions in every audit of a loss, with a gradient or without."""

import functools

import numpy as np
import pytest

from rlhf_lab import audit
from rlhf_lab.audit.zoo import grpo, pairs, policies, returns, tokens

LOSSES = {
    pairs.dpo_loss: ("dpo_loss", ("a loss for each comparison",)),
    pairs.ipo_loss: ("ipo_loss", ("a loss for each comparison",)),
    pairs.reward_model_loss: ("reward_model_loss", ("a loss for each comparison",)),
    tokens.sft_loss: ("sft_loss", ("the mean over all tokens",)),
    policies.ppo_loss: ("ppo_loss", ("the mean over all tokens",)),
    grpo.grpo_loss: (
        "grpo_loss",
        (
            "KL by k3: its gradient is on average that of KL(pi_ref || pi) of each next token",
            "the mean over the tokens of each answer, and over answers",
        ),
    ),
    returns.value_loss: ("value_loss", ("the mean over all tokens",)),
    returns.clipped_value_loss: ("value_loss", ("the mean over all tokens",)),
}
CHANGES = {
    (1.0, 0.0): (),
    (3.0, 0.0): ("3 times the loss: a matter of the step size",),
    (0.25, 0.0): ("0.25 times the loss: a matter of the step size",),
    (-1.0, 0.0): ("minus the loss: a number to be maximised",),
    (1.0, 2.0): ("a constant is added, 2: it has no gradient",),
}


NO_GRADIENT = "not written for automatic differentiation: only its numbers are judged"


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
@pytest.mark.parametrize(("factor", "shift"), CHANGES)
@pytest.mark.parametrize("gradient", [True, False])
def test_sign_factor_and_constant_are_told_and_no_alarm(loss, factor, shift, gradient):
    @functools.wraps(loss)
    def other(*args, **given):
        value = factor * loss(*args, **given) + shift
        return value if gradient else np.asarray(value, dtype=float)  # which autograd cannot follow

    kind, usual = LOSSES[loss]
    report = audit.AUDITS[kind](other)
    assert (report.ok, report.verdict, report.told, report.smallest) == (True, "right", "", "")
    assert set(report.conventions) == {*usual, *CHANGES[factor, shift], *([] if gradient else [NO_GRADIENT])}
    assert set(report.identities.values()) == {"holds"}
