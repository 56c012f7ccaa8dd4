"""What the identities of texts change: only what a right function does not see."""

import numpy as np
import pytest

from rlhf_lab.audit import text_cases
from rlhf_lab.audit.zoo import tokens

CASES = text_cases.text_cases()
ONE = [case for case in CASES if len(case["mask"]) == 1]


def changed(case, other):
    """The places whose logits differ, and that they do not by the same number for all tokens."""
    apart = other["logits"] - case["logits"]
    assert (np.ptp(apart, axis=-1) > 0).tolist() == (apart != 0).any(-1).tolist()
    return (apart != 0).any(-1).tolist()


def log_probs(case):
    return tokens.log_probs(case["logits"], case["tokens"], case["mask"])


@pytest.mark.parametrize("case", CASES)
def test_other_prompts_and_ends_change_what_does_not_predict_the_answer(case):
    length = case["mask"].shape[1]
    answers = [np.flatnonzero(row) for row in case["mask"]]
    before = [[t < answer[0] - 1 for t in range(length)] for answer in answers]
    behind = [[t >= answer[-1] for t in range(length)] for answer in answers]
    for change, places in ((text_cases.other_prompt, before), (text_cases.other_end, behind)):
        other = change(case)
        assert changed(case, other) == places
        np.testing.assert_array_equal(other["logits"], change(case)["logits"])
        np.testing.assert_allclose(log_probs(other), log_probs(case))
        assert other.keys() == case.keys()


@pytest.mark.parametrize("case", CASES)
def test_a_constant_is_another_at_neighbouring_places(case):
    apart = text_cases.constant(case)["logits"] - case["logits"]
    assert apart.any()
    np.testing.assert_allclose(np.ptp(apart, axis=-1), 0, atol=1e-12)
    assert np.diff(apart[0, :, 0]).all()


@pytest.mark.parametrize("case", CASES)
def test_more_padding_and_more_heat_change_nothing(case):
    longer, hotter = text_cases.more_padding(case), text_cases.hotter(case)
    assert [longer[name].shape[1] - case[name].shape[1] for name in ("logits", "tokens", "mask")] == [1, 1, 1]
    np.testing.assert_allclose(log_probs(longer)[:, :-1], log_probs(case))
    assert not log_probs(longer)[:, -1].any()
    np.testing.assert_allclose(tokens.log_probs_at(**hotter), tokens.log_probs_at(**case))
    assert hotter["temperature"] == 2 * case["temperature"]


def test_a_likelier_last_token_counts_as_much_as_a_likelier_first_one():
    shown = list(text_cases.ends(lambda case: log_probs(case), CASES))
    assert len(shown) == len(ONE)
    for case, found, wanted in shown:
        np.testing.assert_allclose(found, wanted)
        likelier = 1 - np.log(np.mean(np.exp([1.0] + [0.0] * (case["logits"].shape[-1] - 1))))
        np.testing.assert_allclose(wanted, likelier)
        assert (case["logits"] != 0).sum() == 1
        first = np.argmax(case["mask"])
        assert case["logits"][0, first - 1, case["tokens"][0, first]] == 1.0
    without_last = list(text_cases.ends(lambda case: log_probs(case | {"mask": case["mask"] * (np.cumsum(
        case["mask"], axis=-1) == 1)}), CASES))  # fmt: skip
    assert [float(s.found) for s in without_last] == [0.0] * len(ONE)
    assert all(s.wanted > 0.1 for s in without_last)


def test_texts_are_small_ones_and_larger_ones_at_several_temperatures():
    assert [case["logits"].shape[:2] for case in CASES] == [(1, 5)] * 4 + [(3, 8)] * 2
    assert len({case["temperature"] for case in CASES}) > 2
    for case in CASES + tuple(text_cases.SINGLE):
        begin, end = (case["mask"] > 0).argmax(1), case["mask"].cumsum(1).argmax(1) + 1
        rows = zip(case["mask"], begin, end, strict=True)
        assert all((row == [0] * b + [1] * (e - b) + [0] * (len(row) - e)).all() for row, b, e in rows)
        assert begin.min() >= 2
        assert end.max() < case["mask"].shape[1]
        np.testing.assert_array_equal(np.round(case["logits"], 1), case["logits"])
        assert 0 <= case["tokens"].min() <= case["tokens"].max() < case["logits"].shape[-1]
    assert [case["mask"].sum() for case in text_cases.SINGLE] == [1.0] * 4
    assert [case["mask"].sum() for case in ONE] == [2.0] * 4


