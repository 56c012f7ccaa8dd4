"""Annotators answer as their models say, and what they said survives on disk."""

import itertools
import json
import re

import numpy as np
import pytest
from small_models import HORIZON, MODELS, PROMPTS

from rlhf_lab.feedback import annotators, preference_files, preferences
from rlhf_lab.models import lm
from rlhf_lab.worlds import phrase_world
from rlhf_lab.worlds.phrase_world import QUESTIONS, VOCAB, decode, encode

MARGIN = np.array([-2.0, -0.3, 0.0, 1.0, 4.0])


def within(found, expected, error, times=4):
    """`found` lies within `times` standard errors of `expected`, everywhere."""
    return (np.abs(found - expected) <= times * error + 1e-12).all()


@pytest.mark.equation("eq-bradley-terry")
def test_bradley_terry_is_the_share_of_exponentials_and_its_log_odds_are_the_margin():
    p = annotators.bradley_terry(MARGIN)
    assert p == pytest.approx(np.exp(MARGIN) / (np.exp(MARGIN) + 1), rel=1e-14)
    assert np.log(p / (1 - p)) == pytest.approx(MARGIN, abs=1e-12)
    assert annotators.bradley_terry(np.array([-1e4, 1e4])).tolist() == [0, 1]


@pytest.mark.equation("eq-misclick")
def test_misclicks_mix_with_a_fair_coin():
    p = annotators.bradley_terry(MARGIN)
    assert annotators.with_misclicks(p, 0.1) == pytest.approx(0.9 * p + 0.1 * 0.5, rel=1e-14)
    assert annotators.with_misclicks(p, 0.0) == pytest.approx(p)
    assert annotators.with_misclicks(p, 1.0) == pytest.approx([0.5] * 5)


@pytest.mark.equation("eq-ties")
def test_ties_have_davidsons_odds():
    loss, tie, win = annotators.with_ties(MARGIN, 0.7).T
    assert loss + tie + win == pytest.approx(np.ones(5), rel=1e-14)
    assert win / loss == pytest.approx(np.exp(MARGIN), rel=1e-12)
    assert tie / np.sqrt(win * loss) == pytest.approx([0.7] * 5, rel=1e-12)
    assert annotators.with_ties(np.array([0.0]), 2.0) == pytest.approx(np.array([[0.25, 0.5, 0.25]]))
    assert annotators.with_ties(np.array([-1e4, 1e4]), 1.0).tolist() == [[1, 0, 0], [0, 0, 1]]
    grid = np.stack([MARGIN, MARGIN[::-1]])
    assert annotators.with_ties(grid, 0.7)[1, 0].tolist() == annotators.with_ties(MARGIN, 0.7)[-1].tolist()
    assert annotators.with_ties(MARGIN, 0.0)[:, 2] == pytest.approx(annotators.bradley_terry(MARGIN))


@pytest.mark.equation("eq-population")
def test_a_population_is_the_weighted_mean_of_its_kinds():
    p = np.array([[[0.1, 0.9]], [[0.5, 0.5]], [[1.0, 0.0]]])
    assert annotators.of_population(p, [0.5, 0.3, 0.2]) == pytest.approx(np.array([[0.4, 0.6]]))


def test_a_matrix_is_looked_up_and_need_not_be_transitive():
    circle = np.array([[0.5, 0.9, 0.1], [0.1, 0.5, 0.9], [0.9, 0.1, 0.5]])
    assert annotators.of_matrix(circle, np.array([0, 1, 2, 0]), np.array([1, 2, 0, 0])).tolist() == [
        0.9,
        0.9,
        0.9,
        0.5,
    ]


def test_labels_come_as_often_as_they_should():
    n = 40_000
    p = np.tile([[0.0, 0.2, 0.7, 1.0]], (n, 1))
    label = annotators.sample_labels(p, np.random.default_rng(0))
    assert set(np.unique(label)) == {0.0, 1.0}
    assert within(label.mean(0), p[0], np.sqrt(p[0] * (1 - p[0]) / n))


