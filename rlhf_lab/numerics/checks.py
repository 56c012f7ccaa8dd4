"""Questions that constructors and loops ask of what they are given; each answers no with a `ValueError`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NewType

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    IntArray = NDArray[np.intp]  # 32 bits wide on some machines, the browser among them
    FloatArray = NDArray[np.float64]
    BoolArray = NDArray[np.bool_]
else:  # the names that help() and the reference show
    IntArray, FloatArray, BoolArray = (NewType(name, np.ndarray) for name in ("IntArray", "FloatArray", "BoolArray"))
ILL = 1e12  # condition number beyond which a direction counts as not measured


def tokens(name: str, value: Any, vocab: int) -> IntArray:
    """Return `value` as integers of shape (..., N, T), each in [0, vocab)."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name}: the rows have different lengths; pad or group them so that all agree") from None
    if array.ndim < 2:
        raise ValueError(f"{name} must have shape (N, T), one row a text; got shape {array.shape}")
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} must be integers, the indices of tokens; got {array.dtype}")
    if array.size and (array.min() < 0 or array.max() >= vocab):
        wrong = array[(array < 0) | (array >= vocab)][0]
        raise ValueError(f"{name}: token {wrong} is outside the vocabulary of {vocab} tokens, 0 to {vocab - 1}")
    return array.astype(np.intp, copy=False)


def place(name: str, value: Any, known: Any, vocab: int) -> IntArray:
    """Return which of the `known` texts (K, P) each text of `value` (..., N, P) is, as integers (..., N)."""
    texts, known = tokens(name, value, vocab), np.asarray(known)
    if texts.shape[-1] != known.shape[1]:
        raise ValueError(f"the table knows {name}s of {known.shape[1]} tokens; got {texts.shape[-1]}")
    match = np.ones((*texts.shape[:-1], len(known)), dtype=bool)
    for t in range(known.shape[1]):  # faster than all() over so short an axis
        match &= texts[..., t, None] == known[:, t]
    if not match.any(-1).all():
        unknown = texts[~match.any(-1)][0].tolist()
        raise ValueError(f"{name} {unknown} is not in the table, which knows {len(known)} {name}s")
    return np.asarray(match.argmax(-1))


def actions(name: str, value: Any, count: int) -> IntArray:
    """Return `value` as integers (...), each one of `count` actions, 0 to count - 1."""
    array = np.asarray(value)
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} must be integers, the numbers of discrete actions; got {array.dtype}")
    if array.size and (array.min() < 0 or array.max() >= count):
        wrong = array[(array < 0) | (array >= count)][0]
        raise ValueError(f"{name}: there are {count} actions, 0 to {count - 1}; got {wrong}")
    return array.astype(np.intp, copy=False)


def tally(index: Any, weights: Any = None, size: int = 0) -> Any:
    """Return how often each number 0, 1, ... stands in `index` (N,), or the sum of its `weights`; at least `size` long.

    It is `np.bincount` for integers of any width: where pointers have 32 bits, that refuses those of 64.
    """
    return np.bincount(np.asarray(index).astype(np.intp, copy=False), weights, size)


def horizon(value: int) -> int:
    """Return `value`, the greatest length of a response, if it is a whole number from 1 on."""
    if not np.isfinite(value) or value != int(value) or value < 1:
        raise ValueError(f"the horizon is the greatest number of tokens in a response, at least 1; got {value}")
    return int(value)


def positive(name: str, value: float) -> float:
    """Return `value` if it is finite and above 0."""
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be finite and above 0; got {value}")
    return value


def not_negative(name: str, value: float, what: str) -> float:
    """Return `value`, which is `what` (a noun and what it does), if it is finite and at least 0."""
    if not (np.isfinite(value) and value >= 0):
        raise ValueError(f"{name} is {what}, finite and at least 0; got {value}")
    return value


def count(name: str, value: float, what: str) -> int:
    """Return `value`, the number of `what` (a noun and what is done with it), if it is a whole number from 1 on."""
    if not np.isfinite(value) or value != int(value) or value < 1:
        raise ValueError(f"{name} is {what}, a whole number from 1 on; got {value}")
    return int(value)


def answer_rewards(value: Any, shape: tuple[int, ...]) -> None:
    """Raise unless `value` holds finite rewards, and one for each of the last axis of `shape`, the answers."""
    found = np.shape(value)
    if found[-1:] != tuple(shape[-1:]):
        raise ValueError(f"there must be one reward for each of the {shape[-1]} answers, last axis; got shape {found}")
    wrong = ~np.isfinite(value)
    if wrong.any():
        raise ValueError(f"rewards must be finite; {int(wrong.sum())} of {wrong.size} are NaN or infinite")


