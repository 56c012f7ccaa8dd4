"""Haggling: you sell, and ask for a price; the buyer takes it, offers less, or leaves. Five kinds of buyer.

Prices are counted in tenths of the list price, 1 to 10. A buyer has a limit, which you do not know, and an offer.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.worlds.dialogues import Game

PRICES = (10, 9, 8, 7, 6, 5, 4)  # what you can ask for
SPREAD = {-1: 0.25, 0: 0.5, 1: 0.25}  # how far a buyer's limit is from that of the kind, and how often


class Buyer(NamedTuple):
    """A kind of buyer.

    `first` offer, `limit` in the middle of the kind, and the chance that it `leaves` if you ask for more. If it stays,
    it raises its offer by a share `way` of the way to what you ask (rounded, halves to even), at least by `step`, and
    never above its limit. A buyer that `climbs` takes no price above the offer that it would make.
    """

    first: int
    limit: int
    leaves: float
    way: float
    step: int
    climbs: bool = False


BUYERS: Mapping[str, Buyer] = {
    "rule-based": Buyer(first=3, limit=7, leaves=0.2, way=0.5, step=1),
    "stingy": Buyer(first=3, limit=6, leaves=0.3, way=0.0, step=1),
    "utility": Buyer(first=3, limit=7, leaves=0.5, way=0.0, step=0),
    "fairness": Buyer(first=3, limit=9, leaves=0.1, way=0.5, step=0),
    "length": Buyer(first=3, limit=8, leaves=0.0, way=0.0, step=1, climbs=True),
}
DEAL, BYE = "deal", "no, goodbye"


def game(buyers: Sequence[str] = (*BUYERS,), horizon: int = 5) -> Game:
    """Return the game against a buyer of these kinds, each as likely; you earn the price if there is a deal, else 0.

    Raises `ValueError` if there is no buyer of a name.
    """
    unknown = [name for name in buyers if name not in BUYERS]
    if unknown or not len(buyers):
        what = f"there is no buyer {unknown[0]!r}" if unknown else "name at least one buyer"
        raise ValueError(f"{what}; the buyers are: {', '.join(BUYERS)}")
    checks.count("horizon", horizon, "the number of turns")
    secrets = _secrets(buyers)
    place = {secret: s for s, secret in enumerate(secrets)}
    offers = sorted({offer for _, _, offer in secrets})
    replies = (*(f"i offer {offer}0" for offer in offers), DEAL, BYE)
    deal, bye = len(offers), len(offers) + 1
    turn = np.zeros((len(PRICES), len(secrets), len(replies), len(secrets)))
    opening = np.zeros((len(replies), len(secrets)))
    for s, (name, limit, offer) in enumerate(secrets):
        buyer = BUYERS[name]
        if offer == buyer.first:
            opening[offers.index(offer), s] = SPREAD[limit - buyer.limit] / len(buyers)
        for line, price in enumerate(PRICES):
            nearer = min(limit, offer + max(buyer.step, round(buyer.way * (price - offer))))
            if price <= (nearer if buyer.climbs else limit):
                turn[line, s, deal, s] = 1
            else:
                turn[line, s, bye, s] = buyer.leaves
                turn[line, s, offers.index(nearer), place[name, limit, nearer]] = 1 - buyer.leaves
    over = np.arange(len(replies)) >= deal
    reward = np.zeros((len(PRICES), len(replies)))
    reward[:, deal] = np.array(PRICES) / 10
    lines = tuple(f"i ask {price}0" for price in PRICES)
    return Game(lines, replies, opening, turn, reward, over, np.arange(len(replies)) == deal, horizon)


def odds(name: str) -> Array:
    """Return an `opening` (O, S) of the game with all buyers, if the buyer is of one kind: for `dialogues.visits`."""
    everybody = game()
    if name not in BUYERS:
        raise ValueError(f"there is no buyer {name!r}; the buyers are: {', '.join(BUYERS)}")
    law = everybody.opening * np.array([kind == name for kind, _, _ in _secrets((*BUYERS,))])
    return law / law.sum()


def cautious_seller(game: Game) -> Array:
    """Return a policy without memory, (O, U): it asks for about 30 more than the last offer, give or take 15."""
    offers = [int(words.split()[-1]) // 10 if words.startswith("i offer") else 0 for words in game.replies]
    weight = np.exp(-((np.array(PRICES) - np.array(offers)[:, None] - 3) ** 2) / (2 * 1.5**2))
    return weight / weight.sum(-1, keepdims=True)


def same_numbers(game: Game) -> tuple[Array, Array]:
    """Return the line with the number of each reply (O,), and the reply with that of each line (U,); -1 if none has."""
    numbers = [[words.split()[-1] for words in said] for said in (game.lines, game.replies)]
    lines, replies = numbers
    first = [lines.index(x) if x in lines else -1 for x in replies]
    return np.array(first), np.array([replies.index(x) if x in replies else -1 for x in lines])


def _secrets(buyers: Sequence[str]) -> list[tuple[str, int, int]]:
    return [
        (name, BUYERS[name].limit + more, offer)
        for name in buyers
        for more in SPREAD
        for offer in range(BUYERS[name].first, BUYERS[name].limit + more + 1)
    ]