def test_ternary_labels_come_as_often_as_they_should():
    n, p = 40_000, np.array([[0.2, 0.3, 0.5], [0.0, 1.0, 0.0], [0.6, 0.0, 0.4]])
    label = annotators.sample_labels_with_ties(np.tile(p, (n, 1, 1)), np.random.default_rng(0))
    share = np.stack([(label == value).mean(0) for value in (0, 0.5, 1)], axis=-1)
    assert within(share, p, np.sqrt(p * (1 - p) / n))


@pytest.mark.equation("eq-rating")
def test_ratings_scatter_around_the_reward():
    reward = np.tile([[-1.0, 0.0, 2.5]], (20_000, 1))
    z = annotators.sample_ratings(reward, 0.8, np.random.default_rng(0))
    assert within(z.mean(0), reward[0], 0.8 / 20_000**0.5)
    assert within(z.std(0), 0.8, 0.8 / 40_000**0.5)
    assert annotators.sample_ratings(reward, 0.0, np.random.default_rng(0)) == pytest.approx(reward)
    noise = np.random.default_rng(0).normal(size=reward.shape)
    assert z == pytest.approx(reward + 0.8 * noise)


@pytest.mark.equation("eq-likert")
def test_grades_count_the_thresholds_below():
    rating = np.array([-3.0, -1.0, -0.999, 0.0, 0.5, 7.0])
    by_hand = [1 + sum(c < z for c in (-1, 0, 1)) for z in rating]
    assert annotators.likert(rating, [-1, 0, 1]).tolist() == by_hand == [1, 1, 2, 2, 3, 4]
    assert annotators.likert(rating, [0.0]).tolist() == [1, 1, 1, 1, 2, 2]


@pytest.mark.equation("eq-plackett-luce")
def test_rankings_come_as_often_as_plackett_and_luce_say():
    reward, n = np.array([0.5, -1.0, 1.2]), 40_000
    order = annotators.sample_rankings(np.tile(reward, (n, 1)), np.random.default_rng(0))
    for ranking in itertools.permutations(range(3)):
        weight = np.exp(reward[list(ranking)])
        p = np.prod([weight[k] / weight[k:].sum() for k in range(3)])
        assert within((order == ranking).all(1).mean(), p, np.sqrt(p * (1 - p) / n))
    sure = annotators.sample_rankings(1e6 * np.array([[[1, 2, 3], [3, 1, 2]]]), np.random.default_rng(0))
    assert sure.tolist() == [[[2, 1, 0], [0, 2, 1]]]


def test_answers_are_put_into_the_order_of_their_ranking():
    answers = np.arange(24).reshape(2, 3, 4)
    found = annotators.in_rank_order(answers, [[2, 0, 1], [0, 1, 2]])
    assert found[0].tolist() == [answers[0, 2].tolist(), answers[0, 0].tolist(), answers[0, 1].tolist()]
    assert found[1].tolist() == answers[1].tolist()
    reward = np.random.default_rng(0).normal(size=(7, 2, 5, 1))
    order = annotators.sample_rankings(1e6 * reward[..., 0], np.random.default_rng(0))
    assert (np.diff(annotators.in_rank_order(reward, order)[..., 0]) < 0).all()
    assert annotators.in_rank_order([[7], [8]], [1, 0]).tolist() == [[8], [7]]


@pytest.mark.equation("eq-agreement")
def test_agreement_counts_equal_labels():
    labels = np.array([[0, 1, 1, 0], [0, 1, 0, 0], [1, 0, 0, 1]])
    by_hand = [[np.mean(a == b) for b in labels] for a in labels]
    assert annotators.agreement(labels) == pytest.approx(np.array(by_hand), rel=1e-14)


@pytest.mark.equation("eq-agreement")
def test_agreement_of_probabilities_is_what_labels_agree_on_in_the_mean():
    p = np.random.default_rng(0).random((3, 50))
    expected = annotators.agreement(p)
    again = np.array(
        [[annotators.sample_labels(p, np.random.default_rng((k, run))) for run in range(2)] for k in range(400)]
    )
    pairs = np.array([annotators.agreement(np.concatenate([one, two]))[:3, 3:] for one, two in again])
    assert within(pairs.mean(0), expected, pairs.std(0, ddof=1) / 400**0.5)
    assert expected[0, 1] == pytest.approx(np.mean(p[0] * p[1] + (1 - p[0]) * (1 - p[1])))


