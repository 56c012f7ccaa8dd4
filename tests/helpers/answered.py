"""Code exercises as a reader answers them in an editor: wrong answers, and what is to be said to them."""

import re
import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "book"), str(ROOT / "tests/check")]

import live  # noqa: E402

EXERCISES = live.exercises(ROOT)
# Code that makes modules of the answers of this project, which are no part of the site, and takes wrong answers there.
TAKE = """import sys, types
for name, text in {texts!r}:
    sys.modules[name] = module = types.ModuleType(name)
    exec(text, vars(module))
from {module} import {table}
for wrong, _ in {where}[:{most}]:
    check.{checker}(wrong)
"""
# What three exercises are told that have no such table.
MISSING = "It returns None: your code goes where the starter returns None."
OTHERS = {
    "first_step": {
        "lambda loss: True": "It returns True for every loss, right or wrong.",
        "lambda loss: False": "It returns False for every loss, right or wrong.",
        "lambda loss: None": MISSING,
    },
    "zoo_dpo_runs": {"lambda: None": "It returns None", "lambda: {}['A']": "It raises KeyError: 'A'."},
    "zoo_ppo_runs": {"lambda: None": "It returns None", "lambda: {}['A']": "It raises KeyError: 'A'."},
}


def _texts(name: str) -> dict[str, str]:
    """Return the text of a module of answers, behind those of the modules that it takes answers from."""
    text = (ROOT / f"tests/check/{name}.py").read_text(encoding="utf-8")
    found = {}
    for other in re.findall(r"^from (answers_\w+) import", text, re.MULTILINE):
        found |= _texts(other)
    return found | {name: text}


def _home(checker: str) -> str:
    """Return the module that holds the wrong answers to an exercise."""
    modules = [path.stem for path in sorted((ROOT / "tests/check").glob("answers_*.py"))]
    return next(name for name in modules if checker in import_module(name).WRONG)


def wrong_answers(checker: str, most: int = 3) -> tuple[str, list[str]]:
    """Return code that hands wrong answers to a checker, and how it begins to tell what is wrong with each."""
    if answers := OTHERS.get(checker):
        return "\n".join(f"check.{checker}({answer})" for answer in answers), list(answers.values())
    own = checker == "own_loss"
    module = "answers_preference_losses" if own else _home(checker)
    table = "WRONG_OWN_LOSSES" if own else "WRONG"
    held = getattr(import_module(module), table)
    told = [sentence for _, sentence in (held if own else held[checker])[:most]]
    where = table if own else f"{table}[{checker!r}]"
    texts = list(_texts(module).items())
    return TAKE.format(texts=texts, module=module, table=table, where=where, most=most, checker=checker), told