VALUES = np.array([[1.0, 2.0, 4.0], [8.0, 0.0, 0.0]])
MARKED = {"mask": np.array([[0.0, 1, 1, 1], [0, 1, 0, 0]])}
SHAPES = {
    "a number for each place but the first": [[1, 2, 4], [8, 0, 0]],
    "a number for each place, 0 for the first": [[0, 1, 2, 4], [0, 8, 0, 0]],
    "a number for each place, 0 for the last": [[1, 2, 4, 0], [8, 0, 0, 0]],
    "the tokens of all answers in one row": [1, 2, 4, 8],
    "the sum over the tokens of each answer": [7, 8],
    "the mean over all tokens": 15 / 4,
    "the mean over answers of the mean over their tokens": (7 / 3 + 8) / 2,
    "the sum over all tokens": 15,
    "the sum over tokens, the mean over answers": 7.5,
    "the mean over the tokens of each answer": [7 / 3, 8],
}


def test_forms_of_numbers_of_tokens():
    forms = (*text_cases.PLACED, text_cases.SUM, *text_cases.WHOLE)
    assert {form.name for form in forms} == set(SHAPES)
    for form in forms:
        np.testing.assert_allclose(form.shape(VALUES, MARKED), SHAPES[form.name], err_msg=form.name)
        assert form.shape(np.array([1.0, 2.0]), MARKED).shape == (0,)  # what others cannot take
    assert text_cases.AS_IT_IS.name == ""
    assert text_cases.AS_IT_IS.shape(VALUES, MARKED) is VALUES


def test_probabilities_of_the_next_token_are_added_up():
    for sign in (1, -1):
        shown = list(text_cases.sums_to_one(sign, lambda case, s=sign: s * log_probs(case), CASES))
        assert [(float(s.found), float(s.wanted)) for s in shown] == [(pytest.approx(1.0), 1.0)] * 2
        assert all(s.case is case for s, case in zip(shown, text_cases.SINGLE, strict=False))
        twice = list(text_cases.sums_to_one(sign, lambda case, s=sign: s * (log_probs(case) + np.log(2)), CASES))
        places = [case["mask"].shape[1] - 1 for case in text_cases.SINGLE[:2]]
        assert [float(s.found) for s in twice] == pytest.approx([2.0**n for n in places])
    for seed, case in enumerate(text_cases.SINGLE):  # which are as they were
        assert case["tokens"].tolist() == text_cases.text(np.random.default_rng(seed), 1, 5, 1)["tokens"].tolist()


def test_a_key_is_the_same_form_in_all_cases():
    forms = (*text_cases.PLACED, text_cases.SUM)
    for form in forms:
        shown = list(text_cases.key_of(tokens.log_probs, forms, lambda c, f=form: f.shape(log_probs(c), c), CASES))
        assert len(shown) == len(CASES)
        for s in shown:
            np.testing.assert_allclose(s.found, s.wanted)
    near = list(text_cases.key_of(tokens.log_probs, forms, lambda c: log_probs(c).sum(1) + 0.1, CASES))
    assert [np.round(s.found - s.wanted, 9).tolist() for s in near] == [[0.1] * len(c["mask"]) for c in CASES]
    assert list(text_cases.key_of(tokens.log_probs, forms, lambda c: np.ones(77), CASES)) == []


def test_what_leaves_a_result_as_it_is_is_asked_of_single_texts():
    shown = list(text_cases.same(text_cases.hotter, lambda case: np.sum(case["logits"]), CASES))
    assert [float(s.found) for s in shown] == pytest.approx([2 * float(s.wanted) for s in shown])
    assert [s.case["temperature"] for s in shown] == [2 * case["temperature"] for case in ONE]


def test_labels_hold_the_mask_and_single_texts_have_no_rows():
    for case in CASES:
        labels = text_cases.labelled(case)["labels"]
        assert ((labels == -100) == (case["mask"] == 0)).all()
        assert (labels[case["mask"] > 0] == case["tokens"][case["mask"] > 0]).all()
    one = text_cases.ONE
    assert list(one.cases(CASES)) == ONE
    into = one.into(ONE[0])
    assert [into[name].shape for name in ("logits", "tokens", "mask")] == [(5, 3), (5,), (5,)]
    assert one.back(np.ones(4), ONE[0]).shape == (1, 4)


def test_a_form_of_numbers_for_each_token_is_not_for_others():
    form = text_cases._tokenwise(lambda values, case: [values, case])
    case = {"mask": np.ones((2, 4))}
    each = np.arange(6.0).reshape(2, 3)
    found = form(each, case)
    assert found[0] is each
    assert found[1] is case
    for values in (np.zeros((2, 4)), np.zeros((2, 2)), np.zeros(2)):
        assert form(values, case).shape == (0,)


def test_temperatures_that_people_write_are_tried_where_one_is_fixed_inside():
    assert {0.5, 0.6, 0.7, 0.8, 0.9, 2.0} <= set(text_cases.TEMPERATURE.usual)
    assert text_cases.TEMPERATURE.absent(None, {}) == 1.0
    assert text_cases.MASK.absent(None, CASES[0]) is CASES[0]["mask"]
