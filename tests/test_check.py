"""Checkers accept what is right, however it is written, and name what is wrong."""

import numpy as np
import pytest

from rlhf_lab import check
from rlhf_lab.diagnosis import Exercise, diagnose

EXERCISES = {
    name: getattr(check, name.upper())
    for name in ("log_prob", "return_to_go", "state_values", "kl", "policy_gradient", "gibbs")
}
every_exercise = pytest.mark.parametrize("name", EXERCISES)
every_mistake = pytest.mark.parametrize(
    ("name", "k"), [(name, k) for name, exercise in EXERCISES.items() for k in range(len(exercise.mistakes))]
)


def softmax(z):
    return np.exp(z - np.max(z)) / np.sum(np.exp(z - np.max(z)))


def log_prob(logits, response, eos):
    totals = []
    for row, tokens in zip(logits, response, strict=True):
        total = 0.0
        for z, token in zip(row, tokens, strict=True):
            total += z[token] - np.max(z) - np.log(np.sum(np.exp(z - np.max(z))))
            if token == eos:
                break
        totals.append(total)
    return totals


def return_to_go(rewards, discount):
    return [sum(discount ** (k - t) * rewards[k] for k in range(t, len(rewards))) for t in range(len(rewards))]


def state_values(policy, rewards, discount):
    def value(t, i):
        if t == len(policy):
            return 0.0
        width = policy[t].shape[1]
        return sum(
            np.exp(policy[t][i, a]) * (rewards[t][i, a] + discount * value(t + 1, i * width + a)) for a in range(width)
        )

    return [np.array([value(t, i) for i in range(len(p))]) for t, p in enumerate(policy)]


def kl(log_p, log_q):
    return np.array(
        [sum(np.exp(a) * (a - b) for a, b in zip(p, q, strict=True)) for p, q in zip(log_p, log_q, strict=True)]
    )


def policy_gradient(policy, reward):
    jacobian = np.diag(policy) - np.outer(policy, policy)
    return jacobian @ reward


def gibbs(log_pi_0, reward, beta):
    rows = log_pi_0 + reward / beta
    return np.array([[z - top - np.log(sum(np.exp(row - top))) for z in row] for row in rows for top in [max(row)]])


@every_exercise
def test_a_right_solution_passes_however_it_is_written(name):
    assert diagnose(EXERCISES[name], globals()[name]) is None


@every_exercise
def test_the_public_checker_says_so(name, capsys):
    exercise = EXERCISES[name]
    assert getattr(check, name)(globals()[name]) is None
    count = len(exercise.cases) + len(exercise.hard)
    assert capsys.readouterr().out == f"{name}: right on all {count} cases.\n"


@every_exercise
def test_the_starter_is_not_yet_right(name, capsys):
    getattr(check, name)(lambda *arguments: None)
    expected = f"{name}: not yet. It returns None: your code goes where the starter returns None.\n"
    assert capsys.readouterr().out == expected


@every_mistake
def test_a_typical_mistake_is_named(name, k):
    wrong, sentence = EXERCISES[name].mistakes[k]
    assert diagnose(EXERCISES[name], wrong) == sentence


@every_exercise
def test_there_are_at_least_three_typical_mistakes_and_all_differ_from_the_key(name):
    exercise = EXERCISES[name]
    assert len(exercise.mistakes) >= 3
    for wrong, _ in exercise.mistakes:
        assert diagnose(exercise._replace(mistakes=[]), wrong) is not None


