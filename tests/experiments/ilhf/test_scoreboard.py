"""The page of the scoreboard shows what the stored numbers say."""

import sys
from pathlib import Path

from rlhf_lab import experiments
from rlhf_lab.experiments.ilhf import scoreboard as ilhf_scoreboard
from rlhf_lab.experiments.ilhf.study import STUDIES

BOOK = Path(__file__).parents[3] / "book"
sys.path.insert(0, str(BOOK))

import scoreboard  # noqa: E402

STORED = {name: experiments.stored(f"ilhf {name}") for name in STUDIES}


def rows(numbers):
    return ilhf_scoreboard.rows(numbers.__getitem__)


def test_the_page_of_the_book_shows_the_table_of_the_stored_results():
    text = (BOOK / "scoreboard.md").read_text(encoding="utf-8")
    assert scoreboard.page(text) == text
    assert text.count("| **") == 27
    assert scoreboard.page(text.replace("**reproduced**", "**wrong**")) == text


def test_the_summary_of_the_page_counts_the_verdicts():
    text = (BOOK / "scoreboard.md").read_text(encoding="utf-8")
    held, partly, only, failed = (text.count(f"| **{verdict}") for verdict in ("reproduced", "in part", "only", "not"))
    told = f"Of {held + partly + only + failed} claims, {held} are reproduced, {partly} in part, {only} only under a"
    assert told in text
    assert f"and {failed} are not." in text
