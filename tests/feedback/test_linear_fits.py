"""Linear rewards are fitted as well as mathematics says that they can be."""

import itertools
from functools import partial

import autograd.numpy as anp
import choix
import numpy as np
import pytest
from autograd import grad, hessian
from scipy.special import expit

from rlhf_lab.feedback import annotators, likelihoods, linear_fits
from rlhf_lab.models import lm
from rlhf_lab.worlds import phrase_world
from rlhf_lab.worlds.phrase_world import HORIZON, PROMPTS, START


def rated(shape, spread, seed=12):
    """Features, ratings and weights; the ratings of each person are shifted by an offset with this deviation."""
    rng, theta = np.random.default_rng(seed), np.array([1.0, -0.5, 2.0])
    features = rng.normal(size=(*shape, 3)) + rng.normal(size=(*shape[:-1], 1, 3))
    offset = spread * rng.normal(size=(*shape[:-1], 1))
    return features, annotators.sample_ratings(features @ theta + offset, 0.7, rng), theta, offset


@pytest.mark.equation("eq-mse")
@pytest.mark.parametrize("personal", [False, True])
def test_the_fit_of_ratings_has_the_least_squared_error(personal):
    features, rating, *_ = rated((2, 6, 4), 1.5)
    found = linear_fits.fit_ratings(features, rating, personal=personal)
    assert found.weights.shape == (2, 3)
    assert found.intercept.shape == ((2, 6, 1) if personal else (2, 1, 1))

    def error(weights, intercept):
        reward = anp.matmul(features, weights[:, None, :, None])[..., 0] + intercept
        return anp.mean(likelihoods.squared_error(reward, rating))

    for argument in (0, 1):
        assert np.abs(grad(error, argument)(*found)).max() < 1e-14
    alone = linear_fits.fit_ratings(features[1].tolist(), rating[1].tolist(), personal=personal)
    assert alone.weights == pytest.approx(found.weights[1], rel=1e-10)
    assert alone.intercept == pytest.approx(found.intercept[1], rel=1e-10)


@pytest.mark.equation("eq-mse", "eq-rating")
def test_with_an_intercept_for_each_person_no_offset_matters_and_weights_are_found():
    features, rating, theta, _ = rated((300, 40, 4), 0.0)
    *_, far = rated((300, 40, 4), 9.0)
    own = linear_fits.fit_ratings(features, rating, personal=True)
    moved = linear_fits.fit_ratings(features, rating + far, personal=True)
    assert moved.weights == pytest.approx(own.weights, abs=1e-10)
    assert moved.intercept == pytest.approx(own.intercept + far, abs=1e-10)
    error = own.weights.std(0, ddof=1) / 300**0.5
    assert (np.abs(own.weights.mean(0) - theta) < 4 * error).all()
    pooled = linear_fits.fit_ratings(features, rating + far, personal=False)
    wrong, right = (np.mean((fit.weights - theta) ** 2) for fit in (pooled, own))
    assert wrong > 20 * right
    assert np.mean((linear_fits.fit_ratings(features, rating, personal=False).weights - theta) ** 2) < right


@pytest.mark.parametrize(
    ("features", "rating", "message"),
    [
        (np.zeros((2, 3, 1)), np.zeros((2, 4)), r"^features \(..., P, K, D\) .* got \(2, 3, 1\) and \(2, 4\)$"),
        (np.zeros((3, 1)), np.zeros(3), r"for each answer that a person rates; got \(3, 1\) and \(3,\)"),
        ([[[np.nan], [1.0]]], [[1.0, 2.0]], "^features and ratings must be finite; these hold NaN or infinity$"),
        ([[[0.0], [1.0]]], [[1.0, np.inf]], "features and ratings must be finite"),
        ([[[1.0], [1.0]], [[2.0], [2.0]]], [[1.0, 2.0], [0.0, 1.0]], "^a direction of the features does not vary: its"),
    ],
)
def test_ratings_without_a_fit_are_refused(features, rating, message):
    with pytest.raises(ValueError, match=message):
        linear_fits.fit_ratings(features, rating, personal=True)


