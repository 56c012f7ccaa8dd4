"""Rank items from comparisons in a file: `python -m rlhf_lab rank comparisons.csv`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

from rlhf_lab.leaderboard import comparisons, table
from rlhf_lab.leaderboard.board import leaderboard
from rlhf_lab.leaderboard.columns import Columns
from rlhf_lab.leaderboard.figure import draw, figure_suffix
from rlhf_lab.leaderboard.scale import ELO, NATS, Scale, anchored

SCALES = {"nats": NATS, "elo": ELO}
STREAM = Path("-")  # the standard input, or output


def main(arguments: Sequence[str] | None = None, prog: str = "python -m rlhf_lab.leaderboard") -> int:
    """Run the command and return its exit code: 0, or 2 with a message on stderr if it was given what it cannot use."""
    given = _parser(prog).parse_args(arguments)
    try:
        _rank(given)
        sys.stdout.flush()
    except BrokenPipeError:  # who reads the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("\nstopped; nothing was written", file=sys.stderr)
        return 130
    except (OSError, ValueError) as error:
        _print(f"error: {error}\n", sys.stderr)
        return 2
    except MemoryError:
        print("error: the comparisons do not fit into memory; rank fewer at once", file=sys.stderr)
        return 2
    return 0


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Rank items from comparisons, with intervals.",
        epilog="Columns: winner and loser; or model_a, model_b and winner (model_a, model_b, tie, or a name). Maybe "
        "tie, annotator, and count, the comparisons that a row stands for.",
    )
    parser.add_argument("comparisons", type=Path, help="CSV, JSON or parquet file, also with .gz; - is standard input")
    for role, what in (
        ("winner", "the item that won, or says which side did"),
        ("loser", "the item that lost"),
        ("tie", "whether there was no winner"),
        ("count", "how many comparisons a row stands for"),
        ("annotator", "who judged"),
    ):
        parser.add_argument(f"--{role}", metavar="COLUMN", help=f"column of {what}, if it is not called {role}")
    parser.add_argument("--sides", nargs=2, metavar="COLUMN", help="columns of two items, one of which won")
    parser.add_argument(
        "--ignore", action="append", default=[], metavar="COLUMN", help="leave a column out; may be given again"
    )
    parser.add_argument("--skip-bad", action="store_true", help="leave wrong lines out, and list them")
    parser.add_argument(
        "--min-comparisons", type=float, metavar="N", help="leave out items with fewer comparisons, until none is left"
    )
    parser.add_argument("--level", type=float, default=0.95, help="probability that an interval covers (default 0.95)")
    parser.add_argument("--sandwich", action="store_true", help="add intervals that do not trust the model")
    parser.add_argument("--scale", choices=SCALES, default="nats", help="nats around 0, or Elo points around 1000")
    parser.add_argument("--anchor", metavar="NAME=NUMBER", help="where an item stands; intervals are differences to it")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table to this file; - is standard output")
    parser.add_argument("--annotators", type=Path, metavar="FILE", help="write the table of annotators to this file")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the intervals into this file, .svg or .png")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there already")
    return parser


def _rank(given: argparse.Namespace) -> None:
    files = [path for path in (given.csv, given.annotators, given.figure) if path not in (None, STREAM)]
    if STREAM in (given.annotators, given.figure):
        raise ValueError("only --csv can go to the standard output; name a file")
    _check_outputs(files, given.comparisons, given.overwrite)
    if given.figure is not None:
        figure_suffix(given.figure)
    scale: Scale = SCALES[given.scale]
    if given.anchor is not None:
        scale = anchored(scale, given.anchor)
    named = {role: name for role in ("winner", "loser", "tie", "count", "annotator") if (name := vars(given)[role])}
    columns = Columns(named, tuple(given.sides) if given.sides else None, tuple(given.ignore))
    source = sys.stdin.buffer if given.comparisons == STREAM else given.comparisons
    compared = comparisons.read(source, columns, given.skip_bad)
    if compared.left_out:
        _print("left out:\n" + "".join(f"  {line}\n" for line in compared.left_out), sys.stderr)
    if given.min_comparisons is not None:
        compared = comparisons.at_least(compared, given.min_comparisons)
    board = leaderboard(compared, given.level, scale, given.sandwich)
    if given.annotators is not None:
        table.write_annotators(board, given.annotators, given.overwrite)
    if given.csv not in (None, STREAM):
        table.write_csv(board, given.csv, given.overwrite)
    if given.figure is not None:
        draw(board, given.figure, given.overwrite)
    _print(table.csv_text(board) if given.csv == STREAM else table.format_table(board), sys.stdout)


def _print(text: str, stream: object) -> None:
    # A terminal that lacks a letter of a name shows its code.
    encoding = getattr(stream, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), end="", file=stream)  # type: ignore[call-overload]


def _check_outputs(outputs: list[Path], source: Path, overwrite: bool) -> None:
    for path in outputs:
        if not path.parent.is_dir():
            raise ValueError(f"there is no folder {path.parent} to write {path.name} to; make it first")
        if path.is_dir() or path.resolve() == source.resolve():
            raise ValueError(f"{path} is {'a folder' if path.is_dir() else 'the input'}; name another file to write to")
        if path.exists() and not path.is_file():
            raise ValueError(f"{path} is no file that could be replaced; --csv - writes to the standard output")
        if path.exists() and not overwrite:
            raise ValueError(f"{path} is there already; pass --overwrite to replace it")
        try:
            TemporaryFile(dir=path.parent).close()
        except OSError as error:
            told = f"nothing can be written to the folder {path.parent} ({error.strerror}); name another"
            raise ValueError(told) from None
    for place, path in enumerate(outputs):
        if path.resolve() in [other.resolve() for other in outputs[:place]]:
            raise ValueError(f"the table and the figure cannot both be {path}; name two files")


if __name__ == "__main__":
    sys.exit(main())
