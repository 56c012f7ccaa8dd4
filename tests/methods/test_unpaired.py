"""What the chapter "Losses without a reference, and without pairs" says, as numbers."""

from functools import partial

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import elementwise_grad, grad, value_and_grad
from autograd.test_util import check_grads
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize
from scipy.special import expit, logit

from rlhf_lab.methods import direct, unpaired
from rlhf_lab.models import gibbs, lm

BETA = 0.5
REWARD = np.array([1.5, 0.3, 1.5, -1.0, -0.2])  # the first and the third differ in length only
LENGTH = np.array([2, 1, 4, 3, 2])
LOG_PI_0 = np.log(np.random.default_rng(0).dirichlet(np.ones(5)))
MATRIX = expit(REWARD[:, None] - REWARD)
CHANCE = np.exp(LOG_PI_0[:, None] + LOG_PI_0) * (1 - np.eye(5))
CHANCE = 2 * CHANCE / CHANCE.sum()
CHOSEN = np.sum(CHANCE * MATRIX, axis=1)  # the law of chosen answers
FIRST, SECOND = np.triu_indices(5, 1)


def lowest(mean, start=LOG_PI_0):
    """log pi of the table at which `mean`, a function of its logits, is smallest."""
    logits = minimize(value_and_grad(mean), start, jac=True, options={"gtol": 1e-11}).x
    slope, step = grad(mean), 1e-6
    for _ in range(3):  # Newton's steps finish what a line search cannot see
        moved = np.stack([slope(logits + step * e) - slope(logits - step * e) for e in np.eye(5)]) / (2 * step)
        logits = logits - np.linalg.pinv(moved, rcond=1e-6) @ slope(logits)
    assert np.abs(slope(logits)).max() < 1e-13
    return lm.log_softmax(logits)


def minimised(loss):
    """The same for the mean loss of comparisons, `loss(log_pi, winners, losers)` for each."""

    def mean(logits):
        log_pi, p = lm.log_softmax(logits), MATRIX[FIRST, SECOND]
        each = p * loss(log_pi, FIRST, SECOND) + (1 - p) * loss(log_pi, SECOND, FIRST)
        return anp.sum(CHANCE[FIRST, SECOND] * each)

    return lowest(mean)


def per_token(loss):
    return lambda log_pi, won, lost: loss(log_pi[won] / LENGTH[won], log_pi[lost] / LENGTH[lost])


# SimPO.


@pytest.mark.equation("eq-simpo")
def test_simpo_by_hand():
    found = unpaired.simpo(np.log([0.6, 0.2]), np.log([0.2, 0.2]), 2.0, np.log(2))
    assert found == pytest.approx([np.log(1 + 2 / 9), np.log(3)], rel=1e-13)


@pytest.mark.equation("eq-simpo")
def test_without_a_margin_simpo_is_dpo_of_means_without_a_reference():
    chosen, rejected = np.array([-0.3, -7.0]), np.array([-2.0, -0.1])
    assert unpaired.simpo(chosen, rejected, BETA, 0.0) == pytest.approx(direct.dpo(chosen - rejected, BETA), rel=1e-14)


@pytest.mark.equation("eq-simpo-target")
@pytest.mark.parametrize("gamma", [0.0, 0.3, 2.0, 300.0])
def test_the_target_of_simpo_is_where_both_sides_push_equally_hard(gamma):
    p = np.array([0.001, 0.2, 0.5, 0.8, 0.97])
    found = unpaired.simpo_target(p, gamma)
    push = p * expit(gamma - found)
    assert push == pytest.approx((1 - p) * expit(found + gamma), rel=1e-9)
    assert found == pytest.approx(-unpaired.simpo_target(1 - p, gamma), abs=1e-9)
    if not gamma:
        assert found == pytest.approx(logit(p), abs=1e-12)


@pytest.mark.equation("eq-simpo-target")
def test_far_margins_ask_for_gamma_and_the_log_of_how_clear_the_majority_is():
    p = np.array([0.55, 0.8, 0.99])
    assert unpaired.simpo_target(p, 40.0) == pytest.approx(40 + np.log((2 * p - 1) / (1 - p)), abs=1e-9)
    assert unpaired.simpo_target([0.0, 1.0], 1.0).tolist() == [-np.inf, np.inf]
    assert unpaired.simpo_target(0.5, 800.0) == 0


