"""From a mixed crowd one learns the Borda count, and a model of mixtures sees the mixture."""

import numpy as np
import pytest
from autograd import grad
from autograd.test_util import check_grads
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from rlhf_lab.feedback import annotators, hidden_context
from rlhf_lab.feedback.likelihoods import bradley_terry_loss
from rlhf_lab.numerics import optim


def random_matrix(rng, size):
    upper = np.triu(rng.uniform(0.02, 0.98, size=(size, size)), 1)
    return upper + np.tril(1 - upper.T, -1) + np.eye(size) / 2


@pytest.mark.equation("eq-borda")
def test_borda_by_hand():
    matrix = np.array([[0.5, 0.9, 0.3], [0.1, 0.5, 1.0], [0.7, 0.0, 0.5]])
    assert hidden_context.borda(matrix) == pytest.approx([1.7 / 3, 1.6 / 3, 1.2 / 3])
    assert hidden_context.borda(np.stack([matrix, matrix.T]))[1] == pytest.approx([1.3 / 3, 1.4 / 3, 1.8 / 3])


@pytest.mark.equation("eq-utility-borda", "eq-borda")
@given(seed=st.integers(0, 10_000), size=st.integers(2, 12))
@settings(max_examples=150)
def test_the_ordinary_model_orders_by_borda_count_on_every_random_instance(seed, size):
    matrix = random_matrix(np.random.default_rng(seed), size)
    utility, counts = hidden_context.fit_utility(matrix), hidden_context.borda(matrix)
    assert (np.argsort(utility) == np.argsort(counts)).all()
    reproduced = hidden_context.borda(annotators.bradley_terry(utility[:, None] - utility))
    assert reproduced == pytest.approx(counts, abs=1e-10)
    assert utility.mean() == pytest.approx(0, abs=1e-10)


@pytest.mark.equation("eq-utility-borda")
def test_the_fitted_utilities_minimise_the_cross_entropy_however_often_each_pair_is_compared():
    rng = np.random.default_rng(1)
    matrix, drawn = random_matrix(rng, 6), rng.random((6, 6))
    chain = np.eye(6, k=1) + np.eye(6, k=-1)  # neighbours only
    for often in (None, drawn + drawn.T, chain):

        def loss(utility, often=often):
            each = bradley_terry_loss(utility[:, None] - utility[None, :], matrix)
            return (each if often is None else often * each).sum()

        found = hidden_context.fit_utility(matrix, often)
        assert grad(loss)(found) == pytest.approx(np.zeros(6), abs=1e-9)
        assert found.mean() == pytest.approx(0, abs=1e-10)
    assert np.diff(found) == pytest.approx(-np.log(matrix / (1 - matrix))[range(5), range(1, 6)])  # along the chain
    for unit in (1e-14, 1e14):  # only ratios of frequencies matter
        assert hidden_context.fit_utility(matrix, unit * chain) == pytest.approx(found, abs=1e-9)


@pytest.mark.equation("eq-utility-borda", "eq-noise", "eq-population")
def test_noisy_people_tell_how_much_sure_people_how_many_and_the_questions_matter():
    """Three quarters prefer a to b by 1 and one quarter b to a by 5: by head count a, by mean utility b."""
    utilities, shares = np.array([[1.0, 0.0, -2.0], [-5.0, 0.0, -2.0]]), np.array([0.75, 0.25])
    margins, mean = utilities[:, :, None] - utilities[:, None, :], shares @ utilities
    mean = mean - mean.mean()
    drawn = np.random.default_rng(0).random((3, 3)) + 0.1
    crowd = lambda noise: annotators.of_population(annotators.with_noise(margins, noise), shares)  # noqa: E731
    errors = []
    for noise in (1e1, 1e2, 1e3):
        for often in (None, drawn + drawn.T):
            found = noise * hidden_context.fit_utility(crowd(noise), often)
            errors.append(np.abs(found - mean).max())
    assert (np.array(errors[2:]) < 0.15 * np.array(errors[:-2])).all()  # the rest falls as 1 / noise or faster
    sure = hidden_context.fit_utility(crowd(0.2))
    assert sure[0] > sure[1]
    assert mean[0] < mean[1]
    often = np.ones((3, 3))
    often[2] = often[:, 2] = 50
    other = hidden_context.fit_utility(crowd(0.2), often)  # who wins against the worst
    assert other[0] < other[1]