@pytest.mark.equation("eq-kappa")
def test_kappa_by_hand():
    """The example that textbooks print: 20 and 15 agreements, 5 and 10 disagreements."""
    a = np.repeat([1, 1, 0, 0], [20, 5, 10, 15])
    b = np.repeat([1, 0, 1, 0], [20, 5, 10, 15])
    kappa = annotators.cohen_kappa(np.array([a, b]))
    assert kappa[0, 1] == kappa[1, 0] == pytest.approx((0.7 - 0.5) / (1 - 0.5))
    assert kappa.diagonal() == pytest.approx([1, 1])


@pytest.mark.equation("eq-kappa")
def test_kappa_is_zero_for_those_who_ignore_the_answers_and_minus_one_for_opposites():
    assert annotators.cohen_kappa(np.array([[0, 0, 1, 1], [0, 1, 0, 1]]))[0, 1] == pytest.approx(0, abs=1e-14)
    assert annotators.cohen_kappa(np.array([[0, 1], [1, 0]]))[0, 1] == pytest.approx(-1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: annotators.with_misclicks(0.5, 1.5), r"rate must lie in \[0, 1\]; got 1.5"),
        (lambda: annotators.with_misclicks([0.5, -0.1], 0.1), r"p must lie in \[0, 1\]; got -0.1"),
        (lambda: annotators.sample_labels([np.nan], None), r"p must lie in \[0, 1\]; got nan"),
        (lambda: annotators.with_ties(MARGIN, -1), "^tie is the weight nu of a tie, finite and at least 0; got -1"),
        (lambda: annotators.with_ties(MARGIN, np.inf), "finite and at least 0; got inf"),
        (lambda: annotators.of_population([[0.5], [0.5]], [0.5, 0.6]), "shares must sum to 1; the sum is 1.1"),
        (lambda: annotators.of_population([[1.5]], [1.0]), r"p must lie in \[0, 1\]"),
        (lambda: annotators.of_matrix([[0.5, 0.9], [0.9, 0.5]], 0, 1), r"matrix must be \(A, A\) with P\[a, b\]"),
        (lambda: annotators.of_matrix([[0.5, 0.9]], 0, 1), r"this one, of shape \(1, 2\), is not"),
        (
            lambda: annotators.sample_ratings([0.0], -0.5, None),
            "noise is a standard deviation, finite and at least 0; got -0.5",
        ),
        (lambda: annotators.sample_ratings([0.0], np.nan, None), "noise is a standard deviation"),
        (lambda: annotators.likert([0.0], []), r"at least one; got \[\]"),
        (lambda: annotators.likert([0.0], [1, 1]), r"thresholds must rise.* got \[1, 1\]"),
        (
            lambda: annotators.in_rank_order(np.zeros((2, 3, 1)), [[0, 1, 2], [0, 1, 1]]),
            r"^a ranking of 3 answers names each of 0 to 2 once, best first; got \[0, 1, 1\]$",
        ),
        (lambda: annotators.in_rank_order(np.zeros((2, 1)), [0, 2]), r"0 to 1 once, best first; got \[0, 2\]"),
        (lambda: annotators.in_rank_order(np.zeros((2, 1)), [-1, 0]), r"best first; got \[-1, 0\]"),
        (
            lambda: annotators.in_rank_order(np.zeros((2, 3, 1)), [[0, 1], [1, 0]]),
            r"^order must hold the indices .* got int64 \(2, 2\) for \(2, 3, 1\)$",
        ),
        (lambda: annotators.in_rank_order(np.zeros((2, 1)), [0.0, 1.0]), "order must hold the indices .* got float64"),
        (lambda: annotators.sample_labels_with_ties([[0.5, 0.4, 0.2]], None), "p must sum to 1"),
        (lambda: annotators.agreement(np.array([0, 1])), r"p must have shape \(A, N\).* got \(2,\)"),
        (lambda: annotators.agreement(np.empty((2, 0))), r"a row for each annotator; got \(2, 0\)"),
        (lambda: annotators.agreement([[0, 2]]), r"p must lie in \[0, 1\]; got 2"),
        (
            lambda: annotators.cohen_kappa(np.array([[1, 1], [0, 1]])),
            r"^an annotator gave the same label to every comparison: kappa is not defined \(0 / 0\)$",
        ),
    ],
)
def test_what_no_annotator_can_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


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
    assert preferences.Preferences([[0]], [[1]], [[2]], 3).chosen.dtype == np.int64


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
        assert within(share, expected, np.sqrt(expected * (1 - expected) / len(drawn)), times=5)


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
                assert within(share[common], expected[common], error[common], times=4)


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


