"""One token from each row of logits, and its log-probability, in few passes over arrays: sampling lives on it."""

from itertools import pairwise

import numpy as np

from rlhf_lab.numerics.autodiff import Array

FEW = 100  # rows, for which numpy's running sums are quicker than sums token by token


def choose(logits: Array, chance: Array) -> tuple[Array, Array]:
    """Return the token that each number of `chance` (...) in [0, 1) chooses by `logits` (..., V), and log pi of it.

    Token k is chosen by the numbers from the chance of all tokens before it up to that with its own.
    """
    first = np.array(logits.reshape(-1, logits.shape[-1]).T, order="C")  # sums over a short last axis are slow
    first -= np.maximum.reduce(first)
    cumulative = np.exp(first)
    if first.shape[1] > FEW:
        for before, after in pairwise(cumulative):
            after += before
    else:
        np.add.accumulate(cumulative, out=cumulative)
    token = np.add.reduce(chance.ravel() * cumulative[-1] >= cumulative[:-1])
    log_p = first[token, np.arange(len(token))] - np.log(cumulative[-1])
    return token.reshape(chance.shape), log_p.reshape(chance.shape)
