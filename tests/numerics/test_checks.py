"""Errors say what was given and what to do."""

import numpy as np
import pytest

from rlhf_lab.numerics import checks


def test_good_values_pass_through():
    assert checks.tokens("x", [[0, 3]], 4).dtype == np.intp
    assert checks.tokens("x", np.zeros((2, 0)), 4).shape == (2, 0)
    assert checks.tally([2, 0, 2]).tolist() == [1, 0, 2]
    assert checks.tally([2, 0, 2], [0.5, 1, 2], 4).tolist() == [1, 0, 2.5, 0]
    assert checks.tally(np.array([1], np.uint64), size=3).tolist() == [0, 1, 0]
    assert checks.horizon(3.0) == 3
    assert isinstance(checks.horizon(3.0), int)
    assert checks.horizon(1) == 1
    assert checks.positive("beta", 0.1) == 0.1
    assert checks.not_negative("w", 0, "a weight") == 0
    assert checks.count("n", 3.0, "a number") == 3
    assert isinstance(checks.count("n", 1.0, "a number"), int)
    checks.answer_rewards([[1, 2], [3, 4]], (5, 7, 2))
    assert checks.probabilities("p", [0.25, 0.75]).tolist() == [0.25, 0.75]
    assert checks.probabilities("p", [[0.0, 1.0], [0.5, 0.5 + 1e-10]]).shape == (2, 2)
    assert checks.share("p", 0.3) == 0.3
    assert checks.share("p", [0.0, 1.0]) == [0.0, 1.0]
    assert checks.labels("label", [[0, 1], [0.5, 1]]).tolist() == [[0, 1], [0.5, 1]]
    assert checks.preference_matrix([[0.5, 0.3], [0.7, 0.5]]).tolist() == [[0.5, 0.3], [0.7, 0.5]]
    assert checks.ill_conditioned(np.diag([1.0, 2e-12])) is False
    assert checks.ill_conditioned(np.array([np.eye(2), np.diag([1.0, 5e-13])])) is True
    checks.finite({"w": np.ones(3)})
    checks.sizes(2, 1)
    checks.sizes(2, None)
    checks.same_batch(np.zeros((2, 1)), np.zeros((5, 2, 3)))


