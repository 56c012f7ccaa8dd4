"""Words with which people say how a comparison ended: what spreadsheets, data frames and annotation tools write."""

import re

YES = frozenset({"true", "t", "yes", "y", "1", "1.0"})
NO = frozenset({"false", "f", "no", "n", "0", "0.0", "", "none", "null", "nan", "na", "n/a", "#n/a", "<na>"})
MISSING = NO - {"false", "f", "no", "n", "0", "0.0", "na"}  # what stands where nothing was filled in
FIRST = frozenset({"a", "model a", "left", "first", "model 1", "assistant a", "item a", "player a"})
SECOND = frozenset({"b", "model b", "right", "second", "model 2", "assistant b", "item b", "player b"})
NEITHER = frozenset(
    {"tie", "ties", "tied", "draw", "drawn", "both", "neither", "equal", "same", "bothbad", "both bad", "both good"}
    | {f"tie ({why})" for why in ("bothbad", "both bad", "bothgood", "both good", "inconsistent")}
)
STROKE = re.compile(r"(?<=\w)[_-](?=[\w(])")


def plain(value: object) -> str:
    """Return a word as it is looked up: in small letters, `_` and `-` between words as spaces, one space between."""
    return " ".join(STROKE.sub(" ", str(value)).split()).casefold()


def tied(value: object) -> bool:
    """Return whether a cell of a column of ties says so; an empty one, None and NaN say no.

    Raises `ValueError` for other words than those of `YES`, `NEITHER` and `NO`.
    """
    word = plain(value)
    if word in NO:
        return False
    if word not in YES | NEITHER:
        raise ValueError(f"tie is {value!r}; it must be true, false, yes, no, 1, 0, tie or empty")
    return True


def side(value: object) -> int | None:
    """Return 1 if a word says that the first of two won, -1 for the second, 0 for neither, None for other words."""
    word = plain(value)
    return 1 if word in FIRST else -1 if word in SECOND else 0 if word in NEITHER else None
