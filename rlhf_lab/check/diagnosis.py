"""What is wrong with a reader's function, in words.

An exercise is an answer key, a way to draw cases, and the typical mistakes: what each of them would answer, under the
sentence that names it.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from inspect import signature
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from rlhf_lab.check import patterns
from rlhf_lab.numerics.autodiff import Array, log_softmax

Function = Callable[..., Any]
Case = tuple[Any, ...]

CASES = 50
VISIBLE = 12  # numbers that a message shows; of larger arrays it tells the shape
DIGITS = (2, 4, 6, 9, 12)  # behind the point: inputs are shown with as few as the result that is told needs, else whole
AGAIN = (
    "Called again with the same inputs, it returns something else: it draws at random, or keeps something from an "
    "earlier call."
)


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
    """Return the same cases each time, small ones first; together with the hard ones they are `CASES`.

    Integers are as wide as a pointer, so that they index and count wherever the checker runs, also in a browser.
    """
    drawn = [
        tuple(map(_as_wide_as_pointers, exercise.draw(np.random.default_rng(k))))
        for k in range(CASES - len(exercise.hard))
    ]
    return sorted(drawn, key=lambda case: sum(np.size(part) for value in case for part in _parts(value)))


def _as_wide_as_pointers(value: Any) -> Any:
    counts = isinstance(value, np.ndarray) and value.dtype.kind == "i"
    return value.astype(np.intp) if counts else value


def wants_function(name: str, function: Function) -> None:
    """Raise a TypeError if what a reader hands to a checker is no function."""
    if not callable(function):
        call = f"check.{name}(your_function)"
        raise TypeError(f"pass the function itself, {call}, not what it returns; got {type(function).__name__}")


def diagnose(exercise: Exercise, function: Function) -> str | None:
    """Return what is wrong with a reader's function, in a sentence or two, or None if nothing is."""
    wants_function(exercise.name, function)
    with np.errstate(all="ignore"):
        return _diagnose(exercise, function)


def _diagnose(exercise: Exercise, function: Function) -> str | None:
    cases = draw_cases(exercise)
    given = [exercise.key(*case) for case in cases]
    keys, several = [_arrays(key) for key in given], isinstance(given[0], list)
    answers = [_answer(exercise, function, case, several) for case in cases]
    if all(answer is None for answer in answers):
        return "It returns None: your code goes where the starter returns None."
    right = [_same(answer, key) for answer, key in zip(answers, keys, strict=True)]
    for n in (right.index(False) if False in right else -1, 0):
        if not _alike(_answer(exercise, function, cases[n], several), answers[n]):
            return AGAIN
    where = _where(exercise, cases, right)
    for case, answer in zip(cases, answers, strict=True):
        if not isinstance(answer, list):
            nothing = _with(exercise, case, lambda shown: _answer(exercise, function, shown, several) is None)
            return where + (answer or f"{nothing} it returns None.")
    if all(right):
        return next((told for told, case in exercise.hard if not _passes(exercise, function, case)), None)
    found = [answer for answer in answers if isinstance(answer, list)]
    shapes = [_shape(answer, key, exercise.result) for answer, key in zip(found, keys, strict=True)]
    shape = next(filter(None, reversed(shapes)), "")  # of the largest case: its axes are easiest to tell apart
    wrong = [exercise.mistakes(*case) for case in cases]
    for sentence in wrong[0]:
        if all(_same(answer, _arrays(w[sentence])) for answer, w in zip(found, wrong, strict=True)):
            return f"{sentence} {shape}".strip()
    if patterns.transposed(found, keys):
        return f"Rows and columns are exchanged. {shape}".strip()
    fixed = all(_alike(answer, found[0]) for answer in found) and not all(_alike(key, keys[0]) for key in keys)
    where = "It returns the same whatever its inputs are. " if fixed else where
    if shape:
        return where + shape
    if told := patterns.relation(found, keys, _lengths(exercise, cases)):
        return told
    hint = patterns.normalised(found, keys) or ("" if fixed else _ignored(exercise, function, cases, several))
    return where + hint + _gap(exercise, function, cases, found, keys)