MISTAKES = {  # written out here once more, as a reader would: (exercise, wrong function, a word of the sentence)
    "padding": (
        "log_prob",
        lambda z, y, eos: [sum(np.log(softmax(z[n, t])[y[n, t]]) for t in range(y.shape[1])) for n in range(len(y))],
        "padding",
    ),
    "past": (
        "return_to_go",
        lambda r, g: np.array([sum(g ** (t - k) * r[k] for k in range(t + 1)) for t in range(len(r))]),
        "past",
    ),
    "one return": ("return_to_go", lambda r, g: sum(g**t * x for t, x in enumerate(r)), "one return for each step"),
    "direction": (
        "kl",
        lambda p, q: np.array([np.exp(b) @ (b - a) for a, b in zip(p, q, strict=True)]),
        "other direction",
    ),
    "batch": ("kl", lambda p, q: float(np.sum(np.exp(p) * (p - q))), "batch"),
    "baseline": ("policy_gradient", lambda p, r: np.multiply(p, r), "baseline"),
    "beta": ("gibbs", lambda p, r, b: np.array([np.log(softmax(row)) for row in p + r * b]), "divide"),
    "normaliser": ("gibbs", lambda p, r, b: np.add(p, np.divide(r, b)), "normalised"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_however_it_is_written(mistake):
    name, wrong, word = MISTAKES[mistake]
    assert word in diagnose(EXERCISES[name], wrong)


def test_overflow_is_named_apart_from_being_wrong():
    def naive(log_pi_0, reward, beta):
        weight = np.exp(log_pi_0 + reward / beta)
        return np.log(weight / weight.sum(-1, keepdims=True))

    assert "overflow" in diagnose(check.GIBBS, naive)

    def naive_log_prob(logits, response, eos):
        chosen = np.log(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))
        return check._log_prob(chosen, response, eos)

    assert "overflow" in diagnose(check.LOG_PROB, naive_log_prob)


TOY = Exercise(lambda x: 2.0 * x, [(np.array([1.0, 2.0]),), (np.array([3.0, 5.0, 4.0]),)], [], [])
GENERIC = {
    "sign": (lambda x: -2.0 * x, "The sign is flipped."),
    "constant": (lambda x: 2.0 * x + 7, "It is right up to a constant that should not be there."),
    "factor": (lambda x: 8.0 * x, "It is right up to a factor: multiply by 0.25."),
    "NaN": (lambda x: 2.0 * x + np.nan, "The result holds NaN or infinity."),
    "shape": (lambda x: 2.0 * x[:1], "The result has shape (1,); it should be (2,)."),
    "list": (lambda x: [2.0 * x, x], "The result has shape of 2 arrays, [(2,), (2,)]; it should be (2,)."),
    "text": (lambda x: "two", "It returns str, not numbers in an array."),
    "entry": (
        lambda x: 2.0 * x + (np.arange(len(x)) == 1),
        "With inputs of shapes (2,), entry (1,) is 5 and should be 4.",
    ),
    "some": (
        lambda x: 2.0 * x if len(x) == 2 else 2.0 * x**2,
        "It is right in 1 of 2 cases. With inputs of shapes (3,), entry (1,) is 50 and should be 10.",
    ),
    "raises": (lambda x: x[2], "With inputs of shapes (2,) it raises IndexError: index 2 is out of bounds"),
}


@pytest.mark.parametrize("kind", GENERIC)
def test_what_is_wrong_is_told_even_if_nobody_foresaw_it(kind):
    wrong, sentence = GENERIC[kind]
    assert diagnose(TOY, wrong).startswith(sentence)


def test_in_a_list_of_arrays_the_wrong_one_is_named():
    two = Exercise(lambda x, y: [x[0], y * x[0]], [([np.ones(3)], 2.0)], [], [])
    wrong = diagnose(two, lambda x, y: [x[0], y * x[0] + np.array([0, 0, 0.5])])
    assert wrong == "With inputs of shapes (3,), ..., (), entry (2,) of array 1 is 2.5 and should be 2."


def test_a_function_that_changes_its_inputs_is_told_so():
    def greedy(x):
        x *= 2.0
        return x

    assert diagnose(TOY, greedy) == "It changes its inputs; work on a copy."
    assert TOY.cases[0][0].tolist() == [1.0, 2.0]


def test_the_function_itself_is_wanted():
    with pytest.raises(TypeError, match=r"pass the function itself, as in check.kl\(kl\); got ndarray"):
        check.kl(np.zeros(3))


def test_small_differences_are_differences_and_rounding_is_not():
    exact = Exercise(lambda x: x, [(np.array([1.0, 2.0, 1e-6]),)], [], [])
    assert diagnose(exact, lambda x: x * (1 + 1e-12)) is None
    assert diagnose(exact, lambda x: x + np.array([1e-6, 0, 0])) is not None
    assert diagnose(exact, lambda x: x + np.array([0, 0, 1e-9])) is not None
    assert diagnose(exact, lambda x: x + np.array([0, 0, 1e-12])) is None


def test_a_list_of_numbers_is_an_array():
    assert diagnose(TOY, lambda x: [2.0 * v for v in x]) is None
    assert diagnose(TOY, lambda x: [np.array(2.0 * v) for v in x]) is None
    assert diagnose(TOY, lambda x: tuple(2.0 * v for v in x)) is None


def test_the_wrong_entry_is_the_one_that_is_farthest_off():
    big = Exercise(lambda x: x, [(np.array([10.0, -20.0, 1.0]),)], [], [])
    told = diagnose(big, lambda x: x + np.array([0.0, 0.1, 3.0]))
    assert told == "With inputs of shapes (3,), entry (2,) is 4 and should be 1."


def test_a_factor_of_small_numbers_is_found():
    small = Exercise(lambda x: 1e-3 * x, [(np.array([1.0, 2.0]),)], [], [])
    assert diagnose(small, lambda x: 2e-3 * x) == "It is right up to a factor: multiply by 0.5."


def test_arguments_that_are_not_arrays_reach_the_function_as_they_are():
    typed = Exercise(lambda x, n: x * n, [(np.array([1.0, 2.0]), 3)], [], [])
    assert diagnose(typed, lambda x, n: x * n if type(n) is int else None) is None
