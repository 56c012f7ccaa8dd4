"""EM for groups of annotators: what each step does, when it finds something, and what it cannot find."""

import numpy as np
import pytest

from rlhf_lab.feedback import annotators, clusters, hidden_context


def two(questions, gap, rng):
    sign = rng.choice([-0.5, 0.5], size=questions)
    return 0.5 + gap * np.stack([sign, -sign])


def halves(people):
    return np.arange(people) % 2


def test_people_answer_by_their_group():
    rng = np.random.default_rng(0)
    p = np.array([[0.9, 0.2, 0.5], [0.1, 0.2, 0.7]])
    member = np.repeat([0, 1], 2000)
    wins, asked = clusters.ask(p, member, 12, rng)
    assert (asked.sum(-1) == 12).all()
    assert ((wins >= 0) & (wins <= asked)).all()
    for z in (0, 1):
        share = wins[member == z].sum(0) / asked[member == z].sum(0)
        assert share == pytest.approx(p[z], abs=4 * 0.5 / 8000**0.5)
    often = asked.mean(0) / 12
    assert often == pytest.approx(np.full(3, 1 / 3), abs=0.01)
    _, asked = clusters.ask(p, member, 12, rng, [0.5, 0.5, 0.0])
    assert asked.sum(0)[2] == 0
    assert asked.mean(0)[0] == pytest.approx(6, abs=0.15)


@pytest.mark.equation("eq-group-likelihood")
def test_the_likelihood_of_labels_by_hand():
    wins, asked, p = np.array([[1, 0], [2, 3]]), np.array([[1, 2], [2, 4]]), np.array([[0.5, 0.25], [0.9, 0.6]])
    found = clusters.log_likelihood(wins, asked, p)
    by_hand = [[0.5 * 0.75**2, 0.9 * 0.4**2], [0.5**2 * 0.25**3 * 0.75, 0.9**2 * 0.6**3 * 0.4]]
    assert found == pytest.approx(np.log(by_hand))
    assert clusters.log_likelihood(wins[None], asked[None], p[None])[0] == pytest.approx(found)


@pytest.mark.equation("eq-em")
def test_both_steps_by_hand():
    log_p, shares = np.log([[0.2, 0.6], [0.5, 0.1]]), np.array([0.75, 0.25])
    member = clusters.membership(log_p, shares)
    assert member == pytest.approx(np.array([[0.15, 0.15], [0.375, 0.025]]) / [[0.3], [0.4]])
    far = clusters.membership(np.array([[-5000.0, -5001.0], [-1.0, 0.0]]), np.array([0.5, 0.5]))
    assert far[:, 0] == pytest.approx(1 / (1 + np.exp([-1, 1])))
    seeds = clusters.membership(np.stack([log_p, log_p[::-1]]), np.stack([shares, shares]))
    assert seeds == pytest.approx(np.stack([member, member[::-1]]))
    wins, asked = np.array([[1.0, 0.0], [2.0, 1.0]]), np.array([[2.0, 0.0], [2.0, 1.0]])
    member = np.array([[1.0, 0.0], [0.5, 0.5]])
    assert clusters.group_shares(wins, asked, member) == pytest.approx(
        np.array([[2.5 / 4, 1 / 1.5], [1.5 / 2, 1 / 1.5]])
    )


@pytest.mark.parametrize("seed", range(10))
def test_every_step_of_em_raises_the_evidence_and_the_end_is_a_fixed_point(seed):
    rng = np.random.default_rng(seed)
    wins, asked = clusters.ask(two(12, 0.5, rng), halves(60), 10, rng)
    found = clusters.fit_groups(wins, asked, 2, rng)
    assert (np.diff(found.evidence) > -1e-9).all()
    assert len(found.evidence) < 300
    log_p = clusters.log_likelihood(wins, asked, found.p)
    assert found.member == pytest.approx(clusters.membership(log_p, found.shares), abs=1e-5)
    assert found.p == pytest.approx(clusters.group_shares(wins, asked, found.member), abs=1e-4)
    assert found.shares == pytest.approx(found.member.mean(0), abs=1e-4)
    prior = 0.5 * np.sum(np.log(found.p * (1 - found.p)))
    by_hand = np.sum(np.log(np.exp(log_p) @ found.shares)) + prior
    assert found.evidence[-1] == pytest.approx(by_hand, abs=1e-9)