def share(name: str, value: Any) -> Any:
    """Return `value`, a number or an array of numbers, if all lie in [0, 1]."""
    if not (np.greater_equal(value, 0) & np.less_equal(value, 1)).all():
        raise ValueError(f"{name} must lie in [0, 1]; got {_worst(value)}")
    return value


def labels(name: str, value: Any) -> FloatArray:
    """Return `value` as floats of shape (..., N), each 0, 1/2 or 1."""
    array = np.asarray(value, dtype=float)
    if not array.size:
        raise ValueError(f"{name} is empty; at least one comparison is needed")
    if not np.isin(array, (0, 0.5, 1)).all():
        raise ValueError(
            f"{name} must be 1 (the first is preferred), 0 (the second) or 1/2 (a tie); got "
            f"{array[~np.isin(array, (0, 0.5, 1))][0]:g}"
        )
    return array


def preference_matrix(value: Any) -> FloatArray:
    """Return `value` as floats (A, A) with P[a, b] + P[b, a] = 1, the share that prefers a to b."""
    matrix = np.asarray(share("matrix", value), dtype=float)
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] > 1
    if not square or not np.allclose(matrix + matrix.T, 1, atol=1e-9):
        raise ValueError(
            f"matrix must be (A, A) with P[a, b] + P[b, a] = 1 and 1/2 on the diagonal; this one, of shape "
            f"{matrix.shape}, is not"
        )
    return matrix


def _worst(value: Any) -> float:
    array = np.ravel(np.asarray(value, dtype=float))
    return float(array[~((array >= 0) & (array <= 1))][0])


def probabilities(name: str, value: Any, *, atol: float = 1e-9) -> FloatArray:
    """Return `value` as floats that are non-negative and sum to 1 along the last axis."""
    array = np.asarray(value, dtype=float)
    if not np.isfinite(array).all() or (array < 0).any():
        raise ValueError(f"{name} must be finite and not negative; the smallest is {array.min()}")
    total = array.sum(-1)
    if np.abs(total - 1).max() > atol:
        worst = total.flat[np.abs(total - 1).argmax()]
        raise ValueError(f"{name} must sum to 1; the sum is {worst:.6g}: divide by it if that is what you mean")
    return array


def log_probs(name: str, value: Any) -> None:
    """Raise unless `value` holds log-probabilities: none is NaN, none above 0 by more than rounding."""
    wrong = ~np.less_equal(value, 1e-9)
    if wrong.any():
        raise ValueError(
            f"{name}: log-probabilities are at most 0; got {np.asarray(value)[wrong].flat[0]:.6g}. Take natural "
            "logarithms of probabilities, and sum over tokens"
        )


def finite(params: Mapping[str, Any]) -> None:
    """Raise if any array of `params` holds NaN or infinity, naming the array.

    In `logits`, minus infinity forbids a token; each row must allow one.
    """
    for name, value in params.items():
        wrong = ~np.isfinite(value)
        if name == "logits" and wrong.any():
            forbidden = np.isneginf(value)
            if (forbidden.all(-1) & forbidden.any(-1)).any():
                raise ValueError("params['logits'] forbids every token in some row: a token must be allowed")
            wrong &= ~forbidden
        if wrong.any():
            bad = int(np.sum(wrong))
            raise ValueError(f"params[{name!r}] has {bad} entries that are NaN or infinite; start from model.init(rng)")


def sizes(vocab: int, eos: int | None) -> None:
    """Raise unless there are at least two tokens and `eos`, if there is one, is the last of them."""
    if vocab < 2:
        raise ValueError(f"a language needs at least 2 tokens; got a vocabulary of {vocab}")
    if eos not in (None, vocab - 1):
        raise ValueError(f"eos must be the last token, {vocab - 1}, or None; got {eos}")


def shapes(params: Mapping[str, Any], wanted: Mapping[str, tuple[int, ...]]) -> None:
    """Raise unless each of `params` ends in the shape that is wanted of it, whatever axes it carries before."""
    for name, shape in wanted.items():
        if params[name].shape[-len(shape) :] != shape:
            raise ValueError(
                f"params[{name!r}] has shape {params[name].shape}; it must end in {shape}: these parameters belong to "
                "a model of another size"
            )


def same_batch(prompt: IntArray, response: IntArray) -> None:
    """Raise unless there is one response for each prompt."""
    if prompt.shape[-2] != response.shape[-2]:
        raise ValueError(
            f"{prompt.shape[-2]} prompts, but {response.shape[-2]} responses: repeat each prompt once for each response"
        )


def ill_conditioned(matrix: Any) -> bool:
    """Return whether one of the matrices (..., D, D) has a direction that counts as not measured."""
    return bool(np.max(np.linalg.cond(matrix)) > ILL)
