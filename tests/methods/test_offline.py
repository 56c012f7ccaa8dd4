"""What can be learned from a log, held against what is exactly true of it."""

import numpy as np
import pytest

from rlhf_lab.methods import offline
from rlhf_lab.methods import soft_values as soft
from rlhf_lab.models import lm
from rlhf_lab.worlds import token_mdp

VOCAB, HORIZON, EOS = 3, 3, 2
ANSWERS = lm.enumerate_responses(VOCAB, HORIZON, EOS)


def drawn(seed, size=40, prompts=2):
    """A log of random answers, each with a reward of its own, and the index of each among all answers."""
    rng = np.random.default_rng(seed)
    row = np.concatenate([np.arange(prompts), rng.integers(prompts, size=size - prompts)])
    index = rng.integers(len(ANSWERS), size=size)
    rewards = rng.normal(size=(prompts, len(ANSWERS)))
    return row, index, rewards


def read(row, index, reward):
    return offline.read(row, ANSWERS[index], reward, 2, VOCAB, EOS)


@pytest.mark.equation("eq-behaviour")
def test_a_log_is_counted():
    row, index, rewards = drawn(0)
    log = read(row, index, rewards[row, index])
    assert log.counts[0].sum(-1)[:, 0] == pytest.approx(np.bincount(row))
    share = np.array([np.bincount(index[row == k], minlength=len(ANSWERS)) / (row == k).sum() for k in range(2)])
    assert np.exp(lm.answers_of_levels(offline.behaviour(log.counts), EOS)) == pytest.approx(share, abs=1e-12)
    seen = token_mdp.terminal_rewards(np.where(share > 0, rewards, 0.0), VOCAB, HORIZON, EOS)
    for found, level in zip(log.rewards, seen, strict=True):
        assert found == pytest.approx(level)


def test_where_the_log_never_was_its_writer_counts_as_uniform():
    log = offline.read(np.zeros(1, int), np.array([[0, 2]]), np.ones(1), 1, 3, 2)
    assert np.exp(offline.behaviour(log.counts)[1]) == pytest.approx(np.array([[[0, 0, 1], [1 / 3, 1 / 3, 1 / 3]]]))


def by_recursion(log, prompt, discount, backup, state=()):
    """V of a prefix, from a backup of the counts and of r + gamma V(s') of the tokens that were seen."""
    t, place = len(state), int(np.dot(state, EOS ** np.arange(len(state))[::-1]))
    n, q = log.counts[t][prompt, place], log.rewards[t][prompt, place].copy()
    for a in np.flatnonzero(n[:EOS]) if t + 1 < HORIZON else ():
        q[a] += discount * by_recursion(log, prompt, discount, backup, (*state, a))
    return backup(n[n > 0], q[n > 0])


@pytest.mark.parametrize("discount", [0.7, 1.0])
@pytest.mark.parametrize("size", [3, 40])  # from three answers, most states were never seen
def test_a_sweep_over_a_log_is_a_recursion_over_its_prefixes(discount, size):
    row, index, rewards = drawn(7, size)
    log = read(row, index, rewards[row, index])
    low = [np.full(n.shape, -99.0) for n in log.counts]
    for found, backup in (
        (offline.batch_q(log, low, discount, EOS), lambda n, q: q.max()),
        (offline.lower_bound(log, [low], discount, EOS), lambda n, q: q.max()),
        (offline.filtered_q(log, 0.5, discount, EOS), lambda n, q: q[n >= 0.5 * n.max()].max()),
        (offline.implicit_q(log, 0.5, discount, EOS), lambda n, q: np.average(q, weights=n)),
    ):
        for k in range(2):
            assert found.v[0][k, 0] == pytest.approx(by_recursion(log, k, discount, backup))
        assert found.advantage[0] == pytest.approx(found.q[0] - found.v[0][..., None])


def test_a_filter_keeps_what_is_as_frequent_as_its_share_of_the_most_frequent():
    log = offline.Log([np.array([[[4.0, 2.0, 1.0]]])], [np.array([[[1.0, 2.0, 3.0]]])])
    for share, best in ((0.2, 3), (0.25, 3), (0.3, 2), (0.5, 2), (0.51, 1), (1, 1)):
        assert offline.filtered_q(log, share).v[0] == best


def test_noisy_rewards_are_averaged():
    log = offline.read(np.zeros(4, int), np.array([[0, 2], [0, 2], [0, 2], [1, 1]]), np.array([1, 2, 6, 5.0]), 1, 3, 2)
    assert log.rewards[1][0, 0, 2] == 3
    assert log.rewards[1][0, 1, 1] == 5


