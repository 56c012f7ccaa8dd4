"""Which of the things that a stranger's function returns is read."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from rlhf_lab.audit.libraries import Library

MAIN = ("loss", "losses", "log_probs", "logps", "advantages")  # what is read of several results


def first(result: Any, library: Library) -> tuple[Any, str]:
    """Return the result itself with no note, or the first of several and what is to be told of that."""
    fields = getattr(result, "__dict__", {}) if hasattr(result, "__dataclass_fields__") else {}
    if hasattr(result, "_fields"):
        fields = result._asdict()
    if isinstance(result, Mapping) or any(name in fields for name in MAIN):
        held = result if isinstance(result, Mapping) else fields
        name = next((name for name in MAIN if name in held), next(iter(held), None))
        kind = "a dictionary" if isinstance(result, Mapping) else type(result).__name__
        return held.get(name), f"returns {kind}, of which {name!r} is read"
    if isinstance(result, list) and result and all(np.ndim(part) == 0 for part in result):
        return library.stack(result), ""
    if isinstance(result, list) and result and all(isinstance(part, list) for part in result):
        return (np.array(result, dtype=float) if len({len(part) for part in result}) == 1 else result), ""
    if isinstance(result, tuple | list) and result:
        return result[0], f"returns {len(result)} results, of which the first is read"
    return result, ""
