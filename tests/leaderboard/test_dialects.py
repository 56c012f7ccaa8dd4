"""Whatever dialect comparisons are written in, they are read right, or refused with the line."""

import csv
import gzip
import io
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_lab.leaderboard import comparisons

NAMES = st.text("aZ9.é东ש😀,;|'\"[{-=", min_size=1, max_size=6).map(
    lambda text: "m" + text
)  # no word for a tie, no number
ENDS = {
    1: ("model_a", "Left", "a", "first"),
    -1: ("model_b", "RIGHT", "b", "second"),
    0: ("tie", "draw", "tie (bothbad)", "both"),
}
YES, NO = ("true", "1", "1.0", "Yes", "tie", "T"), ("", "false", "0", "0.0", "NaN", "no")


@st.composite
def tables(draw):
    """Return columns, rows of texts, and what they mean: (first, second, end, how often)."""
    items = draw(st.lists(NAMES, min_size=2, max_size=5, unique_by=lambda name: name.casefold()))
    pairs = st.tuples(st.sampled_from(items), st.sampled_from(items)).filter(lambda pair: pair[0] != pair[1])
    meant = draw(st.lists(st.tuples(pairs, st.sampled_from((1, -1, 0)), st.integers(1, 9)), min_size=1, max_size=8))
    arena, counted = draw(st.booleans()), draw(st.booleans())
    rows = []
    for (one, two), end, often in meant:
        if arena:
            row = {"model_a": one, "model_b": two, "winner": draw(st.sampled_from(ENDS[end]))}
        else:
            first, second = (two, one) if end < 0 else (one, two)
            row = {"winner": first, "loser": second, "tie": draw(st.sampled_from(NO if end else YES))}
        row |= {"count": str(often)} if counted else {}
        rows.append(row | {"why": draw(st.sampled_from(["", "x, y", 'he said "no"', "two\nlines"]))})
    names = draw(st.permutations(list(rows[0])))
    return names, [[row[name] for name in names] for row in rows], [(*m[:2], m[2] if counted else 1) for m in meant]


@st.composite
def files(draw):
    """Return the bytes of a file and what it means."""
    names, rows, meant = draw(tables())
    names = [draw(st.sampled_from([name, name.upper(), f" {name.title()} "])) for name in names]
    records = [dict(zip(names, row, strict=True)) for row in rows]
    kind = draw(st.sampled_from(["csv", "lines", "array"]))
    if kind == "csv":
        file = io.StringIO(newline="")
        quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
        end = draw(st.sampled_from(["\n", "\r\n"]))
        writer = csv.writer(file, delimiter=draw(st.sampled_from(",;\t|")), quoting=quoting, lineterminator=end)
        writer.writerows([names, *rows])
        text = file.getvalue()
    elif kind == "lines":
        text = "\n".join(json.dumps(one, ensure_ascii=draw(st.booleans())) for one in records)
    else:
        text = json.dumps(records, indent=draw(st.sampled_from([None, 1])))
    data = (draw(st.sampled_from(["", "\ufeff"])) + draw(st.sampled_from(["", "\n"])) + text).encode()
    return gzip.compress(data) if draw(st.booleans()) else data, meant


@settings(max_examples=60)
@given(files())
def test_every_dialect_means_the_same(made):
    data, meant = made
    read = comparisons.read(io.BytesIO(data))
    times = [1] * len(meant) if read.times is None else read.times.tolist()
    for ((one, two), end, often), won, lost, tie, k in zip(
        meant, read.winner, read.loser, read.tie, times, strict=True
    ):
        first, second = (two, one) if end < 0 else (one, two)
        assert (read.items[won], read.items[lost], bool(tie), k) == (first, second, end == 0, often)


TOLD = re.compile(r"line \d+: |holds no comparisons|is not UTF-8 text|is not a whole gzip file|spreadsheet|parquet")


@settings(max_examples=80)
@given(files(), st.data())
def test_a_damaged_file_is_read_or_refused_with_the_line(made, data):
    whole = bytearray(made[0])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=2))
        if not whole:
            break
    try:
        read = comparisons.read(io.BytesIO(bytes(whole)))
    except ValueError as error:
        assert TOLD.search(str(error))  # noqa: PT017
    else:
        assert len(read.winner) == len(read.loser) == len(read.tie) > 0
        assert (read.winner != read.loser).all()


@pytest.mark.parametrize(
    "text", ["", "\n", " \n\t\n", "x", "winner", "[", "{", "]", "\x00", "winner,loser\n\x00,b", '"']
)
def test_scraps_are_refused_in_words(text):
    with pytest.raises(ValueError, match=TOLD):
        comparisons.read(io.BytesIO(text.encode()))
