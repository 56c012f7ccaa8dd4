"""Run what a reader wrote under an exercise and say what became of it: in a page's worker, and in tests."""

import re
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import TextIOBase

ANSWER = "<your answer>"
MOST = 100_000  # characters that one run may print


class TooMuchPrinted(BaseException):
    """No error of the reader's function, which a checker would tell of: it ends the run."""


class Printed(TextIOBase):
    """What is printed, handed on as it comes and kept."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self.hand_on, self.kept = write, ""

    def write(self, text: str) -> int:
        """Hand a text on, or end the run."""
        self.kept += text
        self.hand_on(text)
        if len(self.kept) > MOST:
            raise TooMuchPrinted
        return len(text)


def run(checker: str, before: str, answer: str, write: Callable[[str], object]) -> str:
    """Run an answer behind `before` in a namespace of its own, and hand what it prints to `write`.

    Returns "right", "wrong", "unchecked" if the checker was not called, or "error".
    """
    printed, names = Printed(write), {"__name__": "__main__"}
    exec(before, names)
    with redirect_stdout(printed), redirect_stderr(printed):
        try:
            exec(compile(answer, ANSWER, "exec"), names)
        except SyntaxError as error:
            write(_syntax(error))
            return "error"
        except TooMuchPrinted:
            write(f"\nStopped: it printed more than {MOST:,} characters.\n")
            return "error"
        except BaseException as error:  # sys.exit, too, ends a reader's run and not Python
            write(_raised(error))
            return "error"
    told = re.findall(rf"^{checker}: (right on all|not yet)", printed.kept, re.MULTILINE)
    return {"right on all": "right", "not yet": "wrong"}[told[-1]] if told else "unchecked"


def _syntax(error: SyntaxError) -> str:
    line = (error.text or "").rstrip("\n")
    place = f"{line}\n{' ' * ((error.offset or 1) - 1)}^\n" if line else ""
    return f"This is not Python yet. Line {error.lineno}: {error.msg}.\n{place}"


def _raised(error: BaseException) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == ANSWER]
    told = ": ".join(filter(None, [type(error).__name__, str(error)]))
    return f"Line {lines[-1]} raises {told}\n" if lines else f"It raises {told}\n"
