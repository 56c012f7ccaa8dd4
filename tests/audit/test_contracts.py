"""How an audit judges: conventions, bugs, gradients, and what it says of a bug that nobody knows."""

import json
import re
from pathlib import Path

import autograd.numpy as np
import pytest
from autograd.tracer import getval

from rlhf_lab import audit
from rlhf_lab.audit import binding, contracts, functions, pairs, report
from rlhf_lab.audit.zoo import ZOO
from rlhf_lab.audit.zoo import pairs as zoo

BETA = 0.3


@pytest.mark.parametrize(
    ("change", "convention"),
    [
        (lambda loss: loss, "a loss for each comparison"),
        (np.mean, "the mean over the batch"),
        (np.sum, "the sum over the batch"),
        (lambda loss: -np.mean(loss), "minus the loss: a number to be maximised"),
        (lambda loss: 3 * np.mean(loss), "3 times the loss: a matter of the step size"),
        (lambda loss: np.mean(loss) + 2, "a constant is added, 2: it has no gradient"),
        (lambda loss: (np.mean(loss), 7), "returns 2 results, of which the first is read"),
        (lambda loss: {"loss": np.mean(loss), "n": 7}, "returns a dictionary, of which 'loss' is read"),
    ],
)
def test_what_is_a_convention_is_told_and_no_alarm(change, convention):
    report = audit.dpo_loss(lambda *given: change(zoo.dpo_loss(*given)))
    assert report.ok
    assert report.verdict == "right"
    assert not report.smallest
    assert convention in report.conventions
    assert set(report.identities.values()) == {"holds"}


@pytest.mark.parametrize("change", [lambda x: x, np.mean, np.sum, lambda x: -np.mean(x), lambda x: 2 * np.sum(x)])
def test_a_bug_is_known_by_its_name_in_every_form(change):
    report = audit.dpo_loss(lambda *given: change(zoo.reference_crossed(*given)))
    assert not report
    assert report.verdict == "reference crossed"
    assert report.told == " ".join(zoo.reference_crossed.__doc__.split())
    assert report.where == "sec-dpo"
    assert report.smallest.startswith("Smallest input that shows it: with policy_chosen = [")
    assert report.identities["log 2 where the policy is the reference"].startswith("BROKEN: with ")
    assert report.identities["only the margin matters"] == "holds"


def test_the_smallest_input_really_shows_it():
    report = audit.dpo_loss(zoo.beta_twice)
    case = next(case for case in pairs.DPO.cases if f"with {functions.told(case)} it gives" in report.smallest)
    found, wanted = zoo.beta_twice(**case), zoo.dpo_loss(**case)
    assert np.size(found) == 1
    assert f"it gives [{found[0]:.4f}]; it should be [{wanted[0]:.4f}]" in report.smallest


def test_right_numbers_with_a_wrong_gradient_are_no_right_function():
    def frozen(pc, pr, rc, rr, beta):
        return zoo.dpo_loss(pc, getval(pr), rc, rr, beta)

    report = audit.dpo_loss(frozen)
    assert (report.ok, report.verdict) == (False, "wrong gradient")
    assert set(report.identities.values()) == {"holds"}


def test_a_bug_that_nobody_knows_is_told_by_what_breaks():
    def strange(pc, pr, rc, rr, beta):
        return zoo.dpo_loss(pc, pr, rc, rr, beta) + 0.1 * np.abs(pc - pr)

    report = audit.dpo_loss(strange)
    assert report.verdict == "wrong"
    assert "log(1 + exp(-beta h))" in report.told
    assert report.identities["log 2 where the policy is the reference"].startswith("BROKEN")
    assert report.identities["a batch is made of its comparisons"] == "holds"


def test_nan_is_told():
    report = audit.dpo_loss(lambda pc, pr, rc, rr, beta: np.log(pc))
    assert report.verdict == "not finite"


def test_a_wrong_shape_is_told_with_the_one_that_is_wanted():
    report = audit.dpo_loss(lambda pc, pr, rc, rr, beta: np.ones((2, 2)))
    assert report.verdict == "not audited"
    assert "it returns shape (2, 2); it should be () or (7,)" in report.told


def test_overflow_far_away_is_a_caution_and_no_alarm():
    def naive(pc, pr, rc, rr, beta):
        return np.mean(np.log(1 + np.exp(-beta * (pc - pr - rc + rr))))

    report = audit.dpo_loss(naive)
    assert report.ok
    assert report.identities["finite at far margins"].startswith("CAUTION: with policy_chosen = [-2000.]")


