"""What is learned from logs of dialogues: laws in closed form, fixed points, optima, and what a leak does."""

import itertools
import re

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_lab.methods import dialogue, offline
from rlhf_lab.worlds import dialogues, haggling, text_maze, twenty_questions

GAME = haggling.game()
NODES = dialogues.tree(GAME)
SELLER = dialogues.constant(NODES, haggling.cautious_seller(GAME))
LOG = dialogues.sample(NODES, SELLER, 1000, np.random.default_rng(0))
FOUND = dialogue.counts(NODES, LOG)


def visited(level):
    return level.sum((-1, -2)) > 0


# Memory


@pytest.mark.equation("eq-memoryless")
def test_what_a_policy_without_memory_earns_is_what_its_tree_says():
    rng = np.random.default_rng(0)
    for game in (text_maze.game(seen=False), haggling.game(("stingy", "length"), 4)):
        nodes = dialogues.tree(game)
        tables = rng.dirichlet(np.ones(len(game.lines)), size=(3, len(game.replies)))
        exact = [dialogues.evaluate(nodes, dialogues.constant(nodes, table), game.reward) for table in tables]
        assert dialogue.memoryless_value(game, tables) == pytest.approx(exact, abs=1e-11)


def test_no_table_is_better_than_the_best_one():
    game = text_maze.game(seen=False)
    table, value = dialogue.best_memoryless(game)
    assert value == pytest.approx(-8.2, abs=1e-12)
    nodes = dialogues.tree(game)
    assert dialogues.evaluate(nodes, dialogues.constant(nodes, table), game.reward) == pytest.approx(value)
    small = text_maze.game(("#####", "#..G#", "#####"), seen=False)
    heard = np.flatnonzero(~small.ends)
    every = np.zeros((4 ** len(heard), len(small.replies), 4))
    for k, said in enumerate(itertools.product(range(4), repeat=len(heard))):
        every[k, heard] = np.eye(4)[list(said)]
    assert dialogue.best_memoryless(small)[1] == pytest.approx(dialogue.memoryless_value(small, every).max())
    assert dialogue.best_memoryless(small)[1] == pytest.approx(-1.5)


def test_too_many_tables_are_told(monkeypatch):
    with pytest.raises(
        ValueError, match=r"^1,048,576 policies without memory are too many to try; the limit is 100,000$"
    ):
        dialogue.best_memoryless(text_maze.game())
    monkeypatch.setattr(dialogue, "TABLES", 4096)
    assert dialogue.best_memoryless(text_maze.game(seen=False))[0].shape == (7, 4)


def test_the_value_of_a_table_has_the_gradient_of_its_differences():
    game = text_maze.game(seen=False, horizon=4)
    logits = np.random.default_rng(1).normal(size=(len(game.replies), 4))

    def value(x):
        weight = anp.exp(x)
        return dialogue.memoryless_value(game, weight / anp.sum(weight, axis=-1, keepdims=True))

    slope = grad(value)(logits)
    for o, u in itertools.product(range(len(game.replies)), range(4)):
        step = 1e-6 * (np.arange(logits.size).reshape(logits.shape) == 4 * o + u)
        assert slope[o, u] == pytest.approx((value(logits + step) - value(logits - step)) / 2e-6, abs=1e-7)


# Logs


def test_counts_are_those_of_a_loop():
    weight = np.random.default_rng(0).random(1000)
    for level, plain in enumerate(dialogue.counts(NODES, LOG, weight)):
        slow = np.zeros(plain.shape)
        for k in range(1000):
            if LOG.node[k, level] >= 0:
                slow[LOG.node[k, level], LOG.line[k, level], LOG.reply[k, level]] += weight[k]
        assert plain == pytest.approx(slow, abs=1e-10)
    assert FOUND[0].sum() == 1000
    assert [n.sum() for n in FOUND] == [(LOG.node[:, t] >= 0).sum() for t in range(5)]
    with pytest.raises(ValueError, match=r"^weight needs one number for each of the 1000 dialogues; got \(2,\)$"):
        dialogue.counts(NODES, LOG, [1, 2])


