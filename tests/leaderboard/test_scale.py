"""Scales: what is shifted and stretched, and whose intervals they are."""

import numpy as np
import pytest
from compared import read_text, simulate

from rlhf_lab.leaderboard import ranking
from rlhf_lab.leaderboard.board import draw, format_table, leaderboard, write_csv
from rlhf_lab.leaderboard.comparisons import Comparisons
from rlhf_lab.leaderboard.scale import ELO, NATS, anchored, ratings

LEAD = "winner,loser\n" + "a,b\n" * 10 + "b,a\n"


def test_400_points_are_odds_of_ten_to_one_around_1000(tmp_path):
    one, other = leaderboard(read_text(LEAD, tmp_path), scale=ELO).rows
    assert (one.strength, other.strength) == pytest.approx((1200, 800))
    assert one.beats_average == pytest.approx(10**0.5 / (1 + 10**0.5))


def test_an_anchor_stands_where_it_is_put_and_intervals_are_differences_to_it(tmp_path):
    one, other = leaderboard(read_text(LEAD, tmp_path), scale=anchored(ELO, "b=1500")).rows
    assert (other.low, other.strength, other.high) == (1500, 1500, 1500)
    assert one.strength == pytest.approx(1900)
    # The log-odds of 10 to 1 have the variance 1/10 + 1.
    half = 1.959964 * np.sqrt(1.1) * 400 / np.log(10)
    assert (one.low, one.high) == pytest.approx((1900 - half, 1900 + half))


def test_the_error_of_a_difference_is_that_of_the_covariance():
    data = simulate(0)
    found = ranking.fit(data.winner, data.loser)
    rating, error = ratings(anchored(NATS, "x=2"), found.strength, found.covariance, 3)
    contrast = np.eye(7) - np.eye(7)[3]
    assert rating == pytest.approx(2 + contrast @ found.strength)
    assert error**2 == pytest.approx((contrast @ found.covariance @ contrast.T).diagonal(), abs=1e-12)


@pytest.mark.parametrize("text", ["a", "a=", "=3", "a=x", "a=nan", "a=inf"])
def test_an_anchor_is_a_name_and_a_number(text):
    with pytest.raises(ValueError, match=f"an anchor is an item and where it stands, NAME=NUMBER; got '{text}'"):
        anchored(ELO, text)


def test_an_anchor_may_hold_an_equals_sign_and_zeros(tmp_path):
    assert anchored(NATS, "a=b=3")[-2:] == ("a=b", 3.0)
    board = leaderboard(read_text("winner,loser\n2,1\n1,2\n", tmp_path), scale=anchored(ELO, "2.0=1000"))
    assert [row.strength for row in board.rows] == pytest.approx([1000, 1000])


def test_an_unknown_anchor_is_told_with_the_items(tmp_path):
    with pytest.raises(ValueError, match="the anchor 'z' is not among the items: a, b"):
        leaderboard(read_text(LEAD, tmp_path), scale=anchored(ELO, "z=1"))


def test_groups_without_the_anchor_are_told(tmp_path):
    board = leaderboard(read_text(LEAD + "x,y\ny,x\n", tmp_path), scale=anchored(ELO, "a=500"))
    assert [row.strength for row in board.rows] == pytest.approx([500, 100, 1000, 1000])
    assert "In groups without a, the mean stands at 1000." in board.notes


def test_the_table_and_the_figure_name_the_scale(tmp_path):
    from matplotlib.figure import Figure

    read = read_text(LEAD, tmp_path)
    elo = format_table(leaderboard(read, scale=ELO)).splitlines()
    assert elo[1].split()[:3] == ["1", "a", "1200"]
    assert elo[4] == "Strengths in Elo points (400 are odds of 10 to 1), the mean of a group at 1000;"
    board = leaderboard(read, scale=anchored(ELO, "b=1500"))
    text = " ".join(format_table(board).split())
    assert "(400 are odds of 10 to 1), b at 1500; low to high: 95% interval of the difference to it; P(win)" in text
    ax = Figure().subplots()
    draw(board, ax)
    assert ax.get_xlabel() == "strength in Elo points, 95% interval; 1500 is b"
    assert list(ax.lines[1].get_xdata()) == [1500, 1500]


def gradients(strength, nu, outcome):
    """The gradient of the log-likelihood of one comparison of item 0 with item 1, in their strengths and in delta."""
    win, loss = np.exp((strength[0] - strength[1]) / 2), np.exp((strength[1] - strength[0]) / 2)
    share = np.array([win, loss, nu]) / (win + loss + nu)
    lead = {"win": 1, "loss": -1, "tie": 0}[outcome] / 2 - (share[0] - share[1]) / 2
    return lead, (outcome == "tie") - share[2]


