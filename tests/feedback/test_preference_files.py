"""Comparisons survive on disk, in the form that others read."""

import json
import re

import numpy as np
import pytest

from rlhf_lab.feedback import preference_files, preferences
from rlhf_lab.worlds import phrase_world
from rlhf_lab.worlds.phrase_world import QUESTIONS, VOCAB, decode, encode


def phrases(n=40):
    rng = np.random.default_rng(0)
    prompt = phrase_world.PROMPTS[rng.integers(4, size=n)]
    model, params = phrase_world.model(), phrase_world.pretrained(5.0)
    first, second = preferences.draw_pairs(model, params, prompt, 5, rng)
    return preferences.from_labels(prompt, first, second, rng.choice([0, 0.5, 1], size=n), VOCAB)


@pytest.mark.parametrize("implicit", [False, True])
def test_what_is_written_is_read_without_loss(tmp_path, implicit):
    data, path = phrases(), tmp_path / "pairs.jsonl"
    assert {len(decode(row).split()) for row in data.chosen} >= {0, 1, 6}, "empty and cut-off answers are among them"
    preference_files.write(path, data, decode, implicit=implicit)
    again = preference_files.read(path, encode, 5, VOCAB, prompts=QUESTIONS if implicit else ())
    assert all(map(np.array_equal, again.columns, data.columns))
    assert again.vocab == VOCAB
    assert [p.name for p in tmp_path.iterdir()] == ["pairs.jsonl"]


def test_the_columns_are_those_of_trl(tmp_path):
    prompt, answer, other = encode("is tea hot")[None], encode("yes", 5)[None], encode("no fool", 5)[None]
    data = preferences.Preferences(prompt, answer, other, VOCAB)
    preference_files.write(tmp_path / "a", data, decode)
    explicit = json.loads((tmp_path / "a").read_text())
    assert explicit == {"prompt": "is tea hot", "chosen": " yes", "rejected": " no fool"}
    preference_files.write(tmp_path / "b", data, decode, implicit=True)
    implicit = json.loads((tmp_path / "b").read_text())
    assert implicit == {"chosen": "is tea hot yes", "rejected": "is tea hot no fool"}
    tied = preferences.Preferences(prompt, answer, other, VOCAB, tie=[True])
    preference_files.write(tmp_path / "a", tied, decode, overwrite=True)
    assert json.loads((tmp_path / "a").read_text())["tie"] is True
    preference_files.write(tmp_path / "c", data, lambda row: "東…")
    assert (tmp_path / "c").read_text(encoding="utf-8") == '{"prompt": "東", "chosen": " 東…", "rejected": " 東…"}\n'


@pytest.mark.parametrize(
    ("words", "chosen", "rejected"),
    [(("is tea hot …", "", "yes"), "is tea hot", "is tea hot yes"), (("", "no", "yes"), "no", "yes")],
)
def test_prompt_and_response_joined_are_the_implicit_response(tmp_path, words, chosen, rejected):
    """TRL joins them without a space between."""
    data = preferences.Preferences([[0]], [[1]], [[2]], 3)
    for implicit in (False, True):
        preference_files.write(tmp_path / str(implicit), data, lambda row: words[row[0]], implicit=implicit)
    explicit, implicit = (json.loads((tmp_path / name).read_text()) for name in ("False", "True"))
    assert implicit == {"chosen": chosen, "rejected": rejected}
    assert {name: explicit["prompt"] + explicit[name] for name in implicit} == implicit


def test_nothing_is_overwritten_unless_asked(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=r"pairs.jsonl is there already; pass overwrite=True"):
        preference_files.write(path, phrases(), decode)
    assert path.read_text() == "mine"


def test_an_implicit_prompt_is_the_longest_known_one_that_stands_in_front(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"chosen": "is tea hot yes", "rejected": "is tea hot yes yes"}\n')
    data = preference_files.read(path, encode, 5, VOCAB, prompts=("is tea", "is tea hot", "is"))
    assert decode(data.prompt[0]) == "is tea hot …"
    assert [decode(data.chosen[0]), decode(data.rejected[0])] == ["yes", "yes yes"]


GOOD = '{"prompt": "is tea hot", "chosen": "yes", "rejected": "no", "why": 3}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "is not JSON: Expecting property name"),
        ("[" * 100_000, "is not JSON: "),
        ("[1]", "a line is one JSON object, with chosen and rejected; got list"),
        ('{"prompt": "is tea hot", "chosen": "yes"}', "the column 'rejected' is missing; there are 'prompt', 'chosen'"),
        ("{}", "the column 'chosen' is missing; there are none"),
        ('{"prompt": "is tea hot", "chosen": 3, "rejected": "no"}', "the column 'chosen' must be text; got int"),
        ('{"prompt": null, "chosen": "yes", "rejected": "no"}', "the column 'prompt' must be text; got NoneType"),
        ('{"prompt": "is tea hot", "chosen": "yes", "rejected": "maybe"}', "'maybe' is not one of the words"),
        ('{"prompt": "is tea hot", "chosen": "no", "rejected": "no"}', "row 0 compares a response with itself"),
        ('{"prompt": "is tea hot", "chosen": "no", "rejected": "it it it it it it"}', "has 6 words; at most 5 fit"),
        (GOOD.replace("3}", '3, "tie": 2}'), "the column 'tie' must be true or false; got 2"),
        (
            '{"chosen": "is tea hot yes", "rejected": "is tea cold no"}',
            "no prompt column, and none of the known prompts stands in front of both responses$",
        ),
        (
            '{"chosen": "is teahot", "rejected": "is tea no"}',
            "no prompt column, and none of the known prompts stands in front of both responses$",
        ),
    ],
)
def test_a_line_that_cannot_be_read_is_told_by_its_number(tmp_path, line, message):
    path = tmp_path / "pairs.jsonl"
    path.write_text(f"{GOOD}\n\n{line}\n{GOOD}\n")
    with pytest.raises(
        ValueError, match=r"^pairs\.jsonl, line 3: ('[^']*' )?" + re.escape(message).replace(re.escape("$"), "$")
    ):
        preference_files.read(path, encode, 5, VOCAB, prompts=("is tea hot",))
    path.write_text(f"{GOOD}\n\n{GOOD}\n")
    assert len(preference_files.read(path, lambda text, length: encode(text, length), 5, VOCAB)) == 2


def test_a_file_of_another_encoding_is_told_and_a_byte_order_mark_is_none(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_bytes('{"prompt": "süß"}'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"^pairs\.jsonl is not UTF-8 text \(invalid .*\); save it as UTF-8$"):
        preference_files.read(path, encode, 5, VOCAB)
    path.write_text(GOOD, encoding="utf-8-sig")
    assert len(preference_files.read(path, encode, 5, VOCAB)) == 1


def test_only_ends_of_lines_part_lines(tmp_path):
    texts = iter(["is tea hot", "a\u2028b\x85c\u2029", "d"])
    row = encode("is tea hot")[None]
    data = preferences.Preferences(row, encode("yes", 5)[None], encode("no", 5)[None], VOCAB)
    preference_files.write(tmp_path / "pairs.jsonl", data, lambda row: next(texts))
    read = []

    def remember(text, length):
        read.append(text)
        return np.array([len(text)])

    preference_files.read(tmp_path / "pairs.jsonl", remember, 5, VOCAB)
    assert read == [" a\u2028b\x85c\u2029", " d", "is tea hot"]


def test_a_file_without_comparisons_is_told(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n \n")
    with pytest.raises(ValueError, match=r"^pairs.jsonl holds no comparisons$"):
        preference_files.read(path, encode, 5, VOCAB)
