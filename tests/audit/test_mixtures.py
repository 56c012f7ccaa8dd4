"""Advantages of groups by every baseline and scale, and whitening over the wrong numbers, beside loops."""

import numpy as np
import pytest

from rlhf_lab import audit
from rlhf_lab.audit import standards
from rlhf_lab.audit.zoo import returns
from rlhf_lab.audit.zoo.advantages import dr_grpo

R = np.array([[0.3, -1.2, 2.0, 0.7], [1.5, 0.1, -0.6, 2.2], [0.9, 0.4, -2.1, 1.1]])
BASELINES = {
    "0": lambda g, i: 0.0,
    "the mean of the group": lambda g, i: np.mean(R[g]),
    "the mean of the batch": lambda g, i: np.mean(R),
    "the mean across prompts": lambda g, i: np.mean(R[:, i]),
    "the mean of the others": lambda g, i: np.mean(np.delete(R[g], i)),
    "the sum of the others over k": lambda g, i: np.sum(np.delete(R[g], i)) / 4,
    "the sum of the others": lambda g, i: np.sum(np.delete(R[g], i)),
    "the mean of all others in the batch": lambda g, i: np.mean(np.delete(R.ravel(), 4 * g + i)),
    "the median of the group": lambda g, i: np.mean(sorted(R[g])[1:3]),
    "the largest of the group": lambda g, i: max(R[g]),
    "the smallest of the group": lambda g, i: min(R[g]),
    "the largest of the batch": lambda g, i: max(R.ravel()),
    "the smallest of the batch": lambda g, i: min(R.ravel()),
    "the first of the group": lambda g, i: R[g, 0],
    "the last of the group": lambda g, i: R[g, 3],
    "the one before in the group": lambda g, i: R[g, i - 1],
}
DEVIATIONS = {
    "the deviation of the group": lambda g, i: R[g],
    "the deviation of the batch": lambda g, i: R.ravel(),
    "the deviation of the rewards to the same place of all prompts": lambda g, i: R[:, i],
}


def scales(name, g, i):
    """What advantages may be divided by, with every small number and either way to count."""
    if not name:
        return [1.0]
    if name in DEVIATIONS:
        return [np.std(DEVIATIONS[name](g, i), ddof=ddof) + eps for ddof, eps in standards.WAYS]
    if name == "the variance of the group":
        return [np.var(R[g], ddof=ddof) + eps for ddof, eps in standards.WAYS]
    if name == "the mean of the group":
        return [abs(np.sum(R[g]) / 4) + eps for eps in standards.EPS]
    numbers = {"the range of the group": R[g], "the range of the batch": R}[name]
    return [np.max(numbers) - np.min(numbers) + eps for eps in standards.EPS]


def test_each_mixture_is_what_its_name_says():
    found = {}
    for bug in standards.bugs_of(dr_grpo):
        if bug.name.startswith("less "):
            found.setdefault(bug.name, []).append(bug.function(R))
            words = bug.name.replace(", by ", " and divide by ").replace("less ", "You subtract ")
            words += "" if ", by " in bug.name else ", and that is all"
            assert bug.told == f"{words}. Take the baseline and the scale of this kind of advantage."
            assert (bug.audit, bug.right, bug.seen, bug.where) == ("advantages", dr_grpo, "", "")
    names = [
        "",
        *DEVIATIONS,
        "the variance of the group",
        "the mean of the group",
        "the range of the group",
        "the range of the batch",
    ]
    assert len(found) == len(BASELINES) * len(names)
    for baseline, less in BASELINES.items():
        for scale in names:
            wanted = [[(R[g, i] - less(g, i)) / np.array(scales(scale, g, i)) for i in range(4)] for g in range(3)]
            name = f"less {baseline}" + f", by {scale}" * bool(scale)
            np.testing.assert_allclose(found[name], np.moveaxis(wanted, -1, 0), rtol=1e-9, atol=1e-12, err_msg=name)


def test_a_baseline_of_0_is_0_whatever_the_reward():
    assert standards.BASELINES["0"](np.array([[0.0, -1.0]])).tolist() == [[0, 0]]


def test_rewards_scaled_to_a_range():
    for low in (0, -1):
        found = [b for b in standards.bugs_of(dr_grpo) if b.name == f"scaled to the range from {low} to 1"]
        assert len(found) == len(standards.EPS)
        assert {bug.told for bug in found} == {
            "You scale to the range of the group: its extremes set the size. Divide by the deviation, or not at all."
        }
        assert {(bug.audit, bug.right, bug.seen, bug.where) for bug in found} == {("advantages", dr_grpo, "", "")}
        scaled = found[0].function(R)
        np.testing.assert_allclose(scaled.min(1), low)
        np.testing.assert_allclose(scaled.max(1), 1)
        same = np.full((1, 3), 2.0)
        np.testing.assert_allclose(found[-1].function(same), float(low) * np.ones((1, 3)))
        np.testing.assert_allclose(found[-1].function(R), low + (1 - low) * (R - R.min(1, keepdims=True)) / (
            np.ptp(R, axis=1, keepdims=True) + 1e-3))  # fmt: skip