def _parts(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _answer(exercise: Exercise, function: Function, case: Case, several: bool) -> list[Array] | str | None:
    given = deepcopy(case)
    try:
        answer = function(*given)
    except Exception as error:
        raised = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
        return f"{_with(exercise, case)} it raises {raised}"
    for index, (now, before) in enumerate(zip(map(_parts, given), map(_parts, case), strict=True)):
        if len(now) != len(before) or not all(map(np.array_equal, now, before)):
            return f"It changes its input {_names(exercise)[index]}: work on a copy."
    try:
        return None if answer is None else _arrays(list(answer) if several else [answer])
    except (TypeError, ValueError):
        if several and isinstance(answer, list | tuple):
            return "It returns a list whose parts are not arrays of numbers."
        what = f"an array of {answer.dtype}" if isinstance(answer, np.ndarray) else type(answer).__name__
        return f"It returns {what}, not {'a list of arrays' if several else 'numbers in an array'}."


def _arrays(value: Any) -> list[Array]:
    arrays = [np.asarray(part) for part in _parts(value)]
    if any(array.dtype.kind not in "biuf" for array in arrays):
        raise TypeError
    return [array.astype(float) for array in arrays]


def _same(answer: list[Array] | str | None, key: list[Array]) -> bool:
    return isinstance(answer, list) and patterns.same(answer, key)


def _alike(answer: list[Array] | str | None, other: list[Array] | str | None) -> bool:
    if isinstance(answer, list) and isinstance(other, list):
        return len(answer) == len(other) and all(map(partial(np.array_equal, equal_nan=True), answer, other))
    return answer == other


def _passes(exercise: Exercise, function: Function, case: Case) -> bool:
    key = exercise.key(*case)
    return _same(_answer(exercise, function, case, isinstance(key, list)), _arrays(key))


def _where(exercise: Exercise, cases: list[Case], right: list[bool]) -> str:
    if not any(right):
        return ""
    traits = [exercise.traits(*case) for case in cases]
    for words in traits[0]:
        true = [bool(held[words]) for held in traits]
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


def _lengths(exercise: Exercise, cases: list[Case]) -> dict[str, list[int]]:
    """The lengths of the axes of the inputs, case by case."""
    return {
        f"axis {axis} of {name}": [np.shape(case[index])[axis] for case in cases]
        for index, name in enumerate(_names(exercise))
        if not isinstance(cases[0][index], list)
        for axis in range(np.ndim(cases[0][index]))
    }


def _ignored(exercise: Exercise, function: Function, cases: list[Case], several: bool) -> str:
    """Return which inputs the key uses and the function does not: each is exchanged for that of another case."""
    unused = []
    for index, name in enumerate(_names(exercise)):
        moved = 0
        for one, other in pairwise(cases):
            mixed = (*one[:index], other[index], *one[index + 1 :])
            try:
                wanted, before = _arrays(exercise.key(*mixed)), _arrays(exercise.key(*one))
            except Exception:  # inputs of two cases need not fit together
                continue
            if patterns.same(wanted, before):
                continue
            if not _alike(_answer(exercise, function, mixed, several), _answer(exercise, function, one, several)):
                break
            moved += 1
            if moved == 5:
                unused.append(name)
                break
    if unused == _names(exercise):
        return "Its numbers are the same whatever its inputs hold. "
    return f"It does not use {' and '.join(unused)}. " if unused else ""


def _gap(
    exercise: Exercise, function: Function, cases: list[Case], answers: list[list[Array]], keys: list[list[Array]]
) -> str:
    gaps = [[abs(a - k) for a, k in zip(*parts, strict=True)] for parts in zip(answers, keys, strict=True)]
    most = np.array([max(np.max(gap) for gap in case) for case in gaps])
    if not np.isfinite(most).all():
        endless = lambda shown: not all(np.isfinite(part).all() for part in _both(exercise, function, shown)[0])  # noqa: E731
        return f"{_with(exercise, cases[np.isfinite(most).argmin()], endless)} the result holds NaN or infinity."
    n = int(np.argmax(most >= most.max() / 10))  # the smallest case that shows it well
    index = int(np.argmax([np.max(gap) for gap in gaps[n]]))
    spot = tuple(map(int, np.unravel_index(np.argmax(np.round(gaps[n][index], 9)), gaps[n][index].shape)))
    digits = 2 - int(np.floor(np.log10(most[n]) + 1e-6))

    def told(pair: Sequence[list[Array]]) -> list[str]:
        return [f"{np.round(parts[index][spot], digits) + 0.0:.10g}" for parts in pair]

    found, wanted = told((answers[n], keys[n]))
    given = _with(exercise, cases[n], lambda shown: told(_both(exercise, function, shown)) == [found, wanted])
    entry = f"entry {spot[0] if len(spot) == 1 else spot}" if spot else "the result"
    array = f" of array {index}" if len(keys[n]) > 1 else ""
    return f"{given} {entry}{array} is {found}; it should be {wanted}."


def _names(exercise: Exercise) -> list[str]:
    return list(signature(exercise.mistakes).parameters)


def _both(exercise: Exercise, function: Function, case: Case) -> tuple[list[Array], list[Array]]:
    key = exercise.key(*case)
    answer = _answer(exercise, function, case, isinstance(key, list))
    return answer if isinstance(answer, list) else [], _arrays(key)


def _with(exercise: Exercise, case: Case, same: Callable[[Case], bool] | None = None) -> str:
    """Return the inputs in words: rounded, but `same` of what is shown; without it, no numbers of arrays."""
    visible = VISIBLE if same else 0
    hidden = [bool(np.ndim(_parts(value)[0])) and sum(map(np.size, _parts(value))) > visible for value in case]
    shown = case
    for digits in DIGITS if same else ():
        shown = tuple(v if h else _rounded(v, digits) for v, h in zip(case, hidden, strict=True))
        if _holds(same, shown):
            break
    else:
        shown = case
    told = []
    for name, value, hide in zip(_names(exercise), shown, hidden, strict=True):
        if callable(value):
            told.append(name)
        elif hide:
            shapes = ", ".join(str(np.shape(part)) for part in _parts(value))
            told.append(f"{name} of shape{'s' * isinstance(value, list)} {shapes}")
        else:
            parts = [np.asarray(part).tolist() for part in _parts(value)]
            told.append(f"{name} = {parts if isinstance(value, list) else parts[0]}")
    return f"With {', '.join(told)},"


def _rounded(value: Any, digits: int) -> Any:
    if callable(value) or np.asarray(_parts(value)[0]).dtype.kind != "f":
        return value
    parts = [np.round(part, digits) + 0.0 for part in _parts(value)]
    return parts if isinstance(value, list) else parts[0]


def _holds(same: Callable[[Case], bool] | None, shown: Case) -> bool:
    try:
        return same is not None and same(shown)
    except Exception:  # rounded inputs need not be ones that the answer key takes
        return False
