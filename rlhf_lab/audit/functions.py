"""How a stranger's function is called: with arrays of its own library, in the layout that it takes, and watched."""

import contextlib
import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from rlhf_lab.audit.binding import Case, Input, Misbehaved, Trouble, bound
from rlhf_lab.audit.libraries import Library, libraries, writes_autograd
from rlhf_lab.audit.results import first
from rlhf_lab.audit.words import raised, shown, told
from rlhf_lab.numerics.autodiff import Array

STEP = 1e-5  # of finite differences


class Layout(NamedTuple):
    """A way in which people lay out inputs and results; `name` is told as a convention, "" for the usual way.

    `into` makes what the function takes of a case, `back` the usual result of what it returns. Where `inputs` are
    given, it takes these in place of those of the contract; `cases` keeps, splits or changes the cases.
    """

    name: str
    into: Callable[[Case], Case] = dict
    back: Callable[[Array, Case], Array] = lambda values, case: values
    inputs: tuple[Input, ...] = ()
    cases: Callable[[Sequence[Case]], Sequence[Case]] = list


Made = dict[Any, Any]  # what one audit keeps: a function and its gradients, compiled, and what functions of ours return


class Subject:
    """A function as an audit sees it: from a case to an array of NumPy, with its gradient.

    `library` holds its arrays, `notes` are conventions that were met while it was called, `given` the names of the
    inputs that it takes, `made` what was compiled of it. Raises `Trouble` if it cannot be called with `cases`.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        inputs: Sequence[Input],
        cases: Sequence[Case],
        layout: Layout = Layout(""),  # noqa: B008 (a constant)
        made: Made | None = None,
    ) -> None:
        if not callable(function):
            raise Trouble(f"pass the function itself, not what it returns; this is a {type(function).__name__}")
        self.function, self.layout = function, layout
        self.places = bound(function, inputs)
        self.notes: list[str] = []
        self.digits = 64
        self.printed = ""
        self.several = False  # whether it returns more than one result
        self.mask: type = float
        self.made = {} if made is None else made
        self.quick: Callable[..., Any] | None = None
        errors: dict[str, BaseException] = {}
        tried: list[str] = []
        result: Any = None
        while new := [library for library in libraries(function) if library.name not in tried]:  # it may import one
            self.library: Library = new[0]
            tried.append(self.library.name)
            self.quick = self.made.get(self._key(""))
            for self.bits, self.mask in ((64, float), (64, bool), (32, float), (32, bool)):
                try:
                    result = self._raw(cases[0])
                except (Exception, SystemExit) as error:  # whatever a stranger's function may raise
                    errors.setdefault(self.library.name, error)
                    continue
                if self.library.holds(result):
                    if self.mask is bool and "mask" in self.given:
                        self.note("takes a mask of True and False")
                    self._meet(cases)
                    return
                errors.pop(self.library.name, None)
                break
        if result is not None or not errors:
            bare = isinstance(result, float) and tried[0] != "NumPy"
            more = " A number of Python carries no gradient: return the tensor." if bare else ""
            raise Trouble(f"It returns {type(result).__name__}, not numbers in an array: {shown(result)}.{more}")
        first = next(iter(errors))
        raise Trouble(raised(errors[first], f"arrays of {first}"))

    def _meet(self, cases: Sequence[Case]) -> None:
        """Call the function with every case, twice, and note what it does besides; compiled, it does that at first."""
        for case in cases:
            state = _global_state()
            values = self._watched(case)
            drew = state != _global_state()
            again = self(case)
            if values.shape != again.shape or not np.array_equal(values, again, equal_nan=True):
                raise Misbehaved(
                    "Called again with the same inputs, it returns something else: it draws at random (dropout?), or "
                    "keeps something from an earlier call."
                )
            if drew:
                self.note("draws from NumPy's global generator, though the result does not depend on it")
            if case is cases[0]:
                self._quicken(case, values)
        if self.printed:
            self.note(f"prints while it runs ({self.printed.strip().splitlines()[0][:40]!r})")

    def _quicken(self, case: Case, values: Array) -> None:
        """Compile the function as a whole, if what it returns for a case stays the same."""
        if self.library.compiled and self._key("") not in self.made:
            self.quick = self._made("", self.library.compiled)
            if not np.allclose(self(case), values, 1e-4, 1e-4, equal_nan=True):
                self.quick = self.made[self._key("")] = None

    def _key(self, what: Any) -> tuple[Any, ...]:
        return what, self.library.name, *self.places

    def _made(self, what: Any, make: Callable[[Callable[..., Any]], Any]) -> Any:
        key = self._key(what)
        if key not in self.made:
            self.made[key] = make(lambda *given: self._called(given))
        return self.made[key]

    def _watched(self, case: Case) -> Array:
        """Return what the function returns. Raises `Trouble` if it has changed its inputs by then."""
        names, handed = self._arguments(case)
        before = [np.array(self.library.numbers(x)) if np.ndim(x) else x for x in handed]
        found = self._numbers(case, handed)
        for name, old, new in zip(names, before, handed, strict=True):
            if np.ndim(old) and not np.array_equal(old, np.asarray(self.library.numbers(new))):
                raise Misbehaved(f"It changes its input {name}: work on a copy.")
        return found

    def note(self, told: str) -> None:
        """Keep a convention for the report."""
        if told not in self.notes:
            self.notes.append(told)

    @property
    def given(self) -> set[str]:
        """Names of the inputs that the function takes."""
        return {name for _, name in self.places}

    def _arguments(self, case: Case) -> tuple[list[str], list[Any]]:
        case = self.layout.into(case)
        names = [name for _, name in self.places]
        values = []
        for name in names:
            value = case[name]
            if np.ndim(value):
                value = np.array(value, dtype=self.mask) if name.endswith(("mask", "ends")) else np.array(value)
                if value.dtype.kind == "f" and self.bits == 32:
                    value = value.astype(np.float32)
                value = self.library.array(value)
            elif isinstance(value, float) and self.library.name == "NumPy":
                value = np.float64(value)  # a number, as one element of an array is
            values.append(value)
        return names, values

    def _call(self, values: Sequence[Any]) -> Any:
        return self.quick(*values) if self.quick else self._called(values)

    def _called(self, values: Sequence[Any]) -> Any:
        keys = [key for key, _ in self.places]
        plain = [value for key, value in zip(keys, values, strict=True) if key is None]
        named = {key: value for key, value in zip(keys, values, strict=True) if key is not None}
        page = io.StringIO()
        with contextlib.redirect_stdout(page), np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = self.function(*plain, **named)
        self.printed = self.printed or page.getvalue()
        value, note = first(result, self.library)
        if note:
            self.several = True
            self.note(note)
        return value

    def _raw(self, case: Case) -> Any:
        return self._call(self._arguments(case)[1])

    def __call__(self, case: Case) -> Array:
        """Return what the function returns, as an array of NumPy."""
        return self._numbers(case, self._arguments(case)[1])

    def _numbers(self, case: Case, handed: Sequence[Any]) -> Array:
        try:
            raw = self._call(handed)
        except (Exception, SystemExit) as error:  # whatever a stranger's function may raise
            raise Trouble(raised(error, told(case, self.given))) from None
        try:
            values = np.asarray(self.library.numbers(raw))
        except Exception:  # None, words, a list of lists of different lengths
            values = np.asarray(None)
        if values.dtype.kind not in "biuf":
            raise Trouble(f"It returns {type(raw).__name__}, not numbers in an array: {shown(raw)}.")
        self.digits = min(self.digits, 64 if values.dtype.kind in "biu" else _bits(raw, values))
        try:
            return self.layout.back(values.astype(float), case)
        except Exception:  # a shape that the layout cannot turn back
            raise Trouble(f"It returns shape {values.shape}, with {told(case, self.given)}.") from None

    def gradient(self, case: Case, names: Sequence[str]) -> dict[str, Array]:
        """Return the gradient of the sum of the result in some inputs, by the function's own library.

        Raises `Trouble` if that library cannot differentiate it.
        """
        if self.library.name == "NumPy" and not writes_autograd(self.function):
            raise Trouble("it is written for NumPy without autograd")
        all_names, values = self._arguments(case)
        wanted = [name for name in names if name in all_names]
        spots = tuple(all_names.index(name) for name in wanted)
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # autograd warns of a result that does not depend on an input
                found = self._made(spots, lambda call: self.library.gradient(call, spots))(values)
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


def _global_state() -> tuple[bytes, int]:
    """The generator that a careless function draws from."""
    state: Any = np.random.get_state()  # noqa: NPY002
    return state[1].tobytes(), state[2]


def _bits(raw: Any, values: Array) -> int:
    return 16 if "16" in str(getattr(raw, "dtype", "")) else values.dtype.itemsize * 8
