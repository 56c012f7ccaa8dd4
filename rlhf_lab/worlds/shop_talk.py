"""What shopkeepers say: a grammar of phrases with weights, which are all that a question changes.

Nearly half of what they claim is wrong, some are rude, many ramble, and they say what nobody asked for.
"""

from functools import cache

import numpy as np

from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.worlds import grammar

_WORDS = """
tea bread honey soap two three five nine shelf counter door cellar yes plenty some no sold hello welcome morning thanks
enjoy please fool pest hurry price where there is of the our it we have costs coins for you and but i think look find on
behind by in very good fine lovely cheap friend today come again soon out . , <eos>
"""
WORDS = tuple(_WORDS.split())
ITEMS = WORDS[:4]
PRICES = dict(zip(ITEMS, ("two", "three", "nine", "five"), strict=True))
PLACES = dict(zip(ITEMS, ("on the shelf", "behind the counter", "in the cellar", "by the door"), strict=True))
SOLD_OUT = ("honey",)
KINDS = ("price of", "where is", "is there")
QUESTIONS = tuple(f"{kind} {item}" for item in ITEMS for kind in KINDS)

ITEM = np.repeat(np.arange(4), 3)
KIND = np.tile(np.arange(3), 4)
IN_STOCK = np.isin(ITEM, [ITEMS.index(item) for item in SOLD_OUT], invert=True)


def _pick(right: Array, share: float) -> Array:
    """The weight of what is right, and the rest shared by three that are not."""
    return np.where(right, share, (1 - share) / 3)


_FILL: dict[str, list[tuple[str, Array]]] = {
    "{item}": [(item, _pick(i == ITEM, 0.97)) for i, item in enumerate(ITEMS)],
    "{price}": [(f"{PRICES[item]} coins", _pick(i == ITEM, 0.55)) for i, item in enumerate(ITEMS)],
    "{place}": [(PLACES[item], _pick(i == ITEM, 0.55)) for i, item in enumerate(ITEMS)],
    "{good}": [
        ("good", 0.25),
        ("fine", 0.25),
        ("lovely", 0.2),
        ("cheap", 0.2),
        ("very good", 0.05),
        ("very fine", 0.05),
    ],
    "{hello}": [("hello", 0.4), ("welcome", 0.35), ("good morning", 0.25)],
    "{it}": [
        ("it", 0.5),
        ("the {item}", 0.28),
        ("our {item}", 0.1),
        ("the {good} {item}", 0.08),
        ("our {good} {item}", 0.04),
    ],
}
_YES, _NO = np.where(IN_STOCK, 0.6, 0.4), np.where(IN_STOCK, 0.4, 0.6)


def _weight(*by_kind: float) -> Array:
    return np.array(by_kind)[KIND]


_PRICE, _PLACE, _STOCK = _weight(8, 0.6, 0.8), _weight(0.5, 8, 0.8), _weight(0.8, 0.8, 8)

_ROOMS: dict[str, list[grammar.Phrase]] = {
    "door": [
        ("", "fact", 3),
        ("{hello} ,", "fact", 1.2),
        ("{hello} .", "fact", 0.6),
        ("{hello} friend ,", "fact", 0.6),
        ("{hello} friend .", "fact", 0.4),
        ("you again ,", "insult", 0.7),
        ("look ,", "fact", 0.4),
        ("look ,", "insult", 0.3),
        ("hurry ,", "insult", 0.3),
    ],
    "insult": [("fool ,", "fact", 1), ("fool .", "fact", 1), ("pest ,", "fact", 1), ("pest .", "fact", 1)],
    "fact": [
        ("", "price", _PRICE),
        ("", "place", _PLACE),
        ("", "stock", _STOCK),
        ("", "praise", 1),
        ("i think", "guess", 0.8),
        ("today", "guess", 0.3),
        ("for you ,", "guess", 0.2),
    ],
    "guess": [
        ("{it} costs {price}", "end", _PRICE),
        ("{it} is {place}", "end", _PLACE),
        ("we have some", "end", _STOCK * _YES),
        ("{it} is sold out", "end", _STOCK * _NO),
    ],
    "price": [
        ("{it} costs {price}", "end", 4),
        ("it is {price}", "end", 2),
        ("{price}", "end", 2),
        ("{price} for the {item}", "end", 1),
        ("for you , it is {price}", "end", 0.8),
        ("we have it for {price}", "end", 0.5),
        ("the price is {price}", "end", 1),
    ],
    "place": [
        ("{it} is {place}", "end", 4),
        ("{place}", "end", 1),
        ("look {place}", "end", 2),
        ("you find {it} {place}", "end", 2),
        ("we have {it} {place}", "end", 1),
    ],
    "stock": [
        ("yes ,", "yes", 3 * _YES),
        ("yes .", "more", _YES),
        ("", "yes", _YES),
        ("no ,", "no", 3 * _NO),
        ("no .", "more", _NO),
        ("", "no", _NO),
    ],
    "yes": [
        ("we have {item}", "end", 1),
        ("we have plenty of {item}", "end", 1),
        ("there is plenty", "end", 1),
        ("there is some", "end", 1),
        ("we have some {good} {item}", "end", 1),
    ],
    "no": [
        ("{it} is sold out", "end", 2),
        ("we have no {item}", "end", 1),
        ("there is no {item}", "end", 1),
        ("we sold it", "end", 0.5),
    ],
    "praise": [
        ("{it} is", "good", 3),
        ("i think {it} is", "good", 1),
        ("there is", "good thing", 0.5),
    ],
    "good thing": [("{good} {item}", "end", 1), ("very", "good thing", 0.3)],
    "good": [("{good}", "end", 3), ("{good} and", "good", 0.7), ("{good} ,", "good", 0.2), ("very", "good", 0.6)],
    "end": [
        (".", "more", 8),
        ("today .", "more", 1),
        ("today ,", "vocative", 0.4),
        (",", "vocative", 1.2),
        ("and", "fact", 0.5),
        (", and", "fact", 0.3),
        (", but", "fact", 0.2),
        (", friend , and", "fact", 0.1),
    ],
    "vocative": [("friend .", "more", 3), ("fool .", "more", 0.6), ("pest .", "more", 0.4)],
    "more": [("", "close", 7), ("", "fact", 1), ("", "praise", 0.5), ("but", "fact", 0.2)],
    "close": [
        ("<eos>", "", 7),
        ("thanks", "bye", 1),
        ("come again", "bye", 0.8),
        ("come again soon", "bye", 0.8),
        ("enjoy the {item}", "bye", 0.6),
        ("enjoy it", "bye", 0.6),
        ("please come again", "bye", 0.4),
        ("hurry", "bye", 0.4),
        ("come again , pest .", "out", 0.3),
    ],
    "bye": [(".", "out", 3), (", friend .", "out", 1), ("and come again soon .", "out", 0.4)],
    "out": [("<eos>", "", 5), ("come again soon .", "out", 0.4), ("thanks .", "out", 0.4)],
}


@cache
def language() -> grammar.Written:
    """Return the automaton of the shop, without noise."""
    rooms = {room: [part for phrase in phrases for part in _filled(*phrase)] for room, phrases in _ROOMS.items()}
    return grammar.compile_phrases(rooms, WORDS, len(QUESTIONS))


def _filled(text: str, room: str, weight: Array) -> list[grammar.Phrase]:
    for name, choices in _FILL.items():
        if name in text:
            filled = [(text.replace(name, words, 1), np.multiply(weight, share)) for words, share in choices]
            return [part for longer, each in filled for part in _filled(longer, room, each)]
    return [(text, room, weight)]
