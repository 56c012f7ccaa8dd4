"""Strengths, errors and notes are those of the plain likelihood; files are read, or told what is wrong with them."""

import csv
import itertools
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass

import choix
import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.optimize import linprog, minimize
from scipy.special import expit

from rlhf_lab import ranking
from rlhf_lab.__main__ import main


@dataclass(frozen=True)
class Data:
    winner: np.ndarray
    loser: np.ndarray
    tie: np.ndarray
    items: int


def simulate(seed, items=7, size=300, nu=0.0, truth=None):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=items) if truth is None else truth
    one = rng.integers(items, size=size)
    two = (one + rng.integers(1, items, size=size)) % items
    lead = truth[one] - truth[two]
    weights = np.stack([np.exp(lead / 2), np.exp(-lead / 2), np.full(size, nu)])
    outcome = (rng.random(size) > np.cumsum(weights / weights.sum(0), axis=0)).sum(0)
    return Data(np.where(outcome == 1, two, one), np.where(outcome == 1, one, two), outcome == 2, items)


def log_likelihood(strength, nu, data):
    """One comparison after the other, as the equations are written."""
    total = 0.0
    for i, j, tie in zip(data.winner, data.loser, data.tie, strict=True):
        win, loss = np.exp((strength[i] - strength[j]) / 2), np.exp((strength[j] - strength[i]) / 2)
        total += np.log((nu if tie else win) / (win + loss + nu))
    return total


def fitted(data, **options):
    return ranking.fit(data.winner, data.loser, data.tie, data.items, **options)


def differences(function, x, step):
    """Central differences of `function`, one for each entry of x."""
    return np.array([(function(x + step * e) - function(x - step * e)) / (2 * step) for e in np.eye(len(x))])


@pytest.mark.parametrize("seed", range(5))
def test_without_ties_the_strengths_are_those_of_choix(seed):
    data = simulate(seed)
    pairs = list(zip(data.winner.tolist(), data.loser.tolist(), strict=True))
    found = fitted(data).strength
    assert found == pytest.approx(choix.ilsr_pairwise(data.items, pairs, max_iter=10_000, tol=1e-11), abs=1e-6)
    newton = choix.opt_pairwise(data.items, pairs, alpha=0, tol=1e-12)
    assert found == pytest.approx(newton - newton.mean(), abs=1e-6)


def test_a_gaussian_prior_is_the_penalty_of_choix():
    data = simulate(1, size=20)
    pairs = list(zip(data.winner.tolist(), data.loser.tolist(), strict=True))
    peer = choix.opt_pairwise(data.items, pairs, alpha=0.35, tol=1e-12)
    found = fitted(data, prior_precision=0.7)
    assert found.strength == pytest.approx(peer, abs=1e-6)
    assert found.strength.sum() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("nu", [0.0, 0.8])
def test_the_gradient_is_zero_and_the_covariance_is_the_inverse_of_the_information(nu):
    data = simulate(2, items=5, size=200, nu=nu)
    found = fitted(data)
    free = 5 + (nu > 0)

    def value(theta):
        return log_likelihood(theta[:5], np.exp(theta[5]) if nu else 0.0, data)

    best = np.append(found.strength, np.log(found.tie) if nu else [])
    assert differences(value, best, 1e-5) == pytest.approx(np.zeros(free), abs=1e-6)
    information = -differences(lambda theta: differences(value, theta, 1e-3), best, 1e-3)
    assert found.covariance == pytest.approx(np.linalg.pinv(information, rcond=1e-4)[:5, :5], rel=1e-4, abs=1e-6)
    assert found.covariance.sum(0) == pytest.approx(np.zeros(5), abs=1e-12)
    assert found.covariance == pytest.approx(found.covariance.T, abs=1e-12)
    both = np.concatenate([data.winner, data.loser])
    assert found.comparisons.tolist() == [(both == item).sum() for item in range(5)]


