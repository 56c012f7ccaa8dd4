"""Keys and values of what a GPT has read, so that one more token costs one step and not a whole text.

N batch    D width    H heads    L layers    V vocabulary
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from rlhf_lab.numerics.autodiff import Array, embedding
from rlhf_lab.numerics.block_parts import EPS, SMALL, gelu
from rlhf_lab.numerics.optim import Params

ROOM = 4  # places that the copy of a memory has beyond those that are taken: enumeration copies at every token


class Memory:
    """Keys and values, (2, L, ..., places, H, D / H, N), of which the first `length` places are taken."""

    def __init__(self, values: Array, length: int) -> None:
        self.values, self.length = values, length

    def copy(self, length: int, times: int = 1) -> "Memory":
        """Return the first `length` places with room for a few more, each text `times` times in a row."""
        before = self.values[..., :length, :, :, :]
        *lead, _, heads, size, batch = before.shape
        values = np.empty((*lead, length + length // 2 + ROOM, heads, size, batch * times), dtype=before.dtype)
        values[..., :length, :, :, :] = np.repeat(before, times, axis=-1)
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
    shape = 2, layers, *lead, params["position"].shape[-2], heads, width // heads, batch
    memory = Memory(np.empty(shape, dtype=params["norm"].dtype), 0)
    state = _read(params, memory, np.zeros((*lead, width, batch), dtype=memory.values.dtype))
    for t in range(prompt.shape[-1]):
        state = _read(params, memory, _row(params, prompt[..., t]))
    return Cache(prompt, memory), _logits(params, state)


def step(params: Params, cache: Cache, token: Array) -> tuple[Cache, Array]:
    """Read one more token (..., N): return the new cache and the logits (..., N, V) of the next."""
    length, memory = cache.tokens.shape[-1] + 1, cache.memory
    if memory is None:
        raise ValueError("this cache was made while a gradient was traced: start again without one")
    if memory.length != length or length == memory.values.shape[-4]:
        memory = memory.copy(length)
    state = _read(params, memory, _row(params, token))
    return Cache(cache.longer(token), memory), _logits(params, state)


def _row(params: Params, token: Array) -> Array:
    found = embedding(params["embed"], np.asarray(token)[..., None])
    return found.reshape(*found.shape[:-2], found.shape[-1]).swapaxes(-1, -2)


def _read(params: Params, memory: Memory, row: Array) -> Array:
    """Take the next place of the memory for a token, whose embedding is `row` (..., D, N); return its state."""
    _, layers, *_, heads, size, batch = memory.values.shape
    here, root = memory.length, size**-0.5
    x = row + params["position"][..., here, :, None]
    for k in range(layers):
        parts = np.matmul(_turned(params[f"{k}.qkv"], params[f"{k}.norm_1"]), _norm(x))
        query, key, value = np.moveaxis(parts.reshape(*x.shape[:-2], 3, heads, size, batch), -4, 0)
        keys, values = memory.values[:, k]
        keys[..., here, :, :, :], values[..., here, :, :, :] = key, value
        query *= root
        weights = np.einsum("...thdn,...hdn->...thn", keys[..., : here + 1, :, :, :], query)
        if max(weights.max(), -weights.min()) > SMALL:
            weights -= weights.max(axis=-3, keepdims=True)
        np.exp(weights, out=weights)
        heard = np.einsum("...thn,...thdn->...hdn", weights, values[..., : here + 1, :, :, :])
        heard /= weights.sum(axis=-3)[..., None, :]
        x = x + np.matmul(_turned(params[f"{k}.out"]), heard.reshape(x.shape))
        up = np.matmul(_turned(params[f"{k}.up"], params[f"{k}.norm_2"]), _norm(x))
        x += np.matmul(_turned(params[f"{k}.down"]), gelu(up))
    memory.length += 1
    return x


def _turned(matrix: Array, gain: Any = None) -> Any:
    return (matrix if gain is None else matrix * gain[..., None]).swapaxes(-1, -2)


def _norm(x: Array) -> Array:
    centred = x - np.matmul(np.full((1, x.shape[-2]), 1 / x.shape[-2], dtype=x.dtype), x)
    variance = np.einsum("...dn,...dn->...n", centred, centred)
    variance /= x.shape[-2]
    centred /= np.sqrt(variance + EPS)[..., None, :]
    return centred


def _logits(params: Params, state: Array) -> Array:
    logits = np.matmul(params["embed"] * params["norm"][..., None, :], _norm(state))
    return logits.swapaxes(-1, -2)
