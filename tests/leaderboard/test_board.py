"""A board says what the fit says, and what it cannot know; tables and figures are written whole."""

import csv
import itertools
import re

import numpy as np
import pytest
from compared import TEXT, read_text, simulate
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from scipy.special import expit

from rlhf_lab import plots
from rlhf_lab.leaderboard import comparisons, ranking
from rlhf_lab.leaderboard.board import Board, Row, draw, format_table, leaderboard, write_csv


def test_a_board_is_the_fit_with_names(tmp_path):
    read = read_text(TEXT, tmp_path)
    board = leaderboard(read, level=0.9)
    found = ranking.fit(read.winner, read.loser, read.tie)
    order = np.argsort(-found.strength)
    assert [row.item for row in board.rows] == [read.items[i] for i in order]
    assert [row.rank for row in board.rows] == [1, 2, 3]
    assert [row.strength for row in board.rows] == pytest.approx(found.strength[order])
    assert [row.beats_average for row in board.rows] == pytest.approx(expit(found.strength[order]))
    half = 1.6448536 * np.sqrt(found.covariance.diagonal())[order]
    assert [row.high - row.strength for row in board.rows] == pytest.approx(half)
    assert [row.strength - row.low for row in board.rows] == pytest.approx(half)
    counts = {row.item: (row.wins, row.losses, row.ties) for row in board.rows}
    assert counts == {"a": (3, 1, 3), "b": (1, 2, 2), "c": (1, 2, 1)}
    chance = found.tie / (2 + found.tie)
    text = f"nu = {found.tie:.2f}, two equal items tie with probability nu / (2 + nu) = {chance:.2f}."
    assert board.notes == (f"Group 1 has ties: {text}",)


def test_annotators_are_compared_with_what_the_model_expects():
    truth = np.array([2.0, 1.0, 0.0, -1.0])
    good, noise = simulate(0, items=4, size=2000, truth=truth), simulate(1, items=4, size=400, truth=0 * truth)
    winner, loser = (np.concatenate([getattr(good, k), getattr(noise, k)]) for k in ("winner", "loser"))
    tie, person = np.zeros(2401, bool), np.repeat([0, 1, 2], [2000, 400, 1])
    tie[-1] = True
    names, people = ("p", "q", "r", "s"), ("careful", "careless", "undecided")
    data = comparisons.Comparisons(names, np.append(winner, 0), np.append(loser, 1), tie, person, people)
    board = leaderboard(data)
    careless, careful, undecided = board.annotators
    assert [a.name for a in board.annotators] == ["careless", "careful", "undecided"]
    assert [a.comparisons for a in board.annotators] == [400, 2000, 1]
    strength = {row.item: row.strength for row in board.rows}
    r = np.array([strength[name] for name in names])
    lead = (r[winner] - r[loser])[:2000]
    assert careful.agreement == pytest.approx((lead > 0).mean())
    assert careful.expected == pytest.approx(np.maximum(expit(lead), expit(-lead)).mean())
    assert careless.agreement == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / 400))
    assert careless.expected > 0.65
    assert np.isnan(undecided.agreement)
    assert "undecided            1          -         -" in format_table(board)


APART = """winner,loser
z,y
y,z
a,b
b,a
a,c
"""


def test_groups_are_ranked_apart_and_the_notes_say_why(tmp_path):
    board = leaderboard(read_text(APART, tmp_path))
    assert [(row.group, row.rank, row.item) for row in board.rows] == [
        (1, 1, "a"),
        (1, 2, "b"),
        (1, 3, "c"),
        (2, 1, "y"),
        (2, 1, "z"),
    ]
    assert [row.strength for row in board.rows[3:]] == pytest.approx([0, 0], abs=1e-9)
    two, prior = board.notes
    assert two.startswith("There are 2 groups, which cannot be compared with each other: no chain of comparisons links")
    assert "(never won against the rest: c)" in prior
    assert prior.endswith("; a Gaussian prior with standard deviation 3 nats pulls its strengths to their mean.")
    regularised = ranking.fit([0, 1, 0], [1, 0, 2], prior_precision=1 / 9).strength
    assert [row.strength for row in board.rows[:3]] == pytest.approx(regularised)


def test_the_prior_on_ties_is_told(tmp_path):
    """Two ties and no win: nu would be infinite, and the prior on its logarithm makes it 12."""
    board = leaderboard(read_text("winner,loser,tie\na,b,1\nb,a,1\n", tmp_path))
    nu = ranking.fit([0, 1], [1, 0], [True, True], prior_precision=1 / 9).tie
    assert board.notes[0].endswith(
        "a Gaussian prior with standard deviation 3 nats pulls its strengths to their mean, and log nu to 0."
    )
    assert board.notes[1].startswith(f"Group 1 has ties: nu = {nu:.2f},")
    assert len(board.notes) == 2


