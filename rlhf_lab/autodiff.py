"""The hot loops of the book, each one differentiable primitive with a hand-written gradient.

Readable twins of these functions live in `tests/test_autodiff.py`; autograd differentiates the twins, and the
tests hold both to the same numbers.

Inside, arrays lie **features before batch**: `(T, ..., D, N)`, so that every small matrix product has its long
axis last. `...` are leading axes (seeds, ensemble members): they broadcast.

    T length    D hidden units    V vocabulary    N batch
"""

from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import Any

import numpy as np
from autograd.extend import defvjp, defvjp_argnums, primitive

Array = Any  # an ndarray, or autograd's box around one


def _kernel(function: Callable[..., Array]) -> Callable[..., Array]:
    kernel = update_wrapper(primitive(function), function)
    kernel.__name__ = kernel.__qualname__ = function.__name__.removeprefix("_")
    return kernel


def _sum_to(g: Array, shape: tuple[int, ...]) -> Array:
    extra = g.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(i + extra for i, n in enumerate(shape) if n == 1 != g.shape[i + extra])
    return g.sum(axis=axes).reshape(shape) if axes else g


def _embedding(table: Array, tokens: Array) -> Array:
    """Return `table[..., tokens, :]`: one row for each token.

    `table` (..., V, D) and integer `tokens` (..., N, T) with leading axes that broadcast give (..., N, T, D).
    """
    lead = np.broadcast_shapes(table.shape[:-2], tokens.shape[:-2])
    flat = np.broadcast_to(tokens, lead + tokens.shape[-2:]).reshape(*lead, -1, 1)
    rows = np.take_along_axis(np.broadcast_to(table, lead + table.shape[-2:]), flat, axis=-2)
    return rows.reshape(lead + tokens.shape[-2:] + table.shape[-1:])


def _embedding_vjp(ans: Array, table: Array, tokens: Array) -> Callable[[Array], Array]:
    def vjp(g: Array) -> Array:
        *lead, _, _, width = g.shape
        members, rows = int(np.prod(lead)), table.shape[-2]
        where = np.broadcast_to(tokens, g.shape[:-1]).reshape(members, -1) + rows * np.arange(members)[:, None]
        cell = (where.ravel()[:, None] * width + np.arange(width)).ravel()
        total = np.bincount(cell, weights=g.ravel(), minlength=members * rows * width)
        return _sum_to(total.reshape(*lead, rows, width).astype(g.dtype, copy=False), table.shape)

    return vjp


embedding = _kernel(_embedding)
defvjp(embedding, _embedding_vjp, None)


def _tanh_scan(recurrent: Array, embed: Array, start: Array, tokens: Array) -> Array:
    """Return the states of a recurrent network that reads `tokens`: h[0] = start, h[t+1] = tanh(W h[t] + E[x_t]).

    `recurrent` W (..., D, D), `embed` E (..., V, D), `start` (..., D), integer `tokens` x (..., N, T) with leading
    axes that broadcast give states (T + 1, ..., D, N). The one-hot tokens lie below the states in memory,
    so that a step is one matrix product and one tanh. Meant for small vocabularies.
    """
    lead = np.broadcast_shapes(recurrent.shape[:-2], embed.shape[:-2], start.shape[:-1], tokens.shape[:-2])
    (batch, length), (vocab, hidden) = tokens.shape[-2:], embed.shape[-2:]
    both = np.empty((length + 1, *lead, hidden + vocab, batch), dtype=np.result_type(recurrent, embed, start))
    both[:-1, ..., hidden:, :] = _one_hot(np.broadcast_to(tokens, (*lead, batch, length)), vocab)
    both[0, ..., :hidden, :] = start[..., None]
    rows = np.broadcast_to(embed.swapaxes(-1, -2), (*lead, hidden, vocab))
    weights = np.concatenate([np.broadcast_to(recurrent, (*lead, hidden, hidden)), rows], axis=-1)
    for t in range(length):
        state = both[t + 1, ..., :hidden, :]
        np.matmul(weights, both[t], out=state)
        np.tanh(state, out=state)
    return both[..., :hidden, :]


def _one_hot(tokens: Array, vocab: int) -> Array:
    return np.moveaxis(tokens, -1, 0)[..., None, :] == np.arange(vocab)[:, None]


