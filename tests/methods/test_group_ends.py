"""Points of rest, weights and pass@k, against all groups written out and against gradients of the losses themselves."""

import itertools
import math
from functools import partial

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.tracer import getval
from scipy.stats import hypergeom

from rlhf_lab.methods import end_points, group_ends, group_losses, policy_gradient
from rlhf_lab.models import lm
from rlhf_lab.models.tabular import Tabular
from rlhf_lab.numerics.autodiff import log_softmax
from rlhf_lab.worlds import token_mdp

RLOO, MEAN = policy_gradient.rloo_advantages, group_losses.mean_advantages
DEVIATION = partial(policy_gradient.grpo_advantages, eps=0.0)
ADVANTAGES = {"RLOO": RLOO, "mean": MEAN, "deviation": DEVIATION}
P = np.array([0.01, 0.1, 0.35, 0.5, 0.8])

HORIZON, EOS = 4, 2
RNG = np.random.default_rng(5)
LEVELS = [log_softmax(RNG.normal(size=(1, 2**t, 3))) for t in range(HORIZON)]
RIGHT = 1.0 * (RNG.random(31) < 0.25)
TABLE = Tabular(3, HORIZON, ((0,),), EOS)
ANSWERS = lm.enumerate_responses(3, HORIZON, EOS)
MASK = lm.response_mask(ANSWERS, EOS)
PROMPT = np.zeros((31, 1), dtype=int)
LOG_PI_0 = lm.answers_of_levels(LEVELS, EOS)[0]
TOKENS_0 = lm.token_log_prob(TABLE, TABLE.of_levels(LEVELS), PROMPT, ANSWERS)


@pytest.mark.equation("eq-expected-advantage", "eq-difficulty-weight")
@pytest.mark.parametrize("k", [2, 3, 4, 5])
@pytest.mark.parametrize("name", ADVANTAGES)
def test_mean_advantages_are_those_over_all_groups(name, k):
    right, wrong, weight = np.zeros(5), np.zeros(5), np.zeros(5)
    for group in itertools.product((1.0, 0.0), repeat=k):
        advantage = ADVANTAGES[name](np.array([group]))[0]
        chance = np.prod([P if r else 1 - P for r in group[1:]], axis=0)
        if group[0]:
            right += chance * advantage[0]
        else:
            wrong += chance * advantage[0]
        # the score of right answers is grad p / p in the mean, of wrong ones - grad p / (1 - p)
        scores = np.mean([a / P if r else -a / (1 - P) for a, r in zip(advantage, group, strict=True)], axis=0)
        weight += chance * (P if group[0] else 1 - P) * scores
    found = group_ends.expected_advantage(ADVANTAGES[name], P, k)
    np.testing.assert_allclose(found, [right, wrong], atol=1e-13)
    np.testing.assert_allclose(group_ends.difficulty_weight(ADVANTAGES[name], P, k), weight, rtol=1e-11)


def test_weights_in_closed_form():
    for k in (2, 5, 16):
        np.testing.assert_allclose(group_ends.difficulty_weight(RLOO, P, k), 1, rtol=1e-12)
        np.testing.assert_allclose(group_ends.difficulty_weight(MEAN, P, k), (k - 1) / k, rtol=1e-12)
    np.testing.assert_allclose(group_ends.difficulty_weight(DEVIATION, P, 2), 2**-0.5, rtol=1e-12)
    np.testing.assert_allclose(group_ends.difficulty_weight(DEVIATION, P, 3), 2 / 3**0.5, rtol=1e-12)
    for k in (4, 8, 64):
        lowest = math.sqrt(k - 1) * math.sqrt((k - 1) / k)
        assert group_ends.difficulty_weight(DEVIATION, 1e-9, k) == pytest.approx(lowest, rel=1e-6)
    for k, near in ((512, 0.02), (2000, 0.01)):
        large = group_ends.difficulty_weight(DEVIATION, P[1:], k)
        np.testing.assert_allclose(large, 1 / np.sqrt(P[1:] * (1 - P[1:])), rtol=near)


@pytest.mark.equation("eq-pass-at-k", "eq-pass-estimate")
def test_pass_at_k_and_its_estimate():
    assert group_ends.pass_at_k(np.array([0.0, 0.5, 1.0]), 3).tolist() == [0, 0.875, 1]
    for n, k in ((5, 1), (6, 4), (7, 7)):
        for c in range(n + 1):
            verdicts = [True] * c + [False] * (n - c)
            picks = [any(pick) for pick in itertools.combinations(verdicts, k)]
            assert group_ends.pass_estimate(np.array(c), n, k) == pytest.approx(np.mean(picks), abs=1e-14)
            assert group_ends.pass_estimate(np.array(c), n, k) == pytest.approx(hypergeom.sf(0, n, c, k), abs=1e-12)
        counts = np.arange(n + 1)
        law = [math.comb(n, c) * 0.3**c * 0.7 ** (n - c) for c in counts]
        assert law @ group_ends.pass_estimate(counts, n, k) == pytest.approx(1 - 0.7**k), "no bias"
    assert np.isfinite(group_ends.pass_estimate(np.array([0, 3, 10_000]), 10_000, 5_000)).all()


