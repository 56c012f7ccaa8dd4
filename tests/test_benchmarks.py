"""The page about speed says what was measured."""

import importlib.util
import math
import re
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
    module = table()
    row = {"contest": "a race", "median": 2.04, "min": 1.0, "max": 3.456}
    data = {
        "rows": [
            row | {"against": "A, 1 thread"},
            row | {"against": "A, 2 threads", "median": 1.5, "repetitions": 4},
            row | {"against": "B", "median": 0.55, "repetitions": module.REPETITIONS},
            row | {"against": "jax.jit", "max": 9.0},
        ],
        "slope_length": 1.0,
        "slope_batch": 0.7,
        "gpt_slopes": {"width": 1.25, "context": 1.03, "layers": 0.96},
        "versions": {"numpy": "2.4"},
        "python": "3.11",
        "machine": "x86_64",
    }
    page = module.page(data)
    assert page.count(":::{dropdown} The numbers") == 1
    rows = ["| a race | A | 2.0 (1.0 to 3.5) | 1.5 (1.0 to 3.5, cut after 4) |", "|  | B | 0.6 (1.0 to 3.5) |  |"]
    assert "\n".join([*rows, "|  | jax.jit |  | 2.0 (1.0 to 9.0) |\n"]) in page
    assert "Ours is the slower one in:\n\n- a race, against B\n" in page
    assert "to the power 1.00" in page
    flat = " ".join(page.split())
    assert "its width to the power 1.25, with the length of the texts to the power 1.03, with its layers to" in flat
    assert "the power 0.70 (length 128)" in " ".join(page.split())
    assert "numpy 2.4 on Python\n3.11" in page


def test_dots_stand_at_the_medians_and_lines_reach_from_the_smallest_to_the_largest():
    module = table()
    row = {"contest": "a <race>", "median": 2.0, "min": 1.0, "max": 4.0}
    rows = [row | {"against": "A, 1 thread"}, row | {"against": "A, 2 threads", "median": 4.0, "max": 8.0}]
    far = [row | {"against": "B, 1 thread", "min": 90.0, "median": 1234.5, "max": 2000.0}]
    drawn = module._dots(module._contests(rows + far))
    assert drawn.count("<span>a &lt;race&gt;</span>") == 1
    assert 'aria-label="A 2.0 and 4.0; B 1234.5"' in drawn
    place = {ratio: f"{50 * math.log10(ratio / 0.4):.1f}" for ratio in (1, 2, 4, 8)}  # two decades, from 0.4 to 40
    assert re.findall(r'<circle class="(\w+)" cx="([\d.]+)%"', drawn) == [("one", place[2]), ("two", place[4])]
    lines = re.findall(r'<line x1="([\d.]+)%" x2="([\d.]+)%"', drawn)
    assert lines == [(place[1], place[4]), (place[1], place[8])]
    assert 'x="100%" y="31">B: 1,234 →</text>' in drawn
    assert f'class="tick even" x1="{place[1]}%"' in drawn


def test_the_page_draws_every_contest_and_every_library():
    stored = files.load(ROOT / "benchmarks/results.json")
    drawn = table().page(stored).split('<div class="contests">')[1].split("</div>\n\n")[0]
    contests = list(dict.fromkeys(row["contest"] for row in stored["rows"]))
    assert re.findall("<span>(.+)</span><svg", drawn) == contests
    near = sum(row["min"] < 40 for row in stored["rows"])
    assert len(re.findall(r'<circle class="\w+" cx="[\d.]+%"', drawn)) == near
