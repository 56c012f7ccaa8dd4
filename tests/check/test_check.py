"""Checkers accept what is right, however it is written, and name what is wrong."""

import ast
import inspect
import itertools
import math
import re
from functools import cache
from importlib import import_module

import answers_preference_losses
import autograd.numpy as anp
import numpy as np
import pytest
from answers_pretraining import kl
from answers_token_mdp import length, log_prob, masked
from exercises import EXERCISES, SOLUTIONS, WRONG, memoised, remembering

from rlhf_lab import check
from rlhf_lab.check import diagnosis, pretraining, token_mdp
from rlhf_lab.numerics.autodiff import log_softmax

every_exercise = pytest.mark.parametrize("name", EXERCISES)
every_mistake = pytest.mark.parametrize(("name", "k"), [(name, k) for name in WRONG for k in range(len(WRONG[name]))])


@cache
def remembered(name):
    return remembering(EXERCISES[name])


@memoised
def drawn(name):
    exercise = remembered(name)
    cases = diagnosis.draw_cases(exercise)
    return exercise, cases, [exercise.mistakes(*case) for case in cases]


def cases_of(*chapters):
    names = [name for chapter in chapters for name in import_module(f"answers_{chapter}").WRONG]
    return {name: diagnosis.draw_cases(EXERCISES[name]) for name in names}


@every_exercise
def test_a_right_solution_passes_however_it_is_written(name):
    assert diagnosis.diagnose(EXERCISES[name], SOLUTIONS[name]) is None


@every_exercise
def test_the_public_checker_says_so_and_returns_nothing(name, capsys):
    assert getattr(check, name)(SOLUTIONS[name]) is None
    assert capsys.readouterr().out == f"{name}: right on all 50 cases.\n"


@every_exercise
def test_the_starter_is_not_yet_right(name, capsys):
    assert getattr(check, name)(lambda *arguments: None) is None
    expected = f"{name}: not yet. It returns None: your code goes where the starter returns None.\n"
    assert capsys.readouterr().out == expected


@every_mistake
def test_a_typical_mistake_is_named(name, k):
    wrong, sentence = WRONG[name][k]
    assert diagnosis.diagnose(remembered(name), wrong).startswith(sentence)


@every_exercise
def test_every_mistake_of_a_checker_is_made_here_too(name):
    _, _, mistakes = drawn(name)
    begins = [sentence for _, sentence in WRONG[name]]
    assert len(mistakes[0]) == len(begins) >= 3
    for told, begin in zip(mistakes[0], begins, strict=True):
        assert told.startswith(begin)
        assert told.endswith(".")
        assert "XX" not in told


@every_exercise
def test_mistakes_differ_from_the_answer_and_from_each_other_on_several_cases(name):
    exercise, cases, mistakes = drawn(name)
    answers = {sentence: [diagnosis._arrays(m[sentence]) for m in mistakes] for sentence in mistakes[0]}
    answers["right"] = [diagnosis._arrays(exercise.key(*case)) for case in cases]
    assert not any(np.isnan(part).any() for key in answers["right"] for part in key), "NaN is only ever a mistake"
    for one in answers:
        for other in answers:
            differ = [not diagnosis._same(a, b) for a, b in zip(answers[one], answers[other], strict=True)]
            assert (sum(differ) >= 10) == (one != other), (one, other)


@every_exercise
def test_the_docstring_states_the_exercise(name):
    exercise, cases, _ = drawn(name)
    arguments = list(inspect.signature(exercise.mistakes).parameters)
    assert len(arguments) == len(cases[0])
    told = inspect.getdoc(getattr(check, name))
    assert told.startswith(f"Check f({', '.join(arguments)}): ")
    assert "shape" in told or "arrays (" in told
    assert all(f"`{argument}" in told for argument in arguments)


@every_exercise
def test_every_trait_holds_in_some_cases_and_not_in_others(name):
    exercise, cases, _ = drawn(name)
    for trait in exercise.traits(*cases[0]):
        assert 5 < sum(exercise.traits(*case)[trait] for case in cases) < 45


@every_exercise
def test_the_cases_are_the_same_each_time_vary_and_begin_small(name):
    exercise, cases, _ = drawn(name)
    again = diagnosis.draw_cases(exercise)
    assert repr(cases) == repr(again)
    assert len(cases) + len(exercise.hard) == 50
    sizes = [
        sum(np.size(x) for value in case for x in (value if isinstance(value, list) else [value])) for case in cases
    ]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 3


def test_integers_of_cases_index_and_count_on_every_machine():
    narrow = EXERCISES["kl"]._replace(draw=lambda rng: (np.arange(3, dtype=np.int16), np.eye(2), np.arange(2) > 0))
    for case in diagnosis.draw_cases(narrow):
        assert [part.dtype for part in case] == [np.intp, float, bool]


@every_exercise
def test_every_case_can_be_shown_whatever_kind_its_inputs_are(name):
    exercise, cases, _ = drawn(name)
    for case in (*cases, *(case for _, case in exercise.hard)):
        assert diagnosis._with(exercise, case, bool).startswith("With ")


def test_of_true_and_false_the_words_are_shown():
    told = diagnosis._with(EXERCISES["feedback_round"], ([0.25], [-1], np.array([[True], [False]]), 2), bool)
    assert told == "With pi_0 = [0.25], fault = [-1], free = [[True], [False]], tries = 2,"


