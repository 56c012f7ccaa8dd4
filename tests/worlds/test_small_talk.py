"""Small talk: a language model that slips, reactions that are laws, and rewards that are paid for nonsense."""

import numpy as np
import pytest

from rlhf_lab.worlds import dialogues, small_talk
from rlhf_lab.worlds.small_talk import BYE, CORPUS, HAHA, KINDS, LONG, OK, THANKS, WHAT, reaction

GAME = small_talk.game()
NODES = dialogues.tree(GAME)


def test_every_line_of_one_to_four_words_is_there_once():
    assert len(small_talk.lines()) == len(set(small_talk.lines())) == 7 + 7**2 + 7**3 + 7**4
    assert small_talk.kinds().shape == (2800,)
    for line, (kind, _) in CORPUS.items():
        assert KINDS[small_talk.kinds()[GAME.line(line)]] == kind
    assert (small_talk.kinds() != KINDS.index("nonsense")).sum() == len(CORPUS)


def test_the_language_model_is_a_law_that_favours_the_corpus():
    log_p = small_talk.language_model()
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-12)
    assert np.isfinite(log_p).all()
    nonsense = np.exp(log_p)[small_talk.kinds() == 4].sum()
    assert 0.1 < nonsense < 0.15
    rare = small_talk.language_model(slips=1e-9)
    often = sum(n for _, n in CORPUS.values())
    for line, (_, n) in CORPUS.items():
        assert np.exp(rare[GAME.line(line)]) == pytest.approx(n / often, abs=1e-8)


def test_slips_go_from_word_to_word():
    log_p = small_talk.language_model(slips=1.0, pseudo_count=0.5)
    said = {line: log_p[GAME.line(line)] for line in ("hey", "hey hey", "great", "great hey", "how how how how")}
    # after "hey": end 20, you 8, how 10, and 0.5 for each of eight words; before it: nothing but the start
    begins = sum(n for _, n in CORPUS.values()) + 7 * 0.5
    assert np.exp(said["hey"]) == pytest.approx((20 + 8 + 10 + 0.5) / begins * 20.5 / (38 + 4))
    assert np.exp(said["hey hey"]) == pytest.approx((38.5 / begins) * (0.5 / 42) * (20.5 / 42))
    how = 24 + 4  # "how" is followed by "are" 24 times
    assert np.exp(said["how how how how"]) == pytest.approx((14.5 / begins) * (0.5 / how) ** 3)


def test_reactions_are_laws_and_repeating_a_kind_bores():
    for line in ("hey", "how are you ?", "great", "haha", "? great haha ?", "you you"):
        for before in KINDS:
            assert sum(reaction(line, before).values()) == pytest.approx(1)
    assert reaction("haha", "joke")[HAHA] < reaction("haha", "greeting")[HAHA]
    assert reaction("great", "joke") == {THANKS: 0.8, OK: 0.2}
    assert reaction("haha haha", "joke") == pytest.approx(
        {HAHA: 0.85 * 0.75, LONG: 0, THANKS: 0, WHAT: 0.85 / 4, BYE: 0.15}
    )
    assert reaction("haha ?", "joke") == pytest.approx(
        {HAHA: 0.425, LONG: 0.425 * 0.2, THANKS: 0, WHAT: 0.425 * 0.8, BYE: 0.15}
    )


def test_the_game_is_made_of_its_reactions():
    game = small_talk.game()
    for line, before in (("how are you ?", "question"), ("how are you ?", "joke"), ("great great", "joke")):
        u, s = game.line(line), KINDS.index(before)
        for o, reply in enumerate(game.replies):
            assert game.turn[u, s, o].sum() == pytest.approx(reaction(line, before).get(reply, 0.0))
        assert game.turn[u, s].sum(0)[small_talk.kinds()[u]] == pytest.approx(1)
    assert game.reward[game.line("great")].tolist() == [1] * 7
    assert game.reward[game.line("great great")].tolist() == [-1] * 7
    assert [game.replies[o] for o in np.flatnonzero(game.ends)] == [BYE]
    assert (game.good == ~game.ends).all()
    assert game.opening[game.replies.index("hi"), KINDS.index("nonsense")] == 1
    assert game.horizon == 4


def test_implicit_rewards_count_what_they_say():
    def paid(name, line, reply):
        return small_talk.implicit_reward(name)[GAME.line(line), GAME.replies.index(reply)]

    assert paid("questions", "? ? great", WHAT) == 2
    assert [paid("sentiment", "hey", reply) for reply in (THANKS, WHAT, BYE, OK)] == [1, -1, -1, 0]
    assert [paid("laughter", "hey", reply) for reply in (HAHA, OK)] == [1, 0]
    assert [paid("length", "hey", reply) for reply in (LONG, OK)] == [1, 1 / 8]
    together = sum(small_talk.implicit_reward(name) for name in small_talk.IMPLICIT)
    assert small_talk.implicit_reward("together") == pytest.approx(together)
    with pytest.raises(ValueError, match=r"^there is no implicit reward 'votes'; there are: questions, sentiment, lau"):
        small_talk.implicit_reward("votes")


def best(name):
    return dialogues.best(dialogues.solve(NODES, small_talk.implicit_reward(name)))


def test_the_best_way_to_earn_question_marks_is_to_say_nothing_else():
    policy = best("questions")
    assert GAME.lines[int(policy[0][0].argmax())] == "? ? ? ?"
    assert dialogues.evaluate(NODES, policy, GAME.reward) < -3


@pytest.mark.parametrize("name", ["sentiment", "laughter", "length", "together"])
def test_each_implicit_reward_pays_for_nonsense(name):
    policy = best(name)
    assert dialogues.evaluate(NODES, policy, GAME.reward) < 2.9  # what the language model's lines are rated


def test_shares_that_are_none_are_told():
    for slips in (0, 1.5):
        with pytest.raises(ValueError, match=rf"^slips is a share of lines, in \(0, 1\]; got {slips}$"):
            small_talk.language_model(slips)
    with pytest.raises(ValueError, match=r"^pseudo_count must be finite and above 0; got 0$"):
        small_talk.language_model(pseudo_count=0)


@pytest.mark.parametrize(
    ("name", "most", "by_the_model"),
    [
        ("questions", 12.7465, 0.649852),
        ("sentiment", 2.216539, 0.197765),
        ("laughter", 2.769219, 0.490096),
        ("length", 2.73911, 1.352491),
    ],
)
def test_the_numbers_of_the_game_stay_what_they_are(name, most, by_the_model):
    # not derived: they hold the tables of reactions to what the chapter was written with
    paid, model = small_talk.implicit_reward(name), np.exp(small_talk.language_model())
    policy = [np.tile(model, (len(belief), 1)) for belief in NODES.belief]
    assert NODES.start @ dialogues.solve(NODES, paid).v[0] == pytest.approx(most, abs=1e-6)
    assert dialogues.evaluate(NODES, policy, paid) == pytest.approx(by_the_model, abs=1e-6)
    assert dialogues.evaluate(NODES, policy, GAME.reward) == pytest.approx(2.859051, abs=1e-6)
