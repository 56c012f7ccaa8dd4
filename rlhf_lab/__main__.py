"""The command line: `python -m rlhf_lab rank comparisons.csv`."""

import argparse
import sys
from pathlib import Path

from rlhf_lab.leaderboard import comparisons
from rlhf_lab.leaderboard.board import draw, figure_suffix, format_table, leaderboard, write_csv


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 2 with a message on stderr if it was given what it cannot use."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rlhf_lab", description="Learning from human feedback.")
    commands = parser.add_subparsers(required=True, metavar="command")
    rank = commands.add_parser("rank", help="rank items from comparisons, with intervals")
    rank.add_argument("comparisons", type=Path, help="CSV or JSON lines with winner, loser, and maybe tie, annotator")
    rank.add_argument("--level", type=float, default=0.95, help="probability that an interval covers (default 0.95)")
    rank.add_argument("--csv", type=Path, metavar="FILE", help="write the table to this file")
    rank.add_argument("--figure", type=Path, metavar="FILE", help="draw the intervals into this file, .svg or .png")
    rank.add_argument("--overwrite", action="store_true", help="replace files that are there already")
    rank.set_defaults(run=_rank)
    return parser


def _rank(arguments: argparse.Namespace) -> None:
    outputs = [path for path in (arguments.csv, arguments.figure) if path is not None]
    _check_outputs(outputs, arguments.comparisons, arguments.overwrite)
    if arguments.figure is not None:
        figure_suffix(arguments.figure)
    board = leaderboard(comparisons.read(arguments.comparisons), arguments.level)
    # A terminal that lacks a letter of a name shows its code.
    encoding, text = sys.stdout.encoding or "utf-8", format_table(board)
    print(text.encode(encoding, "backslashreplace").decode(encoding), end="")
    if arguments.csv is not None:
        write_csv(board, arguments.csv, arguments.overwrite)
    if arguments.figure is not None:
        draw(board, arguments.figure, arguments.overwrite)


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