@pytest.mark.equation("eq-dialogue-clone")
def test_a_clone_says_what_the_log_says_as_often():
    policy = dialogue.clone(FOUND)
    for mine, n in zip(policy, FOUND, strict=True):
        seen = visited(n)
        assert mine[seen] == pytest.approx(n[seen].sum(-1) / n[seen].sum((-1, -2))[:, None])
        assert mine[~seen] == pytest.approx(np.full((np.sum(~seen), 7), 1 / 7))
    many = dialogue.counts(NODES, dialogues.sample(NODES, SELLER, 100_000, np.random.default_rng(1)))
    assert np.abs(dialogue.clone(many)[0] - SELLER[0]).max() < 0.01


@pytest.mark.equation("eq-dialogue-filter")
def test_a_filter_keeps_the_best_share_and_all_that_are_level():
    earned = np.array([3.0, 1.0, 2.0, 2.0, 0.0])
    assert dialogue.filtered(earned, 0.2).tolist() == [1, 0, 0, 0, 0]
    assert dialogue.filtered(earned, 0.3).tolist() == [1, 0, 1, 1, 0]
    assert dialogue.filtered(earned, 0.6).tolist() == [1, 0, 1, 1, 0]
    assert dialogue.filtered(earned, 1.0).tolist() == [1] * 5
    for share in (0, 1.1):
        with pytest.raises(ValueError, match=rf"^share says how many dialogues are kept, in \(0, 1\]; got {share}$"):
            dialogue.filtered(earned, share)


@pytest.mark.equation("eq-dialogue-filter")
def test_a_filter_by_return_clones_luck():
    game = twenty_questions.game(8)
    nodes = dialogues.tree(game)
    best = dialogues.best(dialogues.solve(nodes, game.reward))
    log = dialogues.sample(nodes, best, 3000, np.random.default_rng(0))
    assert set(dialogues.earned(game, log)) == {-3, -4}
    lucky = dialogue.clone(dialogue.counts(nodes, log, dialogue.filtered(dialogues.earned(game, log), 0.5)))
    success = np.ones(game.reward.shape) * game.good
    assert dialogues.evaluate(nodes, best, success) == pytest.approx(1)
    assert dialogues.evaluate(nodes, lucky, success) < 0.9


@pytest.mark.equation("eq-dialogue-batch")
def test_batch_q_is_the_solution_if_the_log_knows_all():
    everything = [1e9 * chance for chance in NODES.chance]
    values = dialogues.solve(NODES, GAME.reward)
    learned = dialogue.naive_q(NODES, everything, GAME.reward, [np.zeros(q.shape) for q in values.q])
    for mine, exact in zip(learned.q, values.q, strict=True):
        assert mine == pytest.approx(exact, abs=1e-12)
    worth = dialogues.evaluate(NODES, learned.policy, GAME.reward)
    assert worth == pytest.approx(NODES.start @ values.v[0])


@pytest.mark.equation("eq-dialogue-batch")
def test_the_maximum_finds_what_the_log_does_not_know():
    learned = dialogue.naive_q(
        NODES, FOUND, GAME.reward, [np.full(n.shape[:2], 5.0 + t**0.5) for t, n in enumerate(FOUND)]
    )
    for t, (policy, q, n) in enumerate(zip(learned.policy, learned.q, FOUND, strict=True)):
        unknown = n.sum(-1) == 0
        assert (q[unknown] == 5 + t**0.5).all()
        assert (q[~unknown] != 5 + t**0.5).all()
        assert (policy == np.eye(7)[q.argmax(-1)]).all()
    assert any((n.sum(-1) == 1).any() for n in FOUND)  # to have been said once is enough
    model = dialogue.model(NODES, FOUND)
    for t, (chance, n) in enumerate(zip(model.chance, FOUND, strict=True)):
        said = n.sum(-1) > 0
        assert chance[said].sum(-1) == pytest.approx(np.ones(said.sum()))
        assert (chance[~said] == 0).all()
        assert (model.child[t] == NODES.child[t]).all()


# Proposals


def by_enumeration(mu, q, n, tau):
    law = np.zeros(len(mu))
    for said in itertools.product(range(len(mu)), repeat=n):
        said = np.array(said)
        weight = np.exp((q[said] - q[said].max()) / tau)
        np.add.at(law, said, np.prod(mu[said]) * weight / weight.sum())
    return law


