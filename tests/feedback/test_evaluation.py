"""What is said of a reward model is true of it."""

import numpy as np
import pytest

from rlhf_lab.feedback import annotators, evaluation
from rlhf_lab.models import gibbs

P = np.array([0.9, 0.8, 0.35, 0.5, 1.0, 0.0])
LABEL = np.array([1.0, 0.0, 0.0, 1.0, 1.0, 0.5])


def test_the_correlation_counts_answers_as_often_as_they_weigh_and_no_constant_of_a_prompt():
    reward, learned = np.random.default_rng(1).normal(size=(2, 2, 5))
    often = np.array([[1, 2, 0, 1, 3], [2, 1, 1, 4, 1]])
    both = np.stack([reward, learned], axis=-1)
    rows = [np.repeat(table, count, axis=0) for table, count in zip(both, often, strict=True)]
    pooled = np.concatenate([row - row.mean(0) for row in rows])
    found = evaluation.correlation(reward, learned, often)
    assert found == pytest.approx(np.corrcoef(pooled.T)[0, 1], abs=1e-12)
    moved = 3 * learned + np.array([[5.0], [-7.0]])
    assert evaluation.correlation(reward, moved, 0.1 * often) == pytest.approx(found, abs=1e-12)
    assert evaluation.correlation(reward, -reward, often) == pytest.approx(-1, abs=1e-12)
    for wrong in (often[:1], -often, often * [[0], [1]]):
        with pytest.raises(ValueError, match=r"must have one shape \(K, A\), and each prompt a weight above 0$"):
            evaluation.correlation(reward, learned, wrong)


@pytest.mark.equation("eq-coverage")
def test_coverage_counts_prompts_and_answers_once():
    prompt = np.array([[0, 1], [0, 1], [2, 2], [0, 1]])
    response = np.array([[3, 3], [3, 4], [3, 3], [3, 3]])
    found = evaluation.coverage(prompt, response, prompts=5, answers=10)
    assert found == (2 / 5, 3 / 20)
    assert (found.prompts, found.answers) == found
    with pytest.raises(ValueError, match=r"^nothing was judged; coverage is a share of what was$"):
        evaluation.coverage(prompt[:0], response[:0], 5, 10)


@pytest.mark.equation("eq-coverage")
def test_nobody_can_judge_more_than_there_is():
    prompt, response = [[0], [0], [1], [1], [0]], [[3], [4], [3], [3], [3]]
    assert evaluation.coverage(prompt, response, 2, 2) == (1, 3 / 4)
    message = (
        "^2 prompts were judged, and up to 2 answers to one of them; there cannot be only 1 prompts with 5 answers"
    )
    with pytest.raises(ValueError, match=message):
        evaluation.coverage(prompt, response, 1, 5)
    with pytest.raises(ValueError, match=r"there cannot be only 9 prompts with 1 answers each$"):
        evaluation.coverage(prompt, response, 9, 1)
    with pytest.raises(ValueError, match="4 prompts, but 5 responses"):
        evaluation.coverage(prompt[1:], response, 9, 9)


def world():
    rng = np.random.default_rng(0)
    log_pi_0 = np.log(rng.dirichlet(np.ones(5), size=4))
    reward, learned = rng.normal(size=(2, 4, 5))
    return log_pi_0, reward, learned, rng.dirichlet(np.ones(4)), np.array([True, False, False, True])


@pytest.mark.equation("eq-performance-gap")
def test_the_gap_is_the_loss_of_performance_split_by_prompt():
    log_pi_0, reward, learned, start, seen = world()
    found = evaluation.performance_gap(log_pi_0, reward, learned, 0.3, start, seen)
    by_hand = np.zeros(2)
    for x in range(4):
        weights = [np.exp(log_pi_0[x]) * np.exp(r[x] / 0.3) for r in (reward, learned)]
        best, mine = (w / w.sum() for w in weights)
        by_hand[0 if seen[x] else 1] += start[x] * (best - mine) @ reward[x]
    assert found == pytest.approx(by_hand, abs=1e-12)
    assert found.seen == found[0]
    j = [start @ (np.exp(gibbs.log_policy(log_pi_0, r, 0.3)) * reward).sum(-1) for r in (reward, learned)]
    assert sum(found) == pytest.approx(j[0] - j[1], abs=1e-12)