STANDARDS = {
    "deviation of the batch": lambda g, i, d, e: (R[g, i] - np.mean(R[g])) / (np.std(R, ddof=d) + e),
    "mean of the batch": lambda g, i, d, e: (R[g, i] - np.mean(R)) / (np.std(R, ddof=d) + e),
    "mean not subtracted": lambda g, i, d, e: R[g, i] / (np.std(R[g], ddof=d) + e),
    "normalised across prompts": lambda g, i, d, e: (R[g, i] - np.mean(R[:, i])) / (np.std(R[:, i], ddof=d) + e),
    "divided by the variance": lambda g, i, d, e: (R[g, i] - np.mean(R[g])) / (np.var(R[g], ddof=d) + e),
    "group advantage turned round": lambda g, i, d, e: (np.mean(R[g]) - R[g, i]) / (np.std(R[g], ddof=d) + e),
    "deviation kept": lambda g, i, d, e: (R[g, i] - np.mean(R[g])) / (np.std(R[g], ddof=d) + e),
    "spread of zero": lambda g, i, d, e: (R[g, i] - np.mean(R[g])) / np.std(R[g], ddof=d),
    "divided by the spread of others": lambda g, i, d, e: (
        (R[g, i] - np.mean(np.delete(R[g], i))) / (np.std(np.delete(R[g], i), ddof=d) + e)
    ),
    "means of groups tiled": lambda g, i, d, e: (
        (R[g, i] - np.mean(R[(4 * g + i) % 3])) / (np.std(R[(4 * g + i) % 3], ddof=d) + e)
    ),
    "groups cut the wrong way": lambda g, i, d, e: (R[g, i] - column(g, i).mean()) / (np.std(column(g, i), ddof=d) + e),
    "groups cut the wrong way ": lambda g, i, d, e: (
        (R[g, i] - triple(g, i).mean()) / (np.std(triple(g, i), ddof=d) + e)
    ),
}


def column(g, i):
    """Of the 12 rewards in 4 rows of 3, those that stand below each other: every third."""
    return R.ravel()[(4 * g + i) % 3 :: 3]


def triple(g, i):
    """Three in a row of the 12 rewards."""
    first = (4 * g + i) // 3 * 3
    return R.ravel()[first : first + 3]


@pytest.mark.parametrize("name", STANDARDS)
@pytest.mark.parametrize(("ddof", "eps"), [(0, 1e-3), (1, 0.0), (1, 1e-3)])
def test_each_standard_is_what_its_name_says(name, ddof, eps):
    wanted = [[STANDARDS[name](g, i, ddof, eps) for i in range(4)] for g in range(3)]
    np.testing.assert_allclose(standards.VARIANTS[name](R, ddof, eps), wanted, rtol=1e-9)


def test_every_standard_has_a_bug_of_the_zoo_with_each_small_number_and_either_count():
    assert set(standards.VARIANTS) == set(STANDARDS)
    assert [(ddof, eps) for eps in (0, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3) for ddof in (0, 1)] == standards.WAYS
    bugs = [bug for right in (returns.grpo, returns.rloo, dr_grpo) for bug in standards.bugs_of(right)]
    for name, variant in standards.VARIANTS.items():
        ways = standards.WAYS[:2] if name == "spread of zero" else standards.WAYS
        mine = [bug.function(R) for bug in bugs if bug.name == name.strip()]
        for ddof, eps in ways:
            assert any(np.array_equal(variant(R, ddof, eps), found) for found in mine), (name, ddof, eps)


SAME = np.full((2, 3), 0.5)


@pytest.mark.parametrize("name", STANDARDS)
@pytest.mark.parametrize("eps", [0.0, 1e-3])
def test_where_all_rewards_are_equal_a_standard_is_0_or_has_no_number(name, eps):
    with np.errstate(invalid="ignore"):
        found = standards.VARIANTS[name](SAME, 0, eps)
    if name == "mean not subtracted":
        np.testing.assert_allclose(found, 0.5 / eps if eps else 0.5)
    else:
        bare = eps == 0 and name in ("divided by the spread of others", "means of groups tiled")
        assert np.isnan(found).all() if bare or name == "spread of zero" else np.all(found == 0)


def test_no_mixture_warns_where_all_rewards_are_equal():
    for bug in standards.bugs_of(dr_grpo):
        assert bug.function(SAME).shape == SAME.shape