BAD = {
    "a row": (lambda: checks.tokens("x", [1, 2], 4), r"x must have shape \(N, T\), one row a text; got shape \(2,\)"),
    "floats": (lambda: checks.tokens("x", [[0.5]], 4), "x must be integers, the indices of tokens; got float64"),
    "ragged": (lambda: checks.tokens("x", [[1], [1, 2]], 4), "x: the rows have different lengths; pad or group them"),
    "too large": (lambda: checks.tokens("x", [[0, 4]], 4), "x: token 4 is outside the vocabulary of 4 tokens, 0 to 3"),
    "too large for 32 bits": (lambda: checks.tokens("x", np.array([[2**32]]), 4), "x: token 4294967296 is outside"),
    "negative": (lambda: checks.tokens("x", [[0, -2]], 4), "x: token -2 is outside the vocabulary of 4 tokens"),
    "share above": (lambda: checks.share("p", [0.5, 1.1, -2]), r"p must lie in \[0, 1\]; got 1.1"),
    "share nan": (lambda: checks.share("p", np.nan), r"p must lie in \[0, 1\]; got nan"),
    "label": (lambda: checks.labels("l", [1, 0.7, 3]), r"l must be 1 .*, 0 .* or 1/2 \(a tie\); got 0.7"),
    "no labels": (lambda: checks.labels("l", []), "l is empty; at least one comparison is needed"),
    "lopsided": (
        lambda: checks.preference_matrix([[0.5, 0.3], [0.6, 0.5]]),
        r"matrix must be \(A, A\) with P\[a, b\] \+ P\[b, a\] = 1 and 1/2 on the diagonal; this one, of shape \(2, 2\)",
    ),
    "not square": (lambda: checks.preference_matrix([[0.5, 0.5]]), r"of shape \(1, 2\), is not"),
    "one answer": (lambda: checks.preference_matrix([[0.5]]), r"of shape \(1, 1\), is not"),
    "horizon 0": (lambda: checks.horizon(0), "at least 1; got 0"),
    "horizon 1.5": (lambda: checks.horizon(1.5), "at least 1; got 1.5"),
    "horizon nan": (lambda: checks.horizon(np.nan), "at least 1; got nan"),
    "horizon inf": (lambda: checks.horizon(np.inf), "at least 1; got inf"),
    "beta 0": (lambda: checks.positive("beta", 0), "beta must be finite and above 0; got 0"),
    "beta inf": (lambda: checks.positive("beta", np.inf), "beta must be finite and above 0; got inf"),
    "beta nan": (lambda: checks.positive("beta", np.nan), "beta must be finite and above 0; got nan"),
    "below 0": (lambda: checks.not_negative("w", -0.1, "a w"), r"^w is a w, finite and at least 0; got -0\.1$"),
    "w nan": (lambda: checks.not_negative("w", np.nan, "a weight"), "finite and at least 0; got nan"),
    "w inf": (lambda: checks.not_negative("w", np.inf, "a weight"), "finite and at least 0; got inf"),
    "no count": (lambda: checks.count("n", 0, "so many"), "^n is so many, a whole number from 1 on; got 0$"),
    "half a count": (lambda: checks.count("n", 1.5, "so many"), "got 1.5"),
    "count nan": (lambda: checks.count("n", np.nan, "so many"), "got nan"),
    "count inf": (lambda: checks.count("n", np.inf, "so many"), "got inf"),
    "a reward for all": (
        lambda: checks.answer_rewards(np.ones((3, 1)), (3, 4)),
        r"^there must be one reward for each of the 4 answers, last axis; got shape \(3, 1\)$",
    ),
    "no axis": (lambda: checks.answer_rewards(1.0, (4,)), r"of the 4 answers, last axis; got shape \(\)"),
    "reward nan": (
        lambda: checks.answer_rewards([np.nan, 0, -np.inf], (3,)),
        "^rewards must be finite; 2 of 3 are NaN or infinite$",
    ),
    "sum": (lambda: checks.probabilities("p", [0.5, 0.6]), "p must sum to 1; the sum is 1.1: divide by it"),
    "worst sum": (lambda: checks.probabilities("p", [[0.5, 0.5], [1, 1], [0.5, 0.6]]), "the sum is 2: divide by it"),
    "negative p": (
        lambda: checks.probabilities("p", [-0.5, 1.5]),
        "p must be finite and not negative; the smallest is -0.5",
    ),
    "nan p": (lambda: checks.probabilities("p", [np.nan, 1.0]), "p must be finite and not negative"),
    "nan params": (
        lambda: checks.finite({"a": np.ones(2), "w": np.array([1, np.nan, np.inf])}),
        r"params\['w'\] has 2 entries that are NaN or infinite; start from model.init\(rng\)",
    ),
    "vocab 1": (lambda: checks.sizes(1, None), "at least 2 tokens; got a vocabulary of 1"),
    "eos": (lambda: checks.sizes(5, 5), "eos must be the last token, 4, or None; got 5"),
    "batch": (lambda: checks.same_batch(np.zeros((2, 1)), np.zeros((3, 1))), "2 prompts, but 3 responses"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_values_are_told(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_details_of_probabilities():
    assert checks.probabilities("p", [0, 1]).dtype == float
    assert checks.probabilities("p", [0.5, 0.75], atol=0.25).tolist() == [0.5, 0.75]
    with pytest.raises(ValueError, match=r"the sum is 0\.2: divide by it"):
        checks.probabilities("p", [[0.5, 0.6], [0.1, 0.1]])


def test_a_logit_of_minus_infinity_forbids_a_token_and_no_other_array_may_hold_one():
    logits = np.array([[0.0, -np.inf], [1.0, 2.0]])
    checks.finite({"logits": logits})
    with pytest.raises(ValueError, match=r"^params\['w'\] has 1 entries that are NaN or infinite"):
        checks.finite({"logits": logits, "w": logits})
    with pytest.raises(ValueError, match=r"^params\['logits'\] has 2 entries that are NaN or infinite"):
        checks.finite({"logits": np.array([[0.0, np.inf], [np.nan, -np.inf]])})
    with pytest.raises(ValueError, match=r"^params\['logits'\] forbids every token in some row"):
        checks.finite({"logits": np.array([[0.0, 1.0], [-np.inf, -np.inf]])})
