"""A block of a transformer as one differentiable primitive with a hand-written gradient.

Its readable twin is in `transformer_twins`, which autograd differentiates; the tests hold both to the same numbers.
The result has the precision of what is given: float32 stays float32, gradients too. `...` are leading axes (seeds,
ensemble members): they broadcast, and each member is worked on by itself.

    N batch    T length    R = N T tokens    D width    H heads    F width of the feed-forward layer
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from autograd.extend import defvjp_argnums

from rlhf_lab.numerics import block_parts as parts
from rlhf_lab.numerics.autodiff import Array, kernel, sum_to

ROWS = 512  # tokens that a block works on at a time: they stay in the cache


class _Saved(NamedTuple):
    """What the gradient of a block needs of each token, in the order in which it lies in memory."""

    hat_1: Array  # (R, D) input, normalised
    scale_1: Array  # (R, 1) one over its standard deviation
    qkv: Array  # (R, 3 D) queries, already divided by the root of D / H, keys and values
    weights: Array  # (N, H, T, T) softmax before its division
    total: Array  # (R, H) what it is divided by
    heard: Array  # (R, D) what the heads bring
    hat_2: Array  # (R, D) what stands behind attention, normalised
    scale_2: Array  # (R, 1)
    up: Array  # (R, F) before GELU
    gate: Array  # (R, F) GELU divided by that
    after: Array  # (R, D) the result


class _Weights(NamedTuple):
    gain_1: Array
    qkv: Array
    out: Array
    gain_2: Array
    up: Array
    down: Array


def _shapes(batch: int, length: int, width: int, wide: int, heads: int) -> list[tuple[int, ...]]:
    rows = batch * length
    token, one, hidden = (rows, width), (rows, 1), (rows, wide)
    square = (batch, heads, length, length)
    return [token, one, (rows, 3 * width), square, (rows, heads), token, token, one, hidden, hidden, token]


def _saved(memory: Array, shapes: list[tuple[int, ...]]) -> _Saved:
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    return _Saved(*(part.reshape(shape) for part, shape in zip(np.split(memory, ends[:-1]), shapes, strict=True)))


def _chunks(saved: _Saved) -> Iterator[tuple[slice, _Saved]]:
    """Go through whole texts, about ROWS tokens at a time: where they stand, and what is saved of them."""
    length = saved.weights.shape[-1]
    step = max(1, ROWS // length)
    for first in range(0, len(saved.weights), step):
        rows = slice(first * length, (first + step) * length)
        texts = saved.weights[first : first + step]
        yield rows, _Saved(*(texts if value is saved.weights else value[rows] for value in saved))


def _block(x: Array, gain_1: Array, qkv: Array, out: Array, gain_2: Array, up: Array, down: Array, heads: int) -> Array:
    """Return what a pre-norm block of a transformer makes of x (..., N, T, D): y + GELU(norm(y) W_u) W_d.

    There y = x + attention(norm(x) W_qkv) W_o, causal: no token hears what stands behind it. `norm` is layer norm with
    a gain and no shift, GELU the form with tanh. `gain_1`, `gain_2` (..., D), `qkv` (..., D, 3 D), `out` (..., D, D),
    `up` (..., D, F), `down` (..., F, D). Radford et al. 2019 (GPT-2), without biases.
    """
    weights = _Weights(gain_1[..., None, :], qkv, out, gain_2[..., None, :], up, down)
    lead = np.broadcast_shapes(x.shape[:-3], *(w.shape[:-2] for w in weights))
    dtype = np.result_type(x, *weights)
    batch, length, width = x.shape[-3:]
    shapes = _shapes(batch, length, width, up.shape[-1], heads)
    memory = np.empty((int(np.prod(lead)), sum(int(np.prod(shape)) for shape in shapes)), dtype=dtype)
    rows, mask = x.reshape(*x.shape[:-3], batch * length, width), parts.causal(length, dtype)
    for place, member in zip(np.ndindex(lead), memory, strict=True):
        each = _Weights(*(_member(w, place, lead, dtype) for w in weights))
        _forward(_member(rows, place, lead, dtype), _folded(each, heads), _saved(member, shapes), mask)
    return memory[:, -batch * length * width :].reshape(*lead, batch, length, width)


def _member(array: Array, place: tuple[int, ...], lead: tuple[int, ...], dtype: Any) -> Array:
    return np.broadcast_to(array, lead + array.shape[-2:])[place].astype(dtype, copy=False)


def _folded(weights: _Weights, heads: int) -> _Weights:
    # Gains, and the root that scores are divided by, are multiplied into the small matrices, not into the long ones.
    qkv = weights.qkv * weights.gain_1.T
    return weights._replace(qkv=_scaled(qkv, heads), up=weights.up * weights.gain_2.T)


def _scaled(qkv: Array, heads: int) -> Array:
    qkv[:, : len(qkv)] *= (len(qkv) / heads) ** -0.5
    return qkv


def _forward(x: Array, weights: _Weights, saved: _Saved, mask: Array) -> None:
    for rows, part in _chunks(saved):
        parts.normalise(x[rows], part.hat_1, part.scale_1)
        np.matmul(part.hat_1, weights.qkv, out=part.qkv)
        parts.attend(part.qkv, part.weights, part.total, part.heard, mask)
        between = np.matmul(part.heard, weights.out)
        between += x[rows]
        parts.normalise(between, part.hat_2, part.scale_2)
        np.matmul(part.hat_2, weights.up, out=part.up)
        parts.gate(part.up, part.gate)
        np.matmul(part.up * part.gate, weights.down, out=part.after)
        np.add(part.after, between, out=part.after)


def _backward(g: Array, weights: _Weights, saved: _Saved) -> tuple[Array, _Weights]:
    """Return the gradient in the input, and that in the folded weights; those in the gains are left out."""
    before, found = np.empty_like(g), _Weights(*(np.zeros_like(w) for w in weights))
    for rows, part in _chunks(saved):
        hidden = part.up * part.gate
        np.add(found.down, hidden.T @ g[rows], out=found.down)
        in_up = parts.gelu_back(g[rows] @ weights.down.T, part.up, part.gate, hidden)
        np.add(found.up, part.hat_2.T @ in_up, out=found.up)
        between = parts.normalise_back(in_up @ weights.up.T, part.hat_2, part.scale_2)
        between += g[rows]
        np.add(found.out, part.heard.T @ between, out=found.out)
        in_heard = between @ weights.out.T
        in_qkv = parts.attend_back(in_heard, part.qkv, part.weights, part.total, part.heard)
        np.add(found.qkv, part.hat_1.T @ in_qkv, out=found.qkv)
        in_x = parts.normalise_back(in_qkv @ weights.qkv.T, part.hat_1, part.scale_1)
        np.add(in_x, between, out=before[rows])
    return before, found


def _unfolded(found: _Weights, weights: _Weights, heads: int) -> _Weights:
    qkv = _scaled(found.qkv, heads)
    return found._replace(
        gain_1=np.sum(qkv * weights.qkv, axis=-1),
        qkv=qkv * weights.gain_1.T,
        gain_2=np.sum(found.up * weights.up, axis=-1),
        up=found.up * weights.gain_2.T,
    )


def _block_vjp(argnums: Sequence[int], ans: Array, args: Any, kwargs: Any) -> Callable[[Array], Any]:
    gain_1, qkv, out, gain_2, up, down, heads = args[1:]
    weights = _Weights(gain_1[..., None, :], qkv, out, gain_2[..., None, :], up, down)
    *lead, batch, length, width = ans.shape
    shapes = _shapes(batch, length, width, up.shape[-1], heads)
    memory = ans.base  # the result is its last part

    def vjp(g: Array) -> tuple[Array, ...]:
        g = g.reshape(len(memory), batch * length, width).astype(ans.dtype, copy=False)
        found = [np.empty(tuple(lead) + a.shape[a.ndim - k :], ans.dtype) for a, k in zip(args, RANKS, strict=False)]
        for place, g_k, member in zip(np.ndindex(*lead), g, memory, strict=True):
            each = _Weights(*(_member(w, place, tuple(lead), ans.dtype) for w in weights))
            before, grads = _backward(g_k, _folded(each, heads), _saved(member, shapes))
            found[0][place] = before.reshape(batch, length, width)
            for array, value in zip(found[1:], _unfolded(grads, each, heads), strict=True):
                array[place] = value
        return tuple(sum_to(found[k], args[k].shape) for k in argnums)

    return vjp


RANKS = (3, 1, 2, 2, 1, 2, 2)  # axes of each argument of a block that are no leading ones
block = kernel(_block)
defvjp_argnums(block, _block_vjp)