def test_a_function_that_autograd_cannot_follow_is_judged_by_its_numbers():
    def through_lists(pc, pr, rc, rr, beta):
        margins = [float(a) - float(b) - float(c) + float(d) for a, b, c, d in zip(pc, pr, rc, rr, strict=True)]
        return [float(np.logaddexp(0, -beta * h)) for h in margins]

    report = audit.dpo_loss(through_lists)
    assert report.ok
    assert "not written for automatic differentiation: only its numbers are judged" in report.conventions


def test_a_weight_inside_is_worked_out_or_told():
    def inside(pc, pr, rc, rr):
        return np.mean(zoo.dpo_loss(pc, pr, rc, rr, BETA))

    report = audit.dpo_loss(inside)
    assert report.ok
    assert "no parameter beta: 0.3, worked out from its slope, is fixed inside it" in report.conventions
    assert "twice beta is twice the margin" not in report.identities
    assert audit.dpo_loss(inside, beta=BETA).ok
    assert not audit.dpo_loss(inside, beta=0.1).ok

    def twice(pc, pr, rc, rr):
        return np.mean(zoo.beta_twice(pc, pr, rc, rr, BETA))

    assert audit.dpo_loss(twice, beta=BETA).verdict == "beta twice"
    assert audit.ipo_loss(lambda pc, pr, rc, rr: np.mean(zoo.ipo_loss(pc, pr, rc, rr, BETA))).ok


def test_a_report_is_words_for_people_and_for_programs():
    report = audit.dpo_loss(zoo.beta_twice)
    text = str(report)
    assert text.startswith("dpo_loss(beta_twice): beta twice\n  You multiply the margin by beta twice")
    assert "\n  In the book: dpo.html#sec-dpo\n" in text
    assert "\n  Convention: a loss for each comparison" in text
    again = json.loads(json.dumps(report.as_dict()))
    assert again["ok"] is False
    assert again["identities"] == report.identities
    right = str(audit.dpo_loss(zoo.dpo_loss))
    assert right.startswith("dpo_loss(dpo_loss): right\n  log 2 where")
    assert "In the book" not in right


def test_every_bug_leads_to_a_section_of_the_book():
    assert {bug.where for bug in ZOO} <= set(report.PAGES)
    for label, page in report.PAGES.items():
        text = (Path(__file__).parents[2] / "notebooks" / f"{page}.md").read_text(encoding="utf-8")
        assert re.search(rf"^\({label}\)=", text, re.MULTILINE), label


def test_every_bug_has_an_audit():
    assert {bug.audit for bug in ZOO} == set(audit.AUDITS)
    assert all(getattr(audit, name) is function for name, function in audit.AUDITS.items())


def test_a_small_number_in_a_denominator_is_told_and_no_alarm():
    report = audit.dpo_loss(lambda pc, pr, rc, rr, beta: zoo.dpo_loss(pc, pr, rc, rr, beta) * (1 + 1e-5))
    assert report.ok
    other = audit.dpo_loss(lambda pc, pr, rc, rr, b: np.mean(zoo.dpo_loss(pc, pr, rc, rr, b)) + 1e-6 * np.mean(pc))
    assert other.ok
    assert any(text.startswith("equal to four digits") for text in other.conventions)
    assert set(other.identities.values()) == {"holds"}


def test_a_wrong_gradient_is_told_with_its_input():
    def frozen(pc, pr, rc, rr, beta):
        return zoo.dpo_loss(pc, getval(pr), rc, rr, beta)

    def halved(pc, pr, rc, rr, beta):
        return zoo.dpo_loss((pc + getval(pc)) / 2, pr, rc, rr, beta)

    told = audit.dpo_loss(frozen).told
    assert told.startswith("Its numbers are right and its gradient is not: there is none in policy_rejected. Is some")
    assert "the gradient in policy_rejected is [0.]; it should be [" in told
    assert "it is another in policy_chosen." in audit.dpo_loss(halved).told
    assert audit.dpo_loss(lambda *given: getval(zoo.dpo_loss(*given))).verdict == "wrong gradient"


def test_a_function_is_seen_without_its_shift_and_its_factor():
    class Straight:
        def __call__(self, case):
            return 3 * case["x"] + 1

        def gradient(self, case, names):
            return {name: 3 * np.ones(2) for name in names}

        def differences(self, case, names):
            return {name: 6 * np.ones(2) for name in names}

    class Untraced(Straight):
        def gradient(self, case, names):
            raise binding.Trouble("not written for automatic differentiation")

    case = {"x": np.array([1.0, 2.0])}
    assert contracts.Function(Untraced(), factor=3.0).slope(case, "x").tolist() == [2, 2]
    seen = contracts.Function(Straight(), factor=3.0, shift=1.0)
    assert seen(case).tolist() == [1, 2]
    assert seen.slope(case, "x").tolist() == [1, 1]
    assert contracts.Function(Straight())(case).tolist() == [4, 7]
    assert contracts.Function(Straight()).slope(case, "x").tolist() == [3, 3]
