"""The page of the scoreboard shows what the stored results say."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book"))

import scoreboard  # noqa: E402


def test_the_page_shows_the_table_of_the_stored_results():
    text = (ROOT / "book/scoreboard.md").read_text(encoding="utf-8")
    assert scoreboard.page(text) == text
    assert text.count("| **") == 22
    assert scoreboard.page(text.replace("**reproduced**", "**wrong**")) == text
