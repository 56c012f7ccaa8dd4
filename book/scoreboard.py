"""Write the table of the page `scoreboard.md` from the stored results: the author's tool."""

import sys
from pathlib import Path

from rlhf_lab import experiments
from rlhf_lab.experiments.ilhf import scoreboard as ilhf_scoreboard

PAGE = Path(__file__).with_name("scoreboard.md")


def page(text: str) -> str:
    """Return the text of the page with its table made anew."""
    before, _, rest = text.partition("| claim |")
    after = rest.partition("\n\n")[2]
    table = ilhf_scoreboard.table(lambda name: experiments.stored(f"ilhf {name}"))
    return f"{before}{table}\n\n{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.exit(0)
