"""The list of mutants that survive names what exists, so that it cannot go stale unseen between two runs of it."""

import ast
import runpy
import tomllib
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "rlhf_lab"
LISTED = tomllib.loads(Path(__file__).with_name("mutants.toml").read_text(encoding="utf-8"))


def stripped(text):
    """Lines without indentation, as the list holds them."""
    return "".join(f"{line.strip()}\n" for line in text.splitlines())


@cache
def module(name):
    """The source of a module, and its tree."""
    path = PACKAGE.joinpath(*name.split("."))
    text = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")
    return text, ast.parse(text)


def source(entry):
    """The source of a function by the name that mutmut gives it, of the module for what stands in no function."""
    text, place = module(entry["module"])
    if entry["function"] == "module level":
        return text
    for name in entry["function"].removeprefix("x_").removeprefix("xǁ").split("ǁ"):
        (place,) = (node for node in place.body if getattr(node, "name", None) == name)
    return "\n".join(text.splitlines()[place.lineno - 1 : place.end_lineno])


def called(entry):
    return f"{entry['module']} {entry['function']}"


@pytest.mark.parametrize("entry", LISTED["survivor"], ids=called)
def test_a_survivor_is_a_line_of_its_function(entry):
    assert f"\n{stripped(entry['out'])}" in f"\n{stripped(source(entry))}"
    assert entry["out"] != entry["put"]
    assert entry["reason"]


@pytest.mark.parametrize("entry", LISTED["outside"], ids=called)
def test_what_is_not_counted_is_a_function(entry):
    assert source(entry).startswith("def ")
    assert entry["reason"]


@pytest.mark.parametrize("entry", LISTED["rule"], ids=lambda entry: entry["out"])
def test_a_rule_fits_a_line_of_the_package(entry):
    names = [".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.rglob("*.py")]
    every = [line for name in names for line in module(name)[0].splitlines()]
    assert any(entry["out"] in line and entry.get("within", "") in line for line in every)
    assert entry["reason"]


def test_a_copy_to_break_has_the_tests_of_every_room(tmp_path):
    pytest.importorskip("mutmut")
    runpy.run_path(str(Path(__file__).with_name("mutants.py")))["copy"](str(tmp_path))
    rooms = [path for path in Path(__file__).parent.rglob("*/test_*.py") if not {"browser", "peers"} & {*path.parts}]
    assert len(rooms) > 100
    for path in rooms:
        assert (tmp_path / "tests" / path.relative_to(Path(__file__).parent)).exists(), path
    assert not (tmp_path / "tests/test_project.py").exists()
