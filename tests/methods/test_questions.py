"""Laws of questions against enumeration, and the most uncertain policy against random ones."""

import itertools

import numpy as np
import pytest
from scipy.special import expit

from rlhf_lab.methods import best_of_n, pessimism, questions
from rlhf_lab.models import gibbs, lm

RNG = np.random.default_rng(0)
K, A, D, BETA = 2, 5, 3, 0.4
START = np.array([0.3, 0.7])
LOG_PI = np.log(RNG.dirichlet(np.ones(A), size=K))
FEATURES = RNG.normal(size=(K, A, D))
SIGMA = pessimism.offline_covariance(RNG.normal(size=(7, D)), 0.5)


def mean(log_pi):
    return np.einsum("k,...ka,kad->...d", START, np.exp(log_pi), FEATURES)


def width(log_pi):
    away = mean(log_pi) - mean(LOG_PI)
    return np.sqrt(np.einsum("...d,de,...e->...", away, np.linalg.inv(SIGMA), away))


def search(radius, beta=BETA):
    return questions.enhancer(LOG_PI, START, FEATURES, SIGMA, radius=radius, beta=beta)


# Pairs.


@pytest.mark.equation("eq-question-law")
def test_equal_answers_are_drawn_again():
    law = questions.independent(np.log([0.5, 0.3, 0.2]), np.log([0.1, 0.1, 0.8]))
    expected = np.array([[0, 0.05, 0.4], [0.03, 0, 0.24], [0.02, 0.02, 0]])
    assert law == pytest.approx(expected / 0.76, rel=1e-12)
    assert questions.different(np.stack([law, 3 * law + np.eye(3)])) == pytest.approx(np.stack([law, law]), rel=1e-12)


def test_who_says_one_thing_only_has_nothing_to_compare():
    sure = np.array([[0.0, -800.0], np.log([0.5, 0.5])])
    with pytest.raises(ValueError, match=r"^some prompt has no .* or take a second policy that says something else$"):
        questions.independent(sure, sure)
    with pytest.raises(ValueError, match="some prompt has no two different answers"):
        questions.different(np.full((2, 2), np.nan))


def test_questions_are_drawn_with_the_probabilities_of_their_law():
    law = questions.different(RNG.random((2, K, 3, 3)))
    row, first, second = questions.draw(law, START, 100_000, np.random.default_rng(1))
    assert row.shape == first.shape == second.shape == (2, 100_000)
    for s in range(2):
        counts = np.zeros((K, 3, 3))
        np.add.at(counts, (row[s], first[s], second[s]), 1)
        p = START[:, None, None] * law[s]
        error = np.sqrt(p * (1 - p) / 100_000)
        assert (np.abs(counts / 100_000 - p) <= 4 * error).all()
    assert (first != second).all()
    one = questions.draw(law[0], START, 5, np.random.default_rng(2))
    assert one[0].shape == (5,)


def test_a_round_without_labels_is_an_error():
    law = questions.different(np.ones((K, 3, 3)))
    for count in (0, -1, 1.5):
        with pytest.raises(ValueError, match="count is the number of labels of a round, of which none arrives"):
            questions.draw(law, START, count, RNG)
    with pytest.raises(ValueError, match="start must sum to 1"):
        questions.draw(law, np.ones(K), 2, RNG)


# The confidence set.


@pytest.mark.equation("eq-confidence-set")
def test_the_confidence_set_by_hand():
    assert questions.in_confidence_set(np.array([0.5, 0.5, 0.0]), np.array([0.9, 1.1, 0.0]), 1.0, 0.5).tolist() == [
        True,
        False,
        True,
    ]
    assert questions.in_confidence_set(1.0, 2.0, 1.0, 0.5)
    assert not questions.in_confidence_set(1.0, 1e-9, 0.0, 0.5)


@pytest.mark.parametrize("radius", [-0.1, np.nan, np.inf])
def test_a_radius_is_not_negative(radius):
    with pytest.raises(ValueError, match="radius is r, how far theta may be from its estimate"):
        questions.in_confidence_set(1.0, 1.0, radius, BETA)
    with pytest.raises(ValueError, match="how far theta may be from its estimate in the norm of Sigma,"):
        search(radius)