@pytest.mark.parametrize("nu", [0.0, 0.8])
def test_the_covariance_under_a_prior_is_that_of_strengths_minus_their_mean(nu):
    data = simulate(3, items=4, size=12, nu=nu)
    found = fitted(data, prior_precision=0.5)

    def value(theta):
        return log_likelihood(theta[:4], np.exp(theta[4]) if nu else 0.0, data) - 0.25 * (theta**2).sum()

    best = np.append(found.strength, np.log(found.tie) if nu else [])
    information = -differences(lambda theta: differences(value, theta, 1e-3), best, 1e-3)
    centre, covariance = np.eye(4) - 1 / 4, np.linalg.inv(information)[:4, :4]
    assert found.covariance == pytest.approx(centre @ covariance @ centre, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(("wins", "losses"), [(1, 1), (3, 1), (7, 20), (10**5, 1)])
def test_two_items_differ_by_the_log_odds(wins, losses):
    found = ranking.fit(np.repeat([0, 1], [wins, losses]), np.repeat([1, 0], [wins, losses]))
    assert found.strength == pytest.approx(np.array([1, -1]) * np.log(wins / losses) / 2, abs=1e-9)
    contrast = np.array([1, -1])
    assert contrast @ found.covariance @ contrast == pytest.approx(1 / wins + 1 / losses, rel=1e-9)
    assert found.tie == 0


@pytest.mark.parametrize(("wins", "losses", "ties"), [(4, 2, 3), (5, 5, 1), (1, 9, 100)])
def test_two_items_with_ties_reproduce_the_three_shares(wins, losses, ties):
    found = ranking.fit(
        np.repeat([0, 1, 0], [wins, losses, ties]),
        np.repeat([1, 0, 1], [wins, losses, ties]),
        np.repeat([False, False, True], [wins, losses, ties]),
    )
    assert found.strength[0] - found.strength[1] == pytest.approx(np.log(wins / losses), abs=1e-9)
    assert found.tie == pytest.approx(ties / np.sqrt(wins * losses), rel=1e-9)


@pytest.mark.parametrize("precision", [0.0, 0.3])
def test_davidson_agrees_with_a_general_optimiser(precision):
    data = simulate(4, items=5, size=120, nu=0.5)

    def loss(theta):
        penalty = precision / 2 * (theta**2).sum()
        return penalty - log_likelihood(theta[:5], np.exp(theta[5]), data)

    best = minimize(loss, np.zeros(6), method="BFGS", options={"gtol": 1e-4}).x
    found = fitted(data, prior_precision=precision)
    assert found.strength == pytest.approx(best[:5] - best[:5].mean(), abs=1e-4)
    assert found.tie == pytest.approx(np.exp(best[5]), rel=1e-4)


@pytest.mark.parametrize("nu", [0.0, 0.7])
def test_intervals_cover_the_truth_as_often_as_they_say(nu):
    truth, inside = np.array([1.0, 0.3, 0.0, -0.4, -0.9]), []
    for seed in range(400):
        found = fitted(simulate(seed, items=5, size=300, nu=nu, truth=truth))
        inside.append(np.abs(found.strength - truth) < 1.959964 * np.sqrt(found.covariance.diagonal()))
    standard_error = np.sqrt(0.95 * 0.05 / 400)
    assert np.mean(inside, axis=0) == pytest.approx(np.full(5, 0.95), abs=4 * standard_error)


def test_order_and_names_of_items_change_nothing():
    data = simulate(5, nu=0.4)
    rng = np.random.default_rng(0)
    rename, order, flip = rng.permutation(data.items), rng.permutation(len(data.winner)), rng.random(300) < 0.5
    one, two = rename[data.winner[order]], rename[data.loser[order]]
    tie = data.tie[order]
    swap = tie & flip
    before = fitted(data)
    after = ranking.fit(np.where(swap, two, one), np.where(swap, one, two), tie)
    assert after.strength[rename] == pytest.approx(before.strength, abs=1e-9)
    assert after.covariance[np.ix_(rename, rename)] == pytest.approx(before.covariance, abs=1e-9)
    assert after.tie == pytest.approx(before.tie, abs=1e-9)


def has_maximum(data):
    """No direction (d, growth of delta) but a common shift leads upwards for ever: a linear programme."""
    n, rows = data.items, []
    for i, j, tie in zip(data.winner, data.loser, data.tie, strict=True):
        lead = np.eye(n + 1)[i] - np.eye(n + 1)[j]
        growth = 2 * np.eye(n + 1)[n]
        # Each outcome's weight must grow at least as fast as the other two.
        rows += [lead - growth, -lead - growth] if tie else [growth - lead, -lead]
    ties = data.tie.any()
    equal = np.eye(n + 1)[[0]] if ties else np.eye(n + 1)[[0, n]]
    signs = np.random.default_rng(0).normal(size=(4, n + 1))
    bound = [(-1, 1)] * (n + 1)
    if not ties:
        rows = [row * (np.arange(n + 1) < n) for row in rows]
    values = [linprog(c, rows, np.zeros(len(rows)), equal, np.zeros(len(equal)), bound).fun for c in signs]
    return min(values) > -1e-7


@pytest.mark.parametrize("nu", [0.0, 0.5, 4.0])
def test_a_fit_is_refused_exactly_if_the_likelihood_has_no_maximum(nu):
    answers = []
    for seed in range(60):
        data = simulate(seed, items=4, size=6 + seed % 6, nu=nu, truth=np.array([2.0, 1.0, 0.0, -1.0]))
        answers.append(has_maximum(data))
        if answers[-1]:
            fitted(data)
        else:
            with pytest.raises(ValueError, match="no finite strengths fit best"):
                fitted(data)
    assert 5 < sum(answers) < 55


@pytest.mark.parametrize("seed", [0, 1, 2, 23, 31, 41, 67, 91])
def test_cycles_with_counts_from_one_to_many_converge_where_plain_newton_steps_diverge(seed):
    rng = np.random.default_rng(seed)
    n = 6
    wins, ties = (10 ** rng.uniform(0, 5, size=(2, n))).astype(int)
    ties[rng.random(n) < 0.5] = 0
    one, two = np.tile(np.arange(n), 2), np.tile((np.arange(n) + 1) % n, 2)
    counts = np.concatenate([wins, ties])
    found = ranking.fit(np.repeat(one, counts), np.repeat(two, counts), np.repeat(np.arange(2 * n) >= n, counts))
    lead = found.strength - np.roll(found.strength, -1)
    weights = np.stack([np.exp(lead / 2), np.exp(-lead / 2), np.full(n, found.tie)])
    win, loss, tie = (wins + ties) * weights / weights.sum(0)
    flow = wins - (win - loss)
    assert flow - np.roll(flow, 1) == pytest.approx(np.zeros(n), abs=1e-9 * counts.sum())
    assert tie.sum() == pytest.approx(ties.sum(), abs=1e-9 * counts.sum())


LADDER = ([0, 1, 0, 1], [1, 2, 1, 2], [False, False, True, True])


@pytest.mark.parametrize(
    ("winner", "loser", "tie", "message"),
    [
        ([0, 0], [1, 2], None, "never lost against the rest: item 0; never won against the rest: item 1, item 2; "),
        (
            [0, 1, 2, 2],
            [1, 0, 0, 1],
            None,
            "never lost against the rest: item 2; never won .*: item 0, item 1; collect",
        ),
        (
            [0, 0, 2],
            [1, 2, 0],
            [False, True, False],
            "never lost or tied against the rest: item 0, item 2; never won or",
        ),
        ([0, 1, 2, 3], [1, 0, 3, 2], None, "no chain of comparisons links item 0, item 1 with item 2, item 3; collect"),
        ([0], [1], [True], "no item won against one that is as good or better"),
        (*LADDER, "no item won against one that is as good or better"),
    ],
)
def test_where_no_strengths_fit_best_the_items_are_named_and_a_prior_helps(winner, loser, tie, message):
    with pytest.raises(ValueError, match=message):
        ranking.fit(winner, loser, tie)
    found = ranking.fit(winner, loser, tie, prior_precision=1 / 9)
    assert np.isfinite(found.strength).all()
    assert np.linalg.eigvalsh(found.covariance).min() > -1e-12


def test_a_cycle_of_wins_makes_up_for_ties():
    found = ranking.fit([*LADDER[0], 2], [*LADDER[1], 0], [*LADDER[2], False])
    assert np.abs(found.strength).max() < 10
    assert 0 < found.tie < 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ([], []),
            r"winner, loser and tie must have one shape \(N,\) with N at least 1; got \(0,\), \(0,\) and \(0,\)",
        ),
        (([0, 1], [1]), r"got \(2,\), \(1,\) and \(2,\)"),
        (([0], [1], [True, False]), r"got \(1,\), \(1,\) and \(2,\)"),
        (([[0]], [[1]]), r"got \(1, 1\)"),
        (([0.0], [1.0]), "must be integers, the indices of items; got float64, float64"),
        (([0, 2], [1, 1], None, 2), "item 2 is not among the 2 items, 0 to 1"),
        (([0, -1], [1, 1]), "item -1 is not among the 2 items"),
        (([0, 1], [1, 1]), "comparison 1 compares item 1 with itself"),
        (([0], [1], None, 5_001), "5,001 items are more than 5,000, the most that fit in memory"),
        (([0], [1], None, 2, -1.0), "prior_precision must be 0 .no prior. or finite and at least 1e-6; got -1.0"),
        (([0], [1], None, 2, 1e-9), "got 1e-09"),
        (([0], [1], None, 2, np.nan), "got nan"),
        (([0], [1], None, 2, np.inf), "got inf"),
    ],
)
def test_wrong_arguments_are_told(arguments, message):
    with pytest.raises(ValueError, match=message):
        ranking.fit(*arguments)


