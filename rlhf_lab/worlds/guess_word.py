"""Guess the word: after each guess you are told which of its letters are right, which stand elsewhere, which are wrong.

The reply has a word for each letter: "right" in its place, "near" if the secret has it elsewhere, "wrong" otherwise.
"""

from collections.abc import Sequence

import numpy as np

from rlhf_lab.worlds.dialogues import Game

WORDS = ("tea", "eat", "ate", "sea", "set", "sat", "hat", "hot", "toe", "oat", "ash", "has")
OPENING = "i have a word"


def reply(guess: str, secret: str) -> str:
    """Say of each letter of a guess whether it is right, near or wrong. A letter counts as often as it is there."""
    left = [b for a, b in zip(guess, secret, strict=True) if a != b]
    told = []
    for a, b in zip(guess, secret, strict=True):
        if a == b:
            told.append("right")
        elif a in left:
            told.append("near")
            left.remove(a)
        else:
            told.append("wrong")
    return " ".join(told)


def game(words: Sequence[str] = WORDS, horizon: int = 6) -> Game:
    """Return the game: each word is as likely, a guess costs 1, and the right one ends the dialogue.

    Raises `ValueError` unless the words are different, at least two, and of one length.
    """
    if len(set(words)) < max(len(words), 2) or len({len(word) for word in words}) > 1:
        raise ValueError(f"words must be different, at least two, and of one length; got {', '.join(words)}")
    told = [[reply(guess, secret) for secret in words] for guess in words]
    won = told[0][0]
    replies = (OPENING, *sorted({each for row in told for each in row}))
    n = np.arange(len(words))
    turn = np.zeros((len(words), len(words), len(replies), len(words)))
    for line, row in enumerate(told):
        turn[line, n, [replies.index(each) for each in row], n] = 1
    ends = np.array([each == won for each in replies])
    opening = np.zeros((len(replies), len(words)))
    opening[0] = 1 / len(words)
    return Game(tuple(words), replies, opening, turn, -np.ones((len(words), len(replies))), ends, ends, horizon)