@pytest.mark.equation("eq-proposals")
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from([0.01, 0.1, 1.0, 10.0]))
def test_the_law_of_a_proposal_is_that_of_all_draws(seed, n, tau):
    rng = np.random.default_rng(seed)
    mu, q = rng.dirichlet(np.ones(4)), rng.uniform(-2, 2, size=4)
    mu[rng.integers(4)] = 0
    mu /= mu.sum()
    assert dialogue.proposal_law(mu, q, n, tau) == pytest.approx(by_enumeration(mu, q, n, tau), abs=1e-12)
    both = dialogue.proposal_law(np.stack([mu, mu[::-1]]), np.stack([q, q[::-1]]), n, tau)
    assert both == pytest.approx(np.stack([both[0], both[0][::-1]]), abs=1e-12)
    raised = dialogue.proposal_law(np.stack([mu, mu]), np.stack([q, q + 1e4]), n, tau)
    assert raised[1] == pytest.approx(both[0], abs=1e-9)


@pytest.mark.equation("eq-proposals")
def test_many_proposals_are_a_gibbs_policy_and_cold_ones_the_best_of_n():
    rng = np.random.default_rng(3)
    mu, q = rng.dirichlet(np.ones(5)), np.array([0.1, -0.7, 0.5, -0.2, 0.9])
    tilted = mu * np.exp(q / 0.5) / (mu * np.exp(q / 0.5)).sum()
    far = [np.abs(dialogue.proposal_law(mu, q, n, 0.5) - tilted).sum() for n in (1, 2, 8, 64, 1024, 100_000)]
    assert (np.diff(far) < 0).all()
    assert far[-1] < 1e-3 * far[0]
    order = np.argsort(q)
    below = np.cumsum(mu[order]) ** 4
    best = np.empty(5)
    best[order] = np.diff(below, prepend=0)
    assert dialogue.proposal_law(mu, q, 4, 0.006) == pytest.approx(best, abs=1e-4)
    assert dialogue.proposal_law(mu, q, 1, 0.5) == pytest.approx(mu, abs=1e-12)


def test_proposals_that_are_too_cold_are_told():
    mu, q = np.array([0.5, 0.5]), np.array([0.0, 6.0])
    assert dialogue.proposal_law(mu, q, 2, 0.01) == pytest.approx([0.25, 0.75])
    with pytest.raises(ValueError, match=r"^tau = 0\.009 is too cold: Q / tau spreads by 667, at most 600 will do$"):
        dialogue.proposal_law(mu, q, 2, 0.009)
    with pytest.raises(ValueError, match=r"^n is the number of proposals, a whole number from 1 on; got 0$"):
        dialogue.proposal_law(mu, q, 0, 1.0)
    with pytest.raises(ValueError, match=r"^tau must be finite and above 0; got 0$"):
        dialogue.proposal_law(mu, q, 2, 0)


@pytest.mark.equation("eq-chai")
def test_chai_values_are_those_of_its_own_policy():
    learned = dialogue.chai(NODES, FOUND, GAME.reward, 5, 0.05)
    model = dialogue.model(NODES, FOUND)
    values = dialogues.sweep(model, GAME.reward, lambda t, q: np.sum(learned.policy[t] * q, axis=-1))
    mu = dialogue.clone(FOUND)
    for t, q in enumerate(values.q):
        assert learned.q[t] == pytest.approx(q, abs=1e-12)
        assert learned.policy[t] == pytest.approx(dialogue.proposal_law(mu[t], q, 5, 0.05), abs=1e-12)
        seen = visited(FOUND[t])
        assert (learned.policy[t][seen][FOUND[t][seen].sum(-1) == 0] == 0).all()


@pytest.mark.equation("eq-public-cql")
def test_without_its_data_term_cql_pushes_down_what_was_seen():
    y = np.random.default_rng(0).normal(size=FOUND[0].shape[:2])
    n = FOUND[0].sum(-1)
    mu, alpha = n / n.sum(-1, keepdims=True), 0.3
    textbook = dialogue.conservative(FOUND, alpha)(0, y)
    public = dialogue.conservative(FOUND, alpha, data_term=False)(0, y)
    seen = n > 0
    soft = np.exp(public) * seen / (np.exp(public) * seen).sum(-1, keepdims=True)
    assert public[seen] == pytest.approx((y - alpha * soft / np.where(seen, mu, 1))[seen], abs=1e-10)
    assert textbook[seen] == pytest.approx(public[seen] + alpha)
    assert (textbook[~seen] == y[~seen]).all()
    assert (public[~seen] == y[~seen]).all()
    assert np.sum(mu * np.where(seen, textbook, 0)) == pytest.approx(np.sum(mu * np.where(seen, y, 0)))
    assert np.sum(mu * np.where(seen, public, 0)) == pytest.approx(np.sum(mu * np.where(seen, y, 0)) - alpha)
    tree = offline.conservative_q(offline.Log([n[:, None]], [y[:, None]]), alpha).q[0][:, 0]
    assert textbook[seen] == pytest.approx(tree[seen])


