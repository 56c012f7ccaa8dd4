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


def test_the_summary_counts_the_verdicts():
    text = (ROOT / "book/scoreboard.md").read_text(encoding="utf-8")
    held, partly, failed = (text.count(f"| **{verdict}") for verdict in ("reproduced", "only", "not"))
    assert f"Of {held + partly + failed} claims, {held} are reproduced, {partly} only under a reading" in text
    assert f"and {failed} are not." in text
