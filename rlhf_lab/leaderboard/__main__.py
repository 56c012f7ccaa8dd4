"""Rank items from comparisons in a file: `python -m rlhf_lab rank comparisons.csv`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rlhf_lab.leaderboard import comparisons
from rlhf_lab.leaderboard.board import draw, figure_suffix, format_table, leaderboard, write_csv


def main(arguments: Sequence[str] | None = None, prog: str = "python -m rlhf_lab.leaderboard") -> int:
    """Run the command and return its exit code: 0, or 2 with a message on stderr if it was given what it cannot use."""
    given = _parser(prog).parse_args(arguments)
    try:
        _rank(given)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description="Rank items from comparisons, with intervals.")
    parser.add_argument("comparisons", type=Path, help="CSV or JSON lines with winner, loser, and maybe tie, annotator")
    parser.add_argument("--level", type=float, default=0.95, help="probability that an interval covers (default 0.95)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table to this file")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the intervals into this file, .svg or .png")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there already")
    return parser


def _rank(given: argparse.Namespace) -> None:
    outputs = [path for path in (given.csv, given.figure) if path is not None]
    _check_outputs(outputs, given.comparisons, given.overwrite)
    if given.figure is not None:
        figure_suffix(given.figure)
    board = leaderboard(comparisons.read(given.comparisons), given.level)
    # A terminal that lacks a letter of a name shows its code.
    encoding, text = sys.stdout.encoding or "utf-8", format_table(board)
    print(text.encode(encoding, "backslashreplace").decode(encoding), end="")
    if given.csv is not None:
        write_csv(board, given.csv, given.overwrite)
    if given.figure is not None:
        draw(board, given.figure, given.overwrite)


def _check_outputs(outputs: list[Path], source: Path, overwrite: bool) -> None:
    for path in outputs:
        if not path.parent.is_dir():
            raise ValueError(f"there is no folder {path.parent} to write {path.name} to; make it first")
        if path.is_dir() or path.resolve() == source.resolve():
            raise ValueError(f"{path} is {'a folder' if path.is_dir() else 'the input'}; name another file to write to")
        if path.exists() and not overwrite:
            raise ValueError(f"{path} is there already; pass --overwrite to replace it")
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise ValueError(f"the table and the figure cannot both be {outputs[0]}; name two files")


if __name__ == "__main__":
    sys.exit(main())