def test_a_fit_that_does_not_converge_says_so(monkeypatch):
    monkeypatch.setattr(ranking, "_STEPS", 2)
    with pytest.raises(ValueError, match="has not converged after 2 steps"):
        fitted(simulate(0))


def test_groups_are_what_chains_of_comparisons_link():
    found = ranking.groups([5, 1, 3, 0], [1, 0, 2, 5], items=7)
    assert [group.tolist() for group in found] == [[0, 1, 5], [2, 3], [4], [6]]


def comparisons(text, tmp_path, name="c.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return ranking.read_comparisons(path)


TEXT = """winner,loser,tie,annotator
a,b,,ann
b,a,no,bob
a,c,0,ann
c,b,false,bob
b,a,yes,ann
c,a,1,bob
a,b,True,ann
a,c,,
"""


def test_a_csv_file_is_read(tmp_path):
    read = comparisons(TEXT, tmp_path)
    assert read.items == ("a", "b", "c")
    assert read.winner.tolist() == [0, 1, 0, 2, 1, 2, 0, 0]
    assert read.loser.tolist() == [1, 0, 2, 1, 0, 0, 1, 2]
    assert read.tie.tolist() == [False] * 4 + [True] * 3 + [False]
    assert read.annotators == ("ann", "bob", "(no name)")
    assert read.annotator.tolist() == [0, 1, 0, 1, 0, 1, 0, 2]


def same(one, two):
    return all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


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
    assert same(comparisons(change(TEXT), tmp_path), comparisons(TEXT, tmp_path))


def test_json_lines_are_read_as_the_csv_file_is(tmp_path):
    values = {"": None, "no": False, "0": 0, "false": "false", "yes": "yes", "1": 1, "True": True}
    rows = list(csv.DictReader(TEXT.splitlines()))
    lines = [json.dumps(row | {"tie": values[row["tie"]], "why": [1, {}]}) for row in rows]
    for name in ("c.jsonl", "c.ndjson", "c.JSON"):
        assert same(comparisons("\n\n".join(lines) + "\n", tmp_path, name), comparisons(TEXT, tmp_path))


def test_columns_that_are_not_there_mean_no_ties_and_no_annotators(tmp_path):
    read = comparisons("loser,winner\nüb,x  y\n", tmp_path)
    assert read.items == ("x y", "üb")
    assert (read.winner.tolist(), read.loser.tolist(), read.tie.tolist()) == ([0], [1], [False])
    assert read.annotator is None
    assert comparisons('{"winner": 1, "loser": 2.5}', tmp_path, "c.jsonl").items == ("1", "2.5")


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
        ("c.csv", "winner;loser\n", "line 1: the header is 'winner;loser'; it must name the columns winner and loser"),
        ("c.csv", "\nwinner,loser,tie,tie\na,b,,\n", "line 2: the header is .* .tie and annotator at most once., sep"),
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
            "line 1: the loser is missing\n  line 2: the loser is missing\n  line 3: is not a JSON obj",
        ),
        (
            "c.jsonl",
            BAD_JSON,
            "line 4: loser is True; a name is text or a number\n  line 5: is not JSON: .*\n  and 1 more",
        ),
        ("c.jsonl", "[" * 100_000, "line 1: is not JSON"),
        ("c.jsonl", '{"winner": 1, "loser": 2, "tie": [1]}', "line 1: tie is '.1.'; it must be true, false"),
        ("c.jsonl", '{"winner": NaN, "loser": 2}', "line 1: is not JSON"),
    ],
)
def test_bad_files_are_told_by_line(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message):
        comparisons(text, tmp_path, name)


