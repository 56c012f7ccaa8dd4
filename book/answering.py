"""Run what a reader wrote under an exercise and say what became of it: in a page's worker, and in tests."""

import re
from collections.abc import Callable

import printing

ANSWER = "<your answer>"


def run(checker: str, before: str, answer: str, write: Callable[[str], object]) -> str:
    """Run an answer behind `before` in a namespace of its own, and hand what it prints to `write`.

    Returns "right", "wrong", "unchecked" if the checker was not called, or "error".
    """
    names: dict[str, object] = {"__name__": "__main__"}
    exec(before, names)
    printed = printing.Printed(write)
    if not printing.ran(lambda: exec(compile(answer, ANSWER, "exec"), names), ANSWER, printed):
        return "error"
    told = re.findall(rf"^{checker}: (right on all|not yet)", printed.kept, re.MULTILINE)
    return {"right on all": "right", "not yet": "wrong"}[told[-1]] if told else "unchecked"
