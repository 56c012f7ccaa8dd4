"""Files as they were found, after public bug reports: each is read right, or refused in words."""

import gzip
import io
import json

import numpy as np
import pytest
from compared import read_text

from rlhf_lab.leaderboard import comparisons
from rlhf_lab.leaderboard.board import leaderboard
from rlhf_lab.leaderboard.columns import Columns

ARENA = "model_a,model_b,winner\na,b,model_a\nb,c,model_b\na,c,tie\nc,a,tie (bothbad)\n"
COUNTS = "winner,loser,count\nA,B,1\nB,A,9\nA,C,1\nC,A,1\nB,C,1\nC,B,1\nA,C,1\n"
EXPANDED = "winner,loser\nA,B\n" + "B,A\n" * 9 + "A,C\nC,A\nB,C\nC,B\nA,C\n"


def rows(read):
    """Return each comparison as (winner, loser, tie, how many), whatever the numbers of the items are."""
    times = np.ones(len(read.winner), int) if read.times is None else read.times
    named = [[read.items[index] for index in side] for side in (read.winner, read.loser)]
    return list(zip(*named, read.tie.tolist(), times.tolist(), strict=True))


def test_the_layout_of_an_arena_is_read(tmp_path):
    read = read_text(ARENA, tmp_path)
    assert rows(read) == [("a", "b", False, 1), ("c", "b", False, 1), ("a", "c", True, 1), ("c", "a", True, 1)]
    assert {row.item: (row.wins, row.losses, row.ties) for row in leaderboard(read).rows} == {
        "a": (1, 0, 2),
        "b": (0, 2, 0),
        "c": (1, 0, 2),
    }


@pytest.mark.parametrize(
    ("words", "ended"),
    [
        (("model_a", "A", "left", "first", "model a", "x", " X ".strip().lower(), "assistant_a"), 1),
        (("model_b", "b", "RIGHT", "second", "y", "assistant-b"), -1),
        (("tie", "Tie", "draw", "both", "neither", "tie (bothbad)", "bothbad", "both_bad", "tie (inconsistent)"), 0),
    ],
)
def test_words_say_who_won(tmp_path, words, ended):
    read = read_text("model_a,model_b,winner\n" + "".join(f"x,y,{word}\n" for word in words), tmp_path)
    assert read.tie.tolist() == [ended == 0] * len(words)
    assert read.winner.tolist() == [int(ended < 0)] * len(words)


@pytest.mark.parametrize("word", ["1", "0", "maybe", "z", "model_c"])
def test_a_winner_that_is_neither_is_refused_with_its_line(tmp_path, word):
    with pytest.raises(ValueError, match=f"line 3: the winner is '{word}', which is neither of the two items; it must"):
        read_text(f"model_a,model_b,winner\nx,y,x\nx,y,{word}\n", tmp_path)


@pytest.mark.parametrize("word", ["", "nan", "None", "null"])
def test_a_winner_that_was_not_filled_in_is_refused(tmp_path, word):
    with pytest.raises(
        ValueError, match="line 2: the winner is missing; it must be model_a, model_b, tie, or the name"
    ):
        read_text(f"model_a,model_b,winner\nx,y,{word}\n", tmp_path)


def test_a_word_that_is_also_the_name_of_the_other_item_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match="line 3: the winner 'a' names one item and stands for the other: write model_a"
    ):
        read_text("model_a,model_b,winner\na,b,a\nb,a,a\n", tmp_path)
    read = read_text("model_a,model_b,winner\nb,a,model_a\nb,a,model_b\n", tmp_path)
    assert [row[0] for row in rows(read)] == ["b", "a"]


def test_three_columns_may_say_who_won(tmp_path):
    head = "model_a,model_b,winner_model_a,winner_model_b,winner_tie\n"
    read = read_text(head + "x,y,1,0,0\nx,y,0,1,0\nx,y,0,0,1\n", tmp_path)
    assert rows(read) == [("x", "y", False, 1), ("y", "x", False, 1), ("x", "y", True, 1)]
    for wrong in ("0,0,0", "1,1,0"):
        with pytest.raises(ValueError, match="line 2: one of the columns that say who won must be 1, and the others 0"):
            read_text(f"{head}x,y,{wrong}\n", tmp_path)


