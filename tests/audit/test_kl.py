"""The audit of estimates of a divergence, by use: as a number, as a loss, in the reward."""

import autograd.numpy as np
import numpy as onp
import pytest
from audited import breaks
from autograd import grad
from autograd.tracer import getval

from rlhf_lab import audit
from rlhf_lab.audit import divergences, kl
from rlhf_lab.audit.binding import meant
from rlhf_lab.audit.contracts import Function, Shown
from rlhf_lab.audit.functions import Subject
from rlhf_lab.audit.zoo import ZOO
from rlhf_lab.audit.zoo import kl as zoo
from rlhf_lab.methods import policy_gradient

USES = {zoo.k3: "number", zoo.k2: "loss", zoo.k1: "reward"}
BUGS = [bug for bug in ZOO if bug.audit == "kl_estimate"]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_bugs_have_names(bug):
    report = audit.kl_estimate(bug.function, use=USES[bug.right])
    assert (report.ok, report.verdict, report.told) == (False, bug.name, bug.told)


def ratio(log_pi):
    return np.exp(log_pi - getval(log_pi))


RIGHT = {
    "number": {
        "k1": lambda log_pi, log_ref: log_pi - log_ref,
        "k3": lambda logprobs, ref_logprobs: onp.expm1(ref_logprobs - logprobs) - (ref_logprobs - logprobs),
        "mean": lambda lp, ref: onp.mean(lp - ref),
        "sum": lambda lp, ref: onp.sum(lp - ref),
        "masked": lambda logp, ref_logp, mask: ((logp - ref_logp) * mask).sum() / mask.sum(),
        "columns": lambda logp, ref_logp: (logp - ref_logp).sum(axis=1),
        "log-ratio": lambda log_ratio: onp.exp(-log_ratio) - 1 + log_ratio,
        "log-ratio the other way": lambda logr: onp.exp(logr) - 1 - logr,
        "its own": lambda lp, ref: (lp - ref) + 0.3 * (onp.exp(ref - lp) - 1),
        "wider": lambda lp, ref: (lp - ref) - 2 * (onp.exp(ref - lp) - 1),
    },
    "loss": {
        "k2": lambda lp, ref: 0.5 * (lp - ref) ** 2,
        "mean of k2": lambda lp, ref: np.mean((lp - ref) ** 2) / 2,
        "k1 with the score": lambda lp, ref: ratio(lp) * (lp - ref),
        "k1 by hand": lambda lp, ref: getval(lp - ref) * lp,
        "k3 with the ratio": lambda lp, ref: ratio(lp) * (np.exp(ref - lp) - 1 + lp - ref),
        "straight through": lambda lp, ref: getval(zoo.k3(lp, ref)) + zoo.k2(lp, ref) - getval(zoo.k2(lp, ref)),
        "with a baseline": lambda lp, ref: (getval(lp - ref) - 0.7) * lp,
        "k2 in plain NumPy": lambda lp, ref: onp.square(lp - ref) / 2,
    },
    "reward": {
        "k1": lambda lp, ref: lp - ref,
        "less a constant": lambda lp, ref: lp - ref - 0.4,
        "detached": lambda lp, ref: getval(lp) - ref,
        "columns": lambda lp, ref: (lp - ref).sum(axis=1),
    },
}


@pytest.mark.parametrize(("use", "name"), [(use, name) for use, each in RIGHT.items() for name in each])
def test_right_estimates_pass_those_that_nobody_listed_too(use, name):
    report = audit.kl_estimate(RIGHT[use][name], use=use)
    assert report.ok, str(report)
    assert set(report.identities.values()) == {"holds"}


@pytest.mark.parametrize(
    ("use", "estimate", "name"),
    [
        ("number", lambda lp, ref: onp.mean(ref - lp), "KL with its sign turned"),
        ("number", lambda lp, ref: -(lp - ref) + 0.3 * (onp.exp(ref - lp) - 1), "KL with its sign turned"),
        ("number", lambda lp, ref: onp.mean(onp.abs(ref - lp)), "absolute log-ratio"),
        ("number", lambda lp, ref: onp.mean((ref - lp) ** 2) / 2, "k2 as a number"),
        ("loss", lambda lp, ref: np.mean(lp - ref) + 1, "k1 as a loss"),
        ("loss", lambda lp, ref: np.mean(np.exp(ref - lp)), "k3 as a loss"),
        ("loss", lambda lp, ref: np.mean((lp - ref) ** 2), "half missing"),
        ("loss", lambda lp, ref: 2 * ratio(lp) * (lp - ref), "half missing"),
        ("loss", lambda lp, ref: -getval(lp - ref) * lp, "KL with its sign turned"),
        ("reward", lambda lp, ref: ref - lp + 3, "KL with its sign turned"),
        ("reward", lambda lp, ref: np.exp(ref - lp) + lp - ref, "k3 in the reward"),
        ("number", lambda lp, ref: (lp - ref) ** 3, "wrong"),
        ("loss", lambda lp, ref: (lp - ref) ** 4, "wrong"),
    ],
)
def test_bugs_in_other_forms(use, estimate, name):
    assert audit.kl_estimate(estimate, use=use).verdict == name


