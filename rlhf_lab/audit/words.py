"""What an audit says of inputs, results and errors, in words."""

import re
from typing import Any

import numpy as np

from rlhf_lab.audit.binding import Case

VISIBLE = 24  # numbers of an array that are shown


def told(case: Case, names: set[str] | None = None) -> str:
    """Return a case in words: every input with its numbers, or with its shape if they are many."""
    parts = []
    for name, value in case.items():
        if names is None or name in names:
            array = np.asarray(value)
            text = np.array2string(array, separator=", ").replace("\n", "")
            parts.append(
                f"{name} = {re.sub(r' +', ' ', text)}" if array.size <= VISIBLE else f"{name} of shape {array.shape}"
            )
    return ", ".join(parts)


def raised(error: BaseException, given: str) -> str:
    """Return an error of a function in one sentence."""
    first = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
    if re.search(r"(?<![a-z])(cuda|nvidia|hip|mps|xpu|gpus?)(?![a-z])", str(error), re.IGNORECASE):
        return f"It wants a GPU ({first}): leave tensors on the device on which they come."
    return f"It raises {first}, with {given}."


def shown(value: Any) -> str:
    """Return the beginning of what a function returned."""
    text = repr(value).splitlines()
    return (text[0] if text else "nothing")[:60]