def test_counts_are_repeated_rows(tmp_path):
    board, expanded = (leaderboard(read_text(text, tmp_path)) for text in (COUNTS, EXPANDED))
    assert [row.item for row in board.rows] == ["B", "C", "A"]
    assert [round(row.strength, 2) for row in board.rows] == [1.04, -0.43, -0.60]
    assert [row[:3] for row in board.rows] == [row[:3] for row in expanded.rows]
    for one, other in zip(board.rows, expanded.rows, strict=True):
        assert one[3:6] == pytest.approx(other[3:6], abs=1e-12)
        assert one[6:9] == other[6:9]
    assert all(isinstance(value, int) for value in board.rows[0][6:9])


def test_annotators_and_broken_weights_are_weighted(tmp_path):
    text = "winner,loser,weight,judge\na,b,2.5,ann\nb,a,1,bob\na,b,0.5,bob\n"
    board = leaderboard(read_text(text, tmp_path))
    assert board.rows[0].strength - board.rows[1].strength == pytest.approx(np.log(3 / 1))
    assert (board.rows[0].wins, board.rows[0].losses) == (3.0, 1.0)
    shares = {person.name: (person.comparisons, person.agreement) for person in board.annotators}
    assert shares == {"ann": (2.5, 1.0), "bob": (1.5, pytest.approx(1 / 3))}
    assert board.notes == ("Some comparisons have broken weights; intervals take a weight of 2.5 for 2.5 comparisons.",)


@pytest.mark.parametrize("count", ["", "-1", "x", "1,5", "inf", "nan", "1e10", "1e-7", "1_0", "0x1"])
def test_a_count_that_is_none_is_refused(tmp_path, count):
    with pytest.raises(ValueError, match="line 2: the count of comparisons is"):
        read_text(f'winner,loser,count\na,b,"{count}"\n', tmp_path)


def test_a_count_of_zero_adds_an_item_that_was_not_compared(tmp_path):
    read = read_text("winner,loser,count\na,b,1\nb,a,1.0\na,c,0\n", tmp_path)
    assert (read.items, len(read.winner), read.times.tolist()) == (("a", "b", "c"), 2, [1, 1])
    assert leaderboard(read).notes == ("Never compared, so not ranked: c.",)
    with pytest.raises(ValueError, match="holds no comparisons"):
        read_text("winner,loser,count\na,b,0\n", tmp_path)


@pytest.mark.parametrize("column", ["n", "times", "Votes", "outcome", "score", "ties"])
def test_a_column_that_may_change_what_rows_mean_is_used_or_refused_but_not_dropped(tmp_path, column):
    text = f"winner,loser,{column}\na,b,3\nb,a,1\n"
    with pytest.raises(ValueError, match=f"line 1: the column '{column}' may say how often .* --ignore {column}"):
        read_text(text, tmp_path)
    path = tmp_path / "c.csv"
    assert comparisons.read(path, Columns({"count": column})).times.tolist() == [3, 1]
    assert comparisons.read(path, Columns(ignored=[column])).times is None


def test_other_columns_are_told(tmp_path):
    read = read_text(",winner,loser,language,turn\n0,a,b,en,1\n", tmp_path)
    assert read.notes == ("Columns that are not used: language, turn.",)


@pytest.mark.parametrize("name", ["c.csv", "c.jsonl"])
def test_whole_numbers_are_one_item_with_and_without_zeros(tmp_path, name):
    pairs = [("1", "2.0"), ("2", "1.0"), ("1", "3.0"), ("3", "2.0")]
    text = "winner,loser\n" + "".join(f"{one},{two}\n" for one, two in pairs)
    if name.endswith("l"):
        text = "".join(f'{{"winner":{one},"loser":{two}}}\n' for one, two in pairs)
    read = read_text(text, tmp_path, name)
    assert read.items == ("1", "2", "3")
    assert read.notes == ("Spellings that count as one item: 1 = 1.0, 2 = 2.0, 3 = 3.0.",)
    assert {row.group for row in leaderboard(read).rows} == {1}