def test_other_inputs_are_checked():
    with pytest.raises(ValueError, match="beta must be finite and above 0"):
        search(1.0, beta=0.0)
    with pytest.raises(ValueError, match="beta must be finite and above 0"):
        questions.in_confidence_set(1.0, 1.0, 1.0, -1.0)
    with pytest.raises(ValueError, match=r"covariance must be \(..., D, D\) for the D = 3 features; got \(2, 2\)"):
        questions.enhancer(LOG_PI, START, FEATURES, np.eye(2), radius=1.0, beta=BETA)


@pytest.mark.equation("eq-enhancer", "eq-confidence-set")
@pytest.mark.parametrize("radius", [0.3, 1.0, 3.0, 30.0])
def test_no_policy_of_the_set_is_more_uncertain(radius):
    found = search(radius)
    rng = np.random.default_rng(3)
    near = rng.normal(size=(5000, 1, 1)) * rng.normal(size=(5000, K, A)) + LOG_PI
    tilts = np.einsum("kad,nd->nka", FEATURES, rng.normal(size=(5000, D)) * rng.gamma(1.0, 3.0, size=(5000, 1)))
    others = lm.log_softmax(np.concatenate([near, LOG_PI + tilts]))
    allowed = questions.in_confidence_set(width(others), lm.kl(others, LOG_PI) @ START, radius, BETA)
    assert allowed.sum() > 30
    assert width(others)[allowed].max() <= found.width + 1e-9
    assert width(others)[allowed].max() > 0.8 * found.width


@pytest.mark.equation("eq-tilt", "eq-tilt-length")
@pytest.mark.parametrize("radius", [0.3, 0.6, 1.0])
def test_it_is_a_tilt_on_the_rim_of_the_set_along_the_difference_of_features(radius):
    found = search(radius)
    assert found.width == pytest.approx(width(found.log_pi), rel=1e-9)
    tilted = lm.log_softmax(LOG_PI + FEATURES @ found.tilt)
    assert tilted == pytest.approx(found.log_pi, abs=1e-9)
    divergence = lm.kl(found.log_pi, LOG_PI) @ START
    assert radius * found.width == pytest.approx(BETA * divergence, rel=1e-6)
    along = np.linalg.solve(SIGMA, mean(found.log_pi) - mean(LOG_PI))
    cosine = along @ found.tilt / np.linalg.norm(along) / np.linalg.norm(found.tilt)
    assert cosine == pytest.approx(1.0, abs=1e-7)
    # eq-tilt-length, with s the length of the tilt in the norm of Sigma
    s = np.sqrt(found.tilt @ SIGMA @ found.tilt)
    centre = mean(LOG_PI)
    cumulant = np.log((np.exp(LOG_PI) * np.exp(FEATURES @ found.tilt)).sum(-1)) @ START - found.tilt @ centre
    slope = found.tilt / s @ (mean(found.log_pi) - centre)
    assert cumulant == pytest.approx((s - radius / BETA) * slope, rel=1e-6)


@pytest.mark.equation("eq-tilt")
def test_a_large_set_holds_policies_that_say_one_thing_and_a_set_of_radius_0_holds_pi_1_alone():
    far = search(1000.0)
    assert np.exp(far.log_pi).max(-1) == pytest.approx(np.ones(K), abs=1e-6)
    answers = np.array(list(itertools.product(range(A), range(A))))
    corners = START @ np.stack([FEATURES[0, answers[:, 0]], FEATURES[1, answers[:, 1]]], axis=1) - mean(LOG_PI)
    best = np.sqrt(np.einsum("nd,de,ne->n", corners, np.linalg.inv(SIGMA), corners)).max()
    assert far.width == pytest.approx(best, rel=1e-9)
    blank = questions.enhancer(LOG_PI, START, 0 * FEATURES, SIGMA, radius=1.0, beta=BETA)
    assert blank.width == 0
    assert blank.log_pi == pytest.approx(LOG_PI, abs=1e-12)
    none = search(0.0)
    assert none.width < 1e-6
    assert none.log_pi == pytest.approx(LOG_PI, abs=1e-5)


