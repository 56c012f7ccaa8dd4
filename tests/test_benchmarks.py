"""The page about speed says what was measured."""

import importlib.util
from pathlib import Path

from rlhf_lab.numerics import files

ROOT = Path(__file__).parents[1]


def table():
    spec = importlib.util.spec_from_file_location("table", ROOT / "benchmarks/table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_the_book_is_that_of_the_stored_results():
    stored = files.load(ROOT / "benchmarks/results.json")
    assert (ROOT / "book/benchmarks.md").read_text(encoding="utf-8") == table().page(stored)


def test_every_row_is_shown_with_its_numbers_and_a_contest_is_named_once():
    row = {"contest": "a race", "median": 2.04, "min": 1.0, "max": 3.456}
    data = {
        "rows": [
            row | {"against": "A, 1 thread"},
            row | {"against": "A, 2 threads", "median": 1.5},
            row | {"against": "B", "median": 0.55},
            row | {"against": "jax.jit", "max": 9.0},
        ],
        "slope_length": 1.0,
        "slope_batch": 0.7,
        "versions": {"numpy": "2.4"},
        "python": "3.11",
        "machine": "x86_64",
    }
    page = table().page(data)
    rows = ["| a race | A | 2.0 (1.0 to 3.5) | 1.5 (1.0 to 3.5) |", "|  | B | 0.6 (1.0 to 3.5) |  |"]
    assert "\n".join([*rows, "|  | jax.jit |  | 2.0 (1.0 to 9.0) |\n"]) in page
    assert "Ours is the slower one in:\n\n- a race, against B\n" in page
    assert "to the power 1.00" in page
    assert "the power 0.70 (length 128)" in " ".join(page.split())
    assert "numpy 2.4 on Python\n3.11" in page
