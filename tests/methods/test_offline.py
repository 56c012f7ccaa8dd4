"""What can be learned from a log, held against what is exactly true of it."""

import numpy as np
import pytest
from scipy.optimize import minimize

from rlhf_lab.methods import offline
from rlhf_lab.methods import soft_values as soft
from rlhf_lab.models import lm
from rlhf_lab.numerics.autodiff import log_softmax
from rlhf_lab.worlds import phrase_world, token_mdp

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


def test_noisy_rewards_are_averaged_before_they_are_exponentiated():
    """An answer that paid 2 and -2 weighs e^0, not the mean of e^2 and e^-2: the log of Gibbs wants a sure reward."""
    log = offline.read(np.zeros(3, int), np.array([[0], [0], [1]]), np.array([2.0, -2.0, 1.0]), 1, 2)
    found = soft.psi_values(offline.behaviour(log.counts), log.rewards, 1.0)
    assert found.v[0] == pytest.approx(np.log((2 + np.e) / 3))
    assert np.abs(found.v[0] - np.log((np.exp(2) + np.exp(-2) + np.e) / 3)).item() > 0.7


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


def test_batch_q_claims_too_much_for_answers_that_leave_the_log_and_for_no_others():
    """The table of the chapter: PhraseWorld, three tokens, twenty logs of the prior for each size."""
    world = phrase_world.model(), phrase_world.pretrained()
    mdp = token_mdp.TokenMDP(phrase_world.PROMPTS, phrase_world.START, phrase_world.reward, 11, 3, 10)
    rewards, answers = mdp.answer_rewards(), mdp.answers()
    below = np.cumsum(np.exp(lm.answer_log_probs(*world, mdp.prompts, 3)), axis=-1)
    for count, share, claimed, earned in ((10, 78, 2.13, -1.60), (100, 26, 2.80, -2.14), (1000, 34, 3.31, -1.33)):
        left = []
        for k in range(20):
            rng = np.random.default_rng([count, k])
            row = np.concatenate([range(4), rng.choice(4, count - 4, p=mdp.start)])
            index = np.sum(below[row] < below[row, -1:] * rng.random((count, 1)), axis=-1)
            rng.normal(size=count)  # the chapter draws noise here, and multiplies it with 0
            log = offline.read(row, answers[index], rewards[row, index], 4, 11, 10)
            values = offline.batch_q(log, [rng.normal(size=n.shape) for n in log.counts], eos=10)
            said = lm.answer_index(soft.greedy(values.q, 10), 11, 10)
            for x in range(4):
                claim, worth = values.v[0][x, 0], rewards[x, said[x]]
                if said[x] in index[row == x]:
                    assert claim == pytest.approx(worth)
                else:
                    left.append((claim, worth))
        assert 100 * len(left) / 80 == pytest.approx(share, abs=0.6)
        assert np.mean(left, axis=0) == pytest.approx([claimed, earned], abs=0.01)


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


def test_for_a_token_that_was_never_seen_conservatism_has_no_least_loss():
    """Given Q of that token, let the others be best: the loss falls on and on, to what it is without the token."""
    counts, rewards, alpha = np.array([[[3.0, 1.0]]]), np.array([[[0.2, 1.5]]]), 0.8
    mu, r = counts[0, 0] / 4, rewards[0, 0]

    def loss(q, unseen):
        return alpha * (np.logaddexp.reduce([*q, unseen]) - mu @ q) + mu @ (q - r) ** 2 / 2

    def least(unseen):
        return minimize(loss, r, unseen, tol=1e-10).fun

    falls = [least(unseen) for unseen in (2, 0, -2, -5, -10, -20)]
    assert (np.diff(falls) < 0).all()
    q = offline.conservative_q(offline.Log([counts], [rewards]), alpha).q[0][0, 0]
    assert falls[-1] == pytest.approx(loss(q, -np.inf), abs=1e-7)


@pytest.mark.parametrize("alpha", [0.3, 4.0])
def test_without_the_half_before_the_squared_error_the_weight_counts_half(alpha):
    counts, rewards = np.array([[[3.0, 1.0, 2.0]]]), np.array([[[0.2, 1.5, -1.0]]])
    mu, r = counts[0, 0] / 6, rewards[0, 0]
    q = offline.conservative_q(offline.Log([counts], [rewards]), alpha / 2).q[0][0, 0]
    found = minimize(lambda q: alpha * (np.logaddexp.reduce(q) - mu @ q) + mu @ (q - r) ** 2, r, tol=1e-12).x
    assert q == pytest.approx(found, abs=1e-5)


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


