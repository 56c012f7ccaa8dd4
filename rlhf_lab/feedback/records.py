"""Files as they are handed over: packed with gzip or not, JSON as lines or as one array, each record with its line."""

import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

Source = str | os.PathLike[str] | BinaryIO
SPACE = re.compile(r"[ \t\r\n]*")


def name_of(source: Source) -> str:
    """Return how messages call a source: its path, or the standard input."""
    return os.fspath(source) if isinstance(source, str | os.PathLike) else "the standard input"


@contextmanager
def opened(source: Source, shown: str) -> Iterator[io.BufferedReader]:
    """Open a file, a path or a stream of bytes, unpacked if it is gzip; `shown` is its name in messages.

    Raises `ValueError` if what is read is no whole gzip file or not UTF-8 text, and `OSError` if it cannot be read.
    """
    path = isinstance(source, str | os.PathLike)
    stream = Path(cast(str, source)).open("rb") if path else source  # noqa: SIM115
    try:
        # A stream that can be looked into (a file, a pipe) is taken as it is.
        binary: Any = stream if hasattr(stream, "peek") else io.BufferedReader(cast(Any, stream))
        if binary.peek(2)[:2] == b"\x1f\x8b":
            binary = io.BufferedReader(cast(Any, gzip.GzipFile(fileobj=binary)))
        yield binary
    except UnicodeDecodeError as error:
        raise ValueError(f"{shown} is not UTF-8 text ({error.reason}); save it as UTF-8") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{shown} is not a whole gzip file ({error}); pack it again") from None
    finally:
        if path:
            cast(BinaryIO, stream).close()


@contextmanager
def text(binary: io.BufferedReader) -> Iterator[TextIO]:
    """Read a binary file as text: UTF-8, without a byte order mark, with the ends of lines that it has."""
    file = io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")
    try:
        yield file
    finally:
        file.detach()


def json_records(file: TextIO) -> Iterator[tuple[int, Any]]:
    """Yield the line on which each record begins, and the record, of JSON lines or of one JSON array.

    Where a record is not JSON, a `ValueError` that says why stands in its place; in an array it is the last.
    """
    lines = enumerate(file, 1)
    line, first = next((each for each in lines if each[1].strip()), (0, ""))
    if not first:
        return
    if first.lstrip().startswith("["):
        yield from _array(first + file.read(), line - 1)
        return
    yield line, _value(first)
    for number, one in lines:
        if one.strip():
            yield number, _value(one)


def _constant(name: str) -> None:
    if name != "NaN":  # which is how Python writes the missing values of a data frame
        raise ValueError(f"{name} is no JSON number")


_DECODER = json.JSONDecoder(parse_constant=_constant)


def _why(error: Exception) -> ValueError:
    told = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
    return ValueError(f"is not JSON: {told}")


def _value(one: str) -> Any:
    try:
        return _DECODER.decode(one)
    except (ValueError, RecursionError) as error:
        return _why(error)


def _array(whole: str, before: int) -> Iterator[tuple[int, Any]]:
    line, counted, place = before + 1, 0, whole.index("[") + 1
    ended = False
    while not ended:
        place = cast("re.Match[str]", SPACE.match(whole, place)).end()
        line, counted = line + whole.count("\n", counted, place), place
        if counted and whole[place : place + 1] == "]" and whole[:place].rstrip().endswith("["):
            break
        try:
            value, place = _DECODER.raw_decode(whole, place)
        except (ValueError, RecursionError) as error:
            spot = error.pos if isinstance(error, json.JSONDecodeError) else place
            yield before + 1 + whole.count("\n", 0, spot), _why(error)
            return
        yield line, value
        place = cast("re.Match[str]", SPACE.match(whole, place)).end()
        if whole[place : place + 1] not in ("]", ","):
            number = before + 1 + whole.count("\n", 0, place)
            yield number, ValueError("is not JSON: behind a record of the array, a comma or ] is missing")
            return
        ended = whole[place] == "]"
        place += not ended
    place = cast("re.Match[str]", SPACE.match(whole, place + 1)).end()
    if place < len(whole):
        yield before + 1 + whole.count("\n", 0, place), ValueError("is not JSON: there is more behind the array")
