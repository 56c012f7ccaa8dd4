"""States that share rows: the table is a special case, and what is learned at one state shows at others."""

import numpy as np
import pytest
from autograd import grad
from autograd.test_util import check_grads

from rlhf_lab.models import lm
from rlhf_lab.models.tabular import Tabular
from rlhf_lab.models.tied import Tied

TABLE = Tabular(3, 2, ((0,), (1,)), 2)  # 2 prompts with 3 states each
PROMPTS = np.array([[0], [1]])
ROWS = np.array([[0, 3], [1, 3], [2, 3], [0, 4], [1, 4], [2, 4]])  # one row for the prefix, one for the prompt
MODEL = Tied(TABLE, ROWS)
PARAMS = {"rows": np.random.default_rng(0).normal(size=(5, 3))}


def test_with_a_row_of_its_own_for_each_state_it_is_the_table():
    own = Tied(TABLE, np.arange(6)[:, None])
    logits = np.random.default_rng(1).normal(size=(2, 3, 3))
    expected = lm.answer_log_probs(TABLE, {"logits": logits}, PROMPTS, 2)
    assert lm.answer_log_probs(own, {"rows": logits.reshape(6, 3)}, PROMPTS, 2).tolist() == expected.tolist()


@pytest.mark.equation("eq-tied")
def test_the_logits_of_a_state_are_the_sum_of_its_rows():
    table = {"logits": np.array([PARAMS["rows"][own].sum(0) for own in ROWS]).reshape(2, 3, 3)}
    expected = lm.answer_log_probs(TABLE, table, PROMPTS, 2)
    np.testing.assert_allclose(lm.answer_log_probs(MODEL, PARAMS, PROMPTS, 2), expected, rtol=1e-13)
    answers = np.tile(lm.enumerate_responses(3, 2, 2), (2, 1))
    of_texts = lm.log_prob(MODEL, PARAMS, np.repeat(PROMPTS, 7, axis=0), answers)
    np.testing.assert_allclose(of_texts, expected.ravel(), rtol=1e-13)


def test_seeds_have_rows_of_their_own():
    params = {"rows": np.random.default_rng(2).normal(size=(4, 5, 3))}
    found = lm.answer_log_probs(MODEL, params, PROMPTS, 2)
    assert found.shape == (4, 2, 7)
    for seed in range(4):
        own = lm.answer_log_probs(MODEL, {"rows": params["rows"][seed]}, PROMPTS, 2)
        np.testing.assert_allclose(found[seed], own, rtol=1e-13)


def test_what_is_learned_at_one_state_shows_at_those_that_share_its_rows():
    slope = grad(lambda params: lm.log_prob(MODEL, params, PROMPTS[:1], np.array([[1, 2]]))[0])(PARAMS)
    moved = {"rows": PARAMS["rows"] + 0.1 * slope["rows"]}
    before, after = (lm.answer_log_probs(MODEL, p, PROMPTS, 2) for p in (PARAMS, moved))
    place = lm.answer_index(np.array([[1, 2]]), 3, 2)[0]
    assert after[0, place] > before[0, place]
    assert after[1, place] > before[1, place], "the other prompt shares the rows of the prefix"
    assert slope["rows"][4].tolist() == [0, 0, 0], "and not that of the first prompt"


def test_gradients_and_a_fresh_model():
    texts = np.array([[0, 1], [1, 2]])
    check_grads(lambda rows: lm.log_prob(MODEL, {"rows": rows}, PROMPTS, texts), modes=["rev"], order=1)(PARAMS["rows"])
    fresh = MODEL.init(np.random.default_rng(0))
    assert fresh["rows"].shape == (5, 3)
    np.testing.assert_allclose(np.exp(lm.policy_levels(MODEL, fresh, PROMPTS, 2)[0]), 1 / 3)
    assert (MODEL.vocab, MODEL.eos) == (3, 2)


@pytest.mark.parametrize(
    "rows", [np.zeros((5, 2), dtype=int), np.zeros(6, dtype=int), np.zeros((6, 2)), -np.eye(6, dtype=int)]
)
def test_rows_that_do_not_fit_are_told(rows):
    with pytest.raises(
        ValueError, match=r"rows must be \(6, J\), the numbers of the rows that each of 6 states adds up"
    ):
        Tied(TABLE, rows)


def test_behind_the_last_token_there_is_no_state():
    cache, _ = MODEL.start(PARAMS, PROMPTS)
    cache, _ = MODEL.step(PARAMS, cache, np.array([0, 1]))
    with pytest.raises(ValueError, match="has no row behind the last"):
        MODEL.step(PARAMS, cache, np.array([0, 1]))