@pytest.mark.equation("eq-performance-gap")
def test_an_exact_reward_and_infinite_beta_leave_no_gap():
    log_pi_0, reward, learned, start, seen = world()
    shifted = reward + np.arange(4)[:, None]
    assert evaluation.performance_gap(log_pi_0, reward, shifted, 0.3, start, seen) == pytest.approx((0, 0), abs=1e-12)
    assert evaluation.performance_gap(log_pi_0, reward, learned, 1e9, start, seen) == pytest.approx((0, 0), abs=1e-8)
    with pytest.raises(ValueError, match="start must sum to 1"):
        evaluation.performance_gap(log_pi_0, reward, learned, 0.3, 2 * start, seen)
    with pytest.raises(ValueError, match="beta must be finite and above 0"):
        evaluation.performance_gap(log_pi_0, reward, learned, 0.0, start, seen)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seen": [1, 0, 0, 1]}, f"^seen must hold True and False, one for each prompt; got {np.dtype(int)}$"),
        ({"seen": [True, False]}, r"start \(4,\) and seen \(2,\) the shape \(K,\)$"),
        ({"start": [1.0]}, r"start \(1,\) and seen \(4,\)"),
        (
            {"learned": np.zeros(5)},
            r"^log_pi_0 \(4, 5\), reward \(4, 5\) and learned \(5,\) must have one shape \(K, A\)",
        ),
        ({"reward": np.zeros((4, 1))}, r"reward \(4, 1\) and"),
        ({"log_pi_0": np.zeros((1, 5))}, r"log_pi_0 \(1, 5\), reward"),
        (dict.fromkeys(("log_pi_0", "reward", "learned"), np.full((2, 4, 5), -1.0)), r"log_pi_0 \(2, 4, 5\), reward"),
        (dict.fromkeys(("log_pi_0", "reward", "learned"), np.full((5, 4), -1.0)), r"log_pi_0 \(5, 4\), reward"),
    ],
)
def test_a_gap_of_things_that_do_not_fit_together_is_refused(change, message):
    names = ("log_pi_0", "reward", "learned", "start", "seen")
    given = dict(zip(names, world(), strict=True)) | change
    with pytest.raises(ValueError, match=message):
        evaluation.performance_gap(beta=0.3, **given)


def test_the_gap_of_lists_is_that_of_arrays():
    *arrays, start, seen = world()
    lists = [array.tolist() for array in arrays]
    found, again = (
        evaluation.performance_gap(*tables, 0.3, start.tolist(), seen.tolist()) for tables in (arrays, lists)
    )
    assert found == again


@pytest.mark.equation("eq-accuracy")
def test_accuracy_counts_right_predictions_and_leaves_ties_out():
    assert evaluation.accuracy(P, LABEL) == pytest.approx((1 + 0 + 1 + 0.5 + 1) / 5)
    assert evaluation.accuracy(1 - P, 1 - LABEL) == pytest.approx(evaluation.accuracy(P, LABEL))
    both = evaluation.accuracy(np.stack([P, 1 - P]), np.stack([LABEL, LABEL]))
    assert both == pytest.approx([3.5 / 5, 1.5 / 5])
    with pytest.raises(ValueError, match=r"^all labels are ties; accuracy needs decisions$"):
        evaluation.accuracy(np.stack([P[:2], P[:2]]), np.array([[0.5, 1], [0.5, 0.5]]))


@pytest.mark.equation("eq-ceiling", "eq-accuracy")
def test_nobody_is_more_accurate_than_the_truth():
    rng = np.random.default_rng(0)
    truth = rng.random(40_000)
    label = annotators.sample_labels(truth, rng)
    ceiling = evaluation.best_accuracy(truth)
    assert ceiling == pytest.approx(np.mean([max(p, 1 - p) for p in truth]))
    assert evaluation.accuracy(truth, label) == pytest.approx(ceiling, abs=4 * 0.5 / 40_000**0.5)
    assert evaluation.accuracy(np.sqrt(truth), label) < ceiling - 0.05
    assert evaluation.best_accuracy(np.array([[0.2], [0.5]])).tolist() == [0.8, 0.5]


