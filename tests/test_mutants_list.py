"""The list of mutants that survive names what exists, so that it cannot go stale unseen between two runs of it."""

import ast
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

import rlhf_lab

FILES = Path(rlhf_lab.__file__).parent.rglob("*.py")
EVERY_LINE = [line for path in FILES for line in path.read_text(encoding="utf-8").splitlines()]
LISTED = tomllib.loads(Path(__file__).with_name("mutants.toml").read_text(encoding="utf-8"))


def lines(text):
    """Lines without indentation, as the list holds them."""
    return "".join(f"{line.strip()}\n" for line in text.splitlines())


def source(module, function):
    """The source of a function by the name that mutmut gives it, of a whole module for what stands in no function."""
    text = Path(find_spec(f"rlhf_lab.{module}").origin).read_text(encoding="utf-8")
    if function == "module level":
        return text
    place = ast.parse(text)
    for name in function.removeprefix("x_").removeprefix("xǁ").split("ǁ"):
        (place,) = (node for node in place.body if getattr(node, "name", None) == name)
    return "\n".join(text.splitlines()[place.lineno - 1 : place.end_lineno])


@pytest.mark.parametrize("entry", LISTED["survivor"], ids=lambda entry: f"{entry['module']} {entry['function']}")
def test_a_survivor_is_a_line_of_its_function(entry):
    assert f"\n{lines(entry['out'])}" in f"\n{lines(source(entry['module'], entry['function']))}"
    assert entry["reason"]


@pytest.mark.parametrize("entry", LISTED["outside"], ids=lambda entry: f"{entry['module']} {entry['function']}")
def test_what_is_not_counted_is_a_function(entry):
    assert source(entry["module"], entry["function"])
    assert entry["reason"]


@pytest.mark.parametrize("entry", LISTED["rule"], ids=lambda entry: entry["out"])
def test_a_rule_fits_a_line_of_the_package(entry):
    assert any(entry["out"] in line and entry.get("within", "") in line for line in EVERY_LINE)
    assert entry["reason"]