def _tanh_scan_vjp(argnums: Sequence[int], states: Array, args: Any, kwargs: Any) -> Callable[[Array], Any]:
    recurrent, embed, start, tokens = args
    hidden, vocab = recurrent.shape[-1], embed.shape[-2]

    def vjp(g: Array) -> tuple[Array, ...]:
        length = len(g) - 1
        back = np.ascontiguousarray(np.broadcast_to(recurrent, (*g.shape[1:-2], hidden, hidden)).swapaxes(-1, -2))
        delta = np.empty_like(g)
        slope = np.empty_like(g[0])
        carried = np.zeros_like(g[0])
        for t in range(length, 0, -1):
            np.multiply(states[t], states[t], out=slope)
            np.subtract(1.0, slope, out=slope)
            carried += g[t]
            np.multiply(carried, slope, out=delta[t])
            np.matmul(back, delta[t], out=carried)
        read = _one_hot(np.broadcast_to(tokens, (*g.shape[1:-2], *tokens.shape[-2:])), vocab).astype(g.dtype)
        grads = (
            lambda: _sum_to(np.matmul(delta[1:], states[:-1].swapaxes(-1, -2)).sum(axis=0), recurrent.shape),
            lambda: _sum_to(np.matmul(read, delta[1:].swapaxes(-1, -2)).sum(axis=0), embed.shape),
            lambda: _sum_to((carried + g[0]).sum(axis=-1), start.shape),
        )
        return tuple(grads[i]() for i in argnums)

    return vjp


tanh_scan = _kernel(_tanh_scan)
defvjp_argnums(tanh_scan, _tanh_scan_vjp)


def _readout(weight: Array, states: Array, skip: int = 0) -> Array:
    """Return `weight` (..., D, V) applied to `states` (T, ..., D, N) from `skip` on: a view (..., N, T - skip, V)."""
    return np.moveaxis(np.matmul(weight.swapaxes(-1, -2), states[skip:]), (0, -1), (-2, -3))


def _readout_vjp(argnums: Sequence[int], ans: Array, args: Any, kwargs: Any) -> Callable[[Array], Any]:
    weight, states, *rest = args
    skip = rest[0] if rest else 0

    def vjp(g: Array) -> tuple[Array, ...]:
        features_first = np.moveaxis(g, (-2, -3), (0, -1))

        def to_states() -> Array:
            total = np.zeros_like(states)
            total[skip:] = _sum_to(np.matmul(weight, features_first), states[skip:].shape)
            return total

        grads = (
            lambda: _sum_to(np.matmul(states[skip:], features_first.swapaxes(-1, -2)).sum(axis=0), weight.shape),
            to_states,
        )
        return tuple(grads[i]() for i in argnums)

    return vjp


readout = _kernel(_readout)
defvjp_argnums(readout, _readout_vjp)


def _log_softmax(logits: Array) -> Array:
    """Return `logits - log(sum(exp(logits)))` along the last axis, without overflow."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


log_softmax = _kernel(_log_softmax)
defvjp(log_softmax, lambda ans, logits: lambda g: g - np.exp(ans) * g.sum(axis=-1, keepdims=True))


def _log_prob_of(logits: Array, tokens: Array) -> Array:
    """Return the log-probability of each token under its logits, nats: cross-entropy with the sign turned.

    `logits` (..., N, T, V) and integer `tokens` (..., N, T) with leading axes that broadcast give (..., N, T).
    """
    return _take(_log_softmax(logits), tokens)


def _take(values: Array, tokens: Array) -> Array:
    index = np.broadcast_to(tokens, values.shape[:-1])[..., None]
    return np.take_along_axis(values, index, axis=-1)[..., 0]


def _log_prob_of_vjp(ans: Array, logits: Array, tokens: Array) -> Callable[[Array], Array]:
    def vjp(g: Array) -> Array:
        slope = _log_softmax(logits)
        np.exp(slope, out=slope)
        np.subtract(tokens[..., None] == np.arange(logits.shape[-1]), slope, out=slope)
        slope *= g[..., None]
        return slope

    return vjp


log_prob_of = _kernel(_log_prob_of)
defvjp(log_prob_of, _log_prob_of_vjp, None)
