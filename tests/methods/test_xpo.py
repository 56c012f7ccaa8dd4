"""The estimate of XPO: its loss by hand, its minimum by another optimiser."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.test_util import check_grads
from scipy.optimize import minimize

from rlhf_lab.feedback import linear_fits
from rlhf_lab.methods import online, xpo
from rlhf_lab.models import gibbs, lm

RNG = np.random.default_rng(0)
K, A, D, BETA = 2, 5, 3, 0.4
START = np.array([0.4, 0.6])
LOG_PI_0 = np.log(RNG.dirichlet(np.ones(A), size=K))
WORLD = online.World(START, LOG_PI_0, RNG.normal(size=(K, A, D)), RNG.normal(size=(3, D)), BETA)


def told(n):
    rng = np.random.default_rng(1)
    return rng.normal(size=(3, n, D)), (rng.random((3, n)) < 0.5).astype(float)


@pytest.mark.equation("eq-xpo")
def test_the_loss_of_xpo_is_that_of_the_labels_minus_optimism():
    difference, label = told(7)
    theta, alpha = RNG.normal(size=(3, D)), 0.3
    found = xpo.loss(WORLD, theta, difference, label, 0.5, alpha)
    for s in range(3):
        m = difference[s] @ theta[s]
        fit = np.sum(np.log1p(np.exp(m)) - label[s] * m) + 0.5 / 2 * theta[s] @ theta[s]
        optimism = START @ lm.kl(LOG_PI_0, WORLD.policy(theta[s]))
        assert found[s] == pytest.approx(fit - 7 * alpha * optimism, rel=1e-12)
        # - KL is the mean of log pi over answers of pi_0, up to the entropy of pi_0
        mean = START @ np.sum(np.exp(LOG_PI_0) * WORLD.policy(theta[s]), -1)
        assert mean + START @ np.sum(-np.exp(LOG_PI_0) * LOG_PI_0, -1) == pytest.approx(-optimism, rel=1e-10)
    check_grads(lambda t: anp.sum(xpo.loss(WORLD, t, difference, label, 0.5, alpha)), modes=["rev"])(theta)
    with pytest.raises(ValueError, match="alpha is how much optimism is worth, finite and at least 0"):
        xpo.loss(WORLD, theta, difference, label, 0.5, -0.1)


@pytest.mark.equation("eq-xpo")
def test_the_estimate_of_xpo_is_a_minimum_and_without_optimism_the_most_probable_theta():
    difference, label = told(200)
    start = linear_fits.fit_linear(difference, label, 0.5).mean + 0.2
    batch = (difference, label, 0.5)
    plain = xpo.estimate(0.0)(WORLD, *batch, start)
    assert plain == pytest.approx(linear_fits.fit_linear(*batch).mean, abs=1e-5)
    found = xpo.estimate(0.5)(WORLD, *batch, start)
    for s in range(3):
        one = difference[s], label[s], 0.5, 0.5 / 200**0.5
        best = minimize(lambda t, one=one: xpo.loss(WORLD, t, *one), start[s], tol=1e-10)
        assert found[s] == pytest.approx(best.x, abs=1e-4)
        assert np.abs(found[s] - plain[s]).max() > 0.01
    # optimism expects more of its policy than the labels alone do
    value = [
        gibbs.log_normaliser(LOG_PI_0, np.einsum("kad,sd->ska", WORLD.features, t), BETA) @ START
        for t in (plain, found)
    ]
    centre = WORLD.mean(LOG_PI_0)
    assert (BETA * value[1] - found @ centre > BETA * value[0] - plain @ centre).all()


@pytest.mark.parametrize("precision", [0.5, 40.0])
def test_from_afar_the_loss_never_rises_and_it_ends_where_it_is_flat(precision):
    batch, weight = (*told(12), precision), 0.5 / 12**0.5
    ends = []
    for far in ([3.0, 3.0, 3.0], [-8.0, 8.0, -8.0], [20.0, 0.0, 20.0]):
        start = np.array([far, np.zeros(D), np.zeros(D)])  # one world is far off, the others need no halving
        ends.append(xpo.estimate(0.5)(WORLD, *batch, start))
        assert (xpo.loss(WORLD, ends[-1], *batch, weight) <= xpo.loss(WORLD, start, *batch, weight)).all()
        slope = grad(lambda t: anp.sum(xpo.loss(WORLD, t, *batch, weight)))(ends[-1])
        assert np.abs(slope).max() < 1e-4
        assert ends[-1][1:] == pytest.approx(ends[0][1:], abs=1e-6)
    # the loss has one minimum if the prior is strong, and several if it is weak
    assert (np.ptp([end[0] for end in ends], axis=0).max() < 1e-5) == (precision == 40)
