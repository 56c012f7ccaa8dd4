"""Long studies in pieces: on several cores or on a Dask cluster, resumed where they stopped, stored whole.

A finished piece is a small file, so that an interrupted run goes on where it stopped; when all are there, they become
one file, and the parts are removed. The same numbers come out whatever runs the pieces, and in whatever order.
"""

import importlib
import platform
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from rlhf_lab.numerics import files

PATIENCE = 6  # seconds in which a cluster must answer; with what comes before and after, ten
Numbers = dict[str, Any]


class Piece(NamedTuple):
    """A part of a study that knows nothing of the others: the seeds it is about, and a function without arguments."""

    seeds: tuple[int, ...]
    run: Callable[[], Numbers]


@dataclass(frozen=True)
class Study:
    """What a study computes, and what the reader should know of it.

    `pieces(seeds)` names the pieces of a study of that many seeds, those that take longest first; `join` makes one of
    what they return, in their order. Numbers are dicts, nested or not, of arrays whose first axis is the seed.
    """

    pieces: Callable[[int], dict[str, Piece]]
    join: Callable[[list[Numbers]], Numbers]
    settings: dict[str, Any]


def in_blocks(run: Callable[[Sequence[int]], Numbers], size: int, settings: dict[str, Any]) -> Study:
    """Return the study of a function of seeds, which takes the seeds 0, 1, ... in blocks of `size`."""

    def pieces(seeds: int) -> dict[str, Piece]:
        blocks = [tuple(range(first, min(first + size, seeds))) for first in range(0, seeds, size)]
        return {f"seeds_{each[0]}-{each[-1]}": Piece(each, partial(run, each)) for each in blocks}

    return Study(pieces, _along_seeds, settings)


def _along_seeds(parts: list[Any]) -> Any:
    if isinstance(parts[0], dict):
        return {key: _along_seeds([part[key] for part in parts]) for key in parts[0]}
    return np.concatenate(parts)


def _run(name: str, piece: Piece) -> tuple[str, Numbers]:
    with threadpool_limits(limits=1):  # a sum that threads share has other last digits
        return name, piece.run()


def _run_on_worker(name: str, piece: Piece) -> tuple[str, Numbers]:
    threadpool_limits(limits=1)  # for good: a worker's threads share the limit, and the first to end would lift it
    return name, piece.run()


def on_cores(todo: dict[str, Piece], jobs: int) -> Iterator[tuple[str, Numbers]]:
    """Yield what the pieces find, by name, as they are finished by `jobs` processes."""
    joblib = importlib.import_module("joblib")  # and with it multiprocessing, which not every platform has
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
    yield from parallel(joblib.delayed(_run)(*item) for item in todo.items())


def on_dask(todo: dict[str, Piece], address: str) -> Iterator[tuple[str, Numbers]]:
    """Yield what the pieces find as a Dask cluster finishes them.

    Raises `ValueError` if there is no cluster, or if it fails.
    """
    try:
        distributed = importlib.import_module("distributed")
    except ImportError:
        raise ValueError('--dask needs the package distributed: pip install "rlhf_lab[cluster]"') from None
    with _connected(distributed, address) as client:
        try:
            futures = [client.submit(_run_on_worker, *item, pure=False) for item in todo.items()]
            for future in distributed.as_completed(futures):
                yield future.result()
        except Exception as error:
            raise ValueError(
                f"the Dask cluster at {address} failed ({_told(error)}); what was finished is kept"
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


def place(name: str, folder: Path) -> Path:
    """Return the file of a study in a folder of results."""
    return folder / f"{name.replace(' ', '_')}.json"


def check_place(name: str, study: Study, seeds: int, folder: Path, *, overwrite: bool = False) -> None:
    """Raise `OSError` or `ValueError` unless a folder has room for a study or holds it, if need be when it is made."""
    check_folder(folder)
    path = place(name, folder)
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is in the way of the results: it is no file; move it, or store results with --out")
    if path.exists() and not overwrite:
        _read(path, _described(name, study, range(seeds)))
    parts = path.with_suffix(".parts")
    if parts.exists():
        check_folder(parts)


def check_folder(folder: Path) -> None:
    """Raise `OSError` unless a folder is there, or can be made, and can be written to."""
    try:
        made = [each for each in (folder, *folder.parents) if not each.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder) as file:
            file.write(b"1")
        for each in made:  # nothing is left behind if the run is refused for another reason
            each.rmdir()
    except OSError as error:
        raise OSError(f"nothing can be written to the folder {folder} ({error.strerror}); name another") from None


def load(name: str, folder: Path) -> Numbers:
    """Return the numbers of a stored study as arrays whose first axis is the seed."""

    def arrays(value: Any) -> Any:
        return {key: arrays(part) for key, part in value.items()} if isinstance(value, dict) else np.array(value)

    return dict(arrays(files.load(place(name, folder))["numbers"]))


def run(
    name: str,
    study: Study,
    seeds: int,
    folder: Path,
    *,
    jobs: int = 1,
    dask: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Run a study and return its file in `folder`, or find that it was finished before.

    `jobs` processes do the work, or the Dask cluster at the address `dask`. Raises `ValueError` if a file is in the way
    that holds something else, or is damaged. With `overwrite` nothing that is there is used, finished pieces neither.
    """
    path = place(name, folder)
    parts, wanted = path.with_suffix(".parts"), _described(name, study, range(seeds))
    if path.exists() and not overwrite:
        _read(path, wanted)
        print(f"{path.name}: finished before, reused")
        return path
    pieces = study.pieces(seeds)
    part = {each: place(each, parts) for each in pieces}
    if overwrite:
        _remove(part.values(), parts)  # they may be of code that was mended since
    parts.mkdir(parents=True, exist_ok=True)
    partly = {each: _described(name, study, piece.seeds) for each, piece in pieces.items()}
    done = [each for each in pieces if part[each].exists()]
    for each in done:
        _read(part[each], partly[each])
    todo = {each: piece for each, piece in pieces.items() if each not in done}
    if done:
        print(f"{path.name}: {len(done)} of {len(pieces)} pieces were finished before")
    with tqdm(total=len(pieces), initial=len(done), desc=name, unit="piece") as bar:
        for each, numbers in on_cores(todo, jobs) if dask is None else on_dask(todo, dask):
            parts.mkdir(exist_ok=True)  # another run of the same study may have finished, and removed it
            files.save(part[each], partly[each] | {"numbers": _rounded(numbers)}, overwrite=True)
            bar.update()
    if path.exists() and not overwrite:
        _read(path, wanted)
    else:
        together = study.join([load(each, parts) for each in pieces])
        versions = {"python": platform.python_version(), "numpy": np.__version__}
        files.save(path, wanted | {"versions": versions, "numbers": together}, overwrite=overwrite)
    _remove(part.values(), parts)
    return path


def _remove(part: Iterable[Path], parts: Path) -> None:
    for file in part:
        file.unlink(missing_ok=True)
    if parts.is_dir() and not any(parts.iterdir()):  # a run with more seeds may have left some of its own
        parts.rmdir()


def _described(name: str, study: Study, seeds: Sequence[int]) -> dict[str, Any]:
    return {"study": name, "settings": study.settings, "seeds": list(seeds)}


def _read(path: Path, wanted: dict[str, Any]) -> None:
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


def _seeds(numbers: Any) -> set[tuple[int, ...]]:
    if isinstance(numbers, dict):
        return {length for part in numbers.values() for length in _seeds(part)}
    return {np.asarray(numbers, dtype=float).shape[:1]}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    array = np.asarray(value)
    return np.reshape([float(f"{number:.6g}") for number in array.ravel()], array.shape)
