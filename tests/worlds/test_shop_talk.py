"""What shopkeepers say: its size, its words, and some of its weights worked out by hand."""

import numpy as np
import pytest

from rlhf_lab.models import lm
from rlhf_lab.numerics import automata
from rlhf_lab.worlds import shop_talk, words

PROMPTS = np.stack([words.encode(shop_talk.WORDS, question) for question in shop_talk.QUESTIONS])


def said(question, text):
    """P(text) without noise, word by word."""
    talk, k = shop_talk.language(), shop_talk.QUESTIONS.index(question)
    state, p = 0, 1.0
    for token in [*words.encode(shop_talk.WORDS, text), 63]:
        p *= talk.p[k, state, token]
        state = talk.following[state, token]
    return p


def test_questions_change_weights_alone():
    possible = shop_talk.language().p > 0
    assert (possible == possible[0]).all()
    assert len({p.tobytes() for p in shop_talk.language().p}) == 12


def test_the_vocabulary_is_used():
    answers = set(np.flatnonzero((shop_talk.language().p > 0).any((0, 1))))
    assert answers | set(PROMPTS.ravel()) == set(range(64))
    assert len(set(shop_talk.WORDS)) == 64


def test_there_are_too_many_texts_to_list():
    said = shop_talk.language()
    following = np.repeat(said.following[None], 12, axis=0)
    in_grammar = automata.count(said.p > 0, following, 32)
    assert (np.floor(np.log10(in_grammar)) == 19).all()
    assert np.floor(np.log10(float(lm.count_responses(64, 32, 63)))) == 57


def test_the_world_is_the_same_for_all_four_things_but_for_what_is_sold_out():
    assert shop_talk.SOLD_OUT == ("honey",)
    prices = said("price of tea", "it costs two coins ."), said("price of soap", "it costs five coins .")
    places = said("where is tea", "look on the shelf ."), said("where is bread", "look behind the counter .")
    assert prices[0] == pytest.approx(prices[1], rel=1e-12)
    assert places[0] == pytest.approx(places[1], rel=1e-12)
    assert said("is there tea", "yes .") > said("is there honey", "yes .") > 0


def test_claims_are_right_as_often_as_wrong():
    right, *wrong = (said("price of tea", f"the price is {n} coins .") for n in ("two", "three", "five", "nine"))
    assert right / (right + sum(wrong)) == pytest.approx(0.55)
    right, *wrong = (
        said("where is soap", f"look {place} .")
        for place in ("by the door", "on the shelf", "behind the counter", "in the cellar")
    )
    assert right / (right + sum(wrong)) == pytest.approx(0.55)


def test_a_sentence_by_hand():
    silent = 3 / (3 + 1.2 + 0.6 + 0.6 + 0.4 + 0.7 + 0.4 + 0.3 + 0.3)  # no greeting, no insult
    price = 8 / (8 + 0.5 + 0.8 + 1 + 0.8 + 0.3 + 0.2)
    phrase = 1 / (4 + 2 + 2 + 1 + 0.8 + 0.5 + 1)
    stop = 8 / (8 + 1 + 0.4 + 1.2 + 0.5 + 0.3 + 0.2 + 0.1)
    enough = 7 / (7 + 1 + 0.5 + 0.2) * 7 / (7 + 1 + 0.8 + 0.8 + 0.6 + 0.6 + 0.4 + 0.4 + 0.3)
    expected = silent * price * phrase * 0.55 * stop * enough
    assert said("price of tea", "the price is two coins .") == pytest.approx(expected, rel=1e-12)
