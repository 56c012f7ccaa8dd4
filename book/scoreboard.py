"""Write the claims of the page `scoreboard.md` from the stored results: the author's tool."""

import itertools
import re
import sys
from pathlib import Path

from rlhf_lab import experiments
from rlhf_lab.experiments.ilhf import scoreboard as ilhf_scoreboard
from rlhf_lab.experiments.ilhf.verdicts import NO, ON_COIN, ON_DIVERGENCE, ON_ENSEMBLES, ON_MEMORY, PARTLY, YES, Row

PAGE = Path(__file__).with_name("scoreboard.md")
BLOCK = re.compile(r"(?<=^% scoreboard\.py writes the )(strip|tables)\n.*?(?=^% end$)", re.MULTILINE | re.DOTALL)
FINDINGS = {
    ON_COIN: "On the coin, ILHF says what people want",
    ON_MEMORY: "Texts remember little, unless logits are large",
    ON_DIVERGENCE: "ILHF comes closer to people than REINFORCE",
    ON_ENSEMBLES: "Ensembles are not better than plain ILHF, except in one reading",
}
MARKS = {YES: ("yes", "✓"), PARTLY: ("partly", "½"), "only under a reading": ("only", "?"), NO: ("no", "✗")}
FIGURES = {  # of the paper, and where they are drawn anew
    "Fig. 1": "fig-paper-1",
    "Fig. 2": "fig-paper-2",
    "Fig. 3": "fig-paper-3",
    "Fig. 4a": "fig-paper-4a",
    "Fig. 4b": "fig-two-scores",
    "Fig. 5": "fig-paper-4a",
    "Fig. 6": "fig-paper-6",
    "Fig. 7": "fig-paper-7",
    "Table 1": "fig-paper-table-1",
    "Table 3": "fig-paper-table-3",
}


def page(text: str) -> str:
    """Return the text of the page with strip and tables made anew."""
    rows = ilhf_scoreboard.rows(lambda name: experiments.stored(f"ilhf {name}"))
    written = blocks({title: [row for row in rows if row.finding == key] for key, title in FINDINGS.items()})
    return BLOCK.sub(lambda block: f"{block[1]}\n{written[block[1]]}", text)


def blocks(findings: dict[str, list[Row]]) -> dict[str, str]:
    """Return the strip of all verdicts, and a table for each finding."""
    numbers = itertools.count(1)
    numbered = {title: {next(numbers): row for row in rows} for title, rows in findings.items()}
    tables = [f"## {title}\n\n{_table(rows)}" for title, rows in numbered.items()]
    return {"strip": _strip(list(numbered.values())), "tables": "".join(tables)}


def _verdict(row: Row) -> tuple[str, str]:
    """Return a verdict as it is counted, and the readings under which alone it holds."""
    verdict, _, readings = row.verdict.partition(": ")
    return ("only under a reading", readings) if readings else (verdict, "")


def _strip(groups: list[dict[int, Row]]) -> str:
    tiles = [
        "".join(
            f'<a class="verdict {kind}" href="#claim-{k}" title="{row.claim}: {row.verdict}"'
            f' aria-label="{row.claim}: {row.verdict}">{mark}</a>'
            for k, row in group.items()
            for kind, mark in [MARKS[_verdict(row)[0]]]
        )
        for group in groups
    ]
    found = [_verdict(row)[0] for group in groups for row in group.values()]
    legend = " ".join(
        f'<span><span class="verdict {kind}">{mark}</span> {found.count(verdict)} {verdict}</span>'
        for verdict, (kind, mark) in MARKS.items()
    )
    strip = "\n".join(f'<span class="finding">{group}</span>' for group in tiles)
    return f'<nav class="verdicts" aria-label="Verdicts on all claims">\n{strip}\n<p>{legend}</p>\n</nav>\n\n'


def _table(group: dict[int, Row]) -> str:
    lines = [":::{div} scoreboard full-width", "| claim | verdict | paper | ours | why |", "|---|---|---|---|---|"]
    for k, row in group.items():
        verdict, readings = _verdict(row)
        kind, mark = MARKS[verdict]
        told = f'<span class="verdict {kind}">{mark} {verdict}</span>{f"<br>{readings}" * bool(readings)}'
        claim = f'<span id="claim-{k}"></span>**{row.claim}**<br>{_where(row.where)}'
        lines.append(f"| {claim} | {told} | {row.paper} | {row.ours} | {row.why} |")
    return "\n".join([*lines, ":::\n\n"])


def _where(where: str) -> str:
    """Return where the paper makes a claim, and where its figure is drawn anew."""
    named = [name for name in re.findall(r"Fig\. \w+|Table \w+", where) if name in FIGURES]
    return where + "".join(f", here {{numref}}`{FIGURES[name]}`" for name in named)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.exit(0)
