"""What is wrong with a reader's function, in words.

An exercise is an answer key, a way to draw cases, and the typical mistakes: what each of them would answer, under the
sentence that names it.
"""

from collections.abc import Callable
from copy import deepcopy
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from rlhf_lab.numerics.autodiff import Array, log_softmax

Function = Callable[..., Any]
Case = tuple[Any, ...]

CASES = 50
VISIBLE = 12  # numbers that a message shows; of larger arrays it tells the shape


class Exercise(NamedTuple):
    """What a checker knows; `key`, `mistakes` and `traits` are called with the arguments of one case."""

    name: str
    result: str  # what the numbers of the result stand for
    key: Function  # the right answer: an array, or a list of arrays
    draw: Callable[[Generator], Case]
    mistakes: Callable[..., dict[str, Any]]  # sentence -> wrong answer; its parameters name the inputs in messages
    traits: Callable[..., dict[str, Any]] = lambda *case: {}  # "the discount is 1" -> whether it is
    hard: tuple[tuple[str, Case], ...] = ()  # (sentence, case that a careless function fails), tried last


def tenths(rng: Generator, *shape: int) -> Array:
    """Draw multiples of 1/10 from -3 to 3: numbers that a message can show."""
    return rng.integers(-30, 31, size=shape) / 10


def log_probs(rng: Generator, *shape: int) -> Array:
    """Draw log-probabilities that are normalised along the last axis."""
    return np.asarray(log_softmax(tenths(rng, *shape)))


def wide(rng: Generator) -> tuple[int, int]:
    """Draw a shape that is never square, so that a message about shapes tells the axes apart."""
    rows = int(rng.integers(1, 5))
    return rows, rows + int(rng.integers(1, 3))


def draw_cases(exercise: Exercise) -> list[Case]:
    """Return the same cases each time, small ones first; together with the hard ones they are `CASES`."""
    drawn = [exercise.draw(np.random.default_rng(k)) for k in range(CASES - len(exercise.hard))]
    return sorted(drawn, key=lambda case: sum(np.size(part) for value in case for part in _parts(value)))


def diagnose(exercise: Exercise, function: Function) -> str | None:
    """Return what is wrong with a reader's function, in a sentence or two, or None if nothing is."""
    if not callable(function):
        call = f"check.{exercise.name}(your_function)"
        raise TypeError(f"pass the function itself, {call}, not what it returns; got {type(function).__name__}")
    cases = draw_cases(exercise)
    given = [exercise.key(*case) for case in cases]
    keys, several = [_arrays(key) for key in given], isinstance(given[0], list)
    answers = [_answer(exercise, function, case, several) for case in cases]
    if all(answer is None for answer in answers):
        return "It returns None: your code goes where the starter returns None."
    right = [_same(answer, key) for answer, key in zip(answers, keys, strict=True)]
    where = _where(exercise, cases, right)
    for case, answer in zip(cases, answers, strict=True):
        if not isinstance(answer, list):
            return where + (answer or f"{_with(exercise, case)} it returns None.")
    if all(right):
        return next((told for told, case in exercise.hard if not _passes(exercise, function, case)), None)
    found = [answer for answer in answers if isinstance(answer, list)]
    shapes = [_shape(answer, key, exercise.result) for answer, key in zip(found, keys, strict=True)]
    shape = next(filter(None, reversed(shapes)), "")  # of the largest case: its axes are easiest to tell apart
    wrong = [exercise.mistakes(*case) for case in cases]
    for sentence in wrong[0]:
        if all(_same(answer, _arrays(w[sentence])) for answer, w in zip(found, wrong, strict=True)):
            return f"{sentence} {shape}".strip()
    return where + shape if shape else _nearly(found, keys) or where + _gap(exercise, cases, found, keys)


