"""Strengths and their errors are those of the plain likelihood, and where it has no maximum this is told."""

import choix
import numpy as np
import pytest
from compared import simulate
from scipy.optimize import linprog, minimize

from rlhf_lab.leaderboard import ranking


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
    """No direction (d, growth of delta) but a common shift never leads downwards: a linear programme.

    Along d every row falls or stays. If one can fall, so can their sum; if all stay, the rows do not tell d from 0.
    """
    n, rows = data.items, []
    for i, j, tie in zip(data.winner, data.loser, data.tie, strict=True):
        lead = np.eye(n + 1)[i] - np.eye(n + 1)[j]
        growth = 2 * np.eye(n + 1)[n]
        # Each outcome's weight must grow at least as fast as the other two.
        rows += [lead - growth, -lead - growth] if tie else [growth - lead, -lead]
    rows = np.array(rows)[:, 1 : n + data.tie.any()]  # the first strength is held, and growth without ties
    falls = linprog(rows.sum(0), rows, np.zeros(len(rows)), bounds=(-1, 1)).fun < -1e-7
    return not falls and np.linalg.matrix_rank(rows) == rows.shape[1]


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


EVEN = (
    "^no finite strengths fit best: no item won against one that is as good or better, so that ties say nothing about "
    "how far items are apart; collect more comparisons or pass prior_precision$"
)
LADDER = ([0, 1, 0, 1], [1, 2, 1, 2], [False, False, True, True])


@pytest.mark.parametrize(
    ("winner", "loser", "tie", "message"),
    [
        ([0, 0], [1, 2], None, "never lost against the rest: item 0; never won against the rest: item 1, item 2; "),
        (
            [0, 1, 2, 2],
            [1, 0, 0, 1],
            None,
            "fit best: never lost against the rest: item 2; collect",
        ),
        (
            [0, 0, 2],
            [1, 2, 0],
            [False, True, False],
            "fit best: never won or tied against the rest: item 1; collect",
        ),
        ([0], [1], None, "never lost against the rest: item 0; never won against the rest: item 1; collect"),
        ([0, 1, 2, 3], [1, 0, 3, 2], None, "no chain of comparisons links item 0, item 1 with item 2, item 3; collect"),
        ([0], [1], [True], EVEN),
        (*LADDER, EVEN),
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
    monkeypatch.setattr(ranking, "STEPS", 2)
    with pytest.raises(ValueError, match="has not converged after 2 steps"):
        fitted(simulate(0))


def test_groups_are_what_chains_of_comparisons_link():
    found = ranking.groups([5, 1, 3, 0], [1, 0, 2, 5], items=7)
    assert [group.tolist() for group in found] == [[0, 1, 5], [2, 3], [4], [6]]
    with pytest.raises(ValueError, match=r"must have one shape .* got \(1,\), \(1,\) and \(2,\)$"):
        ranking.groups([0], [1], [True, False])


def test_groups_list_their_items_in_order_however_many():
    ring = np.random.default_rng(0).permutation(300)
    winner = np.concatenate([2 * ring, 2 * ring + 1])
    loser = np.concatenate([2 * np.roll(ring, 1), 2 * np.roll(ring, 1) + 1])
    assert [group.tolist() for group in ranking.groups(winner, loser)] == [[*range(0, 600, 2)], [*range(1, 600, 2)]]


def test_ties_may_be_numbers_and_both_columns_must_hold_integers():
    data = simulate(2, nu=0.5)
    as_numbers = ranking.fit(data.winner, data.loser, data.tie.astype(int), data.items)
    assert as_numbers.strength.tolist() == fitted(data).strength.tolist()
    assert as_numbers.comparisons.dtype == np.intp
    for winner, loser in (([0.0, 1.0], [1, 0]), ([0, 1], [1.0, 0.0])):
        with pytest.raises(ValueError, match="winner and loser must be integers, the indices of items; got"):
            ranking.fit(winner, loser)


def test_ten_items_are_named_and_of_more_the_rest_is_counted():
    names = [f"m{k}" for k in range(12)]
    assert ranking.listed(names, np.arange(10)) == ", ".join(names[:10])
    assert ranking.listed(names, np.arange(11)) == ", ".join(names[:10]) + " and 1 more"


def test_the_smallest_prior_is_allowed():
    data = simulate(3)
    assert fitted(data, prior_precision=1e-6).strength == pytest.approx(fitted(data).strength, abs=1e-5)


def test_an_item_that_was_never_compared_is_where_the_prior_puts_it():
    found = ranking.fit([0, 1, 0], [1, 0, 1], items=3, prior_precision=0.5)
    assert found.strength == pytest.approx([found.strength[0], -found.strength[0], 0], abs=1e-12)
    assert found.comparisons.tolist() == [3, 3, 0]


@pytest.mark.parametrize("tie", [False, True])
def test_comparisons_are_counted_in_whole_numbers(tie):
    pairs = ranking.counted(np.array([0, 2, 1]), np.array([1, 1, 0]), np.array([False, False, tie]), 3)
    counts = [column.tolist() for column in pairs[1:]]
    assert counts == [[0, 1], [1, 2], [1, 0], [not tie, 1], [tie, 0]]
    assert {column.dtype.kind for column in pairs[1:]} == {"i"}


def test_five_thousand_items_are_not_too_many():
    assert ranking.counted(np.array([4999]), np.array([0]), np.array([False]), 5_000).items == 5_000


def test_strengths_sum_to_zero_though_wins_outnumber_losses_a_million_times():
    first, ones = np.arange(9), np.ones(9, dtype=int)
    strength = ranking.fit_pairs(ranking.Pairs(10, first, first + 1, 10**6 * ones, ones, 0 * ones), 0.0).strength
    assert np.diff(strength) == pytest.approx(-np.log(1e6) * ones, abs=1e-8)
    assert abs(strength.sum()) < 1e-12


def test_counts_that_rounding_cannot_tell_apart_are_told():
    wins, losses = np.array([1e-12, 1e9]), np.array([1e-12, 1e-300])
    pairs = ranking.Pairs(3, np.array([0, 1]), np.array([1, 2]), wins, losses, 0 * wins)
    with pytest.raises(ValueError, match="so many more than others that the fit is lost in rounding; leave the rare"):
        ranking.fit_pairs(pairs, 0.0)
