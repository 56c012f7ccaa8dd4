"""Whitening: each right way and each wrong one beside sums over the tokens that count, and what is asked of all."""

import numpy as np
import pytest

from rlhf_lab.audit import standards, whitening
from rlhf_lab.audit.zoo import returns

A = np.array([[0.3, -1.2, 2.0, 0.7], [1.5, 0.1, -0.6, 2.2], [0.9, 0.4, -2.1, 1.1]])
MASK = np.array([[1.0, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]])
KEPT = A[MASK > 0]
CASE = {"advantage": A, "mask": MASK}


def of_row(n, t):
    return A[n][MASK[n] > 0]


def of_place(n, t):
    return A[:, t][MASK[:, t] > 0]


def std(x, ddof):
    """The deviation, where a count less 1 is at least 1."""
    return np.sqrt(np.sum((x - np.mean(x)) ** 2) / max(len(x) - ddof, 1))


def by_places(mean, ddof):
    return np.sqrt(np.sum((KEPT - mean) ** 2) / (A.size - ddof))


LOOPS = {
    "whitened by the variance": lambda n, t, d, e: (A[n, t] - np.mean(KEPT)) / (np.var(KEPT, ddof=d) + e),
    "mean left in": lambda n, t, d, e: A[n, t] / (np.std(KEPT, ddof=d) + e),
    "multiplied by the deviation": lambda n, t, d, e: (A[n, t] - np.mean(KEPT)) * (np.std(KEPT, ddof=d) + e),
    "whitened in a batch of one": lambda n, t, d, e: (A[n, t] - np.mean(of_row(n, t))) / (std(of_row(n, t), d) + e),
    "whitened with padding": lambda n, t, d, e: (A[n, t] - np.mean(A * MASK)) / (np.std(A * MASK, ddof=d) + e),
    "whitened with padding ": lambda n, t, d, e: (A[n, t] - np.mean(A)) / (np.std(A, ddof=d) + e),
    "whitened with padding  ": lambda n, t, d, e: (
        (A[n, t] - np.sum(KEPT) / A.size) / (by_places(np.sum(KEPT) / A.size, d) + e)
    ),
    "whitened with padding   ": lambda n, t, d, e: (A[n, t] - np.mean(KEPT)) / (by_places(np.mean(KEPT), d) + e),
    "whitened place by place": lambda n, t, d, e: (A[n, t] - np.mean(of_place(n, t))) / (std(of_place(n, t), d) + e),
}


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize(("ddof", "eps"), [(0, 1e-3), (1, 1e-3), (0, 0.2)])
def test_each_wrong_way_is_what_its_name_says(name, ddof, eps):
    found = whitening.VARIANTS[name](A, MASK, ddof=ddof, eps=eps)
    wanted = [[LOOPS[name](n, t, ddof, eps) if MASK[n, t] else 0.0 for t in range(4)] for n in range(3)]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


SIZES = {
    "the root mean square": lambda kept: np.linalg.norm(kept) / np.sqrt(len(kept)),
    "the mean distance from the mean": lambda kept: sum(abs(x - np.mean(kept)) for x in kept) / len(kept),
    "the largest distance from the mean": lambda kept: max(np.max(kept) - np.mean(kept), np.mean(kept) - np.min(kept)),
    "the largest": lambda kept: max(abs(x) for x in kept),
    "the mean size": lambda kept: sum(abs(x) for x in kept) / len(kept),
}


@pytest.mark.parametrize("unit", [1.0, 1e-8])  # 1e-8 is added to each size
def test_other_sizes_and_a_mean_subtracted_last_are_what_their_names_say(unit):
    *mixed, last = whitening._mixed()
    a, kept = unit * A, unit * KEPT
    names = [f"less {less}, by {by}" for less in ("the mean", "nothing") for by in SIZES]
    assert [bug.name for bug in mixed] == names
    for bug in mixed:
        less, by = bug.name.removeprefix("less ").split(", by ")
        assert bug.told.startswith(f"You subtract {less} and divide by {by}.")
        wanted = (a - (np.mean(kept) if less == "the mean" else 0.0)) / (SIZES[by](kept) + 1e-8) * MASK
        np.testing.assert_allclose(bug.function(a, MASK), wanted, rtol=1e-9, atol=1e-12, err_msg=bug.name)
    assert last.name == "mean subtracted last"
    assert last.told == (
        "You divide by the deviation, and subtract the mean of what was not divided yet. Subtract it first."
    )
    np.testing.assert_allclose(last.function(a, MASK), (a / (np.std(kept) + 1e-8) - np.mean(kept)) * MASK, rtol=1e-9)
    shared = {(bug.audit, bug.right, bug.seen, bug.where) for bug in (*mixed, last)}
    assert shared == {("whiten", returns.whiten, "", "")}


def test_each_wrong_way_is_known_with_each_small_number_and_either_count():
    assert set(whitening.VARIANTS) == set(LOOPS)
    bugs = whitening.WHITEN.known()
    assert {bug.audit for bug in bugs} == {"whiten"}
    with np.errstate(all="ignore"):
        for name, variant in whitening.VARIANTS.items():
            mine = [bug.function(A, MASK) for bug in bugs if bug.name == name.strip()]
            for ddof, eps in standards.WAYS:
                wanted = variant(A, MASK, ddof=ddof, eps=eps)
                assert any(np.array_equal(wanted, found, equal_nan=True) for found in mine), (name, ddof, eps)