@pytest.mark.equation("eq-enhancer", "eq-tilt")
def test_with_many_labels_the_enhancer_becomes_the_main_policy():
    away = []
    for labels in (1e4, 1e6):
        found = questions.enhancer(LOG_PI, START, FEATURES, labels * SIGMA, radius=1.0, beta=BETA)
        away.append(np.abs(found.log_pi - LOG_PI).max())
    assert away[0] < 0.1
    assert away[1] == pytest.approx(away[0] / 10, rel=0.1)  # like 1 over the root of their number


@pytest.mark.equation("eq-enhancer")
def test_seeds_are_searched_as_if_each_were_alone():
    rng = np.random.default_rng(4)
    log_pi, features = np.log(rng.dirichlet(np.ones(A), size=(6, K))), rng.normal(size=(6, K, A, D))
    sigma = pessimism.offline_covariance(rng.normal(size=(6, 9, D)), 0.5)
    together = questions.enhancer(log_pi, START, features, sigma, radius=1.5, beta=BETA)
    for s in range(6):
        alone = questions.enhancer(log_pi[s], START, features[s], sigma[s], radius=1.5, beta=BETA)
        assert alone.width == pytest.approx(together.width[s], rel=1e-6)
        assert alone.tilt == pytest.approx(together.tilt[s], rel=1e-2, abs=1e-3)
    assert together.log_pi.shape == (6, K, A)


@pytest.mark.equation("eq-enhancer")
def test_ten_random_starts_seldom_find_a_policy_that_is_more_uncertain():
    rng, worlds = np.random.default_rng(8), 40
    log_pi = lm.log_softmax(2 * rng.normal(size=(worlds, K, 12)))
    features = rng.normal(size=(worlds, K, 12, 4))
    sigma = pessimism.offline_covariance(rng.normal(size=(worlds, 64, 4)), 1.0)
    found = questions.enhancer(log_pi, START, features, sigma, radius=3.0, beta=0.2)
    root = np.linalg.inv(np.linalg.cholesky(sigma))
    away = np.einsum("sde,skae->skad", root, features)
    away = away - np.einsum("ska,skad->skd", np.exp(log_pi), away)[..., None, :]
    best = np.zeros(worlds)
    for _ in range(10):
        w = rng.normal(size=(worlds, 4))
        w = w / np.linalg.norm(w, axis=-1, keepdims=True)
        for _ in range(5):
            step = questions._step(log_pi, START, away, w, 3.0 / 0.2)
            w = step.next
        best = np.maximum(best, step.width)
    short = 1 - found.width / best
    assert (short > 1e-3).sum() <= 4
    assert short.max() < 0.1


# Best and worst of n.


def enumerated(pi, reward, n):
    """All draws of n answers; the first of the best and the first of the worst are kept."""
    law = np.zeros((len(pi), len(pi)))
    for drawn in itertools.product(range(len(pi)), repeat=n):
        worth = reward[list(drawn)]
        best = best_of_n.keep_best(np.array(drawn)[:, None], worth)[0]
        worst = best_of_n.keep_best(np.array(drawn)[:, None], -worth)[0]
        law[best, worst] += np.prod(pi[list(drawn)])
    return law


@pytest.mark.equation("eq-best-worst")
@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("reward", [[0.3, -1.0, 2.0, 0.5], [1.0, 1.0, 0.0, 2.0], [1.0, 0.0, 1.0, 0.0], [7.0] * 4])
def test_best_and_worst_of_n_is_enumeration(n, reward):
    pi, reward = np.array([0.4, 0.3, 0.2, 0.1]), np.array(reward)
    found = questions.best_and_worst(np.log(pi), reward, n)
    assert found == pytest.approx(enumerated(pi, reward, n), abs=1e-14)
    assert found.sum() == pytest.approx(1, abs=1e-12)
    # its first margin is the law of best-of-n
    assert found.sum(-1) == pytest.approx(np.exp(best_of_n.log_best_of_n(np.log(pi), reward, n)), rel=1e-12)