def every_answer(vocab, horizon, eos, seed, prompts=3):
    """A log that holds a whole random tree: its counts are the prior, with a reward for every answer."""
    rng = np.random.default_rng(seed)
    words = vocab if eos is None else vocab - 1
    prior = [log_softmax(rng.normal(size=(prompts, words**t, vocab))) for t in range(horizon)]
    rewards = rng.normal(size=(prompts, lm.count_responses(vocab, horizon, eos)))
    return offline.Log([np.exp(p) for p in prior], token_mdp.terminal_rewards(rewards, vocab, horizon, eos))


@pytest.mark.parametrize("tau", [0.1, 0.5, 0.9])
@pytest.mark.parametrize(("vocab", "horizon", "eos"), [(3, 4, 2), (4, 3, None)])
def test_implicit_decoding_leaves_gibbs_by_how_the_values_of_what_follows_differ(vocab, horizon, eos, tau):
    """log pi - log pi* = (V_tau(s') - V_soft(s')) / c and a number for each state: Gibbs iff it is level."""
    log, price = every_answer(vocab, horizon, eos, 8), 0.7
    values = offline.implicit_q(log, tau, eos=eos)
    best = soft.psi_values(offline.behaviour(log.counts), log.rewards, price, eos=eos)
    found = offline.implicit_policy(log, values, 1 / price)
    for t in range(horizon):
        told = np.zeros(found[t].shape)
        if t + 1 < horizon:
            apart = values.v[t + 1] / price - best.v[t + 1]
            told[..., : vocab if eos is None else eos] = apart.reshape(*told.shape[:2], -1)
        differ = found[t] - best.advantage[t] - told
        assert differ == pytest.approx(np.repeat(differ[..., :1], vocab, axis=-1), abs=1e-10)
        if t + 1 == horizon:
            assert found[t] == pytest.approx(best.advantage[t], abs=1e-10)
        else:
            assert np.ptp(told, axis=-1).min() > 1e-5


@pytest.mark.parametrize("tau", [0.1, 0.5, 0.99])
def test_implicit_decoding_is_gibbs_where_no_token_changes_what_later_ones_are_worth(tau):
    """Answers of one length, tokens that know nothing of each other, a reward that is a sum over them."""
    rng, vocab, horizon, price = np.random.default_rng(9), 3, 4, 0.5
    prior = [np.tile(log_softmax(rng.normal(size=vocab)), (2, vocab**t, 1)) for t in range(horizon)]
    points = rng.normal(size=(horizon, vocab))
    answers = lm.enumerate_responses(vocab, horizon, None)
    rewards = np.tile(points[np.arange(horizon), answers].sum(-1), (2, 1))
    log = offline.Log([np.exp(p) for p in prior], token_mdp.terminal_rewards(rewards, vocab, horizon, None))
    found = offline.implicit_policy(log, offline.implicit_q(log, tau), 1 / price)
    best = soft.psi_values(prior, log.rewards, price).advantage
    assert soft.token_kl(found, best) == pytest.approx(np.zeros(2), abs=1e-12)


def test_implicit_decoding_is_gibbs_where_siblings_are_shuffled_and_shifted_copies():
    """Then V_tau and V_soft differ by the same number behind each token, though the reward is no sum over tokens."""
    rng, vocab, price = np.random.default_rng(10), 4, 0.5
    orders = np.argsort(rng.normal(size=(vocab, vocab)), axis=-1)
    second, points = log_softmax(rng.normal(size=vocab)), rng.normal(size=vocab)
    shares = [np.exp(log_softmax(rng.normal(size=(1, 1, vocab)))), np.exp(second[orders])[None]]
    rewards = [np.zeros((1, 1, vocab)), (points[orders] + rng.normal(size=(vocab, 1)))[None]]
    for tau in (0.2, 0.5, 0.95):
        log = offline.Log(shares, rewards)
        found = offline.implicit_policy(log, offline.implicit_q(log, tau), 1 / price)
        best = soft.psi_values(offline.behaviour(shares), rewards, price).advantage
        assert soft.token_kl(found, best) == pytest.approx(np.zeros(1), abs=1e-12)


