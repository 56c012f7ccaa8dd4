"""How a stranger's function is called: with arrays of its own library, by name or in order, and watched.

A `Case` holds the inputs of one call by name. What keeps a function from being audited is told as a `Trouble`.
"""

import contextlib
import inspect
import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rlhf_lab.audit.libraries import libraries
from rlhf_lab.numerics.autodiff import Array

Case = dict[str, Any]  # the inputs of one call: numbers, and arrays of NumPy
STEP = 1e-5  # of finite differences
VISIBLE = 24  # numbers of an array that are shown


class Trouble(Exception):
    """What keeps a function from being audited, in words for its author."""


class Input(NamedTuple):
    """One input of a contract."""

    name: str
    also: str = ""  # a pattern of other names for it
    absent: Callable[["Subject", Case], Any] | None = None  # what it is in a function that does without it


class Subject:
    """A function as an audit sees it: from a case to an array of NumPy, with its gradient.

    `library` holds its arrays, `notes` are conventions that were met while it was called, `given` the names of the
    inputs that it takes. Raises `Trouble` if it cannot be called with `cases`.
    """

    def __init__(self, function: Callable[..., Any], inputs: Sequence[Input], cases: Sequence[Case]) -> None:
        if not callable(function):
            raise Trouble(f"pass the function itself, not what it returns; this is a {type(function).__name__}")
        self.function = function
        self.places = bound(function, inputs)
        self.notes: list[str] = []
        self.digits = 64
        self.printed = ""
        errors: dict[str, Exception] = {}
        for self.library in libraries(function):
            for self.mask in (float, bool):
                try:
                    result = self._raw(cases[0])
                except Exception as error:  # whatever a stranger's function may raise
                    errors.setdefault(self.library.name, error)
                    continue
                if self.library.holds(result):
                    self._meet(cases)
                    return
        if not errors:
            kind = type(result).__name__
            raise Trouble(f"It returns {kind}, not numbers in an array: {_shown(result)}.")
        first = next(iter(errors))
        raise Trouble(_raised(errors[first], f"arrays of {first}"))

    def _meet(self, cases: Sequence[Case]) -> None:
        """Call the function with every case, twice, and note what it does besides."""
        for case in cases:
            before = {name: np.array(value) for name, value in case.items()}
            state = _global_state()
            values = self(case)
            drew = state != _global_state()
            for name, value in before.items():
                if not np.array_equal(value, case[name], equal_nan=value.dtype.kind == "f"):
                    raise Trouble(f"It changes its input {name}: work on a copy.")
            again = self(case)
            if values.shape != again.shape or not np.array_equal(values, again, equal_nan=True):
                raise Trouble(
                    "Called again with the same inputs, it returns something else: it draws at random (dropout?), or "
                    "keeps something from an earlier call."
                )
            if drew:
                self.note("draws from NumPy's global generator, though the result does not depend on it")
        if self.printed:
            self.note(f"prints while it runs ({self.printed.strip().splitlines()[0][:40]!r})")

    def note(self, told: str) -> None:
        """Keep a convention for the report."""
        if told not in self.notes:
            self.notes.append(told)

    @property
    def given(self) -> set[str]:
        """Names of the inputs that the function takes."""
        return {name for _, name in self.places}

    def _arguments(self, case: Case) -> tuple[list[str], list[Any]]:
        names = [name for _, name in self.places]
        values = []
        for name in names:
            value = case[name]
            if np.ndim(value):
                value = np.array(value, dtype=self.mask) if "mask" in name else np.array(value)
                value = self.library.array(value)
            values.append(value)
        return names, values

    def _call(self, values: Sequence[Any]) -> Any:
        keys = [key for key, _ in self.places]
        plain = [value for key, value in zip(keys, values, strict=True) if key is None]
        named = {key: value for key, value in zip(keys, values, strict=True) if key is not None}
        written = io.StringIO()
        with contextlib.redirect_stdout(written), np.errstate(all="ignore"):
            result = self.function(*plain, **named)
        self.printed = self.printed or written.getvalue()
        return self._one(result)

    def _one(self, result: Any) -> Any:
        """The result itself, or the first of several."""
        if isinstance(result, Mapping):
            name = next((name for name in ("loss", "losses", "advantages") if name in result), next(iter(result), None))
            self.note(f"returns a dictionary, of which {name!r} is read")
            return result.get(name)
        if isinstance(result, tuple) and result:
            self.note(f"returns {len(result)} results, of which the first is read")
            return result[0]
        return np.array(result) if isinstance(result, list) else result

    def _raw(self, case: Case) -> Any:
        return self._call(self._arguments(case)[1])

    def __call__(self, case: Case) -> Array:
        """Return what the function returns, as an array of NumPy."""
        try:
            raw = self._raw(case)
        except Exception as error:  # whatever a stranger's function may raise
            raise Trouble(_raised(error, told(case, self.given))) from None
        try:
            values = np.asarray(self.library.numbers(raw))
        except Exception:  # None, words, a list of lists of different lengths
            values = np.asarray(None)
        if values.dtype.kind not in "biuf":
            raise Trouble(f"It returns {type(raw).__name__}, not numbers in an array: {_shown(raw)}.")
        self.digits = min(self.digits, 64 if values.dtype.kind in "biu" else _bits(raw, values))
        return values.astype(float)

    def gradient(self, case: Case, names: Sequence[str]) -> dict[str, Array]:
        """Return the gradient of the sum of the result in some inputs, by the function's own library.

        Raises `Trouble` if that library cannot differentiate it.
        """
        all_names, values = self._arguments(case)
        wanted = [name for name in names if name in all_names]
        spots = [all_names.index(name) for name in wanted]

        def of(*changed: Any) -> Any:
            mixed = list(values)
            for spot, value in zip(spots, changed, strict=True):
                mixed[spot] = value
            return self._call(mixed)

        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # autograd warns of a result that does not depend on an input
                found = self.library.gradient(of, [values[spot] for spot in spots])
            arrays = [np.asarray(g, dtype=float) for g in found]
        except Exception as error:  # not written for differentiation
            raise Trouble(f"{self.library.name} cannot differentiate it: {type(error).__name__}") from None
        return dict(zip(wanted, arrays, strict=True))

    def differences(self, case: Case, names: Sequence[str]) -> dict[str, Array]:
        """Return the same by finite differences."""
        found = {}
        for name in names:
            value = np.array(case[name], dtype=float)
            slope = np.zeros(value.shape)
            for spot in np.ndindex(value.shape):
                ends = []
                for step in (STEP, -STEP):
                    moved = value.copy()
                    moved[spot] += step
                    ends.append(self(case | {name: moved}).sum())
                slope[spot] = (ends[0] - ends[1]) / (2 * STEP)
            found[name] = slope
        return found