def phrases(n=40):
    rng = np.random.default_rng(0)
    prompt = phrase_world.PROMPTS[rng.integers(4, size=n)]
    model, params = phrase_world.model(), phrase_world.pretrained(5.0)
    first, second = preferences.draw_pairs(model, params, prompt, 5, rng)
    return preferences.from_labels(prompt, first, second, rng.choice([0, 0.5, 1], size=n), VOCAB)


@pytest.mark.parametrize("implicit", [False, True])
def test_what_is_written_is_read_without_loss(tmp_path, implicit):
    data, path = phrases(), tmp_path / "pairs.jsonl"
    assert {len(decode(row).split()) for row in data.chosen} >= {0, 1, 6}, "empty and cut-off answers are among them"
    preference_files.write(path, data, decode, implicit=implicit)
    again = preference_files.read(path, encode, 5, VOCAB, prompts=QUESTIONS if implicit else ())
    assert all(map(np.array_equal, again.columns, data.columns))
    assert again.vocab == VOCAB
    assert [p.name for p in tmp_path.iterdir()] == ["pairs.jsonl"]


def test_the_columns_are_those_of_trl(tmp_path):
    prompt, answer, other = encode("is tea hot")[None], encode("yes", 5)[None], encode("no fool", 5)[None]
    data = preferences.Preferences(prompt, answer, other, VOCAB)
    preference_files.write(tmp_path / "a", data, decode)
    explicit = json.loads((tmp_path / "a").read_text())
    assert explicit == {"prompt": "is tea hot", "chosen": " yes", "rejected": " no fool"}
    preference_files.write(tmp_path / "b", data, decode, implicit=True)
    implicit = json.loads((tmp_path / "b").read_text())
    assert implicit == {"chosen": "is tea hot yes", "rejected": "is tea hot no fool"}
    tied = preferences.Preferences(prompt, answer, other, VOCAB, tie=[True])
    preference_files.write(tmp_path / "a", tied, decode, overwrite=True)
    assert json.loads((tmp_path / "a").read_text())["tie"] is True
    preference_files.write(tmp_path / "c", data, lambda row: "東…")
    assert (tmp_path / "c").read_text(encoding="utf-8") == '{"prompt": "東", "chosen": " 東…", "rejected": " 東…"}\n'


@pytest.mark.parametrize(
    ("words", "chosen", "rejected"),
    [(("is tea hot …", "", "yes"), "is tea hot", "is tea hot yes"), (("", "no", "yes"), "no", "yes")],
)
def test_prompt_and_response_joined_are_the_implicit_response(tmp_path, words, chosen, rejected):
    """TRL joins them without a space between."""
    data = preferences.Preferences([[0]], [[1]], [[2]], 3)
    for implicit in (False, True):
        preference_files.write(tmp_path / str(implicit), data, lambda row: words[row[0]], implicit=implicit)
    explicit, implicit = (json.loads((tmp_path / name).read_text()) for name in ("False", "True"))
    assert implicit == {"chosen": chosen, "rejected": rejected}
    assert {name: explicit["prompt"] + explicit[name] for name in implicit} == implicit


def test_nothing_is_overwritten_unless_asked(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=r"pairs.jsonl is there already; pass overwrite=True"):
        preference_files.write(path, phrases(), decode)
    assert path.read_text() == "mine"


