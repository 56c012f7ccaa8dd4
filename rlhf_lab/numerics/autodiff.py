"""The hot loops of the book, each one differentiable primitive with a hand-written gradient.

Each has a readable twin in `twins`, which autograd differentiates; the tests hold both to the same numbers.

Inside, arrays lie features before batch: `(T, ..., D, N)`, so that every small matrix product has its long
axis last. `...` are leading axes (seeds, ensemble members): they broadcast.

    T length    D hidden units    V vocabulary    N batch
"""

from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, NewType

import numpy as np
from autograd.extend import defvjp, defvjp_argnums, primitive

from rlhf_lab.numerics import checks

if TYPE_CHECKING:
    Array = Any
else:
    Array = NewType("Array", object)  # an ndarray, or autograd's box around one; help() and the reference say Array
WIDE = 200  # from here on, reductions over a last axis are fast: sums over answers, not over tokens
BLOCK = 65_536  # numbers that backward works on at a time: they stay in the cache

# glibc gives freed arrays back to the system, so that each new one costs page faults: half of the time of a gradient.
# Once it has freed an array of this size, it keeps what is smaller. Other allocators take no notice.
np.empty(30 * 2**20, dtype=np.uint8)


def kernel(function: Callable[..., Array]) -> Callable[..., Array]:
    """Return `_name` as the primitive `name`, whose gradient is written by hand."""
    found = update_wrapper(primitive(function), function)
    found.__name__ = found.__qualname__ = function.__name__.removeprefix("_")
    return found


def sum_to(g: Array, shape: tuple[int, ...]) -> Array:
    """Return the gradient of what was broadcast from `shape`: sums over the axes that were added or stretched."""
    extra = g.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(i + extra for i, n in enumerate(shape) if n == 1 != g.shape[i + extra])
    return g.sum(axis=axes).reshape(shape) if axes else g