@pytest.mark.equation("eq-forward-rest", "eq-reverse-rest")
@pytest.mark.parametrize("rest", [group_ends.forward_rest, group_ends.reverse_rest])
def test_a_rest_sums_to_1_in_every_state_and_states_do_not_touch_each_other(rest):
    rng = np.random.default_rng(7)
    log_pi_0, length = log_softmax(rng.normal(size=(3, 4))), rng.uniform(0.2, 1, size=(3, 4))
    f = rng.normal(size=(3, 4)) * np.array([[1e-3], [1.0], [1e3]])
    found = rest(log_pi_0, f, length, 0.3)
    assert np.exp(found).sum(-1) == pytest.approx(1, rel=1e-9)
    for state in range(3):
        alone = rest(*(each[state : state + 1] for each in (log_pi_0, f, length)), 0.3)
        assert alone.tolist() == found[state : state + 1].tolist()
    np.testing.assert_allclose(rest(log_pi_0, 0 * f + 2, length, 0.3), log_pi_0, rtol=1e-13)


@pytest.mark.equation("eq-mixed-share")
def test_the_share_of_groups_with_spread():
    for k in (2, 3, 5):
        groups = np.array(list(itertools.product((1, 0), repeat=k)))
        chance = np.prod(np.where(groups[..., None] == 1, P, 1 - P), axis=1)
        mixed = np.ptp(groups, axis=1) == 1
        np.testing.assert_allclose(group_ends.mixed_share(P, k), mixed @ chance, rtol=1e-12)


@pytest.mark.equation("eq-effective-share")
def test_the_effective_share():
    assert group_ends.effective_share(np.zeros(7)) == pytest.approx(1)
    assert group_ends.effective_share(np.array([1000.0, 0, 0, 0])) == pytest.approx(0.25)
    w = np.array([[1.0, 2, 3], [5, 5, 0.5]])
    expected = w.sum(1) ** 2 / 3 / (w**2).sum(1)
    np.testing.assert_allclose(group_ends.effective_share(np.log(w)), expected)
    np.testing.assert_allclose(group_ends.effective_share(np.log(w) + np.array([[2000], [0]])), expected)
    log_old, log_pi = log_softmax(RNG.normal(size=6)), log_softmax(RNG.normal(size=6))
    drawn = np.random.default_rng(0).choice(6, size=200_000, p=np.exp(log_old))
    exact = 1 / np.sum(np.exp(2 * log_pi - log_old))
    assert group_ends.effective_share((log_pi - log_old)[drawn]) == pytest.approx(exact, rel=0.02)


def table_of(log_pi):
    """The parameters of the table that says each answer with these probabilities."""
    pi, levels = np.exp(log_pi), []
    for t in range(HORIZON):
        level = np.zeros((1, 2**t, 3))
        for row, prefix in enumerate(itertools.product(range(2), repeat=t)):
            here = (ANSWERS[:, :t] == prefix).all(1)
            level[0, row] = [np.log(pi[here & (ANSWERS[:, t] == a)].sum() / pi[here].sum()) for a in range(3)]
        levels.append(level)
    return TABLE.of_levels(levels)


def slope(log_pi, advantages, k, beta, price, by_length):
    """The mean gradient of the loss of one variant, from the loss itself, over all answers."""
    params, p = table_of(log_pi), np.exp(log_pi) @ RIGHT
    advantage = np.where(RIGHT == 1, *group_ends.expected_advantage(advantages, p, k))
    share = np.exp(log_pi) / (MASK.sum(1) if by_length else 1.0)

    def loss(params):
        tokens = lm.token_log_prob(TABLE, params, PROMPT, ANSWERS)
        u = anp.exp(tokens - getval(tokens))
        each = -u * advantage[:, None] + beta * price(tokens - TOKENS_0, u)
        return anp.sum(share * anp.sum(each * MASK, axis=-1))

    return np.abs(grad(loss)(params)["logits"]).max()


PRICES = {"k3": group_ends.forward_rest, "u k3": group_ends.reverse_rest}
PRICED = {"k3": lambda step, u: policy_gradient.k3(step), "u k3": group_losses.k3_with_ratio}


