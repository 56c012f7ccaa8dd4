"""Comparisons fit together, and pairs to compare come from the policy."""

import numpy as np
import pytest
from small_models import HORIZON, MODELS, PROMPTS

from rlhf_lab.feedback import preferences
from rlhf_lab.models import lm


def pairs(vocab=5):
    prompt = np.array([[0, 1], [2, 3], [0, 1]])
    chosen, rejected = np.array([[0, 4], [1, 2], [3, 3]]), np.array([[1, 4], [1, 4], [4, 4]])
    return preferences.Preferences(prompt, chosen, rejected, vocab, tie=np.array([False, True, False]))


def test_preferences_have_columns_rows_and_labels():
    data = pairs()
    assert len(data) == 3
    assert data.label.tolist() == [1, 0.5, 1]
    assert [column.tolist() for column in data.columns[1:3]] == [data.chosen.tolist(), data.rejected.tolist()]
    assert data.columns[3].tolist() == [1, 0.5, 1]
    some = data[np.array([2, 1])]
    assert (some.prompt.tolist(), some.chosen.tolist()) == ([[0, 1], [2, 3]], [[3, 3], [1, 2]])
    assert (some.rejected.tolist(), some.tie.tolist(), some.vocab) == ([[4, 4], [1, 4]], [False, True], 5)
    assert preferences.Preferences(data.prompt, data.chosen, data.rejected, 5).tie.tolist() == [False] * 3
    assert preferences.Preferences([[0]], [[1]], [[2]], 3).chosen.dtype == np.intp


def test_labels_say_which_of_two_was_chosen():
    first, second = np.array([[0, 4], [1, 2], [3, 3]]), np.array([[1, 4], [1, 4], [4, 4]])
    data = preferences.from_labels([[0], [0], [0]], first, second, [1, 0, 0.5], 5)
    assert data.chosen.tolist() == [[0, 4], [1, 4], [3, 3]]
    assert data.rejected.tolist() == [[1, 4], [1, 2], [4, 4]]
    assert data.tie.tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[0]], [[1]], [[1]], [1]), "row 0 compares a response with itself, and so do 0 more: such pairs"),
        (
            ([[0]] * 3, [[1], [2], [3]], [[0], [2], [3]], [1, 0, 1]),
            "^row 1 compares .* and so do 1 more: such pairs tell nothing; leave them out$",
        ),
        (([[0]], [[1]], [[2]], [2]), r"label must be 1 \(the first is preferred\), 0 .* or 1/2 \(a tie\); got 2"),
        (([[0]], [[1]], [[2]], [np.nan]), "label must be .* got nan"),
        (([[0]], [[1]], [[2]], []), "label is empty; at least one comparison is needed"),
        (([[0]], [[1]], [[5]], [1]), "second: token 5 is outside the vocabulary of 5 tokens"),
        (([[9]], [[1]], [[2]], [1]), "prompt: token 9 is outside"),
        (([[0]], [[7]], [[2]], [1]), "first: token 7 is outside"),
        (
            ([[0]], [[1]], [[2, 3]], [1]),
            r"^first \(1, 1\), second \(1, 2\) and label \(1,\) must have one row for each",
        ),
        (([[0]], [[1]], [[2], [3]], [1]), r"second \(2, 1\) and label \(1,\) .* and the responses one length$"),
        (([[0], [0]], [[1], [1]], [[2], [2]], [1, 0, 1]), r"second \(2, 1\) and label \(3,\) must have"),
        (([[0]], [[1]], [[2]], 1), r"label \(\) must have one row for each comparison"),
        (([[0]], [[1], [2, 3]], [[2], [3]], [1]), "first: the rows have different lengths"),
    ],
)
def test_comparisons_that_are_none_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        preferences.from_labels(*arguments, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (np.empty((0, 1), int), np.empty((0, 1), int), np.empty((0, 1), int), 5),
            "^there are no comparisons; at least one is needed$",
        ),
        (
            ([[0], [0]], [[1]], [[2]], 5),
            r"prompt \(2, 1\), chosen \(1, 1\), rejected \(1, 1\) and tie \(2,\)",
        ),
        (([[0]], [[1]], [[2, 3]], 5), r"rejected \(1, 2\).* and the responses one length"),
        (([[0]], [[1]], [[2]], 5, [True, False]), r"tie \(2,\) must have one row"),
        (([[0]], [[1]], [[2]], 5, [0.5]), "tie must hold True and False; got float64"),
    ],
)
def test_data_that_does_not_fit_together_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        preferences.Preferences(*arguments)


