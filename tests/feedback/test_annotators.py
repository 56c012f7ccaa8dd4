"""Annotators answer as their models say, and agree as often as they should."""

import itertools

import numpy as np
import pytest

from rlhf_lab.feedback import annotators

MARGIN = np.array([-2.0, -0.3, 0.0, 1.0, 4.0])


def within(found, expected, error):
    """`found` lies within four standard errors of `expected`, everywhere."""
    return (np.abs(found - expected) <= 4 * error + 1e-12).all()


@pytest.mark.equation("eq-bradley-terry")
def test_bradley_terry_is_the_share_of_exponentials_and_its_log_odds_are_the_margin():
    p = annotators.bradley_terry(MARGIN)
    assert p == pytest.approx(np.exp(MARGIN) / (np.exp(MARGIN) + 1), rel=1e-14)
    assert np.log(p / (1 - p)) == pytest.approx(MARGIN, abs=1e-12)
    assert annotators.bradley_terry(np.array([-1e4, 1e4])).tolist() == [0, 1]


@pytest.mark.equation("eq-noise")
def test_people_with_noise_choose_as_if_the_reward_were_smaller():
    reward, n, rng = np.array([0.4, -0.6]), 40_000, np.random.default_rng(0)
    for noise in (0.5, 3.0):
        perceived = reward + noise * rng.gumbel(size=(n, 2))
        p = annotators.with_noise(reward[0] - reward[1], noise)
        assert p == pytest.approx(annotators.bradley_terry(1 / noise), rel=1e-14)
        assert within((perceived[:, 0] > perceived[:, 1]).mean(), p, np.sqrt(p * (1 - p) / n))


@pytest.mark.equation("eq-misclick")
def test_misclicks_mix_with_a_fair_coin():
    p = annotators.bradley_terry(MARGIN)
    assert annotators.with_misclicks(p, 0.1) == pytest.approx(0.9 * p + 0.1 * 0.5, rel=1e-14)
    assert annotators.with_misclicks(p, 0.0) == pytest.approx(p)
    assert annotators.with_misclicks(p, 1.0) == pytest.approx([0.5] * 5)


@pytest.mark.equation("eq-ties")
def test_ties_have_davidsons_odds():
    loss, tie, win = annotators.with_ties(MARGIN, 0.7).T
    assert loss + tie + win == pytest.approx(np.ones(5), rel=1e-14)
    assert win / loss == pytest.approx(np.exp(MARGIN), rel=1e-12)
    assert tie / np.sqrt(win * loss) == pytest.approx([0.7] * 5, rel=1e-12)
    assert annotators.with_ties(np.array([0.0]), 2.0) == pytest.approx(np.array([[0.25, 0.5, 0.25]]))
    assert annotators.with_ties(np.array([-1e4, 1e4]), 1.0).tolist() == [[1, 0, 0], [0, 0, 1]]
    grid = np.stack([MARGIN, MARGIN[::-1]])
    assert annotators.with_ties(grid, 0.7)[1, 0].tolist() == annotators.with_ties(MARGIN, 0.7)[-1].tolist()
    assert annotators.with_ties(MARGIN, 0.0)[:, 2] == pytest.approx(annotators.bradley_terry(MARGIN))


@pytest.mark.equation("eq-population")
def test_a_population_is_the_weighted_mean_of_its_kinds():
    p = np.array([[[0.1, 0.9]], [[0.5, 0.5]], [[1.0, 0.0]]])
    assert annotators.of_population(p, [0.5, 0.3, 0.2]) == pytest.approx(np.array([[0.4, 0.6]]))


def test_a_matrix_is_looked_up_and_need_not_be_transitive():
    circle = np.array([[0.5, 0.9, 0.1], [0.1, 0.5, 0.9], [0.9, 0.1, 0.5]])
    found = annotators.of_matrix(circle, np.array([0, 1, 2, 0]), np.array([1, 2, 0, 0]))
    assert found.tolist() == [0.9, 0.9, 0.9, 0.5]


@pytest.mark.equation("eq-circle")
def test_in_a_circle_each_answer_beats_the_next_and_the_last_the_first():
    found = annotators.circle([0.9, 0.6, 0.7])
    assert found == pytest.approx(np.array([[0.5, 0.9, 0.3], [0.1, 0.5, 0.6], [0.7, 0.4, 0.5]]))
    four = annotators.circle([0.9, 0.8, 0.7, 0.6])
    assert four[[0, 1, 2, 3], [1, 2, 3, 0]].tolist() == [0.9, 0.8, 0.7, 0.6]
    assert four[[0, 1], [2, 3]].tolist() == [0.5, 0.5]
    assert four + four.T == pytest.approx(np.ones((4, 4)))


def test_three_kinds_of_consistent_people_make_a_circle():
    """Kinds that order the answers abc, bca and cab: a share of two of them prefers each answer to the next."""
    orders = 50 * np.array([[2.0, 1, 0], [0, 2, 1], [1, 0, 2]])
    p = annotators.bradley_terry(orders[:, :, None] - orders[:, None, :])
    found = annotators.of_population(p, [0.5, 0.2, 0.3])
    assert found == pytest.approx(annotators.circle([0.8, 0.7, 0.5]), abs=1e-12)