@pytest.mark.equation("eq-ranking-loss", "eq-fisher")
def test_a_ranking_of_four_equals_tells_less_than_six_comparisons():
    scores = []
    for order in itertools.permutations(range(4)):
        places = np.eye(4)[list(order)]
        scores.append(grad(lambda r, places=places: likelihoods.ranking_loss(anp.matmul(places, r)))(np.zeros(4)))
    pairs = np.array([np.eye(4)[i] - np.eye(4)[j] for i, j in itertools.combinations(range(4), 2)])
    assert np.transpose(scores) @ scores / 24 == pytest.approx(23 / 36 * linear_fits.fisher(pairs, np.zeros(6)))


@pytest.mark.equation("eq-fisher", "eq-plackett-luce")
def test_a_ranking_errs_more_than_six_comparisons_and_its_six_pairs_as_if_independent_more_than_itself():
    """The covariance of the fit is H^-1 J H^-1: H is the Fisher information of six comparisons, J the variance of the
    score of one ranking. The fit of a ranking by its own likelihood has the inverse of its own Fisher information. Four
    pretrained answers to one question, 400 people.
    """
    rng, n = np.random.default_rng(5), 10_000
    prompt = np.repeat(PROMPTS[rng.choice(4, size=n, p=START)], 4, axis=0)
    response = lm.sample(phrase_world.model(), phrase_world.pretrained(), prompt, HORIZON, rng)
    features = np.stack(list(phrase_world.reward_parts(prompt, response).values()), axis=-1).reshape(n, 4, 5)
    i, j = np.triu_indices(4, 1)
    fresh = (features[:, i] - features[:, j]).reshape(-1, 5)
    inverse = np.linalg.inv(linear_fits.fisher(fresh, fresh.sum(-1)) / n)
    variance, own = np.zeros((2, 5, 5))
    tail = lambda x: np.cumsum(x[:, ::-1], axis=1)[:, ::-1]  # noqa: E731
    for order in itertools.permutations(range(4)):
        ranked = features[:, order]
        chance = np.exp(-likelihoods.ranking_loss(ranked.sum(-1)))
        pairs = ranked[:, i] - ranked[:, j]
        score = (expit(-pairs.sum(-1))[..., None] * pairs).sum(1)
        variance += np.einsum("n,nd,ne->de", chance, score, score) / n
        weight = np.exp(ranked.sum(-1))[..., None]
        score = (ranked - tail(weight * ranked) / tail(weight)).sum(1)  # each choice against the mean of what was left
        own += np.einsum("n,nd,ne->de", chance, score, score) / n
    six, again, ranking = np.trace(inverse @ variance @ inverse), np.trace(inverse), np.trace(np.linalg.inv(own))
    assert six / again == pytest.approx(1.37, abs=0.02)
    assert ranking / again == pytest.approx(1.23, abs=0.02)
    assert (np.array([ranking, six, again]) / 400) ** 0.5 == pytest.approx([0.31, 0.33, 0.28], abs=0.01)


def design(seed, n, size, runs=()):
    rng = np.random.default_rng(seed)
    difference, theta = rng.normal(size=(*runs, n, size)), rng.normal(size=size)
    return difference, theta, annotators.sample_labels(annotators.bradley_terry(difference @ theta), rng)


def log_posterior(theta, difference, label, precision, misclick):
    margin = anp.matmul(difference, theta)
    p = (1 - misclick) / (1 + anp.exp(-margin)) + misclick / 2
    likelihood = anp.sum(label * anp.log(p) + (1 - label) * anp.log(1 - p))
    return likelihood - precision / 2 * anp.sum(theta**2)


@pytest.mark.equation("eq-map", "eq-laplace", "eq-fisher")
@pytest.mark.parametrize(("precision", "misclick"), [(0.0, 0.0), (0.7, 0.0), (0.3, 0.2)])
def test_the_posterior_has_its_maximum_and_its_curvature_where_autograd_finds_them(precision, misclick):
    difference, _, label = design(0, 200, 3)
    label[:20] = 0.5
    found = linear_fits.fit_linear(difference, label, precision, misclick)
    target = partial(log_posterior, difference=difference, label=label, precision=precision, misclick=misclick)
    assert grad(target)(found.mean) == pytest.approx(np.zeros(3), abs=1e-8)
    if misclick:  # the expected information: labels replaced by what the model expects
        p = annotators.with_misclicks(expit(difference @ found.mean), misclick)
        target = partial(log_posterior, difference=difference, label=p, precision=precision, misclick=misclick)
    assert found.covariance == pytest.approx(np.linalg.inv(-hessian(target)(found.mean)), rel=1e-8)


