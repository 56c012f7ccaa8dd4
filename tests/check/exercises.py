"""The exercises of all chapters under their names, with right solutions and wrong ones."""

from functools import wraps
from importlib import import_module
from pathlib import Path

import numpy as np

from rlhf_lab.check import diagnosis

EXERCISES, SOLUTIONS, WRONG = {}, {}, {}
for path in sorted(Path(__file__).parent.glob("answers_*.py")):
    answers = import_module(path.stem)
    exercises = import_module(f"rlhf_lab.check.{path.stem.removeprefix('answers_')}")
    for name, mistakes in answers.WRONG.items():
        EXERCISES[name] = getattr(exercises, name.upper())
        SOLUTIONS[name], WRONG[name] = getattr(answers, name), mistakes


def token(case):
    parts = (part for value in case for part in diagnosis._parts(value))
    return tuple(part.tobytes() + bytes(part.shape) if isinstance(part, np.ndarray) else part for part in parts)


def memoised(function):
    found = {}

    @wraps(function)
    def again(*case):
        known = token(case)
        if known not in found:
            found[known] = function(*case)
        return found[known]

    return again


def remembering(exercise):
    """The same exercise, for many functions: what is right and what is wrong in a case is computed once."""
    return exercise._replace(key=memoised(exercise.key), mistakes=memoised(exercise.mistakes))