def _global_state() -> str:
    """The generator that a careless function draws from."""
    return repr(np.random.get_state())  # noqa: NPY002


def _bits(raw: Any, values: Array) -> int:
    return 16 if "16" in str(getattr(raw, "dtype", "")) else values.dtype.itemsize * 8


def bound(function: Callable[..., Any], inputs: Sequence[Input]) -> list[tuple[str | None, str]]:
    """Return which parameter takes which input: pairs of (keyword, or None for one in order; name of the input).

    Parameters are read by their names where all are understood, else inputs are passed in order. Raises `Trouble` if
    the function takes too many or too few.
    """
    needed = [i.name for i in inputs if not i.absent]
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # of builtins, and of some functions in C
        return [(None, name) for name in needed]
    usual = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    known = {p.name: name for p in usual if (name := _meant(p.name, inputs))}
    required = [p for p in usual if p.default is p.empty]
    if (
        all(p.name in known for p in required)
        and len(set(known.values())) == len(known)
        and set(needed) <= set(known.values())
    ):
        return [(None if p.kind is p.POSITIONAL_ONLY else p.name, known[p.name]) for p in usual if p.name in known]
    inside = [p for p in usual if p.kind is not p.KEYWORD_ONLY]
    anything = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    most = len(inputs) if anything else len(inside)
    least = len(inputs) if anything else len([p for p in inside if p.default is p.empty])
    if (
        least > len(inputs)
        or most < len(needed)
        or any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in usual)
    ):
        takes = ", ".join(p.name for p in usual) or "nothing"
        wanted = ", ".join(i.name + "?" * bool(i.absent) for i in inputs)
        raise Trouble(
            f"It takes ({takes}); it is called with ({wanted}), by name or in this order. Wrap it in a function that "
            "takes these."
        )
    in_order = [i.name for i in inputs]
    return [(None, name) for name in in_order[: min(most, max(least, len(needed)))]]


def _meant(parameter: str, inputs: Sequence[Input]) -> str:
    plain = parameter.lower()
    exact = [i.name for i in inputs if i.name == plain]
    return next(iter(exact), next((i.name for i in inputs if i.also and re.fullmatch(i.also, plain)), ""))


def told(case: Case, names: set[str] | None = None) -> str:
    """Return a case in words: every input with its numbers, or with its shape if they are many."""
    parts = []
    for name, value in case.items():
        if names is None or name in names:
            array = np.asarray(value)
            text = np.array2string(array, separator=", ", threshold=50, max_line_width=10_000).replace("\n", "")
            parts.append(
                f"{name} = {re.sub(r' +', ' ', text)}" if array.size <= 24 else f"{name} of shape {array.shape}"
            )
    return ", ".join(parts)


def _raised(error: Exception, given: str) -> str:
    first = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
    if re.search(r"cuda|nvidia|hip|mps|gpu", str(error), re.IGNORECASE):
        return f"It wants a GPU ({first}): leave tensors on the device on which they come."
    return f"It raises {first}, with {given}."


def _shown(value: Any) -> str:
    text = repr(value).splitlines()
    return (text[0] if text else "nothing")[:60]