def test_seeds_do_not_touch_each_other():
    rng = np.random.default_rng(3)
    wins, asked = clusters.ask(two(10, 0.8, rng), np.tile(halves(40), (3, 1)), 20, rng)
    found = clusters.fit_groups(wins, asked, 2, np.random.default_rng(1))
    assert found.member.shape == (3, 40, 2)
    assert found.p.shape == (3, 2, 10)
    assert found.shares.shape == (3, 2)
    assert found.evidence.shape[1:] == (3,)
    assert clusters.accuracy(found.member, np.tile(halves(40), (3, 1))) == pytest.approx(np.ones(3))
    for seed in range(3):
        log_p = clusters.log_likelihood(wins[seed], asked[seed], found.p[seed])
        prior = 0.5 * np.sum(np.log(found.p[seed] * (1 - found.p[seed])))
        by_hand = np.sum(np.log(np.exp(log_p) @ found.shares[seed])) + prior
        assert found.evidence[-1, seed] == pytest.approx(by_hand, abs=1e-9)


@pytest.mark.equation("eq-strength")
def test_strength_by_hand():
    assert clusters.strength(10, 800, 50, 0.5) == pytest.approx(10 * 0.25 * 4)
    assert clusters.strength(10, 800, 50, 0.5, 0.2) == pytest.approx(0.64 * 10)
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\]; got 1.5"):
        clusters.strength(10, 800, 50, 0.5, 1.5)


def test_strength_is_the_squared_singular_value_of_the_signal_over_that_at_which_noise_hides_it():
    """Labels as -1 and 1, 0 where nobody asked: mean in the groups, and variance 1 of each label.

    Noise of variance v hides a singular value below (v^2 N n)^(1/4).
    """
    people, questions, gap, share, labels = 300, 40, 0.3, 0.25, 10
    p = two(questions, gap, np.random.default_rng(0))
    member = (np.arange(people) < share * people).astype(int)
    mean = labels / questions * (2 * p - 1)[member]
    mean = mean - mean.mean(0)
    top = np.linalg.svd(mean, compute_uv=False)[0]
    noise = labels / questions
    x = top**2 / (noise**2 * people * questions) ** 0.5
    assert x == pytest.approx(clusters.strength(labels, people, questions, gap, share))


@pytest.mark.parametrize(("labels", "low", "high"), [(3, 0.5, 0.6), (16, 0.8, 0.9), (32, 0.92, 1.0)])
def test_em_finds_groups_above_the_threshold_only(labels, low, high):
    """x is 0.6, 3.3 and 6.6; 20 runs of 100 people with 25 questions."""
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        p = two(25, 0.32, rng)
        wins, asked = clusters.ask(p, halves(100), labels, rng)
        found.append(clusters.accuracy(clusters.fit_groups(wins, asked, 2, rng).member, halves(100)))
    assert low <= np.mean(found) <= high


def test_one_label_of_each_tells_nothing_however_many_people():
    rng = np.random.default_rng(0)
    p = two(5, 0.9, rng)
    wins, asked = clusters.ask(p, halves(3000), 1, rng)
    assert clusters.strength(1, 3000, 5, 0.9) > 15
    found = [clusters.accuracy(clusters.fit_groups(wins, asked, 2, rng).member, halves(3000)) for _ in range(5)]
    single = clusters.log_likelihood(wins, asked, np.full((1, 5), 0.5)).sum()
    mixed = np.log(np.exp(clusters.log_likelihood(wins, asked, p)).mean(-1)).sum()
    assert mixed == pytest.approx(single), "two opposite groups say what one says that tosses coins"
    wins, asked = clusters.ask(p, halves(3000), 3, rng)
    more = clusters.accuracy(clusters.fit_groups(wins, asked, 2, rng).member, halves(3000))
    assert more > 0.95
    assert np.mean(found) < 0.8


