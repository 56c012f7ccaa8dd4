"""Files of comparisons are read, or told what is wrong with them, line by line."""

import csv
import json

import numpy as np
import pytest
from compared import TEXT, read_text

from rlhf_lab.leaderboard import comparisons


def test_a_csv_file_is_read(tmp_path):
    read = read_text(TEXT, tmp_path)
    assert read.items == ("a", "b", "c")
    assert read.winner.tolist() == [0, 1, 0, 2, 1, 2, 0, 0]
    assert read.loser.tolist() == [1, 0, 2, 1, 0, 0, 1, 2]
    assert read.tie.tolist() == [False] * 4 + [True] * 3 + [False]
    assert read.annotators == ("ann", "bob", "(no name)")
    assert read.annotator.tolist() == [0, 1, 0, 1, 0, 1, 0, 2]


def same(one, two):
    return all(np.array_equal(a, b) for a, b in zip(one[:6], two[:6], strict=True))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\n\n"),
        lambda text: text.replace("a,", " a ,").replace("winner", " Winner"),
        lambda text: text.replace("ann\n", '"ann"\n'),
        lambda text: "\n".join(",".join(reversed([*line.split(","), "more"])) for line in text.splitlines()),
    ],
)
def test_spelling_of_a_csv_file_changes_nothing(tmp_path, change):
    assert same(read_text(change(TEXT), tmp_path), read_text(TEXT, tmp_path))


def test_json_lines_are_read_as_the_csv_file_is(tmp_path):
    values = {"": None, "no": False, "0": 0, "false": "false", "yes": "yes", "1": 1, "True": True}
    rows = list(csv.DictReader(TEXT.splitlines()))
    lines = [json.dumps(row | {"tie": values[row["tie"]], "why": [1, {}]}) for row in rows]
    for name in ("c.jsonl", "c.ndjson", "c.JSON"):
        assert same(read_text("\n\n".join(lines) + "\n", tmp_path, name), read_text(TEXT, tmp_path))


def test_columns_that_are_not_there_mean_no_ties_and_no_annotators(tmp_path):
    read = read_text("loser,winner\nüb,x  y\n", tmp_path)
    assert read.items == ("x y", "üb")
    assert (read.winner.tolist(), read.loser.tolist(), read.tie.tolist()) == ([0], [1], [False])
    assert read.annotator is None
    assert read_text('{"winner": 1, "loser": 2.5}', tmp_path, "c.jsonl").items == ("1", "2.5")


BAD_CSV = 'winner,loser,tie\na,b\n\n,b,\n"x\ny",a,\nb, ,1\na,a ,\na,b,maybe\n1,2,3,4\n"\x07",b,\n'
BAD_JSON = (
    '{"winner": "a"}\n{"winner": "a", "loser": ""}\n[1]\n{"winner": "a", "loser": true}\n{"winner": "a", \n'
    '{"winner": NaN, "loser": 1}\n'
)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.csv", "", "c.csv holds no comparisons: each needs a row with a winner and a loser"),
        ("c.csv", "winner,loser\n", "c.csv holds no comparisons"),
        ("c.jsonl", "\n", "c.jsonl holds no comparisons"),
        ("c.csv", "winner;loser\n", "c.csv holds no comparisons"),
        (
            "c.csv",
            "one;other\n",
            "line 1: the columns are 'one', 'other'; there must be columns winner",
        ),
        (
            "c.csv",
            "\nwinner,loser,tie,tie\na,b,,\n",
            "line 2: 2 columns could hold the tie; the columns are",
        ),
        ("c.csv", 'winner,loser\na,b\n"a,b\nb,a\n', "line 3: is not CSV from here on: unexpected end of data"),
        (
            "c.csv",
            BAD_CSV,
            "line 2: has 2 fields, but the header has 3\n  line 4: the winner is missing\n  line 7: the los",
        ),
        (
            "c.csv",
            BAD_CSV,
            "line 8: 'a' is compared with itself\n  line 9: tie is 'maybe'; it must be .* or empty\n  and 2 m",
        ),
        ("c.csv", 'winner,loser\n"a\nb"\na,b,c\n', "line 2: has 1 fields, but the header has 2\n  line 4: has 3"),
        ("c.csv", 'winner,loser\n"\x07",b', "line 2: the winner '.x07' has a control character in its name"),
        ("c.jsonl", '\n{"winner": "\\ud800", "loser": 1}', "line 2: the winner .* has a control character"),
        (
            "c.jsonl",
            BAD_JSON,
            "line 1: the loser is missing; the columns are 'winner'; .*\n  line 2: the loser is missing\n  lin",
        ),
        (
            "c.jsonl",
            BAD_JSON,
            "line 4: loser is True; a name is text or a number\n  line 5: is not JSON: .*\n  and 1 more",
        ),
        ("c.jsonl", "[" * 100_000, "line 1: is not JSON"),
        ("c.jsonl", '{"winner": 1, "loser": 2, "tie": [1]}', "line 1: tie is '.1.'; it must be true, false"),
        ("c.jsonl", '{"winner": NaN, "loser": 2}', "line 1: the winner is missing"),
        ("c.jsonl", '{"winner": Infinity, "loser": 2}', "line 1: is not JSON: Infinity is no JSON number"),
    ],
)
def test_bad_files_are_told_by_line(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message):
        read_text(text, tmp_path, name)


def test_other_encodings_and_missing_files_are_told(tmp_path):
    (tmp_path / "c.csv").write_bytes("winner,loser\nä,b\n".encode("utf-16"))
    with pytest.raises(ValueError, match=r"is not UTF-8 text .*; save it as UTF-8"):
        comparisons.read(tmp_path / "c.csv")
    with pytest.raises(FileNotFoundError):
        comparisons.read(tmp_path / "none.csv")


def test_five_wrong_lines_are_all_told(tmp_path):
    with pytest.raises(ValueError, match=r"line 6: 'a' is compared with itself$"):
        read_text("winner,loser\n" + "a,a\n" * 5, tmp_path)
    with pytest.raises(ValueError, match=r"line 6: 'a' is compared with itself\n  and 1 more$"):
        read_text("winner,loser\n" + "a,a\n" * 6, tmp_path)


def test_a_header_is_shown_up_to_eighty_letters(tmp_path):
    with pytest.raises(ValueError, match=rf"the columns are 'x', '{'y' * 73}…; there must be columns winner"):
        read_text("x," + "y" * 90 + "\n", tmp_path)


def test_of_a_json_line_that_is_no_object_the_kind_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"is not a JSON object with winner and loser, but list$"):
        read_text("\n[[1, 2]]\n", tmp_path, "c.jsonl")


def test_an_annotator_with_a_control_character_is_told_as_one(tmp_path):
    with pytest.raises(ValueError, match=r"line 2: the annotator '\\x07' has a control character"):
        read_text("winner,loser,annotator\na,b,\x07\n", tmp_path)
