"""Run the studies of the ILHF paper: `python -m rlhf_lab.experiments ilhf fig4a --seeds 20 --jobs 2`.

Seeds run in blocks, on several cores or on a Dask cluster. A finished block is a small file, so that an interrupted
run goes on where it stopped; when all are there, they become one file, and the parts are removed.
"""

import argparse
import importlib
import os
import platform
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from rlhf_lab.experiments.ilhf import figures as ilhf_figures
from rlhf_lab.experiments.ilhf.study import FIGURES, STUDIES
from rlhf_lab.numerics import files

PATIENCE = 6  # seconds in which a cluster must answer; with what comes before and after, ten
Block = tuple[int, ...]


def block(name: str, seeds: Block) -> tuple[Block, dict[str, Any]]:
    """Run one block of seeds of a study: what a worker does."""
    return seeds, STUDIES[name].run(seeds)


def blocks(name: str, seeds: int) -> list[Block]:
    """Return the seeds 0, 1, ... of a study, a few at a time."""
    size = STUDIES[name].block
    return [tuple(range(first, min(first + size, seeds))) for first in range(0, seeds, size)]


def on_cores(name: str, todo: list[Block], jobs: int) -> Iterator[tuple[Block, dict[str, Any]]]:
    """Yield the blocks as they are finished by `jobs` processes."""
    yield from Parallel(n_jobs=jobs, return_as="generator_unordered")(delayed(block)(name, seeds) for seeds in todo)


def on_dask(name: str, todo: list[Block], address: str) -> Iterator[tuple[Block, dict[str, Any]]]:
    """Yield the blocks as a Dask cluster finishes them. Raises `ValueError` if there is none, or if it fails."""
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError:
        raise ValueError('--dask needs the package distributed: pip install "rlhf_lab[cluster]"') from None
    with _connected(distributed, address) as client:
        try:
            for future in distributed.as_completed([client.submit(block, name, seeds, pure=False) for seeds in todo]):
                yield future.result()
        except Exception as error:
            raise ValueError(
                f"the Dask cluster at {address} failed ({_told(error)}); finished seeds are kept"
            ) from None


def _connected(distributed: Any, address: str) -> Any:
    # A port may accept and then say nothing, or something else: only a thread can be left behind in time.
    found: list[Any] = []

    def connect() -> None:
        try:
            found.append(distributed.Client(address, timeout=PATIENCE))
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    answer = found[0] if found else TimeoutError(f"nothing within {PATIENCE} s")
    if isinstance(answer, Exception):
        raise ValueError(f"no Dask scheduler answers at {address!r} ({_told(answer)})")
    return answer