@pytest.mark.parametrize("estimator", [policy_gradient.k1, policy_gradient.k2, policy_gradient.k3])
@pytest.mark.parametrize("in_reward", [False, True])
def test_its_key_is_the_gradient_of_the_package(estimator, in_reward):
    """Samples of pi, each as often as pi says: the surrogate's gradient passes where the audit says so."""
    verdict = audit.kl_estimate(lambda lp, ref: estimator(lp - ref), use="reward" if in_reward else "loss").ok
    right = []
    for chances in divergences.TENTHS:
        case, which = divergences.enumerated(*chances)
        slope = grad(policy_gradient.surrogate, 1)(estimator, case["log_pi"], case["log_ref"], in_reward=in_reward)
        pi = onp.array(chances[0]) / 10
        logits = onp.bincount(which, slope) - pi * slope.sum()
        right.append(onp.allclose(logits, divergences.divergence(case, which)[1]))
    assert all(right) == verdict
    assert verdict == (estimator is (policy_gradient.k1 if in_reward else policy_gradient.k2))


def test_chances_in_tenths_sum_to_ten_and_both_policies_differ():
    for pair in divergences.TENTHS:
        assert [sum(chances) for chances in pair] == [10, 10]
        assert pair[0] != pair[1]
        assert min(map(min, pair)) > 0


@pytest.mark.parametrize("chances", divergences.TENTHS)
def test_the_divergence_is_the_sum_of_the_book(chances):
    case, which = divergences.enumerated(*chances)
    pi, ref = (onp.array(each) / 10 for each in chances)

    def of(logits):
        log_pi = logits - np.log(np.sum(np.exp(logits)))
        return np.sum(np.exp(log_pi) * (log_pi - np.log(ref)))

    assert [sum(each) for each in chances] == [10, 10]
    assert case["mask"].tolist() == [1.0] * 10
    assert [int(np.sum(which == y)) for y in range(len(pi))] == list(chances[0])
    value, slope = divergences.divergence(case, which)
    assert value == pytest.approx(of(onp.log(pi)))
    assert slope == pytest.approx(grad(of)(onp.log(pi)))


@pytest.mark.parametrize("size", [1.0, 0.01])
def test_a_sum_over_samples_is_read_as_one_and_a_mean_as_a_mean(size):
    for add in (onp.sum, onp.mean, lambda x: x):
        shown = list(divergences.mean(lambda case, add=add: size * add(case["log_pi"] - case["log_ref"]), ()))
        assert [s.found for s in shown] == pytest.approx([size * float(s.wanted) for s in shown])
    constant = list(divergences.mean(lambda case: onp.array(3.0), ()))
    assert [s.found for s in constant] == [3.0] * len(divergences.TENTHS)
    nothing = list(divergences.mean(lambda case: onp.array(0.0), ()))
    assert [s.found for s in nothing] == [0.0] * len(divergences.TENTHS)


@pytest.mark.parametrize(
    ("wrong", "found", "seen"),
    [(1.0, 1.0, 4), (1.0, 1.00005, 4), (1.0, 1.001, 0), (1.0, 0.6, 0), (0.0, 5e-6, 4), (0.0, 2e-5, 0)],
)
def test_a_known_mistake_is_shown_if_all_is_what_it_gives(wrong, found, seen):
    def look(estimate, cases):
        return [Shown(cases, found * onp.ones(2), onp.zeros(2)) for _ in divergences.TENTHS]

    def one_apart(estimate, cases):
        return [*look(estimate, cases)[1:], Shown(cases, onp.array([found, 7.0]), onp.zeros(2))]

    given = lambda case, which: wrong * onp.ones(2)  # noqa: E731
    assert len(list(divergences.is_not(given, look, None, ()))) == seen
    assert list(divergences.is_not(given, one_apart, None, ())) == []


