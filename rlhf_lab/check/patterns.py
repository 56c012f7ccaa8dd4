"""What holds between a reader's results and the answer key, whatever the exercise: true in all cases.

Results and keys are lists over the cases, each a list of arrays.
"""

from collections.abc import Callable

import numpy as np

from rlhf_lab.numerics.autodiff import Array

Results = list[list[Array]]

RELATIONS: dict[str, Callable[[Array], Array]] = {
    "The sign is flipped.": np.negative,
    "It is cut to whole numbers: does it write into an array of integers?": np.trunc,
    "It is the exponential of the answer: take its logarithm.": np.exp,
    "It is the logarithm of the answer: exponentiate it.": np.log,
    "It is the square of the answer: take the root.": np.square,
    "It is the root of the answer: square it.": np.sqrt,
    "It is one over the answer.": np.reciprocal,
    "It is 1 minus the answer.": lambda key: 1 - key,
    "It is the absolute value of the answer: negative numbers keep their sign.": np.abs,
    "The order along the last axis is reversed.": lambda key: key[..., ::-1] if key.ndim else key,
    "It holds running sums of the answer, along the last axis.": lambda key: (
        np.cumsum(key, axis=-1) if key.ndim else key
    ),
}


def close(a: Array, b: Array, rtol: float = 1e-8, atol: float = 1e-10) -> bool:
    """Return whether two arrays of the same shape agree: np.allclose, without what it costs to look at tiny arrays.

    NaN agrees with NaN: no answer key has it, and a typical mistake may.
    """
    equal = (a == b) | (np.isnan(a) & np.isnan(b))
    if equal.all():
        return True
    with np.errstate(invalid="ignore"):
        near = np.abs(a - b) <= atol + rtol * np.abs(b)
    return bool((equal | (near & np.isfinite(b))).all())


def same(answer: list[Array], key: list[Array]) -> bool:
    """Return whether two results have the same arrays."""
    return [a.shape for a in answer] == [k.shape for k in key] and all(map(close, answer, key))


def relation(answers: Results, keys: Results, lengths: dict[str, list[int]]) -> str:
    """Return how answers of the right shapes follow from the keys, or "" if they do not.

    `lengths` has the lengths of the axes of the inputs, under their names, case by case.
    """
    a, k = (np.concatenate([part.ravel() for parts in every for part in parts]) for every in (answers, keys))
    if not (np.isfinite(a).all() and a.any()):
        return ""
    if close(a, k, 1e-4, 1e-5):
        if np.array_equal(a, a.astype(np.float32)):
            return "It is right to a few digits only: it computes in float32; work in float64."
        return (
            "It is right to a few digits only: take derivatives by formula and not by differences, add no small "
            "constant inside a logarithm, and go on until nothing moves."
        )
    for told, function in RELATIONS.items():
        if close(a, np.concatenate([function(part).ravel() for parts in keys for part in parts])):
            return told
    pairs = [pair for both in zip(answers, keys, strict=True) for pair in zip(*both, strict=True)]
    return _constant(a - k, pairs) or _factor(a, k, answers, keys, lengths) or _shifted(pairs)


def transposed(answers: Results, keys: Results) -> bool:
    """Return whether all answers are the keys with rows and columns exchanged."""
    return all(same([part.T for part in answer], key) for answer, key in zip(answers, keys, strict=True))


def normalised(answers: Results, keys: Results) -> str:
    """Return what is wrong with the sums of probabilities, if the rows of the keys are such or their logarithms."""
    a, k = ([part for parts in every for part in parts] for every in (answers, keys))
    for plain in (np.asarray, np.exp):
        if all(part.ndim and close(plain(part).sum(-1), np.ones(part.shape[:-1])) for part in k):
            if all(close(plain(part).sum(-1), np.ones(part.shape[:-1])) for part in a):
                return ""
            if all(part.ndim > 1 and close(plain(part).sum(0), np.ones(part.shape[1:])) for part in a):
                return "It is normalised over the wrong axis: the probabilities of each row have to sum to 1. "
            if all(part.ndim > 1 and close(plain(part).sum(), np.array(1.0)) for part in a):
                return "It is normalised over all rows at once: the probabilities of each row have to sum to 1. "
            return "Its probabilities do not sum to 1. "
    return ""


def _constant(gap: Array, pairs: list[tuple[Array, Array]]) -> str:
    if close(gap, gap[0]):
        return f"It is right up to a constant: subtract {gap[0]:.4g} everywhere."
    gaps = [a - k for a, k in pairs if a.ndim]
    if any(gap.shape[-1] > 1 for gap in gaps) and all(close(gap, gap[..., :1]) for gap in gaps):
        return "It is right up to a constant, which differs from row to row or from case to case."
    return ""


def _factor(a: Array, k: Array, answers: Results, keys: Results, lengths: dict[str, list[int]]) -> str:
    scale = (a * k).sum() / ((a * a).sum() or 1.0)
    if scale and close(scale * a, k):
        return f"It is right up to a factor: multiply by {scale:.4g}."
    for name, length in lengths.items():
        if len(set(length)) > 1:
            for power, told in ((1, "times {}: is a mean due, and not a sum?"), (-1, "over {}: is a sum due?")):
                wanted = [[part * float(n) ** power for part in key] for key, n in zip(keys, length, strict=True)]
                if all(map(same, answers, wanted)):
                    return f"It is the answer {told.format(f'the length of {name}')}"
    return ""


def _shifted(pairs: list[tuple[Array, Array]]) -> str:
    for axis, along in ((-1, "last"), (0, "first")):
        moved = [(np.moveaxis(a, axis, 0), np.moveaxis(k, axis, 0)) for a, k in pairs if a.ndim]
        for late, told in ((True, "late"), (False, "early")):
            over = [(a[1:], k[:-1], k[1:]) if late else (a[:-1], k[1:], k[:-1]) for a, k in moved]
            telling = sum(not close(other, own) for _, other, own in over)
            if telling > 2 and all(close(found, other) for found, other, _ in over):
                return f"It is one place too {told} along the {along} axis; the numbers are right."
    return ""
