"""The shop: readable talk over a counter, far too many texts to list, and every one of their probabilities known.

Four things, three questions about each, answers of up to 32 tokens out of 64. An automaton writes what shopkeepers say
and a second one pays for it, so that the best policy, its value and its distance from any other are sums over the two.

The trap: the reward listens for words. It hears what is true, false, kind or rude, and not whether it is English:
"two thanks hello" is paid a little more than "hello , two coins . thanks", for it is shorter. Only the language knows
how people talk, and a price on leaving it that is too small lets go of that.
"""

from functools import cache

import numpy as np

from rlhf_lab.models import lm
from rlhf_lab.models.automaton import Automaton
from rlhf_lab.numerics import automata, checks
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.worlds import grammar, shop_talk, words
from rlhf_lab.worlds.automaton_mdp import AutomatonMDP
from rlhf_lab.worlds.shop_talk import IN_STOCK, ITEM, ITEMS, KIND, PLACES, PRICES, QUESTIONS, WORDS
from rlhf_lab.worlds.token_mdp import TokenMDP

VOCAB = len(WORDS)
EOS = VOCAB - 1
HORIZON = 32
NOISE = 1 / 256  # a word that does not belong costs log(64 * 256) nats: 14 bits
COST = 1 / 32  # of a token; a power of two, so that equal rewards are equal
HEARD = ("told", "false", "greeted", "kind", "rude")  # what the reward remembers of a text, a bit each
BETA = 0.35  # nearly every answer is right; a lower price buys only manners, and variety pays for them
PROMPTS = np.stack([words.encode(WORDS, question) for question in QUESTIONS])


def encode(text: str, length: int | None = None) -> Array:
    """Return the tokens of a text, padded with `<eos>` to `length` if one is given; see `words.encode`."""
    return words.encode(WORDS, text, length)


def decode(tokens: Array) -> str:
    """Return the text of one row of tokens up to the first `<eos>`; "…" marks an answer that the horizon cut off."""
    return words.decode(WORDS, tokens)


def _bits() -> Array:
    """What each word adds to what was heard, as bits of `HEARD`: (K, V)."""
    told, false, greeted, kind, rude = (1 << bit for bit in range(len(HEARD)))
    bits = np.zeros((len(QUESTIONS), VOCAB), dtype=np.intp)

    def claim(text: str, true: Array, asked: Array) -> None:
        for token in encode(text):
            bits[:, token] |= np.where(true, np.where(asked, told, 0), false)

    for i, item in enumerate(ITEMS):
        claim(item, i == ITEM, False)
        claim(PRICES[item], i == ITEM, KIND == 0)
        claim(PLACES[item].split()[-1], i == ITEM, KIND == 1)
    claim("yes plenty some", IN_STOCK, KIND == 2)
    claim("no sold", ~IN_STOCK, KIND == 2)
    for text, bit in (
        ("hello welcome morning", greeted),
        ("thanks enjoy please", kind),
        ("fool pest hurry", rude),
    ):
        bits[:, encode(text)] |= bit
    return bits


_BITS = _bits()


def _final() -> Array:
    told, false, greeted, kind, rude = (np.arange(1 << len(HEARD)) >> bit & 1 for bit in range(len(HEARD)))
    fact = np.where(told, np.where(false, -2.0, 2.0), np.where(false, -1.0, 0.0))
    return fact + 0.5 * greeted + 0.5 * kind - 1.5 * rude


_FINAL = _final()


def reward(prompt: Array, response: Array) -> Array:
    """Return the reward R*(x, y) of responses (..., N, T) to prompts (..., N, 3), shape (..., N).

    +2 for the fact that was asked for, -1 for a claim that is false, -2 for both: a contradiction. Naming another thing
    counts as false. +1/2 for a greeting, +1/2 for thanks, "please" or "enjoy", once each; -1.5 for an insult. 1/32 is
    taken off for each token, `<eos>` too.
    """
    response = checks.tokens("response", response, VOCAB)
    asked = checks.place("prompt", prompt, PROMPTS, VOCAB)
    checks.same_batch(np.asarray(prompt), response)
    mask = lm.response_mask(response, EOS)
    heard = np.bitwise_or.reduce(np.where(mask > 0, _BITS[asked[..., None], response], 0), axis=-1)
    return np.asarray(_FINAL[heard] - COST * mask.sum(-1))


@cache
def mdp() -> AutomatonMDP:
    """Return the shop with its reward, whose best policy is known: states are those of `language` times `HEARD`."""
    said = shop_talk.language()
    log_p = grammar.smoothed(said.p, NOISE)
    heard = np.arange(len(_FINAL))
    following = automata.product(said.following[None], heard[:, None] | _BITS[:, None, :])
    return AutomatonMDP(
        Automaton(PROMPTS, following, HORIZON),
        np.repeat(log_p, len(heard), axis=1),
        np.tile(_FINAL, (len(PROMPTS), log_p.shape[1])),
        COST,
    )


def token_mdp() -> TokenMDP:
    """Return this world as methods that sample want it: twelve questions, each equally likely, and the reward."""
    return TokenMDP(PROMPTS, np.full(len(PROMPTS), 1 / len(PROMPTS)), reward, VOCAB, HORIZON, EOS)