def test_calibration_sorts_into_bins():
    found = evaluation.calibration(P, LABEL, bins=4)
    assert found.predicted == pytest.approx([0.0, 0.35, 0.5, (0.9 + 0.8 + 1.0) / 3])
    assert found.observed == pytest.approx([0.5, 0.0, 1.0, 2 / 3])
    assert found.count.tolist() == [1, 1, 1, 3]
    assert len(evaluation.calibration(P, LABEL, bins=1).count) == 1
    spread = np.random.default_rng(0).random(200)
    wavy = (spread * 20 % 2 < 1).astype(float)
    ten, eleven = (evaluation.expected_calibration_error(spread, wavy, bins) for bins in (10, 11))
    assert evaluation.expected_calibration_error(spread, wavy) == ten != eleven
    assert len(evaluation.calibration(np.arange(100) / 100 + 0.005, np.ones(100)).count) == 10


@pytest.mark.equation("eq-ece")
def test_the_expected_calibration_error_by_hand():
    by_hand = (1 * 0.5 + 1 * 0.35 + 1 * 0.5 + 3 * abs(0.9 - 2 / 3)) / 6
    assert evaluation.expected_calibration_error(P, LABEL, bins=4) == pytest.approx(by_hand)
    one_bin = abs(P.mean() - LABEL.mean())
    assert evaluation.expected_calibration_error(P, LABEL, bins=1) == pytest.approx(one_bin)


@pytest.mark.equation("eq-ece")
def test_the_truth_is_calibrated_and_an_overconfident_model_is_not():
    rng = np.random.default_rng(1)
    margin = rng.normal(size=100_000)
    truth = annotators.bradley_terry(margin)
    label = annotators.sample_labels(truth, rng)
    assert evaluation.expected_calibration_error(truth, label) < 0.01
    sure = annotators.bradley_terry(3 * margin)
    expected = np.mean(np.abs(sure - truth))
    assert evaluation.expected_calibration_error(sure, label) == pytest.approx(expected, abs=0.01)


def guo(p, label, bins):
    """The calibration error of Guo et al. 2017: confidence against accuracy, in `bins` bins of [1/2, 1]."""
    sure, right = np.maximum(p, 1 - p), (p > 0.5) == (label == 1)
    place = np.minimum(((sure - 0.5) * 2 * bins).astype(int), bins - 1)
    return np.abs(np.bincount(place, sure - right, bins)).sum() / len(p)


@pytest.mark.equation("eq-ece")
def test_the_error_of_confidence_is_never_larger_and_is_equal_if_each_pair_stands_in_both_orders():
    rng = np.random.default_rng(2)
    for _ in range(20):
        p, label = rng.random(60), rng.integers(2, size=60).astype(float)
        assert guo(p, label, 5) <= evaluation.expected_calibration_error(p, label, 10) + 1e-12
        both, swapped = np.concatenate([p, 1 - p]), np.concatenate([label, 1 - label])
        assert guo(both, swapped, 5) == pytest.approx(evaluation.expected_calibration_error(both, swapped, 10))
    first = np.repeat([0.65, 0.35], 100)  # people take the first by 0.1 more often than is said: not seen
    label = np.concatenate([np.arange(100) < 75, np.arange(100) < 45]).astype(float)
    assert guo(first, label, 5) == pytest.approx(0, abs=1e-12)
    assert evaluation.expected_calibration_error(first, label, 10) == pytest.approx(0.1)


