"""What a block of a transformer is made of, on plain matrices: each step, and beside it the way back of its gradient.

Nothing here is differentiable: `transformer` puts the steps together into one primitive. Results go into memory that
is given, so that it is used again and again.

    R = N T tokens of N texts    T length    D width    H heads    F width of the feed-forward layer
"""

import numpy as np

from rlhf_lab.numerics.autodiff import Array

EPS = 1e-5  # added to a variance before its root is taken, as in GPT-2
SLOPE, CUBE = 2 * (2 / np.pi) ** 0.5, 0.044715  # GELU is u / (1 + exp(-SLOPE (u + CUBE u^3)))
SMALL = 40.0  # between exp(-SMALL) and exp(SMALL), sums over a text lose no digit and overflow in no precision


def normalise(x: Array, hat: Array, scale: Array) -> None:
    """Write x (R, D), less its mean and divided by its deviation, into `hat`, and one over the latter to `scale`."""
    width = x.shape[-1]
    np.subtract(x, np.matmul(x, np.full((width, 1), 1 / width, dtype=x.dtype)), out=hat)
    np.einsum("rd,rd->r", hat, hat, out=scale[:, 0])
    scale /= width
    scale += EPS
    np.sqrt(scale, out=scale)
    np.reciprocal(scale, out=scale)
    hat *= scale


def normalise_back(g: Array, hat: Array, scale: Array) -> Array:
    """Return the gradient in what was normalised, from that in `hat`; the memory of `g` is used for it."""
    width = g.shape[-1]
    along = np.einsum("rd,rd->r", g, hat)[:, None] / width
    g -= np.matmul(g, np.full((width, 1), 1 / width, dtype=g.dtype))
    g -= hat * along
    g *= scale
    return g


def split(qkv: Array, heads: int, length: int) -> Array:
    """Return (R, 3 D) seen as queries, keys and values of each head, (3, N, H, T, D / H)."""
    return qkv.reshape(-1, length, 3, heads, qkv.shape[-1] // (3 * heads)).transpose(2, 0, 3, 1, 4)


def _texts(rows: Array, heads: int, length: int) -> Array:
    return rows.reshape(-1, length, heads, rows.shape[-1] // heads).swapaxes(1, 2)


def _words(rows: Array, heads: int) -> Array:
    return rows.reshape(len(rows), heads, -1)


def causal(length: int, dtype: np.dtype) -> Array:
    """Return (T, T): 0 where a query hears a key, minus infinity where the key stands behind it."""
    return np.where(np.tri(length, dtype=bool), 0, -np.inf).astype(dtype)


def attend(qkv: Array, weights: Array, total: Array, heard: Array, mask: Array) -> None:
    """Write what the heads bring, softmax(Q K' + mask) V, into `heard` (R, D).

    `weights` (N, H, T, T) take the numerators of softmax, `total` (R, H) its denominators.
    """
    (heads, length), dtype = weights.shape[1:3], weights.dtype
    queries, keys, values = split(qkv, heads, length)
    np.matmul(queries, keys.swapaxes(-1, -2), out=weights)
    steep = max(weights.max(), -weights.min()) > SMALL
    weights += mask
    if steep:
        weights -= weights.max(axis=-1, keepdims=True)
    np.exp(weights, out=weights)
    sums = np.matmul(weights, np.ones((length, 1), dtype=dtype))  # faster than a sum over a short axis
    total.reshape(-1, length, heads)[...] = sums[..., 0].swapaxes(1, 2)
    np.matmul(weights, values, out=_texts(heard, heads, length))
    each = _words(heard, heads)
    each /= total[..., None]


def attend_back(g: Array, qkv: Array, weights: Array, total: Array, heard: Array) -> Array:
    """Return the gradient in queries, keys and values (R, 3 D) from that in `heard`, whose memory is used."""
    heads, length = weights.shape[1:3]
    queries, keys, values = split(qkv, heads, length)
    found = np.empty_like(qkv)
    in_queries, in_keys, in_values = split(found, heads, length)
    each = _words(g, heads)
    each /= total[..., None]
    along = np.einsum("rhd,rhd->rh", each, _words(heard, heads))
    above = _texts(g, heads, length)
    np.matmul(weights.swapaxes(-1, -2), above, out=in_values)
    scores = np.matmul(above, values.swapaxes(-1, -2))
    scores -= along.reshape(-1, length, heads).swapaxes(1, 2)[..., None]
    scores *= weights
    np.matmul(scores, keys, out=in_queries)
    np.matmul(scores.swapaxes(-1, -2), queries, out=in_keys)
    return found


def gate(u: Array, out: Array) -> None:
    """Write what GELU multiplies u by, 1 / (1 + exp(-SLOPE (u + CUBE u^3))), into `out`.

    The form of GPT-2. Hendrycks and Gimpel 2016, section 2.
    """
    np.square(u, out=out)
    out *= -SLOPE * CUBE
    out -= SLOPE
    out *= u
    with np.errstate(over="ignore"):  # one over infinity is 0, as it should be
        np.exp(out, out=out)
    out += 1.0
    np.reciprocal(out, out=out)


def gelu_back(g: Array, u: Array, gated: Array, hidden: Array) -> Array:
    """Return the gradient in u from g, where `gated` is the gate and `hidden` u times it; uses the latter's memory."""
    steep = np.square(u)
    steep *= 3 * SLOPE * CUBE
    steep += SLOPE
    steep *= hidden
    np.subtract(1.0, gated, out=hidden)
    steep *= hidden
    steep += gated
    steep *= g
    return steep