def test_the_spread_of_one_other_is_divided_by_one():
    pair = np.array([[1.0, 4.0]])
    for ddof in (0, 1):
        np.testing.assert_allclose(standards.VARIANTS["divided by the spread of others"](pair, ddof, 0.5), [[-6, 6]])


def test_the_spread_of_two_others_less_one_is_divided_by_one():
    """By hand: beside the first, 2 and 6 with mean 4 and squares of 4 + 4 about it."""
    found = standards.VARIANTS["divided by the spread of others"](np.array([[1.0, 2.0, 6.0]]), 1, 0.0)
    assert found[0, 0] == pytest.approx((1 - 4) / 8**0.5)


def test_nothing_warns_of_groups_of_one():
    one = np.ones((1, 1))
    for name in ("spread of zero", "means of groups tiled"):
        assert np.isnan(standards.VARIANTS[name](one, 1, 0.0)).all()
    assert np.isnan(standards.SCALES["the deviation of the group"][1](one)).all()


def test_a_spread_of_zero_is_known_by_either_count_alone():
    zero = [bug for bug in standards.bugs_of(returns.grpo) if bug.name == "spread of zero"]
    assert len(zero) == 3  # that of the zoo, and without a small number that could be another


def test_right_standards_are_listed_with_each_small_number_and_either_count():
    found = standards._right("what", (-1,), (-2, -1), "whose")
    assert len(found) == len(standards.WAYS)
    for right, (ddof, eps) in zip(found, standards.WAYS, strict=True):
        count = "the count less 1" if ddof else "the count"
        assert right.name == f"what, whose (the variance divides by {count}; {eps:g} is added)"
        wanted = (R - group_mean(R)) / (np.std(R, ddof=ddof) + eps)
        np.testing.assert_allclose(right.function(R), wanted, rtol=1e-12)


def test_a_deviation_of_one_number_less_1_has_no_number():
    assert np.isnan(standards.standardised(np.ones((2, 1)), (-1,), (-1,), 1, 1e-6)).all()


def right(kind, words):
    """The right advantages of a kind whose name holds some words."""
    found = [right.function(R) for right in standards.RIGHTS[kind] if words in right.name]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(("ddof", "count"), [(0, "the count"), (1, "the count less 1")])
@pytest.mark.parametrize("eps", [0.0, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3])
def test_right_standards_are_what_their_names_say(ddof, count, eps):
    told = f"(the variance divides by {count}; {eps:g} is added)"
    centred = R - group_mean(R)
    deviation = R.std(1, ddof=ddof, keepdims=True)
    name = f"GRPO: less the mean of the group, by its deviation, that of the group {told}"
    np.testing.assert_allclose(right("grpo", name), centred / (deviation + eps), rtol=1e-12)
    name = f"REINFORCE: whitened over the batch, by its deviation {told}"
    np.testing.assert_allclose(right("reinforce", name), (R - R.mean()) / (R.std(ddof=ddof) + eps), rtol=1e-12)
    rloo = returns.rloo(R)
    whitened = standards.rloo_whitened(R, ddof, eps)
    np.testing.assert_allclose(whitened, (rloo - rloo.mean()) / (rloo.std(ddof=ddof) + eps), rtol=1e-12)
    if eps:
        name = f"GRPO: {eps:g} is added to the variance, under the root (it divides by {('k', 'k - 1')[ddof]})"
        np.testing.assert_allclose(right("grpo", name), centred / np.sqrt(deviation**2 + eps), rtol=1e-12)


def test_right_baselines_are_what_their_names_say():
    others = [[(R.sum() - R[g, i]) / 11 for i in range(4)] for g in range(3)]
    np.testing.assert_allclose(right("reinforce", "less the mean of all others in the batch"), R - others)
    np.testing.assert_allclose(right("reinforce", "less the mean of the batch"), R - R.mean())
    np.testing.assert_array_equal(right("reinforce", "without a baseline"), R)
    alone = [right.function(np.array([[2.0]])) for right in standards.RIGHTS["reinforce"] if "others" in right.name]
    assert alone[0].tolist() == [[2.0]]
    assert standards._others_in_batch(np.array([[1.0, 4.0]])).tolist() == [[-3.0, 3.0]]


def group_mean(r):
    return r.mean(1, keepdims=True)


