"""One item, one name: spellings that look the same, or that a program made of the same number, are one."""

import re
import unicodedata
from collections.abc import Iterable

from rlhf_lab.feedback import verdicts

JOINERS = ("\u200c", "\u200d")  # letters that Persian, Hindi and emoji are joined and parted with
SELECTORS = ("\ufe0e", "\ufe0f")  # how an emoji is drawn
WHOLE = re.compile(r"(-?[0-9]+)\.0+")
RESERVED = frozenset(verdicts.NEITHER - {"equal", "same"} | {"model a", "model b"})
SHOWN = 80  # letters of a name in a message


def shown(raw: str) -> str:
    """Return a name as a message quotes it."""
    return repr(raw if len(raw) <= SHOWN else raw[: SHOWN - 1] + "\u2026")


def spelling(raw: str) -> str:
    """Return a name as it is shown: composed (NFC), one space between words, without letters that nobody sees."""
    plain = "".join(letter for letter in unicodedata.normalize("NFC", raw) if not _unseen(letter))
    return " ".join(plain.split())


def _unseen(letter: str) -> bool:
    if letter.isascii() or letter in JOINERS:
        return False
    # The tags of flags are of this category, too, and tell one flag from another.
    return unicodedata.category(letter) == "Cf" and letter < "\U000e0000"


def key(shown_as: str) -> str:
    """Return what two spellings of one item share: without joiners, and whole numbers without their zeros, 2.0 as 2."""
    bare = shown_as
    if not bare.isascii():
        for letter in (*JOINERS, *SELECTORS):
            bare = bare.replace(letter, "")
    number = WHOLE.fullmatch(bare)
    return number[1] if number else bare


def checked(role: str, raw: str, item: bool = True) -> str:
    """Return the spelling of a name, or raise `ValueError` if it is none: empty, unreadable, or a word for a tie."""
    name = spelling(raw)
    if not key(name) or (item and verdicts.plain(name) in verdicts.MISSING):
        raise ValueError(f"the {role} is missing")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise ValueError(f"the {role} {shown(name)} has a control character in its name")
    if item and verdicts.plain(name) in RESERVED:
        raise ValueError(
            f"the {role} is {shown(name)}, which says how a comparison ended and names no item: name both items, and "
            "put ties into a column tie, or use the columns model_a, model_b and winner"
        )
    return name


def alike(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the names that differ in case, or in the width of their letters, only."""
    found = dict[str, list[str]]()
    for name in names:
        found.setdefault(unicodedata.normalize("NFKC", key(name)).casefold(), []).append(name)
    return sorted(tuple(sorted(each)) for each in found.values() if len(each) > 1)


def width(text: str) -> int:
    """Return how many columns of a terminal a text takes: 2 for wide letters, 0 for what is put on another letter."""
    return sum(
        0 if unicodedata.category(letter) in ("Mn", "Me", "Cf") else 1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in text
    )


def short(name: str, most: int = 40) -> str:
    """Return a name in at most `most` columns: of a longer one the beginning and the end, where names differ."""
    if width(name) <= most:
        return name
    head, tail = name, name
    while width(head) > (most - 1) // 2:
        head = head[:-1]
    while width(tail) > most - 1 - width(head):
        tail = tail[1:]
    return f"{head}\u2026{tail}"


def isolated(name: str) -> str:
    """Return a name between the marks that keep letters written from right to left from moving what stands around."""
    backwards = any(unicodedata.bidirectional(letter) in ("R", "AL", "AN") for letter in name)
    return f"\u2068{name}\u2069" if backwards else name