@pytest.mark.equation("eq-simpo-end")
@pytest.mark.parametrize("beta", [0.5, 2.0, 10.0])
def test_simpo_ends_where_the_mean_of_a_token_is_the_reward_less_a_constant(beta):
    found = unpaired.simpo_end(REWARD, LENGTH, beta)
    assert np.exp(found).sum() == pytest.approx(1, abs=1e-12)
    assert np.ptp(beta * found / LENGTH - REWARD) == pytest.approx(0, abs=1e-12)
    if beta > 1:  # below, some probabilities are too small for the tolerance of a search
        assert found == pytest.approx(minimised(per_token(partial(unpaired.simpo, beta=beta, gamma=0.0))), abs=1e-8)


@pytest.mark.equation("eq-simpo-end")
def test_of_equal_rewards_the_longer_answer_is_a_power_of_the_shorter_and_no_reference_enters():
    found = unpaired.simpo_end(REWARD, LENGTH, 2.0)
    assert found[2] == pytest.approx(2 * found[0], rel=1e-12)
    same = unpaired.simpo_end(REWARD, np.full(5, 3), 2.0)
    assert same == pytest.approx(gibbs.log_policy(np.zeros(5), 3 * REWARD, 2.0), abs=1e-12)  # at a third of beta


@pytest.mark.equation("eq-simpo-end")
def test_with_a_large_beta_simpo_forgets_rewards_and_keeps_lengths():
    found = unpaired.simpo_end(REWARD, LENGTH, 1e9)
    assert np.ptp(found / LENGTH) == pytest.approx(0, abs=1e-8)
    assert found.argmax() == LENGTH.argmin()


def test_a_margin_sharpens_the_end_of_simpo():
    ends = [minimised(per_token(partial(unpaired.simpo, beta=2.0, gamma=gamma))) for gamma in (0.0, 0.5, 1.0)]
    means = [np.exp(end) @ REWARD for end in ends]
    assert means == sorted(means)
    assert means[2] - means[0] > 0.05


@pytest.mark.equation("eq-net-wins")
def test_net_wins_are_minus_the_slope_of_the_logistic_loss_and_vanish_where_scores_explain_all():
    score = np.random.default_rng(1).normal(size=5)

    def mean(s):
        h = s[FIRST] - s[SECOND]
        each = direct.expected(partial(direct.dpo, beta=1.0), h, MATRIX[FIRST, SECOND])
        return anp.sum(CHANCE[FIRST, SECOND] * each)

    found = unpaired.net_wins(score, MATRIX, CHANCE)
    assert found == pytest.approx(-grad(mean)(score), abs=1e-14)
    assert found.sum() == pytest.approx(0, abs=1e-14)
    assert unpaired.net_wins(REWARD + 7, MATRIX, CHANCE) == pytest.approx(np.zeros(5), abs=1e-14)
    both = unpaired.net_wins(np.stack([score, REWARD]), MATRIX, CHANCE)
    assert both == pytest.approx(np.stack([found, np.zeros(5)]), abs=1e-14)


# ORPO.


@pytest.mark.equation("eq-token-odds", "eq-orpo")
def test_orpo_by_hand():
    assert unpaired.log_odds(np.log([0.5, 0.8])) == pytest.approx([0, np.log(4)], abs=1e-14)
    found = unpaired.orpo(np.log([0.8]), np.log([0.5]), 0.3)  # odds 4 and 1
    assert found == pytest.approx([-np.log(0.8) - 0.3 * np.log(4 / 5)], rel=1e-13)


@pytest.mark.equation("eq-token-odds")
def test_odds_are_finite_near_1_and_near_0():
    assert unpaired.log_odds(np.array([-1e-12, -1e4])) == pytest.approx([12 * np.log(10), -1e4], rel=1e-12)
    slope = elementwise_grad(unpaired.log_odds)(np.array([-1e-12, -1e4, -np.log(2)]))
    assert slope == pytest.approx([1e12, 1, 2], rel=1e-12)