@pytest.mark.equation("eq-map")
@pytest.mark.parametrize("misclick", [0.1, 0.5, 0.8])
def test_with_a_prior_few_comparisons_and_many_misclicks_have_a_maximum_and_it_is_found(misclick):
    rng = np.random.default_rng(9)
    sizes = [(int(n), int(d)) for n, d in zip(rng.integers(2, 12, size=25), rng.integers(1, 4, size=25), strict=True)]
    for (count, size), scale in itertools.product(sizes, (0.3, 3.0)):
        difference, label = scale * rng.normal(size=(count, size)), rng.integers(2, size=count).astype(float)
        found = linear_fits.fit_linear(difference, label, 0.02, misclick).mean
        target = partial(log_posterior, difference=difference, label=label, precision=0.02, misclick=misclick)
        assert grad(target)(found) == pytest.approx(np.zeros(size), abs=1e-7)
        assert np.linalg.eigvalsh(hessian(target)(found)).max() < 0


def test_steps_follow_the_curvature_of_the_posterior_with_the_sizes_of_its_eigenvalues():
    difference, theta, label = design(4, 6, 2)
    bent = 0
    for scale in (-3.0, -2.0, -1.0, 0.0, 1.0):  # from far on the wrong side to where the labels come from
        here, prior, margin = scale * theta, 0.1 * np.eye(2), difference @ (scale * theta)
        target = partial(log_posterior, difference=difference, label=label, precision=0.1, misclick=0.4)
        exact = -hessian(target)(here)
        chances = linear_fits._chances(margin, 0.4)
        found = linear_fits._curvature(difference, label, margin, chances, prior)
        assert found @ found == pytest.approx(exact @ exact, rel=1e-9)  # the same axes, and the same sizes
        assert np.linalg.eigvalsh(found).min() > 0
        bends_down = np.linalg.eigvalsh(exact).min() > 0
        assert not bends_down or found == pytest.approx(exact, rel=1e-10)
        bent += not bends_down
    assert 0 < bent < 5


@pytest.mark.equation("eq-fisher")
@pytest.mark.parametrize("misclick", [0.0, 0.3])
def test_fisher_information_is_the_variance_of_the_score(misclick):
    difference, theta, _ = design(1, 6, 2)
    margin = difference @ theta
    p = annotators.with_misclicks(annotators.bradley_terry(margin), misclick)
    total = 0.0
    for d, m, chance in zip(difference, margin, p, strict=True):
        slope = (1 - misclick) * expit(m) * expit(-m)
        scores = {1.0: slope / chance, 0.0: -slope / (1 - chance)}
        total = total + (chance * scores[1.0] ** 2 + (1 - chance) * scores[0.0] ** 2) * np.outer(d, d)
    assert linear_fits.fisher(difference, margin, misclick) == pytest.approx(total, rel=1e-10)


def test_many_data_sets_are_fitted_as_if_each_were_alone():
    difference, _, label = design(2, 100, 3, runs=(4,))
    together = linear_fits.fit_linear(difference, label, 0.5)
    assert together.covariance.shape == (4, 3, 3)
    for k in range(4):
        alone = linear_fits.fit_linear(difference[k], label[k], 0.5)
        assert together.mean[k] == pytest.approx(alone.mean, abs=1e-9)
        assert together.covariance[k] == pytest.approx(alone.covariance, rel=1e-8)
    steep = 10 * np.random.default_rng(1166).normal(size=(2, 6, 2))  # one of the two needs shorter steps, one does not
    found = linear_fits.fit_linear(steep, label[:2, :6], 0.1).mean
    for k in range(2):
        assert found[k] == pytest.approx(linear_fits.fit_linear(steep[k], label[k, :6], 0.1).mean, abs=1e-9)
    shared = linear_fits.fit_linear(difference[0], label, 0.5)
    assert shared.mean[0] == pytest.approx(together.mean[0], abs=1e-9)
    assert shared.mean.shape == (4, 3)


FAR_FROM_ALIKE = {
    "one long, many short": ([[1.0]] * 100 + [[-1000.0]], [1] * 101, 1e-4),
    "long and certain": ([[100.0], [100.0], [-3.0]], [1, 1, 1], 1e-3),
    "plain Newton steps overshoot": ([[0.1, 0.1], [-1.1, -7.3], [3.0, -4.4]], [1, 0, 1], 1e-4),
}


