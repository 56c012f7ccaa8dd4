"""The page of the scoreboard shows what the stored numbers say."""

import sys
from pathlib import Path

from rlhf_lab import experiments
from rlhf_lab.experiments.ilhf import scoreboard as ilhf_scoreboard
from rlhf_lab.experiments.ilhf import verdicts
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


def test_the_choices_that_were_run_are_told_with_their_numbers():
    text = (BOOK / "scoreboard.md").read_text(encoding="utf-8")
    ensembles = (STORED["readings"]["kl"]["ensemble, anchored at phi_pre"], STORED["controls"]["kl"]["ensemble"])
    slower = verdicts.area(ensembles[0]) - verdicts.area(ensembles[1])
    assert f"their mean divergence is {verdicts.brief(slower)} above that of the first." in text
    narrow, wide = (STORED[name]["kl"]["ilhf"] for name in ("narrow", "tau64"))
    told = [f"{100 * verdicts.left(run):.0f} ± {100 * verdicts.left_error(run):.0f}%" for run in (narrow, wide)]
    assert f"ILHF is left with {told[0]} of the divergence instead of {told[1]}" in text
    for run in (STORED["narrow"]["kl"][name] for name in ("ensemble 10", "ensemble 50")):
        assert verdicts.above(verdicts.area(run) - verdicts.area(narrow))
        assert verdicts.above(verdicts.area(STORED["narrow"]["kl"]["reinforce 10"]) - verdicts.area(run))


def test_the_summary_of_the_page_counts_the_verdicts():
    text = (BOOK / "scoreboard.md").read_text(encoding="utf-8")
    held, partly, only, failed = (text.count(f"| **{verdict}") for verdict in ("reproduced", "in part", "only", "not"))
    told = f"Of {held + partly + only + failed} claims, {held} are reproduced, {partly} in part, {only} only under a"
    assert told in text
    assert f"and {failed} are not." in text
