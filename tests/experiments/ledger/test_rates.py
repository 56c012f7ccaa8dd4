"""Rates of fitted rewards: what a ranking tells is the slope of its likelihood, and of two answers a comparison."""

import numpy as np
import pytest
from autograd import grad, hessian

from rlhf_lab.experiments.ledger import rates
from rlhf_lab.feedback import likelihoods, linear_fits


def loss(theta, ranked):
    return likelihoods.ranking_loss(ranked @ theta).sum()


def test_score_and_information_are_derivatives_of_the_log_likelihood():
    rng = np.random.default_rng(1)
    ranked, theta = rng.normal(size=(2, 5, 4, 3)), rng.normal(size=(2, 3))
    score, information = rates._tells(ranked, theta)
    for k in range(2):
        assert score[k] == pytest.approx(-grad(loss)(theta[k], ranked[k]))
        assert information[k] == pytest.approx(hessian(loss)(theta[k], ranked[k]))


def test_rankings_of_two_answers_are_comparisons():
    rng = np.random.default_rng(2)
    ranked, theta = rng.normal(size=(1, 7, 2, 3)), rng.normal(size=(1, 3))
    difference = ranked[:, :, 0] - ranked[:, :, 1]
    fisher = linear_fits.fisher(difference, difference @ theta[0])
    assert rates._tells(ranked, theta)[1] == pytest.approx(fisher)


def test_a_slope_is_that_of_a_power_law():
    counts = (10, 40, 90)
    assert rates._slope(counts, [3 * n**-0.5 for n in counts]) == pytest.approx(-0.5)


def test_more_reports_than_one_kind_end_near_what_fisher_information_says():
    for rate in (rates.comparisons(), rates.rankings()):
        assert rate.ratio == pytest.approx(1, abs=0.2)  # 96 squared errors: 3 / sqrt(2 * 96) is 0.22
        assert rate.slope < -0.4