@pytest.mark.parametrize("back", [False, True])
def test_each_right_way_is_what_its_name_says(back):
    contract = whitening.WHITEN_REWARDS if back else whitening.WHITEN
    found = {right.name: right.function for right in contract.rights}
    assert len(found) == 24
    for ddof, count in ((0, "the count"), (1, "the count less 1")):
        for eps in (0.0, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3):
            for place, scale in (
                ("it", np.sqrt(np.var(KEPT, ddof=ddof) + eps)),
                ("its root", np.std(KEPT, ddof=ddof) + eps),
            ):
                name = f"the variance divides by {count}, and {eps:g} is added to {place}"
                name += "; the mean is put back, as for rewards" * back
                wanted = ((A - np.mean(KEPT)) / scale + back * np.mean(KEPT)) * MASK
                np.testing.assert_allclose(found[name](A, MASK), wanted, rtol=1e-12, err_msg=name)
    first = "the variance divides by the count, and 1e-08 is added to its root"
    assert next(iter(found)).startswith(first)


def test_one_number_is_whitened_to_0():
    for right in whitening.WHITEN.rights:
        if "and 0 is" not in right.name:
            assert right.function(np.array([[3.0]]), np.ones((1, 1))).tolist() == [[0.0]]


def test_two_numbers_are_whitened_to_1_or_to_the_root_of_a_half():
    for right in whitening.WHITEN.rights:
        found = right.function(np.array([[1.0, 3.0]]), np.ones((1, 2)))
        size = 0.5**0.5 if "less 1" in right.name else 1.0
        np.testing.assert_allclose(found, [[-size, size]], rtol=2e-3)
    found = whitening.VARIANTS["whitened with padding   "](np.array([[1.0, 3.0]]), np.ones((1, 2)), ddof=1, eps=0.0)
    np.testing.assert_allclose(found, [[-(0.5**0.5), 0.5**0.5]])


ASKED = {identity.name: identity.look for identity in whitening.WHITEN.identities}


def right(case, ddof=0, eps=1e-8):
    kept = case["advantage"][case["mask"] > 0]
    return (case["advantage"] - kept.mean()) / (kept.std(ddof=ddof) + eps) * case["mask"]


def holds(name, function, case=CASE):
    (shown,) = ASKED[name](function, [case])
    assert name != "(A - mean) / deviation" or shown.case is case
    return bool(np.allclose(shown.found, shown.wanted))


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("ddof", [0, 1])
def test_what_is_asked_holds_of_what_is_right_with_a_small_number_too(name, ddof):
    assert holds(name, lambda case: right(case, ddof))
    assert holds(name, lambda case: right(case, ddof, 1e-3))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("its mean is 0", lambda case: right(case) + 0.01),
        ("its mean is 0", lambda case: case["advantage"]),
        ("its mean square is 1", lambda case: 1.1 * right(case)),
        ("its mean square is 1", lambda case: right(case) ** 2),
        ("any scale and shift of advantages gives the same", lambda case: right(case) + 0.1 * case["advantage"]),
        ("any scale and shift of advantages gives the same", lambda case: case["advantage"] / case["advantage"].std()),
        ("padding changes nothing", lambda case: (case["advantage"] - case["advantage"].mean()) * case["mask"]),
        ("(A - mean) / deviation", lambda case: 1.1 * right(case)),
        ("(A - mean) / deviation", lambda case: -right(case)),
    ],
)
def test_what_is_asked_breaks_where_it_should(name, wrong):
    assert not holds(name, wrong)


def test_padding_is_not_looked_at():
    loud = lambda case: right(case) + 7 * (1 - case["mask"])  # noqa: E731
    for name in ("its mean is 0", "its mean square is 1", "any scale and shift of advantages gives the same"):
        assert holds(name, loud)
    back = whitening.WHITEN.layouts[0].back
    np.testing.assert_array_equal(back(loud(CASE), CASE), right(CASE))
    assert back(np.ones(3), CASE).tolist() == [1, 1, 1]
    form = whitening.WHITEN.forms[0]
    np.testing.assert_array_equal(form.call(lambda a, m: a + 7, CASE), (A + 7) * MASK)


def test_a_flat_batch_has_no_padding():
    flat = whitening.WHITEN.layouts[1]
    (case,) = flat.cases([CASE])
    assert case["mask"].tolist() == np.ones((3, 4)).tolist()
    assert flat.into(case)["advantage"].tolist() == A.ravel().tolist()
    assert flat.back(A.ravel(), case).tolist() == A.tolist()
    assert flat.back(np.ones(3), case).tolist() == [1, 1, 1]


def test_rewards_whose_mean_is_put_back_are_asked_for_padding_alone_and_have_to_be_recognised():
    plain, back = whitening.WHITEN, whitening.WHITEN_REWARDS
    assert (plain.loss, plain.strict, plain.general) == (False, False, True)
    assert (back.loss, back.strict, back.bugs) == (False, True, ())
    assert [identity.name for identity in back.identities] == ["padding changes nothing"]
