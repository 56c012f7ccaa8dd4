"""Results in small files that anyone can read: JSON with a format number, written whole or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

FORMAT = 1


def save(path: str | os.PathLike[str], results: dict[str, Any], *, overwrite: bool = False) -> None:
    """Write `results` (numbers, text, lists, dicts, arrays) to `path`.

    Raises `FileExistsError` if the file is there and `overwrite` is not set, and `ValueError` if a number is NaN or
    infinite; in neither case is anything written.
    """
    _free(path, overwrite)
    try:
        text = json.dumps({"format": FORMAT, "results": results}, indent=1, allow_nan=False, default=_plain)
    except ValueError as error:
        raise ValueError(
            f"results for {Path(path).name} were not saved: {error}; every number must be finite"
        ) from None
    write_text(path, text + "\n", overwrite=overwrite)


def write_text(path: str | os.PathLike[str], text: str, *, overwrite: bool = False) -> None:
    """Write `text` to `path` whole or not at all; raises `FileExistsError` as `save` does."""
    with whole(path, overwrite) as fresh:
        fresh.write_text(text, encoding="utf-8")


@contextmanager
def whole(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """Yield a path to write to; if all goes well, what was written becomes `path`, otherwise it is removed.

    It is made in a hidden folder of its own beside `path`, so that no other file is touched. Raises `FileExistsError`
    if `path` is there and `overwrite` is not set, and `FileNotFoundError` if there is no folder to write to.
    """
    _free(path, overwrite)
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} to; make it first")
    with TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        fresh = Path(folder, path.name)
        yield fresh
        os.replace(fresh, path)


def _free(path: str | os.PathLike[str], overwrite: bool) -> None:
    if Path(path).exists() and not overwrite:
        raise FileExistsError(f"{path} is there already; pass overwrite=True to replace it")


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the results that `save` wrote. Raises `ValueError` if the file is damaged or of another format."""
    path = Path(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise ValueError(f"{path} is damaged: it is not JSON; delete it and run its command again") from None
    number = data.get("format") if isinstance(data, dict) else None
    if number != FORMAT:
        given = "no format number" if number is None else f"format {number}"
        raise ValueError(f"{path} has {given}, this package reads {FORMAT}; delete it and run its command again")
    results = data.get("results")
    if not isinstance(results, dict):
        raise ValueError(f"{path} is damaged: it holds no results; delete it and run its command again")
    return results


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"results hold numbers, text, lists, dicts and arrays; got {type(value).__name__}")