@pytest.mark.equation("eq-public-cql")
def test_the_public_loss_stands_still_there():
    rng = np.random.default_rng(1)
    mu, y, weight = rng.dirichlet(np.ones(4)), rng.normal(size=4), 0.6
    counts = [np.round(1e6 * mu)[None, :, None]]
    q = dialogue.conservative(counts, weight / 2, data_term=False)(0, y[None])[0]

    def loss(q):
        return anp.sum(mu * (q - y) ** 2) + weight * anp.log(anp.sum(anp.exp(q)))

    assert np.abs(grad(loss)(q)).max() < 1e-5


@pytest.mark.equation("eq-public-cql")
def test_one_price_a_turn_makes_long_dialogues_look_bad():
    shape = dialogue.conservative(FOUND, 0.1, data_term=False)
    textbook = dialogue.conservative(FOUND, 0.1)
    low = dialogue.chai(NODES, FOUND, GAME.reward, 5, 0.01, shape)
    high = dialogue.chai(NODES, FOUND, GAME.reward, 5, 0.01, textbook)
    turns = [dialogues.evaluate(NODES, learned.policy, np.ones(GAME.reward.shape)) for learned in (low, high)]
    assert turns[0] < turns[1]


@pytest.mark.equation("eq-brac")
def test_kl_control_is_the_best_policy_of_its_price():
    rng, price = np.random.default_rng(2), 0.1
    everything = [1e9 * chance * policy[..., None] for chance, policy in zip(NODES.chance, SELLER, strict=True)]
    best = dialogue.brac(NODES, everything, GAME.reward, price)

    def worth(policy):
        divergence = [
            np.sum(p * (np.log(np.maximum(p, 1e-300)) - np.log(m)), -1) for p, m in zip(policy, SELLER, strict=True)
        ]
        values = dialogues.sweep(
            NODES, GAME.reward, lambda t, q: np.sum(policy[t] * q, axis=-1) - price * divergence[t]
        )
        return NODES.start @ values.v[0]

    top = worth(best.policy)
    for _ in range(20):
        other = [p * np.exp(0.1 * rng.normal(size=p.shape)) for p in best.policy]
        assert worth([p / p.sum(-1, keepdims=True) for p in other]) < top
    for p, mu, q in zip(best.policy, SELLER, best.q, strict=True):
        weight = mu * np.exp(q / price)
        assert p == pytest.approx(weight / weight.sum(-1, keepdims=True), abs=1e-9)
    for p in dialogue.brac(NODES, FOUND, GAME.reward, price).policy:
        assert p.sum(-1) == pytest.approx(np.ones(len(p)))
    near = dialogue.brac(NODES, everything, GAME.reward, 1e6).policy
    assert max(np.abs(p - m).max() for p, m in zip(near, SELLER, strict=True)) < 1e-5
    with pytest.raises(ValueError, match=r"^price must be finite and above 0; got 0$"):
        dialogue.brac(NODES, FOUND, GAME.reward, 0)


# Critics

QUIZ = twenty_questions.game(4)
QUIZ_NODES = dialogues.tree(QUIZ)
ANYBODY = [np.full(c.shape[:2], 1 / c.shape[1]) for c in QUIZ_NODES.chance]


def small_log(count=40):
    return dialogues.sample(QUIZ_NODES, ANYBODY, count, np.random.default_rng(0))


def test_states_are_nodes_or_nodes_and_words():
    log = small_log()
    place, paid = dialogue.states(QUIZ, log, words=False)
    assert (place >= 0).sum() == (log.line >= 0).sum()
    assert paid.sum() == dialogues.earned(QUIZ, log).sum()
    assert place[0, 0] == 0
    assert (place[:, 0] == 0).all()
    for t, s in itertools.product(range(2), range(2)):
        assert len(set(place[log.node[:, t] == s, t])) <= 1
    long, spread = dialogue.states(QUIZ, log, words=True)
    words = [sum(len(QUIZ.lines[u].split()) for u in row if u >= 0) for row in log.line]
    assert ((long >= 0).sum(-1) == words).all()
    assert spread.sum(-1) == pytest.approx(dialogues.earned(QUIZ, log))
    first = len(QUIZ.lines[log.line[0, 0]].split())
    assert spread[0, : first - 1].tolist() == [0] * (first - 1)
    assert spread[0, first - 1] == -1
    assert (long[:, 0] == 0).all()
    assert set(np.unique(long)) == set(range(-1, long.max() + 1))


