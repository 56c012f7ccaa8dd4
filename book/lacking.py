"""What Python in a browser lacks, mended as far as readers' code would notice."""

import functools
import importlib.util
import os
import sys
from collections.abc import Callable
from types import ModuleType

import numpy as np

INDICES = {"bincount": 0, "repeat": 1, "take": 1}  # functions, and the place of an argument that is to be an index


def mend() -> None:
    """Mend it, before anything else is imported that would see what is lacking."""
    for name, place in INDICES.items():  # an index has 32 bits there, and these refuse numbers of 64
        setattr(np, name, taking(getattr(np, name), place))
    if importlib.util.find_spec("_multiprocessing") is None:  # Gymnasium imports these, for environments that run apart
        for name in ("_multiprocessing", "multiprocessing.synchronize"):
            sys.modules[name] = ModuleType(name)
    os.environ["TQDM_DISABLE"] = "1"  # progress bars go back to the start of a line, and a page cannot
    importlib.import_module("tqdm").tqdm.monitor_interval = 0  # which is a thread, and there are none


def taking(function: Callable, place: int) -> Callable:
    """Return a function whose argument at this place may have more bits than an index."""

    @functools.wraps(function)
    def call(*given: object, **named: object) -> object:
        if len(given) > place and np.asarray(given[place]).dtype == np.int64:
            given = (*given[:place], np.asarray(given[place]).astype(np.intp), *given[place + 1 :])
        return function(*given, **named)

    return call