def test_labels_come_as_often_as_they_should():
    n = 40_000
    p = np.tile([[0.0, 0.2, 0.7, 1.0]], (n, 1))
    label = annotators.sample_labels(p, np.random.default_rng(0))
    assert set(np.unique(label)) == {0.0, 1.0}
    assert within(label.mean(0), p[0], np.sqrt(p[0] * (1 - p[0]) / n))


def test_ternary_labels_come_as_often_as_they_should():
    n, p = 40_000, np.array([[0.2, 0.3, 0.5], [0.0, 1.0, 0.0], [0.6, 0.0, 0.4]])
    label = annotators.sample_labels_with_ties(np.tile(p, (n, 1, 1)), np.random.default_rng(0))
    share = np.stack([(label == value).mean(0) for value in (0, 0.5, 1)], axis=-1)
    assert within(share, p, np.sqrt(p * (1 - p) / n))


@pytest.mark.equation("eq-rating")
def test_ratings_scatter_around_the_reward():
    reward = np.tile([[-1.0, 0.0, 2.5]], (20_000, 1))
    z = annotators.sample_ratings(reward, 0.8, np.random.default_rng(0))
    assert within(z.mean(0), reward[0], 0.8 / 20_000**0.5)
    assert within(z.std(0), 0.8, 0.8 / 40_000**0.5)
    assert (annotators.sample_ratings(reward, 0.0, np.random.default_rng(0)) == reward).all()
    noise = np.random.default_rng(0).normal(size=reward.shape)
    assert np.abs(z - (reward + 0.8 * noise)).max() < 1e-12


@pytest.mark.equation("eq-likert")
def test_grades_count_the_thresholds_below():
    rating = np.array([-3.0, -1.0, -0.999, 0.0, 0.5, 7.0])
    by_hand = [1 + sum(c < z for c in (-1, 0, 1)) for z in rating]
    assert annotators.likert(rating, [-1, 0, 1]).tolist() == by_hand == [1, 1, 2, 2, 3, 4]
    assert annotators.likert(rating, [0.0]).tolist() == [1, 1, 1, 1, 2, 2]


@pytest.mark.equation("eq-plackett-luce")
def test_rankings_come_as_often_as_plackett_and_luce_say():
    reward, n = np.array([0.5, -1.0, 1.2]), 40_000
    order = annotators.sample_rankings(np.tile(reward, (n, 1)), np.random.default_rng(0))
    for ranking in itertools.permutations(range(3)):
        weight = np.exp(reward[list(ranking)])
        p = np.prod([weight[k] / weight[k:].sum() for k in range(3)])
        assert within((order == ranking).all(1).mean(), p, np.sqrt(p * (1 - p) / n))
    sure = annotators.sample_rankings(1e6 * np.array([[[1, 2, 3], [3, 1, 2]]]), np.random.default_rng(0))
    assert sure.tolist() == [[[2, 1, 0], [0, 2, 1]]]


def test_answers_are_put_into_the_order_of_their_ranking():
    answers = np.arange(24).reshape(2, 3, 4)
    found = annotators.in_rank_order(answers, [[2, 0, 1], [0, 1, 2]])
    assert found[0].tolist() == [answers[0, 2].tolist(), answers[0, 0].tolist(), answers[0, 1].tolist()]
    assert found[1].tolist() == answers[1].tolist()
    reward = np.random.default_rng(0).normal(size=(7, 2, 5, 1))
    order = annotators.sample_rankings(1e6 * reward[..., 0], np.random.default_rng(0))
    assert (np.diff(annotators.in_rank_order(reward, order)[..., 0]) < 0).all()
    assert annotators.in_rank_order([[7], [8]], [1, 0]).tolist() == [[8], [7]]


@pytest.mark.equation("eq-agreement")
def test_agreement_counts_equal_labels():
    labels = np.array([[0, 1, 1, 0], [0, 1, 0, 0], [1, 0, 0, 1]])
    by_hand = [[np.mean(a == b) for b in labels] for a in labels]
    assert annotators.agreement(labels) == pytest.approx(np.array(by_hand), rel=1e-14)


@pytest.mark.equation("eq-agreement")
def test_agreement_of_probabilities_is_what_labels_agree_on_in_the_mean():
    p = np.random.default_rng(0).random((3, 50))
    expected = annotators.agreement(p)
    draw = lambda *seed: annotators.sample_labels(p, np.random.default_rng(seed))  # noqa: E731
    again = np.array([[draw(k, run) for run in range(2)] for k in range(400)])
    pairs = np.array([annotators.agreement(np.concatenate([one, two]))[:3, 3:] for one, two in again])
    assert within(pairs.mean(0), expected, pairs.std(0, ddof=1) / 400**0.5)
    assert expected[0, 1] == pytest.approx(np.mean(p[0] * p[1] + (1 - p[0]) * (1 - p[1])))