def test_other_encodings_and_missing_files_are_told(tmp_path):
    (tmp_path / "c.csv").write_bytes("winner,loser\nä,b\n".encode("utf-16"))
    with pytest.raises(ValueError, match=r"is not UTF-8 text .*; save it as UTF-8"):
        ranking.read_comparisons(tmp_path / "c.csv")
    with pytest.raises(FileNotFoundError):
        ranking.read_comparisons(tmp_path / "none.csv")


def test_a_board_is_the_fit_with_names(tmp_path):
    read = comparisons(TEXT, tmp_path)
    board = ranking.leaderboard(read, level=0.9)
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
    data = ranking.Comparisons(names, np.append(winner, 0), np.append(loser, 1), tie, person, people)
    board = ranking.leaderboard(data)
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
    assert "undecided            1          -         -" in ranking.format_table(board)


APART = """winner,loser
z,y
y,z
a,b
b,a
a,c
"""


def test_groups_are_ranked_apart_and_the_notes_say_why(tmp_path):
    board = ranking.leaderboard(comparisons(APART, tmp_path))
    assert [(row.group, row.rank, row.item) for row in board.rows] == [
        (1, 1, "a"),
        (1, 2, "b"),
        (1, 3, "c"),
        (2, 1, "y"),
        (2, 2, "z"),
    ]
    assert [row.strength for row in board.rows[3:]] == pytest.approx([0, 0], abs=1e-9)
    two, prior = board.notes
    assert two.startswith("There are 2 groups, which cannot be compared with each other: no chain of comparisons links")
    assert "never lost against the rest: a, b; never won against the rest: c)" in prior
    assert "a Gaussian prior with standard deviation 3 nats pulls" in prior
    regularised = ranking.fit([0, 1, 0], [1, 0, 2], prior_precision=1 / 9).strength
    assert [row.strength for row in board.rows[:3]] == pytest.approx(regularised)


