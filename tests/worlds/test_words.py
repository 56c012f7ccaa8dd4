"""Texts to tokens and back."""

import numpy as np
import pytest

from rlhf_lab.worlds import words

WORDS = ("one", "two", "<eos>")


def test_texts_survive_the_way_there_and_back():
    for text in ("", "two", "one two", "two two one …"):
        assert words.decode(WORDS, words.encode(WORDS, text, 3)) == text
    assert words.encode(WORDS, "two").tolist() == [1]
    assert words.encode(WORDS, "").tolist() == []
    assert words.encode(WORDS, "").dtype == np.intp, "an index, where there is nothing, too"
    assert words.encode(WORDS, "two", 3).tolist() == [1, 2, 2]
    assert words.decode(WORDS, [0, 2, 1]) == "one"


def test_unknown_words_are_told():
    with pytest.raises(ValueError, match="'three' is not one of the words: one two <eos>"):
        words.encode(WORDS, "one three")


def test_texts_that_do_not_fit_are_told():
    with pytest.raises(ValueError, match="'one two one' has 3 words; at most 2 fit"):
        words.encode(WORDS, "one two one", 2)
    with pytest.raises(ValueError, match="'one …' was cut off after 1 words; here answers are cut off after 2"):
        words.encode(WORDS, "one …", 2)
    assert words.encode(WORDS, "one …").tolist() == [0]