@pytest.mark.equation("eq-ece-bias", "eq-ece")
def test_even_the_truth_has_a_calibration_error_and_chance_says_how_large():
    rng, margin = np.random.default_rng(3), 2 * np.random.default_rng(4).normal(size=(2, 4000))
    for n, bins in ((4000, 10), (1000, 10), (4000, 20)):
        p = annotators.bradley_terry(margin[0, :n])
        found = [evaluation.expected_calibration_error(p, annotators.sample_labels(p, rng), bins) for _ in range(300)]
        error = np.std(found, ddof=1) / 300**0.5
        assert evaluation.calibration_bias(p, bins) == pytest.approx(np.mean(found), abs=4 * error)
    p = np.full(900, 0.5)
    assert evaluation.calibration_bias(p) == pytest.approx((2 * 0.25 / (np.pi * 900)) ** 0.5)
    assert evaluation.calibration_bias(np.tile(p, 4)) == pytest.approx(evaluation.calibration_bias(p) / 2)
    assert evaluation.calibration_bias([1, 0]) == 0


@pytest.mark.equation("eq-mixed-scale")
def test_one_scale_for_two_tasks_has_the_least_cross_entropy_and_is_under_confident_in_the_mean():
    rng = np.random.default_rng(5)
    for _ in range(50):
        scales, shares = rng.uniform(0.1, 4, size=3), rng.dirichlet(np.ones(3))
        margin = rng.normal(size=40) * rng.uniform(0.5, 4)
        c = evaluation.common_scale(margin, scales, shares)
        true = shares @ annotators.bradley_terry(scales[:, None] * margin)
        loss = lambda k, m=margin, p=true: np.mean(np.logaddexp(0, k * m) - p * k * m)  # noqa: E731
        assert loss(c) <= min(loss(c * 1.001), loss(c / 1.001))
        size = np.sort(np.abs(margin))
        mixture = shares @ annotators.bradley_terry(scales[:, None] * size)
        surplus = mixture - annotators.bradley_terry(c * size)
        assert size @ surplus == pytest.approx(0, abs=1e-10)
        assert surplus.mean() > 0
        assert (np.diff(np.sign(surplus)) <= 0).all()  # positive up to some margin, negative above
        effective = np.log(mixture / (1 - mixture)) / size
        assert (np.diff(effective) < 1e-9).all()
    assert evaluation.common_scale([1, -2], [0.7, 0.7], [0.5, 0.5]) == pytest.approx(0.7)
    one = evaluation.common_scale([3.0], [2.0, 0.5], [0.5, 0.5])
    assert np.tanh(one * 1.5) == pytest.approx((np.tanh(3.0) + np.tanh(0.75)) / 2)
    for margin, scales in (([0.0], [1.0, 2.0]), ([1.0], [0.0, 1.0])):
        with pytest.raises(ValueError, match=r"^a scale needs margins that differ from 0, and tasks"):
            evaluation.common_scale(margin, scales, [0.5, 0.5])


@pytest.mark.parametrize(
    ("p", "label", "bins", "message"),
    [
        ([0.5, 1.2], [1, 0], 2, r"p must lie in \[0, 1\]; got 1.2"),
        ([0.5], [0.3], 2, "label must be 1 .* got 0.3"),
        ([], [], 2, "label is empty"),
        ([0.5], [1, 0], 2, r"p \(1,\) and label \(2,\) must have one entry for each comparison"),
        ([0.5], [1], 0, "bins is the number of bins, at least 1; got 0"),
    ],
)
def test_what_is_no_prediction_is_refused(p, label, bins, message):
    with pytest.raises(ValueError, match=message):
        evaluation.expected_calibration_error(p, label, bins)
    if bins:
        with pytest.raises(ValueError, match=message):
            evaluation.accuracy(p, label)


def test_the_ceiling_needs_probabilities():
    with pytest.raises(ValueError, match=r"p must lie in \[0, 1\]; got 2"):
        evaluation.best_accuracy(np.array([2.0]))


def test_predictions_may_be_lists_of_whole_numbers():
    assert evaluation.accuracy([1, 0, 1], [1, 0, 0]) == pytest.approx(2 / 3)
    assert evaluation.expected_calibration_error([1, 0, 1], [1, 0, 0]) == pytest.approx(2 / 3 * 0.5)
