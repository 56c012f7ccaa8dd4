"""Write the claims of the page `ledger.md` from what the package finds: the author's tool."""

import re
import sys
from collections import Counter
from itertools import chain
from pathlib import Path

from rlhf_lab import experiments
from rlhf_lab.experiments.ilhf.verdicts import NO, PARTLY, YES
from rlhf_lab.experiments.ledger import sources
from rlhf_lab.experiments.ledger.claims import ELSEWHERE, Claim

PAGE = Path(__file__).with_name("ledger.md")
BLOCK = re.compile(r"(?<=^% ledger\.py writes the )(counts|strip|rows)\n.*?(?=^% end$)", re.MULTILINE | re.DOTALL)
ONLY = "only under a reading"
MARKS = {
    YES: ("yes", "✓"),
    PARTLY: ("partly", "½"),
    ONLY: ("only", "?"),
    NO: ("no", "✗"),
    ELSEWHERE: ("elsewhere", "-"),
}
NAMES = {
    "ilhf": ("The ILHF paper", "xu2023shattering"),
    "survey": ("The survey", "chaudhari2024rlhf"),
    "cs188": ("CS 188", "abdulhai2024cs188"),
    "xiong": ("Xiong's lecture", "xiong2024theory"),
    "brantley": ("Brantley's lecture", "brantley2024learning"),
}


def page(text: str) -> str:
    """Return the text of the page with counts, strip and rows made anew."""
    found = sources.rows(experiments.stored)
    written = {"counts": _counts(found), "strip": _strip(found), "rows": "".join(map(_source, found, found.values()))}
    return BLOCK.sub(lambda block: f"{block[1]}\n{written[block[1]]}", text)


def _verdict(claim: Claim) -> tuple[str, str]:
    """Return a verdict as it is counted, and the readings under which alone it holds."""
    verdict, _, readings = claim.verdict.partition(": ")
    return (ONLY, readings) if readings else (verdict, "")


def _counts(found: dict[str, list[Claim]]) -> str:
    heads = (f'<span class="verdict {kind}" title="{name}">{mark}</span>' for name, (kind, mark) in MARKS.items())
    lines = ["| | claims | " + " | ".join(heads) + " |", "|---|" + "---:|" * (1 + len(MARKS))]
    for source, claims in {**found, "": [*chain.from_iterable(found.values())]}.items():
        name = f"{{ref}}`{NAMES[source][0]} <sec-ledger-{source}>`" if source else "together"
        count = Counter(_verdict(claim)[0] for claim in claims)
        lines.append(f"| {name} | {len(claims)} | " + " | ".join(str(count[verdict]) for verdict in MARKS) + " |")
    return "\n".join([*lines, "\n"])


def _strip(found: dict[str, list[Claim]]) -> str:
    lines = []
    for source, claims in found.items():
        tiles = ""
        for k, claim in enumerate(claims, 1):
            kind, mark = MARKS[_verdict(claim)[0]]
            told = f"{claim.claim}: {claim.verdict}".replace('"', "'").replace("<", "&lt;")
            tiles += f'<a class="verdict {kind}" href="#{source}-{k}" title="{told}" aria-label="{told}">{mark}</a>'
        lines.append(f'<div><strong>{NAMES[source][0]}</strong> <span class="finding">{tiles}</span></div>')
    legend = " ".join(
        f'<span><span class="verdict {kind}">{mark}</span> {verdict}</span>' for verdict, (kind, mark) in MARKS.items()
    )
    strip = "\n".join(lines)
    return f'<nav class="verdicts" aria-label="Verdicts on all claims">\n{strip}\n<p>{legend}</p>\n</nav>\n\n'


def _source(source: str, claims: list[Claim]) -> str:
    name, cited = NAMES[source]
    lines = [f"(sec-ledger-{source})=", f"## {name}", "", f"{len(claims)} claims of {{cite}}`{cited}`:", ""]
    lines += [":::{div} scoreboard ledger full-width", "| claim | verdict | printed | here |", "|---|---|---|---|"]
    for k, claim in enumerate(claims, 1):
        verdict, readings = _verdict(claim)
        kind, mark = MARKS[verdict]
        told = f'<span class="verdict {kind}">{mark} {verdict}</span>{f"<br>{_cell(readings)}" * bool(readings)}'
        what = f'<span id="{source}-{k}"></span>**{_cell(claim.claim)}**<br>{claim.place}'
        where = f"<br>{{ref}}`{claim.where}`" if claim.where else ""
        if claim.where == "sec-scoreboard":  # whose rows have the same order
            where = f'<br><a href="scoreboard.html#claim-{k}">scoreboard, claim {k}</a>'
        lines.append(f"| {what} | {told} | {_cell(claim.printed)} | {_cell(claim.here)}{where} |")
    return "\n".join([*lines, ":::\n\n"])


def _cell(text: str) -> str:
    """Return text for a cell of a table, in which a bar, stars, tildes, less-than and dollar signs mean themselves."""
    for sign in "|*~<$":
        text = text.replace(sign, "\\" + sign)
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.exit(0)
