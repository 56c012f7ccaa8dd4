"""Comparisons carry what the reference says of them, and come from where they are said to come from."""

from functools import partial

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from rlhf_lab.feedback import pairs
from rlhf_lab.models import gibbs, lm
from rlhf_lab.models.tabular import Tabular

MODEL = Tabular(3, 2, ((0,), (1,)), eos=2)
REFERENCE = {"logits": np.random.default_rng(0).normal(size=(2, MODEL.states, 3))}
PROMPT = np.array([[0], [1], [0]])
FIRST, SECOND = np.array([[0, 2], [1, 1], [2, 2]]), np.array([[1, 2], [0, 0], [0, 1]])
ANSWERS = lm.enumerate_responses(3, 2, 2)
LOG_PI_0 = lm.answer_log_probs(MODEL, REFERENCE, np.array([[0], [1]]), 2)
REWARD = np.random.default_rng(1).normal(size=(2, len(ANSWERS)))
BETA = 0.7


def reward(prompt, response):
    return REWARD[prompt[..., 0], lm.answer_index(response, 3, 2)]


compare = partial(pairs.compare, MODEL, REFERENCE)


def test_a_comparison_knows_what_the_reference_says():
    batch = compare(PROMPT, FIRST, SECOND)
    for response, known in ((FIRST, batch.reference_chosen), (SECOND, batch.reference_rejected)):
        assert known.tolist() == lm.log_prob(MODEL, REFERENCE, PROMPT, response).tolist()
    assert (batch.label.tolist(), batch.weight.tolist()) == ([1.0] * 3, [1.0] * 3)
    assert [column.tolist() for column in batch[:3]] == [PROMPT.tolist(), FIRST.tolist(), SECOND.tolist()]


def test_labels_and_weights_may_differ_from_seed_to_seed():
    label = np.array([[1, 0.5, 0], [0, 0.25, 1]])
    batch = compare(PROMPT, FIRST, SECOND, label, np.array([0.0, 2.0, 1.0]))
    assert batch.label.tolist() == label.tolist()
    assert batch.weight.tolist() == [[0, 2, 1]] * 2


def test_batches_are_joined_in_their_order():
    parts = [slice(0, 1), slice(1, 3)]
    for label in (np.array([1, 0.5, 0]), np.array([[1, 0.5, 0], [0, 0.25, 1]])):
        seeds = label.shape[:-1]
        first = np.broadcast_to(FIRST, (*seeds, *FIRST.shape))
        whole = compare(PROMPT, first, SECOND, label, np.arange(1, 4))
        pieces = [compare(PROMPT[k], first[..., k, :], SECOND[k], label[..., k], np.arange(1, 4)[k]) for k in parts]
        for joined, column in zip(pairs.join(pieces), whole, strict=True):
            assert joined.tolist() == column.tolist()


def test_what_cannot_be_compared_is_told():
    told = "row 1 compares a response with itself, and so do 1 more: such pairs tell nothing; leave them out$"
    with pytest.raises(ValueError, match=told):
        compare(PROMPT, FIRST, np.array([[1, 2], [1, 1], [2, 2]]))
    with pytest.raises(ValueError, match="row 2 compares a response with itself, and so do 0 more"):
        compare(PROMPT, np.stack([FIRST, FIRST]), np.stack([SECOND, np.array([[1, 2], [0, 0], [2, 2]])]))
    with pytest.raises(ValueError, match="chosen has 2 tokens, rejected 1: pad them to one length"):
        compare(PROMPT, FIRST, SECOND[:, :1])
    with pytest.raises(ValueError, match="chosen has 2 tokens, rejected 1: pad them to one length"):
        compare(PROMPT, FIRST[None], SECOND[None, :, :1])
    with pytest.raises(ValueError, match="3 prompts, but 2 responses"):
        compare(PROMPT, FIRST[:2], SECOND)
    with pytest.raises(ValueError, match="3 prompts, but 2 responses"):
        compare(PROMPT, FIRST, SECOND[:2])
    with pytest.raises(ValueError, match="chosen: token 3 is outside the vocabulary"):
        compare(PROMPT, FIRST + 1, SECOND)
    with pytest.raises(ValueError, match="rejected: token 3 is outside the vocabulary"):
        compare(PROMPT, FIRST, SECOND + 2)
    with pytest.raises(ValueError, match="prompt: token 5 is outside the vocabulary"):
        compare(PROMPT + 5, FIRST, SECOND)
    with pytest.raises(ValueError, match=r"label must lie in \[0, 1\]; got 2"):
        compare(PROMPT, FIRST, SECOND, 2.0)
    with pytest.raises(ValueError, match=r"^there are no comparisons; at least one is needed$"):
        compare(PROMPT[:0], FIRST[:0], SECOND[:0])
    for name, wrong, shape in (("label", np.ones(2), r"\(2,\)"), ("weight", np.ones((2, 1)), r"\(2, 1\)")):
        told = rf"^{name} is one number, or one for each of 3 comparisons; got shape {shape}$"
        with pytest.raises(ValueError, match=told):
            compare(PROMPT, FIRST, SECOND, **{name: wrong})
    with pytest.raises(ValueError, match=r"label is one number, or one for each of 1 comparisons; got shape \(3,\)"):
        compare(PROMPT[:1], FIRST[:1], SECOND[:1], np.ones(3))
    for weight in (np.array([1, -1, 1]), np.array([1, np.inf, 1]), np.zeros(3), np.array([[1, 1, 1], [0, 0, 0]])):
        told = "^weight is how often a comparison counts: finite, not negative, and not 0 everywhere$"
        with pytest.raises(ValueError, match=told):
            compare(PROMPT, FIRST, SECOND, weight=weight)
    broken = {"logits": REFERENCE["logits"] * np.nan}
    with pytest.raises(ValueError, match="reference: log-probabilities are at most 0; got nan"):
        pairs.compare(MODEL, broken, PROMPT, FIRST, SECOND)
    half = {"logits": REFERENCE["logits"] + [[[0.0], [0.0], [np.nan]], [[0.0]] * 3]}  # NaN behind the word 1 only
    for first, second in (FIRST[:1], SECOND[:1]), (SECOND[:1], FIRST[:1]):
        with pytest.raises(ValueError, match="reference: log-probabilities are at most 0; got nan"):
            pairs.compare(MODEL, half, PROMPT[:1], first, second)


