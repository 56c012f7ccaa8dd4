"""What is wrong with a reader's function, in words.

An exercise is a right function, cases to try, typical mistakes with a sentence each, and hard cases that a right but
careless function fails.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Array = Any
Function = Callable[..., Any]
Case = tuple[Any, ...]


class Exercise(NamedTuple):
    """A right function `key`, argument tuples `cases`, (wrong function, sentence) pairs, (case, sentence) pairs."""

    key: Function
    cases: list[Case]
    mistakes: list[tuple[Function, str]]
    hard: list[tuple[Case, str]]


def diagnose(exercise: Exercise, function: Function) -> str | None:
    """Return what is wrong with a reader's function, as a sentence, or None if nothing is."""
    if not callable(function):
        raise TypeError(f"pass the function itself, as in check.kl(kl); got {type(function).__name__}")
    answers = []
    for case in exercise.cases:
        given = _copy(case)
        try:
            answer = _run(function, given)
        except Exception as error:
            return f"With inputs of shapes {_shapes(case)} it raises {type(error).__name__}: {error}"
        if answer is None:
            return "It returns None: your code goes where the starter returns None."
        try:
            answers.append(_leaves(answer))
        except (TypeError, ValueError):
            return f"It returns {type(answer).__name__}, not numbers in an array."
        if not _same(_leaves(list(given)), _leaves(list(case))):
            return "It changes its inputs; work on a copy."
    keys = [_leaves(_run(exercise.key, case)) for case in exercise.cases]
    right = [_same(answer, key) for answer, key in zip(answers, keys, strict=True)]
    if all(right):
        return _careless(exercise, function)
    for wrong, sentence in exercise.mistakes:
        if all(_same(a, _leaves(_run(wrong, case))) for a, case in zip(answers, exercise.cases, strict=True)):
            return sentence
    return _generic(exercise, answers, keys, right)


def _careless(exercise: Exercise, function: Function) -> str | None:
    for case, sentence in exercise.hard:
        if not _same(_leaves(_run(function, _copy(case))), _leaves(_run(exercise.key, case))):
            return sentence
    return None


def _generic(exercise: Exercise, answers: list[list[Array]], keys: list[list[Array]], right: list[bool]) -> str:
    for answer, key in zip(answers, keys, strict=True):
        shapes, wanted = [a.shape for a in answer], [k.shape for k in key]
        if shapes != wanted:
            return f"The result has shape {_tell(shapes)}; it should be {_tell(wanted)}."
        if not all(np.isfinite(a).all() for a in answer):
            return "The result holds NaN or infinity."
    pairs = [(a, k) for answer, key in zip(answers, keys, strict=True) for a, k in zip(answer, key, strict=True)]
    if _all_close([(-a, k) for a, k in pairs]):
        return "The sign is flipped."
    if _all_close([(a - a.mean(), k - k.mean()) for a, k in pairs]):
        return "It is right up to a constant that should not be there."
    scale = sum((a * k).sum() for a, k in pairs) / max(sum((a * a).sum() for a, _ in pairs), 1e-300)
    if _all_close([(scale * a, k) for a, k in pairs]):
        return f"It is right up to a factor: multiply by {scale:.4g}."
    first = right.index(False)
    case, answer, key = exercise.cases[first], answers[first], keys[first]
    told = f"It is right in {sum(right)} of {len(right)} cases. " if any(right) else ""
    gap = [np.abs(a - k) for a, k in zip(answer, key, strict=True)]
    leaf = int(np.argmax([g.max() for g in gap]))
    spot = np.unravel_index(gap[leaf].argmax(), gap[leaf].shape)
    where = f"entry {tuple(map(int, spot))}" + (f" of array {leaf}" if len(key) > 1 else "")
    values = f"{where} is {answer[leaf][spot]:.4g} and should be {key[leaf][spot]:.4g}"
    return f"{told}With inputs of shapes {_shapes(case)}, {values}."


def _run(function: Function, case: Case) -> Any:
    with np.errstate(all="ignore"):
        return function(*case)


def _copy(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_copy(item) for item in value)
    return np.array(value) if isinstance(value, np.ndarray) else value


def _leaves(value: Any) -> list[Array]:
    if isinstance(value, (list, tuple)) and _holds_array(value):
        return [leaf for item in value for leaf in _leaves(item)]
    return [np.asarray(value, dtype=float)]


def _holds_array(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_holds_array(item) for item in value)
    return isinstance(value, np.ndarray) and value.ndim > 0


def _same(answer: list[Array], key: list[Array]) -> bool:
    return [a.shape for a in answer] == [k.shape for k in key] and _all_close(list(zip(answer, key, strict=True)))


def _all_close(pairs: list[tuple[Array, Array]]) -> bool:
    return all(np.allclose(a, k, rtol=1e-8, atol=1e-10) for a, k in pairs)


def _shapes(case: Case) -> str:
    return ", ".join(str(np.shape(v[0])) + ", ..." if isinstance(v, list) else str(np.shape(v)) for v in case)


def _tell(shapes: list[tuple[int, ...]]) -> str:
    return str(shapes[0]) if len(shapes) == 1 else f"of {len(shapes)} arrays, {shapes}"
