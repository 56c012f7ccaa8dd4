"""GRPO's losses of tokens: what each weight is, what each surrogate pulls at, what each mean weighs."""

from functools import partial

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, value_and_grad
from autograd.test_util import check_grads
from hypothesis import given
from hypothesis import strategies as st
from small_models import HORIZON, MODELS, PROMPTS

from rlhf_lab.methods import group_losses as losses
from rlhf_lab.models import lm
from rlhf_lab.numerics.autodiff import log_prob_of, log_softmax

STEP = np.log([[2.0, 0.5, 3.0], [0.8, 1.25, 7.0]])  # log-ratios; the last token of the second answer is padding
MASK = np.array([[1.0, 1, 1], [1, 1, 0]])
OLD = np.full((2, 3), -1.0)
A = np.array([2.0, -1.0])
WEIGHTS = {
    losses.no_correction: np.ones((2, 3)),
    losses.token_ratio: np.exp(STEP),
    losses.answer_ratio: np.array([[3.0] * 3, [1.0] * 3]),
    losses.mean_ratio: np.array([[3 ** (1 / 3)] * 3, [1.0] * 3]),
}
MEANS = [losses.sequence_mean, losses.token_mean, losses.by_constant(7)]
SURROGATES = [make(w) for w in WEIGHTS for make in (losses.weighted_tokens, losses.clipped, partial(losses.cispo, 1.0))]


def slope(surrogate, advantage=A):
    """The pull at log pi of each token that counts."""
    loss = grad(lambda log_pi: anp.sum(surrogate(log_pi, OLD, advantage, MASK) * MASK))
    return -loss(OLD + STEP * MASK) * MASK


@pytest.mark.equation("eq-no-correction", "eq-token-ratio", "eq-answer-ratio", "eq-gspo-ratio")
def test_weights_on_ratios_written_by_hand():
    for weight, expected in WEIGHTS.items():
        np.testing.assert_allclose(weight(STEP, MASK) * MASK, expected * MASK, rtol=1e-14)
    length = MASK.sum(-1, keepdims=True)
    np.testing.assert_allclose(losses.mean_ratio(STEP, MASK) ** length, losses.answer_ratio(STEP, MASK), rtol=1e-14)


@pytest.mark.equation("eq-no-correction", "eq-token-ratio", "eq-answer-ratio", "eq-mean-ratio")
def test_on_fresh_answers_every_weight_is_exactly_one_and_what_stands_behind_the_end_is_not_looked_at():
    log_pi = np.log(np.random.default_rng(1).random((2, 3)))
    for weight in WEIGHTS:
        for behind in (0.0, np.nan, np.inf):
            log_ratio = np.where(MASK == 1, log_pi - log_pi, behind)
            assert weight(log_ratio, MASK).tolist() == [[1.0] * 3] * 2