def _parts(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _answer(exercise: Exercise, function: Function, case: Case, several: bool) -> list[Array] | str | None:
    given = deepcopy(case)
    try:
        with np.errstate(all="ignore"):
            answer = function(*given)
    except Exception as error:
        raised = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
        return f"{_with(exercise, case, 0)} it raises {raised}"
    for name, now, before in zip(_names(exercise), map(_parts, given), map(_parts, case), strict=True):
        if len(now) != len(before) or not all(map(np.array_equal, now, before)):
            return f"It changes its input {name}: work on a copy."
    try:
        return None if answer is None else _arrays(list(answer) if several else [answer])
    except (TypeError, ValueError):
        return f"It returns {type(answer).__name__}, not {'a list of arrays' if several else 'numbers in an array'}."


def _arrays(value: Any) -> list[Array]:
    arrays = [np.asarray(part) for part in _parts(value)]
    if any(array.dtype.kind not in "biuf" for array in arrays):
        raise TypeError
    return [array.astype(float) for array in arrays]


def _close(a: Array, b: Array, rtol: float = 1e-8, atol: float = 1e-10) -> bool:
    # np.allclose, without what it costs to look at tiny arrays
    with np.errstate(invalid="ignore"):
        near = np.abs(a - b) <= atol + rtol * np.abs(b)
    return bool(((a == b) | (near & np.isfinite(b))).all())


def _same(answer: list[Array] | str | None, key: list[Array]) -> bool:
    if not isinstance(answer, list) or [a.shape for a in answer] != [k.shape for k in key]:
        return False
    return all(map(_close, answer, key))


def _passes(exercise: Exercise, function: Function, case: Case) -> bool:
    key = exercise.key(*case)
    return _same(_answer(exercise, function, case, isinstance(key, list)), _arrays(key))


def _where(exercise: Exercise, cases: list[Case], right: list[bool]) -> str:
    if not any(right):
        return ""
    for words in exercise.traits(*cases[0]):
        true = [bool(exercise.traits(*case)[words]) for case in cases]
        if right == true or right == [not t for t in true]:
            return f"It is right {'only' if right == true else 'except'} where {words}. "
    return f"It is right in {sum(right)} of {len(right)} cases. "


def _shape(answer: list[Array], key: list[Array], result: str) -> str:
    if len(answer) != len(key):
        return f"It returns a list of length {len(answer)}; it should be {len(key)}: {result}."
    for index, (a, k) in enumerate(zip(answer, key, strict=True)):
        if a.shape != k.shape:
            what = f"Array {index} of the result" if len(key) > 1 else "The result"
            return f"{what} has shape {a.shape}; it should be {k.shape}: {result}."
    return ""


def _nearly(answers: list[list[Array]], keys: list[list[Array]]) -> str:
    a, k = (np.concatenate([part.ravel() for parts in every for part in parts]) for every in (answers, keys))
    gaps = [x - y for parts in zip(answers, keys, strict=True) for x, y in zip(*parts, strict=True) if x.ndim]
    if not np.isfinite(a).all():
        return ""
    if _close(a, k, 1e-4, 1e-5):
        return "It is right to a few digits only: work in float64, and add no small constant inside a logarithm."
    if _close(-a, k):
        return "The sign is flipped."
    if _close(a - k, a[0] - k[0]):
        return f"It is right up to a constant: subtract {a[0] - k[0]:.4g} everywhere."
    if any(gap.shape[-1] > 1 for gap in gaps) and all(_close(gap, gap[..., :1]) for gap in gaps):
        return "It is right up to a constant, which differs from row to row or from case to case."
    scale = (a * k).sum() / ((a * a).sum() or 1.0)
    return f"It is right up to a factor: multiply by {scale:.4g}." if scale and _close(scale * a, k) else ""


def _gap(exercise: Exercise, cases: list[Case], answers: list[list[Array]], keys: list[list[Array]]) -> str:
    gaps = [[abs(a - k) for a, k in zip(*parts, strict=True)] for parts in zip(answers, keys, strict=True)]
    most = np.array([max(np.max(gap) for gap in case) for case in gaps])
    if not np.isfinite(most).all():
        return f"{_with(exercise, cases[np.isfinite(most).argmin()])} the result holds NaN or infinity."
    n = int(np.argmax(most >= most.max() / 10))  # the smallest case that shows it well
    index = int(np.argmax([np.max(gap) for gap in gaps[n]]))
    spot = tuple(map(int, np.unravel_index(np.argmax(np.round(gaps[n][index], 9)), gaps[n][index].shape)))
    digits = 2 - int(np.floor(np.log10(most[n]) + 1e-6))
    found, wanted = (f"{np.round(all_[n][index][spot], digits) + 0.0:.10g}" for all_ in (answers, keys))
    entry = f"entry {spot[0] if len(spot) == 1 else spot}" if spot else "the result"
    array = f" of array {index}" if len(keys[n]) > 1 else ""
    return f"{_with(exercise, cases[n])} {entry}{array} is {found}; it should be {wanted}."


def _names(exercise: Exercise) -> list[str]:
    return list(signature(exercise.mistakes).parameters)


def _with(exercise: Exercise, case: Case, visible: int = VISIBLE) -> str:
    told = []
    for name, value in zip(_names(exercise), case, strict=True):
        if callable(value):
            told.append(name)
        elif np.ndim(_parts(value)[0]) and sum(map(np.size, _parts(value))) > visible:
            shapes = ", ".join(str(np.shape(part)) for part in _parts(value))
            told.append(f"{name} of shape{'s' * isinstance(value, list)} {shapes}")
        else:
            shown = [_shown(part) for part in _parts(value)]
            told.append(f"{name} = {shown if isinstance(value, list) else shown[0]}")
    return f"With {', '.join(told)},"


def _shown(part: Any) -> Any:
    part = np.asarray(part)
    return part.tolist() if part.dtype == bool else (np.round(part, 2) + 0).tolist()
