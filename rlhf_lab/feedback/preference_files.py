"""Comparisons as files: JSON lines with the columns that TRL and Hugging Face datasets read, as text or as chats."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rlhf_lab.feedback import chats, records, verdicts
from rlhf_lab.feedback.preferences import Preferences, check_distinct
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.files import write_text

RESPONSES = ("chosen", "rejected")


def write(
    path: str | os.PathLike[str],
    pairs: Preferences,
    decode: Callable[[Array], str],
    *,
    implicit: bool = False,
    chat: bool = False,
    pad: int | None = None,
    overwrite: bool = False,
) -> None:
    """Write comparisons as JSON lines with the columns that TRL and Hugging Face datasets read.

    Explicit: text `prompt`, `chosen`, `rejected`; a response begins with the space that parts it from the prompt, as
    TRL puts nothing between them. Implicit: `chosen` and `rejected`, each with the prompt in front. With `chat` each is
    a list of messages, the prompt the user's, the response the assistant's. If any comparison is a tie, every line has
    one column more, `tie`, true or false. TRL does not read it and would take the tie for a win: leave ties out of a
    file for TRL (`pairs[~pairs.tie]`). `decode` turns a row of tokens into text; tokens `pad` in front of a prompt are
    left out. The file is written whole or not at all.
    """
    lines, with_ties = list[str](), bool(np.any(pairs.tie))
    for x, *both, label in zip(*pairs.columns, strict=True):
        begin = 0 if pad is None else int(np.append(x != pad, True).argmax())
        prompt = decode(x[begin:]).removesuffix("…").strip()
        chosen, rejected = (f" {text}" if prompt and text else text for text in map(decode, both))
        line: dict[str, Any] = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
        if chat:
            line = {name: chats.written("user" if name == "prompt" else "assistant", line[name]) for name in line}
        if implicit:
            line = {name: line["prompt"] + line[name] for name in RESPONSES}
        tie = {"tie": bool(label == 0.5)} if with_ties else {}
        lines.append(json.dumps(line | tie, ensure_ascii=False) + "\n")
    write_text(path, "".join(lines), overwrite=overwrite)


class _Texts(NamedTuple):
    line: int
    prompt: str
    chosen: str
    rejected: str
    tie: bool
    repeats: bool  # whether both responses begin with the prompt


def read(
    path: str | os.PathLike[str],
    encode: Callable[[str, int | None], Any],
    horizon: int,
    vocab: int,
    *,
    prompts: Sequence[str] = (),
    pad: int | None = None,
    render: chats.Render | None = None,
) -> Preferences:
    """Read what `write` wrote, and any file of that form; columns that it does not know are left alone.

    JSON lines or one JSON array, also packed with gzip. `encode(text, length)` turns text into a row of tokens. Where
    the prompt stands only in front of the responses, `prompts` must list the known ones: two answers may begin alike,
    so what they share does not tell where the prompt ends. Where there is a prompt, and both responses begin with it in
    every line, it is taken off them. Shorter prompts are filled up on the left with the token `pad`, which a model
    reads like any other; without `pad`, prompts must have one length. Of a chat, the last message is the response; a
    prompt of several messages, or of another role than user, needs `render`, which makes one text of a list of them.
    Raises `ValueError` with the number of the first line that cannot be read.
    """
    path = Path(path)
    texts, rows = list[_Texts](), list[Any]()
    with records.opened(path, path.name) as binary, records.text(binary) as file:
        for number, value in records.json_records(file):
            try:
                texts.append(_Texts(number, *_fields(value, prompts, render)))
            except ValueError as error:
                raise ValueError(f"{path.name}, line {number}: {error}") from None
    if not texts:
        raise ValueError(f"{path.name} holds no comparisons")
    for each in texts:
        try:
            rows.append(_encoded(_alone(each, texts), encode, horizon, vocab))
            if len(rows[-1][1]) != len(rows[0][1]):
                raise ValueError(
                    f"encode made {len(rows[-1][1])} tokens of a response, and {len(rows[0][1])} in line "
                    f"{texts[0].line}: it must fill responses up to the length that it is given"
                )
            if pad is None and len(rows[-1][0]) != len(rows[0][0]):
                raise ValueError(
                    f"the prompt has {len(rows[-1][0])} tokens, that of line {texts[0].line} has {len(rows[0][0])}: "
                    "pass pad, a token to fill up shorter prompts with, on the left"
                )
        except ValueError as error:
            raise ValueError(f"{path.name}, line {each.line}: {error}") from None
    found, chosen, rejected = (list(column) for column in zip(*rows, strict=True))
    longest = max(map(len, found))
    filled = [np.concatenate([np.full(longest - len(prompt), pad or 0, np.intp), prompt]) for prompt in found]
    return Preferences(filled, chosen, rejected, vocab, np.array([each.tie for each in texts]))


def _alone(each: _Texts, texts: list[_Texts]) -> _Texts:
    """Return the texts of a line with the prompt taken off the responses, if every line repeats it."""
    if not each.repeats:
        return each
    other = next((one for one in texts if not one.repeats), None)
    if other is not None:
        raise ValueError(
            f"both responses begin with the prompt, but not in line {other.line}: take it off here, or put a space in "
            "front of responses that repeat it"
        )
    return each._replace(chosen=each.chosen[len(each.prompt) :], rejected=each.rejected[len(each.prompt) :])


def _encoded(each: _Texts, encode: Callable[[str, int | None], Any], horizon: int, vocab: int) -> tuple[Array, ...]:
    chosen, rejected, prompt = (
        _tokens(text, encode, length, vocab)
        for text, length in ((each.chosen, horizon), (each.rejected, horizon), (each.prompt, None))
    )
    if len(chosen) != len(rejected):
        raise ValueError(
            f"encode made {len(chosen)} and {len(rejected)} tokens of the two responses: it must fill them up to the "
            "length that it is given"
        )
    check_distinct(chosen[None], rejected[None])
    return prompt, chosen, rejected


def _tokens(text: str, encode: Callable[[str, int | None], Any], length: int | None, vocab: int) -> Array:
    try:
        row = np.asarray(encode(text, length))
    except LookupError as error:
        raise ValueError(f"encode does not know {text!r:.80}: {error!r}") from None
    if row.ndim != 1:
        raise ValueError(f"encode must make one row of tokens of a text; got shape {row.shape} for {text!r:.80}")
    return checks.tokens("encode", row[None], vocab)[0]


def _fields(value: Any, prompts: Sequence[str], render: chats.Render | None) -> tuple[str, str, str, bool, bool]:
    if isinstance(value, ValueError):
        raise value
    if not isinstance(value, dict):
        raise ValueError(f"a line is one JSON object, with chosen and rejected; got {type(value).__name__}")
    line = {name.strip().lower(): field for name, field in value.items()}
    for name in RESPONSES:
        if name not in line:
            raise ValueError(f"the column {name!r} is missing; there are {', '.join(map(repr, value)) or 'none'}")
    tie = _tie(line.get("tie"))
    if any(isinstance(line[name], list) for name in RESPONSES):
        return (*_chat(line, render), tie, False)
    if isinstance(line.get("prompt"), list):
        line["prompt"] = chats.joined(chats.checked("prompt", line["prompt"]), render)
    for name in ("prompt", *RESPONSES):
        if not isinstance(line.get(name, ""), str):
            raise ValueError(f"the column {name!r} must be text; got {type(line[name]).__name__}")
    prompt, both = line.get("prompt"), [line[name] for name in RESPONSES]
    if prompt is None:
        begins = [p for p in prompts if all(f"{text} ".startswith(f"{p} ") for text in both)]
        if not begins:
            raise ValueError("no prompt column, and none of the known prompts stands in front of both responses")
        prompt = max(begins)  # of texts that begin alike, the longest
        return prompt, both[0][len(prompt) :], both[1][len(prompt) :], tie, False
    return prompt, both[0], both[1], tie, all(_begins(text, prompt) for text in both)


def _tie(value: Any) -> bool:
    try:
        return verdicts.tied(value)
    except ValueError:
        raise ValueError(f"the column 'tie' must be true or false; got {value!r:.80}") from None


def _begins(text: str, prompt: str) -> bool:
    after = text[len(prompt) :]
    return bool(prompt) and text.startswith(prompt) and not (prompt[-1].isalnum() and after[:1].isalnum())


def _chat(line: dict[str, Any], render: chats.Render | None) -> tuple[str, str, str]:
    (before, chosen), (other, rejected) = (chats.answer(name, line[name]) for name in RESPONSES)
    if before != other:
        raise ValueError("the messages before the last are not the same in chosen and rejected")
    given = line.get("prompt")
    if given is None or given == []:
        return chats.joined(before, render), chosen, rejected
    prompt = given if isinstance(given, str) else chats.joined(chats.checked("prompt", given), render)
    if before and chats.joined(before, render) != prompt:
        raise ValueError("chosen and rejected begin with messages that are not those of the prompt")
    return prompt, chosen, rejected