def test_cases_of_inclusive_models_come_in_all_sizes():
    cases = {name: diagnosis.draw_cases(exercise) for name, exercise in EXERCISES.items()}
    assert {len(label) for *_, label in cases["ilhf_loss"]} == {1, 2, 3, 4, 5, 6}
    first, second, label = (np.concatenate(part) for part in zip(*cases["ilhf_loss"], strict=True))
    for log_pi in (first, second, *(np.concatenate(part) for part in zip(*cases["inclusive_ratio"], strict=True))):
        assert -3 <= log_pi.min() < -2.8
        assert -0.2 < log_pi.max() <= 0
    assert set(label) == {0.0, 1.0}
    assert {len(chosen) for chosen, *_ in cases["inclusive_ratio"]} == {1, 2, 3, 4, 5}
    assert {len(p) for p, _ in cases["ilhf_coin_slope"]} == {1, 2, 3, 4, 5, 6}
    p, people = np.concatenate([p for p, _ in cases["ilhf_coin_slope"]]), {q for _, q in cases["ilhf_coin_slope"]}
    assert set(np.round(20 * p, 9)) == set(range(1, 20))
    assert {round(10 * q, 9) for q in people} == set(range(1, 10))
    assert {len(pre) for pre, _ in cases["matching_beta"]} == {1, 2, 3, 4, 5}
    assert {round(10 * people, 9) for _, people in cases["matching_beta"]} == {1, 2, 3, 4, 6, 7, 8, 9}
    beyond = {round(60 * (abs(p - people) - 0.003), 6) for pre, people in cases["matching_beta"] for p in pre}
    assert beyond == set(range(1, 30))  # whole steps towards a fair coin, and a little more
    assert all(((p - people) * (0.5 - people) > 0).all() for p, people in cases["matching_beta"])
    assert {len(losses) for losses, *_ in cases["member_losses"]} == {1, 2, 3, 4}
    members, units = zip(*(phi.shape for _, _, phi, _, _ in cases["member_losses"]), strict=True)
    assert (set(members), set(units)) == ({1, 2, 3, 4}, {2, 3, 4})
    assert {eta for *_, eta in cases["member_losses"]} == {0.0, 0.5, 1.0, 3.0}
    losses = np.concatenate([losses for losses, *_ in cases["member_losses"]])
    assert (losses.min(), losses.max()) == pytest.approx((0.1, 3.1))
    double = np.concatenate([double.ravel() for _, double, *_ in cases["member_losses"]])
    assert abs(double.mean() - 0.5) < 4 * 0.5 / len(double) ** 0.5
    half = sum(people < 0.5 for _, people in cases["matching_beta"])
    assert abs(half - 25) < 4 * 12.5**0.5


def test_cases_of_learning_from_demonstrations_come_in_all_sizes():
    cases = {name: diagnosis.draw_cases(exercise) for name, exercise in EXERCISES.items()}
    assert {z.shape for z, _, _ in cases["cloning_loss"]} == {(n, a) for n in (1, 2, 3, 4) for a in (2, 3, 4)}
    assert {w for _, _, weight in cases["cloning_loss"] for w in weight} == {0, 1, 2, 3}
    assert {weight[0] for _, _, weight in cases["cloning_loss"]} == {1, 2, 3}
    assert all(action.max() < z.shape[1] for z, action, _ in cases["cloning_loss"])
    assert {action.max() for _, action, _ in cases["cloning_loss"]} == {0, 1, 2, 3}
    sizes = {(*policy.shape, horizon) for _, policy, _, horizon in cases["state_occupancy"]}
    assert [set(each) for each in zip(*sizes, strict=True)] == [{2, 3}, {2, 3}, {1, 2, 3, 4}]
    certain = [start for _, _, start, _ in cases["state_occupancy"] if start.max() == 1]
    assert all(start[0] == 1 for start in certain)
    assert {policy.shape for _, policy, _, _ in cases["dagger_mixture"]} == {
        (s, a) for s in (1, 2, 3) for a in (2, 3, 4)
    }
    assert {beta for _, _, beta, _ in cases["dagger_mixture"]} == {0.0, 0.3, 0.5, 0.9, 1.0}
    assert {i for *_, i in cases["dagger_mixture"]} == {1, 2, 3, 4}
    assert {expert.argmax(1).max() for expert, *_ in cases["dagger_mixture"]} == {0, 1, 2, 3}
    assert {probs.shape for probs, _ in cases["dril_cost"]} == {
        (m, s, a) for m in (2, 3, 4) for s in (1, 2, 3) for a in (2, 3)
    }
    assert {threshold for _, threshold in cases["dril_cost"]} == {0.01, 0.03, 0.05}
    assert {log_pi.shape for log_pi, _ in cases["query_probability"]} == {
        (n, a) for n in (1, 2, 3, 4) for a in (2, 3, 4)
    }
    assert {b for _, b in cases["query_probability"]} == {0.2, 0.5, 1.0, 2.0}
    sizes = {(*d.shape, len(theta)) for d, theta in cases["segment_doubt"]}
    assert [set(each) for each in zip(*sizes, strict=True)] == [{1, 2, 3}, {1, 2, 3}, {2, 3, 4}]


