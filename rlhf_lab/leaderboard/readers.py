"""Rows of comparisons out of files of several kinds: CSV with commas, semicolons or tabs, JSON, parquet, gzip."""

import csv
import importlib
import io
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, TextIO

from rlhf_lab.feedback import records
from rlhf_lab.leaderboard.columns import Layout

SEPARATORS = (",", ";", "\t", "|")
JSON = (".jsonl", ".ndjson", ".json")
TEXT = frozenset({str, type(None)})
Find = Callable[[Sequence[str]], Layout]
Row = tuple[int, Layout | None, Any]  # the line; how it is read; what was picked, or why nothing was


def rows(source: records.Source, find: Find) -> Iterator[Row]:
    """Yield the line of each row, its layout, and what the layout picks; for a row that cannot be read None and why.

    A file is JSON if its name or its first letter says so, parquet by its first bytes, otherwise CSV. Raises
    `ValueError` if nothing can be read: a header that `find` refuses, another kind of file.
    """
    shown = records.name_of(source)
    with records.opened(source, shown) as binary:
        begins = binary.peek(4)[:4]
        if begins == b"PAR1":
            yield from _parquet(binary, find)
            return
        if begins == b"PK\x03\x04":
            raise ValueError("it is a spreadsheet or a zip file; save it as CSV")
        start = binary.peek(1)[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
        json = shown.lower().removesuffix(".gz").endswith(JSON) or start[:1] in (b"{", b"[")
        with records.text(binary) as file:
            yield from _json(file, find) if json else _csv(file, find)


def _csv(file: TextIO, find: Find) -> Iterator[Row]:
    before, header = 0, ""
    for header in file:
        if header.strip() and not header.lower().startswith("sep="):  # a line that spreadsheets put in front
            break
        before += 1
    reader = csv.reader(chain([header], file), delimiter=_separator(header, find), strict=True)
    layout, width, last = None, 0, before
    try:
        for row in reader:
            line, last = last + 1, before + reader.line_num
            if not any(row):
                continue
            if layout is None:
                width = len(row)
                try:
                    layout = find(row)
                except ValueError as error:
                    raise ValueError(f"line {line}: {error}") from None
            elif len(row) != width:
                yield line, None, f"has {len(row)} fields, but the header has {width}"
            else:
                row.append(None)  # type: ignore[arg-type]
                yield line, layout, layout.pick(row)
    except csv.Error as error:
        yield last + 1, None, f"is not CSV from here on: {error}"


def _separator(header: str, find: Find) -> str:
    fields = dict[str, int]()
    for separator in SEPARATORS:
        try:
            names = next(csv.reader([header], delimiter=separator, strict=True), [])
            fields[separator] = len(names)
            find(names)
        except (ValueError, csv.Error):
            continue
        return separator
    return max(fields, key=lambda separator: fields[separator]) if fields else ","


def _json(file: TextIO, find: Find) -> Iterator[Row]:
    for line, data in records.json_records(file):
        if isinstance(data, ValueError):
            yield line, None, str(data)
        elif not isinstance(data, dict):
            yield line, None, f"is not a JSON object with winner and loser, but {type(data).__name__}"
        else:
            yield _typed(line, tuple(data), [*data.values(), None], find)


def _typed(line: int, keys: tuple[str, ...], values: list[Any], find: Find) -> Row:
    try:
        layout = find(keys)
    except ValueError as error:
        return line, None, str(error)
    picked = layout.pick(values)
    if not set(map(type, picked)) <= TEXT:
        for role, value in (*zip(layout.roles, picked, strict=False), ("annotator", picked[3])):
            if value is not None and type(value) not in (str, int, float):
                told = f"{role} is {str(value)[:80]}; a name is text or a number"
                if isinstance(value, dict | list):
                    told += " (pandas writes one comparison a line with orient='records', lines=True)"
                return line, None, told
        picked = tuple(None if value is None else str(value) for value in picked)
    first, second, *rest = picked
    return line, layout, picked if first and second else (first or "", second or "", *rest)


def _parquet(binary: io.BufferedReader, find: Find) -> Iterator[Row]:
    try:
        arrow, parquet = (importlib.import_module(name) for name in ("pyarrow", "pyarrow.parquet"))
    except ImportError:
        raise ValueError("it is a parquet file: install pyarrow to read it, or save it as CSV") from None
    try:
        table = parquet.ParquetFile(io.BytesIO(binary.read()))
        line = 0
        for batch in table.iter_batches():
            keys = tuple(batch.schema.names)
            for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                line += 1
                yield _typed(line, keys, [*values, None], find)
    except (OSError, arrow.ArrowException) as error:
        raise ValueError(f"it is not a whole parquet file ({error})") from None