def test_a_crowd_that_has_utilities_gets_them_back():
    truth = np.array([3.0, -8.0, 1.0, 4.0])
    matrix = annotators.bradley_terry(truth[:, None] - truth)
    assert hidden_context.fit_utility(matrix) == pytest.approx(truth - truth.mean(), abs=1e-6)


@pytest.mark.equation("eq-borda")
def test_borda_and_mean_utility_can_disagree():
    """Two thirds slightly prefer a, one third minds it a lot: a wins the comparisons, b the mean."""
    utilities = np.array([[0.5, 0.0], [0.5, 0.0], [-5.0, 0.0]])
    margins = utilities[:, :, None] - utilities[:, None, :]
    matrix = annotators.of_population(annotators.bradley_terry(4 * margins), np.full(3, 1 / 3))
    a, b = hidden_context.fit_utility(matrix)
    assert a > b
    assert utilities.mean(0)[0] < utilities.mean(0)[1]


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (
            [[0.5, 1.0], [0.0, 0.5]],
            "^no finite utilities fit: some answers always win or always lose against the others$",
        ),
        ([[0.5, 0.6], [0.6, 0.5]], r"matrix must be \(A, A\) with P\[a, b\] \+ P\[b, a\] = 1 and 1/2 on the diagonal"),
        ([[0.5]], r"this one, of shape \(1, 1\), is not"),
        ([[0.5, 1.2], [-0.2, 0.5]], r"matrix must lie in \[0, 1\]; got 1.2"),
    ],
)
def test_what_is_no_matrix_of_preferences_is_refused(matrix, message):
    with pytest.raises(ValueError, match=message):
        hidden_context.fit_utility(matrix)


@pytest.mark.parametrize(
    ("frequency", "message"),
    [
        (np.ones((2, 2)), r"^frequency must be symmetric, at least 0 and of shape \(3, 3\); got shape \(2, 2\)$"),
        (np.triu(np.ones((3, 3))), "^frequency must be symmetric"),
        (-np.ones((3, 3)), "at least 0"),
        (np.diag([1.0, 0.0], k=1) + np.diag([1.0, 0.0], k=-1), "^no chain of comparisons connects all answers: each"),
    ],
)
def test_frequencies_that_no_comparisons_have_are_refused(frequency, message):
    with pytest.raises(ValueError, match=message):
        hidden_context.fit_utility(np.full((3, 3), 0.5), frequency)


@pytest.mark.equation("eq-dpl-normal")
def test_normal_utilities_choose_as_draws_of_them_do():
    mean, std = np.array([0.0, 1.0, -0.5]), np.array([0.5, 2.0, 1.0])
    found = np.exp(hidden_context.normal_choice(mean, np.log(std)))
    by_hand = [
        [norm.cdf((a - b) / np.hypot(s, t)) for b, t in zip(mean, std, strict=True)]
        for a, s in zip(mean, std, strict=True)
    ]
    assert found == pytest.approx(np.array(by_hand), rel=1e-12)
    u = np.random.default_rng(0).normal(mean, std, size=(2, 200_000, 3))
    drawn = (u[0][:, :, None] > u[1][:, None, :]).mean(0)
    assert np.abs(drawn - found).max() < 4 * 0.5 / 200_000**0.5
    assert hidden_context.normal_choice(7 * mean, np.log(7 * std)) == pytest.approx(np.log(found), abs=1e-10)


@pytest.mark.equation("eq-dpl-categorical")
def test_categorical_utilities_choose_as_their_atoms_do():
    q = np.random.default_rng(0).dirichlet(np.ones(4), size=3)
    found = np.exp(hidden_context.categorical_choice(np.log(q)))
    by_hand = [
        [sum(p * r * ((i > j) + 0.5 * (i == j)) for i, p in enumerate(a) for j, r in enumerate(b)) for b in q]
        for a in q
    ]
    assert found == pytest.approx(np.array(by_hand), rel=1e-12)
    assert found + found.T == pytest.approx(np.ones((3, 3)))
    assert hidden_context.categorical_choice(np.log(q) + 5) == pytest.approx(np.log(found), abs=1e-12)
    crowds = hidden_context.categorical_choice(np.log(np.stack([q[::-1], q])))
    assert crowds[1] == pytest.approx(np.log(found), abs=1e-12)
    assert crowds.shape == (2, 3, 3)