def test_cases_of_verified_and_of_stale_answers_come_in_all_sizes():
    cases = cases_of("verifiable", "stale_answers")

    def tenths(*columns):
        return {round(10 * x, 9) for column in columns for x in np.ravel(column)}

    p, k, cap = zip(*cases["prompt_weight"], strict=True)
    assert ({len(each) for each in p}, set(k)) == ({2, 3, 4, 5, 6, 7}, {3, 4, 5, 6, 7, 8})
    assert all(len(set(each)) == len(each) for each in p)
    assert ({round(20 * x, 9) for x in np.concatenate(p)}, set(cap)) == (set(range(1, 20)), {0.2, 0.3, 0.4, 0.5})
    each, mask, constant = zip(*cases["three_means"], strict=True)
    assert {z.shape for z in each} == {(n, t) for n in (2, 3, 4) for t in (3, 4, 5)} == {m.shape for m in mask}
    assert tenths(*each) == set(range(-30, 31))
    assert {c - m.shape[1] for c, m in zip(constant, mask, strict=True)} == {1, 2, 3}
    right, n, k = zip(*cases["pass_estimate"], strict=True)
    assert (set(n), set(k), {len(r) for r in right}) == ({6, 7, 8, 9, 10, 11}, {2, 3, 4}, {2, 3, 4, 5})
    assert {(min(r.min(), 1), max(r.max() - m // 2, -1)) for r, m in zip(right, n, strict=True)} >= {(0, 0), (0, -1)}
    assert all(r.min() >= 0 and r.max() <= m // 2 for r, m in zip(right, n, strict=True))
    before, after = zip(*cases["crossing"], strict=True)
    assert {len(each) for each in before} == {2, 3, 4, 5}
    assert {round(100 * x, 9) for x in np.concatenate(before)} == set(range(1, 30))
    assert all(0 < x <= 0.99 for x in np.concatenate(after))
    first = np.array([a[0] / b[0] for b, a in cases["crossing"]])
    others = [a / b for each, own in cases["crossing"] for b, a in zip(each[1:], own[1:], strict=True) if a < 0.99]
    assert {round(ratio, 9) for ratio in others} == {2, 3, 4}
    assert abs((first < 1).mean() - 0.8) < 4 * (0.8 * 0.2 / 50) ** 0.5, "in four of five cases one prompt got worse"
    assert first[first < 1].max() == pytest.approx(0.5, abs=0.05)
    assert first[first > 1].min() >= 2
    now, old = zip(*cases["effective_share"], strict=True)
    assert {len(each) for each in old} == {3, 4, 5, 6, 7}
    assert tenths(*old) == set(range(-59, -29))
    assert tenths(*(a - b for a, b in zip(now, old, strict=True))) == set(range(-20, 21))
    ratio, advantage, low, high = zip(*cases["pulls"], strict=True)
    assert {len(each) for each in ratio} == {4, 5, 6, 7, 8}
    assert tenths(*advantage) == set(range(-24, -1)) | set(range(2, 25))
    assert (set(low), set(high)) == ({0.1, 0.2}, {0.28, 0.3, 0.4})
    ratios = np.unique(np.concatenate(ratio))
    assert (ratios[0], ratios[-1]) == (0.5, 1.6)
    assert all(((1 + bound < ratios) & (np.log(ratios) < bound)).any() for bound in high), "a bound of logs is told"
    assert ((ratios > 0.8) & (np.log(ratios) < -0.2)).any()
    assert {len(set(np.sign(each))) for each in advantage} == {1, 2}
    now, old, advantage, mask, epsilon = zip(*cases["gspo_loss"], strict=True)
    assert {z.shape for z in now} == {(n, t) for n in (2, 3, 4) for t in (3, 4, 5)} == {m.shape for m in mask}
    assert tenths(*old) == set(range(-29, -6))
    assert tenths(*(a - b for a, b in zip(now, old, strict=True))) == set(range(-6, 7))
    assert {len(set(np.sign(each))) for each in advantage} == {1, 2}
    found = np.concatenate(advantage)
    assert (abs(found).min(), found.min(), found.max(), set(epsilon)) == (0.2, -2.4, 2.4, {0.05, 0.1})
    for masks in ([m for _, m, _ in cases["three_means"]], mask):
        lengths = [m.sum(1) for m in masks]
        assert {tuple(row) for m in masks for row in m} >= {(1.0, 0.0, 0.0), (1.0, 1.0, 1.0)}
        assert all(m.shape[1] == of.max() for m, of in zip(masks, lengths, strict=True)), "none is padded to the end"
        assert all((np.sort(of)[:-1] < of.max()).all() for of in lengths), "the others are shorter"


def test_responses_are_padded_with_eos_end_early_late_and_never():
    lengths_seen, ended = set(), set()
    for _, response, eos in diagnosis.draw_cases(token_mdp.LOG_PROB):
        for y in response:
            assert (y[length(y, eos) :] == eos).all()
            lengths_seen.add((length(y, eos), len(y)))
            ended.add(eos in y)
    assert ended == {True, False}
    assert {(1, 5), (3, 5), (5, 5)} <= lengths_seen


def test_cases_come_in_all_sizes_that_the_docstrings_promise():
    cases = {name: diagnosis.draw_cases(exercise) for name, exercise in EXERCISES.items()}
    sizes = [(*z.shape, eos == z.shape[-1] - 1, (y == eos).any(1).all()) for z, y, eos in cases["log_prob"]]
    n, t, v, last, ended = zip(*sizes, strict=True)
    assert (set(n), set(t), set(v)) == ({1, 2, 3, 4, 5}, {1, 2, 3, 4, 5}, {2, 3, 4, 5})
    assert sum(last) > 30
    assert sum(ended) > 30
    assert {len(r) for r, _ in cases["return_to_go"]} == {1, 2, 3, 4, 5, 6}
    assert {discount for _, discount in cases["return_to_go"]} == {0.5, 0.8, 0.9, 1.0}
    assert {(len(p), p[0].shape) for p, _, _ in cases["state_values"]} == {
        (horizon, (1, words)) for horizon in (1, 2, 3) for words in (2, 3)
    }
    assert {discount for _, _, discount in cases["state_values"]} == {0.5, 0.8, 0.9, 1.0}
    wide = {(rows, rows + more) for rows in (1, 2, 3, 4) for more in (1, 2)}
    assert {p.shape for p, _ in cases["kl"]} == {p.shape for p, _, _ in cases["gibbs"]} == wide
    assert {beta for _, _, beta in cases["gibbs"]} == {0.3, 0.5, 2.0}
    assert {len(p) for p, _ in cases["policy_gradient"]} == {2, 3, 4, 5}
    rewards = np.concatenate([z.ravel() for z, _, _ in cases["log_prob"]])
    assert (rewards.min(), rewards.max(), len(set(rewards))) == (-3.0, 3.0, 61)


def naive_gibbs(log_pi_0, reward, beta):
    weight = np.exp(log_pi_0 + reward / beta)
    return np.log(weight / weight.sum(-1, keepdims=True))


def naive_log_prob(logits, response, eos):
    return log_prob(np.log(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)), response, eos)


def fragile(logits, response, eos):
    """Right, but `math.exp` raises on large numbers."""
    return [x + 0 * math.exp(np.max(logits)) for x in log_prob(logits, response, eos)]


def shifted_by_one_number(log_pi_0, reward, beta):
    return naive_gibbs(log_pi_0, reward - np.max(reward), beta)


@pytest.mark.parametrize("function", [naive_gibbs, shifted_by_one_number, naive_log_prob, fragile])
def test_overflow_is_named_apart_from_being_wrong(function):
    exercise, what = (
        (token_mdp.LOG_PROB, "logits") if function in (naive_log_prob, fragile) else (token_mdp.GIBBS, "rewards")
    )
    told = diagnosis.diagnose(exercise, function)
    assert told.startswith(f"It is right for small {what}, but large ones overflow:")
    assert "subtract the largest" in told


def test_with_a_mistake_whose_shape_differs_both_shapes_are_told():
    assert diagnosis.diagnose(token_mdp.LOG_PROB, lambda z, y, eos: masked(z, y, eos).sum(0)) == (
        "You summed over the batch axis; sum over the tokens of each response, the last axis. "
        "The result has shape (5,); it should be (4,): one number for each response."
    )


def test_where_a_response_has_no_eos():
    def wrong(logits, response, eos):
        ended = (response == eos).any(-1)
        return np.where(ended, log_prob(logits, response, eos), 0.0)

    assert diagnosis.diagnose(token_mdp.LOG_PROB, wrong).startswith(
        "It is right except where a response has no eos. With logits"
    )

    def raises(logits, response, eos):
        if not (response == eos).any(-1).all():
            raise ValueError("no eos\nsecond line")
        return log_prob(logits, response, eos)

    told = diagnosis.diagnose(token_mdp.LOG_PROB, raises)
    assert told.startswith("It is right except where a response has no eos. With logits of shape (")
    assert told.endswith(" it raises ValueError: no eos")


def toy(key, *cases, **fields):
    """An exercise on a few cases of one array `x`, and no mistakes; drawn in the order of their sizes."""
    mistakes = fields.pop("mistakes", lambda x: {})
    draws = [(np.array(case, dtype=float),) for case in cases]
    count = itertools.count()
    return diagnosis.Exercise(
        "toy", "one number each", key, lambda rng: draws[next(count) % len(draws)], mistakes, **fields
    )


TWICE = ([1.0, 2.0], [3.0, 5.0, 4.0])


def told(function, key=lambda x: 2.0 * x, cases=TWICE, **fields):
    return diagnosis.diagnose(toy(key, *cases, **fields), function)


GENERIC = {
    "sign": (lambda x: -2.0 * x, "The sign is flipped."),
    "constant": (lambda x: 2.0 * x + 7, "It is right up to a constant: subtract 7 everywhere."),
    "row constant": (
        lambda x: 2.0 * x + len(x),
        "It is right up to a constant, which differs from row to row or from case to case.",
    ),
    "factor": (lambda x: 8.0 * x, "It is right up to a factor: multiply by 0.25."),
    "zero": (lambda x: 0.0 * x, "With x = [1.0, 2.0], entry 1 is 0; it should be 4."),
    "integers": (
        lambda x: (2.5 * x).astype(int),
        "It is cut to whole numbers: does it write into an array of integers?",
    ),
    "one over": (lambda x: 1 / (2.5 * x), "It is one over the answer."),
    "root": (lambda x: np.sqrt(2.5 * x), "It is the root of the answer: square it."),
    "1 minus": (lambda x: 1 - 2.5 * x, "It is 1 minus the answer."),
    "digits": (
        lambda x: 2.0 * x.astype(np.float32) * np.float32(1 + 1e-6),
        "It is right to a few digits only: it computes in float32; work in float64.",
    ),
    "NaN": (lambda x: 2.0 * x + np.nan, "With x = [1.0, 2.0], the result holds NaN or infinity."),
    "one infinity": (
        lambda x: np.where(x == 5, np.inf, 2.0 * x),
        "It is right in 25 of 50 cases. With x = [3.0, 5.0, 4.0], the result holds NaN or infinity.",
    ),
    "shape": (lambda x: 2.0 * x[:1], "The result has shape (1,); it should be (3,): one number each."),
    "one shape": (
        lambda x: 2.0 * x[:2],
        "It is right in 25 of 50 cases. The result has shape (2,); it should be (3,): one number each.",
    ),
    "scalar": (
        lambda x: 2.0,
        "It returns the same whatever its inputs are. The result has shape (); it should be (3,): one number each.",
    ),
    "text": (lambda x: "two", "It returns str, not numbers in an array."),
    "words": (lambda x: ["two", "four"], "It returns list, not numbers in an array."),
    "complex": (lambda x: 2j * x, "It returns an array of complex128, not numbers in an array."),
    "ragged": (lambda x: [[1.0], [1.0, 2.0]], "It returns list, not numbers in an array."),
    "dict": (lambda x: {"x": x}, "It returns dict, not numbers in an array."),
    "objects": (lambda x: (2 * x).astype(object), "It returns an array of object, not numbers in an array."),
    "silent": (lambda x: next(iter([])), "With x of shape (2,), it raises StopIteration"),
    "none inside": (lambda x: [None, None], "It returns list, not numbers in an array."),
    "entry": (lambda x: 2.0 * x + (np.arange(len(x)) == 1), "With x = [1.0, 2.0], entry 1 is 5; it should be 4."),
    "some": (
        lambda x: 2.0 * x if len(x) == 2 else 2.0 * x**2,
        "It is right in 25 of 50 cases. With x = [3.0, 5.0, 4.0], entry 1 is 50; it should be 10.",
    ),
    "none in some": (
        lambda x: 2.0 * x if len(x) == 2 else None,
        "It is right in 25 of 50 cases. With x = [3.0, 5.0, 4.0], it returns None.",
    ),
    "raises": (lambda x: [][2], "With x of shape (2,), it raises IndexError: list index out of range"),
    "arguments": (
        lambda: 0,
        "With x of shape (2,), it raises TypeError: <lambda>() takes 0 positional arguments but 1",
    ),
}


@pytest.mark.parametrize("kind", GENERIC)
def test_what_is_wrong_is_told_even_if_nobody_foresaw_it(kind):
    wrong, sentence = GENERIC[kind]
    key = (lambda x: 2.5 * x) if kind in ("integers", "one over", "root", "1 minus") else (lambda x: 2.0 * x)
    assert told(wrong, key).startswith(sentence)
    assert told(wrong, key).endswith(sentence[-20:]) or kind == "arguments"


def test_a_sum_in_place_of_a_mean_is_told_with_the_axis_that_it_runs_over():
    cases = [[1.0, 2.0], [3.0, 5.0, 4.0], [1.0, 0.0, 2.0, 7.0]]
    assert told(np.sum, np.mean, cases) == (
        "It is the answer times the length of axis 0 of x: is a mean due, and not a sum?"
    )
    assert told(np.mean, np.sum, cases) == "It is the answer over the length of axis 0 of x: is a sum due?"


def test_an_input_that_the_key_needs_and_the_function_does_not_use_is_named():
    cases = [(np.array([1.0 + k, 2.0]), 0.5 + k % 2) for k in range(8)]
    count = itertools.count()
    exercise = diagnosis.Exercise(
        "toy", "", lambda x, discount: x**discount, lambda rng: cases[next(count) % 8], lambda x, discount: {}
    )
    assert diagnosis.diagnose(exercise, lambda x, discount: x**3).startswith("It does not use discount. With x = [")
    assert diagnosis.diagnose(exercise, lambda x, discount: 0 * x).startswith(
        "It returns the same whatever its inputs are. With x"
    )


def test_what_remembers_an_earlier_call_is_told_so():
    kept = []
    assert told(lambda x: kept.append(x) or 2.0 * x + 0.01 * len(kept)) == diagnosis.AGAIN


def test_one_number_has_no_constant_and_two_have():
    assert told(lambda x: x**3, np.array, ([2.0], [3.0])) == "With x = [2.0], entry 0 is 8; it should be 2."
    constant = "It is right up to a constant, which differs from row to row or from case to case."
    assert told(lambda x: x + x[0], np.array, ([2.0, 1.0], [3.0, 5.0])) == constant


def test_of_inputs_that_make_it_raise_the_shape_is_told_however_small():
    assert (
        told(lambda x: [][2], cases=([2.0],)) == "With x of shape (1,), it raises IndexError: list index out of range"
    )


def test_a_trait_that_explains_where_a_function_fails_is_told():
    traits = {"traits": lambda x: {"x is long": len(x) > 9, "x has three numbers": len(x) == 3}}
    long = lambda x: 2.0 * x * (1 + (len(x) == 3) * np.arange(len(x)))  # noqa: E731
    assert told(long, **traits).startswith(
        "It is right except where x has three numbers. With x = [3.0, 5.0, 4.0], entry 2"
    )
    short = lambda x: 2.0 * x * (1 + (len(x) == 2) * np.arange(len(x)))  # noqa: E731
    assert told(short, **traits).startswith(
        "It is right only where x has three numbers. With x = [1.0, 2.0], entry 1 is 8;"
    )


def test_the_right_shape_of_the_largest_case_is_told():
    assert told(lambda x: x[0], cases=([1.0, 2.0], [2.0] * 4, [1.0] * 3)) == (
        "The result has shape (); it should be (4,): one number each."
    )


def test_numbers_of_large_inputs_are_not_shown_and_those_of_small_ones_are_rounded():
    twelve, thirteen = np.full(12, 0.125) * (np.arange(12) < 1) - 1e-4, np.zeros(13)
    wrong = lambda x: np.append(x[:-1], 1.0)  # noqa: E731
    shown = "0.12" + 11 * ", 0.0"
    assert told(wrong, np.array, [twelve]) == f"With x = [{shown}], entry 11 is 1; it should be 0."
    assert told(wrong, np.array, [thirteen]) == "With x of shape (13,), entry 12 is 1; it should be 0."


def test_of_a_matrix_the_entry_has_two_indices_and_of_a_number_none():
    matrix = [[1.0, 2.0], [3.0, 4.0]]
    assert told(lambda x: np.add(x, [[0, 0], [1, 0]]), np.array, [matrix]) == (
        "With x = [[1.0, 2.0], [3.0, 4.0]], entry (1, 0) is 4; it should be 3."
    )
    assert told(lambda x: sum(x) ** 2 + 1, np.sum, TWICE) == (
        "With x = [3.0, 5.0, 4.0], the result is 145; it should be 12."
    )
    assert told(lambda x: 4 + sum(x), np.sum, TWICE) == "It is right up to a constant: subtract 4 everywhere."


def test_the_wrong_entry_is_the_one_that_is_farthest_off():
    wrong = told(lambda x: np.add(x, [0.0, 0.1, 3.0]), np.array, [[10.0, -20.0, 1.0]])
    assert wrong == "With x = [10.0, -20.0, 1.0], entry 2 is 4; it should be 1."


def test_the_case_told_is_the_smallest_that_shows_the_difference_well():
    cases = ([0.1, 0.2], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 5.0])
    assert told(lambda x: x**2 * (x > 0.5), np.array, cases) == (
        "With x = [1.0, 2.0, 3.0], entry 2 is 9; it should be 3."
    )
    assert told(lambda x: x + (x == 1) * 0.95 + (x == 5) * 10, np.array, ([1.0, 2.0], [5.0, 2.0, 2.0])) == (
        "With x = [5.0, 2.0, 2.0], entry 0 is 15; it should be 5."
    )
    edge = ([0.0, 2.0], [0.0, 1.0, 20.0])
    assert told(lambda x: x + x * (x > 1), np.array, edge) == "With x = [0.0, 2.0], entry 1 is 4; it should be 2."


@pytest.mark.parametrize(
    ("number", "gap", "shown"),
    [
        (1.23456, 0.5, "1.735; it should be 1.235"),
        (1.23456, 1.0, "2.23; it should be 1.23"),
        (1.23456, 5.0, "6.23; it should be 1.23"),
        (1.23456, 5432.0, "5430; it should be 0"),
        (0.0, 0.1, "0.1; it should be 0"),
        (1e-9, 1.0, "1; it should be 0"),
        (-1e-9, 1.0, "1; it should be 0"),
    ],
)
def test_numbers_are_rounded_as_far_as_the_difference_needs(number, gap, shown):
    wrong = told(lambda x: np.add(x, [gap, 0.0, gap / 2]), np.array, [[number, 1.0, 2.0]])
    assert wrong.endswith(f"entry 0 is {shown}.")


PAIR = diagnosis.Exercise(
    "pair",
    "two arrays",
    lambda parts, weight, function: [parts[0], weight * parts[0]],
    lambda rng: ([np.ones(3), np.arange(2.0)], 2, abs),
    lambda parts, weight, function: {"You doubled twice.": [parts[0], 4 * parts[0]]},
)
LISTS = {
    "entry": (
        lambda p, w, f: [p[0], w * p[0] + [0, 0, 0.5]],
        "With parts = [[1.0, 1.0, 1.0], [0.0, 1.0]], weight = 2, function, entry 2 of array 1 is 2.5; it should be 2.",
    ),
    "shape": (lambda p, w, f: [p[0], p[1]], "Array 1 of the result has shape (2,); it should be (3,): two arrays."),
    "first shape": (lambda p, w, f: [1, 2], "Array 0 of the result has shape (); it should be (3,): two arrays."),
    "length": (lambda p, w, f: [p[0]], "It returns a list of length 1; it should be 2: two arrays."),
    "number": (lambda p, w, f: 2.0, "It returns float, not a list of arrays."),
    "mistake": (lambda p, w, f: (p[0], 4 * p[0]), "You doubled twice."),
    "raises": (
        lambda p, w, f: [][2],
        "With parts of shapes (3,), (2,), weight = 2, function, it raises IndexError: list index out of range",
    ),
    "shorter": (lambda p, w, f: [p.pop(), 1], "It changes its input parts: work on a copy."),
    "longer": (lambda p, w, f: p.append(1), "It changes its input parts: work on a copy."),
    "changed": (lambda p, w, f: p[1].sort() or p[1].fill(0), "It changes its input parts: work on a copy."),
}


@pytest.mark.parametrize("kind", LISTS)
def test_lists_of_arrays_are_compared_array_by_array(kind):
    wrong, sentence = LISTS[kind]
    assert diagnosis.diagnose(PAIR, wrong) == sentence
    assert diagnosis.diagnose(PAIR, lambda p, w, f: [[1.0] * 3, np.array([2, 2, 2])]) is None
    assert diagnosis.diagnose(PAIR, lambda p, w, f: (p[0], w * p[0]) if f is abs and type(w) is int else 0) is None


def test_a_function_that_changes_its_inputs_is_told_so():
    def greedy(x):
        x *= 2.0
        return x

    original = np.array([1.0, 2.0])
    exercise = diagnosis.Exercise("toy", "", lambda x: 2.0 * x, lambda rng: (original,), lambda x: {})
    assert diagnosis.diagnose(exercise, greedy) == "It changes its input x: work on a copy."
    assert original.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("value", [None, np.zeros(3), [kl]])
def test_the_function_itself_is_wanted(value):
    wanted = rf"^pass the function itself, check\.kl\(your_function\), not what it returns; got {type(value).__name__}$"
    with pytest.raises(TypeError, match=wanted):
        check.kl(value)


def test_rounding_is_no_difference_and_a_tiny_one_is():
    cases = [[1.0, 2.0, 1e-6]]
    assert told(lambda x: x * (1 + 1e-12), np.array, cases) is None
    assert told(lambda x: x * (1 + 9e-9), np.array, cases) is None
    assert told(lambda x: np.add(x, [0, 0, 9e-11]), np.array, cases) is None
    for off in ([0, 0, 2e-10], [3e-8, 0, 0], [1e-5, 0, 0], [0.9e-4, 0, 0]):
        assert "few digits only" in told(lambda x, off=off: x + off, np.array, cases)
    assert "entry 0" in told(lambda x: np.add(x, [2e-4, 0, 0]), np.array, cases)
    assert "entry 2" in told(lambda x: np.add(x, [0, 0, 2e-5]), np.array, cases)


def test_of_nothing_everything_is_a_factor_so_no_factor_is_told():
    assert told(lambda x: np.append(x[:-1], 1.0), lambda x: 0 * x, [[0, 0, 0]]) == (
        "With x = [0.0, 0.0, 0.0], entry 2 is 1; it should be 0."
    )
    assert told(lambda x: 0 * x, np.array, [[2, 2, 1]]) == "With x = [2.0, 2.0, 1.0], entry 0 is 0; it should be 2."


def test_a_factor_of_small_numbers_is_found():
    assert told(lambda x: 2e-3 * x, lambda x: 1e-3 * x) == "It is right up to a factor: multiply by 0.5."


def test_lists_integers_booleans_and_autograd_are_welcome():
    assert told(lambda x: [2.0 * v for v in x]) is None
    assert told(lambda x: tuple(np.array(2.0 * v) for v in x)) is None
    assert told(lambda x: (2 * x).astype(int)) is None
    assert told(lambda x: x > 3, lambda x: x > 3) is None
    assert told(lambda x: (x > 3).astype(np.uint8), lambda x: x > 3) is None
    assert diagnosis.diagnose(pretraining.KL, lambda p, q: anp.sum(anp.exp(p) * (p - q), axis=-1)) is None


def test_hard_cases_count_and_come_last():
    hard = (("Large.", (np.array([1e3]),)), ("Small.", (np.array([1e-3]),)))
    exercise = toy(lambda x: x, [1.0, 2.0], hard=hard)
    assert len(diagnosis.draw_cases(exercise)) == 48
    for limits, sentence in (((0, 1e2), "Large."), ((1e-2, 1e4), "Small."), ((1e-2, 1e2), "Large."), ((0, 1e4), None)):
        wrong = diagnosis.diagnose(
            exercise, lambda x, limits=limits: np.where((limits[0] < x) & (x < limits[1]), x, 0.0)
        )
        assert wrong == sentence


def test_floating_point_warnings_of_a_reader_are_not_errors():
    with np.errstate(all="raise"):
        assert told(lambda x: 2.0 * x + 0 * np.nan_to_num(1 / (0 * x), posinf=0.0)) is None


def test_cases_of_the_policy_gradients_come_in_all_sizes_too():
    cases = cases_of("policy_gradients", "ppo", "pipeline")
    assert {len(p) for p, _, _ in cases["reinforce_gradient"]} == {2, 3, 4}
    assert {len(d) for _, d, _ in cases["reinforce_gradient"]} == {5, 6, 7, 8}
    assert all(len(a) == len(d) for _, d, a in cases["reinforce_gradient"])
    assert {f.shape for (f,) in cases["rloo_advantages"]} == {(g + 1, g + m + 2) for g in (1, 2, 3, 4) for m in (1, 2)}
    assert {len(r) for r, *_ in cases["gae"]} == {2, 3, 4, 5, 6}
    assert {case[2] for case in cases["gae"]} == {0.5, 0.8, 0.9}
    assert {case[3] for case in cases["gae"]} == {0.3, 0.6, 0.95}
    assert {len(p) for p, *_ in cases["ppo_loss"]} == {5, 6, 7, 8}
    assert {case[3] for case in cases["ppo_loss"]} == {0.1, 0.2, 0.3}
    advantages = np.concatenate([a for _, _, a, _ in cases["ppo_loss"]])
    assert (min(advantages), max(advantages), min(abs(advantages))) == (-2.9, 2.9, 0.1)
    ratios = np.concatenate([np.exp(p - q) for p, q, *_ in cases["ppo_loss"]])
    assert sorted(set(np.round(ratios, 9))) == [0.5, 0.7, 0.85, 0.95, 1.05, 1.15, 1.4, 1.8]
    for log_pi, log_old, advantage, _ in cases["ppo_loss"]:
        assert len(set(np.round(log_pi - log_old, 9))) > 1
        assert len(set(abs(advantage))) > 1
    assert any(min(a) < 0 < max(a) for _, _, a, _ in cases["ppo_loss"])
    old = np.concatenate([q for _, q, *_ in cases["ppo_loss"]])
    assert (min(old), max(old)) == (-2.9, -0.1)
    assert {beta for *_, beta in cases["gibbs_gap"]} == {0.4, 0.5, 2.0}
    assert {len(p) for p, *_ in cases["best_of_n_kl"]} == {3, 4, 5, 6}
    assert {n for *_, n in cases["best_of_n_kl"]} == {2, 3, 4, 5}
    assert all(len(set(r)) == len(r) for _, r, _ in cases["best_of_n_kl"])
    rewards = np.concatenate([r for _, r, _ in cases["best_of_n_kl"]])
    assert np.round(10 * rewards, 9).tolist() == np.round(10 * rewards).tolist()
    assert (min(rewards), max(rewards)) == (-3, 3)


def test_cases_of_reward_modeling_come_in_all_sizes_too():
    cases = cases_of("reward_modeling", "kinds_of_feedback")
    assert {len(label) for *_, label in cases["bradley_terry_loss"]} == {1, 2, 3, 4, 5, 6}
    labels = np.concatenate([label for *_, label in cases["bradley_terry_loss"]])
    assert set(labels) == {0.0, 0.5, 1.0}
    assert np.mean(labels == 0.5) < 0.3
    assert {r.shape for (r,) in cases["ranking_loss"]} == {(n, n + k + 1) for n in (1, 2, 3, 4) for k in (1, 2)}
    assert {len(m) for m, _ in cases["misclick_loss"]} == {1, 2, 3, 4, 5, 6}
    assert {len(matrix) for matrix, *_ in cases["pooled_borda"]} == {2, 3, 4, 5}
    assert {w for *_, w in cases["pooled_borda"]} == {0.2, 0.3, 0.75}
    shares = np.concatenate([matrix.ravel() for matrix, *_ in cases["pooled_borda"]])
    assert set(np.round(shares * 20, 9)) == set(range(1, 20))
    above = np.concatenate([matrix[np.triu_indices(len(matrix), 1)] for matrix, *_ in cases["pooled_borda"]])
    assert (min(above), max(above)) == (0.05, 0.95)
    assert {len(p) for p, *_ in cases["expected_calibration_error"]} == set(range(2, 13))
    assert {bins for *_, bins in cases["expected_calibration_error"]} == {2, 4, 5, 10}
    said = np.concatenate([p for p, *_ in cases["expected_calibration_error"]])
    assert set(np.round(said[said < 1] * 40, 9)) == set(range(1, 40, 2))


def test_cases_of_direct_preference_optimisation_come_in_all_sizes_too():
    cases = cases_of("dpo", "preference_losses")
    assert {p.shape for p, _, _ in cases["lost_reference"]} == {(n, n + k) for n in (1, 2, 3, 4) for k in (1, 2)}
    for name in ("lost_reference", "dpo_loss", "dpo_weight", "gpo_loss"):
        assert {beta for *_, beta in cases[name]} == {0.3, 0.5, 2.0}
    for name in ("dpo_loss", "dpo_weight"):
        assert {len(chosen) for chosen, *_ in cases[name]} == {1, 2, 3, 4, 5}
        drawn = np.concatenate([np.ravel(case[:4]) for case in cases[name]])
        assert sorted(set(np.round(10 * drawn, 9))) == list(range(-60, 0))
    assert {len(h) for h, _ in cases["ipo_share"]} == {1, 2, 3, 4, 5, 6}
    assert {tau for _, tau in cases["ipo_share"]} == {0.1, 0.25, 2.0}
    shares = np.concatenate([0.5 + tau * h for h, tau in cases["ipo_share"]])
    assert set(np.round(shares * 20, 9)) == set(range(1, 20))
    losses = {f for f, *_ in cases["gpo_loss"]}
    assert sorted(f(4.0) for f in losses) == pytest.approx([math.log1p(math.exp(-4.0)), math.exp(-4.0), 9.0])
    assert {len(h) for _, h, *_ in cases["gpo_loss"]} == {1, 2, 3, 4, 5}
    shares = np.concatenate([p for _, _, p, _ in cases["gpo_loss"]])
    assert set(np.round(shares * 20, 9)) == set(range(21))
    tenths = 10 * np.concatenate([h for _, h, *_ in cases["gpo_loss"]])
    assert tenths == pytest.approx(np.round(tenths))
    assert (tenths.min(), tenths.max()) == pytest.approx((-29, 30))
    steps = cases["dpo_step"]
    assert {len(logits) for logits, *_ in steps} == {3, 4, 5, 6}
    assert {case[2] for case in steps} == {case[3] for case in steps} == set(range(6))
    assert {case[4:] for case in steps} == set(itertools.product((0.3, 0.5, 2.0), (0.5, 1.5, 4.0)))
    assert {len(h) for h, *_ in cases["robust_loss"]} == {1, 2, 3, 4, 5}
    assert {case[1:] for case in cases["robust_loss"]} == set(itertools.product((0.3, 0.5, 2.0), (0.05, 0.1, 0.3)))


@pytest.mark.parametrize("f", answers_preference_losses.OWN_LOSSES)
def test_an_own_loss_that_ends_at_the_gibbs_policy_passes(f, capsys):
    assert check.own_loss(f) is None
    assert capsys.readouterr().out == "own_loss: right on all 6 cases.\n"


@pytest.mark.parametrize(("f", "begin"), answers_preference_losses.WRONG_OWN_LOSSES)
def test_an_own_loss_that_does_not_is_told_why(f, begin, capsys):
    assert check.own_loss(f) is None
    told = capsys.readouterr().out
    assert told.startswith(f"own_loss: not yet. {begin}")
    assert told.endswith(".\n")


def test_an_own_loss_is_a_function():
    wanted = r"^pass the function itself, check\.own_loss\(your_function\), not what it returns; got float$"
    with pytest.raises(TypeError, match=wanted):
        check.own_loss(0.5)


def test_cases_of_pessimism_come_in_all_sizes_too():
    cases = cases_of("pessimism")
    over = cases_of("overoptimization")
    wide = {(n + k, n) for n in (1, 2, 3, 4) for k in (1, 2)}
    for name in ("elliptical_bonus", "lcb_reward"):
        assert {features.shape for features, *_ in cases[name]} == wide
        assert all(reference.shape == features.shape[1:] for features, reference, *_ in cases[name])
    covariances = [covariance for _, _, covariance in cases["elliptical_bonus"]]
    assert 0.5 <= min(np.linalg.eigvalsh(covariance)[0] for covariance in covariances) < 1.5
    assert all(np.round(covariance, 2).tolist() == covariance.tolist() for covariance in covariances)
    assert any((covariance % 1).any() for covariance in covariances)
    assert {c for *_, c in cases["lcb_reward"]} == {0.0, 0.5, 1.0, 2.0}
    assert {r.shape for r, _ in over["ensemble_minimum"]} == {(n + 1, n + k + 1) for n in (1, 2, 3, 4) for k in (1, 2)}
    assert any(np.ptp(r) > 6 for r, _ in over["ensemble_minimum"])  # members have constants of their own
    coverage = cases["coverage_coefficient"]
    assert {features.shape for _, _, features, *_ in coverage} == {(answers + 1, size) for answers, size in wide}
    assert {difference.shape[0] - difference.shape[1] for *_, difference, _ in coverage} == {1, 2, 3}
    assert {precision for *_, precision in coverage} == {0.5, 1.0, 2.0}


def test_a_cost_at_the_threshold_is_told_from_one_above_it():
    wrong = diagnosis.diagnose(EXERCISES["dril_cost"], lambda p, limit: np.where(p.var(0) >= limit, 1.0, -1.0))
    assert wrong == "A cost that equals the threshold is not above it: -1."


def shown(message):
    """The inputs that a message shows, and the entry and the two numbers that it tells."""
    inputs, rest = message[message.index("With ") + 5 :].split(", entry ")
    scope = {}
    for part in re.split(r", (?=[a-z_0-9]+ = )", inputs):
        name, value = part.split(" = ")
        scope[name] = np.array(ast.literal_eval(value)) if "[" in value else ast.literal_eval(value)
    spot, found, wanted = re.fullmatch(r"(.+?) is (.+); it should be (.+)\.", rest).groups()
    return scope, ast.literal_eval(spot), float(found), float(wanted)


def agrees(message, key, function):
    scope, spot, found, wanted = shown(message)
    unit = abs(found - wanted) / 100  # numbers are rounded to the third digit of their difference
    assert function(*scope.values())[spot] == pytest.approx(found, abs=unit)
    assert key(*scope.values())[spot] == pytest.approx(wanted, abs=unit)
    return scope


@pytest.mark.parametrize("name", ["kl", "gibbs", "policy_gradient", "query_probability", "dril_cost", "matching_beta"])
def test_the_inputs_that_a_message_shows_give_the_numbers_that_it_tells(name):
    key = EXERCISES[name].key

    def wrong(*case):
        right = key(*case)
        return right**3 + np.linspace(0.1, 0.3, right.size).reshape(right.shape)

    agrees(diagnosis.diagnose(EXERCISES[name], wrong), key, wrong)


def test_inputs_are_shown_with_as_few_digits_as_the_result_needs():
    third = [1 / 3, 2.0]
    assert told(lambda x: 0 * x, np.array, [third]) == "With x = [0.33, 2.0], entry 1 is 0; it should be 2."
    right, wrong = (lambda x: np.sin(1e4 * x)), (lambda x: np.cos(1e4 * x))
    found = agrees(told(wrong, right, [[1 / 3, 1 / 7]]), right, wrong)["x"]
    assert (found != [1 / 3, 1 / 7]).all()
    assert found == pytest.approx([1 / 3, 1 / 7], abs=1e-6)
    with_nan = told(lambda x: np.where(x == 1 / 3, np.nan, x), np.array, [third])
    assert with_nan.startswith("With x = [0.333333333333")
    assert told(lambda x: None if len(x) == 2 else x, np.array, [third, [1.0]]).endswith(
        "With x = [0.33, 2.0], it returns None."
    )


def refuses_rounded(x):
    if abs(x.sum() - 1) > 1e-9:
        raise ValueError("the sum is not 1")
    return x


def test_rounded_inputs_that_the_answer_key_refuses_are_not_shown():
    message = told(lambda x: 2 * refuses_rounded(x) ** 2, refuses_rounded, [[0.125, 0.375, 0.5]])
    shown = "With x = [0.125, 0.375, 0.5], entry 0 is 0.0312; it should be 0.125."
    assert message == f"Its probabilities do not sum to 1. {shown}"


OTHER_MEMBERS = {
    "eta halved": lambda losses, double, phi, start, eta: (
        np.mean(2 * double * losses, -1) + eta / 2 * ((phi - start) ** 2).sum(-1)
    ),
    "divided by the number of doubles": lambda losses, double, phi, start, eta: (
        2 * np.sum(double * losses, -1) / double.sum(-1) + eta * ((phi - start) ** 2).sum(-1)
    ),
    "one anchor for all": lambda losses, double, phi, start, eta: (
        np.mean(2 * double * losses, -1) + eta * ((phi - start) ** 2).sum()
    ),
}


@pytest.mark.parametrize("name", OTHER_MEMBERS)
def test_wrong_answers_that_nobody_thought_of_get_a_sentence_where_inputs_are_true_or_false(name):
    message = diagnosis.diagnose(EXERCISES["member_losses"], OTHER_MEMBERS[name])
    assert re.search(r"With losses = \[.*\], double = \[\[(True|False).*, eta = [0-9.]+, ", message)


@pytest.mark.parametrize(
    "cost", [lambda p, limit: np.where(p.var(0) >= limit, 1.0, -1.0), lambda p, limit: np.sign(p.var(0) - limit)]
)
def test_a_cost_that_differs_at_the_threshold_is_not_yet_right(cost):
    assert diagnosis.diagnose(EXERCISES["dril_cost"], cost) == "A cost that equals the threshold is not above it: -1."


def test_a_mask_that_looks_at_the_last_token_only_is_not_yet_right():
    def wrong(logits, response, eos):
        before = np.concatenate([np.zeros_like(response[:, :1]) == 1, response[:, :-1] == eos], axis=1)
        each = np.take_along_axis(log_softmax(logits), response[..., None], axis=-1)[..., 0]
        return np.sum(each * ~before, axis=-1)

    assert diagnosis.diagnose(token_mdp.LOG_PROB, wrong).startswith("It is right where only eos follows the first eos;")


def test_differences_in_place_of_derivatives_are_told_apart_from_a_wrong_formula():
    def differences(policy, reward, h=1e-4):
        value = lambda z: np.exp(log_softmax(z)) @ reward  # noqa: E731
        return [(value(np.log(policy) + h * row) - value(np.log(policy))) / h for row in np.eye(len(policy))]

    told = diagnosis.diagnose(EXERCISES["policy_gradient"], differences)
    assert "by formula and not by differences" in told
