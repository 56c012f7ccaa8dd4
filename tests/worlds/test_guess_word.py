"""Guess the word: replies are those of the rule, and the solution is that of a search over sets of words."""

from functools import cache

import pytest

from rlhf_lab.worlds import dialogues, guess_word
from rlhf_lab.worlds.guess_word import WORDS, reply


@pytest.mark.parametrize(
    ("guess", "secret", "told"),
    [
        ("tea", "tea", "right right right"),
        ("tea", "eat", "near near near"),
        ("tea", "toe", "right near wrong"),
        ("tat", "ate", "near near wrong"),
        ("ooh", "hot", "wrong right near"),
        ("oot", "toe", "wrong right near"),
    ],
)
def test_a_letter_counts_as_often_as_it_is_there(guess, secret, told):
    assert reply(guess, secret) == told


@cache
def fewest(words):
    """Total guesses for the words of a set, by search over sets."""
    if len(words) == 1:
        return 1
    found = []
    for guess in WORDS:
        parts = {}
        for secret in words:
            parts.setdefault(reply(guess, secret), set()).add(secret)
        if len(parts) > 1:
            rest = sum(fewest(frozenset(part)) for told, part in parts.items() if told != "right right right")
            found.append(len(words) + rest)
    return min(found)


def test_the_solution_is_that_of_a_search_over_sets():
    game = guess_word.game()
    nodes = dialogues.tree(game)
    values = dialogues.solve(nodes, game.reward)
    assert -(nodes.start @ values.v[0]) == pytest.approx(fewest(frozenset(WORDS)) / len(WORDS), abs=1e-12)


def test_the_right_word_ends_the_game():
    game = guess_word.game(("on", "no"), 4)
    assert game.replies == ("i have a word", "near near", "right right")
    assert game.ends.tolist() == game.good.tolist() == [False, False, True]
    assert game.opening.tolist() == [[0.5, 0.5], [0, 0], [0, 0]]
    assert (game.reward == -1).all()
    assert game.horizon == 4
    assert guess_word.game().horizon == 6
    assert guess_word.game().lines == WORDS


@pytest.mark.parametrize("words", [("tea",), ("tea", "tea"), ("tea", "to"), ()])
def test_words_that_make_no_game_are_told(words):
    with pytest.raises(ValueError, match=r"^words must be different, at least two, and of one length; got "):
        guess_word.game(words)


def test_wrong_words_are_shown():
    with pytest.raises(ValueError, match=r"; got tea, to$"):
        guess_word.game(("tea", "to"))