@pytest.mark.equation("eq-token-end", "eq-forward-rest", "eq-reverse-rest")
@pytest.mark.parametrize("by_length", [False, True], ids=["sum", "mean of means"])
@pytest.mark.parametrize("price", PRICES)
@pytest.mark.parametrize(("name", "k", "beta"), [("RLOO", 8, 0.2), ("mean", 4, 0.1), ("deviation", 8, 0.5)])
def test_the_gradient_of_the_loss_vanishes_at_its_end(name, k, beta, price, by_length):
    ends = group_ends.token_ends(LEVELS, RIGHT, ADVANTAGES[name], k, beta, PRICES[price], by_length=by_length)
    assert len(ends) >= 1
    for end in ends:
        assert np.exp(end.log_pi).sum() == pytest.approx(1, abs=1e-10)
        assert np.exp(end.log_pi) @ RIGHT == pytest.approx(end.p, abs=1e-10)
        assert slope(end.log_pi, ADVANTAGES[name], k, beta, PRICED[price], by_length) < 1e-9
        assert end.stable is (len(ends) == 1)
        assert slope(end.log_pi, ADVANTAGES[name], k, beta, PRICED[price], not by_length) > 1e-4
    assert slope(LOG_PI_0, ADVANTAGES[name], k, beta, PRICED[price], by_length) > 1e-3


def test_summed_tokens_without_deviation_end_where_the_sweeps_of_the_other_chapter_do():
    rewards = token_mdp.terminal_rewards(RIGHT[None], 3, HORIZON, EOS)
    for rest, other in (
        (group_ends.reverse_rest, end_points.tilt),
        (group_ends.forward_rest, end_points.forward_price),
    ):
        (end,) = group_ends.token_ends(LEVELS, RIGHT, RLOO, 8, 0.2, rest, by_length=False)
        expected = lm.answers_of_levels(end_points.local_price(LEVELS, rewards, 0.2, other), EOS)[0]
        np.testing.assert_allclose(end.log_pi, expected, atol=1e-8)


@pytest.mark.parametrize("by_length", [False, True])
def test_of_answers_of_one_token_both_prices_are_those_of_answers(by_length):
    log_pi_0, right = log_softmax(np.array([0.3, -1.0, 0.5])), np.array([0.0, 1.0, 0.0])  # the end, and two words
    levels = [log_pi_0[None, None, [1, 2, 0]]]
    (token,) = group_ends.token_ends(levels, right, RLOO, 8, 0.2, group_ends.reverse_rest, by_length=by_length)
    (answer,) = group_ends.answer_ends(log_pi_0, right, RLOO, 8, 0.2)
    np.testing.assert_allclose(token.log_pi, answer.log_pi, atol=1e-9)
    (token,) = group_ends.token_ends(levels, right, RLOO, 8, 0.2, group_ends.forward_rest, by_length=by_length)
    np.testing.assert_allclose(token.log_pi, end_points.forward_price(log_pi_0, right, 0.2), atol=1e-8)


@pytest.mark.equation("eq-answer-end")
def test_with_the_divergence_of_answers_as_the_price():
    (end,) = group_ends.answer_ends(LOG_PI_0, RIGHT, RLOO, 8, 0.2)
    np.testing.assert_allclose(end.log_pi, end_points.tilt(LOG_PI_0, RIGHT, 0.2), atol=1e-9)
    assert end.stable
    ends = group_ends.answer_ends(np.log([0.02, 0.98]), np.array([1.0, 0.0]), DEVIATION, 64, 0.5)
    assert [end.stable for end in ends][:2] == [True, False]
    for end in ends:
        weight = group_ends.difficulty_weight(DEVIATION, end.p, 64)
        assert math.log(end.p / (1 - end.p)) == pytest.approx(math.log(0.02 / 0.98) + weight / 0.5, abs=1e-6)
        assert np.exp(end.log_pi[0]) == pytest.approx(end.p, abs=1e-6)


@pytest.mark.equation("eq-answer-end")
def test_ends_are_the_peaks_and_the_valleys_of_one_objective():
    p_0, beta, k = 0.02, 0.5, 64
    p = np.linspace(0.01, 0.999, 20_001)
    w = group_ends.difficulty_weight(DEVIATION, p, k)
    gain = np.concatenate([[0], np.cumsum((w[1:] + w[:-1]) / 2 * np.diff(p))])
    height = gain - beta * (p * np.log(p / p_0) + (1 - p) * np.log((1 - p) / (1 - p_0)))  # a tilt keeps all else
    turns = np.flatnonzero(np.diff(np.sign(np.diff(height)))) + 1
    ends = group_ends.answer_ends(np.log([p_0, 1 - p_0]), np.array([1.0, 0.0]), DEVIATION, k, beta)
    assert [end.p for end in ends[:2]] == pytest.approx(p[turns], abs=1e-3)
    assert [end.stable for end in ends[:2]] == [bool(height[i] > height[i - 50]) for i in turns]