@pytest.mark.equation("eq-orpo-rest")
@pytest.mark.parametrize("weight", [0.1, 1.0, 10.0])
def test_orpo_is_at_rest_where_its_pulls_are_its_probabilities(weight):
    log_pi = minimised(per_token(partial(unpaired.orpo, weight=weight)))
    found = unpaired.orpo_rest(log_pi, LENGTH, MATRIX, CHANCE, weight)
    assert found == pytest.approx(np.exp(log_pi), abs=1e-8)
    assert unpaired.orpo_rest(LOG_PI_0, LENGTH, MATRIX, CHANCE, weight).sum() == pytest.approx(1, abs=1e-12)
    assert np.abs(unpaired.orpo_rest(LOG_PI_0, LENGTH, MATRIX, CHANCE, weight) - np.exp(LOG_PI_0)).max() > 0.01


@pytest.mark.equation("eq-orpo-rest")
def test_a_small_weight_leaves_chosen_answers_over_their_length():
    log_pi = minimised(per_token(partial(unpaired.orpo, weight=1e-9)))
    short = CHOSEN / LENGTH
    assert np.exp(log_pi) == pytest.approx(short / short.sum(), abs=1e-8)


@pytest.mark.equation("eq-odds-end")
def test_the_odds_ratio_alone_ends_where_odds_are_rewards_and_orpo_tends_to_it():
    found = unpaired.odds_end(REWARD, LENGTH)
    assert np.exp(found).sum() == pytest.approx(1, abs=1e-12)
    assert np.ptp(unpaired.log_odds(found / LENGTH) - REWARD) == pytest.approx(0, abs=1e-12)
    alone = minimised(
        per_token(lambda won, lost: direct.dpo(unpaired.log_odds(won) - unpaired.log_odds(lost), beta=1.0))
    )
    assert found == pytest.approx(alone, abs=1e-8)
    far = []
    for weight in (10.0, 100.0, 1000.0):
        end = minimised(per_token(lambda won, lost, w=weight: unpaired.orpo(won, lost, w) / w))
        far.append(np.abs(end - found).max())
    assert far[0] > 5 * far[1] > 25 * far[2]


@pytest.mark.equation("eq-orpo-rest")
@pytest.mark.parametrize("weight", [0.2, 3.0])
def test_two_answers_of_one_token_end_between_the_share_and_half_its_logit(weight):
    """sigmoid(z) - p + 2 lambda (sigmoid(2 z) - p) = 0: probability matching, or half the logit."""
    p, low, high = 0.8, logit(0.8) / 2, logit(0.8)
    for _ in range(60):
        z = (low + high) / 2
        low, high = (low, z) if expit(z) - p + 2 * weight * (expit(2 * z) - p) > 0 else (z, high)
    log_pi, matrix = np.log([expit(z), expit(-z)]), np.array([[0.5, p], [1 - p, 0.5]])
    found = unpaired.orpo_rest(log_pi, np.ones(2), matrix, 1 - np.eye(2), weight)
    assert found == pytest.approx(np.exp(log_pi), abs=1e-12)


@pytest.mark.equation("eq-sft-rest", "eq-rpo")
@pytest.mark.parametrize("alpha", [0.01, 1.0])
def test_dpo_with_sft_is_at_rest_at_chosen_answers_and_what_dpo_still_wants(alpha):
    def loss(log_pi, won, lost):
        u = log_pi - LOG_PI_0
        return direct.dpo(u[won] - u[lost], BETA) - alpha * log_pi[won]

    log_pi = minimised(loss)
    found = unpaired.sft_rest(log_pi - LOG_PI_0, MATRIX, CHANCE, BETA, alpha)
    assert found == pytest.approx(np.exp(log_pi), abs=1e-8)
    star = gibbs.log_policy(LOG_PI_0, REWARD, BETA)
    assert unpaired.sft_rest(star - LOG_PI_0, MATRIX, CHANCE, BETA, alpha) == pytest.approx(CHOSEN, abs=1e-12)


# KTO.


@pytest.mark.equation("eq-kto")
def test_kto_by_hand():
    u = np.array([np.log(9), np.log(9), 0.0])
    found = unpaired.kto(u, np.array([1.0, 0.0, 0.25]), 0.0, 0.5, 2.0, 3.0)
    assert found == pytest.approx([2 / 4, 3 * 3 / 4, (0.25 * 2 + 0.75 * 3) / 2], rel=1e-13)
    assert unpaired.kto(u + 5, np.array([1.0, 0.0, 0.25]), 5.0, 0.5, 2.0, 3.0) == pytest.approx(found, rel=1e-13)