def test_twins_are_one_item_and_case_is_noted(tmp_path):
    text = "winner,loser\ncafe\u0301,b\nb,caf\u00e9\ncaf\u00e9,b\nx\u200b,b\nb,x\nGPT,b\nb,gpt\n"
    read = read_text(text, tmp_path)
    assert read.items == ("caf\u00e9", "b", "x", "GPT", "gpt")
    assert read.notes == ("Different items, though they differ in case or width only: GPT and gpt.",)


@pytest.mark.parametrize("word", ["tie", "Draw", "model_a", "both", "tie (bothbad)"])
@pytest.mark.parametrize("side", ["winner", "loser"])
def test_a_word_for_an_end_is_no_item(tmp_path, word, side):
    row = f"{word},b" if side == "winner" else f"b,{word}"
    with pytest.raises(
        ValueError, match=rf"line 3: the {side} is .*, which says how a comparison ended and names no item"
    ):
        read_text(f"winner,loser\na,b\n{row}\n", tmp_path)


def test_ties_are_words_truth_values_and_numbers(tmp_path):
    text = "winner,loser,tie\na,b,tie\nb,a,\na,c,Y\nc,b,t\nb,c,NaN\n"
    assert read_text(text, tmp_path).tie.tolist() == [True, False, True, True, False]
    values = [1.0, 0.0, True, False, None, "draw", "1.0", 1, 0, float("nan")]
    text = "".join(json.dumps({"winner": "a", "loser": "b", "tie": value}) + "\n" for value in values)
    told = [True, False, True, False, False, True, True, True, False, False]
    assert read_text(text, tmp_path, "c.jsonl").tie.tolist() == told
    with pytest.raises(
        ValueError, match="line 2: tie is 'perhaps'; it must be true, false, yes, no, 1, 0, tie or empty"
    ):
        read_text("winner,loser,tie\na,b,perhaps\n", tmp_path)


def test_a_json_array_is_read_and_the_keys_in_any_case(tmp_path):
    array = '[\n {\n  "winner": "a",\n  "loser": "b"\n },\n {\n  "Winner": "b",\n  "LOSER": "a"\n }\n]'
    for name in ("c.json", "c.txt"):
        assert rows(read_text(array, tmp_path, name)) == [("a", "b", False, 1), ("b", "a", False, 1)]
    assert rows(read_text('{"Winner":"a","Loser":"b"}\n', tmp_path, "c.jsonl")) == [("a", "b", False, 1)]
    with pytest.raises(ValueError, match="line 6: the loser is missing; the columns are 'winner', 'looser'"):
        read_text(array.replace("Winner", "winner").replace("LOSER", "looser"), tmp_path, "c.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[\n{"winner": "a",\n "loser": }]', "line 3: is not JSON: Expecting value$"),
        (
            '[{"winner": "a", "loser": "b"}\n{}]',
            "line 2: is not JSON: behind a record of the array, a comma or ] is mis",
        ),
        (
            '[{"winner": "a", "loser": "b"}',
            "line 1: is not JSON: behind a record of the array, a comma or ] is missing",
        ),
        ('[{"winner": "a", "loser": "b"}]\nx', "line 2: is not JSON: there is more behind the array"),
        ("[]", "holds no comparisons"),
        ('[{"winner": "a", "loser": "b"},]', "line 1: is not JSON: Expecting value"),
        ('{"winner": {"0": "a"}, "loser": {"0": "b"}}', "winner is .*; a name is text or a number .pandas writes one"),
        ('{"winner": "a", "loser": "b", "judge": [1]}', r"annotator is \[1\]; a name is text or a number"),
    ],
)
def test_json_that_is_wrong_is_told_by_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_text(text, tmp_path, "c.json")


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_separators_are_found_in_the_header(tmp_path, separator):
    text = ARENA.replace(",", separator)
    assert rows(read_text(text, tmp_path)) == rows(read_text(ARENA, tmp_path))
    assert rows(read_text(f"\nsep={separator}\n{text}", tmp_path)) == rows(read_text(ARENA, tmp_path))
    with pytest.raises(ValueError, match="line 3: has 1 fields, but the header has 3"):
        read_text(f"sep={separator}\n{text.splitlines()[0]}\nx\n", tmp_path)