@pytest.mark.equation("eq-best-worst")
def test_of_different_rewards_it_is_the_formula_and_pi_to_the_n_on_the_diagonal():
    pi, reward, n = np.exp(LOG_PI[0]), np.array([0.1, 0.7, -0.3, 2.0, 1.1]), 4
    found = questions.best_and_worst(LOG_PI[0], reward, n)
    for a, b in itertools.product(range(A), range(A)):
        mass = pi[(reward <= reward[a]) & (reward >= reward[b])].sum()
        formula = mass**n - (mass - pi[a]) ** n - (mass - pi[b]) ** n + (mass - pi[a] - pi[b]) ** n
        expected = formula if reward[a] > reward[b] else pi[a] ** n if a == b else 0.0
        assert found[a, b] == pytest.approx(expected, abs=1e-14)


@pytest.mark.equation("eq-best-worst")
def test_of_two_draws_it_is_both_orders_of_a_pair_and_rare_answers_do_no_harm():
    pi, reward = np.exp(LOG_PI), RNG.normal(size=(3, K, A))
    found = questions.best_and_worst(LOG_PI, reward, 2)
    higher = reward[..., :, None] > reward[..., None, :]
    both = 2 * pi[:, :, None] * pi[:, None, :]
    assert found == pytest.approx(higher * both + np.eye(A) * (pi**2)[:, None], rel=1e-10)
    rare = questions.best_and_worst(np.array([-1e4, 0.0, -40.0]), np.array([2.0, 1.0, 0.0]), 6)
    assert np.isfinite(rare).all()
    assert (rare >= 0).all()
    assert rare[1, 2] == pytest.approx(6 * np.exp(-40), rel=0.1)


@pytest.mark.parametrize("n", [1, 0, -3, 2.5, np.nan])
def test_best_and_worst_need_two_draws(n):
    with pytest.raises(ValueError, match=r"^n is the number of draws of which the best and the worst are kept"):
        questions.best_and_worst(LOG_PI, np.zeros((K, A)), n)
    with pytest.raises(ValueError, match="one reward for each of the 5 answers"):
        questions.best_and_worst(LOG_PI, np.zeros((K, 2)), 3)


# Two members, and what a question tells.


@pytest.mark.equation("eq-ensemble-question")
def test_two_members_are_never_the_same():
    members = np.log(RNG.dirichlet(np.ones(A), size=(3, K)))
    expected = np.mean(
        [
            np.exp(members[k])[:, :, None] * np.exp(members[j])[:, None, :]
            for k, j in itertools.permutations(range(3), 2)
        ],
        axis=0,
    )
    assert questions.of_two_members(members) == pytest.approx(expected, rel=1e-12)
    with pytest.raises(ValueError, match="an ensemble that asks needs at least two members; got 1"):
        questions.of_two_members(members[:1])


@pytest.mark.equation("eq-question-information")
def test_information_is_the_mean_of_the_fisher_information_of_a_comparison():
    law, theta = questions.different(RNG.random((4, K, A, A))), RNG.normal(size=(4, D))
    found = questions.information(law, START, FEATURES, theta)
    expected = np.zeros((4, D, D))
    for s, k, a, b in itertools.product(range(4), range(K), range(A), range(A)):
        d = FEATURES[k, a] - FEATURES[k, b]
        p = expit(d @ theta[s])
        expected[s] += START[k] * law[s, k, a, b] * p * (1 - p) * np.outer(d, d)
    assert found == pytest.approx(expected, rel=1e-10)


def test_gibbs_policies_are_tilts_so_that_pi_star_may_be_the_enhancer():
    theta, v = RNG.normal(size=D), RNG.normal(size=D)
    here = gibbs.log_policy(LOG_PI, FEATURES @ theta, BETA)
    there = gibbs.log_policy(LOG_PI, FEATURES @ (theta + BETA * v), BETA)
    assert lm.log_softmax(here + FEATURES @ v) == pytest.approx(there, abs=1e-12)