@pytest.mark.equation("eq-td-lambda")
def test_td_is_the_sum_that_it_says():
    place, paid = np.array([[0, 1, 2, -1], [0, 2, -1, -1]]), np.array([[1.0, 2.0, 4.0, 0.0], [3.0, 5.0, 0.0, 0.0]])
    value = dialogue.td_lambda(place[:1], paid[:1], 0.5, 0.25, np.array([10.0, 20.0, 30.0]))
    last = 4.0
    middle = 2 + 0.75 * 30 + 0.25 * last
    first = 1 + 0.75 * 20 + 0.25 * middle
    assert value == pytest.approx([10 + 0.5 * (first - 10), 20 + 0.5 * (middle - 20), 30 + 0.5 * (last - 30)])
    again = dialogue.td_lambda(place[1:], paid[1:], 1.0, 1.0, value.copy())
    assert again == pytest.approx([8.0, value[1], 5.0])
    for lam in (-0.1, 1.1):
        with pytest.raises(ValueError, match=r"^lam must lie in \[0, 1\]; got "):
            dialogue.td_lambda(place, paid, 0.5, lam, value)
    with pytest.raises(ValueError, match=r"^step must be finite and above 0; got 0$"):
        dialogue.td_lambda(place, paid, 0, 0.5, value)


@pytest.mark.equation("eq-td-lambda")
def test_with_lambda_one_words_make_no_difference():
    log, last = small_log(300), []
    for words in (False, True):
        place, paid = dialogue.states(QUIZ, log, words=words)
        value = dialogue.td_lambda(place, paid, 0.1, 1.0, np.zeros(place.max() + 1))
        starts = dict(zip(place[:, 0].tolist(), value[place[:, 0]], strict=True))
        last.append(starts[0])
    assert last[0] == pytest.approx(last[1], abs=1e-12)


def fixed_point(place, paid):
    """V with V(s) = mean over visits of r + V(next)."""
    size = place.max() + 1
    matrix, right = np.eye(size), np.zeros(size)
    visits = np.bincount(place[place >= 0], minlength=size)
    for row, rewards in zip(place, paid, strict=True):
        for k, s in enumerate(row):
            if s >= 0:
                right[s] += rewards[k] / visits[s]
                if k + 1 < len(row) and row[k + 1] >= 0:
                    matrix[s, row[k + 1]] -= 1 / visits[s]
    return np.linalg.solve(matrix, right)


@pytest.mark.equation("eq-td-fixed-point")
def test_two_critics_that_have_settled_say_the_same_of_every_node():
    log = small_log(300)
    turns, by_words = (dialogue.states(QUIZ, log, words=words) for words in (False, True))
    coarse, fine = fixed_point(*turns), fixed_point(*by_words)
    lengths = [[len(QUIZ.lines[u].split()) for u in row if u >= 0] for row in log.line]
    for k, length in enumerate(lengths):
        starts = np.cumsum([0, *length[:-1]])
        assert fine[by_words[0][k, starts]] == pytest.approx(coarse[turns[0][k, : len(length)]], abs=1e-10)
    model = dialogue.model(QUIZ_NODES, dialogue.counts(QUIZ_NODES, log))
    thin = dialogue.model(QUIZ_NODES, dialogue.counts(QUIZ_NODES, log, np.full(len(log.node), 1e-3)))
    for whole, part in zip(model.chance, thin.chance, strict=True):
        assert part == pytest.approx(whole), "counts may be weights"
    clone = dialogue.clone(dialogue.counts(QUIZ_NODES, log))
    assert coarse[0] == pytest.approx(dialogues.evaluate(model, clone, QUIZ.reward), abs=1e-10)


# Two levels