@pytest.mark.parametrize("price", [0.1, 1.0])
def test_control_with_the_price_of_leaving_the_log_is_the_log_reweighted(price):
    row, index, rewards = drawn(1)
    log = read(row, index, rewards[row, index])
    found = soft.psi_values(offline.behaviour(log.counts), log.rewards, price, eos=EOS)
    policy = np.exp(lm.answers_of_levels(found.advantage, EOS))
    for k in range(2):
        weight = np.zeros(len(ANSWERS))
        np.add.at(weight, index[row == k], np.exp(rewards[k, index[row == k]] / price))
        assert policy[k] == pytest.approx(weight / weight.sum(), abs=1e-12)
        assert found.v[0][k, 0] == pytest.approx(np.log(weight.sum() / (row == k).sum()), abs=1e-12)


@pytest.mark.equation("eq-filtered-q")
def test_the_best_that_was_seen_is_the_best_answer_of_the_log():
    row, index, rewards = drawn(2)
    log = read(row, index, rewards[row, index])
    kept = offline.filtered_q(log, 1e-9, eos=EOS)
    nearly = offline.implicit_q(log, 1 - 1e-9, eos=EOS)
    pessimist = offline.lower_bound(log, [[np.full(n.shape, -9.0) for n in log.counts]] * 2, eos=EOS)
    for k in range(2):
        best = rewards[k, index[row == k]].max()
        assert kept.v[0][k, 0] == pytest.approx(best)
        assert pessimist.v[0][k, 0] == pytest.approx(best)
        assert nearly.v[0][k, 0] == pytest.approx(best, abs=1e-6)
        read_out = lm.answer_index(soft.greedy(kept.q, EOS), VOCAB, EOS)[k]
        assert rewards[k, read_out] == pytest.approx(best)


@pytest.mark.equation("eq-batch-q", "eq-lower-bound")
def test_a_maximum_finds_whatever_is_claimed_of_what_was_never_seen():
    row, index, rewards = drawn(3, size=6)
    log = read(row, index, rewards[row, index])
    high = [np.full(n.shape, 10.0) for n in log.counts]
    low = [np.full(n.shape, -10.0) for n in log.counts]
    assert (offline.batch_q(log, high, eos=EOS).v[0] == 10).all()
    best = np.array([[rewards[k, index[row == k]].max()] for k in range(2)])
    assert offline.lower_bound(log, [high, low], eos=EOS).v[0] == pytest.approx(best)


@pytest.mark.equation("eq-cql")
@pytest.mark.parametrize("alpha", [0.05, 1.0, 20.0])
def test_the_conservative_values_of_a_bandit(alpha):
    rng = np.random.default_rng(4)
    counts = np.array([[[3.0, 0.0, 1.0, 6.0, 2.0]]])
    rewards = rng.normal(size=counts.shape)
    q = offline.conservative_q(offline.Log([counts], [rewards]), alpha).q[0][0, 0]
    seen = counts[0, 0] > 0
    mu, r, q, told = counts[0, 0][seen] / counts.sum(), rewards[0, 0][seen], q[seen], q[~seen]
    assert (told == -np.inf).all()
    pi = np.exp(q) / np.exp(q).sum()
    assert q == pytest.approx(r - alpha * (pi / mu - 1), abs=1e-9)
    assert mu @ q == pytest.approx(mu @ r)
    assert pi @ q == pytest.approx(pi @ r - alpha * (pi**2 / mu).sum() + alpha)

    def loss(q):
        return alpha * (np.log(np.exp(q).sum()) - mu @ q) + mu @ (q - r) ** 2 / 2

    assert all(loss(q) < loss(q + 0.01 * rng.normal(size=len(q))) for _ in range(100))


def test_conservative_values_of_a_tree_hold_in_every_state():
    row, index, rewards = drawn(6)
    log = read(row, index, rewards[row, index])
    found = offline.conservative_q(log, 0.7, 0.9, EOS)
    for t, (q, n) in enumerate(zip(found.q, log.counts, strict=True)):
        y = np.array(log.rewards[t])
        if t + 1 < HORIZON:
            known = np.where(np.isfinite(found.v[t + 1]), found.v[t + 1], 0.0)
            y[..., :EOS] += 0.9 * known.reshape(*n.shape[:2], EOS)
        for state in zip(*np.nonzero(n.any(-1)), strict=True):
            seen = n[state] > 0
            pi, mu = np.exp(q[state]) / np.exp(q[state]).sum(), n[state] / n[state].sum()
            assert q[state][seen] == pytest.approx((y[state] - 0.7 * (pi / np.where(seen, mu, 1) - 1))[seen], abs=1e-9)
        assert (q[n == 0] == -np.inf).all()