@pytest.mark.equation("eq-kto")
def test_nothing_costs_more_than_its_weight_and_far_answers_pull_no_more():
    u = np.array([-1e4, 1e4, -1e4, 1e4])
    good = np.array([1, 1, 0, 0])
    assert unpaired.kto(u, good, 0.0, BETA, 2.0, 3.0).tolist() == [2.0, 0.0, 0.0, 3.0]
    slope = elementwise_grad(lambda x: unpaired.kto(x, good, 0.0, BETA))
    assert slope(u).tolist() == [0.0] * 4
    assert np.abs(slope(np.zeros(4))) == pytest.approx([BETA / 4] * 4, rel=1e-13)


@pytest.mark.equation("eq-kto-excess", "eq-kto")
@settings(max_examples=25)
@given(p=st.floats(0, 1), u=st.floats(-5, 5), z=st.floats(0, 3), gain=st.floats(0.1, 4), loss=st.floats(0.1, 4))
def test_shares_enter_kto_by_one_number_the_excess(p, u, z, gain, loss):
    found = unpaired.kto(np.array([u]), p, z, BETA, gain, loss)[0]
    assert found == pytest.approx(p * gain - unpaired.excess(p, gain, loss) * expit(BETA * (u - z)), abs=1e-12)


@pytest.mark.equation("eq-kto-reference")
def test_the_reference_point_is_a_mean_not_below_zero_and_has_no_gradient():
    u = np.array([[0.5, 1.5], [-3.0, 1.0]])
    assert unpaired.kto_reference(u).tolist() == [1.0, 0.0]
    slope = grad(lambda x: anp.sum(unpaired.kto(x, 1.0, unpaired.kto_reference(x), BETA)))
    held = grad(lambda x: anp.sum(unpaired.kto(x, 1.0, 1.0, BETA)))
    assert slope(u[0]) == pytest.approx(held(u[0]), rel=1e-14)


@pytest.mark.equation("eq-kto-reference")
def test_answers_of_the_reference_put_its_point_at_zero():
    star = gibbs.log_policy(LOG_PI_0, REWARD, BETA)
    rng = np.random.default_rng(2)
    drawn = rng.choice(5, size=4000, p=np.exp(LOG_PI_0))
    assert np.exp(LOG_PI_0) @ (star - LOG_PI_0) < -0.1  # -KL(pi_0 || pi)
    assert unpaired.kto_reference((star - LOG_PI_0)[drawn]) == 0


LAW = np.random.default_rng(3).dirichlet(np.ones(5))


def kto_loss(share, z_ref, beta, weights=(1.0, 1.0)):
    """KTO's mean loss over unlimited data, as a function of the logits of a table."""
    return lambda x: anp.sum(LAW * unpaired.kto(lm.log_softmax(x) - LOG_PI_0, share, z_ref, beta, *weights))


def descended(loss, steps, size, start=LOG_PI_0):
    """Gradient descent on a mean loss."""
    logits, slope = start, grad(loss)
    for _ in range(steps):
        logits = logits - size * slope(logits)
    return lm.log_softmax(logits)


STARTS = [LOG_PI_0, *(lm.log_softmax(4 * row) for row in np.eye(5))]


@pytest.mark.equation("eq-kto-end")
@pytest.mark.parametrize("z_ref", [0.0, 1.5])
@pytest.mark.parametrize("beta", [0.1, 0.9])
def test_kto_of_answers_that_most_like_has_one_end_where_its_pulls_are_its_probabilities(z_ref, beta):
    share = np.array([0.6, 0.95, 0.7, 0.55, 1.0])
    end = unpaired.kto_end(LOG_PI_0, LAW, unpaired.excess(share), beta, z_ref)
    for start in STARTS:
        found = lowest(kto_loss(share, z_ref, beta), start)
        assert np.exp(found) == pytest.approx(np.exp(end), abs=1e-8)


@pytest.mark.equation("eq-kto-end")
@pytest.mark.parametrize("beta", [0.1, 0.3])
def test_where_the_reference_point_moves_it_is_the_divergence_in_the_end(beta):
    wanted = unpaired.excess(np.array([0.6, 0.95, 0.7, 0.55, 1.0]))

    def missing(z):
        return lm.kl(unpaired.kto_end(LOG_PI_0, LAW, wanted, beta, z), LOG_PI_0) - z

    z = brentq(missing, 0, 5, xtol=1e-14)
    end = unpaired.kto_end(LOG_PI_0, LAW, wanted, beta, z)
    share = (wanted + 1) / 2
    assert grad(kto_loss(share, lm.kl(end, LOG_PI_0), beta))(end) == pytest.approx(np.zeros(5), abs=1e-13)
    assert np.abs(grad(kto_loss(share, 0.0, beta))(end)).max() > 1e-6