@pytest.mark.parametrize(("flow", "stable"), [(lambda z: 0 * z + 2.0, True), (lambda z: np.clip(3 * z, -9, 9), False)])
def test_an_end_on_a_point_of_the_grid_is_found_once(flow, stable):
    found = group_ends._crossings(flow)
    middle = [(z, kind) for z, kind in found if abs(z - (2 if stable else 0)) < 1e-9]
    assert [kind for _, kind in middle] == [stable]


@pytest.mark.parametrize(("k", "beta", "odds"), [(64, 0.2, 35), (8, 0.1, 20)])
def test_ends_next_to_1_are_found(k, beta, odds):
    (end,) = group_ends.answer_ends(np.log([0.02, 0.98]), np.array([1.0, 0.0]), DEVIATION, k, beta)
    assert end.stable
    found = end.log_pi[0] - end.log_pi[1]
    assert found > odds
    weight = group_ends.difficulty_weight(DEVIATION, np.array(1.0), k)
    assert found == pytest.approx(math.log(0.02 / 0.98) + weight / beta, rel=1e-6)


def test_every_flow_has_an_end_and_stable_ones_are_one_more():
    for k in (4, 16, 64):
        for beta in (0.05, 0.45, 0.7, 2.0):
            ends = group_ends.answer_ends(LOG_PI_0, RIGHT, DEVIATION, k, beta)
            assert sum(end.stable for end in ends) == 1 + sum(not end.stable for end in ends)
            assert [end.stable for end in ends[::2]] == [True] * len(ends[::2])


def test_a_share_of_mixed_groups_keeps_its_digits():
    for p in (1e-12, 1e-300):
        assert group_ends.mixed_share(p, 8) == pytest.approx(8 * p, rel=1e-9)
    assert group_ends.mixed_share(np.array([0.0, 1.0]), 4).tolist() == [0, 0]


def test_a_tilt_towards_right_answers_raises_every_pass_at_k():
    rng = np.random.default_rng(1)
    for _ in range(20):
        log_pi, right = log_softmax(rng.normal(size=9)), 1.0 * (rng.random(9) < 0.3)
        if 0 < right.sum() < 9:
            before, after = (np.exp(x) @ right for x in (log_pi, end_points.tilt(log_pi, right, rng.exponential())))
            for k in (1, 3, 8):
                assert group_ends.pass_at_k(after, k) > group_ends.pass_at_k(before, k)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: group_ends.expected_advantage(RLOO, P, 1), "a group has at least 2 answers; got 1"),
        (lambda: group_ends.difficulty_weight(RLOO, np.array([1.2]), 4), r"p must lie in \[0, 1\]; got 1.2"),
        (lambda: group_ends.pass_at_k(P, 0), "k is the number of answers that are tried"),
        (lambda: group_ends.pass_at_k(-P, 1), r"p must lie in \[0, 1\]"),
        (lambda: group_ends.mixed_share(P + 1, 4), r"p must lie in \[0, 1\]"),
        (lambda: group_ends.pass_estimate(np.array([1]), 4, 5), "got k = 5 and n = 4"),
        (lambda: group_ends.pass_estimate(np.array([1]), 4, 0), "got k = 0 and n = 4"),
        (lambda: group_ends.pass_estimate(np.array([1, 5]), 4, 2), "of 4 answers between 0 and 4 are right, .*; got 5"),
        (lambda: group_ends.pass_estimate(np.array([-1]), 4, 2), "of 4 answers between 0 and 4 are right, .*; got -1"),
        (lambda: group_ends.pass_estimate(np.array([0.5]), 4, 2), "a whole number; got 0.5"),
        (lambda: group_ends.effective_share(np.array([0.0, np.nan])), "^log-weights must hold no NaN"),
        (lambda: group_ends.effective_share(np.array([-np.inf, -np.inf])), "one at least that is not -inf$"),
        (
            lambda: group_ends.answer_ends(LOG_PI_0, np.zeros(31), RLOO, 8, 0.2),
            "^the reference must be right sometimes, and sometimes wrong: nothing else can be learned from$",
        ),
    ],
)
def test_bad_input_is_told(call, words):
    with pytest.raises(ValueError, match=words):
        call()
