"""The index of equations says where an equation comes from."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "book/_ext")]

import bibliography  # noqa: E402
import book_index  # noqa: E402
import sources  # noqa: E402

FOUND = sources.sources(ROOT)
BIBLIOGRAPHY = """
@misc{doe2020one, author = {Doe, Jane}, year = {2020}}
@misc{doe2020two, author = {Doe, Jane and Van Roe, R{\\'e}my}, year = {2020b}}
@misc{doe2021three, author = {Doe, Jane and Roe, Richard and Poe, Paul}, year = {2021}}
@misc{doe2021four, author = {Doe, Jane and Coe, Carl and Noe, Ned}, year = {2021}}
@misc{xu2023shattering, author = {Xu, A.}, year = {2023}}
"""


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("See Doe 2020, eq. 17.", ["{cite:t}`doe2020one`, eq. 17"]),
        ("Doe and Van Roe 2020 have it, too.", ["{cite:t}`doe2020two`"]),
        ("Doe, Roe and Poe 2021", ["{cite:t}`doe2021three`"]),
        (
            "Doe, Coe et al. 2021; ILHF, appendix C.",
            ["{cite:t}`doe2021four`", "{cite:t}`xu2023shattering`, appendix C"],
        ),
        ("Doe et al. 2021 is one of two, and Moe 1999 is not there.", ["Doe et al. 2021", "Moe 1999"]),
        ("Doe 2019", ["Doe 2019"]),
        ("Doe and Roe 2020; Doe and Oe 2020", ["{cite:t}`doe2020two`", "Doe and Oe 2020"]),
        ("In the ILHF paper, with 2020 tokens and Theorem 3.", []),
    ],
)
def test_what_a_docstring_cites_is_found_in_the_bibliography(tmp_path, said, told):
    (tmp_path / "references.bib").write_text(BIBLIOGRAPHY)
    entries = dict(sources.parse_file(str(tmp_path / "references.bib")).entries)
    assert [sources._told(match, entries) for match in sources.CITED.finditer(said)] == told


def test_sources_are_those_of_the_functions_of_an_equation():
    assert FOUND["eq-dpo"] == ["{cite:t}`rafailov2023direct`, eq. 7"]
    assert FOUND["eq-ppo"] == ["{cite:t}`schulman2017proximal`", "{cite:t}`chaudhari2024rlhf`, eq. 16"]
    assert "eq-score-ratio" not in FOUND  # a definition of the book's own
    assert set(FOUND) <= set(book_index.equations(ROOT))


def test_almost_all_sources_are_in_the_bibliography():
    told = {source for listed in FOUND.values() for source in listed}
    assert {source for source in told if not source.startswith("{cite:t}`")} == {
        "Likert 1932",
        "Marsaglia and Tsang 2000",
    }
    assert len(told) > 50


def test_every_place_in_a_work_is_told():
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "rlhf_lab").rglob("*.py"))
    assert not re.search(r"ILHF, \d", code)


def test_works_are_labelled_by_authors_and_year_and_no_two_alike(tmp_path):
    def labels(text):
        (tmp_path / "some.bib").write_text(text, encoding="utf-8")
        style = bibliography.Style()
        entries = sources.parse_file(str(tmp_path / "some.bib")).entries.values()
        return [entry.label for entry in style.format_entries(style.sort(entries))]

    assert {"Doe 2020", "Doe and Van Roe 2020b", "Doe et al. 2021"} < set(labels(BIBLIOGRAPHY))
    found = labels((ROOT / "book/references.bib").read_text(encoding="utf-8"))
    assert len(set(found)) == len(found) > 70
