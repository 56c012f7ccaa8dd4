"""What a learned policy loses: identities to rounding, and constants by many data sets."""

import numpy as np
import pytest

from rlhf_lab.feedback import linear_fits
from rlhf_lab.methods import online, pessimism, questions, regret
from rlhf_lab.models import gibbs, lm

RNG = np.random.default_rng(0)
K, A, D, BETA = 2, 6, 3, 0.4
START = np.array([0.4, 0.6])
LOG_PI_0 = np.log(RNG.dirichlet(np.ones(A), size=K))
WORLD = online.World(START, LOG_PI_0, RNG.normal(size=(K, A, D)), RNG.normal(size=D), BETA)


def rewards(theta):
    return np.einsum("kad,...d->...ka", WORLD.features, theta)


@pytest.mark.equation("eq-regret-identity")
def test_the_regret_is_two_divergences_and_one_scalar_product():
    theta = WORLD.theta + RNG.normal(size=(20, D))
    hat, best = WORLD.policy(theta), WORLD.policy(WORLD.theta)
    found = regret.regret(WORLD, theta)
    both = BETA * (lm.kl(best, hat) + lm.kl(hat, best)) @ START
    assert found == pytest.approx(both, abs=1e-12)
    assert found == pytest.approx(pessimism.suboptimality(hat, LOG_PI_0, rewards(WORLD.theta), BETA) @ START, abs=1e-12)
    moved = WORLD.mean(hat) - WORLD.mean(best)
    assert found == pytest.approx(((theta - WORLD.theta) * moved).sum(-1), abs=1e-12)
    assert regret.regret(WORLD, WORLD.theta) == pytest.approx(0, abs=1e-14)


@pytest.mark.equation("eq-bregman")
def test_what_is_lost_is_a_bregman_divergence():
    theta = WORLD.theta + RNG.normal(size=(20, D))

    def f(weights):
        return BETA * gibbs.log_normaliser(LOG_PI_0, rewards(weights), BETA) @ START

    slope = WORLD.mean(WORLD.policy(theta))
    expected = f(WORLD.theta) - f(theta) - ((WORLD.theta - theta) * slope).sum(-1)
    assert regret.lost(WORLD, theta) == pytest.approx(expected, abs=1e-12)
    assert regret.lost(WORLD, theta) == pytest.approx(
        gibbs.gap(WORLD.policy(theta), LOG_PI_0, rewards(WORLD.theta), BETA) @ START, abs=1e-12
    )
    # and the integral of (1 - u) D' Cov_u D / beta along the way from theta to theta*
    u = (np.arange(2000) + 0.5) / 2000
    for row, expected_of in zip(theta[:3], expected[:3], strict=True):
        on_the_way = row + u[:, None] * (WORLD.theta - row)
        pi = np.exp(WORLD.policy(on_the_way))
        along = rewards(WORLD.theta - row)
        variance = (np.sum(pi * along**2, -1) - np.sum(pi * along, -1) ** 2) @ START
        assert np.mean((1 - u) * variance) / BETA == pytest.approx(expected_of, rel=1e-5)


@pytest.mark.equation("eq-confidence-set")
def test_pi_star_is_in_the_set_as_soon_as_the_radius_covers_the_error():
    rng = np.random.default_rng(1)
    best, shares = WORLD.policy(WORLD.theta), []
    for _ in range(200):
        theta = WORLD.theta + rng.normal(size=D) * rng.choice([0.1, 1.0, 5.0])
        sigma = pessimism.offline_covariance(rng.normal(size=(5, D)), 0.5)
        error = theta - WORLD.theta
        radius = np.sqrt(error @ sigma @ error)
        main = WORLD.policy(theta)
        for law in (START, np.array([1.0, 0.0]), np.array([0.0, 1.0])):  # averaged, and each prompt alone
            away = (np.exp(best) - np.exp(main))[..., None] * WORLD.features
            moved = law @ away.sum(1)
            width = np.sqrt(moved @ np.linalg.solve(sigma, moved))
            divergence = lm.kl(best, main) @ law
            assert questions.in_confidence_set(width, divergence, radius * (1 + 1e-12), BETA)
            shares.append(BETA * divergence / width / radius)
    assert 0.2 < np.median(shares) < 0.6  # about half of the radius would do


@pytest.mark.equation("eq-sampled-error")
def test_the_error_of_an_estimate_is_known_exactly():
    rng = np.random.default_rng(2)
    for precision in (0.1, 1.0):
        difference = rng.normal(size=(4, 30, D))
        label = (rng.random((4, 30)) < 0.5).astype(float)
        theta = linear_fits.fit_linear(difference, label, precision).mean
        found = regret.estimation_error(theta, WORLD.theta, difference, label, precision)
        assert found == pytest.approx(theta - WORLD.theta, abs=1e-9)  # theta is a minimum only so far
        # a difference on which the two agree counts with the slope
        same = np.concatenate([difference, np.zeros((4, 1, D))], axis=1)
        more = np.concatenate([label, np.ones((4, 1))], axis=1)
        assert regret.estimation_error(theta, WORLD.theta, same, more, precision) == pytest.approx(found, abs=1e-9)