@pytest.mark.equation("eq-weighted-tokens", "eq-grpo-clip", "eq-cispo")
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**31))
def test_every_surrogate_pulls_at_every_token_as_its_formula_says(seeds, n, t, seed):
    rng = np.random.default_rng(seed)
    mask = 1.0 * (np.arange(t) < rng.integers(1, t + 1, size=(seeds, n, 1)))
    log_old, step, advantage = -rng.random((seeds, n, t)), rng.normal(size=(seeds, n, t)), rng.normal(size=(seeds, n))
    u, total, a = np.exp(step), np.exp(np.sum(step * mask, -1, keepdims=True)), advantage[..., None]
    weights = {
        losses.no_correction: 1.0,
        losses.token_ratio: u,
        losses.answer_ratio: total,
        losses.mean_ratio: total ** (1 / mask.sum(-1, keepdims=True)),
    }
    for weight, w in weights.items():
        pulls = {
            losses.weighted_tokens(weight): w * a,
            losses.clipped(weight, 0.3, 0.6): np.where(a > 0, w < 1.6, w > 0.7) * w * a,
            losses.cispo(1.3, weight): np.minimum(w, 1.3) * a,
        }
        for surrogate, pull in pulls.items():
            found = grad(lambda x, s=surrogate: -anp.sum(s(x, log_old, advantage, mask) * mask))(log_old + step)
            np.testing.assert_allclose(found, pull * mask, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("weight", [losses.token_ratio, losses.mean_ratio])
@pytest.mark.parametrize("mean", MEANS)
def test_with_ratios_and_their_mean_the_gradient_is_the_slope_of_the_value(weight, mean):
    for surrogate in (losses.weighted_tokens(weight), losses.clipped(weight, 0.4, 0.9)):
        check_grads(lambda x, s=surrogate: mean(s(x, OLD, A, MASK), MASK), modes=["rev"], order=1)(OLD + STEP * MASK)


def test_with_the_ratio_of_answers_the_slope_of_the_value_is_the_gradient_times_the_length():
    def of_answer(log_pi):  # the value as it stands, with a w that moves
        return losses.answer_ratio(log_pi - OLD, MASK) * -A[:, None]

    surrogate = losses.weighted_tokens(losses.answer_ratio)
    slope_of_value = grad(lambda x: losses.by_constant(1)(of_answer(x), MASK))(OLD + STEP * MASK)
    pull = grad(lambda x: losses.by_constant(1)(surrogate(x, OLD, A, MASK), MASK))(OLD + STEP * MASK)
    np.testing.assert_allclose(slope_of_value, pull * MASK.sum(-1, keepdims=True), rtol=1e-13)


@pytest.mark.parametrize("size", [1e4, -1e4])
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_logits_of_ten_thousand_on_fresh_answers(surrogate, size):
    logits = size * np.eye(3)[np.array([[0, 1, 2], [2, 1, 0]])]  # log pi of what is said is 0 or below -9,000
    said = np.array([[0, 1, 0], [2, 0, 0]])
    old = log_prob_of(logits, said)
    pull = grad(lambda z: losses.sequence_mean(-A[:, None] * log_prob_of(z, said), MASK))(logits)
    found = grad(lambda z: losses.sequence_mean(surrogate(log_prob_of(z, said), old, A, MASK), MASK))(logits)
    np.testing.assert_allclose(found, pull, rtol=1e-13)
    assert np.abs(found).max() > 0.1


@pytest.mark.parametrize("weight", [losses.token_ratio, losses.answer_ratio, losses.mean_ratio])
def test_ratios_that_vanish_and_a_cap_on_those_that_overflow(weight):
    def found(surrogate, step):
        return value_and_grad(lambda x: losses.token_mean(surrogate(x, OLD, A, MASK), MASK))(OLD + step)

    for surrogate in (losses.weighted_tokens(weight), losses.cispo(2.0, weight)):
        value, slope = found(surrogate, -1e4)
        assert value == 0
        assert slope.tolist() == [[0.0] * 3] * 2
    value, slope = found(losses.clipped(weight, low=0.4), -1e4)  # 2 of 5 tokens have A = -1 and keep their price
    assert value == pytest.approx(0.6 * 2 / 5)
    assert slope.tolist() == [[0.0] * 3] * 2
    with np.errstate(over="ignore"):
        _, slope = found(losses.cispo(2.0, weight), 1e4)
    np.testing.assert_allclose(slope, -2.0 * A[:, None] * MASK / 5, rtol=1e-13)


@pytest.mark.equation("eq-weighted-tokens")
def test_a_weighted_token_is_pulled_at_by_its_weight_and_advantage():
    for weight, expected in WEIGHTS.items():
        surrogate = losses.weighted_tokens(weight)
        np.testing.assert_allclose(slope(surrogate), expected * A[:, None] * MASK, rtol=1e-13)
        value = surrogate(OLD + STEP * MASK, OLD, A, MASK) * MASK
        np.testing.assert_allclose(value, -expected * A[:, None] * MASK, rtol=1e-13)


@pytest.mark.equation("eq-grpo-clip")
@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_clip_stops_a_token_in_the_direction_of_its_advantage_only(weight, sign):
    w, advantage = WEIGHTS[weight], sign * np.abs(A)
    free = (w < 1.9) if sign > 0 else (w > 0.6)
    surrogate = losses.clipped(weight, low=0.4, high=0.9)
    np.testing.assert_allclose(slope(surrogate, advantage), w * advantage[:, None] * free * MASK, rtol=1e-13)
    value = surrogate(OLD + STEP * MASK, OLD, advantage, MASK)
    expected = -np.minimum(w * advantage[:, None], np.clip(w, 0.6, 1.9) * advantage[:, None])
    np.testing.assert_allclose(value * MASK, expected * MASK, rtol=1e-13)


@pytest.mark.equation("eq-cispo")
def test_cispo_keeps_the_gradient_that_a_clip_takes_away():
    surrogate = losses.cispo(1.5)
    held = np.minimum(np.exp(STEP), 1.5)
    np.testing.assert_allclose(slope(surrogate), held * A[:, None] * MASK, rtol=1e-13)
    log_pi = OLD + STEP * MASK
    np.testing.assert_allclose(surrogate(log_pi, OLD, A, MASK) * MASK, -held * A[:, None] * log_pi * MASK, rtol=1e-13)
    assert (slope(losses.clipped(high=0.5))[0] == 0).sum() == 2, "which the clip drops"
    np.testing.assert_allclose(
        slope(losses.cispo(1.5, losses.mean_ratio)), np.minimum(WEIGHTS[losses.mean_ratio], 1.5) * A[:, None] * MASK
    )


@pytest.mark.equation("eq-truncated", "eq-dropped")
def test_bounds_on_importance_weights():
    w = np.array([0.1, 2.0, 2.0001, 50.0])
    assert losses.truncated(w, 2.0).tolist() == [0.1, 2.0, 2.0, 2.0]
    assert losses.dropped(w, 2.0).tolist() == [0.1, 2.0, 0.0, 0.0]


@pytest.mark.equation("eq-sequence-mean", "eq-token-mean", "eq-constant-mean")
def test_three_means_of_two_answers():
    each = np.array([[1.0, 2, 6], [4, 8, np.nan]])
    assert losses.sequence_mean(each, MASK) == pytest.approx((9 / 3 + 12 / 2) / 2)
    assert losses.token_mean(each, MASK) == pytest.approx(21 / 5)
    assert losses.by_constant(4)(each, MASK) == pytest.approx(21 / 4 / 2)


def test_means_with_seeds_are_those_of_each_seed():
    rng = np.random.default_rng(0)
    each, mask = rng.normal(size=(3, 4, 5)), np.arange(5) < rng.integers(1, 6, size=(3, 4, 1))
    for mean in MEANS:
        found = mean(each, mask)
        np.testing.assert_allclose(found, [mean(each[s], mask[s]) for s in range(3)], rtol=1e-13)


def test_on_fresh_answers_the_published_loss_is_zero_and_learns():
    advantage = losses.mean_advantages(np.array([1.0, 0.0]))
    surrogate = losses.clipped()

    def loss(mean):
        return lambda log_pi: mean(surrogate(log_pi, OLD, advantage, MASK), MASK)

    assert loss(losses.sequence_mean)(OLD) == 0
    assert loss(losses.token_mean)(OLD) == pytest.approx(-(0.5 * 3 - 0.5 * 2) / 5)
    assert loss(losses.by_constant(3))(OLD) == pytest.approx(-(0.5 * 3 - 0.5 * 2) / 6)
    np.testing.assert_allclose(
        grad(loss(losses.sequence_mean))(OLD), -np.array([[0.5 / 3] * 3, [-0.5 / 2, -0.5 / 2, 0]]) / 2, rtol=1e-13
    )


@pytest.mark.equation("eq-mean-advantages")
def test_advantages_less_the_mean_of_the_group():
    f = np.array([[1.0, 0, 0, 1], [3, 1, 1, 1]])
    assert losses.mean_advantages(f).tolist() == [[0.5, -0.5, -0.5, 0.5], [1.5, -0.5, -0.5, -0.5]]


@pytest.mark.equation("eq-overlong")
def test_too_long_is_charged_in_a_straight_line():
    assert losses.overlong_penalty(np.arange(11), 10, 4).tolist() == [0.0] * 7 + [-0.25, -0.5, -0.75, -1.0]
    assert losses.overlong_penalty(np.array([12]), 10, 4).tolist() == [-1.0]
    assert losses.overlong_penalty(np.array([5]), 10, 10).tolist() == [-0.5]


@pytest.mark.equation("eq-k3-ratio")
def test_with_the_ratio_k3_has_the_gradient_of_the_other_direction():
    rng = np.random.default_rng(3)
    logits, log_ref = rng.normal(size=5), log_softmax(rng.normal(size=5))
    old = np.exp(log_softmax(logits))

    def mean(price):
        def loss(z):
            log_pi = log_softmax(z)
            return anp.sum(old * price(log_pi - log_ref, anp.exp(log_pi - np.log(old))))

        return grad(loss)(logits)

    reverse = grad(lambda z: lm.kl(log_softmax(z), log_ref))(logits)
    forward = grad(lambda z: lm.kl(log_ref, log_softmax(z)))(logits)
    np.testing.assert_allclose(mean(losses.k3_with_ratio), reverse, atol=1e-14)
    np.testing.assert_allclose(mean(lambda step, u: anp.expm1(-step) + step), forward, atol=1e-14)
    assert losses.k3_with_ratio(np.log(2.0), 3.0) == pytest.approx(3 * (0.5 - 1 + np.log(2)))


def test_importance_weights_of_answers_give_the_gradient_wherever_the_policy_is():
    model, old = MODELS["tabular"]
    now = {"logits": old["logits"] + np.random.default_rng(4).normal(size=old["logits"].shape)}
    answers = lm.enumerate_responses(4, HORIZON, 3)
    prompt, mask = np.repeat(PROMPTS[:1], len(answers), axis=0), lm.response_mask(answers, 3)
    reward = np.random.default_rng(5).normal(size=len(answers))
    log_old = lm.token_log_prob(model, old, prompt, answers)
    share = np.exp(log_old.sum(-1)) * len(answers)

    def mean(weight):
        def loss(params):
            log_pi = lm.token_log_prob(model, params, prompt, answers)
            return losses.by_constant(1)(losses.weighted_tokens(weight)(log_pi, log_old, share * reward, mask), mask)

        return grad(loss)(now)["logits"]

    exact = grad(lambda params: -anp.sum(anp.exp(lm.log_prob(model, params, prompt, answers)) * reward))(now)["logits"]
    np.testing.assert_allclose(mean(losses.answer_ratio), exact, atol=1e-12)
    assert np.abs(mean(losses.token_ratio) - exact).max() > 0.01


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**31), st.sampled_from(MEANS), st.sampled_from(SURROGATES))
def test_padding_never_counts(n, t, seed, mean, surrogate):
    rng = np.random.default_rng(seed)
    mask = 1.0 * (np.arange(t + 1) < rng.integers(1, t + 1, size=(n, 1)))
    log_old, step, advantage = -rng.random((n, t + 1)), rng.normal(size=(n, t + 1)), rng.normal(size=n)

    def found(log_pi, old):
        return value_and_grad(lambda x: mean(surrogate(x, old, advantage, mask), mask))(log_pi)

    clean, expected = found(log_old + step, log_old)
    for bad, worse in ((np.nan, -np.inf), (-np.inf, np.nan), (np.inf, 0.0)):
        with np.errstate(invalid="ignore"):
            value, slope = found(np.where(mask == 1, log_old + step, bad), np.where(mask == 1, log_old, worse))
        assert value == pytest.approx(clean, rel=1e-12, abs=1e-12)
        np.testing.assert_allclose(slope[mask == 1], expected[mask == 1], rtol=1e-11, atol=1e-13)
        assert slope[mask == 0].tolist() == [0.0] * int((mask == 0).sum())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.clipped(low=0.0), r"clip_range is epsilon, in \(0, 1\)"),
        (lambda: losses.clipped(low=1.0), r"clip_range is epsilon, in \(0, 1\)"),
        (lambda: losses.clipped(high=0.0), "high must be finite and above 0"),
        (lambda: losses.cispo(0.0), "cap must be finite and above 0"),
        (lambda: losses.by_constant(0), "length must be finite and above 0"),
        (lambda: losses.truncated(np.ones(2), 0.0), "cap must be finite and above 0"),
        (lambda: losses.dropped(np.ones(2), -1.0), "cap must be finite and above 0"),
        (lambda: losses.overlong_penalty(np.ones(2), 4, 5), "0 < buffer <= 4; got 5"),
        (lambda: losses.overlong_penalty(np.ones(2), 4, 0), "0 < buffer <= 4; got 0"),
    ],
)
def test_settings_that_cannot_be_meant_are_told_at_once(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_group_of_one_has_no_mean_of_others():
    with pytest.raises(ValueError, match="a group needs at least 2 answers"):
        losses.mean_advantages(np.ones((3, 1)))
