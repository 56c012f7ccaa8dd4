"""Every checker against every kind of distortion: it refuses what differs, does not break, and says what is so."""

import ast
import re

import numpy as np
import pytest
from autograd.tracer import new_box
from exercises import EXERCISES, remembering

from rlhf_lab.check import diagnosis, patterns

CASES = 12  # in place of 50: the matrix has more than 3,000 fields


def log_softmax(z, axis):
    return z - np.log(np.exp(z).sum(axis, keepdims=True))


def place(key):
    return np.arange(key.size).reshape(key.shape)


SHAPE = "has shape|list of length"
GAP = r"is .*; it should be .*\.$"  # then its numbers are checked, too
LATER, EARLIER = "one place too|order along|" + GAP, "one place too|order along|" + GAP
NORMAL = "normalised over|sum to 1|right up to a constant|" + GAP
SAME = f"the same whatever|do not sum to 1|{GAP}"
# Of each array of the answer: what it becomes, and what the message says if it is none of the exercise's own.
ARRAYS = {
    "negated": (np.negative, "sign is flipped"),
    "doubled": (lambda k: 2 * k, "multiply by 0.5"),
    "shifted by a constant": (lambda k: k + 0.5, "subtract 0.5 everywhere"),
    "late, along the last axis": (lambda k: np.roll(k, 1, -1) if k.ndim else k, LATER),
    "early, along the last axis": (lambda k: np.roll(k, -1, -1) if k.ndim else k, EARLIER),
    "late, along the first axis": (lambda k: np.roll(k, 1, 0) if k.ndim else k, LATER),
    "late, with a 0": (lambda k: np.concatenate([0 * k[..., :1], k[..., :-1]], -1) if k.ndim else k, LATER),
    "reversed": (lambda k: k[..., ::-1] if k.ndim else k, "order along|one place too"),
    "transposed": (np.transpose, "exchanged"),
    "sum over the first axis": (lambda k: k.sum(0) if k.ndim else k, SHAPE),
    "sum over all": (np.sum, SHAPE),
    "mean over the last axis": (lambda k: k.mean(-1) if k.ndim else k, SHAPE),
    "log-softmax over the first axis": (lambda k: log_softmax(k, 0) if k.ndim > 1 else k, NORMAL),
    "softmax over the first axis": (lambda k: np.exp(log_softmax(k, 0)) if k.ndim > 1 else k, f"{NORMAL}|{SAME}"),
    "log-softmax over the last axis": (lambda k: log_softmax(k, -1) if k.ndim else k, f"up to a constant|NaN|{SAME}"),
    "exponential": (np.exp, "exponential of|NaN or inf"),
    "logarithm": (np.log, "logarithm of|NaN or inf"),
    "squared": (np.square, "square of"),
    "absolute": (np.abs, "absolute value|sign is flipped|square of"),
    "running sums": (lambda k: np.cumsum(k, -1) if k.ndim else k, "running sums|up to a factor"),
    "centred": (lambda k: k - k.mean(), f"up to a constant|whole numbers|{SAME}"),
    "zeros": (np.zeros_like, SAME),
    "NaN in one place": (lambda k: np.where(place(k) == 0, np.nan, k), "holds NaN or infinity"),
    "a column too many": (lambda k: k[..., None], SHAPE),
    "a column too few": (lambda k: k[..., :-1] if k.ndim else k, SHAPE),
    "a list": (np.ndarray.tolist, "never"),
    "booleans": (lambda k: k > 0, f"NaN|{SAME}|It is|It does not"),
    "integers": (lambda k: k.astype(int), f"whole numbers|{SAME}"),
    "float32": (lambda k: k.astype(np.float32), "float32"),
    "objects": (lambda k: k.astype(object), "an array of object|parts are not"),
    "a box of autograd": (lambda k: new_box(k, 0, None), "returns ArrayBox|parts are not"),
}


def raises(*case):
    raise KeyError("x")


def changing(right):
    def function(*case):
        result = right(*case)
        for part in (part for value in case for part in diagnosis._parts(value)):
            if isinstance(part, np.ndarray):
                part[...] = 1 - part if part.dtype != bool else ~part
        return result

    return function


def previous(right):
    kept = []

    def function(*case):
        kept.append(right(*case))
        return kept[max(len(kept) - 2, 0)]

    return function


def remembered(right):
    kept = []

    def function(*case):
        kept.append(right(*case))
        return kept[0]

    return function


