"""What a function of a kind has to do: a right function, others that are as right, and identities that hold for all."""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from inspect import signature
from numbers import Real
from typing import Any, NamedTuple

import autograd.numpy as np

from rlhf_lab.audit.binding import Case, Input, Trouble
from rlhf_lab.audit.functions import Layout, Subject
from rlhf_lab.audit.zoo import ZOO, Bug
from rlhf_lab.numerics.autodiff import Array


def by_name(function: Callable[..., Any], case: Case) -> Array:
    """Call a function of ours with those inputs of a case that it takes."""
    values: Array = function(**{name: case[name] for name in _parameters(function) if name in case})
    return values


@lru_cache(8192)
def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    if isinstance(function, partial):  # quicker than its signature, and there are thousands of them
        names = _parameters(function.func)[len(function.args) :]
        return tuple(name for name in names if name not in function.keywords)
    return tuple(signature(function).parameters)


class Form(NamedTuple):
    """A way to hand over the same numbers; `shape` maps the numbers of the items, and the case, to it.

    `call` gets these numbers out of a function of ours. Identities do not see through an `opaque` form.
    """

    name: str
    shape: Callable[[Array, Case], Array] = lambda values, case: values
    call: Callable[[Callable[..., Any], Case], Array] = by_name
    opaque: bool = False


class Function:
    """A stranger's function as identities see it: without a shift and a factor that are only conventions."""

    def __init__(self, subject: Subject, factor: float = 1.0, shift: float = 0.0) -> None:
        self.subject, self.factor, self.shift = subject, factor, shift

    def __call__(self, case: Case) -> Array:
        """Return what it returns."""
        return (self.subject(case) - self.shift) / self.factor

    def slope(self, case: Case, name: str) -> Array:
        """Return the gradient of the sum of its result in an input, by finite differences if there is no other way."""
        try:
            return self.subject.gradient(case, [name])[name] / self.factor
        except Trouble:
            return self.subject.differences(case, [name])[name] / self.factor


class Shown(NamedTuple):
    """What a function returns for a case, and what it should."""

    case: Case
    found: Array
    wanted: Array


class Identity(NamedTuple):
    """What holds for every right function: `look` calls one and yields what it found beside what should be."""

    name: str
    look: Callable[[Function, Sequence[Case]], Iterable[Shown]]
    needs: str = ""  # inputs without which there is nothing to see
    caution: bool = False  # what breaks it is no mistake in the formula, and still to be told
    bug: str = ""  # of the zoo, which a function has that breaks it and is not recognised otherwise


class Right(NamedTuple):
    """A function that is right; `name` says what kind of one it is, "" for the usual one."""

    name: str
    function: Callable[..., Any]
    when: Callable[[Subject], bool] = lambda subject: True  # of which functions it can be the meaning


class Contract(NamedTuple):
    """What an audit knows; functions take the inputs by name."""

    name: str
    inputs: tuple[Input, ...]
    result: str  # what the numbers stand for
    rights: tuple[Right, ...]
    cases: tuple[Case, ...]  # small ones first
    forms: tuple[Form, ...]
    identities: tuple[Identity, ...]
    trained: tuple[str, ...] = ()  # inputs in which gradients count
    loss: bool = True  # whether sign and size of the result are conventions
    fitted: Callable[[Function, Sequence[Case]], Iterable["Right | Bug"]] = lambda loss, cases: ()  # with its numbers
    layouts: tuple[Layout, ...] = (Layout(""),)
    bugs: tuple[Bug, ...] | None = None  # those of the zoo with this name, unless others are given
    general: bool = False  # whether identities hold for every right function, not only for the first
    strict: bool = False  # whether only what is recognised is right: identities alone would let too much pass
    patient: bool = False  # whether what is a bug here may be right by the next contract

    def known(self) -> tuple[Bug, ...]:
        """Return the bugs that a function of this kind may have."""
        return tuple(bug for bug in ZOO if bug.audit == self.name) if self.bugs is None else self.bugs


def near(found: Array, wanted: Array) -> Array:
    """Return what is wanted if what was found is near it, within a hundredth: where a small number makes no bug."""
    return wanted if found.shape == wanted.shape and np.allclose(found, wanted, 1e-2, 1e-2) else found


def positive(**options: float | None) -> dict[str, float]:
    """Return those options that are given. Raises ValueError unless each is a finite number above 0."""
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        if not (isinstance(value, Real) and 0 < value < np.inf):
            raise ValueError(f"{name} must be a finite number above 0; got {value!r}")
    return given


def one_of(option: str, given: str, known: Iterable[str]) -> None:
    """Raise ValueError unless an option is one of those that are known."""
    if given not in known:
        raise ValueError(f"{option} is one of {', '.join(known)}; got {given!r}")
