"""The page of the scoreboard shows what the stored numbers say."""

import re
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


def page():
    return (BOOK / "scoreboard.md").read_text(encoding="utf-8")


def test_the_page_of_the_book_shows_what_the_stored_results_say():
    text = page()
    assert scoreboard.page(text) == text
    assert len(re.findall(r'^\| <span id="claim-\d+">', text, re.MULTILINE)) == 29
    assert scoreboard.page(re.sub('reproduced(?=<|")', "wrong", text)) == text


def test_every_mark_of_the_strip_leads_to_its_row_and_says_the_same():
    text = page()
    marks = re.findall(r'<a class="verdict (\w+)" href="#claim-(\d+)" title="(.*?): .*?>(.)</a>', text)
    row = r'^\| <span id="claim-(\d+)"></span>\*\*(.*?)\*\*.*?<span class="verdict (\w+)">(.) '
    assert marks == [(kind, k, claim, mark) for k, claim, kind, mark in re.findall(row, text, re.MULTILINE)]
    assert [int(k) for _, k, *_ in marks] == [*range(1, 30)]


def test_rows_lead_to_the_figures_that_are_drawn_anew():
    text = page()
    drawn = {"Fig. 4a": "fig-paper-4a", "Fig. 4b": "fig-two-scores", "Table 3": "fig-paper-table-3"}
    drawn["Table 1"] = "fig-paper-table-1"
    for row in rows(STORED):
        name = row.where.split(",")[0]
        figure = drawn.get(name, "fig-paper-" + name.removeprefix("Fig. ")) if row.where[:3] in ("Fig", "Tab") else ""
        figure = "fig-paper-4a" if figure == "fig-paper-5" else figure
        shown = f"{row.where}, here {{numref}}`{figure}` |" if figure else f"{row.where} |"
        assert f"**{row.claim}**<br>{shown}" in text


def test_the_choices_that_were_run_are_told_with_their_numbers():
    text = page()
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
    text, found = page(), [row.verdict for row in rows(STORED)]
    held, partly, failed = (found.count(verdict) for verdict in (verdicts.YES, verdicts.PARTLY, verdicts.NO))
    only = len(found) - held - partly - failed
    told = f"Of {len(found)} claims of {{cite}}`xu2023shattering`, {held} are reproduced, {partly} in part, {only} only"
    assert told in text
    assert f"and {failed} are not." in text
    legend = re.findall(r"</span> (\d+) ([a-z ]+)</span>", text)
    counted = {"reproduced": held, "in part": partly, "only under a reading": only, "not reproduced": failed}
    assert {verdict: int(count) for count, verdict in legend} == counted


def test_the_rows_about_ensembles_are_one_finding():
    about = [row for row in rows(STORED) if row.finding == verdicts.ON_ENSEMBLES]
    assert len(about) == 13
    failed = [row for row in rows(STORED) if row.verdict == verdicts.NO]
    (other,) = [row for row in failed if row not in about]
    assert (len(failed), other.claim) == (10, "REINFORCE diverges for every KL weight")
    assert [row.verdict for row in about].count(verdicts.YES) == 0
    assert "Thirteen of the rows are about ensembles and are one finding." in page()
