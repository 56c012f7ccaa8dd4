"""Keys and values of what a GPT has read, so that one more token costs one step and not a whole text.

N batch    D width    H heads    L layers    V vocabulary
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from rlhf_lab.numerics.autodiff import Array, embedding
from rlhf_lab.numerics.block_parts import EPS, gelu
from rlhf_lab.numerics.optim import Params

ROOM = 16  # places that a fresh memory has beyond those that are taken


class Memory:
    """Keys and values, (2, L, ..., N, H, places, D / H), of which the first `length` places are taken."""

    def __init__(self, values: Array, length: int) -> None:
        self.values, self.length = values, length

    def copy(self, length: int, times: int = 1) -> "Memory":
        """Return the first `length` places with room for as many more, each text `times` times in a row."""
        before = np.repeat(self.values[..., :length, :], times, axis=-4)
        values = np.empty((*before.shape[:-2], 2 * length + ROOM, before.shape[-1]), dtype=before.dtype)
        values[..., :length, :] = before
        return Memory(values, length)


@dataclass(frozen=True)
class Cache:
    """What was read: `tokens` (..., N, T), and the memory of it, T + 1 places, if there is one.

    Caches share a memory: the longer one adds its place to that of the shorter. Who finds it taken makes a copy, so
    that two texts may go on from one cache.
    """

    tokens: Array
    memory: Memory | None

    def repeat(self, times: int) -> "Cache":
        """Return the cache of a batch in which each text stands `times` times in a row."""
        memory = self.memory and self.memory.copy(self.tokens.shape[-1] + 1, times)
        return Cache(np.repeat(self.tokens, times, axis=-2), memory)

    def longer(self, token: Array) -> Array:
        """Return the tokens with one more (..., N) behind them."""
        lead = np.broadcast_shapes(self.tokens.shape[:-1], np.shape(token))
        before = np.broadcast_to(self.tokens, (*lead, self.tokens.shape[-1]))
        return np.concatenate([before, np.broadcast_to(token, lead)[..., None]], axis=-1)


def start(params: Params, prompt: Array, layers: int, heads: int) -> tuple[Cache, Array]:
    """Read a prompt (..., N, P) token by token: return the cache and the logits (..., N, V) of the next."""
    lead = np.broadcast_shapes(params["norm"].shape[:-1], prompt.shape[:-2])
    batch, width = prompt.shape[-2], params["norm"].shape[-1]
    shape = 2, layers, *lead, batch, heads, prompt.shape[-1] + 1 + ROOM, width // heads
    memory = Memory(np.empty(shape, dtype=params["norm"].dtype), 0)
    state = _read(params, memory, np.zeros((*lead, batch, width), dtype=memory.values.dtype))
    for t in range(prompt.shape[-1]):
        state = _read(params, memory, _row(params, prompt[..., t]))
    return Cache(prompt, memory), _logits(params, state)


def step(params: Params, cache: Cache, token: Array) -> tuple[Cache, Array]:
    """Read one more token (..., N): return the new cache and the logits (..., N, V) of the next."""
    length, memory = cache.tokens.shape[-1] + 1, cache.memory
    if memory is None:
        raise ValueError("this cache was made while a gradient was traced: start again without one")
    if memory.length != length or length == memory.values.shape[-2]:
        memory = memory.copy(length)
    state = _read(params, memory, _row(params, token))
    return Cache(cache.longer(token), memory), _logits(params, state)


def _row(params: Params, token: Array) -> Array:
    found = embedding(params["embed"], np.asarray(token)[..., None])
    return found.reshape(*found.shape[:-2], found.shape[-1])


def _read(params: Params, memory: Memory, row: Array) -> Array:
    """Take the next place of the memory for a token, whose embedding is `row`; return its state (..., N, D)."""
    _, layers, *_, heads, _, size = memory.values.shape
    x, here = row + params["position"][..., memory.length, None, :], memory.length
    for k in range(layers):
        parts = np.matmul(_norm(x), _gained(params, f"{k}.norm_1", f"{k}.qkv"))
        query, key, value = np.moveaxis(parts.reshape(*parts.shape[:-1], 3, heads, size), -3, 0)
        keys, values = memory.values[:, k]
        keys[..., here, :], values[..., here, :] = key, value
        scores = np.matmul(keys[..., : here + 1, :], query[..., None] * x.dtype.type(size**-0.5))
        weights = np.exp(scores - scores.max(axis=-2, keepdims=True))
        heard = np.matmul(weights.swapaxes(-1, -2), values[..., : here + 1, :])
        heard /= weights.sum(axis=-2, keepdims=True)
        x = x + np.matmul(heard.reshape(x.shape), params[f"{k}.out"])
        x += np.matmul(gelu(np.matmul(_norm(x), _gained(params, f"{k}.norm_2", f"{k}.up"))), params[f"{k}.down"])
    memory.length += 1
    return x


def _gained(params: Params, gain: str, matrix: str) -> Any:
    return params[gain][..., None] * params[matrix]


def _norm(x: Array) -> Array:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.einsum("...d,...d->...", centred, centred)[..., None] / x.shape[-1]
    centred /= np.sqrt(variance + x.dtype.type(EPS))
    return centred


def _logits(params: Params, state: Array) -> Array:
    # Tokens before texts in memory: the sampler reads them so.
    turned = np.matmul(params["embed"] * params["norm"][..., None, :], _norm(state).swapaxes(-1, -2))
    return turned.swapaxes(-1, -2)
