"""Phrases with weights, made into an automaton: a small grammar that can be read, and every sum over its texts.

    K prompts    S states    V vocabulary    w weight of a phrase, one for each prompt

A grammar is a network of rooms. In each room one of some phrases is said, and each leads to the next room. Phrases
begin alike, so that a reader of "it is" does not know yet which one is being said; what is known is how likely each is.
That belief is the state. It is a function of the words, which makes the probability of a text a plain product. With a
hidden state it would be a sum over paths, and the entropy of the texts would not be that of the paths.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array

STATES = 10_000  # more than a grammar that can be read has
Phrase = tuple[str, str, Array]  # words, the room behind them, weights (K,) or one for all prompts
Item = tuple[tuple[str, ...], str]  # the words that are still to be said, and the room behind them
Belief = dict[Item, Array]


class Written(NamedTuple):
    """Who says what: `following` (S, V), the state behind each word, and its probability `p` (K, S, V); 0 comes first.

    What no phrase says has probability 0 and leads back to where it was.
    """

    following: Array
    p: Array


def compile_phrases(rooms: Mapping[str, Sequence[Phrase]], words: Sequence[str], prompts: int) -> Written:
    """Return the automaton of a grammar that begins in its first room; the last of `words` ends a text.

    A phrase of no words goes on into its room at once. Raises `ValueError` for unknown rooms and words, for weights
    that are not above 0, for rooms that lead to each other without a word, and if the states do not come to an end.
    """
    token = {word: index for index, word in enumerate(words)}
    for text, behind, weight in (phrase for phrases in rooms.values() for phrase in phrases):
        _check(text.split(), behind, weight, rooms, words)
    opened = {room: _open(rooms, room, prompts, ()) for room in rooms}
    beliefs = [_normalised(opened[next(iter(rooms))])]
    place = {_key(beliefs[0]): 0}
    following, p = [], []
    for state, belief in enumerate(beliefs):  # which grows while it is read
        following.append(np.full(len(words), state))
        p.append(np.zeros((len(words), prompts)))
        for word in dict.fromkeys(rest[0] for rest, _ in belief):
            p[-1][token[word]] = sum(weight for (rest, _), weight in belief.items() if rest[0] == word)
            if word == words[-1]:
                continue
            after = _normalised(_after(belief, word, opened))
            key = _key(after)
            if key not in place:
                place[key] = len(beliefs)
                beliefs.append(after)
            following[-1][token[word]] = place[key]
        if len(beliefs) > STATES:
            raise ValueError(f"the grammar has more than {STATES:,} states: phrases that say the same must meet again")
    return Written(np.array(following), np.moveaxis(np.array(p), -1, 0))


def smoothed(p: Array, noise: float) -> Array:
    """Return log [(1 - noise) p + noise / V]: each word is possible everywhere, at log(V / noise) nats
    (eq-slip).

    Without it, a policy that says once what the grammar never says is infinitely far from it, and a network always
    does. `p` (..., V) are probabilities, `noise` lies inside (0, 1).
    """
    if not 0 < noise < 1:
        raise ValueError(f"noise is the share of words drawn at random, inside (0, 1); got {noise}")
    return np.log((1 - noise) * checks.probabilities("p", p) + noise / np.shape(p)[-1])


def _check(said: list[str], behind: str, weight: Array, rooms: Mapping[str, Any], words: Sequence[str]) -> None:
    text = " ".join(said)
    unknown = [word for word in said if word not in words]
    if unknown:
        raise ValueError(f"{unknown[0]!r} in {text!r} is not one of the words")
    if words[-1] in said[:-1]:
        raise ValueError(f"{text!r} goes on behind the end of the text")
    if said[-1:] != [words[-1]] and behind not in rooms:
        raise ValueError(f"{text!r} leads to {behind!r}, which is not one of the rooms: {', '.join(rooms)}")
    if not np.all(np.asarray(weight) > 0):
        raise ValueError(f"the weight of {text!r} must be above 0; got {weight}")


def _open(rooms: Mapping[str, Sequence[Phrase]], room: str, prompts: int, through: tuple[str, ...]) -> Belief:
    """What may be said in a room, with probabilities (K,); rooms that are entered without a word are entered."""
    if room in through:
        raise ValueError(f"{' and '.join(through)} lead to each other without a word")
    found: Belief = {}
    total = sum(np.broadcast_to(weight, (prompts,)) for _, _, weight in rooms[room])
    for text, behind, weight in rooms[room]:
        said = tuple(text.split())
        inner = {(said, behind): np.ones(prompts)} if said else _open(rooms, behind, prompts, (*through, room))
        for item, share in inner.items():
            found[item] = found.get(item, 0) + share * weight / total
    return found


def _after(belief: Belief, word: str, opened: Mapping[str, Belief]) -> Belief:
    found: Belief = {}
    for (rest, behind), weight in belief.items():
        if rest[0] == word:
            inner = {(rest[1:], behind): np.ones_like(weight)} if rest[1:] else opened[behind]
            for item, share in inner.items():
                found[item] = found.get(item, 0) + weight * share
    return found


def _normalised(belief: Belief) -> Belief:
    total = sum(belief.values())
    return {item: belief[item] / total for item in sorted(belief)}


def _key(belief: Belief) -> tuple[tuple[Item, ...], bytes]:
    return tuple(belief), np.round(np.array(list(belief.values())), 9).tobytes()
