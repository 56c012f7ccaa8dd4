"""The exercises of all chapters under their names, with right solutions and wrong ones."""

from importlib import import_module
from pathlib import Path

EXERCISES, SOLUTIONS, WRONG = {}, {}, {}
for path in sorted(Path(__file__).parent.glob("answers_*.py")):
    answers = import_module(path.stem)
    exercises = import_module(f"rlhf_lab.check.{path.stem.removeprefix('answers_')}")
    for name, mistakes in answers.WRONG.items():
        EXERCISES[name] = getattr(exercises, name.upper())
        SOLUTIONS[name], WRONG[name] = getattr(answers, name), mistakes
