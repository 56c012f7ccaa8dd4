"""What is said of the curves of bugs that were not trained follows from their formulas."""

import re
from math import exp, log

import numpy as np
import pytest
from zoo_inputs import INPUTS, N, V

from rlhf_lab.audit.zoo import ZOO, charges, grpo, kl, pairs, returns, tokens
from rlhf_lab.audit.zoo.seen import SEEN

BUGS = {bug.name: bug for bug in ZOO}
UNTRAINED = {name: seen for name, seen in SEEN.items() if seen.startswith("not trained; ")}
FIRST_LOSS = re.compile(r"loss begins at ([^,;]+?)(?=[,;]|$)")
STARTS = {name: found[1] for name, seen in UNTRAINED.items() if (found := FIRST_LOSS.search(seen))}
FIRST_MARGIN = [name for name, seen in UNTRAINED.items() if "the first margin is not 0" in seen]


def given(right):
    return INPUTS[right](np.random.default_rng(0))


def called(name, *args):
    return BUGS[name].function(*args)


A, B, C, D = -np.random.default_rng(0).gamma(2.0, 2.0, size=(4, N))  # log-probabilities of policy and reference
BETA = 0.3


@pytest.mark.parametrize("weight", [0.3, 2.0])
@pytest.mark.parametrize(("name", "told"), STARTS.items(), ids=STARTS)
def test_the_first_loss_is_that_of_equal_answers(name, told, weight):
    formula = re.sub(r"(\d|beta) (?=log|beta|tau)", r"\1 * ", told.replace("^", "**"))
    formula = re.sub(r"\(4 \* (beta|tau)", r"(4 * \1", formula).replace("log 2", "log(2)")
    wanted = eval(formula, {"log": log, "beta": weight, "tau": weight})
    alike = (0 * A, 0 * A) if BUGS[name].audit == "reward_model_loss" else (A, B, A, B, weight)
    assert called(name, *alike) == pytest.approx(wanted, abs=1e-3)


def test_first_losses_of_all_losses_of_comparisons_are_told():
    assert {BUGS[name].audit for name in STARTS} == {"dpo_loss", "ipo_loss", "reward_model_loss"}
    assert len(STARTS) > 20


@pytest.mark.parametrize("name", FIRST_MARGIN)
def test_the_first_margin_is_not_0(name):
    first, right = (function(A, B, A, B, BETA) for function in (BUGS[name].function, BUGS[name].right))
    assert (np.abs(first - right) > 1e-3).all()
    assert "below log 2" not in SEEN[name] or (first < log(2)).all()


FOUR = (A, B, C, D, BETA)
CHARGES, GAE, CLIPPED, GRPO, GROUPS = map(
    given, (charges.token_rewards, returns.gae, returns.clipped_value_loss, grpo.grpo_loss, returns.grpo)
)
SAME = {
    "half of beta": (pairs.dpo_loss(A, B, C, D, BETA / 2), FOUR),
    "2 beta": (pairs.dpo_loss(A, B, C, D, 2 * BETA), FOUR),
    "beta outside the sigmoid": (BETA * pairs.dpo_loss(A, B, C, D, 1.0), FOUR),
    "sum inside the loss": (pairs.mean_inside(A, B, C, D, N * BETA), FOUR),
    "averaged twice in DPO": (pairs.dpo_loss(*FOUR) / N, FOUR),
    "tau times the margin pulled to 1": (BETA**2 * pairs.target_doubled(*FOUR), FOUR),
    "charge without beta": (charges.token_rewards(*CHARGES[:-1], 1.0), CHARGES),
    "score times beta": (CHARGES[-1] * charges.token_rewards(*CHARGES[:-1], 1.0), CHARGES),
    "k3 without its 1": (grpo.grpo_loss(*GRPO) + GRPO[-1], GRPO),
    "half missing": (2 * kl.k2(A, B), (A, B)),
    "1 missing in k3": (kl.k3(A, B) + 1, (A, B)),
    "lambda missing": (returns.gae(*GAE[:-1], 1.0), GAE),
    "trace missing": (returns.gae(*GAE[:-1], 0.0), GAE),
    "value clipped around the returns": (returns.value_loss(CLIPPED[0], *CLIPPED[2:4]), CLIPPED),
    "leave-one-out turned round": (-returns.rloo(*GROUPS), GROUPS),
    "group advantage turned round": (-returns.grpo(*GROUPS), GROUPS),
} | {
    name: (returns.gae(*GAE[:3], 1.0, GAE[-1]), (*GAE[:3], 1.0, GAE[-1]))
    for name, seen in UNTRAINED.items()
    if seen.endswith("nothing where gamma is 1")
}


@pytest.mark.parametrize(("name", "wanted", "args"), [(name, *case) for name, case in SAME.items()], ids=SAME)
def test_what_is_called_like_another_function_is_that_function(name, wanted, args):
    np.testing.assert_allclose(called(name, *args), wanted, rtol=1e-12, atol=1e-12)


def test_k2_without_its_half_pulls_twice_as_much():
    *others, mask, clip, beta = GRPO
    at = [called("k2 without its half", *others, mask, clip, weight) for weight in (0.0, beta)]
    l2 = (others[0] - others[2]) ** 2 / 2
    np.testing.assert_allclose(at[1] - at[0], 2 * beta * np.mean(np.sum(l2 * mask, axis=1) / np.sum(mask, axis=1)))