@pytest.mark.equation("eq-kappa")
def test_kappa_by_hand():
    """The example that textbooks print: 20 and 15 agreements, 5 and 10 disagreements."""
    a = np.repeat([1, 1, 0, 0], [20, 5, 10, 15])
    b = np.repeat([1, 0, 1, 0], [20, 5, 10, 15])
    kappa = annotators.cohen_kappa(np.array([a, b]))
    assert kappa[0, 1] == kappa[1, 0] == pytest.approx((0.7 - 0.5) / (1 - 0.5))
    assert kappa.diagonal() == pytest.approx([1, 1])


@pytest.mark.equation("eq-kappa")
def test_kappa_is_zero_for_those_who_ignore_the_answers_and_minus_one_for_opposites():
    assert annotators.cohen_kappa(np.array([[0, 0, 1, 1], [0, 1, 0, 1]]))[0, 1] == pytest.approx(0, abs=1e-14)
    assert annotators.cohen_kappa(np.array([[0, 1], [1, 0]]))[0, 1] == pytest.approx(-1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: annotators.with_noise(1.0, 0.0), "noise must be finite and above 0; got 0"),
        (lambda: annotators.with_misclicks(0.5, 1.5), r"rate must lie in \[0, 1\]; got 1.5"),
        (lambda: annotators.with_misclicks([0.5, -0.1], 0.1), r"p must lie in \[0, 1\]; got -0.1"),
        (lambda: annotators.sample_labels([np.nan], None), r"p must lie in \[0, 1\]; got nan"),
        (lambda: annotators.with_ties(MARGIN, -1), "^tie is the weight nu of a tie, finite and at least 0; got -1"),
        (lambda: annotators.with_ties(MARGIN, np.inf), "finite and at least 0; got inf"),
        (lambda: annotators.of_population([[0.5], [0.5]], [0.5, 0.6]), "shares must sum to 1; the sum is 1.1"),
        (lambda: annotators.of_population([[1.5]], [1.0]), r"p must lie in \[0, 1\]"),
        (lambda: annotators.of_matrix([[0.5, 0.9], [0.9, 0.5]], 0, 1), r"matrix must be \(A, A\) with P\[a, b\]"),
        (lambda: annotators.circle([0.9, 0.6]), r"one share for each of at least 3 answers, .* got shape \(2,\)$"),
        (lambda: annotators.circle([[0.9, 0.6, 0.7]]), r"^a circle needs one share .* got shape \(1, 3\)$"),
        (lambda: annotators.circle([0.9, 0.6, 1.7]), r"wins must lie in \[0, 1\]; got 1.7"),
        (lambda: annotators.of_matrix([[0.5, 0.9]], 0, 1), r"this one, of shape \(1, 2\), is not"),
        (
            lambda: annotators.sample_ratings([0.0], -0.5, None),
            "noise is a standard deviation, finite and at least 0; got -0.5",
        ),
        (lambda: annotators.sample_ratings([0.0], np.nan, None), "noise is a standard deviation"),
        (lambda: annotators.likert([0.0], []), r"at least one; got \[\]"),
        (lambda: annotators.likert([0.0], [1, 1]), r"thresholds must rise.* got \[1, 1\]"),
        (
            lambda: annotators.in_rank_order(np.zeros((2, 3, 1)), [[0, 1, 2], [0, 1, 1]]),
            r"^a ranking of 3 answers names each of 0 to 2 once, best first; got \[0, 1, 1\]$",
        ),
        (lambda: annotators.in_rank_order(np.zeros((2, 1)), [0, 2]), r"0 to 1 once, best first; got \[0, 2\]"),
        (lambda: annotators.in_rank_order(np.zeros((2, 1)), [-1, 0]), r"best first; got \[-1, 0\]"),
        (
            lambda: annotators.in_rank_order(np.zeros((2, 3, 1)), [[0, 1], [1, 0]]),
            rf"^order must hold the indices .* got {np.dtype(int)} \(2, 2\) for \(2, 3, 1\)$",
        ),
        (lambda: annotators.in_rank_order(np.zeros((2, 1)), [0.0, 1.0]), "order must hold the indices .* got float64"),
        (lambda: annotators.sample_labels_with_ties([[0.5, 0.4, 0.2]], None), "p must sum to 1"),
        (lambda: annotators.agreement(np.array([0, 1])), r"p must have shape \(A, N\).* got \(2,\)"),
        (lambda: annotators.agreement(np.empty((2, 0))), r"a row for each annotator; got \(2, 0\)"),
        (lambda: annotators.agreement([[0, 2]]), r"p must lie in \[0, 1\]; got 2"),
        (
            lambda: annotators.cohen_kappa(np.array([[1, 1], [0, 1]])),
            r"^an annotator gave the same label to every comparison: kappa is not defined \(0 / 0\)$",
        ),
    ],
)
def test_what_no_annotator_can_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
