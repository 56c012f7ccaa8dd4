"""The kernels of `transformer` written so that they can be read: slow, and differentiated by autograd.

A function with the name of a kernel has its arguments and its shapes, too. `tests/numerics/test_transformer.py` holds
the two to the same values and the same gradients.

    N batch    T length    D width    H heads    F width of the feed-forward layer    O outputs    V vocabulary
"""

import autograd.numpy as np
import numpy as onp

from rlhf_lab.numerics import twins
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.block_parts import EPS


def block(x: Array, gain_1: Array, qkv: Array, out: Array, gain_2: Array, up: Array, down: Array, heads: int) -> Array:
    """y + GELU(norm(y) W_u) W_d with y = x + attention(norm(x)) W_o (eq-gpt-block)."""
    between = x + np.matmul(attention(layer_norm(x, gain_1), qkv, heads), out[..., None, :, :])
    hidden = gelu(np.matmul(layer_norm(between, gain_2), up[..., None, :, :]))
    return between + np.matmul(hidden, down[..., None, :, :])


def attention(x: Array, qkv: Array, heads: int) -> Array:
    """softmax(Q K' / sqrt(D / H) + mask) V for each head, side by side (eq-attention).

    Takes x (..., N, T, D) and `qkv` (..., D, 3 D). The mask is minus infinity where a key
    stands behind its query. Vaswani et al. 2017, eq. 1.
    """
    *lead, length, width = x.shape
    parts = np.matmul(x, qkv[..., None, :, :])
    lead = parts.shape[:-2]
    split = np.reshape(parts, (*lead, length, 3, heads, width // heads))
    queries, keys, values = (np.swapaxes(split[..., k, :, :], -3, -2) for k in range(3))
    scores = np.matmul(queries, np.swapaxes(keys, -1, -2)) / (width // heads) ** 0.5
    mask = onp.where(onp.arange(length) > onp.arange(length)[:, None], -onp.inf, 0.0)
    heard = np.matmul(np.exp(twins.log_softmax(scores + mask)), values)
    return np.reshape(np.swapaxes(heard, -3, -2), (*lead, length, width))


def layer_norm(x: Array, gain: Array) -> Array:
    """(x - mean) / sqrt(variance + EPS), over the last axis, times `gain` (..., D) (eq-layer-norm).

    Takes x (..., N, T, D) and returns the same shape.
    """
    centred = x - np.mean(x, axis=-1, keepdims=True)
    variance = np.mean(centred**2, axis=-1, keepdims=True)
    return centred / np.sqrt(variance + EPS) * gain[..., None, None, :]


def gelu(u: Array) -> Array:
    """u (1 + tanh(sqrt(2 / pi) (u + 0.044715 u^3))) / 2, the form of GPT-2. Hendrycks and Gimpel 2016, section 2."""
    return 0.5 * u * (1 + np.tanh((2 / np.pi) ** 0.5 * (u + 0.044715 * u**3)))


def embed_text(embed: Array, position: Array, tokens: Array) -> Array:
    """Return position 0, and behind it position t plus the embedding of token t: (..., N, T + 1, D)."""
    rows = twins.embedding(embed, tokens)
    nothing = onp.zeros((*rows.shape[:-2], 1, rows.shape[-1]))
    read = np.concatenate([nothing, rows], axis=-2)
    return read + position[..., None, : tokens.shape[-1] + 1, :]


def project(x: Array, gain: Array, readout: Array, skip: int = 0) -> Array:
    """norm(x) R from place `skip` on: x (..., N, T, D) and `readout` (..., D, O) to (..., N, T - skip, O)."""
    return np.matmul(layer_norm(x, gain), readout[..., None, :, :])[..., skip:, :]
