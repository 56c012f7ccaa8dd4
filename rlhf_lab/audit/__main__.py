"""The audits as a command: `python -m rlhf_lab audit dpo_loss my_module:my_loss`."""

import argparse
import contextlib
import importlib
import importlib.util
import inspect
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from rlhf_lab import audit
from rlhf_lab.audit.binding import Trouble
from rlhf_lab.audit.report import Report

PATIENCE = 120.0  # seconds until a function counts as one that never ends


class _Late(BaseException):
    """No `Exception`, so that a stranger's function, and the audit, do not take it for an error of the function."""


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raise `_Late` after so many seconds, where the system has such a timer and this is the main thread."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(*_: Any) -> None:
        raise _Late(f"There is no answer after {seconds:g} s: does it wait for something, or never end?")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def main(arguments: Sequence[str] | None = None, prog: str = "python -m rlhf_lab.audit") -> int:
    """Audit one function and print the report. Returns 0 if it is right, else 1."""
    parser = _parser(prog)
    given = parser.parse_args(arguments)
    options = {key: value for key, value in vars(given).items() if key not in ("audit", "function", "json")}
    chosen = {key: value for key, value in options.items() if value is not None}
    try:
        with _at_most(PATIENCE):
            report = audit.AUDITS[given.audit](imported(given.function), **chosen)
    except (Trouble, _Late) as trouble:
        report = Report(given.audit, given.function, False, "not audited", str(trouble))
    except ValueError as error:  # of an option
        parser.error(str(error))
    print(json.dumps(report.as_dict(), indent=2) if given.json else report)
    return 0 if report.ok else 1


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Hear what is wrong with a loss. The exit code is 0 if nothing is, else 1.",
    )
    audits = parser.add_subparsers(dest="audit", required=True, metavar="AUDIT")
    for name, function in audit.AUDITS.items():
        words = inspect.getdoc(function) or ""
        one = audits.add_parser(name, help=words.splitlines()[0], description=words)
        one.add_argument("function", metavar="FUNCTION", help="module:function, or path/to/file.py:function")
        one.add_argument("--json", action="store_true", help="print the report as JSON")
        for option, kind in _options(function).items():
            one.add_argument(f"--{option}", type=kind, help="see above")
    return parser


def _options(function: Callable[..., Report]) -> dict[str, Callable[[str], Any]]:
    """The options of an audit and how they are read: numbers, or words."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: float if "float" in str(p.annotation) else str for p in parameters if p.kind is p.KEYWORD_ONLY}


def imported(path: str) -> Callable[..., Any]:
    """Return the function of `module:function` or `path/to/file.py:function`. Raises `Trouble` in words."""
    where, colon, name = path.rpartition(":")
    if not colon or not where or not name:
        raise Trouble(f"name a function as module:function or path/to/file.py:function; got {path!r}")
    try:
        module: Any = _file(where) if where.endswith(".py") else _module(where)
    except Trouble:
        raise
    except BaseException as error:  # whatever a stranger's module may do while it is imported
        if isinstance(error, KeyboardInterrupt | _Late):
            raise
        raise Trouble(f"{where} cannot be imported: {type(error).__name__}: {error}") from None
    for part in name.split("."):
        if not hasattr(module, part):
            names = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
            raise Trouble(f"{where} has no {name}; it has {', '.join(names[:8]) or 'no function'}")
        module = getattr(module, part)
    if not callable(module):
        raise Trouble(f"{path} is no function but {type(module).__name__}")
    function: Callable[..., Any] = module
    return function


@contextlib.contextmanager
def _looking(folder: str) -> Iterator[None]:
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _file(where: str) -> ModuleType:
    path = Path(where)
    if not path.is_file():
        raise Trouble(f"there is no file {where}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with _looking(str(path.resolve().parent)):
        spec.loader.exec_module(module)
    return module


def _module(where: str) -> ModuleType:
    with _looking(str(Path.cwd())):
        return importlib.import_module(where)


if __name__ == "__main__":
    sys.exit(main())