def test_a_group_has_the_utilities_of_its_own_labels():
    utility = np.array([[1.0, 0.0, -1.0, 0.5], [-2.0, 1.0, 1.0, 0.0]])
    first, second = np.triu_indices(4, 1)
    p = annotators.bradley_terry(utility[:, first] - utility[:, second])
    member = np.repeat(np.eye(2), 100, axis=0)
    asked = np.full((200, 6), 1000.0)
    found = clusters.group_utilities(asked * (member @ p), asked, member)
    assert found == pytest.approx(utility - utility.mean(-1, keepdims=True), abs=1e-4)
    empty = clusters.group_utilities(asked * (member @ p), asked, np.zeros((200, 1)))
    assert empty == pytest.approx(np.zeros((1, 4)), abs=1e-12)
    three = clusters.group_utilities(np.full((1, 3), 2.0), np.full((1, 3), 4.0), np.ones((1, 1)))
    assert three == pytest.approx(np.zeros((1, 3)), abs=1e-12)
    asked[:, 0] = 0
    wins = asked * (member @ p)
    uneven = clusters.group_utilities(wins, asked, member[:, :1])[0]
    matrix, often = np.full((4, 4), 0.5), np.zeros((4, 4))
    for n, (a, b) in enumerate(zip(first, second, strict=True)):
        often[a, b] = often[b, a] = 1 + asked[:100, n].sum()
        matrix[a, b] = (0.5 + wins[:100, n].sum()) / often[a, b]
        matrix[b, a] = 1 - matrix[a, b]
    assert uneven == pytest.approx(hidden_context.fit_utility(matrix, often))


def test_accuracy_knows_no_names_and_counts_each_group_the_same():
    truth = np.array([0, 0, 0, 1])
    assert clusters.accuracy(np.eye(2)[[1, 1, 1, 0]], truth) == pytest.approx(1)
    assert clusters.accuracy(np.eye(2)[[0, 0, 0, 0]], truth) == pytest.approx(0.5)
    assert clusters.accuracy(np.eye(2)[[0, 0, 1, 1]], truth) == pytest.approx((2 / 3 + 1) / 2)
    seeds = np.eye(2)[[[1, 1, 1, 0], [0, 0, 1, 1]]]
    assert clusters.accuracy(seeds, np.stack([truth, truth])) == pytest.approx([1, (2 / 3 + 1) / 2])
    three = np.array([0, 1, 2, 2])
    assert clusters.accuracy(np.eye(3)[[2, 0, 1, 0]], three) == pytest.approx((1 + 1 + 0.5) / 3)
    with pytest.raises(ValueError, match=r"^a group has no members; its accuracy is not defined$"):
        clusters.accuracy(np.eye(2)[[0, 1]], np.array([0, 0]))


def test_bad_input_is_named():
    rng, p = np.random.default_rng(0), np.array([[0.5, 0.5, 0.5]])
    with pytest.raises(ValueError, match=r"p must lie in \[0, 1\]; got 2"):
        clusters.ask(4 * p, [0], 3, rng)
    with pytest.raises(
        ValueError, match="labels is how many labels an annotator gives, a whole number from 1 on; got 0"
    ):
        clusters.ask(p, [0], 0, rng)
    with pytest.raises(ValueError, match="member: there are 1 actions, 0 to 0; got 1"):
        clusters.ask(p, [1], 3, rng)
    with pytest.raises(ValueError, match="often must sum to 1; the sum is 3"):
        clusters.ask(p, [0], 3, rng, np.ones(3))
    counts = np.ones((4, 3))
    for wrong in (counts[:, :2], counts[0], counts[:0]):
        with pytest.raises(ValueError, match=r"wins and asked must have one shape \(\.\.\., N, n\), a row for each"):
            clusters.fit_groups(wrong, counts[0] if wrong.ndim == 1 else counts[: len(wrong)], 2, rng)
    for wrong in (2 * counts, -counts, np.nan * counts):
        with pytest.raises(
            ValueError, match=r"^wins are counts from 0 to asked; here some are below 0, above it, or NaN$"
        ):
            clusters.fit_groups(wrong, counts, 2, rng)
    with pytest.raises(ValueError, match="groups is the number of groups, a whole number from 1 on; got 0"):
        clusters.fit_groups(counts, counts, 0, rng)
    with pytest.raises(ValueError, match="4 questions are not all pairs of any number of answers"):
        clusters.group_utilities(np.ones((2, 4)), np.ones((2, 4)), np.eye(2))