@pytest.mark.equation("eq-map")
@pytest.mark.parametrize(("difference", "label", "precision"), FAR_FROM_ALIKE.values(), ids=FAR_FROM_ALIKE)
def test_features_of_very_different_size_do_not_disturb_the_fit(difference, label, precision):
    difference, label = np.array(difference), np.array(label, dtype=float)
    found = linear_fits.fit_linear(difference, label, precision).mean
    target = partial(log_posterior, difference=difference, label=label, precision=precision, misclick=0.0)
    assert grad(target)(found) == pytest.approx(np.zeros(difference.shape[1]), abs=1e-6)
    together = linear_fits.fit_linear(np.stack([difference, 0.1 * difference]), label, precision).mean
    assert together[0] == pytest.approx(found, rel=1e-8)


@pytest.mark.equation("eq-map")
def test_what_is_certain_beyond_rounding_does_not_disturb_the_fit():
    found = linear_fits.fit_linear([[2000.0], [1.0]], [1, 1], precision=1.0).mean  # the first has nothing more to say
    assert annotators.bradley_terry(-found) == pytest.approx(found, rel=1e-9)


@pytest.mark.equation("eq-map")
def test_items_are_ranked_as_choix_ranks_them():
    """A linear model with one feature for each item is the model of choix, and the prior is its penalty."""
    rng = np.random.default_rng(3)
    first = rng.integers(8, size=300)
    second = (first + rng.integers(1, 8, size=300)) % 8
    truth = rng.normal(size=8)
    label = annotators.sample_labels(annotators.bradley_terry(truth[first] - truth[second]), rng)
    pairs = [(a, b) if won else (b, a) for a, b, won in zip(first.tolist(), second.tolist(), label, strict=True)]
    found = linear_fits.fit_linear(np.eye(8)[first] - np.eye(8)[second], label, 0.4).mean
    assert found == pytest.approx(choix.opt_pairwise(8, pairs, alpha=0.2, tol=1e-12), abs=1e-6)


TRUTH = np.array([1.0, -0.5, 0.3])


def fits(runs, n, rng):
    difference = rng.normal(size=(runs, n, 3))
    label = annotators.sample_labels(annotators.bradley_terry(difference @ TRUTH), rng)
    return linear_fits.fit_linear(difference, label, 0.0)


@pytest.mark.equation("eq-fisher")
def test_the_error_falls_as_n_to_the_minus_one_half():
    rng, sizes = np.random.default_rng(5), np.array([125, 250, 500, 1000, 2000])
    errors = [np.sqrt(((fits(100, n, rng).mean - TRUTH) ** 2).sum(-1).mean()) for n in sizes]
    assert np.polyfit(np.log(sizes), np.log(errors), 1)[0] == pytest.approx(-0.5, abs=0.1)


@pytest.mark.equation("eq-fisher", "eq-laplace")
def test_the_estimates_scatter_as_fisher_says_and_each_posterior_knows_it():
    rng, theta = np.random.default_rng(5), TRUTH
    fit = fits(500, 400, rng)
    pool = rng.normal(size=(100_000, 3))
    predicted = np.linalg.inv(linear_fits.fisher(pool, pool @ theta) / len(pool)) / 400
    found = np.cov(fit.mean.T)
    error = np.sqrt((np.outer(predicted.diagonal(), predicted.diagonal()) + predicted**2) / 499)
    assert (np.abs(found - predicted) < 4 * error).all()
    z = (fit.mean - theta) / np.sqrt(np.diagonal(fit.covariance, axis1=-2, axis2=-1))
    assert np.mean(np.abs(z) < 1.959964) == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / z.size))