def test_of_many_groups_the_first_ten_have_notes_and_the_others_one(tmp_path):
    fine, bad, tied = "a{0},b{0},\nb{0},a{0},\n", "a{0},b{0},\n", "a{0},b{0},1\nb{0},a{0},1\n"
    kinds = [bad] * 10 + [tied] * 2 + [fine] * 2
    text = "winner,loser,tie\n" + "".join(kind.format(f"{k:02}") for k, kind in enumerate(kinds))
    notes = leaderboard(read_text(text, tmp_path)).notes
    assert [note.split(" has")[0] for note in notes[1:11]] == [f"Group {k}" for k in range(1, 11)]
    assert notes[11:] == (
        "Groups 11 to 14: 2 have no finite strengths by themselves and get the same prior, 2 have ties.",
    )
    ten = "winner,loser\n" + "".join(f"a{k},b{k}\n" for k in range(10))
    notes = leaderboard(read_text(ten, tmp_path)).notes
    assert len(notes) == 11
    assert notes[-1].startswith("Group 10 has")


def row(group, rank, item, strength=0.0):
    return Row(group, rank, item, strength, strength - 1, strength + 2, 1, 1, 0, 0.5)


def test_equals_are_ordered_by_name_and_no_order_of_rows_changes_the_board(tmp_path):
    strong = [f"{one},{two},ann" for one, two in itertools.permutations("abc", 2)]
    weak = [f"{one},d,bob" for one in "abc" for _ in range(7)] + [f"d,{one},bob" for one in "abc" for _ in range(3)]
    other = [f"{name}{one},{name}{two},cy" for name in "xw" for one, two in itertools.permutations("abcd", 2)]
    rng = np.random.default_rng(0)
    for _ in range(20):
        lines = ["winner,loser,annotator", *rng.permutation(strong + weak + other).tolist()]
        board = leaderboard(read_text("\n".join(lines), tmp_path))
        ranked = [*"abcd", *(name + one for name in "wx" for one in "abcd")]
        assert [row.item for row in board.rows] == ranked
        agreement = {person.name: person.agreement for person in board.annotators}
        assert agreement == pytest.approx({"ann": 0.5, "bob": 0.7, "cy": 0.5})


