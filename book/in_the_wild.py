"""Write the tables of the page `in_the_wild.md` from what the tests of the peers stored: the author's tool."""

import json
import re
import sys
import tomllib
from itertools import groupby
from pathlib import Path

BOOK = Path(__file__).parent
PAGE = BOOK / "in_the_wild.md"
BLOCK = re.compile(r"(?<=^% in_the_wild\.py writes the )(\w+)\n.*?(?=^% end$)", re.MULTILINE | re.DOTALL)
SINGLE = 1e-12  # differences above this come from numbers in single precision


def read() -> tuple[dict, dict]:
    """Return the words of the tables, and what the peers agree on."""
    words = tomllib.loads((BOOK / "rosetta.toml").read_text(encoding="utf-8"))
    return words, json.loads((BOOK / "rosetta.json").read_text(encoding="utf-8"))


def page(text: str, words: dict, stored: dict) -> str:
    """Return the text of the page with its tables made anew."""
    differences = stored["largest difference"]
    written = {
        "versions": _versions(stored["versions"], differences),
        "agreement": _agreement(words["row"], differences),
        "defaults": "".join(_defaults(*one) for one in words["default"].items()),
        "names": _table(
            "names full-width", ("here", "TRL", "verl", "OpenRLHF"), [list(row.values()) for row in words["name"]]
        ),
    }
    return BLOCK.sub(lambda block: f"{block[1]}\n{written[block[1]]}", text)


def _versions(versions: dict, differences: dict) -> str:
    double = [d for d in differences.values() if d < SINGLE]
    names = {"trl": "TRL", "torch": "PyTorch", "stable-baselines3": "Stable-Baselines3", "jax": "JAX"}
    told = ", ".join(f"{names[name]} {version}" for name, version in versions.items())
    return (
        f"The table has {len(differences)} rows. In {len(double)} of them nothing is apart by more than "
        f"{max(double):.0e}; in the others something is done in single precision, or a gradient near 0 is divided by "
        f"its own size. The versions are {told}.\n\n"
    )


def _agreement(rows: dict, differences: dict) -> str:
    tables = []
    for family, names in groupby(rows, lambda name: rows[name]["family"]):
        shown = [_row(rows[name], differences[name]) for name in names]
        tables.append(f"### {family}\n\n" + _table("agreement", ("here", "there", "apart by"), shown))
    return "".join(tables)


def _row(row: dict, difference: float) -> list[str]:
    equation = f" {{eq}}`{row['equation']}`" if "equation" in row else ""
    function = row.get("function", "")
    link = f"<br>{{py:obj}}`{function} <rlhf_lab.{function}>`" * bool(function)
    return [f"{row['what']}{equation}{link}", row["there"], f"{difference:.0e}" if difference else "0"]


def _defaults(config: str, arguments: dict) -> str:
    title = "Every trainer" if config == "every" else f"`{config}`"
    written = {
        name: value if value == "None" else repr(value).replace("'", '"') for name, (value, _) in arguments.items()
    }
    rows = [[f"`{name}`", f"`{written[name]}`", meaning] for name, (_, meaning) in arguments.items()]
    return f"### {title}\n\n" + _table("defaults", ("argument", "default", "what it means"), rows)


def _table(kind: str, head: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [f":::{{div}} rosetta {kind}", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows), ":::\n\n"])


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), *read()), encoding="utf-8")
    sys.exit(0)
