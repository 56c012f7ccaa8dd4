"""What an entry of the zoo holds."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from rlhf_lab.audit.zoo.seen import SEEN


class Bug(NamedTuple):
    """A wrong function beside the right one of the same signature.

    `told` is what an audit says of it, `seen` what its curves look like, `where` the section that explains it.
    """

    name: str
    audit: str
    told: str
    function: Callable[..., Any]
    right: Callable[..., Any]
    seen: str
    where: str


def bug(name: str, audit: str, function: Callable[..., Any], right: Callable[..., Any], where: str) -> Bug:
    """Return the entry of a wrong function, whose docstring is what an audit tells."""
    told = " ".join((inspect.getdoc(function) or "").split())
    return Bug(name, audit, told, function, right, SEEN.get(name, ""), where)
