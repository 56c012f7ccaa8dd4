"""Judges with a bias, judges to be screened, and tables of agreement that nobody can have."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from rlhf_lab.feedback import annotators, judges

margins = given(st.floats(-8, 8), st.floats(-8, 8))
XIONG = {
    "helpfulness": [[1], [0.53, 1], [0.59, 0.48, 1], [0.41, 0.36, 0.50, 1]],
    "understandability": [[1], [0.31, 1], [0.36, 0.28, 1], [0.37, 0.30, 0.65, 1]],
    "conciseness": [[1], [0.33, 1], [0.44, 0.34, 1], [0.25, 0.29, 0.47, 1]],
    "harmlessness": [[1], [0.77, 1], [0.82, 0.74, 1], [0.69, 0.67, 0.69, 1]],
}


@pytest.mark.equation("eq-position-bias")
@margins
def test_the_bias_favours_what_is_shown_first(m, b):
    p, q = judges.with_position_bias(m, b)
    assert p == pytest.approx(1 / (1 + np.exp(-m - b)))
    assert q == pytest.approx(1 / (1 + np.exp(-m + b)))
    other = judges.with_position_bias(-m, b)
    assert other.first == pytest.approx(1 - q), "what is said of one answer is said of the other, shown second"


@pytest.mark.equation("eq-mean-log-odds")
@margins
def test_averaged_log_odds_know_no_bias(m, b):
    assert judges.mean_log_odds(judges.with_position_bias(m, b)) == pytest.approx(m, abs=1e-6)


@pytest.mark.equation("eq-mean-verdict")
@margins
def test_averaged_verdicts_shrink_the_margin(m, b):
    found = judges.mean_verdict(judges.with_position_bias(m, b))
    assert found == pytest.approx((expit(m + b) + expit(m - b)) / 2)
    assert logit(found) == pytest.approx(np.log((np.cosh(b) + np.exp(m)) / (np.cosh(b) + np.exp(-m))), abs=1e-6)
    assert abs(found - 0.5) <= abs(expit(m) - 0.5) + 1e-12
    assert (found - 0.5) * m >= -1e-12


@pytest.mark.equation("eq-consistent-verdicts")
@margins
def test_consistent_verdicts_double_the_margin(m, b):
    found, kept = judges.consistent(judges.with_position_bias(m, b))
    assert logit(found) == pytest.approx(2 * m, abs=1e-5)
    assert kept == pytest.approx(np.cosh(m) / (np.cosh(m) + np.cosh(b)), abs=1e-9)


def test_consistent_verdicts_drawn_one_by_one():
    rng = np.random.default_rng(0)
    orders = judges.with_position_bias(0.7, 1.5)
    first, second = (rng.random(200_000) < p for p in orders)
    same = first == second
    found, kept = judges.consistent(orders)
    assert same.mean() == pytest.approx(kept, abs=4 * 0.5 / 200_000**0.5)
    assert first[same].mean() == pytest.approx(found, abs=4 * 0.5 / same.sum() ** 0.5)


def test_a_verdict_that_is_certain_has_no_log_odds():
    for orders in (judges.Orders(1.0, 0.5), judges.Orders(0.5, 0.0)):
        for method in (judges.mean_log_odds, judges.consistent):
            with pytest.raises(
                ValueError,
                match=r"^a probability of preference of 0 or 1 has infinite log-odds; count some more verdicts$",
            ):
                method(orders)
        assert judges.mean_verdict(orders) in (0.75, 0.25)
    with pytest.raises(ValueError, match=r"a probability of preference must lie in \[0, 1\]; got 1.2"):
        judges.mean_log_odds(judges.Orders(1.2, 0.5))
    with pytest.raises(ValueError, match=r"first must lie in \[0, 1\]; got 2"):
        judges.mean_verdict(judges.Orders(2, 0.5))
    with pytest.raises(ValueError, match=r"second must lie in \[0, 1\]; got -1"):
        judges.mean_verdict(judges.Orders(0.5, -1))


def test_agreement_with_others_leaves_the_judge_out():
    table = judges.of_lower_triangle([[0.9], [0.5, 0.8], [0.7, 0.3, 1.0]])
    assert judges.agreement_with_others(table) == pytest.approx([0.6, 0.4, 0.5])


@pytest.mark.equation("eq-retest")
def test_retests_expect_p_squared_and_the_rest_squared():
    rng = np.random.default_rng(0)
    p = np.array([np.linspace(0, 1, 20_000), np.full(20_000, 0.5), np.full(20_000, 0.9)])
    verdicts = [annotators.sample_labels(p, rng) for _ in range(2)]
    found = judges.retest(*verdicts)
    assert found == pytest.approx(np.mean(p**2 + (1 - p) ** 2, axis=-1), abs=4 * 0.5 / 20_000**0.5)
    assert found == pytest.approx([2 / 3, 0.5, 0.82], abs=0.02)
    assert annotators.agreement(p).diagonal() == pytest.approx(np.mean(p**2 + (1 - p) ** 2, axis=-1))
    with pytest.raises(ValueError, match=r"each verdict needs a second one; got shapes \(3, 20000\) and \(2, 20000\)"):
        judges.retest(verdicts[0], verdicts[1][:2])
    with pytest.raises(ValueError, match="verdict must be 1"):
        judges.retest([[0.3]], [[1]])
    with pytest.raises(ValueError, match="again must be 1"):
        judges.retest([[1]], [[0.3]])


def test_a_minority_agrees_with_others_less_than_who_tosses_a_coin():
    p = np.array([[0.9, 0.1, 0.9, 0.2]] * 4 + [[0.1, 0.9, 0.1, 0.8]] + [[0.5] * 4])
    others = judges.agreement_with_others(annotators.agreement(p))
    assert others[4] < others[5] < others[0]
    steady = annotators.agreement(p).diagonal()
    assert steady[5] == pytest.approx(0.5)
    assert steady[4] == pytest.approx(steady[0])


@pytest.mark.equation("eq-forced-choice")
def test_of_three_forced_choices_at_least_two_agree():
    for verdicts in product((0.0, 1.0), repeat=4):
        table = annotators.agreement(np.array(verdicts)[:, None])
        assert (judges.forced_choice_excess(table) >= 0).all()
    rng = np.random.default_rng(0)
    for _ in range(200):
        assert (judges.forced_choice_excess(annotators.agreement(rng.random((4, 3)))) >= -1e-12).all()
    table = judges.of_lower_triangle([[1], [0.1, 1], [0.2, 0.4, 1], [0.5, 0.6, 0.7, 1]])
    assert judges.forced_choice_excess(table) == pytest.approx([-0.3, -0.3 + 0.5, 0.4, 0.7])


@pytest.mark.parametrize(
    ("name", "least", "off"),
    [
        ("helpfulness", 0.30, 0),
        ("understandability", -0.05, 0.05 / 3),
        ("conciseness", -0.13, 0.13 / 3),
        ("harmlessness", 1.10, 0),
    ],
)
def test_two_of_the_four_tables_cannot_come_from_forced_choices(name, least, off):
    table = judges.of_lower_triangle(XIONG[name])
    assert judges.forced_choice_excess(table).min() == pytest.approx(least)
    forced, ties = (judges.nearest_agreement(table, verdicts) for verdicts in (2, 3))
    assert forced.distance == pytest.approx(off, abs=1e-9)
    assert np.abs(forced.agreement - table).max() == pytest.approx(off, abs=1e-9)
    assert (judges.forced_choice_excess(forced.agreement) >= -1e-9).all()
    assert forced.agreement == pytest.approx(forced.agreement.T)
    assert forced.agreement.diagonal() == pytest.approx(np.ones(4))
    assert ties.distance == pytest.approx(0, abs=1e-9)
    assert ties.agreement == pytest.approx(table, abs=1e-9)


def test_more_verdicts_allow_less_agreement():
    nobody = judges.of_lower_triangle([[1], [0, 1], [0, 0, 1], [0, 0, 0, 1]])
    assert [judges.nearest_agreement(nobody, k).distance for k in (1, 2, 3, 4)] == pytest.approx([1, 1 / 3, 1 / 6, 0])
    for judges_asked in (2, 4):  # one verdict only, and all agree
        assert judges.nearest_agreement(np.ones((judges_asked,) * 2), 1).distance == pytest.approx(0)


def test_a_table_is_no_agreement():
    whole = judges.of_lower_triangle(XIONG["conciseness"])
    for wrong in (whole[:2], whole[0], whole[:2, :2]):
        with pytest.raises(ValueError, match=r"agreement must be \(A, A\), a row and a column for each of at least 3"):
            judges.forced_choice_excess(wrong)
    with pytest.raises(ValueError, match=r"for each of at least 2 judges; got \(1, 1\)"):
        judges.agreement_with_others(np.ones((1, 1)))
    for method in (judges.nearest_agreement, judges.tastes_of_agreement):
        with pytest.raises(ValueError, match=r"for each of at least 2 judges; got \(1, 1\)"):
            method(np.ones((1, 1)), 0)
        with pytest.raises(
            ValueError, match=r"^agreement must be symmetric: fill in both halves, for instance by `of_lower_triangle`$"
        ):
            method(np.tril(whole), 0)
        with pytest.raises(ValueError, match=r"agreement must lie in \[0, 1\]; got 2"):
            method(2 * np.ones((2, 2)), 0)
    with pytest.raises(
        ValueError, match="verdicts is how many verdicts there are to choose from, a whole number from 1"
    ):
        judges.nearest_agreement(whole, 0)
    with pytest.raises(ValueError, match=r"row k must have k \+ 1 numbers, the last on the diagonal; got \[1, 1\]"):
        judges.of_lower_triangle([[1], [1]])


@pytest.mark.equation("eq-agreement-tastes")
@pytest.mark.parametrize("ties", [0.0, 0.2, 0.6])
def test_the_agreement_of_two_tastes_is_that_of_normal_margins(ties):
    rho = np.array([-1.0, -0.9, -0.4, 0.0, 0.3, 0.8, 1.0])
    found = judges.agreement_of_tastes(rho, ties)
    common, own = np.random.default_rng(0).normal(size=(2, 400_000))
    band = np.quantile(np.abs(common), ties) if ties else 0.0
    verdict = np.sign(common) * (np.abs(common) > band)
    for r, agree in zip(rho, found, strict=True):
        other = r * common + (1 - r**2) ** 0.5 * own
        assert np.mean(verdict == np.sign(other) * (np.abs(other) > band)) == pytest.approx(agree, abs=0.005)
    assert found[0] == pytest.approx(ties, abs=1e-6)
    assert found[3] == pytest.approx(ties**2 + (1 - ties) ** 2 / 2, abs=1e-6)
    assert found[-1] == pytest.approx(1)
    if not ties:
        assert found == pytest.approx(0.5 + np.arcsin(rho) / np.pi)


@pytest.mark.parametrize("ties", [0.0, 0.3])
def test_tastes_are_found_again_where_agreement_rises_with_them(ties):
    rho = judges.of_lower_triangle([[1], [0.5, 1], [-0.2, 0.1, 1]])
    table = judges.agreement_of_tastes(rho, ties)
    assert judges.tastes_of_agreement(table, ties) == pytest.approx(rho, abs=1e-6)
    table[0, 1] = table[1, 0] = 0.01
    assert np.isnan(judges.tastes_of_agreement(table, ties)[0, 1]) == (ties > 0)
    assert judges.tastes_of_agreement(table, ties).diagonal() == pytest.approx(np.ones(3))


def test_tastes_are_told_of_shares_and_correlations_that_are_none():
    for ties in (-0.1, 1.0, np.nan):
        with pytest.raises(
            ValueError, match="ties is the share of questions that a judge calls a tie, at least 0 and b"
        ):
            judges.agreement_of_tastes(0.5, ties)
    for rho in (1.5, np.nan):
        with pytest.raises(ValueError, match=rf"^a correlation lies in \[-1, 1\]; got {rho}$"):
            judges.agreement_of_tastes(rho, 0.1)
