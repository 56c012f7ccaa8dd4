"""Pessimism: the bound is a bound, and the theorem holds."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import tasks
from scipy.stats import chi2

from rlhf_lab.feedback import annotators, linear_fits
from rlhf_lab.methods import overoptimization, pessimism, ppo
from rlhf_lab.methods.rollouts import Task
from rlhf_lab.models import gibbs, lm
from rlhf_lab.models.critics import TabularCritic
from rlhf_lab.numerics import optim
from rlhf_lab.worlds import phrase_world
from rlhf_lab.worlds.phrase_world import START

RNG = np.random.default_rng(0)
LOG_PI_0 = np.log(RNG.dirichlet(np.ones(6), size=3))
FEATURES = RNG.normal(size=(3, 6, 2))
REWARD = RNG.normal(size=(3, 6))
BETA = 0.3


# The lower confidence bound.


@pytest.mark.equation("eq-offline-covariance")
def test_the_covariance_by_hand():
    difference = np.array([[1.0, 0.0], [1.0, 2.0]])
    assert pessimism.offline_covariance(difference, 0.5).tolist() == [[2.5, 2.0], [2.0, 4.5]]
    assert pessimism.offline_covariance(difference, 0.0).tolist() == [[2.0, 2.0], [2.0, 4.0]]
    seeds = np.stack([difference, 2 * difference, -difference])
    found = pessimism.offline_covariance(seeds, 1.0)
    assert found[1].tolist() == [[9.0, 8.0], [8.0, 17.0]]
    assert found[0].tolist() == found[2].tolist()


@pytest.mark.equation("eq-expected-features")
def test_expected_features_are_the_mean_under_the_policy():
    found = pessimism.expected_features(np.log([[0.25, 0.75]]), np.array([[4.0, 0.0], [0.0, 8.0]]))
    assert found.tolist() == [[1.0, 6.0]]
    many = pessimism.expected_features(LOG_PI_0, np.stack([FEATURES, 2 * FEATURES]))
    assert many.shape == (2, 3, 2)
    assert many[1, 2] == pytest.approx(2 * np.exp(LOG_PI_0[2]) @ FEATURES[2])


@pytest.mark.equation("eq-elliptical-bonus")
def test_uncertainty_by_hand():
    features, covariance = np.array([[3.0, 1.0], [1.0, 1.0], [1.0, 5.0]]), np.diag([4.0, 16.0])
    assert pessimism.uncertainty(features, np.array([1.0, 1.0]), covariance).tolist() == [1.0, 0.0, 1.0]


@pytest.mark.equation("eq-elliptical-bonus")
def test_uncertainty_is_the_square_root_of_the_quadratic_form():
    reference = pessimism.expected_features(LOG_PI_0, FEATURES)
    covariance = pessimism.offline_covariance(RNG.normal(size=(4, 5, 2)), 0.1)
    found = pessimism.uncertainty(FEATURES, reference, covariance[:, None])
    assert found.shape == (4, 3, 6)
    for s, k, a in itertools.product(range(4), range(3), range(6)):
        away = FEATURES[k, a] - reference[k]
        assert found[s, k, a] == pytest.approx((away @ np.linalg.inv(covariance[s]) @ away) ** 0.5, rel=1e-10)


@pytest.mark.equation("eq-elliptical-bonus")
def test_uncertainty_is_the_largest_disagreement_of_all_weights_that_fit_equally_well():
    covariance = pessimism.offline_covariance(RNG.normal(size=(5, 2)), 0.1)
    reference = pessimism.expected_features(LOG_PI_0[0], FEATURES[0])
    found = pessimism.uncertainty(FEATURES[0], reference, covariance)
    angle = np.linspace(0, 2 * np.pi, 20_001)
    ball = np.linalg.solve(np.linalg.cholesky(covariance).T, np.stack([np.cos(angle), np.sin(angle)]))
    assert ((FEATURES[0] - reference) @ ball).max(-1) == pytest.approx(found, rel=1e-6)


@pytest.mark.equation("eq-lcb")
def test_the_lower_bound_by_hand():
    features, reference, theta = np.array([[3.0, 1.0], [1.0, 5.0]]), np.array([1.0, 1.0]), np.array([10.0, 1.0])
    covariance = np.diag([4.0, 16.0])
    found = pessimism.lower_confidence_bound(features, reference, theta, covariance, 0.5)
    assert found == pytest.approx(np.array([20.0, 4.0]) - 0.5 * 2**0.5, rel=1e-14)
    assert pessimism.lower_confidence_bound(features, reference, theta, covariance, 0.0).tolist() == [20.0, 4.0]


@pytest.mark.equation("eq-lcb", "eq-centred")
def test_without_caution_it_is_the_centred_reward():
    reference, theta = pessimism.expected_features(LOG_PI_0, FEATURES), np.array([[1.0, -2.0], [0.5, 3.0]])
    found = pessimism.lower_confidence_bound(FEATURES, reference, theta[:, None], np.eye(2), 0.0)
    plain = np.einsum("kad,sd->ska", FEATURES, theta)
    assert found == pytest.approx(overoptimization.centred(plain, LOG_PI_0), abs=1e-12)


@pytest.mark.equation("eq-pointwise", "eq-lcb")
def test_the_bound_holds_everywhere_as_soon_as_the_radius_covers_the_error():
    truth, features = np.array([1.0, -0.5]), np.random.default_rng(1).normal(size=(3, 400, 2))
    log_pi_0 = np.log(np.random.default_rng(2).dirichlet(np.ones(400), size=3))
    reference = pessimism.expected_features(log_pi_0, features)
    covariance = pessimism.offline_covariance(np.random.default_rng(3).normal(size=(9, 2)), 0.2)
    theta = truth + np.array([0.3, 0.4])
    error = ((theta - truth) @ covariance @ (theta - truth)) ** 0.5
    gold = overoptimization.centred(features @ truth, log_pi_0)
    for share, holds in ((1 + 1e-9, True), (0.95, False)):
        c = share * error / 2**0.5
        bound = pessimism.lower_confidence_bound(features, reference, theta, covariance, c)
        assert (bound <= gold + 1e-12).all() == holds


# The linear world of the chapter: five parts of the reward of PhraseWorld, grouped into kinds of answers.


def linear_world(scale):
    answers = lm.enumerate_responses(phrase_world.VOCAB, 5, phrase_world.EOS)
    log_pi_0 = lm.answer_log_probs(phrase_world.model(), phrase_world.pretrained(), phrase_world.PROMPTS, 5)
    bags, bag = np.unique(np.sort(answers, axis=-1), axis=0, return_inverse=True)
    log_pi_0 = overoptimization.merge(log_pi_0, bag.ravel())
    prompt, bags = np.repeat(phrase_world.PROMPTS, len(bags), axis=0), np.tile(bags, (4, 1))
    parts = np.stack(list(phrase_world.reward_parts(prompt, bags).values()), axis=-1)
    features, kind = np.unique(parts, axis=0, return_inverse=True)
    kinds = zip(log_pi_0, kind.reshape(4, -1), strict=True)
    return features, np.stack([overoptimization.merge(row, k) for row, k in kinds]), scale * np.ones(5)


def compared(world, policies, shape, rng):
    """Differences of features (..., D) and labels of comparisons, the two answers drawn from two policies (4, G)."""
    features, _, theta = world
    x = rng.choice(4, p=START, size=shape)
    first, second = (overoptimization.draw(np.log(np.maximum(p, 1e-300)), x, rng) for p in policies)
    difference = features[first] - features[second]
    return difference, annotators.sample_labels(annotators.bradley_terry(difference @ theta), rng)


WORLD = linear_world(0.25)
SIZE, TIMES, PRECISION = 5, 1000, 1.0


@pytest.fixture(scope="module")
def replications():
    """1,000 data sets of 100 comparisons of answers of the pretrained model: differences, posterior, covariance."""
    pi_0 = np.exp(WORLD[1])
    difference, label = compared(WORLD, (pi_0, pi_0), (TIMES, 100), np.random.default_rng(4))
    posterior = linear_fits.fit_linear(difference, label, PRECISION)
    return difference, label, posterior, pessimism.offline_covariance(difference, PRECISION)


def error_norm(theta, covariance):
    away = theta - WORLD[2]
    return np.einsum("sd,sde,se->s", away, covariance, away) ** 0.5


def needed(theta, covariance):
    """The smallest radius with which the bound holds for every kind of answer to every prompt: (...)."""
    features, log_pi_0, truth = WORLD
    reference = pessimism.expected_features(log_pi_0, features)
    too_high = (features - reference[:, None]) @ (theta - truth)[:, None, :, None]
    return (too_high[..., 0] / pessimism.uncertainty(features, reference, covariance[:, None])).max((-1, -2))


def holds(theta, covariance, radius):
    """In which replications the bound holds for every kind of answer to every prompt."""
    features, log_pi_0, truth = WORLD
    reference = pessimism.expected_features(log_pi_0, features)
    c = radius / SIZE**0.5
    bound = pessimism.lower_confidence_bound(features, reference, theta[:, None], covariance[:, None], c)
    return (bound <= overoptimization.centred(features @ truth, log_pi_0) + 1e-10).all(axis=(-1, -2))


@pytest.mark.equation("eq-pointwise", "eq-confidence-radius")
def test_the_bound_of_the_theorem_holds_in_at_least_1_minus_delta_of_1000_data_sets(replications):
    difference, _, posterior, covariance = replications
    margin = np.abs(np.concatenate([difference @ WORLD[2], np.einsum("snd,sd->sn", difference, posterior.mean)], -1))
    p = 1 / (1 + np.exp(-margin.max(-1)))
    slopes = p * (1 - p)
    radius = np.array([pessimism.confidence_radius(SIZE, 0.05, g, PRECISION, SIZE**0.5 / 4) for g in slopes])
    enough = needed(posterior.mean, covariance)
    assert (enough <= radius).mean() >= 0.95
    assert (error_norm(posterior.mean, covariance) <= radius).mean() >= 0.95
    # Several times too large, as the chapter says, and not hundreds of times.
    assert 35 < np.median(radius) < 45
    assert 6 < np.quantile(enough, 0.95) < 8
    # And `enough` is where the bound itself begins to hold.
    for scale in (0.9, 1.1):
        held = holds(posterior.mean, covariance, scale * np.median(enough))
        assert held.tolist() == (enough <= scale * np.median(enough)).tolist()


@pytest.mark.equation("eq-pointwise")
def test_the_bound_of_the_laplace_posterior_holds_in_about_1_minus_delta_of_1000_data_sets(replications):
    _, _, posterior, _ = replications
    information = np.linalg.inv(posterior.covariance)
    held = holds(posterior.mean, information, chi2.ppf(0.95, SIZE) ** 0.5).mean()
    assert held > 0.95 - 3 * (0.95 * 0.05 / TIMES) ** 0.5
    inside = error_norm(posterior.mean, information) <= chi2.ppf(0.5, SIZE) ** 0.5
    assert inside.mean() > 0.5 - 3 * 0.5 / TIMES**0.5


def test_a_bound_without_caution_is_none(replications):
    _, _, posterior, covariance = replications
    assert not holds(posterior.mean, covariance, 0.0).any()
    error = error_norm(posterior.mean, covariance)
    assert holds(posterior.mean, covariance, np.quantile(error, 0.9)).mean() >= 0.9


@pytest.mark.equation("eq-confidence-radius")
def test_the_radius_by_hand_and_its_two_halves(replications):
    t = np.log(20)
    assert pessimism.confidence_radius(4, 0.05, 0.1, 0.0, 3.0) == pytest.approx(
        5 * (4 + 2 * np.sqrt(4 * t) + 2 * t) ** 0.5, rel=1e-12
    )
    with_prior = pessimism.confidence_radius(4, 0.05, 0.1, 9.0, 2.0)
    assert with_prior - pessimism.confidence_radius(4, 0.05, 0.1, 0.0, 2.0) == pytest.approx(10 * 3 * 2, rel=1e-12)
    # What the proof says of each data set: the error is at most the gradient at theta*, divided by gamma.
    difference, label, posterior, covariance = replications
    p = 1 / (1 + np.exp(-np.einsum("snd,d->sn", difference, WORLD[2])))
    gradient = np.einsum("sn,snd->sd", p - label, difference) + PRECISION * WORLD[2]
    size = np.einsum("sd,sde,se->s", gradient, np.linalg.inv(covariance), gradient) ** 0.5
    margin = np.maximum(
        np.abs(difference @ WORLD[2]).max(-1), np.abs(np.einsum("snd,sd->sn", difference, posterior.mean)).max(-1)
    )
    slope = 1 / (1 + np.exp(-margin)) / (1 + np.exp(margin))
    assert (error_norm(posterior.mean, covariance) <= size / slope).all()
    # And the gradient is at most the bracket, in 1 - delta of the data sets.
    bracket = 0.1 * pessimism.confidence_radius(SIZE, 0.05, 0.1, PRECISION, SIZE**0.5 / 4)
    assert (size <= bracket).mean() >= 0.95


# The theorem.


@pytest.mark.equation("eq-suboptimality")
def test_suboptimality_is_what_is_lost_plus_the_divergence():
    best, other = gibbs.log_policy(LOG_PI_0, REWARD, BETA), np.log(RNG.dirichlet(np.ones(6), size=3))
    lost = gibbs.objective(best, LOG_PI_0, REWARD, BETA) - gibbs.objective(other, LOG_PI_0, REWARD, BETA)
    expected = lost + BETA * (np.exp(best) * (best - other)).sum(-1)
    assert pessimism.suboptimality(other, LOG_PI_0, REWARD, BETA) == pytest.approx(expected, abs=1e-12)
    assert pessimism.suboptimality(best, LOG_PI_0, REWARD, BETA) == pytest.approx(np.zeros(3), abs=1e-12)


@pytest.mark.equation("eq-two-errors", "eq-suboptimality")
def test_the_suboptimality_is_the_difference_of_two_errors_whatever_was_learned():
    for seed in range(20):
        learned = np.random.default_rng(seed).normal(size=(3, 6))
        policy = gibbs.log_policy(LOG_PI_0, learned, BETA)
        target, own = pessimism.errors(LOG_PI_0, REWARD, learned, BETA)
        expected = pessimism.suboptimality(policy, LOG_PI_0, REWARD, BETA)
        assert target - own == pytest.approx(expected, abs=1e-12)
        assert own == pytest.approx((np.exp(policy) * (REWARD - learned)).sum(-1), abs=1e-12)
        assert pessimism.errors(LOG_PI_0, REWARD, learned, BETA).target.tolist() == target.tolist()


@pytest.mark.equation("eq-two-errors")
def test_the_errors_of_several_learned_rewards_are_those_of_each():
    learned = np.random.default_rng(16).normal(size=(4, 3, 6))
    found = pessimism.errors(LOG_PI_0, REWARD, learned, BETA)
    assert found.target.shape == found.own.shape == (4, 3)
    for k in range(4):
        alone = pessimism.errors(LOG_PI_0, REWARD, learned[k], BETA)
        assert found.target[k] == pytest.approx(alone.target, abs=1e-12)
        assert found.own[k] == pytest.approx(alone.own, abs=1e-12)


@pytest.mark.equation("eq-coverage-coefficient")
def test_coverage_by_hand_and_against_the_condition_of_the_lecture():
    features, log_pi = np.array([[3.0], [1.0], [0.0]]), np.log([0.5, 0.25, 0.25])
    found = pessimism.coverage_coefficient(log_pi, features, np.array([1.0]), np.array([[4.0]]), 9)
    assert found == pytest.approx(3 * (0.5 * 1.0 + 0.25 * 0.5), rel=1e-12)
    # E over pairs of ||phi(y) - phi(y')|| is at least as large, by Jensen's inequality.
    reference = pessimism.expected_features(LOG_PI_0, FEATURES)
    covariance = pessimism.offline_covariance(RNG.normal(size=(8, 2)), 0.1)
    best = gibbs.log_policy(LOG_PI_0, REWARD, BETA)
    ours = pessimism.coverage_coefficient(best, FEATURES, reference, covariance, 8)
    apart = FEATURES[:, :, None] - FEATURES[:, None]
    norm = np.einsum("kabd,de,kabe->kab", apart, np.linalg.inv(covariance), apart) ** 0.5
    lecture = 8**0.5 * np.einsum("ka,kb,kab->k", np.exp(best), np.exp(LOG_PI_0), norm)
    assert (ours < lecture).all()


@pytest.mark.equation("eq-coverage-coefficient")
@pytest.mark.parametrize(("source", "ours", "lecture"), [("full", 1.05, 1.42), ("partial", 0.90, 1.89)])
def test_the_condition_of_the_lecture_asks_for_more_in_the_world_of_the_chapter(data_sources, source, ours, lecture):
    features, log_pi_0, theta = WORLD
    pairs = compared(WORLD, data_sources[source], (100, 100), np.random.default_rng(6))[0]
    covariance = pessimism.offline_covariance(pairs, PRECISION)
    best = gibbs.log_policy(log_pi_0, features @ theta, 0.05)
    reference = pessimism.expected_features(log_pi_0, features)
    found = pessimism.coverage_coefficient(best, features, reference, covariance[:, None], 100) @ START
    apart = features[:, None] - features
    roots = np.linalg.inv(np.linalg.cholesky(covariance))
    norm = np.stack([np.linalg.norm(apart @ root.T, axis=-1) for root in roots])
    theirs = 10 * np.einsum("k,ka,kb,sab->s", START, np.exp(best), np.exp(log_pi_0), norm, optimize=True)
    for values, mean in ((found, ours), (theirs, lecture)):
        assert abs(values.mean() - mean) < 0.005 + 4 * values.std(ddof=1) / 10


@pytest.mark.equation("eq-two-errors")
def test_a_lower_bound_holds_for_its_own_policy_and_the_converse_is_false():
    reference, theta = pessimism.expected_features(LOG_PI_0, FEATURES), np.array([1.0, -0.5])
    truth, covariance = theta + np.array([0.3, 0.2]), np.diag([2.0, 3.0])
    gold = overoptimization.centred(FEATURES @ truth, LOG_PI_0)
    seen = set()
    for c in np.linspace(0, 1, 21):
        bound = pessimism.lower_confidence_bound(FEATURES, reference, theta, covariance, c)
        own = pessimism.errors(LOG_PI_0, gold, bound, BETA).own
        seen |= {(bool((row >= 0).all()), bool(mean >= 0)) for row, mean in zip(gold - bound, own, strict=True)}
    assert seen == {(False, False), (False, True), (True, True)}


@pytest.mark.equation("eq-guarantee", "eq-coverage-coefficient", "eq-pointwise")
def test_where_the_bound_holds_no_more_is_lost_than_the_theorem_allows(replications):
    _, _, posterior, covariance = replications
    features, log_pi_0, truth = WORLD
    reward, beta, reference = features @ truth, 0.05, pessimism.expected_features(log_pi_0, features)
    radius = 4.0
    held = np.flatnonzero(error_norm(posterior.mean, covariance) <= radius)
    assert 100 < len(held) < 900
    learned = pessimism.lower_confidence_bound(
        features, reference, posterior.mean[held, None], covariance[held, None], radius / SIZE**0.5
    )
    policy = gibbs.log_policy(log_pi_0, learned, beta)
    best = gibbs.log_policy(log_pi_0, reward, beta)
    coverage = pessimism.coverage_coefficient(best, features, reference, covariance[held, None], 100)
    lost = pessimism.suboptimality(policy, log_pi_0, reward, beta)
    assert (lost <= pessimism.guarantee(radius, coverage, 100) + 1e-12).all()
    assert (pessimism.errors(log_pi_0, overoptimization.centred(reward, log_pi_0), learned, beta).own >= -1e-12).all()


@pytest.mark.equation("eq-guarantee")
def test_the_guarantee_by_hand():
    assert pessimism.guarantee(3.0, np.array([2.0, 4.0]), 16).tolist() == [3.0, 6.0]


# What is measured.

GRID = np.array([32, 128, 512, 2048])


def learned(world, policies, radius, n, seeds, rng):
    """`seeds` data sets of n comparisons, (seeds, 4) each but the last.

    What their policies lose, with and without the divergence, the guarantee, and the error of theta, (seeds,).
    """
    features, log_pi_0, theta = world
    reward, beta, reference = features @ theta, 0.2 * theta[0], pessimism.expected_features(log_pi_0, features)
    difference, label = compared(world, policies, (seeds, n), rng)
    mean = linear_fits.fit_linear(difference, label, PRECISION).mean
    covariance, away = pessimism.offline_covariance(difference, PRECISION), mean - theta
    error = np.einsum("sd,sde,se->s", away, covariance, away) ** 0.5
    covariance, c = covariance[:, None], radius / SIZE**0.5
    hat = pessimism.lower_confidence_bound(features, reference, mean[:, None], covariance, c)
    policy, best = (gibbs.log_policy(log_pi_0, r, beta) for r in (hat, reward))
    coverage = pessimism.coverage_coefficient(best, features, reference, covariance, n)
    lost = gibbs.gap(policy, log_pi_0, reward, beta)
    delta = pessimism.suboptimality(policy, log_pi_0, reward, beta)
    return lost, delta, pessimism.guarantee(radius, coverage, n), error


def lost(world, policies, c, n, seeds, rng):
    """What the policies of `seeds` data sets of n comparisons lose, mean over prompts: (seeds,)."""
    return learned(world, policies, c * SIZE**0.5, n, seeds, rng)[0] @ START


@pytest.fixture(scope="module")
def data_sources():
    """Full, partial and no coverage of the optimum: pairs of policies (4, G) that the compared answers come from."""
    features, log_pi_0, theta = WORLD
    pi_0, count = np.exp(log_pi_0), len(features)
    best = np.exp(gibbs.log_policy(log_pi_0, features @ theta, 0.2 * theta[0]))
    plain = pi_0 * (features[:, 2] == 0)
    plain = plain / plain.sum(-1, keepdims=True)
    every = np.full((4, count), 1 / count)
    return {"full": (every, every), "partial": (best, pi_0), "none": (plain, plain)}


@pytest.mark.equation("eq-guarantee", "eq-suboptimality")
def test_the_hardest_problem_for_each_n_is_learned_at_the_rate_of_the_theorem(data_sources):
    rng, radius, scales = np.random.default_rng(5), 14.0, 0.02 * 2.0 ** np.arange(6)
    mean = np.empty((2, 6, len(GRID)))
    for (i, scale), (j, n) in itertools.product(enumerate(scales), enumerate(GRID)):
        world = (WORLD[0], WORLD[1], scale * np.ones(5))
        lost, delta, bound, error = learned(world, data_sources["full"], radius, n, 30, rng)
        assert (error <= radius).mean() >= 0.95  # so that the theorem speaks of them
        assert (delta <= bound)[error <= radius].all()
        mean[:, i, j] = (lost @ START).mean(), (bound @ START).mean()
    share = mean[0] / mean[1]
    assert abs(np.polyfit(np.log(GRID), np.log(mean[0].max(axis=0)), 1)[0] + 0.5) < 0.15
    assert share.max(axis=0).max() < 1.5 * share.max(axis=0).min()  # the hardest keeps up with the bound
    assert (share[4:, -1] < 0.2 * share[4:].max(axis=1)).all()  # and those that were hardest before left it
    hardest = mean[0].argmax(axis=0)
    assert (np.diff(hardest) <= 0).all()
    assert hardest[0] > hardest[-1] + 1


def test_one_problem_is_learned_faster_in_the_end_because_the_objective_is_flat_around_its_optimum(data_sources):
    world, rng = (WORLD[0], WORLD[1], np.ones(5)), np.random.default_rng(13)
    few, many = (lost(world, data_sources["full"], 1.0, n, 100, rng) for n in (500, 4000))
    slope = np.log(many.mean() / few.mean()) / np.log(8)
    error = sum((x.std(ddof=1) / x.mean()) ** 2 / len(x) for x in (few, many)) ** 0.5 / np.log(8)
    assert error < 0.1
    assert abs(slope + 1) < 3 * error


def test_the_coverage_coefficient_is_bounded_exactly_where_the_data_cover_the_optimum(data_sources):
    features, log_pi_0, theta = WORLD
    reference = pessimism.expected_features(log_pi_0, features)
    best = gibbs.log_policy(log_pi_0, features @ theta, 0.05)
    growth = {}
    for source, policies in data_sources.items():
        rng, found = np.random.default_rng(6), []
        for n in (200, 3200):
            covariance = pessimism.offline_covariance(compared(WORLD, policies, (n,), rng)[0], PRECISION)
            found.append(START @ pessimism.coverage_coefficient(best, features, reference, covariance, n))
        growth[source] = found[1] / found[0]
    assert 0.9 < growth["full"] < 1.1
    assert 0.9 < growth["partial"] < 1.1
    assert 3.5 < growth["none"] < 4.1  # the root of 16: the direction stays as uncertain as it was


def test_pessimism_beats_the_plain_reward_where_coverage_is_partial(data_sources):
    both = [lost(WORLD, data_sources["partial"], c, 64, 300, np.random.default_rng(7)) for c in (0.0, 4.0)]
    gain = both[0] - both[1]  # the same data sets
    assert gain.mean() - 4 * gain.std(ddof=1) / len(gain) ** 0.5 > 0.1
    assert both[1].mean() < 0.5 * both[0].mean()


def test_without_coverage_no_number_of_comparisons_helps(data_sources):
    few, many = (lost(WORLD, data_sources["none"], 4.0, n, 40, np.random.default_rng(8)) for n in (200, 3200))
    assert many.mean() > 0.9 * few.mean() > 0.1
    assert np.ptp(many) < 0.05


@pytest.mark.equation("eq-lcb")
def test_ppo_converges_to_the_exact_policy_of_the_pessimistic_reward():
    features = np.random.default_rng(9).normal(size=(2, 7, 2))
    log_pi_0 = tasks.task().log_pi_0
    reference = pessimism.expected_features(log_pi_0, features)
    theta, covariance = np.array([1.0, -0.5]), np.diag([2.0, 9.0])
    plain, hat = (pessimism.lower_confidence_bound(features, reference, theta, covariance, c) for c in (0.0, 0.7))
    critic = TabularCritic(tasks.MODEL)
    mdp = replace(
        tasks.task().mdp, reward=lambda x, y: hat[x[..., 0], lm.answer_index(y, tasks.MODEL.vocab, tasks.MODEL.eos)]
    )
    task = Task(mdp, (tasks.MODEL, tasks.REFERENCE), tasks.BETA)
    loss, collect = ppo.ppo(task, critic, prompts=256, minibatch=128, epochs=2)
    options = {"rounds": 80, "optimizer": optim.adam(0.1), "rng": np.random.default_rng(0)}
    params, _ = optim.fit(loss, critic.head(tasks.REFERENCE), collect, **options)
    log_pi = tasks.log_pi({"logits": params["logits"]})
    assert tasks.START @ gibbs.gap(log_pi, log_pi_0, hat, tasks.BETA) < 1e-3
    assert tasks.START @ gibbs.gap(log_pi, log_pi_0, plain, tasks.BETA) > 0.02


# Bad input.

ONE = np.ones((3, 2))


BAD = {
    "singular": (
        lambda: pessimism.offline_covariance(np.array([[1.0, 1.0], [2.0, 2.0]]), 0.0),
        r"^the covariance is singular, or nearly: its condition number is \S+\. Some direction of the "
        "features was hardly compared; give a larger precision, or rescale the features$",
    ),
    "singular covariance": (
        lambda: pessimism.uncertainty(ONE, np.zeros(2), np.diag([1.0, 0.0])),
        "^the covariance is singular",
    ),
    "one of many": (
        lambda: pessimism.offline_covariance(np.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]]), 0.0),
        "^the covariance is singular",
    ),
    "precision": (
        lambda: pessimism.offline_covariance(ONE, -1.0),
        "^precision is lambda, finite and at least 0; got -1.0$",
    ),
    "infinite": (lambda: pessimism.offline_covariance(ONE, np.inf), "^precision is lambda, finite and at least 0"),
    "one row": (
        lambda: pessimism.offline_covariance(np.ones(2), 1.0),
        r"^difference must have shape \(\.\.\., N, D\), one row a comparison, one column a feature, at least one; "
        r"got \(2,\)$",
    ),
    "no features in many sets": (lambda: pessimism.offline_covariance(np.ones((2, 3, 0)), 1.0), r"got \(2, 3, 0\)$"),
    "no features": (lambda: pessimism.offline_covariance(np.ones((4, 0)), 1.0), r"at least one; got \(4, 0\)$"),
    "scales apart": (
        lambda: pessimism.offline_covariance(np.array([[1e6, 0.0]] * 10), 1.0),
        r"^the covariance is singular, or nearly: its condition number is 1e\+13\. .* or rescale the features$",
    ),
    "indefinite": (
        lambda: pessimism.uncertainty(ONE, np.zeros(2), np.diag([1.0, -1.0])),
        "^covariance is not positive definite; make it with offline_covariance$",
    ),
    "asymmetric": (
        lambda: pessimism.uncertainty(ONE, np.zeros(2), np.array([[1.0, 0.0], [0.5, 1.0]])),
        "^covariance is not symmetric; make it with offline_covariance$",
    ),
    "size of the covariance": (
        lambda: pessimism.uncertainty(ONE, np.zeros(2), np.eye(3)),
        r"^covariance must be \(\.\.\., 2, 2\), as there are 2 features; got \(3, 3\)$",
    ),
    "a row for a covariance": (lambda: pessimism.uncertainty(ONE, np.zeros(2), np.ones(2)), r"got \(2,\)$"),
    "theta": (
        lambda: pessimism.lower_confidence_bound(ONE[None], np.zeros(2), np.ones(3), np.eye(2), 1.0),
        r"^theta \(\.\.\., D\) must have a weight for each of 2 features; got \(3,\)$",
    ),
    "size": (
        lambda: pessimism.confidence_radius(-3, 0.1, 0.1, 1.0, 1.0),
        "^size is the number of features, a whole number from 1 on; got -3$",
    ),
    "precision of the radius": (
        lambda: pessimism.confidence_radius(2, 0.1, 0.1, -1.0, 1.0),
        "^precision is lambda, finite and at least 0; got -1.0$",
    ),
    "norm": (
        lambda: pessimism.confidence_radius(2, 0.1, 0.1, 1.0, -100.0),
        r"^norm is at least \|\|theta\*\|\|, finite and at least 0; got -100.0$",
    ),
    "radius": (
        lambda: pessimism.guarantee(-1.0, np.ones(2), 4),
        r"^radius is c sqrt\(d\), finite and at least 0; got -1.0$",
    ),
    "count of the guarantee": (
        lambda: pessimism.guarantee(1.0, np.ones(2), 0),
        "^count is the number of comparisons, a whole number from 1 on; got 0$",
    ),
    "NaN count": (
        lambda: pessimism.coverage_coefficient(LOG_PI_0[0], FEATURES[0], np.zeros(2), np.eye(2), np.nan),
        "^count is the number of comparisons, a whole number from 1 on; got nan$",
    ),
    "infinite count": (lambda: pessimism.guarantee(1.0, np.ones(2), np.inf), "a whole number from 1 on; got inf$"),
    "NaN difference": (
        lambda: pessimism.offline_covariance(np.full((3, 2), np.nan), 1.0),
        "^difference holds NaN or infinity; check the features$",
    ),
    "NaN features": (
        lambda: pessimism.uncertainty(np.full((3, 2), np.nan), np.zeros(2), np.eye(2)),
        "^features holds NaN or infinity; check the features$",
    ),
    "NaN reference": (
        lambda: pessimism.uncertainty(ONE, np.array([0.0, np.nan]), np.eye(2)),
        "^reference holds NaN or infinity; check the features$",
    ),
    "NaN covariance": (
        lambda: pessimism.uncertainty(ONE, np.zeros(2), np.full((2, 2), np.nan)),
        "^covariance holds NaN or infinity; check the features$",
    ),
    "NaN theta": (
        lambda: pessimism.lower_confidence_bound(ONE, np.zeros(2), np.full(2, np.nan), np.eye(2), 1.0),
        "^theta holds NaN or infinity; check the features$",
    ),
    "NaN expected": (
        lambda: pessimism.expected_features(np.log([0.5, 0.5]), np.full((2, 2), np.nan)),
        "^features holds NaN or infinity; check the features$",
    ),
    "sizes": (
        lambda: pessimism.uncertainty(ONE, np.zeros(3), np.eye(3)),
        r"^features \(\.\.\., A, D\) and reference \(\.\.\., D\) must have the same D; got \(3, 2\) and \(3,\)$",
    ),
    "c": (
        lambda: pessimism.lower_confidence_bound(ONE, np.zeros(2), np.ones(2), np.eye(2), -0.1),
        "^c is how many times the uncertainty is subtracted, finite and at least 0; got -0.1$",
    ),
    "infinite c": (
        lambda: pessimism.lower_confidence_bound(ONE, np.zeros(2), np.ones(2), np.eye(2), np.inf),
        "^c is how many times",
    ),
    "delta": (
        lambda: pessimism.confidence_radius(2, 1.0, 0.1, 1.0, 1.0),
        r"^delta is the probability to be wrong, in \(0, 1\); got 1.0$",
    ),
    "delta 0": (lambda: pessimism.confidence_radius(2, 0.0, 0.1, 1.0, 1.0), "^delta is the probability to be wrong"),
    "slope": (
        lambda: pessimism.confidence_radius(2, 0.1, 0.3, 1.0, 1.0),
        r"^slope is the least p \(1 - p\), in \(0, 1/4\]; got 0.3$",
    ),
    "slope 0": (lambda: pessimism.confidence_radius(2, 0.1, 0.0, 1.0, 1.0), "^slope is the least"),
    "count": (
        lambda: pessimism.coverage_coefficient(LOG_PI_0[0], FEATURES[0], np.zeros(2), np.eye(2), 0),
        "^count is the number of comparisons, a whole number from 1 on; got 0$",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_a_direction_counts_as_not_compared_if_it_was_a_million_million_times_less():
    pessimism.uncertainty(ONE, np.zeros(2), np.diag([1.0, 2e-12]))
    with pytest.raises(ValueError, match="singular"):
        pessimism.uncertainty(ONE, np.zeros(2), np.diag([1.0, 5e-13]))


def test_the_edges_of_what_is_allowed_are_allowed():
    assert pessimism.confidence_radius(1, 0.1, 0.25, 1.0, 0.0) > 0
    assert pessimism.guarantee(0.0, np.ones(1), 1).tolist() == [0.0]
    almost = np.array([[2.0, 0.5], [0.5 + 1e-12, 1.0]])  # rounding is no asymmetry
    for scale in (1.0, 1e6):
        assert pessimism.uncertainty(ONE, np.zeros(2), scale * almost).shape == (3,)
    assert pessimism.confidence_radius(2, 0.1, 0.25, 0.0, 1.0) > 0
    assert pessimism.coverage_coefficient(LOG_PI_0[0], FEATURES[0], np.zeros(2), np.eye(2), 1) > 0


def test_numbers_in_single_precision_are_worked_with_in_double():
    features, reference, covariance = FEATURES.astype(np.float32), np.ones(2, np.float32), np.eye(2, dtype=np.float32)
    found = pessimism.uncertainty(features, reference, covariance)
    assert found.dtype == np.float64
    assert found.tolist() == pessimism.uncertainty(features.astype(float), np.ones(2), np.eye(2)).tolist()


@pytest.mark.equation("eq-suboptimality")
def test_the_suboptimality_of_the_optimum_is_zero_where_the_reference_rules_answers_out():
    with np.errstate(divide="ignore"):
        log_pi_0 = np.log(np.array([0.5, 0.5, 0.0]))
    reward = np.array([1.0, 2.0, 3.0])
    best = gibbs.log_policy(log_pi_0, reward, 0.5)
    assert pessimism.suboptimality(best, log_pi_0, reward, 0.5) == 0
    two = slice(0, 2)
    assert pessimism.suboptimality(log_pi_0, log_pi_0, reward, 0.5) == pytest.approx(
        pessimism.suboptimality(log_pi_0[two], log_pi_0[two], reward[two], 0.5), abs=1e-14
    )
