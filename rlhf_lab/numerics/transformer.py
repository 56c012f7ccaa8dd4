"""The kernels of a transformer, each one differentiable primitive with a hand-written gradient.

Each has a readable twin in `transformer_twins`, which autograd differentiates; the tests hold both to the same numbers.
Results have the precision of what is given: float32 stays float32, gradients too. `...` are leading axes (seeds,
ensemble members): they broadcast, and each member is worked on by itself.

    N batch    T length    D width    H heads    F width of the feed-forward layer    O outputs    V vocabulary
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from autograd.extend import defvjp_argnums

from rlhf_lab.numerics.autodiff import Array, kernel, sum_to

EPS = 1e-5  # added to a variance before its root is taken, as in GPT-2
SLOPE, CUBE = (2 / np.pi) ** 0.5, 0.044715  # GELU is u (1 + tanh(SLOPE (u + CUBE u^3))) / 2
ROWS = 256  # tokens that a block works on at a time: they stay in the cache


class _Saved(NamedTuple):
    """What the gradient of a block needs, for each token; `weights` and `total` are softmax before its division."""

    hat_1: Array  # (R, D) input, normalised
    scale_1: Array  # (R, 1) one over its standard deviation
    qkv: Array  # (R, 3 D) queries, already divided by the root of D / H, keys and values
    weights: Array  # (N, H, T, T)
    total: Array  # (R, H)
    heard: Array  # (R, D) what the heads bring
    hat_2: Array  # (R, D) what stands behind attention, normalised
    scale_2: Array  # (R, 1)
    up: Array  # (R, F) before GELU
    gate: Array  # (R, F) GELU divided by that
    after: Array  # (R, D) the result


def _shapes(batch: int, length: int, width: int, wide: int, heads: int) -> list[tuple[int, ...]]:
    rows = batch * length
    token, one, hidden = (rows, width), (rows, 1), (rows, wide)
    square = (batch, heads, length, length)
    return [token, one, (rows, 3 * width), square, (rows, heads), token, token, one, hidden, hidden, token]


def _saved(memory: Array, shapes: list[tuple[int, ...]]) -> _Saved:
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    return _Saved(*(part.reshape(shape) for part, shape in zip(np.split(memory, ends[:-1]), shapes, strict=True)))


def _parts(saved: _Saved, length: int) -> Iterator[tuple[slice, _Saved]]:
    """Go through whole texts, about ROWS tokens at a time: where they stand, and what is saved of them."""
    step = max(1, ROWS // length)
    for first in range(0, len(saved.weights), step):
        rows = slice(first * length, (first + step) * length)
        texts = saved.weights[first : first + step]
        yield rows, _Saved(*(texts if value is saved.weights else value[rows] for value in saved))


def normalise(x: Array, hat: Array, scale: Array) -> None:
    """Write x, less its mean and divided by its standard deviation, into `hat`, and one over the latter."""
    width = x.shape[-1]
    np.subtract(x, np.matmul(x, np.full((width, 1), 1 / width, dtype=x.dtype)), out=hat)
    np.einsum("rd,rd->r", hat, hat, out=scale[:, 0])
    scale /= width
    scale += x.dtype.type(EPS)
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


def _split(qkv: Array, heads: int, length: int) -> Array:
    # (R, 3 D) seen as queries, keys and values of each head: (3, N, H, T, D / H)
    return qkv.reshape(-1, length, 3, heads, qkv.shape[-1] // (3 * heads)).transpose(2, 0, 3, 1, 4)


def _heads(rows: Array, heads: int, length: int) -> Array:
    # (R, D) seen as (N, H, T, D / H)
    return rows.reshape(-1, length, heads, rows.shape[-1] // heads).swapaxes(1, 2)


def _per_head(rows: Array, heads: int) -> Array:
    return rows.reshape(len(rows), heads, -1)


def _attend(saved: _Saved, heads: int, length: int, mask: Array) -> None:
    queries, keys, values = _split(saved.qkv, heads, length)
    weights = saved.weights
    np.matmul(queries, keys.swapaxes(-1, -2), out=weights)
    weights += mask
    weights -= weights.max(axis=-1, keepdims=True)
    np.exp(weights, out=weights)
    saved.total.reshape(-1, length, heads)[...] = weights.sum(axis=-1).swapaxes(1, 2)
    np.matmul(weights, values, out=_heads(saved.heard, heads, length))
    heard = _per_head(saved.heard, heads)
    heard /= saved.total[..., None]


def _attend_back(g: Array, saved: _Saved, heads: int, length: int) -> Array:
    """Return the gradient in queries, keys and values (R, 3 D) from that in `heard`, whose memory is used."""
    queries, keys, values = _split(saved.qkv, heads, length)
    found = np.empty_like(saved.qkv)
    in_queries, in_keys, in_values = _split(found, heads, length)
    _per_head(g, heads)[...] /= saved.total[..., None]
    along = np.einsum("rhd,rhd->rh", _per_head(g, heads), _per_head(saved.heard, heads))
    above = _heads(g, heads, length)
    np.matmul(saved.weights.swapaxes(-1, -2), above, out=in_values)
    scores = np.matmul(above, values.swapaxes(-1, -2))
    scores -= along.reshape(-1, length, heads).swapaxes(1, 2)[..., None]
    scores *= saved.weights
    np.matmul(scores, keys, out=in_queries)
    np.matmul(scores.swapaxes(-1, -2), queries, out=in_keys)
    return found


def _gate(up: Array, gate: Array) -> None:
    """Write (1 + tanh(SLOPE (u + CUBE u^3))) / 2 into `gate`."""
    np.square(up, out=gate)
    gate *= SLOPE * CUBE
    gate += SLOPE
    gate *= up
    np.tanh(gate, out=gate)
    gate *= 0.5
    gate += 0.5


def gelu(u: Array) -> Array:
    """Return u (1 + tanh(SLOPE (u + CUBE u^3))) / 2, the Gaussian error linear unit in the form of GPT-2.

    It has no gradient here: inside of a block it has. Hendrycks and Gimpel 2016, section 2.
    """
    found = np.empty_like(u)
    _gate(u, found)
    found *= u
    return found


def _gelu_back(g: Array, up: Array, gate: Array, hidden: Array) -> Array:
    """Return the gradient before GELU from that behind it, where `hidden` = GELU(u); the memory of `hidden` is used."""
    steep = np.square(up)
    steep *= 6 * SLOPE * CUBE
    steep += 2 * SLOPE
    steep *= hidden
    np.subtract(1.0, gate, out=hidden)
    steep *= hidden
    steep += gate
    steep *= g
    return steep


def _block(x: Array, gain_1: Array, qkv: Array, out: Array, gain_2: Array, up: Array, down: Array, heads: int) -> Array:
    """Return what a pre-norm block of a transformer makes of x (..., N, T, D): y + W_d GELU(norm(y) W_u).

    There y = x + attention(norm(x) W_qkv) W_o, causal: no token hears what stands behind it. `norm` is layer norm with
    a gain and no shift, GELU the form with tanh. `gain_1`, `gain_2` (..., D), `qkv` (..., D, 3 D), `out` (..., D, D),
    `up` (..., D, F), `down` (..., F, D). Radford et al. 2019 (GPT-2), without biases.
    """
    weights = gain_1[..., None, :], qkv, out, gain_2[..., None, :], up, down
    lead = np.broadcast_shapes(x.shape[:-3], *(w.shape[:-2] for w in weights))
    dtype = np.result_type(x, *weights)
    batch, length, width = x.shape[-3:]
    shapes = _shapes(batch, length, width, up.shape[-1], heads)
    memory = np.empty((int(np.prod(lead)), sum(int(np.prod(shape)) for shape in shapes)), dtype=dtype)
    mask = np.where(np.tri(length, dtype=bool), 0, -np.inf).astype(dtype)
    for place, member in zip(np.ndindex(lead), memory, strict=True):
        x_k, *weights_k = _member(place, lead, dtype, (x.reshape(*x.shape[:-3], -1, width), *weights))
        _block_of_one(x_k, *_folded(*weights_k, heads), _saved(member, shapes), heads, length, mask)
    return memory[:, -batch * length * width :].reshape(*lead, batch, length, width)


def _member(place: tuple[int, ...], lead: tuple[int, ...], dtype: Any, arrays: Sequence[Array]) -> list[Array]:
    return [np.broadcast_to(a, lead + a.shape[-2:])[place].astype(dtype, copy=False) for a in arrays]


def _folded(
    gain_1: Array, qkv: Array, out: Array, gain_2: Array, up: Array, down: Array, heads: int
) -> tuple[Array, ...]:
    # Gains, and the root that scores are divided by, are multiplied into the small matrices, not into the long ones.
    return qkv * _stretch(gain_1, heads), out, up * gain_2.T, down


def _stretch(gain: Array, heads: int) -> Array:
    width = gain.shape[-1]
    found = np.repeat(gain.T, 3 * width, axis=-1)
    found[:, :width] *= (width // heads) ** -0.5
    return found


def _block_of_one(
    x: Array, qkv: Array, out: Array, up: Array, down: Array, saved: _Saved, heads: int, length: int, mask: Array
) -> None:
    for rows, part in _parts(saved, length):
        normalise(x[rows], part.hat_1, part.scale_1)
        np.matmul(part.hat_1, qkv, out=part.qkv)
        _attend(part, heads, length, mask)
        between = np.matmul(part.heard, out)
        between += x[rows]
        normalise(between, part.hat_2, part.scale_2)
        np.matmul(part.hat_2, up, out=part.up)
        _gate(part.up, part.gate)
        np.matmul(part.up * part.gate, down, out=part.after)
        part.after[...] += between


def _block_vjp(argnums: Sequence[int], ans: Array, args: Any, kwargs: Any) -> Callable[[Array], Any]:
    _, gain_1, qkv, out, gain_2, up, down, heads = args
    weights = gain_1[..., None, :], qkv, out, gain_2[..., None, :], up, down
    *lead, batch, length, width = ans.shape
    shapes = _shapes(batch, length, width, up.shape[-1], heads)
    memory, dtype = ans.base, ans.dtype

    def vjp(g: Array) -> tuple[Array, ...]:
        g = np.broadcast_to(g, ans.shape).reshape(len(memory), -1, width).astype(dtype, copy=False)
        found = [np.empty((*lead, *w.shape[-2:]), dtype=dtype) for w in ((g[0]), *weights)]
        for place, g_k, member in zip(np.ndindex(*lead), g, memory, strict=True):
            weights_k = _member(place, tuple(lead), dtype, weights)
            grads = _block_of_one_back(g_k, *weights_k, _saved(member, shapes), heads, length)
            for array, value in zip(found, grads, strict=True):
                array[place] = value
        found[0] = found[0].reshape(ans.shape)
        found[1], found[4] = found[1][..., 0, :], found[4][..., 0, :]
        return tuple(sum_to(found[i], args[i].shape) for i in argnums)

    return vjp


def _block_of_one_back(
    g: Array,
    gain_1: Array,
    qkv: Array,
    out: Array,
    gain_2: Array,
    up: Array,
    down: Array,
    saved: _Saved,
    heads: int,
    length: int,
) -> tuple[Array, ...]:
    before = np.empty_like(g)
    qkv_g, out_g, up_g, down_g = _folded(gain_1, qkv, out, gain_2, up, down, heads)
    in_qkv, in_out, in_up, in_down = (np.zeros_like(w) for w in (qkv, out, up, down))
    for rows, part in _parts(saved, length):
        hidden = part.up * part.gate
        in_down += hidden.T @ g[rows]
        in_up_rows = _gelu_back(g[rows] @ down_g.T, part.up, part.gate, hidden)
        in_up += part.hat_2.T @ in_up_rows
        between = normalise_back(in_up_rows @ up_g.T, part.hat_2, part.scale_2)
        between += g[rows]
        in_out += part.heard.T @ between
        in_three = _attend_back(between @ out_g.T, part, heads, length)
        in_qkv += part.hat_1.T @ in_three
        np.add(normalise_back(in_three @ qkv_g.T, part.hat_1, part.scale_1), between, out=before[rows])
    stretch = _stretch(np.ones_like(gain_1), heads)
    in_qkv *= stretch
    return (
        before,
        np.sum(in_qkv * qkv, axis=-1),
        in_qkv * gain_1.T,
        in_out,
        np.sum(in_up * up, axis=-1),
        in_up * gain_2.T,
        in_down,
    )


block = kernel(_block)
defvjp_argnums(block, _block_vjp)