@pytest.mark.equation("eq-misclick-loss")
def test_with_misclicks_the_plain_fit_shrinks_and_the_other_does_not():
    rng = np.random.default_rng(6)
    difference, theta = rng.normal(size=(100, 1000, 2)), np.array([1.5, -1.0])
    p = annotators.with_misclicks(annotators.bradley_terry(difference @ theta), 0.2)
    label = annotators.sample_labels(p, rng)
    plain, robust = (linear_fits.fit_linear(difference, label, 0.0, misclick=rate).mean for rate in (0.0, 0.2))
    error = robust.std(0, ddof=1) / 10
    assert (np.abs(robust.mean(0) - theta) < 4 * error).all()
    assert (np.abs(plain.mean(0)) < 0.8 * np.abs(theta)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0], [2.0]], [1, 1], 0.0), "no finite maximum was found: some direction of the features separates"),
        (([[1.0, 1.0], [2.0, 2.0], [-1.0, -1.0]], [1, 0, 1], 0.0), "or none of them measures it; give a prior"),
        (([[1.0]], [1], -0.1), r"precision is lambda of the prior N\(0, I / lambda\), finite and at least 0; got -0.1"),
        (([[1.0]], [1], np.inf), "precision is lambda"),
        (([[1.0]], [1], 1.0, 1.1), r"misclick must lie in \[0, 1\]; got 1.1"),
        (([[1.0]], [0.3], 1.0), "label must be 1 .* got 0.3"),
        (([[1.0]], [], 1.0), "label is empty"),
        (([[1.0]], [1, 0], 1.0), r"one row for each comparison; got \(1, 1\) and \(2,\)"),
        (([1.0], [1], 1.0), r"got \(1,\) and \(1,\)"),
        (([[np.nan]], [1], 1.0), "^difference holds NaN or infinity; check the features$"),
    ],
)
def test_what_has_no_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        linear_fits.fit_linear(*arguments)


@pytest.mark.equation("eq-smoothing")
def test_smoothing_moves_labels_by_a_share():
    assert linear_fits.smoothed(np.array([1.0, 0.0]), np.array([0.6, 0.6]), 0.25) == pytest.approx([0.9, 0.15])


@pytest.mark.equation("eq-smoothing")
def test_iterated_data_smoothing_by_hand():
    found = linear_fits.iterated_data_smoothing([[2.0], [1.0]], [1, 0], step_size=0.4, rate=0.5, rounds=2)
    first = 0.4 / 2 * ((1 - 0.5) * 2 + (0 - 0.5) * 1)
    labels = np.array([0.75, 0.25])
    p = expit(np.array([2.0, 1.0]) * first)
    second = first + 0.4 / 2 * ((labels - p) @ [2.0, 1.0])
    assert found.weights[:, 0] == pytest.approx([0, first, second], rel=1e-14)
    assert found.label == pytest.approx((labels + p) / 2, rel=1e-14)


@pytest.mark.equation("eq-smoothing-limit")
@pytest.mark.parametrize("rate", [0.01, 0.1])
def test_smoothing_is_a_prior(rate):
    difference, _, label = design(7, 30, 3, runs=(2,))
    label[:, :5] = 0.5
    found = linear_fits.iterated_data_smoothing(difference, label, step_size=0.5, rate=rate, rounds=4000)
    prior = linear_fits.fit_linear(difference, label, precision=rate * 30 / 0.5)
    assert found.weights[-1] == pytest.approx(prior.mean, abs=1e-10)
    margin = np.matmul(difference, found.weights[-1][..., None])[..., 0]
    assert found.label == pytest.approx(expit(margin), abs=1e-10)


@pytest.mark.equation("eq-smoothing-limit")
def test_smoothing_sees_shares_not_numbers_so_that_no_amount_of_data_overcomes_it():
    difference, _, label = design(7, 30, 3)
    settings = {"step_size": 0.5, "rate": 0.1, "rounds": 50}
    once = linear_fits.iterated_data_smoothing(difference, label, **settings)
    often = linear_fits.iterated_data_smoothing(np.tile(difference, (20, 1)), np.tile(label, 20), **settings)
    assert often.weights == pytest.approx(once.weights, abs=1e-12)
    truth = np.array([1.0, -1.0, 0.5])
    rng = np.random.default_rng(0)
    difference = rng.normal(size=(20_000, 3))
    label = annotators.sample_labels(annotators.bradley_terry(difference @ truth), rng)
    far = linear_fits.iterated_data_smoothing(difference, label, step_size=0.5, rate=0.1, rounds=300).weights[-1]
    assert np.linalg.norm(far) < 0.6 * np.linalg.norm(linear_fits.fit_linear(difference, label, 0.0).mean)


