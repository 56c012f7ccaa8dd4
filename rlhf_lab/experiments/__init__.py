"""The experiments that are too long for a page: `python -m rlhf_lab.experiments imitation`, say.

`ilhf` has a command line of its own, see `ilhf_runs`. Each of the others is a function without arguments; what it
returns is stored in `results/` beside the package and shown in the book.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rlhf_lab.experiments import imitation as imitation_study
from rlhf_lab.experiments import runner as ilhf_runs
from rlhf_lab.numerics import files

FOLDER = Path(__file__).parent / "results"
EXPERIMENTS: dict[str, Callable[[], dict[str, Any]]] = {"imitation": imitation_study.run}


def stored(name: str) -> dict[str, Any]:
    """Return the stored results of an experiment."""
    return files.load(FOLDER / f"{name}.json")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one experiment, store its results, and return the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["ilhf"]:
        return ilhf_runs.main(arguments[1:], FOLDER)
    given = _parser().parse_args(arguments)
    path = given.out or FOLDER / f"{given.name}.json"
    if path.exists() and not given.overwrite:
        print(f"{path.name} is there already; add --overwrite to replace it, or --out to store it elsewhere")
        return 1
    os.environ["TQDM_DISABLE"] = "1"  # many short trainings in several processes: their bars would hide each other
    print(f"{given.name}: about a minute on two cores")
    began = time.perf_counter()
    found = EXPERIMENTS[given.name]()
    path.parent.mkdir(parents=True, exist_ok=True)
    files.save(path, found, overwrite=given.overwrite)
    print(f"{given.name}: {time.perf_counter() - began:.0f} s, stored in {path.name}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rlhf_lab.experiments", description="Run one experiment.")
    parser.add_argument("name", choices=sorted([*EXPERIMENTS, "ilhf"]))
    parser.add_argument("--out", type=Path, help="where to store the results; results/NAME.json if it is not given")
    parser.add_argument("--overwrite", action="store_true", help="replace results that are there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