@pytest.mark.parametrize("nu", [0.0, 0.7])
def test_the_sandwich_is_the_sum_over_comparisons_between_two_inverses(nu):
    data = simulate(3, items=4, size=80, nu=nu)
    pairs = ranking.counted(data.winner, data.loser, data.tie, 4)
    found = ranking.fit_pairs(pairs, 0.0, robust=True)
    rows = []
    for i, j, tie in zip(data.winner, data.loser, data.tie, strict=True):
        lead, delta = gradients(found.strength[[i, j]], found.tie, "tie" if tie else "win")
        rows.append(np.append(lead * (np.eye(4)[i] - np.eye(4)[j]), delta if nu else []))
    meat = np.array(rows).T @ np.array(rows)

    def score(theta):
        total = np.zeros(len(theta))
        for i, j, tie in zip(data.winner, data.loser, data.tie, strict=True):
            lead, delta = gradients(theta[[i, j]], np.exp(theta[4]) if nu else 0.0, "tie" if tie else "win")
            total += np.append(lead * (np.eye(4)[i] - np.eye(4)[j]), delta if nu else [])
        return total

    best = np.append(found.strength, np.log(found.tie) if nu else [])
    step = 1e-5
    information = -np.array([(score(best + step * e) - score(best - step * e)) / (2 * step) for e in np.eye(len(best))])
    inverse = np.linalg.pinv(information, rcond=1e-6)
    assert found.robust == pytest.approx((inverse @ meat @ inverse)[:4, :4], rel=1e-4, abs=1e-8)
    assert ranking.fit_pairs(pairs, 0.0).robust is None


def test_two_items_have_one_interval_whether_the_model_is_trusted_or_not(tmp_path):
    """Two items fit any shares, so that nothing is left to distrust."""
    board = leaderboard(read_text(LEAD, tmp_path), robust=True)
    for row in board.rows:
        assert (row.robust_low, row.robust_high) == pytest.approx((row.low, row.high), abs=1e-9)


def test_robust_intervals_cover_where_the_model_is_wrong():
    """Rock, paper, scissors, and each beats w with a chance of its own: one strength fits none of the three pairs."""
    rng = np.random.default_rng(0)
    chances = {(0, 1): 0.95, (1, 2): 0.95, (2, 0): 0.95, (0, 3): 0.9, (1, 3): 0.5, (2, 3): 0.6}

    def fitted(size):
        sides = np.array(list(chances))
        pair = rng.integers(len(sides), size=size)
        won = rng.random(size) < np.array(list(chances.values()))[pair]
        first, second = sides[pair].T
        winner, loser = np.where(won, (first, second), (second, first))
        return ranking.fit_pairs(ranking.counted(winner, loser, np.zeros(size, bool), 4), 0.0, robust=True)

    limit = fitted(2_000_000).strength
    found = [fitted(600) for _ in range(300)]
    half = 1.959964 * np.sqrt([one.robust.diagonal() for one in found])
    inside = np.mean([np.abs(one.strength - limit) < h for one, h in zip(found, half, strict=True)], axis=0)
    assert inside == pytest.approx(np.full(4, 0.95), abs=4 * np.sqrt(0.95 * 0.05 / 300))


def test_robust_intervals_stand_beside_those_of_the_model(tmp_path):
    read = read_text(LEAD + "b,c\nc,b\nb,c\nc,a\n", tmp_path)
    board = leaderboard(read, robust=True)
    lines = format_table(board).splitlines()
    assert lines[0] == "rank  item  strength    low  high   low*  high*  wins  losses  ties  P(win)"
    assert any(line.startswith("P(win): against") and "low* to high*" in line for line in lines)
    write_csv(board, tmp_path / "robust.csv")
    write_csv(leaderboard(read), tmp_path / "plain.csv")
    one, other = ((tmp_path / name).read_text().splitlines() for name in ("robust.csv", "plain.csv"))
    assert one[0] == other[0] + ",robust_low,robust_high"
    assert one[1].startswith(other[1] + ",")


def test_counts_and_repeated_rows_have_one_covariance():
    data = simulate(1, items=4, size=30, nu=0.5)
    times = np.random.default_rng(0).integers(1, 4, size=30)
    pairs = ranking.counted(data.winner, data.loser, data.tie, 4, times)
    rows = [np.repeat(column, times) for column in (data.winner, data.loser, data.tie)]
    repeated = ranking.counted(*rows, 4)
    for one, other in zip(pairs, repeated, strict=True):
        assert np.array_equal(one, other)
    halves = ranking.counted(data.winner, data.loser, data.tie, 4, times / 2)
    assert halves.wins.tolist() == (pairs.wins / 2).tolist()


def test_an_anchor_of_a_board_made_by_hand():
    compared = Comparisons(("p", "q"), np.array([0, 1]), np.array([1, 0]), np.zeros(2, bool))
    assert [row.strength for row in leaderboard(compared, scale=anchored(NATS, "q=5")).rows] == pytest.approx([5, 5])