FAR = np.linspace(-30, 30, 61)
MARGINS = (FAR, 0 * FAR, 0 * FAR, 0 * FAR, 1.0)
TEXTS = LOGITS, TEXT, MARKS = given(tokens.log_probs)
LOUD = (30 * LOGITS, TEXT, MARKS)
LEAST = log(V - 1 + exp(1)) - 1
RANGES = {
    "sigmoid twice in DPO": (0.3132, np.inf, MARGINS),
    "size of the margin": (0, log(2), MARGINS),
    "probabilities in place of logs": (log(1 + exp(-2)), log(1 + exp(2)), (A, B, C, D, 1.0)),
    "margin of probabilities": (0.3132, np.inf, (FAR, -FAR)),
    "distance in place of difference": (0, log(2), (FAR, 0 * FAR)),
    "probabilities, not logs": (0, 1, TEXTS),
    "minus the log-probabilities": (0, np.inf, TEXTS),
    "logarithm missing in SFT": (-1, 0, TEXTS),
    "weighted by the probability in SFT": (0, exp(-1), TEXTS),
    "softmax twice in SFT": (LEAST, np.inf, LOUD),
    "perplexity": (1, np.inf, LOUD),
    "scaled to the range": (0, 1, given(returns.whiten)),
}


@pytest.mark.parametrize(("name", "low", "high", "args"), [(name, *case) for name, case in RANGES.items()], ids=RANGES)
def test_numbers_stay_in_the_range_that_is_told(name, low, high, args):
    found = called(name, *args)
    assert np.all(low <= found)
    assert np.all(found <= high + 1e-12)


def test_numbers_that_are_told_are_reached():
    """By a policy that is sure of every token that stands in the text."""
    sure = 1e3 * np.eye(V)[np.concatenate([TEXT[:, 1:], TEXT[:, :1]], axis=1)], TEXT, MARKS
    np.testing.assert_allclose(called("softmax twice", *sure)[MARKS[:, 1:] > 0], -LEAST)
    assert called("softmax twice in SFT", *sure) == pytest.approx(LEAST)
    assert called("perplexity", *sure) == pytest.approx(1)
    assert called("softmax missing in SFT", *sure) == pytest.approx(-1e3)
    np.testing.assert_allclose(called("perplexity", *TEXTS), np.exp(tokens.sft_loss(*TEXTS)))
    assert called("sigmoid missing", *MARGINS).min() == -30
    assert called("sigmoid of the comparison missing", FAR, 0 * FAR).min() == -30
    with np.errstate(invalid="ignore"):
        assert np.isnan(called("ratio of rewards", np.zeros(1), np.zeros(1))).all()


def test_log_probabilities_and_divergences_are_too_low_or_too_high():
    right = tokens.log_probs(*TEXTS).sum(1)
    assert (called("mask left out", *TEXTS).sum(1) < right).all()
    assert (called("first token lost", *TEXTS).sum(1) > right).all()
    assert called("negative log-ratios left out", A, B).mean() > kl.k1(A, B).mean()
    np.testing.assert_allclose(called("temperature outside", *TEXTS, 0.7), tokens.log_probs(*TEXTS) / 0.7)
    np.testing.assert_array_equal(
        called("softmax over positions in SFT", *TEXTS),
        -called("softmax over positions", *TEXTS).sum() / MARKS.sum(),
    )


def test_whitened_advantages_have_neither_the_mean_nor_the_deviation_that_they_should():
    advantage, mask = given(returns.whiten)
    told = {name: seen for name, seen in UNTRAINED.items() if seen.startswith("not trained; advantages of the batch")}
    assert len(told) == 5
    for name, seen in told.items():
        kept = called(name, 3 * advantage + 1, mask)[mask > 0]
        assert abs(kept.mean() if seen.endswith("mean 0") else kept.std() - 1) > 0.1, name


def test_what_is_told_of_averages_sums_and_clips():
    assert called("softmax over the pairs", np.ones(7), A[:7]).mean() == pytest.approx(log(7))
    chances, reference = np.array([0.2, 0.3, 0.5]), np.array([0.4, 0.5, 0.1])
    kl_of = called("exponential less 1", np.log(chances), np.log(reference))
    assert chances @ kl_of == pytest.approx(0)
    assert kl_of.min() < 0 < kl_of.max()
    spread, right = called("score spread over the tokens", *CHARGES), charges.token_rewards(*CHARGES)
    np.testing.assert_allclose(spread.sum(-1), right.sum(-1))
    old, far, target, one = np.zeros((1, 1)), np.full((1, 1), 3.0), np.full((1, 1), 5.0), np.ones((1, 1))
    for name, free, held in (("above", -1, 1), ("below", 1, -1)):
        name = f"value clipped from {name} only"
        assert called(name, free * far, old, free * target, one, 0.2) == 2  # (5 - 3)^2 / 2, no clip
        assert called(name, held * far, old, held * target, one, 0.2) == pytest.approx(4.8**2 / 2)
    u, none = np.full((1, 1), log(3)), np.zeros((1, 1))
    assert called("clipped on one side, from below", u, none, one, one, 0.2) == pytest.approx(-3)
    assert called("clipped on one side, from below", -u, none, -one, one, 0.2) == pytest.approx(0.8)


def test_values_that_go_to_minus_the_returns_explain_less_than_nothing():
    target = np.random.default_rng(0).normal(size=(N, 4))
    assert called("return added", -target, target, np.ones((N, 4))) == 0
    assert (target - -target).var() > target.var()