def test_a_number_that_rounds_to_zero_has_no_sign(tmp_path):
    board = Board((row(1, 1, "a", -1e-9),), 0.95, (), ())
    assert " a         0.00  -1.00  2.00 " in format_table(board)
    write_csv(board, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines()[1] == "1,1,a,0.000000,-1.000000,2.000000,1,1,0,0.500000"


def test_long_lists_of_names_are_cut_and_items_without_comparison_are_told():
    names = tuple(f"m{k:02}" for k in range(15))
    compared = comparisons.Comparisons(names, np.zeros(13, int), np.arange(1, 14), np.zeros(13, bool))
    board = leaderboard(compared)
    assert board.notes[0] == "Never compared, so not ranked: m14."
    assert "never won against the rest: m01, m02, m03, m04, m05, m06, m07, m08, m09, m10 and 3 more" in board.notes[1]
    assert [row.item for row in board.rows] == list(names[:14])


@pytest.mark.parametrize("level", [0, 1, 95, -0.5, np.nan])
def test_a_level_is_a_probability(tmp_path, level):
    with pytest.raises(ValueError, match=f"level is the probability .* between 0 and 1; got {level}"):
        leaderboard(read_text(APART, tmp_path), level)


def test_the_table_is_plain_text_in_columns(tmp_path):
    lines = format_table(leaderboard(read_text(APART, tmp_path))).splitlines()
    assert lines[:10] == [
        "group  rank  item  strength    low  high  wins  losses  ties  P(win)",
        "    1     1  a         0.66  -1.16  2.49     2       1     0    0.66",
        "    1     2  b         0.54  -1.63  2.71     1       1     0    0.63",
        "    1     3  c        -1.20  -4.25  1.84     0       1     0    0.23",
        "    2     1  y         0.00  -1.39  1.39     1       1     0    0.50",
        "    2     1  z         0.00  -1.39  1.39     1       1     0    0.50",
        "",
        "Strengths in nats, relative to the mean of the group; low to high: 95% interval;",
        "P(win): against an item of average strength.",
        "",
    ]
    assert max(map(len, lines)) <= 80


def test_the_table_is_written_whole_and_never_over_another(tmp_path):
    board, path = leaderboard(read_text(APART, tmp_path)), tmp_path / "out.csv"
    write_csv(board, path)
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert [row["item"] for row in rows] == ["a", "b", "c", "y", "z"]
    assert [float(row["strength"]) for row in rows] == pytest.approx([row.strength for row in board.rows], abs=1e-6)
    with pytest.raises(FileExistsError, match="is there already"):
        write_csv(board._replace(rows=()), path)
    assert len(path.read_text().splitlines()) == 6
    with pytest.raises(TypeError):
        write_csv(board._replace(rows=(*board.rows, None)), path, overwrite=True)
    assert len(path.read_text().splitlines()) == 6
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.csv", "out.csv"]
    write_csv(board._replace(rows=board.rows[:1]), path, overwrite=True)
    assert len(path.read_text().splitlines()) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.csv", "out.csv"]


def drawn(rows):
    ax = Figure().subplots()
    draw(Board(tuple(rows), 0.9, (), ()), ax)
    return ax, [label.get_text() for label in ax.get_yticklabels()]


def test_a_figure_has_one_interval_for_each_item_best_on_top():
    ax, labels = drawn([row(1, 1, "best", 1.5), row(1, 2, "$x$" + "y" * 50, -1.5)])
    assert labels == ["best", "$x$" + "y" * 36 + "…"]
    assert not any(label.get_parse_math() for label in ax.get_yticklabels())
    assert ax.lines[0].get_xydata().tolist() == [[1.5, 0], [-1.5, 1]]
    (bars,) = ax.collections
    assert [path.vertices.tolist() for path in bars.get_paths()] == [[[0.5, 0], [3.5, 0]], [[-2.5, 1], [0.5, 1]]]
    assert ax.get_ylim() == (1.5, -0.5)
    assert ax.get_xlabel() == "strength in nats, 90% interval; 0 is the mean of the group"


def test_letters_that_the_font_lacks_are_drawn_as_codes(tmp_path):
    """And no warning is raised, which would fail the test."""
    rows = [row(1, 1, "süß"), row(1, 2, "東é"), row(1, 3, "東" * 7)]
    _, labels = drawn(rows)
    assert labels == ["süß", r"\u6771é", r"\u6771" * 6 + r"\u6" + "…"]
    draw(Board(tuple(rows), 0.9, (), ()), tmp_path / "b.svg")


def test_groups_are_blocks_of_a_figure_and_long_ones_show_their_ends():
    _, labels = drawn([row(1, 1, "a"), row(1, 2, "b"), row(2, 1, "c"), row(2, 2, "d")])
    assert labels == ["group 1", "a", "b", "group 2", "c", "d"]
    ax, labels = drawn([row(1, k, f"m{k}") for k in range(1, 101)])
    assert labels == [f"m{k}" for k in itertools.chain(range(1, 31), range(71, 101))]
    assert ax.get_xlabel().endswith("\n60 of 100 items: the best 30 and the worst 30 of a group")
    assert "of 60 items" not in drawn([row(1, k, f"m{k}") for k in range(1, 61)])[0].get_xlabel()
    ax, labels = drawn([row(g, k, f"m{g}-{k}") for g in range(1, 201) for k in (1, 2)])
    assert len(labels) == 240 + 120
    assert "\n240 of 400 items" in ax.get_xlabel()


def test_figures_are_the_same_twice_and_refused_where_they_cannot_be(tmp_path):
    board = leaderboard(read_text(APART, tmp_path))
    for name in ("one.svg", "two.svg", "three.PNG"):
        draw(board, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert (tmp_path / "three.PNG").read_bytes()[1:4] == b"PNG"
    with pytest.raises(FileExistsError, match=r"one.svg is there already"):
        draw(board, tmp_path / "one.svg")
    draw(board, str(tmp_path / "one.svg"), overwrite=True)
    with pytest.raises(ValueError, match=r"a figure is a file that ends in .svg or .png; got one.pdf"):
        draw(board, tmp_path / "one.pdf")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.csv", "one.svg", "three.PNG", "two.svg"]


def test_the_annotators_follow_the_table_in_words(tmp_path):
    one_group = "winner,loser,annotator\na,b,ann\nb,a,bob\na,b,ann\n"
    assert format_table(leaderboard(read_text(one_group, tmp_path))).splitlines() == [
        "rank  item  strength    low  high  wins  losses  ties  P(win)",
        "   1  a         0.35  -0.85  1.55     2       1     0    0.59",
        "   2  b        -0.35  -1.55  0.85     1       2     0    0.41",
        "",
        "Strengths in nats, relative to the mean of the group; low to high: 95% interval;",
        "P(win): against an item of average strength.",
        "",
        "annotator  comparisons  agreement  expected",
        "bob                  1       0.00      0.67",
        "ann                  2       1.00      0.67",
        "",
        "Agreement: share of decisions for the stronger item; expected: the share if the",
        "model holds.",
    ]


def test_lines_of_the_table_end_as_on_every_system(tmp_path):
    board, path = leaderboard(read_text(APART, tmp_path)), tmp_path / "out.csv"
    write_csv(board, path)
    assert b"\r" not in path.read_bytes()


def test_the_look_of_a_figure(tmp_path):
    ax, labels = drawn([row(1, 1, "x" * 40, 1.5), row(1, 2, "y" * 41, -1.5)])
    assert labels == ["x" * 40, "y" * 39 + "…"]
    points, middle = ax.lines
    assert (points.get_marker(), points.get_linestyle(), points.get_markersize()) == ("o", "None", 4)
    assert points.get_color() == plots.COLORS["human"]
    assert ax.collections[0].get_colors().tolist() == [[*to_rgb(plots.COLORS["human"]), 1]]
    assert list(middle.get_xdata()) == [0, 0]
    assert (middle.get_color(), middle.get_linewidth(), middle.get_zorder()) == (plots.COLORS["pretrained"], 0.8, 0)
    assert [tick.tick1line.get_markersize() for tick in ax.yaxis.get_major_ticks()] == [0, 0]
    assert all(tick.tick1line.get_markersize() > 0 for tick in ax.xaxis.get_major_ticks())
    board = leaderboard(read_text(APART, tmp_path))
    draw(board, tmp_path / "b.svg")
    width, height = re.search(
        r'<svg [^>]*width="([\d.]+)pt" height="([\d.]+)pt"', (tmp_path / "b.svg").read_text()
    ).groups()
    assert (float(width), float(height)) == pytest.approx((8 * 72, (1.2 + 0.3 * 7) * 72), abs=0.01)


def test_a_loser_that_never_won_and_stands_last_is_counted(tmp_path):
    board = leaderboard(read_text("winner,loser,tie\na,b,\na,b,1\nb,a,\nc,a,\na,c,\na,d,\n", tmp_path))
    counts = {row.item: (row.wins, row.losses, row.ties) for row in board.rows}
    assert counts == {"a": (3, 2, 1), "b": (1, 1, 1), "c": (1, 1, 0), "d": (0, 1, 0)}
    late = leaderboard(read_text("winner,loser,tie\na,b,\nb,a,\nb,c,1\n", tmp_path))
    assert {row.item for row in late.rows} == {"a", "b", "c"}


def test_the_notes_of_two_groups_read_as_sentences(tmp_path):
    note = leaderboard(read_text(APART, tmp_path)).notes[0]
    assert note == (
        "There are 2 groups, which cannot be compared with each other: no chain of comparisons links them. "
        "Ranks and strengths count inside a group only."
    )


def test_the_stronger_item_stands_first_whatever_its_name_and_however_close(tmp_path):
    rows = ["z,m"] * 6 + ["m,z"] * 5 + ["m,a"] * 6 + ["a,m"] * 5
    board = leaderboard(read_text("\n".join(["winner,loser", *rows]), tmp_path))
    assert [row.item for row in board.rows] == ["z", "m", "a"]
    assert [row.strength for row in board.rows] == pytest.approx(np.log(6 / 5) * np.array([1, 0, -1]), abs=1e-9)


def test_annotators_are_ordered_by_how_far_they_fall_short_of_what_is_expected():
    # a beats b 9 times of 10, says one; c beats d 3 times of 5, of which one person says all 3 and another the rest.
    winner = np.repeat([0, 1, 2, 3], [9, 1, 3, 2])
    person = np.repeat([0, 1, 2], [10, 3, 2])
    data = comparisons.Comparisons(
        ("a", "b", "c", "d"), winner, winner ^ 1, np.zeros(15, bool), person, ("fair", "fan", "foe", "idle")
    )
    found = leaderboard(data).annotators
    assert [(a.name, a.comparisons) for a in found] == [("foe", 2), ("fair", 10), ("fan", 3), ("idle", 0)]
    assert [a.agreement for a in found[:3]] == pytest.approx([0, 0.9, 1])
    assert [a.expected for a in found[:3]] == pytest.approx([0.6, 0.9, 0.6])
    assert np.isnan(found[3].agreement)


def test_notes_are_broken_at_eighty_letters():
    fits, breaks = "a" * 40 + " " + "b" * 39, "a" * 40 + " " + "b" * 40
    lines = format_table(Board((row(1, 1, "x"),), 0.95, (fits, breaks), ())).splitlines()
    assert lines[-4:] == [fits, "", "a" * 40, "b" * 40]