def test_pairs_are_drawn_from_the_policy_and_always_differ():
    model, params = MODELS["tabular"]
    prompt = np.repeat(PROMPTS[:1], 20_000, axis=0)
    first, second = preferences.draw_pairs(model, params, prompt, HORIZON, np.random.default_rng(0))
    assert (first != second).any(-1).all()
    p = np.exp(lm.answer_log_probs(model, params, PROMPTS[:1], HORIZON)[0])
    joint = np.outer(p, p) * (1 - np.eye(len(p)))
    expected = joint.sum(1) / joint.sum()
    for drawn in (first, second):
        share = np.bincount(lm.answer_index(drawn, 4, 3), minlength=len(p)) / len(drawn)
        assert (np.abs(share - expected) <= 5 * np.sqrt(expected * (1 - expected) / len(drawn))).all()


def test_each_seed_draws_pairs_of_its_own():
    model, params = MODELS["tabular"]
    both = {"logits": np.stack([params["logits"], params["logits"] + 3.0 * (np.arange(4) == 3)])}
    for prompt in (np.repeat(PROMPTS[:1], 2_000, axis=0), np.repeat(PROMPTS[None, :1], 2_000, axis=1)):
        pair = preferences.draw_pairs(model, both, prompt, HORIZON, np.random.default_rng(0))
        assert (pair[0] != pair[1]).any(-1).all()
        for drawn in pair:
            for k in range(2):
                p = np.exp(lm.answer_log_probs(model, {"logits": both["logits"][k]}, PROMPTS[:1], HORIZON)[0])
                expected = p * (1 - p) / (p * (1 - p)).sum()
                share = np.bincount(lm.answer_index(drawn[k], 4, 3), minlength=len(p)) / 2_000
                error, common = np.sqrt(expected * (1 - expected) / 2_000), expected > 0.01
                assert (np.abs(share - expected) <= 4 * error)[common].all()


def test_a_seed_whose_pair_differs_does_not_wait_for_the_others():
    model, params = MODELS["tabular"]
    sure = {"logits": np.zeros((15, *params["logits"].shape)) + 2.2 * (np.arange(4) == 3)}  # same in 3 of 5 draws
    first, second = preferences.draw_pairs(model, sure, PROMPTS, HORIZON, np.random.default_rng(1))
    assert (first != second).any(-1).all()


def test_a_policy_with_one_answer_has_nothing_to_compare(monkeypatch):
    monkeypatch.setattr(preferences, "TRIES", 3)
    model, params = MODELS["tabular"]
    sure = {"logits": params["logits"] + 1e3 * (np.arange(4) == 3)}
    with pytest.raises(ValueError, match="the policy gave the same answer twice, 3 times in a row"):
        preferences.draw_pairs(model, sure, PROMPTS, HORIZON, np.random.default_rng(0))


def test_pairs_are_drawn_for_prompts_in_lists_too():
    model, params = MODELS["tabular"]
    found, wanted = (
        preferences.draw_pairs(model, params, prompts, HORIZON, np.random.default_rng(0))
        for prompts in (np.repeat(PROMPTS, 30, axis=0).tolist(), np.repeat(PROMPTS, 30, axis=0))
    )
    assert all((one == other).all() for one, other in zip(found, wanted, strict=True))