def test_the_chord_of_a_point_is_the_slope():
    difference, label = RNG.normal(size=(30, D)), np.ones(30)
    p = 1 / (1 + np.exp(-difference @ WORLD.theta))
    bent = np.einsum("n,nd,ne->de", p * (1 - p), difference, difference)
    expected = np.linalg.solve(bent + 0.3 * np.eye(D), difference.T @ (label - p) - 0.3 * WORLD.theta)
    found = regret.estimation_error(WORLD.theta, WORLD.theta, difference, label, 0.3)
    assert found == pytest.approx(expected, rel=1e-10)


RULES = {"offline": online.offline, "option 2": online.with_reference, "best and worst": online.best_and_worst(4)}


@pytest.mark.equation("eq-regret-constant", "eq-question-information")
@pytest.mark.parametrize("name", RULES)
def test_n_times_the_loss_tends_to_the_constant_of_the_rule(name):
    rng, seeds, n = np.random.default_rng(5), 100, 2000
    world = WORLD._replace(theta=0.3 * WORLD.theta)  # people who are less sure of themselves: the limit is near
    law = RULES[name](world, online.known(np.zeros((0, D)), np.zeros(0), world.theta, 1e-3), rng)
    information = questions.information(law, START, world.features, world.theta)
    constant = regret.regret_constant(world, information)
    many = world._replace(theta=np.tile(world.theta, (seeds, 1)))
    difference = online.differences(many, law, n, rng)
    p = 1 / (1 + np.exp(-difference @ world.theta))
    label = (rng.random(p.shape) < p).astype(float)
    loss = n * regret.lost(many, linear_fits.fit_linear(difference, label, 1e-3).mean)
    # The mean of this quadratic form of the noise is the constant, for every n: it takes most of the chance out.
    first = np.einsum("de,sn,sne->sd", np.linalg.inv(information), label - p, difference) / n
    pi = np.exp(world.policy(world.theta))
    along = rewards(first)
    variance = (np.sum(pi * along**2, -1) - np.sum(pi * along, -1) ** 2) @ START
    left = loss - n * variance / (2 * BETA)
    assert left.mean() == pytest.approx(0, abs=0.1 * constant)
    assert left.std(ddof=1) / seeds**0.5 < 0.05 * constant
    assert (loss - left).mean() == pytest.approx(constant, abs=3 * loss.std(ddof=1) / seeds**0.5)


@pytest.mark.equation("eq-regret-constant")
def test_the_constant_by_hand_and_without_a_direction_that_nobody_sees():
    coin = online.World(np.ones(1), np.log([[0.5, 0.5]]), np.array([[[1.0], [0.0]]]), np.zeros(1), 0.25)
    assert regret.regret_constant(coin, np.array([[0.25]])) == pytest.approx(0.25 / 0.25 / 0.5, rel=1e-12)
    table = coin._replace(features=np.eye(2)[None], theta=np.zeros(2))
    information = questions.information(
        questions.independent(table.log_pi_0, table.log_pi_0), table.start, table.features, table.theta
    )
    assert regret.regret_constant(table, information) == pytest.approx(2.0, rel=1e-10)


@pytest.mark.equation("eq-potential")
def test_some_round_is_no_wider_than_its_share_of_the_determinant():
    rng = np.random.default_rng(6)
    for _ in range(50):
        rounds, batch = int(rng.integers(1, 9)), int(rng.integers(1, 9))
        sigma, first, widths = 0.5 * np.eye(D), 0.5 * np.eye(D), []
        for _ in range(rounds):
            moved = rng.normal(size=D) * rng.choice([0.01, 1.0])
            widths.append(np.sqrt(moved @ np.linalg.solve(sigma, moved)))
            sigma = sigma + batch * np.outer(moved, moved)
        bound = regret.best_width(first, sigma, rounds, batch)
        assert min(widths) <= bound * (1 + 1e-9)
        factor = (np.linalg.det(sigma) / np.linalg.det(first)) ** (1 / rounds)
        assert 1 + batch * bound**2 == pytest.approx(factor, rel=1e-9)
        if rounds == 1:
            assert bound == pytest.approx(widths[0], rel=1e-7)
    with pytest.raises(ValueError, match="rounds is T, the number of rounds"):
        regret.best_width(np.eye(2), np.eye(2), 0, 3)
    with pytest.raises(ValueError, match="batch is m, the labels of a round"):
        regret.best_width(np.eye(2), np.eye(2), 3, 0)
