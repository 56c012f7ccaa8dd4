"""The table can be any policy."""

import numpy as np
import pytest
from small_models import HORIZON, MODELS, PROMPTS

from rlhf_lab.models import lm
from rlhf_lab.models.tabular import Tabular


@pytest.mark.parametrize("name", ["recurrent", "recurrent, no eos", "tied", "tied, no eos"])
def test_a_table_holds_any_other_model_exactly(name):
    model, params = MODELS[name]
    table = Tabular(4, HORIZON, tuple(map(tuple, PROMPTS.tolist())), model.eos)
    copied = table.of_levels(lm.policy_levels(model, params, PROMPTS, HORIZON))
    assert copied["logits"].shape == table.init(np.random.default_rng(0))["logits"].shape
    expected = lm.answer_log_probs(model, params, PROMPTS, HORIZON)
    assert lm.answer_log_probs(table, copied, PROMPTS, HORIZON) == pytest.approx(expected, abs=1e-13)
    shuffled = PROMPTS[[2, 0, 1, 2]]
    assert lm.answer_log_probs(table, copied, shuffled, HORIZON) == pytest.approx(expected[[2, 0, 1, 2]], abs=1e-13)


def test_a_fresh_table_is_indifferent_everywhere():
    model = MODELS["tabular"][0]
    params = model.init(np.random.default_rng(0))
    assert np.exp(np.concatenate(lm.policy_levels(model, params, PROMPTS, HORIZON), axis=-2)) == pytest.approx(0.25)


def test_the_number_of_states_is_the_number_of_shorter_prefixes():
    assert MODELS["tabular"][0].states == 1 + 3 + 9
    assert MODELS["tabular, no eos"][0].states == 1 + 4 + 16
    assert MODELS["tabular"][0].words == 3
    assert MODELS["tabular, no eos"][0].words == 4


def test_shorter_responses_are_read_from_the_same_rows():
    model, params = MODELS["tabular"]
    long = model.logits(params, PROMPTS, np.array([[1, 2, 0], [0, 1, 2], [2, 2, 3]]))
    short = model.logits(params, PROMPTS, np.array([[1, 2], [0, 1], [2, 2]]))
    assert long[:, :2].tolist() == short.tolist()


def test_bad_input_is_told():
    model, params = MODELS["tabular"]
    with pytest.raises(ValueError, match="prompt \\[3, 3\\] is not in the table, which knows 3 prompts"):
        lm.log_prob(model, params, np.array([[0, 1], [3, 3]]), np.zeros((2, 2), dtype=int))
    with pytest.raises(ValueError, match="the table knows prompts of 2 tokens; got 3"):
        model.start(params, np.zeros((1, 3), dtype=int))
    with pytest.raises(ValueError, match="the table holds 3 tokens; the response has 4"):
        lm.log_prob(model, params, PROMPTS, np.zeros((3, 4), dtype=int))
    with pytest.raises(ValueError, match="the table holds answers of 3 tokens and has no row behind the last"):
        lm.sample(*MODELS["tabular, no eos"], PROMPTS, 4, np.random.default_rng(0))
    with pytest.raises(ValueError, match="3 prompts, but 2 responses"):
        model.logits(params, PROMPTS, np.zeros((2, 2), dtype=int))
    with pytest.raises(ValueError, match="the same prompt stands twice"):
        Tabular(4, 2, ((0, 1), (0, 1)))
    with pytest.raises(ValueError, match="eos must be the last token, 3, or None; got 0"):
        Tabular(4, 2, ((0, 1),), eos=0)
    with pytest.raises(ValueError, match="at least 1; got 0"):
        Tabular(4, 0, ((0, 1),))
    with pytest.raises(ValueError, match="prompts: token 4 is outside"):
        Tabular(4, 2, ((0, 4),))


def test_prompts_and_responses_may_have_leading_axes():
    model, params = MODELS["tabular"]
    rng = np.random.default_rng(0)
    prompts, responses = PROMPTS[rng.integers(3, size=(5, 2, 4))], rng.integers(4, size=(5, 2, 4, 3))
    together = lm.log_prob(model, params, prompts, responses)
    assert together.shape == (5, 2, 4)
    for k in np.ndindex(5, 2):
        assert together[k] == pytest.approx(lm.log_prob(model, params, prompts[k], responses[k]), abs=1e-13)
    with pytest.raises(ValueError, match="the table knows prompts of 2 tokens; got 3"):
        model.start(params, np.zeros((2, 2, 3), dtype=int))
    with pytest.raises(ValueError, match=r"^prompt \[3, 3\] is not in the table"):
        model.start(params, np.array([[[0, 1]], [[3, 3]]]))
    with pytest.raises(ValueError, match="the table holds 3 tokens; the response has 4"):
        model.logits(params, prompts, rng.integers(4, size=(5, 2, 4, 4)))


def test_messages_name_the_argument():
    model, params = MODELS["tabular"]
    with pytest.raises(ValueError, match=r"^response: token 4"):
        model.logits(params, PROMPTS, np.full((3, 2), 4))
    with pytest.raises(ValueError, match=r"^prompt: token 4"):
        model.logits(params, np.full((3, 2), 4), np.zeros((3, 2), dtype=int))
    with pytest.raises(ValueError, match=r"^prompts: the same prompt stands twice in the table$"):
        Tabular(4, 2, ((0, 1), (0, 1)))


def test_places_are_repeated_row_by_row():
    model, params = MODELS["tabular"]
    place, _ = model.start(params, PROMPTS[np.array([[0, 1], [2, 0]])])
    rows, length, prefix = model.repeat(place, 2)
    assert rows.tolist() == [[0, 0, 1, 1], [2, 2, 0, 0]]
    assert (length, prefix.shape) == (0, (2, 4))
