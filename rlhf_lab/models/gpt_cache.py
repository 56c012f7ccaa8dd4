"""Keys and values of what a GPT has read, so that one more token costs one step and not a whole text.

N batch    D width    H heads    L layers    V vocabulary    F width of the feed-forward layer

States are columns here, (..., D, N): what is long lies last in memory.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rlhf_lab.numerics.autodiff import Array, embedding
from rlhf_lab.numerics.block_parts import EPS, SMALL, gelu
from rlhf_lab.numerics.optim import Params

ROOM = 4  # places that the copy of a memory has beyond those that are taken: enumeration copies at every token


class Block(NamedTuple):
    """The matrices of a block, turned, with gains, and the root that scores are divided by, multiplied in."""

    qkv: Array  # (..., 3 D, D)
    out: Array  # (..., D, D)
    up: Array  # (..., F, D)
    down: Array  # (..., D, F)


class Weights(NamedTuple):
    """What a step works with, made once of the parameters `of` a model.

    A layer norm takes the mean of a state off. What is added to states has a mean of 0 here, so that theirs is 0.
    """

    of: Params
    embed: Array  # (..., V, D)
    position: Array  # (..., C + 1, D)
    blocks: list[Block]
    readout: Array  # (..., V, D)


class Memory:
    """Keys and values, (L, 2, ..., places, H, D / H, N), and the token of each place, (..., places, N).

    The first `length` places are taken. In place 0 there is no token.
    """

    def __init__(self, weights: Weights, values: Array, tokens: Array, length: int) -> None:
        self.weights, self.values, self.tokens, self.length = weights, values, tokens, length

    def copy(self, length: int, times: int = 1) -> "Memory":
        """Return the first `length` places with room for a few more, each text `times` times in a row."""
        values, tokens = self.values[..., :length, :, :, :], self.tokens[..., :length, :]
        places, batch = length + length // 2 + ROOM, tokens.shape[-1] * times
        more = np.empty((*values.shape[:-4], places, *values.shape[-3:-1], batch), dtype=values.dtype)
        read = np.empty((*tokens.shape[:-2], places, batch), dtype=tokens.dtype)
        more[..., :length, :, :, :] = values if times == 1 else np.repeat(values, times, axis=-1)
        read[..., :length, :] = np.repeat(tokens, times, axis=-1)
        return Memory(self.weights, more, read, length)


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

    def knows(self, params: Params) -> bool:
        """Return whether the memory was begun with these very arrays: what was folded of them is used again."""
        return self.memory is not None and all(params.get(k) is array for k, array in self.memory.weights.of.items())


def start(params: Params, prompt: Array, layers: int, heads: int) -> tuple[Cache, Array]:
    """Read a prompt (..., N, P) token by token: return the cache and the logits (..., N, V) of the next."""
    weights, norm = _folded(params, layers, heads), params["norm"]
    lead = np.broadcast_shapes(norm.shape[:-1], prompt.shape[:-2])
    batch, places, width = prompt.shape[-2], params["position"].shape[-2], norm.shape[-1]
    values = np.empty((layers, 2, *lead, places, heads, width // heads, batch), dtype=norm.dtype)
    memory = Memory(weights, values, np.empty((*lead, places, batch), dtype=np.intp), 0)
    state = _read(memory, np.zeros((*lead, width, batch), dtype=norm.dtype))
    for t in range(prompt.shape[-1]):
        state = _go_on(memory, prompt[..., t])
    return Cache(prompt, memory), _logits(weights, state)


def step(params: Params, cache: Cache, token: Array) -> tuple[Cache, Array]:
    """Read one more token (..., N): return the new cache and the logits (..., N, V) of the next."""
    length, memory = cache.tokens.shape[-1] + 1, cache.memory
    if memory is None:
        raise ValueError("this cache was made while a gradient was traced: start again without one")
    if memory.length != length or length == memory.tokens.shape[-2]:
        memory = memory.copy(length)
    if not cache.knows(params):
        memory.weights = _folded(params, len(memory.values), memory.values.shape[-3])
    state = _go_on(memory, token)
    return Cache(memory.tokens[..., 1 : length + 1, :].swapaxes(-1, -2), memory), _logits(memory.weights, state)


def _folded(params: Params, layers: int, heads: int) -> Weights:
    def centred(name: str) -> Array:
        return params[name] - params[name].mean(axis=-1, keepdims=True)

    def scaled(name: str, gain: str) -> Array:
        return params[name] * params[gain][..., None]

    blocks = []
    for k in range(layers):
        qkv, width = scaled(f"{k}.qkv", f"{k}.norm_1"), params["norm"].shape[-1]
        qkv[..., :width] *= (width / heads) ** -0.5
        block = qkv, centred(f"{k}.out"), scaled(f"{k}.up", f"{k}.norm_2"), centred(f"{k}.down")
        blocks.append(Block(*(matrix.swapaxes(-1, -2) for matrix in block)))
    readout = params["embed"] * params["norm"][..., None, :]
    return Weights(dict(params), centred("embed"), centred("position"), blocks, readout)


def _go_on(memory: Memory, token: Array) -> Array:
    here = memory.tokens[..., memory.length, :]
    here[...] = token
    row = embedding(memory.weights.embed, here[..., None])
    return _read(memory, row.reshape(*row.shape[:-2], row.shape[-1]).swapaxes(-1, -2))


def _read(memory: Memory, row: Array) -> Array:
    """Take the next place of the memory for a token, whose embedding is `row` (..., D, N); return its state."""
    heads, size, batch = memory.values.shape[-3:]
    here, read = memory.length, slice(memory.length + 1)
    x = np.add(row, memory.weights.position[..., here, :, None], order="C")
    for block, (keys, values) in zip(memory.weights.blocks, memory.values, strict=True):
        parts = np.matmul(block.qkv, _norm(x)).reshape(*x.shape[:-2], 3, heads, size, batch)
        keys[..., here, :, :, :], values[..., here, :, :, :] = parts[..., 1, :, :, :], parts[..., 2, :, :, :]
        heard = _attend(parts[..., 0, :, :, :], keys[..., read, :, :, :], values[..., read, :, :, :])
        x = x + np.matmul(block.out, heard.reshape(x.shape))
        x += np.matmul(block.down, gelu(np.matmul(block.up, _norm(x))))
    memory.length += 1
    return x


def _attend(query: Array, keys: Array, values: Array) -> Array:
    """Return what queries (..., H, D / H, N) hear of the places (..., T, H, D / H, N)."""
    weights = np.einsum("...thdn,...hdn->...thn", keys, query)
    if max(weights.max(), -weights.min()) > SMALL:
        weights -= weights.max(axis=-3, keepdims=True)
    np.exp(weights, out=weights)
    heard = np.einsum("...thn,...thdn->...hdn", weights, values)
    heard /= weights.sum(axis=-3)[..., None, :]
    return heard


def _norm(x: Array) -> Array:
    """Return states (..., D, N), whose mean is 0, divided by their deviations."""
    scale = np.einsum("...dn,...dn->...n", x, x)
    scale /= x.shape[-2]
    scale += EPS
    return x / np.sqrt(scale)[..., None, :]


def _logits(weights: Weights, state: Array) -> Array:
    return np.matmul(weights.readout, _norm(state)).swapaxes(-1, -2)
