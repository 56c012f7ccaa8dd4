"""Studies that are too long for a page of the book, the command that runs them, and the numbers that they found.

A study is built from `methods` and stored in `results/`; nothing else of the package knows it.
"""

from pathlib import Path

from rlhf_lab.experiments import runner

RESULTS = Path(__file__).parent / "results"


def stored(name: str) -> runner.Numbers:
    """Return the numbers of a study of the book, such as "imitation": arrays whose first axis is the seed."""
    return runner.load(name, RESULTS)
