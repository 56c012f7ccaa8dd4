"""Verdicts on the coin with the network of table 1 change with the stored numbers that they rest on."""

import copy

import numpy as np
import pytest

from rlhf_lab import experiments
from rlhf_lab.experiments.ilhf import coin_claims, verdicts

STORED = experiments.stored("ilhf didactic")
NOISE = np.linspace(-0.001, 0.001, 20)
VOTES = "with a prompt of ten tokens and two hidden units ILHF learns the votes"
EXCESS = "there REINFORCE over-concentrates on -1, with a KL penalty or without"
ANSWERS, TEXTS = "pretrained on the answers", "pretrained on whole texts"


def rows(numbers):
    return coin_claims.of_table_1({"didactic": numbers}.__getitem__)


def verdict_on(claim, numbers):
    (row,) = (row for row in rows(numbers) if row.claim == claim)
    return row.verdict


@pytest.mark.parametrize(
    ("claim", "verdict", "loss", "agent", "last"),
    [
        (VOTES, f"only under reading: {ANSWERS}", "texts", "ilhf", 0.35),
        (VOTES, f"only under reading: {TEXTS}", "answers", "ilhf", 0.32),
        (EXCESS, "not reproduced", "answers", "reinforce 100", 0.24),
        (EXCESS, "not reproduced", "answers", "reinforce 0", 0.34),
    ],
)
def test_a_verdict_on_table_1_names_the_pretraining_that_it_needs(claim, verdict, loss, agent, last):
    numbers = copy.deepcopy(STORED)
    numbers[loss][agent][:, -1] = last + NOISE
    assert verdict_on(claim, STORED) != verdict
    assert verdict_on(claim, numbers) == verdict


def test_from_above_a_third_reinforce_must_end_below_it():
    numbers = copy.deepcopy(STORED)
    for beta in (1, 10, 100):
        numbers["texts"][f"reinforce {beta}"][:, -1] = 0.32 + NOISE
    assert verdict_on(EXCESS, numbers) == "reproduced"
    numbers["texts"]["reinforce 10"][:, -1] = 0.34 + NOISE
    assert verdict_on(EXCESS, numbers) == f"only under reading: {ANSWERS}"


def test_the_row_on_table_1_says_how_far_ilhf_was_after_a_third_of_the_episodes():
    (row,) = (row for row in rows(STORED) if row.claim == VOTES)
    curve = STORED["texts"]["ilhf"]
    assert f"{verdicts.brief(curve[:, 1500 // 75])} after 1,500 episodes" in row.why
    several = [verdicts.brief(STORED[loss]["ensemble 10"][:, -1]) for loss in ("answers", "texts")]
    assert row.why.endswith(f"stay near their start: {several[0]} and {several[1]}")
