"""The forms of losses of batches, by hand."""

import numpy as np
import pytest

from rlhf_lab.audit import batches

CASE = {"mask": np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])}
MEANS = np.array([2.0, 5.0])  # over three tokens and over one: sums of 6 and 5
PLACES = np.array([[1.0, 2.0, 3.0], [5.0, 7.0, 8.0]])
BY_HAND = {
    "the mean over all tokens": 11 / 4,
    "the mean over the tokens of each answer, and over answers": 7 / 2,
    "the sum over tokens, and the mean over answers": 11 / 2,
    "the sum over tokens, divided by a constant: all places, or batch times longest answer": 11 / 6,
    "the sum over all tokens": 11,
    "a loss for each answer, the mean over its tokens": [2, 5],
    "a loss for each answer, the sum over its tokens": [6, 5],
    "a loss for each token, 0 on padding": [[1, 2, 3], [5, 0, 0]],
    "a loss for each token, not masked yet: do that where you average": [[1, 2, 3], [5, 7, 8]],
}


def test_every_form_is_here():
    assert [form.name for form in batches.FORMS] == [*BY_HAND, ""]


@pytest.mark.parametrize("name", BY_HAND)
def test_losses_of_answers_and_of_tokens_in_each_form(name):
    (form,) = [form for form in batches.FORMS if form.name == name]
    of_tokens = name.startswith("a loss for each token")
    assert form.call is (batches.by_token if of_tokens else batches.by_answer)
    np.testing.assert_allclose(form.shape(PLACES if of_tokens else MEANS, CASE), BY_HAND[name])
