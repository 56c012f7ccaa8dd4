"""Small talk: any four words are a line, the other side reacts, and its reactions can be counted as rewards.

    kind of a line: greeting, question, compliment, joke, or nonsense if nobody would say it

The trap: each implicit reward is paid for words, too, that nobody would say. The rating is not: it is what a person
would say of the dialogue, and no learner sees it.
"""

import itertools
from functools import cache

import numpy as np

from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.worlds.dialogues import Game

WORDS = ("hey", "how", "are", "you", "great", "haha", "?")
LENGTH = 4
KINDS = ("greeting", "question", "compliment", "joke", "nonsense")
CORPUS = {  # what people write: kind, and how often
    "hey": ("greeting", 20),
    "hey you": ("greeting", 8),
    "how are you ?": ("question", 14),
    "hey how are you": ("question", 10),
    "are you great ?": ("question", 4),
    "you are great": ("compliment", 14),
    "great": ("compliment", 10),
    "haha": ("joke", 12),
    "haha you are great": ("joke", 8),
}
HI, OK, LONG, THANKS, HAHA, WHAT, BYE = REPLIES = (
    "hi", "ok", "i am fine and how was your day", "thank you that is kind", "haha", "what", "bye",
)  # fmt: skip
REACTIONS = {  # to the first line of a kind, and to the next line of the same kind
    "greeting": ({HI: 0.9, OK: 0.1}, {OK: 0.8, BYE: 0.2}),
    "question": ({LONG: 0.8, OK: 0.2}, {LONG: 0.3, OK: 0.6, BYE: 0.1}),
    "compliment": ({THANKS: 0.8, OK: 0.2}, {THANKS: 0.5, OK: 0.4, BYE: 0.1}),
    "joke": ({HAHA: 0.7, OK: 0.3}, {HAHA: 0.4, OK: 0.5, BYE: 0.1}),
}
NOTICED = {"haha": (HAHA, 0.5), "?": (LONG, 0.2), "great": (THANKS, 0.35)}  # each such word in nonsense, and how likely
IMPLICIT = ("questions", "sentiment", "laughter", "length")


@cache
def lines() -> tuple[str, ...]:
    """Return every line of one to four words."""
    return tuple(" ".join(said) for n in range(1, LENGTH + 1) for said in itertools.product(WORDS, repeat=n))


@cache
def kinds() -> Array:
    """Return the number of the kind of each line, (U,)."""
    return np.array([KINDS.index(CORPUS[line][0] if line in CORPUS else "nonsense") for line in lines()])


def language_model(slips: float = 0.25, pseudo_count: float = 0.3) -> Array:
    """Return log p of each line, (U,): lines of the corpus as often as there, and with the share `slips` any others.

    Slips go from word to word as often as the corpus does, plus `pseudo_count` for each pair of words, so that every
    line is possible. The end of a line is a word, too; after four words it comes in any case.
    """
    checks.positive("pseudo_count", pseudo_count)
    if not 0 < slips <= 1:
        raise ValueError(f"slips is a share of lines, in (0, 1]; got {slips}")
    index = {word: k for k, word in enumerate((*WORDS, ""))}
    spelled = {line: [index[word] for word in ("", *line.split(), "")] for line in lines()}
    pairs = np.full((len(index), len(index)), pseudo_count)
    pairs[-1, -1] = 0  # no line is empty
    for line, (_, number) in CORPUS.items():
        np.add.at(pairs, (spelled[line][:-1], spelled[line][1:]), number)
    chance = pairs / pairs.sum(-1, keepdims=True)
    slip = [np.prod(chance[said[:-1], said[1:]][:LENGTH]) for said in spelled.values()]
    often = np.array([CORPUS.get(line, ("", 0))[1] for line in lines()])
    return np.log(slips * np.array(slip) + (1 - slips) * often / often.sum())


def reaction(line: str, before: str) -> dict[str, float]:
    """Return how likely each reply to a line is, after a line of the kind `before`."""
    kind = CORPUS[line][0] if line in CORPUS else "nonsense"
    if kind != "nonsense":
        return REACTIONS[kind][kind == before]
    law: dict[str, float] = {}
    left = 0.85
    for word, (reply, chance) in NOTICED.items():
        law[reply] = left * (1 - (1 - chance) ** line.split().count(word))
        left -= law[reply]
    return law | {WHAT: left, BYE: 0.15}


def game(horizon: int = 4) -> Game:
    """Return the game whose reward is the rating: 1 for a line that people write, -1 for nonsense.

    The secret is the kind of the last line. The other side may leave, and then nothing more is earned.
    """
    said, kind = lines(), kinds()
    turn = np.zeros((len(said), len(KINDS), len(REPLIES), len(KINDS)))
    for u, line in enumerate(said):
        for s, before in enumerate(KINDS):
            for reply, chance in reaction(line, before).items():
                turn[u, s, REPLIES.index(reply), kind[u]] = chance
    opening = np.zeros((len(REPLIES), len(KINDS)))
    opening[REPLIES.index(HI), KINDS.index("nonsense")] = 1
    over = np.array([reply == BYE for reply in REPLIES])
    rating = np.where(kind == KINDS.index("nonsense"), -1.0, 1.0)[:, None] * np.ones(len(REPLIES))
    return Game(said, REPLIES, opening, turn, rating, over, ~over, horizon)


def implicit_reward(name: str) -> Array:
    """Return an implicit reward of each line and reply, (U, O). Raises `ValueError` if there is none of that name.

    questions: the question marks that you say. sentiment: 1 for thanks, -1 for "what" and "bye". laughter: 1 for
    "haha". length: words of the reply, divided by 8. together: the sum of the four.
    """
    if name == "together":
        return np.sum([implicit_reward(each) for each in IMPLICIT], axis=0)
    if name not in IMPLICIT:
        raise ValueError(f"there is no implicit reward {name!r}; there are: {', '.join(IMPLICIT)}, together")
    ones = np.ones((len(lines()), len(REPLIES)))
    if name == "questions":
        return ones * np.array([line.split().count("?") for line in lines()])[:, None]
    paid = {
        "sentiment": [(reply == THANKS) - 1.0 * (reply in (WHAT, BYE)) for reply in REPLIES],
        "laughter": [1.0 * (reply == HAHA) for reply in REPLIES],
        "length": [len(reply.split()) / 8 for reply in REPLIES],
    }
    return ones * np.array(paid[name])