@pytest.mark.equation("eq-kto-end")
def test_a_reference_point_that_moves_can_hold_a_rare_answer_where_it_is():
    log_0, law, beta = np.log([1 - 1e-6, 1e-6]), np.array([0.5, 0.5]), 0.3

    def missing(z):
        return lm.kl(unpaired.kto_end(log_0, law, np.ones(2), beta, z), log_0) - z

    ends = [unpaired.kto_end(log_0, law, np.ones(2), beta, brentq(missing, *span)) for span in ((0, 4), (10, 14))]
    assert unpaired.kto_end(log_0, law, np.ones(2), beta, np.mean(np.log(0.5) - log_0)) == pytest.approx(np.log(0.5))
    for rare, end in ((0.45, ends[0]), (0.55, ends[1])):
        log_pi = np.log([1 - rare, rare])
        for _ in range(50):  # the divergence, then the only end for it
            log_pi = unpaired.kto_end(log_0, law, np.ones(2), beta, lm.kl(log_pi, log_0))
        assert log_pi == pytest.approx(end, abs=1e-9)
    assert np.exp(ends[0][1]) < 0.2
    assert np.exp(ends[1][1]) > 0.95


@pytest.mark.equation("eq-kto-end", "eq-kto-excess")
def test_kto_drops_what_less_than_the_threshold_like():
    wanted = unpaired.excess(np.array([0.6, 0.95, 0.7, 0.45, 0.9]), 1.0, 2.0)  # the threshold is 2/3
    end = unpaired.kto_end(LOG_PI_0, LAW, wanted, 0.1, 0.0)
    assert np.isneginf(end).tolist() == [True, False, False, True, False]
    assert np.exp(end).sum() == pytest.approx(1, abs=1e-13)
    pull = np.maximum(LAW * wanted, 0)
    never = np.where(wanted > 0, LOG_PI_0, -np.inf)  # of what is dropped, no log-ratio is needed
    assert unpaired.kto_end(never, LAW, wanted, 0.1, 0.0).tolist() == end.tolist()
    flat = unpaired.kto_end(LOG_PI_0, LAW, wanted, 1e-4, 0.0)
    assert np.exp(flat) == pytest.approx(pull / pull.sum(), abs=1e-7)  # sigmoid' is flat to the square of beta u


@pytest.mark.equation("eq-kto-end", "eq-kto-excess")
def test_what_is_dropped_tilts_the_rest_until_its_pull_has_faded():
    """Kept logits rise together, by G / K, at pi = (g - G / K) / (sum g - G), g being their pulls and G what is dropped
    pulls. G falls like 1 / t, and the policy lags behind by that rate over its slowest own one.
    """
    share, weights, beta, size, steps = np.array([0.6, 0.95, 0.7, 0.45, 0.9]), (1.0, 2.0), 0.1, 200.0, 300
    wanted = unpaired.excess(share, *weights)
    kept = wanted > 0
    end = unpaired.kto_end(LOG_PI_0, LAW, wanted, beta, 0.0)
    log_pi = descended(kto_loss(share, 0.0, beta, weights), steps, size)
    gain, pi = beta * (log_pi - LOG_PI_0), np.exp(log_pi)[kept]
    pull = beta * LAW * wanted * expit(gain) * expit(-gain)
    g, dropped = pull[kept], -pull[~kept].sum()
    tilted = (g - dropped / 3) / (g.sum() - dropped)
    slowest = np.linalg.eigvalsh(np.diag(pi) - np.outer(pi, pi))[1] * g.sum()
    away, behind = np.abs(pi - np.exp(end)[kept]).sum(), np.abs(pi - tilted).sum()
    assert 0.03 < dropped / g.sum() < 0.06
    assert behind / away == pytest.approx(1 / steps / (size * slowest), rel=0.1)


