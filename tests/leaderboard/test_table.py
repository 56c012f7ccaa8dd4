"""Tables are straight whatever the letters of a name, and what is long is cut."""

import csv
import unicodedata

import numpy as np
import pytest
from compared import read_text

from rlhf_lab.leaderboard.board import format_table, leaderboard
from rlhf_lab.leaderboard.standings import Annotator, Board, Row
from rlhf_lab.leaderboard.table import csv_text, write_annotators


def columns(text):
    """Return the columns that a terminal gives a text, letter by letter."""
    wide = {"W": 2, "F": 2}
    seen = [c for c in text if unicodedata.category(c) not in ("Mn", "Cf")]
    return sum(wide.get(unicodedata.east_asian_width(c), 1) for c in seen)


def row(group, rank, item):
    return Row(group, rank, item, 0.0, -1.0, 2.0, 1, 1, 0, 0.5)


def test_long_wide_and_right_to_left_names_stand_in_one_column(tmp_path):
    names = ["x" * 130, "万佳社区", "cafe\u0301s", "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd", "b"]
    text = "winner,loser\n" + "".join(f"{name},b\nb,{name}\n" for name in names[:-1])
    lines = format_table(leaderboard(read_text(text, tmp_path))).splitlines()
    assert len({columns(line) for line in lines[:6]}) == 1
    assert max(map(columns, lines)) <= 100
    assert any(
        line[6:].startswith("\u2068\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd\u2069 ") for line in lines[1:6]
    )
    assert any("x" * 19 + "\u2026" + "x" * 20 + "  " in line for line in lines[1:6])


def test_notes_hold_short_names(tmp_path):
    board = leaderboard(read_text(f"winner,loser\n{'x' * 300},b\n", tmp_path))
    assert f"never lost against the rest: {'x' * 19}\u2026{'x' * 20};" in board.notes[0]
    assert board.rows[0].item == "x" * 300
    assert csv_text(board).splitlines()[1].startswith("1,1," + "x" * 300)


def test_equal_items_share_a_rank_and_the_next_counts_them(tmp_path):
    for text, ranks in (
        ("b,a\na,b\n", [1, 1]),
        ("a,b\nb,a\na,c\nc,a\nb,c\nc,b\n" + "a,d\nb,d\nc,d\n" * 2 + "d,a\nd,b\nd,c\n", [1, 1, 1, 4]),
    ):
        board = leaderboard(read_text("winner,loser\n" + text, tmp_path))
        assert [row.rank for row in board.rows] == ranks
        assert [row.item for row in board.rows] == [*"abcd"][: len(ranks)]


def test_many_annotators_are_cut_and_written_whole(tmp_path):
    people = (*(Annotator(f"p{k:02}", 3, k / 40, 0.5) for k in range(31)), Annotator("idle", 0, np.nan, np.nan))
    board = Board((row(1, 1, "a"),), 0.95, (), people)
    lines = format_table(board).splitlines()
    assert [line.split()[0] for line in lines if line.startswith("p")] == [f"p{k:02}" for k in range(30)]
    assert lines[-1].endswith("model holds. 2 more agree better.")
    assert "more agree" not in format_table(board._replace(annotators=people[:30]))
    write_annotators(board, tmp_path / "who.csv")
    rows = list(csv.reader((tmp_path / "who.csv").read_text(encoding="utf-8").splitlines()))
    assert rows[0] == ["name", "comparisons", "agreement", "expected"]
    assert rows[2] == ["p01", "3", "0.025000", "0.500000"]
    assert rows[-1] == ["idle", "0", "", ""]
    with pytest.raises(FileExistsError, match="is there already"):
        write_annotators(board, tmp_path / "who.csv")
    with pytest.raises(ValueError, match="the comparisons have no column annotator; name it with --annotator"):
        write_annotators(board._replace(annotators=()), tmp_path / "nobody.csv")
