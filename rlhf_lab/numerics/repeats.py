"""Equal texts are read once: a policy that is sure writes the same few answers again and again.

x prompt    y response    N batch    M texts that differ from each other    T horizon    V vocabulary
"""

import autograd.numpy as anp
import numpy as np

from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, embedding

FEW = 500  # texts that are not worth a search for equal ones


def once(prompt: Array, response: Array, vocab: int) -> tuple[Array, Array, Array | None]:
    """Return the different texts, prompts (..., M, P) and responses (..., M, T), and which of them each is, (..., N).

    Leading axes broadcast; M is as large as one of their indices needs, and what others leave over repeats a text.
    Where little is to be gained, the texts come back as they are, with None. Raises `ValueError` for bad texts.
    """
    prompt, response = checks.tokens("prompt", prompt, vocab), checks.tokens("response", response, vocab)
    checks.same_batch(prompt, response)
    *lead, count = np.broadcast_shapes(prompt.shape[:-1], response.shape[:-1])
    parts = [np.broadcast_to(part, (*lead, count, part.shape[-1])) for part in (prompt, response)]
    rows = np.concatenate(parts, axis=-1)
    if rows[..., 0].size < FEW or rows.shape[-1] * np.log2(vocab) > np.iinfo(np.intp).bits - 2:
        return prompt, response, None
    first, place = _distinct(np.matmul(rows, vocab ** np.arange(rows.shape[-1], dtype=np.intp)))
    if 2 * first.shape[-1] > count:
        return prompt, response, None
    prompt, response = (np.take_along_axis(part, first[..., None], axis=-2) for part in parts)
    return prompt, response, place


def _distinct(key: Array) -> tuple[Array, Array]:
    order = np.argsort(key, axis=-1)
    new = np.diff(np.take_along_axis(key, order, axis=-1), axis=-1, prepend=-1) != 0
    rank = np.cumsum(new, axis=-1) - 1
    first = np.zeros((*key.shape[:-1], int(rank.max()) + 1), dtype=np.intp)
    place = np.empty_like(order)
    np.put_along_axis(first, rank, order, -1)
    np.put_along_axis(place, order, rank, -1)
    return first, place


def spread(values: Array, place: Array | None) -> Array:
    """Return the values (..., M, T) of the different texts for every text, (..., N, T)."""
    if place is None:
        return values
    spaced = embedding(values, place[..., None])
    return anp.reshape(spaced, (*spaced.shape[:-2], spaced.shape[-1]))  # autograd's gradient of an index is slow
