"""In a browser an index has 32 bits, and numpy refuses int64 where it wants one. Readers' code need not know that."""

import functools
from collections.abc import Callable

import numpy as np

PLACES = {"bincount": 0, "repeat": 1, "take": 1}  # of the argument that is to be an index


def widen() -> None:
    """Let these functions of numpy take all whole numbers, as they do elsewhere."""
    for name, place in PLACES.items():
        setattr(np, name, taking(getattr(np, name), place))


def taking(function: Callable, place: int) -> Callable:
    """Return a function whose argument at this place may have more bits than an index."""

    @functools.wraps(function)
    def call(*given: object, **named: object) -> object:
        if len(given) > place and np.asarray(given[place]).dtype == np.int64:
            given = (*given[:place], np.asarray(given[place]).astype(np.intp), *given[place + 1 :])
        return function(*given, **named)

    return call
