"""Bugs of texts in other shapes, beside loops over the places; with a temperature, without a mask, by token."""

import numpy as np
import pytest
from scipy.special import log_softmax

from rlhf_lab.audit import text_bugs
from rlhf_lab.audit.zoo import ZOO
from rlhf_lab.audit.zoo import tokens as zoo

LOGITS = np.random.default_rng(0).normal(size=(2, 6, 3))
TOKENS = np.array([[0, 2, 1, 1, 0, 2], [1, 0, 2, 0, 1, 1]])
MASK = np.array([[0.0, 0, 1, 1, 1, 0], [0, 0, 0, 1, 1, 0]])
TEXT = {"logits": LOGITS, "tokens": TOKENS, "mask": MASK}
LOG_PI = log_softmax(LOGITS, axis=-1)
OVER_PLACES = log_softmax(LOGITS[:, :5], axis=1)  # the last place predicts nothing
SUMS = [sum(LOG_PI[n, t - 1, TOKENS[n, t]] for t in range(1, 6) if MASK[n, t]) for n in range(2)]


SHAPES = [
    ("shifted twice", [[LOG_PI[n, t, TOKENS[n, t + 2]] * MASK[n, t + 2] for t in range(4)] for n in range(2)]),
    ("not shifted", [[LOG_PI[n, t, TOKENS[n, t]] * MASK[n, t] for t in range(5)] for n in range(2)]),
    ("softmax over positions", [
        [OVER_PLACES[n, t, TOKENS[n, t + 1]] * MASK[n, t + 1] for t in range(5)] for n in range(2)
    ]),
    ("mean over tokens", [total / 5 for total in SUMS]),
    ("mean over tokens", [total / 6 for total in SUMS]),
    ("mean over tokens", sum(SUMS) / 5),  # 3 tokens and 2
    ("likeliest token", [[max(LOGITS[n, t]) * MASK[n, t + 1] for t in range(5)] for n in range(2)]),
    ("prompt in the mean", -sum(SUMS) / 8),  # both answers end at the fourth token behind the first
    ("padding in the mean", -sum(SUMS) / 12),
]  # fmt: skip


def test_other_shapes_of_bugs_are_what_their_names_say():
    found = list(text_bugs._in_other_shapes())
    assert [name for name, _ in found] == [name for name, _ in SHAPES]
    for (name, function), (_, wanted) in zip(found, SHAPES, strict=True):
        with np.errstate(invalid="ignore"):  # -inf times 0, at the place that predicts nothing
            np.testing.assert_allclose(function(**TEXT), wanted, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("kind", ["log_probs", "sft_loss"])
def test_the_bugs_of_an_audit_are_those_of_the_zoo_and_their_other_shapes(kind):
    listed = [bug for bug in ZOO if bug.audit == kind]
    names = [bug.name for bug in listed]
    names += [name for name, _ in SHAPES if name in names]
    found = text_bugs.bugs_of(kind, lambda bug: ("adapted", bug.function))
    assert [bug.name for bug in found] == names
    assert [bug.function for bug in found[: len(listed)]] == [("adapted", bug.function) for bug in listed]
    assert {bug.function[0] for bug in found} == {"adapted"}
    assert len({bug.function[1] for bug in found}) == len(names)


def of(name):
    return next(bug for bug in ZOO if bug.name == name)


def test_a_bug_without_a_temperature_takes_logits_over_it():
    cold = TEXT | {"logits": LOGITS / 2}
    found = text_bugs.at_temperature(of("not shifted"))(**TEXT, temperature=2.0)
    np.testing.assert_array_equal(found, zoo.not_shifted(**cold))
    for name in ("temperature ignored", "temperature multiplies"):
        assert text_bugs.at_temperature(of(name)) is of(name).function


def test_without_a_mask_every_token_counts():
    everywhere = {"logits": LOGITS, "tokens": TOKENS, "mask": np.ones((2, 6))}
    found = text_bugs.everywhere(of("not shifted"))(**TEXT, temperature=1.0)
    np.testing.assert_array_equal(found, zoo.not_shifted(**everywhere))
    found = text_bugs.everywhere(of("temperature multiplies"))(**TEXT, temperature=2.0)
    np.testing.assert_array_equal(found, zoo.temperature_multiplies(**everywhere, temperature=2.0))


def test_a_mean_over_tokens_has_the_numbers_of_its_tokens():
    assert set(text_bugs.BY_TOKEN) < {bug.name for bug in ZOO if bug.audit == "sft_loss"}
    for name in text_bugs.BY_TOKEN:
        each, mean = text_bugs.by_token(of(name))(**TEXT), of(name).function(**TEXT)
        assert each.shape[0] == 2, name
        counts = np.array([np.sum(mean) * k for k in range(1, 11)])  # of the 10 places that are predicted
        assert np.isclose(np.sum(each), counts).any(), name
    assert text_bugs.by_token(of("padding in the mean")) is of("padding in the mean").function