def test_what_follows_the_end_of_an_answer_makes_no_difference():
    with pytest.raises(ValueError, match="row 1 compares a response with itself, and so do 0 more"):
        compare(PROMPT[:2], [[0, 1], [2, 0]], [[0, 0], [2, 1]])
    unended = Tabular(3, 2, ((0,), (1,)))
    reference = {"logits": np.zeros((2, unended.states, 3))}
    assert pairs.compare(unended, reference, PROMPT[:1], [[2, 0]], [[2, 1]]).chosen.tolist() == [[2, 0]]


def test_online_asks_about_two_different_answers_of_the_current_policy_and_believes_what_it_hears():
    asked = []

    def annotator(prompt, first, second):
        asked.append((prompt, first, second))
        return expit(reward(prompt, first) - reward(prompt, second))

    current = {"logits": np.random.default_rng(2).normal(size=(2, MODEL.states, 3))}
    prompt = np.repeat([[0], [1]], 20_000, axis=0)
    collect = pairs.online(MODEL, REFERENCE, prompt, 2, annotator)
    [batch] = collect(current, np.random.default_rng(3))
    assert [x.tolist() for x in asked[0]] == [batch.prompt.tolist(), batch.chosen.tolist(), batch.rejected.tolist()]
    assert (batch.chosen != batch.rejected).any(-1).all()
    assert batch.reference_chosen.tolist() == lm.log_prob(MODEL, REFERENCE, prompt, batch.chosen).tolist()
    assert set(np.unique(batch.label)) == {0.0, 1.0}
    p = annotator(prompt, batch.chosen, batch.rejected)
    error = np.sqrt((p * (1 - p)).sum())
    assert abs(batch.label.sum() - p.sum()) < 4 * error
    pi = np.exp(lm.answer_log_probs(MODEL, current, np.array([[0], [1]]), 2))
    chance = pi * (1 - pi) / (pi * (1 - pi)).sum(-1, keepdims=True)  # of being the first of two that differ
    for k in range(2):
        rows = prompt[:, 0] == k
        drawn = [lm.answer_index(y[rows], 3, 2) for y in (batch.chosen, batch.rejected)]
        for index in drawn:
            count = np.bincount(index, minlength=len(ANSWERS))
            assert stats.chisquare(count, chance[k] * rows.sum()).pvalue > 1e-3


def test_each_seed_is_asked_about_its_own_answers():
    current = {"logits": np.array([[[[9.0, 9.0, -9.0]] * 3] * 2, [[[1.0, 0.0, 4.0]] * 3] * 2])}
    collect = pairs.online(MODEL, REFERENCE, np.zeros((50, 1), int), 2, lambda x, y, z: np.full(y.shape[:-1], 0.5))
    [batch] = collect(current, np.random.default_rng(4))
    assert batch.chosen.shape == (2, 50, 2)
    assert batch.label.shape == batch.reference_chosen.shape == (2, 50)
    ended = (batch.chosen == 2).any(-1).mean(-1)
    assert ended[0] < 0.1
    assert ended[1] > 0.9


def test_a_policy_with_one_answer_has_nothing_to_compare():
    certain = {"logits": np.array([[[0.0, -1e4, -1e4]] * 3] * 2)}
    with pytest.raises(ValueError, match="the same answer twice, 1000 times in a row: it has nothing to compare"):
        pairs.online(MODEL, REFERENCE, PROMPT, 1, reward)(certain, np.random.default_rng(0))


