"""Which column says what: names of columns, and the layouts that people store comparisons in."""

from collections.abc import Callable, Collection, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

COLUMNS = {  # what a column may be called, in small letters
    "winner": ("winner",),
    "loser": ("loser",),
    "tie": ("tie", "tied", "is_tie", "draw", "is_draw"),
    "count": ("count", "counts", "weight", "weights"),
    "annotator": ("annotator", "judge", "rater"),
}
SIDES = (
    ("model_a", "model_b"),
    ("model_1", "model_2"),
    ("item_a", "item_b"),
    ("player_a", "player_b"),
    ("left", "right"),
    ("first", "second"),
    ("a", "b"),
)
FLAGS = ("winner_model_a", "winner_model_b", "winner_tie")  # one of them is 1
DOUBTFUL = frozenset(
    {"n", "times", "freq", "frequency", "votes", "num", "number", "multiplicity", "repetitions", "wins", "losses"}
    | {"ties", "draws", "score", "result", "outcome", "verdict", "sample_weight", "n_wins"}
)
INDEX = ("", "index", "__index_level_0__", "unnamed: 0")  # what data frames number their rows with
WANTED = "columns winner and loser, or model_a, model_b and winner"
LETTERS = 80  # of a header in a message


class Columns(NamedTuple):
    """What a user says of the columns of a file: names by role, the columns of the two sides, and what to leave."""

    named: Mapping[str, str] = {}
    sides: tuple[str, str] | None = None
    ignored: Collection[str] = ()


AS_NAMED = Columns()


class Layout(NamedTuple):
    """How a row is read. `pick` takes the first item, the second, tie, annotator, count, and what says who won.

    What is not there is read from behind the end of a row, where the reader puts None. Without words that say who won,
    the first did. `unused` are the columns that say nothing here.
    """

    pick: Callable[[Sequence[Any]], tuple[Any, ...]]
    roles: tuple[str, ...]
    unused: tuple[str, ...]


def find(header: Sequence[str], told: Columns = AS_NAMED) -> Layout:
    """Return the layout of a file with these columns, whatever their case.

    Raises `ValueError` if it cannot be told who won, or if a column is left over that may change what a row means.
    """
    keys = [name.strip().lower() for name in header]
    place = {role: _place(keys, header, role, told) for role in COLUMNS}
    sides = _sides(keys, header, told)
    if place["winner"] is not None and place["loser"] is not None and told.sides is None:
        roles, verdict = ("winner", "loser"), list[int]()
        first, second = place["winner"], place["loser"]
    elif sides is not None and (flags := [keys.index(flag) for flag in FLAGS if flag in keys]) and len(flags) == 3:
        (first, second), roles, verdict = sides, ("first item", "second item"), flags
    elif sides is not None and place["winner"] is not None:
        (first, second), roles, verdict = sides, ("first item", "second item"), [place["winner"]]
    else:
        raise ValueError(_lacking(keys, header, told))
    optional = [place[role] for role in ("tie", "annotator", "count")]
    used = {first, second, *verdict, *(spot for spot in optional if spot is not None)}
    ignored = {name.strip().lower() for name in told.ignored}
    rest = [spot for spot in range(len(keys)) if spot not in used and keys[spot] not in ignored]
    for spot in rest:
        if keys[spot] in DOUBTFUL or any(keys[spot] in COLUMNS[role] for role in ("tie", "count")):
            raise ValueError(
                f"the column {header[spot]!r} may say how often a comparison was made or how it ended: name it with "
                f"--count or --tie, or leave it out with --ignore {header[spot]}"
            )
    spots = [first, second, *(len(keys) if spot is None else spot for spot in optional), *verdict]
    unused = tuple(header[spot] for spot in rest if keys[spot] not in INDEX)
    return Layout(itemgetter(*spots), roles, unused)


def _place(keys: list[str], header: Sequence[str], role: str, told: Columns) -> int | None:
    ignored = {name.strip().lower() for name in told.ignored}
    if role in told.named:
        wanted = [told.named[role].strip().lower()]
        if wanted[0] not in keys:
            raise ValueError(f"there is no column {told.named[role]!r} for the {role}; {_listed(header)}")
    else:
        wanted = [name for name in COLUMNS[role] if name in keys and name not in ignored]
    spots = [spot for spot, name in enumerate(keys) if name in wanted[: 1 if role == "annotator" else None]]
    if len(spots) > 1:
        raise ValueError(f"{len(spots)} columns could hold the {role}; {_listed(header)}: leave all but one out")
    return spots[0] if spots else None


def _sides(keys: list[str], header: Sequence[str], told: Columns) -> tuple[int, int] | None:
    if told.sides is not None:
        pair = [name.strip().lower() for name in told.sides]
        for name in pair:
            if keys.count(name) != 1:
                raise ValueError(f"there must be one column {name!r} for a side; {_listed(header)}")
        return keys.index(pair[0]), keys.index(pair[1])
    for one, other in SIDES:
        if keys.count(one) == keys.count(other) == 1:
            return keys.index(one), keys.index(other)
    return None


def _lacking(keys: list[str], header: Sequence[str], told: Columns) -> str:
    if len({"winner", "loser"} & set(keys)) == 1 and not told.sides:
        return f"the {'loser' if 'winner' in keys else 'winner'} is missing; {_listed(header)}; there must be {WANTED}"
    return f"{_listed(header)}; there must be {WANTED}: rename them, or name them with --winner and --loser"


def _listed(header: Sequence[str]) -> str:
    names = ", ".join(map(repr, header))
    return f"the columns are {names if len(names) <= LETTERS else names[: LETTERS - 1] + '…'}"