def _embedding(table: Array, tokens: Array) -> Array:
    """Return `table[..., tokens, :]`: one row for each token.

    `table` (..., V, D) and integer `tokens` (..., N, T) with leading axes that broadcast give (..., N, T, D).
    """
    *lead, rows, width = table.shape
    lead = np.broadcast_shapes(tuple(lead), tokens.shape[:-2])
    tokens = np.broadcast_to(tokens, lead + tokens.shape[-2:])
    tables = np.arange(table.size // (rows * width)).reshape(table.shape[:-2])
    where = np.broadcast_to(tables, lead)[..., None, None] * rows + tokens
    return np.take(table.reshape(-1, width), where, axis=0)


def _embedding_vjp(ans: Array, table: Array, tokens: Array) -> Callable[[Array], Array]:
    def vjp(g: Array) -> Array:
        *lead, _, _, width = g.shape
        members, rows = int(np.prod(lead)), table.shape[-2]
        where = np.broadcast_to(tokens, g.shape[:-1]).reshape(members, -1) + rows * np.arange(members)[:, None]
        cell = (where.ravel()[:, None] * width + np.arange(width)).ravel()
        total = checks.tally(cell, g.ravel(), members * rows * width)
        return sum_to(total.reshape(*lead, rows, width).astype(g.dtype, copy=False), table.shape)

    return vjp


embedding = kernel(_embedding)
defvjp(embedding, _embedding_vjp, None)


def _memory(recurrent: Array, embed: Array, start: Array, tokens: Array, rows: int) -> Array:
    # Below the states lie the one-hot tokens, so that a step is one matrix product and one tanh.
    lead = np.broadcast_shapes(recurrent.shape[:-2], embed.shape[:-2], start.shape[:-1], tokens.shape[:-2])
    (batch, length), (vocab, hidden) = tokens.shape[-2:], embed.shape[-2:]
    memory = np.empty((length + 1, *lead, rows, batch), dtype=np.result_type(recurrent, embed, start))
    read = np.moveaxis(np.broadcast_to(tokens, (*lead, batch, length)), -1, 0)[..., None, :]
    np.equal(read, np.arange(vocab)[:, None], out=memory[:-1, ..., hidden : hidden + vocab, :])
    memory[-1, ..., hidden : hidden + vocab, :] = 0.0
    memory[0, ..., :hidden, :] = start[..., None]
    weights = _side_by_side(recurrent, embed.swapaxes(-1, -2), lead)
    product = _product(lead)
    for before, state in zip(memory[:-1, ..., : hidden + vocab, :], memory[1:, ..., :hidden, :], strict=True):
        product(weights, before, out=state)
        np.tanh(state, out=state)
    return memory


def _product(lead: tuple[int, ...]) -> Callable[..., Array]:
    return np.matmul if lead else np.dot  # the same for two matrices, but sooner started


def _side_by_side(left: Array, right: Array, lead: tuple[int, ...]) -> Array:
    return np.concatenate([np.broadcast_to(part, lead + part.shape[-2:]) for part in (left, right)], axis=-1)


def _rnn_logits(recurrent: Array, embed: Array, readout: Array, start: Array, tokens: Array, skip: int = 0) -> Array:
    """Return the logits h[t] R, for t from `skip` on, of a network with h[0] = start, h[t+1] = tanh(W h[t] + E[x_t]).

    `recurrent` W (..., D, D), `embed` E (..., V, D), `readout` R (..., D, O), `start` (..., D), integer `tokens`
    (..., N, T) with leading axes that broadcast give (..., N, T + 1 - skip, O). Meant for small vocabularies.
    """
    (hidden, outputs), vocab = readout.shape[-2:], embed.shape[-2]
    lead = np.broadcast_shapes(readout.shape[:-2], tokens.shape[:-2])
    tokens = np.broadcast_to(tokens, lead + tokens.shape[-2:])
    memory = _memory(recurrent, embed, start, tokens, hidden + vocab + outputs)
    logits = memory[skip:, ..., hidden + vocab :, :]
    np.matmul(readout.swapaxes(-1, -2), memory[skip:, ..., :hidden, :], out=logits)
    return np.moveaxis(logits, (0, -1), (-2, -3))


def _rnn_logits_vjp(argnums: Sequence[int], logits: Array, args: Any, kwargs: Any) -> Callable[[Array], Any]:
    recurrent, embed, readout, start, _, *rest = args
    (hidden, outputs), skip = readout.shape[-2:], rest[0] if rest else kwargs.get("skip", 0)
    memory = logits.base  # the logits are a view: states and one-hot tokens lie above them
    seen = memory[..., :-outputs, :]

    def vjp(g: Array) -> tuple[Array, ...]:
        # work[t] holds the gradient of what tanh was applied to at step t + 1, and below it that of the logits of t.
        work = np.empty((*seen.shape[:-2], hidden + outputs, seen.shape[-1]), dtype=seen.dtype)
        work[:skip, ..., hidden:, :] = 0.0
        work[skip:, ..., hidden:, :] = np.moveaxis(g, (-2, -3), (0, -1))
        back, product = _side_by_side(recurrent.swapaxes(-1, -2), readout, seen.shape[1:-2]), _product(seen.shape[1:-2])
        work[-1, ..., :hidden, :] = 0.0
        delta = work[..., :hidden, :]
        total, carried = 0.0, np.empty_like(delta[0])
        block = max(1, BLOCK // work[0].size)
        for end in range(len(work) - 1, 0, -block):
            first = max(end - block, 0)
            slope = np.square(seen[first + 1 : end + 1, ..., :hidden, :])
            np.subtract(1.0, slope, out=slope)
            for t in range(end, first, -1):
                product(back, work[t], out=carried)
                np.multiply(carried, slope[t - first - 1], out=delta[t - 1])
            total = total + _products(work[first + 1 : end + 1], seen[first + 1 : end + 1])
        total = total + _products(work[:1], seen[:1])
        product(back, work[0], out=carried)
        grads = (
            lambda: sum_to(total[..., :hidden, :hidden], recurrent.shape),
            lambda: sum_to(total[..., :hidden, hidden:].swapaxes(-1, -2), embed.shape),
            lambda: sum_to(total[..., hidden:, :hidden].swapaxes(-1, -2), readout.shape),
            lambda: sum_to(carried.sum(axis=-1), start.shape),
        )
        return tuple(grads[i]() for i in argnums)

    return vjp


def _products(left: Array, right: Array) -> Array:
    return np.matmul(left, right.swapaxes(-1, -2)).sum(axis=0)


rnn_logits = kernel(_rnn_logits)
defvjp_argnums(rnn_logits, _rnn_logits_vjp)


def _inner(logits: Array) -> list[int]:
    strides = logits.strides
    return sorted(range(logits.ndim - 1), key=lambda axis: -strides[axis])


def _planes(logits: Array) -> Array:
    # Vocabulary first, the other axes as they lie in memory: reductions over a short last axis are slow.
    return np.moveaxis(logits, -1, 0).transpose(0, *(axis + 1 for axis in _inner(logits)))


def _from_planes(planes: Array, logits: Array) -> Array:
    return np.moveaxis(planes, 0, -1).transpose(*np.argsort(_inner(logits)), logits.ndim - 1)


def _log_softmax(logits: Array) -> Array:
    """Return `logits - log(sum(exp(logits)))` along the last axis, without overflow."""
    wide = logits.ndim == 1 or logits.shape[-1] >= WIDE
    axis, planes = (-1, logits) if wide else (0, _planes(logits))
    planes = np.array(planes, dtype=np.result_type(logits, np.float32), order="C")
    planes -= planes.max(axis=axis, keepdims=True)
    planes -= np.log(np.exp(planes).sum(axis=axis, keepdims=True))
    if wide:
        return planes
    log_pi = np.empty_like(logits, dtype=planes.dtype)
    log_pi[...] = _from_planes(planes, logits)
    return log_pi


log_softmax = kernel(_log_softmax)


def _log_softmax_vjp(ans: Array, logits: Array) -> Callable[[Array], Array]:
    def vjp(g: Array) -> Array:
        g = g.astype(ans.dtype, copy=False)
        return g - np.exp(ans) * g.sum(axis=-1, keepdims=True)

    return vjp


defvjp(log_softmax, _log_softmax_vjp)


def _log_prob_of(logits: Array, tokens: Array) -> Array:
    """Return the log-probability of each token under its logits, nats: cross-entropy with the sign turned.

    `logits` (..., N, T, V) and integer `tokens` (..., N, T) with leading axes that broadcast give (..., N, T).
    """
    planes = _planes(logits)
    memory = np.empty(planes.size + 2 * planes[0].size, dtype=np.result_type(planes, np.float32))
    weights, total, log_pi = _parts(memory, logits)
    weights[...] = planes
    weights -= weights.max(axis=0)
    chosen = weights.reshape(-1)[_place(tokens, logits)].reshape(total.shape)
    np.exp(weights, out=weights)
    weights.sum(axis=0, out=total)
    log_pi.transpose(_inner(logits))[...] = chosen - np.log(total)
    return log_pi


def _parts(memory: Array, logits: Array) -> tuple[Array, Array, Array]:
    *shape, vocab = logits.shape
    inner = [shape[axis] for axis in _inner(logits)]
    weights, total, log_pi = np.split(memory, [logits.size, logits.size + logits.size // vocab])
    return weights.reshape(vocab, *inner), total.reshape(inner), log_pi.reshape(shape)


def _place(tokens: Array, logits: Array) -> Array:
    tokens = np.broadcast_to(tokens, logits.shape[:-1]).transpose(_inner(logits))
    return tokens.ravel() * tokens.size + np.arange(tokens.size)


def _log_prob_of_vjp(ans: Array, logits: Array, tokens: Array) -> Callable[[Array], Array]:
    weights, total, _ = _parts(ans.base, logits)  # before the answer lie exp(logits) and their sum

    def vjp(g: Array) -> Array:
        g = g.astype(ans.dtype, copy=False).transpose(_inner(logits))  # advantages may be more precise than a network
        slope = weights * (-g / total)
        slope.reshape(-1)[_place(tokens, logits)] += g.ravel()
        return _from_planes(slope, logits)

    return vjp


log_prob_of = kernel(_log_prob_of)
defvjp(log_prob_of, _log_prob_of_vjp, None)
