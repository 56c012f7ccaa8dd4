"""Run code of a reader: what it prints is handed on as it comes, and what it raises is told in a line."""

import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import TextIOBase

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


def ran(run: Callable[[], object], name: str, printed: Printed) -> bool:
    """Run code that is compiled under this name, and return whether it came to its end; if not, tell why."""
    with redirect_stdout(printed), redirect_stderr(printed):
        try:
            run()
        except SyntaxError as error:
            printed.hand_on(_syntax(error))
        except TooMuchPrinted:
            printed.hand_on(f"\nStopped: it printed more than {MOST:,} characters.\n")
        except BaseException as error:  # sys.exit, too, ends a reader's run and not Python
            printed.hand_on(_raised(error, name))
        else:
            return True
    return False


def _syntax(error: SyntaxError) -> str:
    line = (error.text or "").rstrip("\n")
    place = f"{line}\n{' ' * ((error.offset or 1) - 1)}^\n" if line else ""
    return f"This is not Python yet. Line {error.lineno}: {error.msg}.\n{place}"


def _raised(error: BaseException, name: str) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
    told = ": ".join(filter(None, [type(error).__name__, str(error)]))
    return f"Line {lines[-1]} raises {told}\n" if lines else f"It raises {told}\n"
