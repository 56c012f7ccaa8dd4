"""The checks that cost a minute find what the chapter "Find the bug" says they find, and right functions pass them."""

from math import log

import numpy as np
import pytest
from zoo_inputs import INPUTS, N, V

from rlhf_lab.audit.zoo import charges, pairs, policies, returns, tokens

REF, BETA = -np.random.default_rng(0).gamma(2.0, 2.0, size=(2, N)), 0.3
H = np.random.default_rng(1).normal(size=N)


def at_the_reference(loss):
    return np.allclose([loss(*REF, *REF, beta) for beta in (0.3, 2.0)], log(2))


def rewards_alike(loss):
    return np.allclose(loss(np.zeros(N), np.zeros(N)), log(2))


def slope_at_the_reference(loss):
    step = 1e-5
    up, down = (np.sum(loss(REF[0] + move, REF[1], *REF, BETA)) for move in (step, -step))
    return abs((up - down) / (2 * step) + N * BETA / 2) < 1e-6


def exchanged(loss):
    one, other = (loss(REF[0] + h, REF[1], *REF, BETA) for h in (H, -H))
    return np.allclose(other - one, BETA * H)


def alone_and_in_a_batch(loss):
    moved, (chosen, rejected) = REF[0] + H, REF
    return np.allclose(
        loss(moved, rejected, chosen, rejected, BETA)[:2],
        loss(moved[:2], rejected[:2], chosen[:2], rejected[:2], BETA),
    )


def rewards_alone_and_in_a_batch(loss):
    return np.allclose(loss(H, 0 * H)[:2], loss(H[:2], 0 * H[:2]))


LOGITS, TEXT, MASK = INPUTS[tokens.log_probs](np.random.default_rng(0))
LAST = MASK - returns.shifted(MASK)
LAST = LAST * (LAST > 0)  # the place before an answer has -1


def behind_texts(score):
    noise = np.random.default_rng(2).normal(size=LOGITS.shape)
    behind = (np.cumsum(MASK, axis=1) > 0) & (MASK == 0)
    other = np.where(behind, (TEXT + 1) % V, TEXT)
    changed = LOGITS + noise * (behind | (LAST > 0))[..., None]
    return np.allclose(score(changed, other, MASK).sum(1), score(LOGITS, TEXT, MASK).sum(1))


def behind_advantages(gae):
    rewards, values, mask, gamma, lam = INPUTS[returns.gae](np.random.default_rng(0))
    other = rewards + 3.0 * (1 - mask), values + 5.0 * (1 - mask)
    return np.allclose(gae(*other, mask, gamma, lam), gae(rewards, values, mask, gamma, lam))


def more_behind_advantages(whiten):
    advantage, mask = INPUTS[returns.whiten](np.random.default_rng(0))
    longer = [np.concatenate([x, np.zeros((N, 2))], axis=1) for x in (advantage, mask)]
    return np.allclose(whiten(*longer)[:, :-2], whiten(advantage, mask))


def logits_at_the_end(score):
    """Those at the place of <eos> move nothing, those before it what is said of <eos>."""
    right = score(LOGITS, TEXT, MASK)
    at_end, before = (LOGITS + np.eye(V)[0] * place[..., None] for place in (LAST, returns.shifted(LAST)))
    moved = score(before, TEXT, MASK) != right
    return np.allclose(score(at_end, TEXT, MASK), right) and np.array_equal(moved, LAST[:, 1:] > 0)


def add_up(score):
    """The probabilities of what may stand first in an answer, where nothing else counts."""
    first = MASK * (np.cumsum(MASK, axis=1) == 1)
    found = [np.exp(score(LOGITS, np.where(first > 0, token, TEXT), first).sum(1)) for token in range(V)]
    return np.allclose(np.sum(found, axis=0), 1)


def one_good_answer(loss):
    """A step on an answer of two tokens, of which the second was good."""
    log_pi, mask, good, step = np.full((1, 2), -1.0), np.ones((1, 2)), np.array([[0.0, 1.0]]), 1e-5
    likelier = log_pi + np.array([[0.0, step]])
    return loss(likelier, log_pi, good, mask, 0.2) < loss(log_pi, log_pi, good, mask, 0.2) - step / 4


def more_for_all(advantages):
    rewards = np.random.default_rng(0).normal(size=(3, 4))
    return np.allclose(advantages(rewards + 1), advantages(rewards))


TWO = np.array([[1.0, 1.0, 0.0]])


def rewards_by_hand(rewards):
    found = rewards(np.array([2.0]), np.array([[-1.0, -2.0, -3.0]]), np.array([[-2.0, -1.5, -1.0]]), TWO, 0.1)
    return np.allclose(found, [[-0.1, 2 + 0.05, 0]])


def advantages_by_hand(gae):
    found = gae(np.array([[1.0, 2.0, 0.0]]), np.array([[0.5, 3.0, 0.0]]), TWO, 0.9, 0.5)
    second = 2.0 - 3.0
    return np.allclose(found, [[1.0 + 0.9 * 3.0 - 0.5 + 0.45 * second, second, 0.0]])


CHECKS = {  # the right function first
    at_the_reference: (pairs.dpo_loss, pairs.reference_missing, pairs.reference_crossed, pairs.log_missing),
    rewards_alike: (pairs.reward_model_loss, pairs.sigmoid_twice, pairs.each_by_itself),
    slope_at_the_reference: (
        pairs.dpo_loss,
        pairs.beta_twice,
        pairs.beta_missing,
        pairs.beta_divides,
        pairs.answers_swapped,
        pairs.reference_not_frozen,
    ),
    exchanged: (pairs.dpo_loss, pairs.smoothing_reversed, pairs.ratios_not_logs),
    alone_and_in_a_batch: (pairs.dpo_loss, pairs.mean_inside),
    rewards_alone_and_in_a_batch: (pairs.reward_model_loss, pairs.averaged_twice),
    behind_texts: (tokens.log_probs, tokens.padding_counts, tokens.mask_not_shifted),
    behind_advantages: (returns.gae, returns.value_behind_the_end, returns.errors_of_padding),
    more_behind_advantages: (returns.whiten, returns.whitened_with_padding),
    logits_at_the_end: (tokens.log_probs, tokens.not_shifted, tokens.shifted_twice),
    add_up: (tokens.log_probs, tokens.likeliest_token, tokens.softmax_missing, tokens.wrong_axis),
    one_good_answer: (policies.ppo_loss, policies.sign_turned, policies.ratio_upside_down, policies.advantage_late),
    more_for_all: (returns.rloo, returns.own_sample_in_sum),
    rewards_by_hand: (charges.token_rewards, charges.score_everywhere, charges.score_early, charges.score_on_padding),
    advantages_by_hand: (returns.gae, returns.next_value_missing, returns.gamma_for_lambda, returns.swept_forward),
}


@pytest.mark.parametrize(
    ("check", "function", "right"),
    [(check, function, place == 0) for check, row in CHECKS.items() for place, function in enumerate(row)],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_a_check_passes_the_right_function_and_finds_its_bugs(check, function, right):
    assert check(function) == right