@pytest.mark.equation("eq-smoothing-limit")
@pytest.mark.parametrize("count", [1, 40, 100])
def test_the_margin_of_a_pair_that_always_wins_depends_on_its_share_and_stays_finite(count):
    """The key of exercise ex-rare-pair: u = 2 alpha k / (s N) sigmoid(-u)."""
    difference = np.array([[1.0, -1.0, 0.0]] * count + [[0.0, 0.0, 1.0]] * (100 - count))
    settings = {"step_size": 0.5, "rate": 0.02, "rounds": 10_000}
    theta = linear_fits.iterated_data_smoothing(difference, np.ones(100), **settings).weights[-1]
    u = theta[0] - theta[1]
    assert u == pytest.approx(2 * 0.5 * count / (0.02 * 100) * expit(-u), rel=1e-8)
    assert theta[0] == pytest.approx(u / 2)


@pytest.mark.equation("eq-smoothing-limit")
def test_what_smoothing_conserves():
    difference, _, label = design(8, 20, 2)
    for rounds in (1, 7, 100):
        found = linear_fits.iterated_data_smoothing(difference, label, step_size=0.3, rate=0.2, rounds=rounds)
        kept = found.weights[-1] + 0.3 / (0.2 * 20) * found.label @ difference
        assert kept == pytest.approx(0.3 / (0.2 * 20) * label @ difference, rel=1e-12)


def test_many_data_sets_are_smoothed_as_if_each_were_alone():
    difference, _, label = design(11, 8, 2, runs=(3,))
    settings = {"step_size": 0.4, "rate": 0.3, "rounds": 5}
    together = linear_fits.iterated_data_smoothing(difference, label, **settings)
    shared = linear_fits.iterated_data_smoothing(difference[0], label, **settings)
    assert together.weights.shape == shared.weights.shape == (6, 3, 2)
    for k in range(3):
        alone = linear_fits.iterated_data_smoothing(difference[k], label[k], **settings)
        assert together.weights[:, k] == pytest.approx(alone.weights, abs=1e-14)
        assert together.label[k] == pytest.approx(alone.label, abs=1e-14)
    assert shared.weights[:, 0] == pytest.approx(together.weights[:, 0], abs=1e-14)


@pytest.mark.equation("eq-smoothing")
@pytest.mark.parametrize("lead", [(), (2,)])
def test_comparisons_that_are_made_again_move_as_if_each_were_alone(lead):
    rng = np.random.default_rng(12)
    difference, label = (
        rng.normal(size=(*lead, 4, 2))[..., [0, 1, 0, 2, 3, 3, 0], :],
        rng.integers(2, size=(3, *lead, 7)),
    )
    found = linear_fits.iterated_data_smoothing(difference, label, step_size=0.7, rate=0.1, rounds=6)
    theta, labels = np.zeros((3, *lead, 2)), label.astype(float)
    for step in range(6):
        p = expit((difference * theta[..., None, :]).sum(-1))
        theta = theta + 0.7 / 7 * (difference * (labels - p)[..., None]).sum(-2)
        labels = 0.9 * labels + 0.1 * p
        assert found.weights[step + 1] == pytest.approx(theta, abs=1e-14)
    assert found.label == pytest.approx(labels, abs=1e-14)


def test_without_smoothing_it_is_gradient_descent_and_a_rare_pair_runs_away():
    found = linear_fits.iterated_data_smoothing([[1.0]], [1], step_size=1.0, rate=0.0, rounds=1000)
    assert found.label.tolist() == [1]
    assert (np.diff(found.weights[:, 0]) > 0).all()
    assert found.weights[-1, 0] > 6
    smooth = linear_fits.iterated_data_smoothing([[1.0]], [1], step_size=1.0, rate=0.1, rounds=1000)
    assert smooth.weights[-1, 0] < 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step_size": 0.0, "rate": 0.1}, "step_size must be finite and above 0"),
        ({"step_size": 1.0, "rate": 1.1}, r"rate must lie in \[0, 1\]; got 1.1"),
    ],
)
def test_smoothing_refuses_impossible_settings(options, message):
    with pytest.raises(ValueError, match=message):
        linear_fits.iterated_data_smoothing([[1.0]], [1], rounds=1, **options)
    with pytest.raises(ValueError, match="label is empty"):
        linear_fits.iterated_data_smoothing([[1.0]], [], step_size=1.0, rate=0.1, rounds=1)