def test_the_best_expectile_of_seven_stays_away_from_gibbs_and_more_so_in_longer_answers():
    """The table of the chapter: mean KL to the optimum of 100 random trees, prior, tau = 1/2, the best tau."""
    taus, price, rows = (0.5, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98), 0.5, []
    for size in (1, 2, 3, 4):
        rng = np.random.default_rng(size)
        prior = [log_softmax(rng.normal(size=(100, 2**t, 3))) for t in range(size)]
        rewards = rng.normal(size=(100, lm.count_responses(3, size, 2)))
        log = offline.Log([np.exp(p) for p in prior], token_mdp.terminal_rewards(rewards, 3, size, 2))
        goal = soft.psi_values(prior, log.rewards, price, eos=2).advantage

        def far(tau, weight, log=log, goal=goal):
            policy = offline.implicit_policy(log, offline.implicit_q(log, tau, eos=2), weight)
            return soft.token_kl(policy, goal, 2)

        away = np.array([far(tau, 1 / price) for tau in taus])
        best = away.mean(-1).argmin()
        half, least = ((away[k].mean(), away[k].std(ddof=1) / 10) for k in (0, best))
        rows.append([soft.token_kl(prior, goal, 2).mean(), *half, *least])
        if size == 1:
            assert np.abs(away).max() < 1e-12
        else:
            assert taus[best] == {2: 0.9, 3: 0.9, 4: 0.85}[size]
            assert away.min() > 1e-9
            # another weight does not help
            assert min(far(tau, w / price).mean() for tau in taus for w in (0.8, 1.25)) > 1.2 * away[best].mean()
    told = [
        [0.82, 0, 0, 0, 0],
        [1.20, 0.138, 0.026, 0.012, 0.003],
        [1.43, 0.243, 0.031, 0.028, 0.005],
        [1.39, 0.290, 0.023, 0.035, 0.006],
    ]
    assert np.array(rows) == pytest.approx(np.array(told), abs=0.005)


@pytest.mark.equation("eq-coverage")
def test_no_policy_that_writes_only_seen_answers_is_nearer_than_what_the_log_covers():
    price, rng = 0.6, np.random.default_rng(12)
    prior = log_softmax(rng.normal(size=(2, len(ANSWERS))))
    row, index, rewards = drawn(13, size=16)
    best = prior + rewards / price
    best = best - soft.soft_maximum(best)[:, None]
    log = read(row, index, rewards[row, index])
    shares = np.exp(lm.answers_of_levels(offline.behaviour(log.counts), EOS))
    limit = offline.coverage_bound(log, best, EOS)
    for k in range(2):
        seen = np.unique(index[row == k])
        assert limit[k] == pytest.approx(-np.log(np.exp(best[k, seen]).sum()))
        only = log_softmax(best[k, seen])
        assert lm.kl(only, best[k, seen]) == pytest.approx(limit[k])
        assert (shares[k] > 0).sum() == len(seen)
        for logits in rng.normal(size=(50, len(seen))):
            policy = log_softmax(only + 0.3 * logits)
            assert lm.kl(policy, best[k, seen]) >= limit[k]


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
        (lambda log: offline.filtered_q(log, 1.01), "share .* lies in .0, 1.; got 1.01"),
        (lambda log: offline.filtered_q(log, np.nan), "share .* lies in .0, 1.; got nan"),
        (lambda log: offline.implicit_q(log, 0.0), "an expectile lies in .0, 1.*; got 0.0"),
        (lambda log: offline.implicit_q(log, np.nan), "an expectile lies in .0, 1.*; got nan"),
        (lambda log: offline.read([0, 1], [[0, -1], [1, 1]], [0, 0], 2, 3, 2), "token -1 is outside the vocabulary"),
        (lambda log: offline.read([0, 2], [[0, 2], [1, 1]], [0, 0], 2, 3, 2), "row: there are 2 .*; got 2"),
        (lambda log: offline.filtered_clone([0], [[3, 2]], [0], 0, 1, 3, 2), "token 3 is outside the vocabulary"),
        (lambda log: offline.filtered_clone([1], [[0, 2]], [9], 0, 1, 3, 2), "no answer to prompt 0 of 1"),
        (lambda log: soft.psi_values(offline.behaviour(log.counts), log.rewards, -1.0, eos=EOS), "price must be"),
        (lambda log: offline.conservative_q(log, np.inf), "alpha must be finite and above 0; got inf"),
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