def noisy(right):
    rng = np.random.default_rng(0)
    return lambda *case: (
        [r + rng.normal() for r in right(*case)] if listed(right(*case)) else right(*case) + rng.random()
    )


def listed(result):
    return isinstance(result, list)


# Of the whole function.
FUNCTIONS = {
    "an object": (lambda right: lambda *case: object(), "returns object, not"),
    "a dictionary": (lambda right: lambda *case: {"x": 1}, "returns dict, not"),
    "None": (lambda right: lambda *case: None, "returns None: your code"),
    "an exception": (lambda right: raises, "it raises KeyError: 'x'"),
    "too few arguments": (lambda right: lambda: 0, "it raises TypeError: "),
    "changed arguments": (changing, "It changes its input"),
    "what the call before asked": (previous, "^Called again"),
    "what the first call asked": (remembered, f"{SHAPE}|{SAME}"),
    "noise": (noisy, "^Called again"),
}


def distorted(key, change):
    def function(*case):
        result = key(*case)
        parts = [change(np.array(part, dtype=float)) for part in diagnosis._parts(result)]
        return parts if listed(result) else parts[0]

    return function


def unchanged(key, function, cases):
    """Whether a function gives the numbers of the answer key, in all cases."""
    try:
        wrap = (lambda result: result) if listed(key(*cases[0])) else lambda result: [result]
        both = [[diagnosis._arrays(wrap(f(*case))) for f in (function, key)] for case in cases]
    except TypeError:
        return False
    return all(patterns.same(answer, wanted) for answer, wanted in both)


def told_numbers(message):
    """The inputs that a message shows, the index of the array and of the entry, and the two numbers; None if hidden."""
    found = re.search(
        r"With (.*), (?:entry (\S+|\(.*\))(?: of array (\d))?|the result) is (.+); it should be (.+)\.$", message
    )
    inputs = [part.split(" = ") for part in re.split(r", (?=[a-z_0-9]+(?: = | of shape|, ))", found[1])]
    if any(len(part) != 2 or " of shape" in part[0] for part in inputs):
        return None
    values = [ast.literal_eval(value) for _, value in inputs]
    return values, int(found[3] or 0), ast.literal_eval(found[2] or "()"), float(found[4]), float(found[5])


def is_true(message, exercise, function):
    """Whether the inputs that a message shows give the numbers that it tells."""
    if not (told := told_numbers(message)):
        return True
    values, array, spot, found, wanted = told
    first = exercise.draw(np.random.default_rng(0))
    case = [
        [np.array(part) for part in value] if isinstance(like, list) else np.array(value) if np.ndim(like) else value
        for value, like in zip(values, first, strict=True)
    ]
    unit = 0.51 * 10.0 ** (np.floor(np.log10(abs(found - wanted))) - 2) + 1e-9
    with np.errstate(all="ignore"):
        both = [np.asarray(diagnosis._parts(f(*case))[array], dtype=float)[spot] for f in (function, exercise.key)]
    return np.abs(np.subtract(both, [found, wanted])).max() < 2 * unit


@pytest.mark.parametrize("name", EXERCISES)
def test_a_checker_refuses_what_is_distorted_and_says_what_is_so(name, monkeypatch):
    monkeypatch.setattr(diagnosis, "CASES", CASES)
    exercise = remembering(EXERCISES[name])
    cases = diagnosis.draw_cases(exercise)
    own = tuple(exercise.mistakes(*cases[0]))
    with np.errstate(all="ignore"):
        rows = {kind: (distorted(exercise.key, change), told) for kind, (change, told) in ARRAYS.items()}
        rows |= {kind: (change(exercise.key), told) for kind, (change, told) in FUNCTIONS.items()}
        right = {
            kind: kind in ARRAYS and unchanged(exercise.key, function, [*cases, *(case for _, case in exercise.hard)])
            for kind, (function, _) in rows.items()
        }
    faults = {}
    for kind, (function, expected) in rows.items():
        message = diagnosis.diagnose(exercise, function)
        if right[kind] or message is None:
            good = right[kind] and message is None
        elif message.startswith((*own, *(told for told, _ in exercise.hard))):
            good = True
        else:
            good = re.search(expected, message) and "\n" not in message and len(message) < 500
            if re.search(GAP, message):
                good = good and is_true(message, exercise, function)
        if not good:
            faults[kind] = message
    assert not faults