def _told(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _described(name: str, seeds: Sequence[int]) -> dict[str, Any]:
    return {"study": f"ilhf {name}", "settings": STUDIES[name].settings, "seeds": list(seeds)}


def _read(path: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    found = files.load(path)
    for key, what in (("study", "contents"), ("settings", "settings"), ("seeds", "seeds")):
        if found.get(key) != wanted[key]:
            raise ValueError(
                f"{path} is there and has other {what} than this command asks for: add --overwrite to replace it, or "
                "--out to store results elsewhere"
            )
    numbers = found.get("numbers")
    try:
        complete = isinstance(numbers, dict) and _seeds(numbers) == {(len(wanted["seeds"]),)}
    except (TypeError, ValueError):
        complete = False
    if not complete:
        raise ValueError(f"{path} is damaged: it lacks numbers of its seeds; delete it and run its command again")
    return found


def _seeds(numbers: Any) -> set[tuple[int, ...]]:
    if isinstance(numbers, dict):
        return {length for part in numbers.values() for length in _seeds(part)}
    return {np.asarray(numbers, dtype=float).shape[:1]}


def _usable(path: Path, wanted: dict[str, Any], overwrite: bool) -> bool:
    try:
        return bool(_read(path, wanted))
    except ValueError:
        if overwrite:
            return False
        raise


def study(name: str, seeds: int, folder: Path, *, jobs: int, dask: str | None, overwrite: bool) -> dict[str, Any]:
    """Return the results of a study, from its file in `folder` or from a run that makes the file."""
    path, parts = folder / f"ilhf_{name}.json", folder / f"ilhf_{name}.parts"
    wanted = _described(name, range(seeds))
    if path.exists() and not overwrite:
        found = _read(path, wanted)
        print(f"{path.name}: finished before, reused")
        return found
    parts.mkdir(parents=True, exist_ok=True)
    every = blocks(name, seeds)
    places = {each: parts / f"seeds_{each[0]}-{each[-1]}.json" for each in every}
    done = [each for each, file in places.items() if file.exists() and _usable(file, _described(name, each), overwrite)]
    todo = [each for each in every if each not in done]
    if done:
        print(f"{path.name}: {sum(map(len, done))} of {seeds} seeds were finished before")
    with tqdm(total=seeds, initial=sum(map(len, done)), desc=name, unit="seed") as bar:
        for each, numbers in on_cores(name, todo, jobs) if dask is None else on_dask(name, todo, dask):
            files.save(places[each], _described(name, each) | {"numbers": _rounded(numbers)}, overwrite=True)
            bar.update(len(each))
    together = _joined([files.load(places[each])["numbers"] for each in every])
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    files.save(path, wanted | {"versions": versions, "numbers": together}, overwrite=overwrite)
    for file in places.values():
        file.unlink()
    if not any(parts.iterdir()):  # a run with more seeds may have left some of its own
        parts.rmdir()
    return files.load(path)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    array = np.asarray(value)
    return np.reshape([float(f"{number:.6g}") for number in array.ravel()], array.shape)


def _joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], dict):
        return {key: _joined([part[key] for part in parts]) for key in parts[0]}
    return np.concatenate(parts)


def numbers(folder: Path, name: str) -> Any:
    """Return the numbers of a stored study: dicts of arrays whose first axis is the seed."""

    def arrays(value: Any) -> Any:
        return {key: arrays(part) for key, part in value.items()} if isinstance(value, dict) else np.array(value)

    return arrays(files.load(folder / f"ilhf_{name}.json")["numbers"])


def main(arguments: Sequence[str], folder: Path) -> int:
    """Run the studies behind one figure of the paper, or behind all, and return the exit code."""
    parser = _parser(folder)
    given = parser.parse_args(arguments)
    if given.seeds < 2:
        parser.error(f"a standard error needs at least 2 seeds; got --seeds {given.seeds}")
    if given.jobs < 1:
        parser.error(f"--jobs is a number of processes, at least 1; got {given.jobs}")
    figures = list(FIGURES) if given.figure == "all" else [given.figure]
    names = list(dict.fromkeys(name for figure in figures for name in FIGURES[figure]))
    # Short trainings inside would draw bars of their own, here and in the processes that inherit this.
    before, os.environ["TQDM_DISABLE"] = os.environ.get("TQDM_DISABLE"), "1"
    try:
        for name in names:
            study(name, given.seeds, given.out, jobs=given.jobs, dask=given.dask, overwrite=given.overwrite)
        if given.draw:
            for figure in figures:
                ilhf_figures.draw(figure, lambda name: numbers(given.out, name), given.draw)
    except KeyboardInterrupt:
        print("\nstopped; finished seeds are kept, and the same command goes on from there")
        return 130
    except (ValueError, OSError) as error:
        print(f"error: {error}")
        return 1
    finally:
        os.environ.pop("TQDM_DISABLE") if before is None else os.environ.update(TQDM_DISABLE=before)
    return 0


def _parser(folder: Path) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m rlhf_lab.experiments ilhf", description="Reproduce the ILHF paper, figure by figure."
    )
    parser.add_argument("figure", choices=[*FIGURES, "all"])
    parser.add_argument("--seeds", type=int, default=20, help="number of worlds, at least 2 (default: 20)")
    parser.add_argument("--jobs", type=int, default=1, help="processes on this machine (default: 1)")
    parser.add_argument("--dask", metavar="ADDRESS", help="run on the Dask cluster with this scheduler instead")
    parser.add_argument("--out", type=Path, default=folder, help="folder of the results (default: results)")
    parser.add_argument("--draw", type=Path, metavar="FOLDER", help="draw the figures there, as SVG and PNG")
    parser.add_argument("--overwrite", action="store_true", help="replace results that are there")
    return parser
