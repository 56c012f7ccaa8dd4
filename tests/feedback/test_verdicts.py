"""Words say how a comparison ended, whatever their case and the strokes between them."""

import pytest

from rlhf_lab.feedback import verdicts

FIRST = ("a", "A", "model_a", "MODEL-A", "model a", "left", "first", "model_1", "assistant_a", "item_a", "player_a")
SECOND = ("b", "model_b", "Model B", "right", "second", "model_2", "assistant_b", "item_b", "player_b")
NEITHER = (
    "tie",
    "ties",
    "tied",
    "draw",
    "drawn",
    "both",
    "neither",
    "equal",
    "same",
    "bothbad",
    "both_bad",
    "both good",
)
NEITHER += (
    "tie (bothbad)",
    "tie (both_bad)",
    "tie_(bothbad)",
    "tie (bothgood)",
    "tie (both good)",
    "Tie (Inconsistent)",
)
YES = (True, 1, 1.0, "1", "1.0", "t", "T", "true", "yes", "Y", " yes ")
NO = (False, 0, 0.0, "0", "0.0", "f", "false", "no", "N", "", None, "None", "null", float("nan"), "NaN", "NA", "n/a")
NO += ("#N/A", "<NA>")


@pytest.mark.parametrize(
    ("words", "side"), [(FIRST, 1), (SECOND, -1), (NEITHER, 0), (("1", "0", "c", "", "ab", "x"), None)]
)
def test_a_word_says_which_side_won(words, side):
    assert [verdicts.side(word) for word in words] == [side] * len(words)


@pytest.mark.parametrize(("words", "tie"), [(YES, True), (NEITHER, True), (NO, False)])
def test_a_cell_says_whether_there_was_a_tie(words, tie):
    assert [verdicts.tied(word) for word in words] == [tie] * len(words)


@pytest.mark.parametrize("word", ["maybe", "2", "a", "0.5", "-1", [1], "truex"])
def test_other_words_are_refused(word):
    with pytest.raises(ValueError, match=r"^tie is .*; it must be true, false, yes, no, 1, 0, tie or empty$"):
        verdicts.tied(word)


def test_what_was_not_filled_in_is_no_answer():
    assert {"", "nan", "none", "null", "n/a", "#n/a", "<na>"} == verdicts.MISSING
    assert not verdicts.MISSING & {"no", "false", "0", "na", "f", "n"}