@pytest.mark.equation("eq-two-levels", "eq-two-level-gap")
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_the_gap_of_two_levels_is_a_divergence_over_plans_and_texts(seed):
    rng = np.random.default_rng(seed)
    plan, text = rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(4), size=3)
    text[0] = [0.5, 0.5, 0, 0]
    reward, price = rng.normal(size=(3, 4)), rng.uniform(0.1, 2)
    with np.errstate(divide="ignore"):
        found = dialogue.two_levels(np.log(plan), np.log(text), reward, price)
    assert found.joint - found.manager == pytest.approx(price * found.kl, abs=1e-10)
    assert found.kl >= -1e-12
    mean = (text * reward).sum(-1)
    assert found.manager == pytest.approx(price * np.log(plan @ np.exp(mean / price)), abs=1e-10)
    assert found.joint == pytest.approx(
        price * np.log(np.sum(plan[:, None] * text * np.exp(reward / price))), abs=1e-10
    )


@pytest.mark.equation("eq-two-level-gap")
def test_nothing_is_lost_if_plans_say_all():
    rng = np.random.default_rng(0)
    reward = np.repeat(rng.normal(size=(3, 1)), 2, axis=1)
    found = dialogue.two_levels(np.log([0.2, 0.3, 0.5]), np.log(rng.dirichlet([1, 1], size=3)), reward, 0.3)
    assert found.kl == pytest.approx(0, abs=1e-12)


# Masks


@pytest.mark.equation("eq-leak")
def test_a_leak_mixes_the_words_of_both_sides():
    mine, other = dialogue.pair_counts(GAME, NODES, LOG)
    assert mine.sum() == other.sum() == (LOG.line >= 0).sum()
    slow = np.zeros(mine.shape), np.zeros(other.shape)
    for k in range(len(LOG.line)):
        heard = NODES.reply[0][LOG.node[k, 0]]
        for u, o in zip(LOG.line[k], LOG.reply[k], strict=True):
            if u >= 0:
                slow[0][heard, u] += 1
                slow[1][u, o] += 1
                heard = o
    assert (mine == slow[0]).all()
    assert (other == slow[1]).all()
    words = haggling.same_numbers(GAME)
    right, leaked = (dialogue.shared_clone(mine, other, *words, leak) for leak in (0, 1))
    for table in (right, leaked):
        assert table.sum(-1) == pytest.approx(np.ones(len(table)))
    sixty = GAME.replies.index("i offer 60")
    ask = GAME.line("i ask 60")
    told = [
        mine[sixty, u] + other[ask, GAME.replies.index(f"i offer {line.split()[-1]}")]
        for u, line in enumerate(GAME.lines)
    ]
    assert leaked[sixty] == pytest.approx(np.array(told) / np.sum(told))
    assert right[sixty] == pytest.approx(mine[sixty] / mine[sixty].sum())
    start = GAME.replies.index("i offer 30")  # a number that you never say
    assert leaked[start] == pytest.approx(right[start])
    unknown = mine.sum(-1) == 0
    assert right[unknown] == pytest.approx(np.full((unknown.sum(), 7), 1 / 7))
    half = dialogue.shared_clone(mine, other, *words, 0.5)[sixty]
    assert half == pytest.approx((2 * mine[sixty] + np.array(told) - mine[sixty]) / (mine[sixty].sum() + np.sum(told)))
    once = dialogue.shared_clone(np.array([[1.0, 0.0], [0.0, 0.0]]), np.zeros((2, 2)), *np.full((2, 2), -1), 0)
    assert once.tolist() == [[1, 0], [0.5, 0.5]]
    thin = dialogue.shared_clone(mine / 1000, other / 1000, *words, 1)
    assert thin == pytest.approx(leaked), "counts may be weights"
    quiz = dialogues.sample(QUIZ_NODES, ANYBODY, 50, np.random.default_rng(1))
    assert dialogue.pair_counts(QUIZ, QUIZ_NODES, quiz)[0][QUIZ_NODES.reply[0][0]].sum() == 50  # each has an opening
    with pytest.raises(ValueError, match=re.escape("leak must lie in [0, 1]; got 2")):
        dialogue.shared_clone(mine, other, *words, 2)


@pytest.mark.equation("eq-leak")
def test_a_table_with_rows_for_each_side_cannot_leak():
    mine, other = dialogue.pair_counts(GAME, NODES, LOG)
    apart = np.full(len(GAME.replies), -1), np.full(len(GAME.lines), -1)  # no word is said by both
    for leak in (0.3, 1.0):
        assert dialogue.shared_clone(mine, other, *apart, leak) == pytest.approx(
            dialogue.shared_clone(mine, other, *apart, 0)
        )
