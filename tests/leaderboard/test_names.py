"""Spellings that look the same are one name, and a name takes as many columns as a terminal gives it."""

import pytest

from rlhf_lab.leaderboard import names


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cafe\u0301", "caf\u00e9"),
        ("x\u200b", "x"),
        ("\ufeffx", "x"),
        ("so\u00adft", "soft"),
        ("\u200fx\u202c", "x"),
        ("2", "2.0"),
        ("-3.000", "-3"),
        (" a \t b ", "a b"),
        ("\u2764\ufe0f", "\u2764"),
        ("\u06a9\u200c\u0647", "\u06a9\u0647"),
    ],
)
def test_one_name_has_one_key(one, other):
    assert names.key(names.spelling(one)) == names.key(names.spelling(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [("2.0", "2.5"), ("1.10", "1.1"), ("01", "1"), ("v2.0", "v2"), ("GPT", "gpt"), ("a b", "ab"), ("2.", "2")],
)
def test_other_names_have_other_keys(one, other):
    assert names.key(names.spelling(one)) != names.key(names.spelling(other))


def test_joiners_are_shown_and_flags_keep_their_tags():
    family = "\U0001f468\u200d\U0001f469"
    assert names.spelling(family) == family
    england, scotland = (
        f"\U0001f3f4{''.join(chr(0xE0000 + ord(c)) for c in code)}\U000e007f" for code in ("gbeng", "gbsct")
    )
    assert names.key(names.spelling(england)) != names.key(names.spelling(scotland))


def test_names_that_differ_in_case_or_width_are_found():
    found = names.alike(["GPT", "x", "gpt", "\uff27\uff30\uff34", "Y", "y"])
    assert found == [("GPT", "gpt", "\uff27\uff30\uff34"), ("Y", "y")]


@pytest.mark.parametrize(
    ("name", "told"), [("", "missing"), ("\u200b", "missing"), ("NaN", "missing"), ("a\x07", "control")]
)
def test_what_is_no_name_is_refused(name, told):
    with pytest.raises(ValueError, match=f"^the loser .*{told}"):
        names.checked("loser", name)


def test_an_annotator_may_be_called_draw_or_none():
    assert names.checked("annotator", "draw", item=False) == "draw"
    assert names.checked("annotator", "None", item=False) == "None"


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("abc", 3),
        ("万佳", 4),
        ("cafe\u0301", 4),
        ("\u05e9\u05dc\u05d5\u05dd", 4),
        ("\u2068x\u2069", 1),
        ("\uff46", 2),
        ("", 0),
    ],
)
def test_width_is_counted_in_columns(text, columns):
    assert names.width(text) == columns


def test_long_names_lose_their_middle():
    assert names.short("x" * 40) == "x" * 40
    assert names.short("head" + "x" * 40 + "tail", 11) == "headx\u2026xtail"
    wide = names.short("万" * 30, 12)
    assert wide == "万万\u2026万万万"
    assert names.width(wide) <= 12


def test_letters_from_right_to_left_are_kept_apart():
    assert names.isolated("\u05e9\u05dc\u05d5\u05dd") == "\u2068\u05e9\u05dc\u05d5\u05dd\u2069"
    assert names.isolated("\u0633\u0644\u0627\u0645") == "\u2068\u0633\u0644\u0627\u0645\u2069"
    assert names.isolated("abc") == "abc"


def test_a_long_name_is_quoted_in_eighty_letters():
    assert names.shown("y" * 80) == repr("y" * 80)
    assert names.shown("y" * 81) == repr("y" * 79 + "\u2026")