@pytest.mark.parametrize(
    ("use", "estimate", "mistakes"),
    [
        ("number", zoo.k1, []),
        ("number", lambda lp, ref: -zoo.k3(lp, ref), ["and not minus the divergence"]),
        ("loss", zoo.k2, []),
        ("loss", zoo.k1, ["and not 0"]),
        ("loss", zoo.k3, ["and not that of KL(pi_ref || pi)"]),
        ("loss", lambda lp, ref: -zoo.k2(lp, ref), ["and not minus it"]),
        ("loss", lambda lp, ref: 2 * zoo.k2(lp, ref), ["and not twice it"]),
        ("reward", zoo.k1, []),
        ("reward", lambda lp, ref: -zoo.k1(lp, ref), ["and not minus it"]),
        ("reward", zoo.k3, ["and not less that of KL(pi_ref || pi)"]),
    ],
)
def test_each_known_mistake_is_asked_for_by_itself(use, estimate, mistakes):
    contract = kl.USES[use]
    asked = Function(Subject(estimate, contract.inputs, contract.cases))
    seen = [i.name for i in contract.identities if i.name.startswith("and not") and [*i.look(asked, contract.cases)]]
    assert seen == mistakes


def test_a_batch_of_samples_is_all_of_them_or_their_mean_or_sum():
    case = kl.USES["number"].cases[-1]
    for estimate in (lambda c: c["log_pi"], lambda c: c["log_pi"].mean(), lambda c: c["log_pi"].sum()):
        (shown,) = divergences.BATCH.look(estimate, [case])
        onp.testing.assert_allclose(shown.found, shown.wanted)
        assert shown.case is case
    for estimate in (lambda c: c["log_pi"] - c["log_pi"].mean(), lambda c: c["log_pi"].sum() ** 2):
        (shown,) = divergences.BATCH.look(estimate, [case])
        assert not np.allclose(shown.found, shown.wanted)


@pytest.mark.parametrize("use", kl.USES)
def test_estimates_of_every_use_take_the_same_inputs(use):
    contract = kl.USES[use]
    assert (contract.name, contract.loss, contract.general) == ("kl_estimate", False, True)
    assert contract.result.startswith({"number": "an estimate", "loss": "a loss", "reward": "a number for each"}[use])
    assert contract.trained == (("log_pi",) if use == "loss" else ())
    names = ("logprobs", "ref_logprobs", "old_logprobs", "mask")
    assert [meant(name, contract.inputs) for name in names] == ["log_pi", "log_ref", "log_ref", "mask"]


def test_bugs_of_the_first_right_estimate_come_first_and_in_the_order_of_the_zoo():
    wanted = [[bug.name for bug in BUGS if bug.right is right] for right in (zoo.k3, zoo.k1)]
    assert [bug.name for bug in kl._bugs(zoo.k3, zoo.k1)] == [*wanted[0], *wanted[1]]


def test_samples_may_be_columns_of_one():
    _, columns = kl.LAYOUTS
    three = onp.array([1.0, 2.0, 3.0])
    assert columns.into({"log_pi": three})["log_pi"].tolist() == [[1], [2], [3]]
    assert columns.back(three[:, None], {}).tolist() == [1, 2, 3]
    assert columns.back(three, {}) is three
    assert columns.back(onp.array(2.0), {}) == 2.0


def test_an_estimate_is_a_number_unless_another_use_is_told():
    assert audit.kl_estimate(zoo.k1).ok
    assert audit.kl_estimate(zoo.k2).verdict == audit.kl_estimate(zoo.k2, use="number").verdict


def test_every_identity_is_broken_by_something():
    for use, contract in kl.USES.items():
        functions = [bug.function for bug in BUGS] + [lambda lp, ref: np.ones(lp.shape) * np.mean(lp)]
        functions += [lambda lp, ref: ref - lp, lambda lp, ref: -getval(lp - ref) * lp]
        functions += [] if use == "reward" else [lambda lp, ref: np.mean(lp - ref) ** 2]
        broken = set().union(*(breaks(contract, f) for f in functions))
        assert broken == {identity.name for identity in contract.identities}


def test_another_use_is_a_question():
    with pytest.raises(ValueError, match="use is one of number, loss, reward; got 'metric'"):
        audit.kl_estimate(zoo.k3, use="metric")
