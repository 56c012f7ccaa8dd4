"""How numbers are compared with those of a function of ours: on lines, where they are finite, and by their shapes."""

import numpy as np
import pytest

from rlhf_lab import audit
from rlhf_lab.audit import binding, contracts, functions, recognition
from rlhf_lab.audit.pairs import DPO
from rlhf_lab.audit.whitening import WHITEN
from rlhf_lab.audit.zoo import pairs as zoo


@pytest.mark.parametrize(
    ("found", "wanted", "may_be"),
    [
        ([1, 3, 5], [0, 1, 2], True),  # 1 + 2 x
        ([1, 3, 5], [0, 0.1, 0.2], True),
        ([0, 9, 0], [0, 1, 2], False),
        ([0, 9, 0], [0, 0.1, 0.2], False),
        ([0, 9], [0, 1], True),  # two numbers are always on a line
        ([0, 9, 0], [1, 1, 1], True),  # and nothing is told by numbers that are all the same
        ([np.nan, 9, 0], [0, 1, 2], True),  # or by those that are none, which the comparison of all numbers sees
        ([0, 9, 0], [0, np.inf, 2], True),
    ],
)
def test_numbers_of_a_few_cases_may_be_on_a_line(found, wanted, may_be):
    one = [np.array(numbers, dtype=float) for numbers in (found, wanted)]
    assert recognition._on_a_line(*([part] for part in one)) == may_be
    assert recognition._on_a_line([one[0], np.ones(3)], [one[1]]) == may_be  # the second case was not compared yet


def test_lines_are_asked_of_six_cases_at_most():
    found, wanted = [[np.array(x)] * 7 for x in ([0.0, 9.0, 0.0], [0.0, 1.0, 2.0])]
    assert not recognition._on_a_line(found[:6], wanted[:6])
    assert recognition._on_a_line(found, wanted)


def test_a_constant_that_is_added_leaves_the_factor_at_1():
    report = audit.dpo_loss(lambda *given: np.mean(zoo.dpo_loss(*given)) + 2)
    assert [text for text in report.conventions if "times the loss" in text] == []
    assert "a constant is added, 2: it has no gradient" in report.conventions


def test_overflow_of_a_function_of_ours_is_no_warning():
    right = contracts.Right("", lambda x: np.exp(x))
    assert recognition.result_of(right, contracts.Form(""), {"x": np.array([1e4])}) == np.inf


def test_what_is_finite_is_no_function_that_is_not():
    def infinite(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
        return np.where(policy_chosen < policy_rejected, np.inf, policy_chosen)

    cases = list(DPO.cases)
    subject = functions.Subject(zoo.dpo_loss, DPO.inputs, cases)
    seen = recognition.see(DPO, subject, cases)
    assert recognition.recognised(DPO, [contracts.Right("", infinite)], (), seen, cases) is None


def test_a_shape_is_told_of_the_largest_case():
    def apart(advantage, mask):
        return np.ones(len(mask) + 3)

    cases = list(WHITEN.cases)
    subject = functions.Subject(apart, WHITEN.inputs, cases)
    rows = len(cases[-1]["mask"])
    assert rows != len(cases[-2]["mask"])
    with pytest.raises(binding.Trouble, match=rf"it returns shape \({rows + 3},\); it should be "):
        recognition.likely(WHITEN, WHITEN.rights[:1], recognition.see(WHITEN, subject, cases), cases)