@pytest.mark.equation("eq-dpl-normal", "eq-dpl-categorical")
def test_the_losses_of_both_models_have_the_right_gradients_and_minima():
    rng = np.random.default_rng(2)
    matrix = random_matrix(rng, 4)
    normal = lambda p: hidden_context.choice_loss(hidden_context.normal_choice(p[0], p[1]), matrix)  # noqa: E731
    atoms = lambda z: hidden_context.choice_loss(hidden_context.categorical_choice(z), matrix)  # noqa: E731
    check_grads(normal, modes=["rev"], order=1)(rng.normal(size=(2, 4)))
    check_grads(atoms, modes=["rev"], order=1)(rng.normal(size=(4, 5)))
    mean, log_std = rng.normal(size=(2, 4))
    own = np.exp(hidden_context.normal_choice(mean, log_std))
    slope = grad(lambda m: hidden_context.choice_loss(hidden_context.normal_choice(m, log_std), own))(mean)
    assert slope == pytest.approx(np.zeros(4), abs=1e-12)
    log_p = np.log(matrix)
    by_hand = -(matrix * log_p + (1 - matrix) * log_p.T).mean()
    assert hidden_context.choice_loss(log_p, matrix) == pytest.approx(by_hand)
    assert hidden_context.choice_loss(np.stack([log_p, log_p]), matrix) == pytest.approx([by_hand] * 2)


@pytest.mark.equation("eq-explained")
def test_explained_variance_by_hand():
    assert hidden_context.explained(np.array([1.0, 3.0]), np.array([0.5, 1.5])) == pytest.approx(1 / 2)
    both = hidden_context.explained(np.array([[1.0, 3.0], [2.0, 2.0]]), np.array([[0.0, 0.0], [1.0, 1.0]]))
    assert both.tolist() == [1, 0]


def test_moments_of_atoms_between_0_and_1():
    mean, variance = hidden_context.moments(np.log(np.array([[0.5, 0.0001, 0.5], [0.2, 0.3, 0.5]])))
    q = np.array([[0.5, 0.0001, 0.5], [0.2, 0.3, 0.5]])
    q /= q.sum(1, keepdims=True)
    assert mean == pytest.approx(q @ [0, 0.5, 1])
    assert variance == pytest.approx(q @ [0, 0.25, 1] - (q @ [0, 0.5, 1]) ** 2)
    several = hidden_context.moments(np.log(np.stack([q, q])))
    assert several[0][1] == pytest.approx(mean)
    assert several[1][0] == pytest.approx(variance)


@pytest.mark.equation("eq-dpl-categorical", "eq-dpl-normal", "eq-explained")
def test_distributional_models_find_the_answers_on_which_people_differ():
    a = np.linspace(0, 1, 11)
    contested = a >= 0.8
    utilities = np.array([np.where(contested, 0, a), np.where(contested, 2 * a, a)])
    margins = utilities[:, :, None] - utilities[:, None, :]
    matrix = annotators.of_population(annotators.bradley_terry(margins / 0.1), np.full(2, 0.5))
    normal = lambda p, m: hidden_context.choice_loss(  # noqa: E731
        hidden_context.normal_choice(p["mean"], p["log_std"]), m
    )
    atoms = lambda p, m: hidden_context.choice_loss(hidden_context.categorical_choice(p["logits"]), m)  # noqa: E731
    starts = {"mean": np.zeros(11), "log_std": np.zeros(11)}, {"logits": np.random.default_rng(3).normal(size=(11, 10))}
    options = {"rounds": 150, "optimizer": optim.adam(0.2), "rng": np.random.default_rng(0)}
    (first, _), (second, _) = (
        optim.fit(loss, start, lambda p, rng: [matrix], **options)
        for loss, start in zip((normal, atoms), starts, strict=True)
    )
    mean, variance = hidden_context.moments(second["logits"])
    for spread in (np.exp(2 * first["log_std"]), variance):
        assert spread[contested].min() > 2 * spread[~contested].max()
    alike = annotators.bradley_terry((a[:, None] - a) / 0.1)
    agreed, _ = optim.fit(atoms, starts[1], lambda p, rng: [alike], **options)
    assert hidden_context.explained(*hidden_context.moments(agreed["logits"])) > 0.8
    assert hidden_context.explained(mean, variance) < 0.8