@pytest.mark.equation("eq-acceptance")
def test_what_is_accepted_is_distributed_as_the_gibbs_policy():
    kept = np.exp(LOG_PI_0) * pairs.acceptance(REWARD, REWARD.max(-1, keepdims=True), BETA)
    star = np.exp(gibbs.log_policy(LOG_PI_0, REWARD, BETA))
    assert kept / kept.sum(-1, keepdims=True) == pytest.approx(star, rel=1e-12)
    assert pairs.acceptance(np.array([1.0, 0.0]), 1.0, 0.5) == pytest.approx([1.0, np.exp(-2)])


@pytest.mark.equation("eq-acceptance-rate")
def test_the_acceptance_rate_is_what_the_optimum_is_worth_below_the_ceiling():
    ceiling = REWARD.max(-1) + np.array([0.0, 0.3])
    found = pairs.acceptance_rate(LOG_PI_0, REWARD, ceiling, BETA)
    value = BETA * gibbs.log_normaliser(LOG_PI_0, REWARD, BETA)
    assert found == pytest.approx(np.exp((value - ceiling) / BETA), rel=1e-12)
    assert pairs.acceptance_rate(LOG_PI_0[0], REWARD[0], ceiling[0], BETA) == pytest.approx(found[0])


@pytest.mark.equation("eq-acceptance", "eq-acceptance-rate")
def test_accepted_samples_pass_a_chi_square_test_against_the_gibbs_policy_and_fail_one_against_the_reference():
    prompt = np.repeat([[0], [1]], 20_000, axis=0)
    ceiling = np.repeat(REWARD.max(-1), 20_000)
    drawn = pairs.rejection_sample(MODEL, REFERENCE, prompt, 2, reward, ceiling, BETA, np.random.default_rng(5))
    star = np.exp(gibbs.log_policy(LOG_PI_0, REWARD, BETA))
    for k in range(2):
        count = np.bincount(lm.answer_index(drawn[prompt[:, 0] == k], 3, 2), minlength=len(ANSWERS))
        assert count.sum() == 20_000
        assert stats.chisquare(count, 20_000 * star[k]).pvalue > 1e-3
        assert stats.chisquare(count, 20_000 * np.exp(LOG_PI_0[k])).pvalue < 1e-9


def test_a_higher_ceiling_costs_draws_and_changes_nothing_else():
    prompt = np.zeros((20_000, 1), int)
    calls = []

    def counted(x, y):
        calls.append(len(x))
        return reward(x, y)

    ceiling = REWARD[0].max() + 1.0
    drawn = pairs.rejection_sample(MODEL, REFERENCE, prompt, 2, counted, ceiling, BETA, np.random.default_rng(6))
    count = np.bincount(lm.answer_index(drawn, 3, 2), minlength=len(ANSWERS))
    star = np.exp(gibbs.log_policy(LOG_PI_0, REWARD, BETA))
    assert stats.chisquare(count, 20_000 * star[0]).pvalue > 1e-3
    rate = pairs.acceptance_rate(LOG_PI_0[0], REWARD[0], ceiling, BETA)
    draws = sum(calls)
    assert abs(20_000 - draws * rate) < 4 * np.sqrt(draws * rate * (1 - rate))


def test_rejection_sampling_says_what_is_wrong():
    draw = partial(
        pairs.rejection_sample, MODEL, REFERENCE, np.array([[0], [1]]), 1, reward, rng=np.random.default_rng(7)
    )
    with pytest.raises(
        ValueError, match=r"a reward lies above the ceiling, .* raise the ceiling to the largest reward"
    ):
        draw(ceiling=REWARD.min(), beta=BETA)
    with pytest.raises(
        ValueError,
        match=r"2 prompt\(s\) got no answer in 1,000 draws: raise beta, or lower the ceiling to the largest reward$",
    ):
        draw(ceiling=1e3, beta=BETA)
    with pytest.raises(ValueError, match="beta must be finite and above 0; got 0"):
        draw(ceiling=10.0, beta=0)
    with pytest.raises(ValueError, match="the horizon is the greatest number of tokens"):
        pairs.rejection_sample(MODEL, REFERENCE, PROMPT, 0, reward, 10.0, BETA, np.random.default_rng(8))
    assert pairs.acceptance(np.array([1.0]), 1.0, BETA) == pytest.approx([1.0])


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_rewards_and_ceilings_are_finite(wrong):
    with pytest.raises(ValueError, match=r"^reward must be finite; 1 of 2 is NaN or infinite$"):
        pairs.acceptance(np.array([0.0, wrong]), 1.0, BETA)
    with pytest.raises(ValueError, match=r"^ceiling must be finite; 1 of 1 is NaN or infinite$"):
        pairs.acceptance(np.array([0.0, 0.0]), wrong, BETA)
