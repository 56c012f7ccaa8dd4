"""Beliefs hold all that matters: exact values agree with trees of histories, with all policies, and with play."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_lab.worlds import dialogues, guess_word, haggling, text_maze, twenty_questions
from rlhf_lab.worlds.dialogues import END, Game

GAMES = {
    "twenty questions": twenty_questions.game(4),
    "guess the word": guess_word.game(),
    "maze": text_maze.game(seen=False),
    "haggling": haggling.game(horizon=4),
}
every_game = pytest.mark.parametrize("game", GAMES.values(), ids=GAMES)


def any_game(rng, lines=2, replies=3, secrets=3, horizon=3):
    turn = rng.dirichlet(np.ones(replies * secrets), size=(lines, secrets)).reshape(lines, secrets, replies, secrets)
    turn = np.where(rng.random(turn.shape) < 0.3, 0, turn) + 1e-3 * (np.arange(replies) == 0)[:, None]
    turn /= turn.sum((-1, -2), keepdims=True)
    opening = rng.dirichlet(np.ones(replies * secrets)).reshape(replies, secrets)
    over = np.arange(replies) == replies - 1
    words = [tuple(f"{kind} {k}" for k in range(n)) for kind, n in (("line", lines), ("reply", replies))]
    return Game(*words, opening, turn, rng.normal(size=(lines, replies)), over, over, horizon)


def any_policy(nodes, rng):
    return [rng.dirichlet(np.ones(chance.shape[1]), size=len(chance)) for chance in nodes.chance]


def by_histories(game, weight, t=0):
    """The best value, by going through every history: `weight` (S,) is P(secret, history), never normalised."""
    if t == game.horizon:
        return 0.0
    found = []
    for u in range(len(game.lines)):
        joint = np.einsum("s,sop->op", weight, game.turn[u])
        value = sum(joint[o].sum() * game.reward[u, o] for o in range(len(game.replies)))
        following = [o for o in range(len(game.replies)) if joint[o].any() and not game.ends[o]]
        found.append(value + sum(by_histories(game, joint[o], t + 1) for o in following))
    return max(found)


@pytest.mark.equation("eq-belief", "eq-belief-value")
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_the_best_value_is_that_of_the_tree_of_histories(seed):
    game = any_game(np.random.default_rng(seed))
    nodes = dialogues.tree(game)
    values = dialogues.solve(nodes, game.reward)
    exact = sum(by_histories(game, weight) for weight in game.opening)
    assert nodes.start @ values.v[0] == pytest.approx(exact, abs=1e-10)
    assert dialogues.evaluate(nodes, dialogues.best(values), game.reward) == pytest.approx(exact, abs=1e-10)


@pytest.mark.parametrize(
    "game",
    [twenty_questions.game(3, 3), guess_word.game(("on", "no", "oo"), 3), haggling.game(("stingy", "utility"), 3)],
)
def test_small_games_have_the_value_of_their_tree_of_histories(game):
    nodes = dialogues.tree(game)
    exact = sum(by_histories(game, weight) for weight in game.opening)
    assert nodes.start @ dialogues.solve(nodes, game.reward).v[0] == pytest.approx(exact, abs=1e-12)


def test_no_policy_of_a_tiny_game_is_better():
    game = any_game(np.random.default_rng(5), replies=2, secrets=2, horizon=2)
    nodes = dialogues.tree(game)
    sizes = [len(belief) for belief in nodes.belief]
    every = itertools.product((0, 1), repeat=sum(sizes))
    cut = sizes[0]
    earned = [
        dialogues.evaluate(nodes, [np.eye(2)[list(one[:cut])], np.eye(2)[list(one[cut:])]], game.reward)
        for one in every
    ]
    assert max(earned) == pytest.approx(nodes.start @ dialogues.solve(nodes, game.reward).v[0], abs=1e-12)
    assert len(set(np.round(earned, 9))) > 3


@every_game
def test_nodes_are_distributions_and_lead_to_nodes(game):
    nodes = dialogues.tree(game)
    assert nodes.start.sum() == pytest.approx(1)
    for t, (belief, reply, chance, child) in enumerate(zip(*nodes[1:], strict=True)):
        assert len(belief) == len(reply) == len(chance) == len(child)
        assert belief.sum(-1) == pytest.approx(np.ones(len(belief)), abs=1e-10)
        assert chance.sum(-1) == pytest.approx(np.ones(chance.shape[:2]), abs=1e-10)
        goes_on = (chance > 1e-12) & ~game.ends if t + 1 < game.horizon else np.zeros(chance.shape, bool)
        assert ((child >= 0) == goes_on).all()
        if t + 1 < game.horizon:
            assert set(child[goes_on]) == set(range(len(nodes.belief[t + 1])))
            where = np.nonzero(goes_on)
            assert (nodes.reply[t + 1][child[goes_on]] == where[2]).all()
            joint = np.einsum("ns,usop->nuop", belief, game.turn)
            assert nodes.belief[t + 1][child[goes_on]] == pytest.approx(
                joint[where] / chance[where][:, None], abs=1e-11
            )
    values = dialogues.solve(nodes, game.reward)
    assert dialogues.evaluate(nodes, dialogues.best(values), game.reward) == pytest.approx(nodes.start @ values.v[0])


def test_equal_beliefs_after_different_replies_are_different_nodes():
    game = twenty_questions.game(2)
    nodes = dialogues.tree(game)
    assert nodes.belief[1].tolist() == [[0, 1], [1, 0], [0, 1]] or len(nodes.belief[1]) == 3
    assert sorted(nodes.reply[1].tolist()) == [1, 2, 2]


@every_game
def test_dialogues_that_are_drawn_earn_what_a_policy_is_worth(game):
    nodes, rng = dialogues.tree(game), np.random.default_rng(1)
    policy = any_policy(nodes, rng)
    log = dialogues.sample(nodes, policy, 4000, rng)
    found = dialogues.earned(game, log)
    error = found.std(ddof=1) / len(found) ** 0.5
    assert abs(found.mean() - dialogues.evaluate(nodes, policy, game.reward)) < 4 * error
    first = np.bincount(log.line[:, 0], minlength=len(game.lines)) / len(found)
    law = np.einsum("n,nu->u", nodes.start, policy[0])
    assert np.abs(first - law).max() < 4 * 0.5 / len(found) ** 0.5


def test_a_draw_never_says_what_has_no_probability():
    game = GAMES["maze"]
    nodes, rng = dialogues.tree(game), np.random.default_rng(0)
    log = dialogues.sample(nodes, dialogues.best(dialogues.solve(nodes, game.reward)), 500, rng)
    values = dialogues.solve(nodes, game.reward)
    for t in range(game.horizon):
        here = log.node[:, t] >= 0
        best = values.q[t][log.node[here, t]]
        assert (best[np.arange(here.sum()), log.line[here, t]] > best.max(-1) - 1e-9).all()
        assert (nodes.chance[t][log.node[here, t], log.line[here, t], log.reply[here, t]] > 0).all()
    over = log.line < 0
    assert (over == (log.node < 0)).all()
    assert (over == (log.reply < 0)).all()
    assert (np.diff(over.astype(int), axis=1) >= 0).all()


@every_game
def test_a_log_that_is_written_is_read_again(game):
    nodes, rng = dialogues.tree(game), np.random.default_rng(2)
    log = dialogues.sample(nodes, any_policy(nodes, rng), 50, rng)
    texts = dialogues.write(game, log, nodes.reply[0][log.node[:, 0]])
    assert all(text[-1] == END for text in texts)
    again = dialogues.read(game, nodes, texts)
    for before, after in zip(log, again, strict=True):
        assert (before == after).all()


def test_a_policy_without_memory_says_the_same_after_the_same_reply():
    game = GAMES["maze"]
    nodes, rng = dialogues.tree(game), np.random.default_rng(3)
    table = rng.dirichlet(np.ones(4), size=len(game.replies))
    policy = dialogues.constant(nodes, table)
    for level, reply in zip(policy, nodes.reply, strict=True):
        assert (level == table[reply]).all()
    assert dialogues.evaluate(nodes, policy, game.reward) < nodes.start @ dialogues.solve(nodes, game.reward).v[0]


def test_lines_that_are_level_are_told_apart_by_their_order():
    values = dialogues.Values([np.zeros(2)], [np.array([[0.0, 1.0, 1.0 + 1e-13], [2.0, 1.0, 0.0]])])
    assert dialogues.best(values)[0].tolist() == [[0, 1, 0], [1, 0, 0]]
    values = dialogues.Values([np.zeros(1)], [np.array([[0.0, 1.0, 1.0 + 1e-9]])])
    assert dialogues.best(values)[0].tolist() == [[0, 0, 1]]


TALK = ["think of something", "does it move", "no", "is it the moss", "yes, that is it", END]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (TALK[:-1], "dialogue 1 lacks its terminal mark '<end>': without it nobody knows whether it was cut off"),
        ([], "dialogue 1 lacks its terminal mark '<end>'"),
        ([TALK[0], END], "dialogue 1 stops after 0 turns, but it was not over: '<end>' stands too early"),
        ([*TALK[:2], TALK[4], END], "dialogue 1, turn 1: after 'does it move' nobody replies 'yes, that is it'"),
        ([*TALK[:3], END], "dialogue 1 stops after 1 turns, but it was not over: '<end>' stands too early"),
        ([*TALK[:-1], *TALK[1:]], "dialogue 1, turn 3: it is over"),
        (["hello", *TALK[1:]], "dialogue 1: nobody replies 'hello' in this game"),
        ([*TALK[:2], "maybe", *TALK[3:]], "dialogue 1: nobody replies 'maybe' in this game"),
        (["yes", *TALK[1:]], "dialogue 1 must open with a reply, then lines and replies in turn, 4 at most"),
        ([*TALK[:4], END], "dialogue 1 must open with a reply, then lines and replies in turn, 4 at most"),
        ([TALK[0], *TALK[1:3] * 5, END], "dialogue 1 must open with a reply"),
        ([TALK[0], "is it god", "no", END], "'is it god' is outside the language of this game; its lines are: is it"),
        (
            [*TALK[:3], "does it move", "yes", END],
            "dialogue 1, turn 2: after 'does it move' nobody replies 'yes'",
        ),
    ],
)
def test_a_log_that_cannot_be_is_told(text, told):
    game = GAMES["twenty questions"]
    with pytest.raises(ValueError, match=r"^" + re.escape(told)):
        dialogues.read(game, dialogues.tree(game), [TALK, text])


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("opening", np.full((2, 3), 1 / 6), "opening must have shape (3, 3); got (2, 3)"),
        ("turn", np.ones((2, 3, 3)), "turn must have shape (2, 3, 3, 3)"),
        ("reward", np.ones(2), "reward must have shape (2, 3)"),
        ("ends", np.ones(2, bool), "ends must have shape (3,)"),
        ("good", np.ones(2, bool), "good must have shape (3,)"),
        ("turn", np.ones((2, 3, 3, 3)), "turn must sum to 1; the sum is 9"),
        ("opening", np.full((3, 3), 1.0), "opening must sum to 1; the sum is 9"),
        ("horizon", 0, "horizon is the number of turns, a whole number from 1 on; got 0"),
        ("lines", ("a", "a"), "lines: the same words stand twice"),
        ("replies", ("a", "b", "a"), "replies: the same words stand twice"),
    ],
)
def test_tables_that_do_not_fit_are_told(name, value, told):
    game = any_game(np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"^" + re.escape(told)):
        Game(**{**game.__dict__, name: value})


def test_too_many_beliefs_are_told(monkeypatch):
    monkeypatch.setattr(dialogues, "NODES", 18)
    with pytest.raises(ValueError, match=r"^19 beliefs before turn 3 are too many: shorten the horizon$"):
        dialogues.tree(GAMES["twenty questions"])
    monkeypatch.setattr(dialogues, "NODES", 19)
    assert len(dialogues.tree(GAMES["twenty questions"]).belief[2]) == 19


def test_a_log_has_at_least_one_dialogue():
    game = GAMES["twenty questions"]
    nodes = dialogues.tree(game)
    policy = any_policy(nodes, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"^count is the number of dialogues, a whole number from 1 on; got 0$"):
        dialogues.sample(nodes, policy, 0, np.random.default_rng(0))