def test_more_dislikes_than_likes_first_make_one_answer_nearly_certain():
    share, weights = np.array([0.6, 0.95, 0.7, 0.45, 0.9]), (1.0, 2.0)
    assert LAW @ unpaired.excess(share, *weights) < 0
    assert np.exp(unpaired.kto_end(LOG_PI_0, LAW, unpaired.excess(share, *weights), 0.1, 0.0)).max() < 0.5
    assert np.exp(descended(kto_loss(share, 0.0, 0.1, weights), 100, 20.0)).max() > 0.95


@pytest.mark.equation("eq-kto-end")
@pytest.mark.parametrize("z_ref", [-60.0, 0.0, 60.0])
@pytest.mark.parametrize("beta", [0.1, 0.8])
def test_log_ratios_differ_by_those_of_the_excess_over_1_less_or_more_beta(z_ref, beta):
    wanted = np.array([0.1, 0.9, 0.4, 0.15, 1.0])
    u = unpaired.kto_end(LOG_PI_0, np.exp(LOG_PI_0), wanted, beta, z_ref) - LOG_PI_0
    steps = np.diff(np.log(np.sort(wanted))) / np.diff(u[np.argsort(wanted)])
    assert ((1 - beta <= steps) & (steps <= 1 + beta)).all()
    if z_ref:  # so far away sigmoid' is an exponential
        assert steps == pytest.approx(1 - np.sign(z_ref) * beta, abs=0.02)


@pytest.mark.equation("eq-kto-end")
def test_a_single_answer_with_an_excess_gets_all_and_is_no_gain_any_more():
    share = np.array([0.1, 0.9, 0.2, 0.3, 0.4])
    end = unpaired.kto_end(LOG_PI_0, LAW, unpaired.excess(share), BETA, 0.0)
    assert np.exp(end).tolist() == [0, 1, 0, 0, 0]
    z = -LOG_PI_0[1]  # KL(pi || pi_0), and the log-ratio of that answer
    assert unpaired.kto(end[1] - LOG_PI_0[1], 1.0, z, BETA) == pytest.approx(0.5, abs=1e-12)


@pytest.mark.equation("eq-kto-end")
def test_from_beta_1_on_the_start_decides():
    loss, starts = kto_loss(np.full(5, 0.9), 0.0, 4.0), [lm.log_softmax(8 * row) for row in np.eye(5)[:3]]
    assert [descended(loss, 100, 8.0, start).argmax() for start in starts] == [0, 1, 2]


# Gradients, extremes, bad input.


@settings(max_examples=25)
@given(st.lists(st.tuples(st.floats(-8, -0.05), st.floats(-8, -0.05), st.floats(0, 1)), min_size=1, max_size=5))
def test_slopes_are_right(rows):
    chosen, rejected, share = np.transpose(rows)
    check_grads(partial(unpaired.simpo, beta=2.0, gamma=0.4), modes=["rev"])(chosen, rejected)
    check_grads(partial(unpaired.orpo, weight=0.7), modes=["rev"])(chosen, rejected)
    check_grads(lambda u: unpaired.kto(u, share, 0.3, BETA, 1.2, 0.8), modes=["rev"])(chosen - rejected)


def test_values_and_slopes_are_finite_at_the_extremes():
    far = np.array([-1e4, -1e-9, -1e4])
    other = far[::-1] - 1.0
    for loss in (partial(unpaired.simpo, beta=2.0, gamma=0.4), partial(unpaired.orpo, weight=0.7)):
        for arguments in ((far, other), (other, far)):
            assert np.isfinite(loss(*arguments)).all()
            assert np.isfinite(elementwise_grad(loss)(*arguments)).all()


def test_ends_of_several_prompts_are_those_of_each():
    rewards, lengths = np.stack([REWARD, -REWARD]), np.stack([LENGTH, LENGTH[::-1]])
    for end in (partial(unpaired.simpo_end, beta=2.0), unpaired.odds_end):
        both = end(rewards, lengths)
        for k in range(2):
            assert both[k] == pytest.approx(end(rewards[k], lengths[k]), abs=1e-13)


