"""Twenty questions: one of N things is meant, you ask what is true of it, and the dialogue ends when you name it.

    N things, at most 16    bits questions that split them in halves, quarters, ...

Thing number k has its binary digits as its properties, so log2 N questions tell them all apart.
"""

import numpy as np

from rlhf_lab.numerics import checks
from rlhf_lab.worlds.dialogues import Game

LIVING = ("moss", "cat", "oak", "horse", "sponge", "crab", "kelp", "whale")
MADE = ("cup", "kite", "house", "car", "net", "oar", "pier", "ship")
THINGS = (*LIVING, *MADE)
PROPERTIES = ("is it made by people", "is it found in water", "is it larger than you", "does it move")
OPENING, YES, NO, RIGHT = "think of something", "yes", "no", "yes, that is it"


def game(things: int = 8, horizon: int | None = None) -> Game:
    """Return the game with the first `things` of `THINGS`, each as likely, and a cost of 1 a turn.

    You ask about a property, or "is it the cat", which ends the dialogue if it is right. The horizon is large enough to
    name each thing, log2 N + 2, if none is given. Raises `ValueError` unless there are 2 to 16 things.
    """
    if checks.count("things", things, "what could be meant") not in range(2, len(THINGS) + 1):
        raise ValueError(f"there are words for 2 to {len(THINGS)} things; got {things}")
    bits = int(np.ceil(np.log2(things)))
    numbers = np.arange(things)
    truth = numbers[None] >> np.arange(bits)[::-1, None] & 1
    replies = (OPENING, YES, NO, RIGHT)
    asked = np.concatenate([np.where(truth, 1, 2), np.where(np.eye(things), 3, 2)])
    turn = np.zeros((len(asked), things, 4, things))
    for line, row in enumerate(asked):
        turn[line, numbers, row, numbers] = 1
    return Game(
        lines=(*PROPERTIES[-bits:], *(f"is it the {thing}" for thing in THINGS[:things])),
        replies=replies,
        opening=np.eye(4)[:1].T / things * np.ones(things),
        turn=turn,
        reward=-np.ones((len(asked), 4)),
        ends=np.arange(4) == 3,
        good=np.arange(4) == 3,
        horizon=bits + 2 if horizon is None else horizon,
    )


def fewest_turns(things: int) -> float:
    """Return the turns that the best asker needs on average, if any half may be asked for (eq-twenty-questions).

    Naming one thing of n and being wrong leaves n - 1, asking splits n: whatever is shorter. For n a power of 2 it is
    log2 n + 1/2.
    """
    turns = [0.0, 1.0]
    for n in range(2, checks.count("things", things, "what could be meant") + 1):
        named = 1 + (n - 1) / n * turns[n - 1]
        turns.append(min([named, *(1 + (k * turns[k] + (n - k) * turns[n - k]) / n for k in range(1, n))]))
    return turns[things]
