"""Comparisons as files: JSON lines with the columns that TRL and Hugging Face datasets read."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlhf_lab.feedback.preferences import Preferences, check_distinct
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.files import write_text


def write(
    path: str | os.PathLike[str],
    pairs: Preferences,
    decode: Callable[[Array], str],
    *,
    implicit: bool = False,
    overwrite: bool = False,
) -> None:
    """Write comparisons as JSON lines with the columns that TRL and Hugging Face datasets read.

    Explicit: text `prompt`, `chosen`, `rejected`; a response begins with the space that parts it from the prompt, as
    TRL puts nothing between them. Implicit: `chosen` and `rejected`, each with the prompt in front. A tie gets one
    column more, `tie`. TRL does not read it and would take the tie for a win: leave ties out of a file for TRL
    (`pairs[~pairs.tie]`). `decode` turns a row of tokens into text. The file is written whole or not at all.
    """
    lines = []
    for x, *both, label in zip(*pairs.columns, strict=True):
        prompt = decode(x).removesuffix("…").strip()
        chosen, rejected = (f" {text}" if prompt and text else text for text in map(decode, both))
        line = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
        if implicit:
            line = {"chosen": prompt + chosen, "rejected": prompt + rejected}
        lines.append(json.dumps(line | ({"tie": True} if label == 0.5 else {}), ensure_ascii=False) + "\n")
    write_text(path, "".join(lines), overwrite=overwrite)


def read(
    path: str | os.PathLike[str],
    encode: Callable[[str, int | None], Array],
    horizon: int,
    vocab: int,
    *,
    prompts: Sequence[str] = (),
) -> Preferences:
    """Read what `write` wrote, and any file of that form; columns that it does not know are left alone.

    `encode(text, length)` turns text into tokens. Where the prompt stands only in front of the responses, `prompts`
    must list the known ones: two answers may begin alike, so what they share does not tell where the prompt ends.
    Raises `ValueError` with the number of the first line that cannot be read.
    """
    path, rows = Path(path), list[Any]()
    with path.open(encoding="utf-8-sig") as file:
        try:
            lines = list(file)
        except UnicodeDecodeError as error:
            raise ValueError(f"{path.name} is not UTF-8 text ({error.reason}); save it as UTF-8") from None
    for number, text in enumerate(lines, start=1):
        if text.strip():
            try:
                prompt, *both, tie = _fields(text, prompts)
                first, second = (encode(response, horizon) for response in both)
                check_distinct(first[None], second[None])
                rows.append((encode(prompt, None), first, second, tie))
            except (ValueError, RecursionError) as error:
                told = "not JSON" if isinstance(error, json.JSONDecodeError | RecursionError) else str(error)
                raise ValueError(f"{path.name}, line {number}: {told}") from None
    if not rows:
        raise ValueError(f"{path.name} holds no comparisons")
    prompts_read, chosen, rejected, ties = (list(column) for column in zip(*rows, strict=True))
    return Preferences(prompts_read, chosen, rejected, vocab, np.array(ties))


def _fields(text: str, prompts: Sequence[str]) -> tuple[str, str, str, bool]:
    line = json.loads(text)
    if not isinstance(line, dict):
        raise ValueError(f"a line is one JSON object, with chosen and rejected; got {type(line).__name__}")
    for name in ("prompt", "chosen", "rejected"):
        if name not in line and name != "prompt":
            raise ValueError(f"the column {name!r} is missing; there are {', '.join(map(repr, line)) or 'none'}")
        if not isinstance(line.get(name, ""), str):
            raise ValueError(f"the column {name!r} must be text; got {type(line[name]).__name__}")
    if not isinstance(line.get("tie", False), bool):
        raise ValueError(f"the column 'tie' must be true or false; got {line['tie']!r}")
    if "prompt" not in line:
        begins = [p for p in prompts if all(f"{line[name]} ".startswith(f"{p} ") for name in ("chosen", "rejected"))]
        if not begins:
            raise ValueError("no prompt column, and none of the known prompts stands in front of both responses")
        prompt = max(begins)  # of texts that begin alike, the longest
        line |= {"prompt": prompt, "chosen": line["chosen"][len(prompt) :], "rejected": line["rejected"][len(prompt) :]}
    return line["prompt"], line["chosen"], line["rejected"], line.get("tie", False)