def row(group, rank, item, strength=0.0):
    return ranking.Row(group, rank, item, strength, strength - 1, strength + 2, 1, 1, 0, 0.5)


def test_equals_are_ordered_by_name_and_no_order_of_rows_changes_the_board(tmp_path):
    strong = [f"{one},{two},ann" for one, two in itertools.permutations("abc", 2)]
    weak = [f"{one},d,bob" for one in "abc" for _ in range(7)] + [f"d,{one},bob" for one in "abc" for _ in range(3)]
    other = [f"{name}{one},{name}{two},cy" for name in "xw" for one, two in itertools.permutations("abcd", 2)]
    rng = np.random.default_rng(0)
    for _ in range(20):
        lines = ["winner,loser,annotator", *rng.permutation(strong + weak + other).tolist()]
        board = ranking.leaderboard(comparisons("\n".join(lines), tmp_path))
        ranked = [*"abcd", *(name + one for name in "wx" for one in "abcd")]
        assert [row.item for row in board.rows] == ranked
        agreement = {person.name: person.agreement for person in board.annotators}
        assert agreement == pytest.approx({"ann": 0.5, "bob": 0.7, "cy": 0.5})


def test_a_number_that_rounds_to_zero_has_no_sign(tmp_path):
    board = ranking.Board((row(1, 1, "a", -1e-9),), 0.95, (), ())
    assert " a         0.00  -1.00  2.00 " in ranking.format_table(board)
    ranking.write_csv(board, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines()[1] == "1,1,a,0.000000,-1.000000,2.000000,1,1,0,0.500000"


def test_long_lists_of_names_are_cut_and_items_without_comparison_are_told():
    names = tuple(f"m{k:02}" for k in range(15))
    board = ranking.leaderboard(ranking.Comparisons(names, np.zeros(13, int), np.arange(1, 14), np.zeros(13, bool)))
    assert board.notes[0] == "Never compared, so not ranked: m14."
    assert "never won against the rest: m01, m02, m03, m04, m05, m06, m07, m08, m09, m10 and 3 more" in board.notes[1]
    assert [row.item for row in board.rows] == list(names[:14])


@pytest.mark.parametrize("level", [0, 1, 95, -0.5, np.nan])
def test_a_level_is_a_probability(tmp_path, level):
    with pytest.raises(ValueError, match=f"level is the probability .* between 0 and 1; got {level}"):
        ranking.leaderboard(comparisons(APART, tmp_path), level)


def test_the_table_is_plain_text_in_columns(tmp_path):
    assert ranking.format_table(ranking.leaderboard(comparisons(APART, tmp_path))).splitlines()[:8] == [
        "group  rank  item  strength    low  high  wins  losses  ties  P(beats average)",
        "    1     1  a         0.66  -1.16  2.49     2       1     0              0.66",
        "    1     2  b         0.54  -1.63  2.71     1       1     0              0.63",
        "    1     3  c        -1.20  -4.25  1.84     0       1     0              0.23",
        "    2     1  y         0.00  -1.39  1.39     1       1     0              0.50",
        "    2     2  z         0.00  -1.39  1.39     1       1     0              0.50",
        "",
        "Strengths in nats, relative to the mean of the group; low to high: 95% interval.",
    ]


def test_the_table_is_written_whole_and_never_over_another(tmp_path):
    board, path = ranking.leaderboard(comparisons(APART, tmp_path)), tmp_path / "out.csv"
    ranking.write_csv(board, path)
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert [row["item"] for row in rows] == ["a", "b", "c", "y", "z"]
    assert [float(row["strength"]) for row in rows] == pytest.approx([row.strength for row in board.rows], abs=1e-6)
    with pytest.raises(FileExistsError, match="is there already"):
        ranking.write_csv(board._replace(rows=()), path)
    assert len(path.read_text().splitlines()) == 6
    with pytest.raises(TypeError):
        ranking.write_csv(board._replace(rows=(*board.rows, None)), path, overwrite=True)
    assert len(path.read_text().splitlines()) == 6
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.csv", "out.csv"]
    ranking.write_csv(board._replace(rows=board.rows[:1]), path, overwrite=True)
    assert len(path.read_text().splitlines()) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.csv", "out.csv"]


def drawn(rows):
    ax = Figure().subplots()
    ranking.draw(ranking.Board(tuple(rows), 0.9, (), ()), ax)
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
    board = ranking.leaderboard(comparisons(APART, tmp_path))
    for name in ("one.svg", "two.svg", "three.PNG"):
        ranking.draw(board, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert (tmp_path / "three.PNG").read_bytes()[1:4] == b"PNG"
    with pytest.raises(FileExistsError, match=r"one.svg is there already"):
        ranking.draw(board, tmp_path / "one.svg")
    ranking.draw(board, str(tmp_path / "one.svg"), overwrite=True)
    with pytest.raises(ValueError, match=r"a figure is a file that ends in .svg or .png; got one.pdf"):
        ranking.draw(board, tmp_path / "one.pdf")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.csv", "one.svg", "three.PNG", "two.svg"]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_the_command_prints_the_table_and_writes_the_files(source, tmp_path, capsys):
    files = ["--csv", str(tmp_path / "out.csv"), "--figure", str(tmp_path / "out.svg")]
    assert main(["rank", str(source), "--level", "0.9", *files]) == 0
    board = ranking.leaderboard(ranking.read_comparisons(source), 0.9)
    assert capsys.readouterr().out == ranking.format_table(board)
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 4
    first = (tmp_path / "out.svg").read_bytes()
    assert main(["rank", str(source), "--level", "0.9", *files]) == 2
    assert capsys.readouterr() == (
        "",
        f"error: {tmp_path / 'out.csv'} is there already; pass --overwrite to replace it\n",
    )
    assert main(["rank", str(source), "--level", "0.9", *files, "--overwrite"]) == 0
    assert (tmp_path / "out.svg").read_bytes() == first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.csv", "out.csv", "out.svg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--level", "95"], "level is the probability that an interval covers the strength, between 0 and 1; got 95.0"),
        (["--csv", "{}/none/out.csv"], "there is no folder .*none to write out.csv to; make it first"),
        (["--csv", "{}", "--overwrite"], "is a folder; name another file to write to"),
        (["--csv", "{}/c.csv", "--overwrite"], "c.csv is the input; name another file to write to"),
        (["--csv", "{}/o.svg", "--figure", "{}/o.svg"], "the table and the figure cannot both be .*o.svg; name two"),
        (["--figure", "{}/out.pdf"], "a figure is a file that ends in .svg or .png; got out.pdf"),
    ],
)
def test_the_command_refuses_with_one_line_and_writes_nothing(source, tmp_path, capsys, options, message):
    assert main(["rank", str(source), *(option.format(tmp_path) for option in options)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert re.search(message, err)
    assert [p.name for p in tmp_path.iterdir()] == ["c.csv"]
    assert source.read_text(encoding="utf-8") == TEXT


def test_outputs_are_checked_before_the_input_is_read(tmp_path, capsys):
    missing = str(tmp_path / "missing.csv")
    assert main(["rank", missing, "--figure", str(tmp_path / "x.gif")]) == 2
    assert "ends in .svg or .png" in capsys.readouterr().err
    assert main(["rank", missing]) == 2
    assert "missing.csv" in capsys.readouterr().err


def run(source, encoding):
    code = f"import sys; from rlhf_lab.__main__ import main; c = main(['rank', {str(source)!r}])"
    code += "; print('matplotlib' in sys.modules); sys.exit(c)"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=False)


def test_a_terminal_without_the_letters_gets_codes_and_no_figure_needs_no_matplotlib(source):
    source.write_text("winner,loser\n東,b\nb,東\n", encoding="utf-8")
    done = run(source, "ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u6771" in done.stdout
    assert done.stdout.split()[-1] == b"False"


def test_the_package_runs_as_a_command(source):
    command = [sys.executable, "-m", "rlhf_lab"]
    done = subprocess.run([*command, "rank", str(source)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("rank  item  strength")
    source.write_text("winner,loser\na,a\n", encoding="utf-8")
    done = subprocess.run([*command, "rank", str(source)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {source} cannot be read:\n  line 2: 'a' is compared with itself\n"