@pytest.mark.parametrize(
    ("kind", "advantage", "verdict"),
    [
        (
            "grpo",
            lambda r: (r - r.mean()) / (r.std(1, keepdims=True) + 1e-4),
            "less the mean of the batch, by the deviation of the group",
        ),
        (
            "grpo",
            lambda r: (r - group_mean(r)) / (np.ptp(r, axis=1, keepdims=True) + 1e-6),
            "less the mean of the group, by the range of the group",
        ),
        (
            "grpo",
            lambda r: 2 * (r - r.min(1, keepdims=True)) / (np.ptp(r, axis=1, keepdims=True) + 1e-8) - 1,
            "scaled to the range from -1 to 1",
        ),
        ("grpo", lambda r: r - r.max(1, keepdims=True), "less the largest of the group"),
        ("dr_grpo", lambda r: r - np.median(r, axis=1, keepdims=True), "less the median of the group"),
        ("rloo", lambda r: r - (r.sum(1, keepdims=True) - r) / r.shape[1], "less the sum of the others over k"),
        (
            "rloo",
            lambda r: returns.rloo(r) / (r.std(1, keepdims=True) + 1e-4),
            "less the mean of the others, by the deviation of the group",
        ),
        ("reinforce", lambda r: r - r.mean(0), "less the mean across prompts"),
        ("grpo", lambda r: returns.grpo(r), "right"),
        ("rloo", lambda r: returns.rloo(r), "right"),
        ("dr_grpo", dr_grpo, "right"),
        ("reinforce", lambda r: r - r.mean(), "right"),
        ("rloo", lambda r: returns.rloo(r) * (1 + r**2), "wrong"),
        ("grpo", lambda r: 2 * returns.grpo(r), "of another size"),
        ("grpo", lambda r: returns.grpo(r) + 0.5, "a constant added"),
    ],
)
def test_a_baseline_or_a_scale_in_the_wrong_place_is_told(kind, advantage, verdict):
    found = audit.advantages(advantage, kind=kind)
    assert (found.ok, found.verdict) == (verdict == "right", verdict), str(found)


def test_size_and_constant_are_told_in_numbers():
    assert audit.advantages(lambda r: 2 * returns.grpo(r), kind="grpo").told == (
        "You return 2 times what you should. Leave the factor out."
    )
    assert audit.advantages(lambda r: returns.grpo(r) + 0.5, kind="grpo").told == "You add 0.5. Leave it out."
    found = audit.dril_cost(
        lambda log_probs, actions: 1 - 3 * np.var(np.exp(log_probs), axis=0)[range(len(actions)), actions]
    )
    assert (found.verdict, found.told) == (
        "minus the right numbers",
        "You return -3 times what you should, and 1. Turn the sign.",
    )


def whitened(mean, deviation):
    def own(advantages, mask):
        middle = mean(advantages, mask)
        return (advantages - middle) / (deviation(advantages, mask, middle) + 1e-6) * mask

    return own


@pytest.mark.parametrize(
    ("mean", "deviation"),
    [
        (lambda a, m: a.mean(), lambda a, m, c: a.std()),
        (lambda a, m: a.mean(), lambda a, m, c: a.std(ddof=1)),
        (lambda a, m: (a * m).mean(), lambda a, m, c: ((a - c) ** 2 * m).mean() ** 0.5),
        (lambda a, m: (a * m).sum() / m.sum(), lambda a, m, c: ((a - c) ** 2 * m).mean() ** 0.5),
        (lambda a, m: (a * m).sum() / m.sum(), lambda a, m, c: (((a - c) ** 2 * m).sum() / (m.size - 1)) ** 0.5),
    ],
)
def test_whitening_that_counts_padding_somewhere(mean, deviation):
    assert audit.whiten(whitened(mean, deviation)).verdict == "whitened with padding"


def test_whitening_of_what_is_0_on_padding():
    for ddof in (0, 1):

        def own(advantages, mask, ddof=ddof):
            a = advantages * mask
            return (a - a.mean()) / (a.std(ddof=ddof) + 1e-8) * mask

        assert audit.whiten(own).verdict == "whitened with padding"


SIZES = {
    "the root mean square": lambda a: sum(x * x for x in a) ** 0.5 / len(a) ** 0.5,
    "the mean distance from the mean": lambda a: sum(abs(x - sum(a) / len(a)) for x in a) / len(a),
    "the largest distance from the mean": lambda a: max(abs(x - sum(a) / len(a)) for x in a),
    "the largest": lambda a: max(abs(x) for x in a),
    "the mean size": lambda a: sum(abs(x) for x in a) / len(a),
}


@pytest.mark.parametrize("by", SIZES)
@pytest.mark.parametrize("less", ["the mean", "nothing"])
def test_whitening_by_another_size(less, by):
    def whitened(advantage, mask):
        each = advantage[mask > 0]
        return np.where(mask > 0, (advantage - (less == "the mean") * np.mean(each)) / SIZES[by](each), 0)

    report = audit.whiten(whitened)
    assert (report.ok, report.verdict) == (False, f"less {less}, by {by}")
    assert report.told.startswith(f"You subtract {less} and divide by {by}.")


def test_a_mean_that_is_subtracted_last():
    def whitened(advantage, mask):
        each = advantage[mask > 0]
        return np.where(mask > 0, advantage / np.std(each) - np.mean(each), 0)

    assert audit.whiten(whitened).verdict == "mean subtracted last"
