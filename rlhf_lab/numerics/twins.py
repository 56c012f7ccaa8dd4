"""The kernels of `autodiff` written so that they can be read: slow, and differentiated by autograd.

A function with the name of a kernel has its arguments and its shapes, too. `tests/numerics/test_autodiff.py` holds the
two to the same values and the same gradients.

    T length    D hidden units    V vocabulary    N batch
"""

import autograd.numpy as np
import numpy as onp

from rlhf_lab.numerics.autodiff import Array


def one_hot(tokens: Array, size: int) -> Array:
    """Return 1.0 at the place of each token and 0.0 elsewhere: (...) to (..., size)."""
    return (tokens[..., None] == onp.arange(size)) * 1.0


def embedding(table: Array, tokens: Array) -> Array:
    """Row `tokens` of `table`, as a product with one-hot rows: (..., V, D) and (..., N, T) to (..., N, T, D)."""
    return np.einsum("...ntv,...vd->...ntd", one_hot(tokens, table.shape[-2]), table)


def rnn_states(recurrent: Array, embed: Array, start: Array, tokens: Array) -> Array:
    """h[0] = start, h[t+1] = tanh(W h[t] + E[x_t]): the states as they are read, one after the other.

    `recurrent` W (..., D, D), `embed` E (..., V, D), `start` (..., D), integer `tokens` (..., N, T) to
    (T + 1, ..., D, N).
    """
    lead = onp.broadcast_shapes(recurrent.shape[:-2], embed.shape[:-2], start.shape[:-1], tokens.shape[:-2])
    unused = 0.0 * (np.sum(recurrent) + np.sum(embed))  # if there is nothing to read
    state = start[..., None, :] + unused + onp.zeros((*lead, tokens.shape[-2], start.shape[-1]))
    states = [state]
    for t in range(tokens.shape[-1]):
        drive = np.einsum("...nv,...vd->...nd", one_hot(tokens[..., t], embed.shape[-2]), embed)
        state = np.tanh(np.einsum("...nd,...ed->...ne", state, recurrent) + drive)
        states.append(state)
    return np.swapaxes(np.stack(states), -1, -2)


def rnn_logits(recurrent: Array, embed: Array, readout: Array, start: Array, tokens: Array, skip: int = 0) -> Array:
    """Return h[t] R for t from `skip` on, (..., N, T + 1 - skip, O), with `readout` R (..., D, O)."""
    lead = onp.broadcast_shapes(readout.shape[:-2], tokens.shape[:-2])
    states = rnn_states(recurrent, embed, start, onp.broadcast_to(tokens, lead + tokens.shape[-2:]))
    columns = [np.einsum("...dn,...dv->...nv", state, readout) for state in states]
    return np.stack(columns[skip:], axis=-2)


def log_softmax(logits: Array) -> Array:
    """Return logits - log sum exp(logits) along the last axis, after the largest is taken off."""
    top = np.max(logits, axis=-1, keepdims=True)
    return logits - top - np.log(np.sum(np.exp(logits - top), axis=-1, keepdims=True))


def log_prob_of(logits: Array, tokens: Array) -> Array:
    """Return the log-softmax at each token: (..., N, T, V) and (..., N, T) to (..., N, T)."""
    return np.sum(log_softmax(logits) * one_hot(tokens, logits.shape[-1]), axis=-1)