def test_an_implicit_prompt_is_the_longest_known_one_that_stands_in_front(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"chosen": "is tea hot yes", "rejected": "is tea hot yes yes"}\n')
    data = preference_files.read(path, encode, 5, VOCAB, prompts=("is tea", "is tea hot", "is"))
    assert decode(data.prompt[0]) == "is tea hot …"
    assert [decode(data.chosen[0]), decode(data.rejected[0])] == ["yes", "yes yes"]


GOOD = '{"prompt": "is tea hot", "chosen": "yes", "rejected": "no", "why": 3}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON$"),
        ("[" * 100_000, "not JSON$"),
        ("[1]", "a line is one JSON object, with chosen and rejected; got list"),
        ('{"prompt": "is tea hot", "chosen": "yes"}', "the column 'rejected' is missing; there are 'prompt', 'chosen'"),
        ("{}", "the column 'chosen' is missing; there are none"),
        ('{"prompt": "is tea hot", "chosen": 3, "rejected": "no"}', "the column 'chosen' must be text; got int"),
        ('{"prompt": null, "chosen": "yes", "rejected": "no"}', "the column 'prompt' must be text; got NoneType"),
        ('{"prompt": "is tea hot", "chosen": "yes", "rejected": "maybe"}', "'maybe' is not one of the words"),
        ('{"prompt": "is tea hot", "chosen": "no", "rejected": "no"}', "row 0 compares a response with itself"),
        ('{"prompt": "is tea hot", "chosen": "no", "rejected": "it it it it it it"}', "has 6 words; at most 5 fit"),
        (GOOD.replace("3}", '3, "tie": 1}'), "the column 'tie' must be true or false; got 1"),
        (
            '{"chosen": "is tea hot yes", "rejected": "is tea cold no"}',
            "no prompt column, and none of the known prompts stands in front of both responses$",
        ),
        (
            '{"chosen": "is teahot", "rejected": "is tea no"}',
            "no prompt column, and none of the known prompts stands in front of both responses$",
        ),
    ],
)
def test_a_line_that_cannot_be_read_is_told_by_its_number(tmp_path, line, message):
    path = tmp_path / "pairs.jsonl"
    path.write_text(f"{GOOD}\n\n{line}\n{GOOD}\n")
    with pytest.raises(
        ValueError, match=r"^pairs\.jsonl, line 3: ('[^']*' )?" + re.escape(message).replace(re.escape("$"), "$")
    ):
        preference_files.read(path, encode, 5, VOCAB, prompts=("is tea hot",))
    path.write_text(f"{GOOD}\n\n{GOOD}\n")
    assert len(preference_files.read(path, lambda text, length: encode(text, length), 5, VOCAB)) == 2


def test_a_file_of_another_encoding_is_told_and_a_byte_order_mark_is_none(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_bytes('{"prompt": "süß"}'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"^pairs\.jsonl is not UTF-8 text \(invalid .*\); save it as UTF-8$"):
        preference_files.read(path, encode, 5, VOCAB)
    path.write_text(GOOD, encoding="utf-8-sig")
    assert len(preference_files.read(path, encode, 5, VOCAB)) == 1


def test_only_ends_of_lines_part_lines(tmp_path):
    texts = iter(["is tea hot", "a\u2028b\x85c\u2029", "d"])
    row = encode("is tea hot")[None]
    data = preferences.Preferences(row, encode("yes", 5)[None], encode("no", 5)[None], VOCAB)
    preference_files.write(tmp_path / "pairs.jsonl", data, lambda row: next(texts))
    read = []

    def remember(text, length):
        read.append(text)
        return np.array([len(text)])

    preference_files.read(tmp_path / "pairs.jsonl", remember, 5, VOCAB)
    assert read == [" a\u2028b\x85c\u2029", " d", "is tea hot"]


def test_a_file_without_comparisons_is_told(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n \n")
    with pytest.raises(ValueError, match=r"^pairs.jsonl holds no comparisons$"):
        preference_files.read(path, encode, 5, VOCAB)
