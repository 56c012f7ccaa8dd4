"""Which parameter of a stranger's function takes which input: by its name, or in order.

A `Case` holds the inputs of one call by name. What keeps a function from being audited is told as a `Trouble`.
"""

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rlhf_lab.audit.libraries import written

Case = dict[str, Any]  # the inputs of one call: numbers, and arrays of NumPy


class Trouble(Exception):
    """What keeps a function from being audited, in words for its author."""


class Input(NamedTuple):
    """One input of a contract."""

    name: str
    also: str = ""  # a pattern of other names for it
    absent: Callable[[Any, Case], Any] | None = None  # what it is in a function that does without it
    usual: tuple[Any, ...] = ()  # what else it may be there


class Misbehaved(Trouble):
    """A function that can be called and does what none should: draw at random, or change its inputs."""


def bound(function: Callable[..., Any], inputs: Sequence[Input]) -> list[tuple[str | None, str]]:
    """Return which parameter takes which input: pairs of (keyword, or None for one in order; name of the input).

    Parameters are read by their names; those whose names are not understood take what is left, in order. Raises
    `Trouble` if the function takes too many or too few.
    """
    needed = [i.name for i in inputs if not i.absent]
    try:
        parameters = inspect.signature(written(function)).parameters.values()
    except (TypeError, ValueError):  # of builtins, and of some functions in C
        return [(None, name) for name in needed]
    usual = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    known = {p.name: name for p in usual if (name := meant(p.name, inputs))}
    if len(set(known.values())) < len(known):
        known = {}
    asked = [p.name for p in usual if p.default is p.empty and p.name not in known]
    free = [i.name for i in inputs if i.name not in known.values()]
    free.sort(key=lambda name: name not in needed)
    least = len([name for name in free if name in needed])
    if len(asked) < least and not known:  # of parameters with defaults, too
        asked = [p.name for p in usual][:least]
    if any(p.kind is p.VAR_POSITIONAL for p in parameters) and not known:
        return [(None, i.name) for i in inputs]
    if not least <= len(asked) <= len(free):
        takes = ", ".join(p.name for p in usual) or "nothing"
        wanted = ", ".join(i.name + "?" * bool(i.absent) for i in inputs)
        raise Trouble(
            f"It takes ({takes}); it is called with ({wanted}), by name or in this order. Wrap it in a function that "
            "takes these."
        )
    known |= dict(zip(asked, free, strict=False))
    return [(None if p.kind is p.POSITIONAL_ONLY else p.name, known[p.name]) for p in usual if p.name in known]


def names(function: Callable[..., Any]) -> list[str]:
    """Return the names of the parameters of a function, in lower case, as far as they are known."""
    try:
        return [name.lower() for name in inspect.signature(written(function)).parameters]
    except (TypeError, ValueError):
        return []


def meant(parameter: str, inputs: Sequence[Input]) -> str:
    """Return the name of the input that a parameter of this name takes, or "" if the name is not understood."""
    plain = parameter.lower()
    exact = [i.name for i in inputs if i.name == plain]
    return next(iter(exact), next((i.name for i in inputs if i.also and re.fullmatch(i.also, plain)), ""))