@pytest.mark.equation("eq-implicit-q")
@pytest.mark.parametrize("tau", [0.1, 0.5, 0.9])
def test_expectiles(tau):
    rng = np.random.default_rng(5)
    values, weights = rng.normal(size=(50, 6)), rng.integers(0, 4, size=(50, 6)).astype(float)
    weights[:, 0] = 1
    v = offline.expectiles(values, weights, tau)[:, None]
    assert np.sum(weights * np.abs(tau - (values < v)) * (values - v), axis=-1) == pytest.approx(np.zeros(50), abs=1e-9)
    assert offline.expectiles(values, 0 * weights, tau)[0] == -np.inf
    if tau == 0.5:
        assert v[:, 0] == pytest.approx((weights * values).sum(-1) / weights.sum(-1))


@pytest.mark.equation("eq-implicit-policy")
def test_a_policy_of_implicit_values_is_gibbs_for_answers_of_one_token():
    counts, rewards = np.array([[[1.0, 2.0, 5.0]]]), np.array([[[0.3, -1.0, 0.7]]])
    log = offline.Log([counts], [rewards])
    gibbs = soft.psi_values(offline.behaviour([counts]), [rewards], 0.5).advantage[0]
    for tau in (0.2, 0.5, 0.95):
        found = offline.implicit_policy(log, offline.implicit_q(log, tau), 1 / 0.5)
        assert found[0] == pytest.approx(gibbs)


@pytest.mark.equation("eq-filtered-clone")
def test_cloning_what_passed_a_filter_prefers_luck_to_a_high_mean():
    """Answer 0 pays 1 always, answer 1 pays 3 or -3: of those above 2, all are answer 1."""
    row, response = np.zeros(40, int), np.repeat([[0], [1]], 20, axis=0)
    reward = np.concatenate([np.ones(20), np.tile([3.0, -3.0], 10)])
    for threshold, law in ((2, [0, 1]), (1, [2 / 3, 1 / 3])):
        policy = offline.filtered_clone(row, response, reward, threshold, 1, 2)
        assert np.exp(policy[0][0, 0]) == pytest.approx(law)
    with pytest.raises(ValueError, match="no answer to prompt 0 of 1 earned 4 or more: lower the threshold"):
        offline.filtered_clone(row, response, reward, 4, 1, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda log: read(np.zeros(3, int), np.arange(3), np.ones(3)), "no answer to prompt 1 of 2"),
        (lambda log: offline.read([0, 1], [[0, 9], [1, 1]], [0, 0], 2, 3, 2), "token 9 is outside the vocabulary"),
        (lambda log: offline.filtered_q(log, 0), "share .* lies in .0, 1.; got 0"),
        (lambda log: offline.implicit_q(log, 1.0), "an expectile lies in .0, 1.*; got 1.0"),
        (lambda log: offline.conservative_q(log, 0.0), "alpha must be finite and above 0"),
        (lambda log: offline.implicit_policy(log, offline.implicit_q(log, 0.9, eos=EOS), 0), "weight must be finite"),
        (lambda log: offline.batch_q(log, log.counts[:2], eos=EOS), "unseen needs a guess for each pair of the log"),
        (lambda log: offline.lower_bound(log, [], eos=EOS), "unseen needs a guess for each pair of the log"),
        (lambda log: offline.read([0, 1], [[0, 2], [1, 1]], [0, np.nan], 2, 3, 2), "rewards must be finite; 1 of 2"),
        (lambda log: offline.read([0, 1], [[0, 2], [1, 1]], [0], 2, 3, 2), "one reward for each of the 2 answers"),
        (lambda log: offline.read([0], [[0, 2], [1, 1]], [0, 1], 2, 3, 2), "one prompt for each of the 2 answers"),
        (lambda log: offline.read([0, 1], [[0, 2], [1, 1]], [0, 1], 2, 3, 0), "eos must be the last token"),
    ],
)
def test_bad_input(call, message):
    row, index, rewards = drawn(0)
    with pytest.raises(ValueError, match=message):
        call(read(row, index, rewards[row, index]))