def test_gzip_is_unpacked_whatever_the_name_and_streams_are_read(tmp_path):
    for name, text in (("c.csv.gz", ARENA), ("c.jsonl.gz", '{"winner":"a","loser":"b"}\n'), ("c", ARENA)):
        (tmp_path / name).write_bytes(gzip.compress(text.encode()))
        plain = name.removesuffix(".gz")
        assert rows(comparisons.read(tmp_path / name)) == rows(read_text(text, tmp_path, f"plain {plain}"))
    assert rows(comparisons.read(io.BytesIO(gzip.compress(ARENA.encode())))) == rows(read_text(ARENA, tmp_path))
    packed = gzip.compress(ARENA.encode() * 100)
    for damaged in (packed[:-20], packed[:30] + b"xxxx" + packed[34:]):
        with pytest.raises(ValueError, match=r"^the standard input is not a whole gzip file .*; pack it again$"):
            comparisons.read(io.BytesIO(damaged))


def test_spreadsheets_and_damaged_tables_are_told(tmp_path):
    (tmp_path / "c.xlsx").write_bytes(b"PK\x03\x04 more")
    with pytest.raises(ValueError, match="cannot be read:\n  it is a spreadsheet or a zip file; save it as CSV"):
        comparisons.read(tmp_path / "c.xlsx")
    (tmp_path / "c.parquet").write_bytes(b"PAR1 more")
    with pytest.raises(ValueError, match=r"it is (a parquet file: install pyarrow|not a whole parquet file)"):
        comparisons.read(tmp_path / "c.parquet")


def test_wrong_lines_are_left_out_on_request_and_listed(tmp_path):
    text = "winner,loser\na,b\ntie,b\nb,a\na,a\n1,2,3\n"
    path = tmp_path / "c.csv"
    path.write_text(text)
    read = comparisons.read(path, skip_bad=True)
    assert rows(read) == [("a", "b", False, 1), ("b", "a", False, 1)]
    assert [line.split(":")[0] for line in read.left_out] == ["line 3", "line 5", "line 6"]
    assert read.notes == ("Left out: 3 lines that cannot be read.",)
    path.write_text("winner,loser\na,a\n")
    with pytest.raises(ValueError, match="line 2: 'a' is compared with itself"):
        comparisons.read(path, skip_bad=True)


def test_columns_are_named_by_the_user(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("Better,worse,same,k,who\nx,y,no,2,ann\ny,x,yes,1,bob\n")
    told = {"winner": "better", "loser": "Worse", "tie": "same", "count": "k", "annotator": "who"}
    read = comparisons.read(path, Columns(told))
    assert rows(read) == [("x", "y", False, 2), ("y", "x", True, 1)]
    assert read.annotators == ("ann", "bob")
    with pytest.raises(ValueError, match="there is no column 'best' for the winner; the columns are 'Better', 'worse'"):
        comparisons.read(path, Columns(told | {"winner": "best"}))
    path.write_text("one,other,choice\nx,y,y\nx,y,left\nx,y,tie\n")
    read = comparisons.read(path, Columns({"winner": "choice"}, ("one", "Other")))
    assert rows(read) == [("y", "x", False, 1), ("x", "y", False, 1), ("x", "y", True, 1)]
    with pytest.raises(ValueError, match="there must be one column 'two' for a side"):
        comparisons.read(path, Columns({"winner": "choice"}, ("one", "two")))


def test_items_with_few_comparisons_are_left_out_until_all_have_enough(tmp_path):
    # d has two comparisons, one with e, which has one: without e, d has too few.
    text = "winner,loser,count,judge\na,b,2,ann\nb,a,1,bob\na,d,1,ann\nd,e,1,cy\n"
    read = comparisons.at_least(read_text(text, tmp_path), 2)
    assert rows(read) == [("a", "b", False, 2), ("b", "a", False, 1)]
    assert read.notes[-1] == "Left out, with fewer than 2 comparisons among the others: d, e."
    assert read.annotator.tolist() == [0, 1]
    same = read_text(text, tmp_path)
    assert comparisons.at_least(same, 1) is same
    with pytest.raises(ValueError, match="no item has 9 comparisons with others that have as many; ask for fewer"):
        comparisons.at_least(same, 9)