@pytest.mark.parametrize("wrong", [0.0, -1.0, np.nan, np.inf])
def test_scales_and_weights_are_positive(wrong):
    m = np.array([-1.0])
    calls = {
        "beta": (
            lambda: unpaired.simpo(m, m, wrong, 0.0),
            lambda: unpaired.simpo_end(REWARD, LENGTH, wrong),
            lambda: unpaired.sft_rest(LOG_PI_0, MATRIX, CHANCE, wrong, 1.0),
            lambda: unpaired.kto(m, 1.0, 0.0, wrong),
            lambda: unpaired.kto_end(LOG_PI_0, LAW, LAW, wrong, 0.0),
        ),
        "alpha": (lambda: unpaired.sft_rest(LOG_PI_0, MATRIX, CHANCE, 1.0, wrong),),
        "weight": (
            lambda: unpaired.orpo(m, m, wrong),
            lambda: unpaired.orpo_rest(LOG_PI_0, LENGTH, MATRIX, CHANCE, wrong),
        ),
        "desirable_weight": (
            lambda: unpaired.kto(m, 1.0, 0.0, 1.0, wrong),
            lambda: unpaired.excess(0.5, wrong),
        ),
        "undesirable_weight": (
            lambda: unpaired.kto(m, 1.0, 0.0, 1.0, 1.0, wrong),
            lambda: unpaired.excess(0.5, 1.0, wrong),
        ),
    }
    for name, of_name in calls.items():
        for call in of_name:
            with pytest.raises(ValueError, match=f"^{name} must be finite and above 0; got {wrong}"):
                call()


@pytest.mark.parametrize("wrong", [-0.1, np.nan, np.inf])
def test_margins_that_are_asked_for_are_not_negative(wrong):
    for call in (lambda: unpaired.simpo(-1.0, -2.0, 1.0, wrong), lambda: unpaired.simpo_target(0.5, wrong)):
        with pytest.raises(ValueError, match=f"^gamma is the margin that is asked for, .*; got {wrong}"):
            call()


def test_what_else_a_reader_can_get_wrong():
    cases = [
        (lambda: unpaired.simpo_target(1.2, 0.0), r"^p must lie in \[0, 1\]; got 1.2"),
        (lambda: unpaired.excess([0.5, -0.2]), r"^p must lie in \[0, 1\]; got -0.2"),
        (lambda: unpaired.kto(np.zeros(1), 1.5, 0.0, 1.0), r"^desirable must lie in \[0, 1\]; got 1.5"),
        (
            lambda: unpaired.log_odds(np.array([-1.0, 0.0])),
            "^odds need probabilities below 1; the mean log-probability of a token is 0: divide log pi by the number",
        ),
        (lambda: unpaired.log_odds(np.array([np.nan])), "^odds need probabilities below 1; .* is nan: divide"),
        (lambda: unpaired.odds_end([1.0], [2]), "^a single answer has probability 1 and infinite odds; give two"),
        (lambda: unpaired.odds_end([[1.0], [2.0]], [[2], [3]]), "^a single answer has probability 1"),
        (lambda: unpaired.simpo_end(REWARD, LENGTH[:4], 1.0), r"one reward for each of the 4 answers"),
        (lambda: unpaired.odds_end([1.0, np.nan], [2, 3]), "rewards must be finite; 1 of 2 are NaN"),
        (
            lambda: unpaired.simpo_end([1.0, 2.0], [2, 0], 1.0),
            "^length is the number of tokens of an answer, its end included; got 0$",
        ),
        (
            lambda: unpaired.kto_end(LOG_PI_0, LAW, LAW, 0.99999, 60.0),
            "^not at rest in 3000 rounds, which beta = 0.99999 makes slow: take one further below 1$",
        ),
        (
            lambda: unpaired.kto_end(LOG_PI_0, LAW, LAW, 1.0, 0.0),
            "^from beta = 1 on the end of KTO depends on the start; got",
        ),
        (
            lambda: unpaired.kto_end(LOG_PI_0, LAW, -LAW, 0.1, 0.0),
            "^no answer in the data has an excess above 0: KTO",
        ),
        (
            lambda: unpaired.kto_end(np.array([-np.inf, 0.0]), np.array([0.5, 0.5]), np.ones(2), 0.1, 0.0),
            "^log_pi_0 must be finite for each answer with an excess above 0: log-ratios",
        ),
        (lambda: unpaired.kto_end(LOG_PI_0, 2 * LAW, LAW, 0.1, 0.0), "^law must sum to 1; the sum is 2"),
    ]
    for call, told in cases:
        with pytest.raises(ValueError, match=told):
            call()
