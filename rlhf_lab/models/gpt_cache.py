"""Keys and values of what a GPT has read, so that one more token costs one step and not a whole text.

N batch    D width    H heads    L layers    V vocabulary    F width of the feed-forward layer

A step is small, so that what counts is how few passes over arrays it makes: all that can be is multiplied into the
matrices once. With x of mean 0, norm(x) is the root of D times x / sqrt(|x|^2 + D EPS). With r = -(SLOPE CUBE)^(1/3),
called ROOT, and v = r u, GELU of u is v / (1 + exp(v (v^2 + MIDDLE))) / r.
"""

import math
from dataclasses import dataclass
from operator import is_
from typing import NamedTuple

import numpy as np

from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.block_parts import CUBE, EPS, SLOPE, SMALL
from rlhf_lab.numerics.optim import Params

ROOM = 4  # places that the copy of a memory has beyond those that are taken: enumeration copies at every token
AT_ONCE = 128  # texts: more, and their keys and values leave the processor's cache
ROOT = -((SLOPE * CUBE) ** (1 / 3))
MIDDLE = -SLOPE / ROOT
LITTLE = math.exp(-SMALL)  # a sum of exponentials between this and one over it has lost no digit


class Block(NamedTuple):
    """The matrices of a block, with gains, roots and what GELU scales by multiplied in."""

    qkv: Array  # (..., D, 3 D)
    out: Array  # (..., D, D)
    up: Array  # (..., D, F)
    down: Array  # (..., F, D)


class Weights(NamedTuple):
    """What a step works with, made once of the parameters `of` a model.

    A layer norm takes the mean of a state off. What is added to states has a mean of 0 here, so that theirs is 0.
    """

    of: Params
    embed: Array  # (M V, D), the tables of all M members below each other
    first: Array  # (..., 1), in which row that of each member begins
    position: Array  # (..., C + 1, D)
    blocks: list[Block]
    readout: Array  # (..., D, V)
    heads: int


class Memory:
    """Keys and values, (L, 2, ..., N, places, D), and the token of each place, (..., N, places).

    The first `length` places are taken. In place 0 there is no token. `queries` (..., N, H, D) are 0 beside the part of
    the width that belongs to a head. `asked` and `told` are these parts, (..., N, H, D / H), of `queries` and `heard`.
    """

    def __init__(self, weights: Weights, values: Array, tokens: Array, length: int) -> None:
        self.weights, self.values, self.tokens, self.length = weights, values, tokens, length
        *batch, places, width = values.shape[2:]
        self.queries, self.heard = np.zeros((2, *batch, weights.heads, width), dtype=values.dtype)
        self.asked, self.told = _own(self.queries), _own(self.heard)
        self.ones = np.ones((places, 1), dtype=values.dtype)

    def copy(self, length: int, times: int = 1) -> "Memory":
        """Return the first `length` places with room for a few more, each text `times` times in a row."""
        values, tokens = self.values[..., :length, :], self.tokens[..., :length]
        places, batch = length + length // 2 + ROOM, tokens.shape[-2] * times
        more = np.empty((*values.shape[:-3], batch, places, values.shape[-1]), dtype=values.dtype)
        read = np.empty((*tokens.shape[:-2], batch, places), dtype=tokens.dtype)
        more[..., :length, :] = values if times == 1 else np.repeat(values, times, axis=-3)
        read[..., :length] = np.repeat(tokens, times, axis=-2)
        return Memory(self.weights, more, read, length)

    def some(self, rows: Array) -> "Memory":
        """Return the memory of some of the texts."""
        values, tokens = np.take(self.values, rows, axis=-3), np.take(self.tokens, rows, axis=-2)
        return Memory(self.weights, values, tokens, self.length)


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

    def keep(self, rows: Array) -> "Cache":
        """Return the cache of some of the texts, by their numbers."""
        memory = self.memory and self.memory.some(rows)
        return Cache(np.take(self.tokens, rows, axis=-2), memory)

    def longer(self, token: Array) -> Array:
        """Return the tokens with one more (..., N) behind them."""
        lead = np.broadcast_shapes(self.tokens.shape[:-1], np.shape(token))
        before = np.broadcast_to(self.tokens, (*lead, self.tokens.shape[-1]))
        return np.concatenate([before, np.broadcast_to(token, lead)[..., None]], axis=-1)

    def knows(self, params: Params) -> bool:
        """Return whether the memory was begun with these very arrays: what was folded of them is used again."""
        of = self.memory.weights.of if self.memory else {}
        return self.memory is not None and all(map(is_, map(params.get, of), of.values()))


def start(params: Params, prompt: Array, layers: int, heads: int) -> tuple[Cache, Array]:
    """Read a prompt (..., N, P) token by token: return the cache and the logits (..., N, V) of the next."""
    weights, norm = _folded(params, layers, heads), params["norm"]
    lead = np.broadcast_shapes(norm.shape[:-1], prompt.shape[:-2])
    batch, places, width = prompt.shape[-2], params["position"].shape[-2], norm.shape[-1]
    values = np.empty((layers, 2, *lead, batch, places, width), dtype=norm.dtype)
    memory = Memory(weights, values, np.empty((*lead, batch, places), dtype=np.intp), 0)
    state = _read(memory, np.zeros((*lead, batch, width), dtype=norm.dtype))
    for t in range(prompt.shape[-1]):
        state = _go_on(memory, prompt[..., t])
    return Cache(prompt, memory), _logits(weights, state)


def step(params: Params, cache: Cache, token: Array) -> tuple[Cache, Array]:
    """Read one more token (..., N): return the new cache and the logits (..., N, V) of the next."""
    length, memory = cache.tokens.shape[-1] + 1, cache.memory
    if memory is None:
        raise ValueError("this cache was made while a gradient was traced: start again without one")
    if memory.length != length or length == memory.tokens.shape[-1]:
        memory = memory.copy(length)
    if not cache.knows(params):
        memory.weights = _folded(params, len(memory.values), memory.weights.heads)
    state = _go_on(memory, token)
    return Cache(memory.tokens[..., 1 : length + 1], memory), _logits(memory.weights, state)


def _folded(params: Params, layers: int, heads: int) -> Weights:
    *lead, vocab, width = params["embed"].shape
    root = width**0.5  # what a norm multiplies by

    def centred(name: str) -> Array:
        return params[name] - params[name].mean(axis=-1, keepdims=True)

    def scaled(name: str, gain: str) -> Array:
        return params[name] * (root * params[gain][..., None])

    blocks = []
    for k in range(layers):
        qkv = scaled(f"{k}.qkv", f"{k}.norm_1")
        qkv[..., :width] *= (width / heads) ** -0.5
        up, down = ROOT * scaled(f"{k}.up", f"{k}.norm_2"), centred(f"{k}.down") / ROOT
        blocks.append(Block(qkv, centred(f"{k}.out"), up, down))
    embed = centred("embed").reshape(-1, width)
    first = vocab * np.arange(len(embed) // vocab).reshape(*lead, 1)
    readout = np.swapaxes(params["embed"] * (root * params["norm"][..., None, :]), -1, -2)
    return Weights(dict(params), embed, first, centred("position"), blocks, readout, heads)


def _go_on(memory: Memory, token: Array) -> Array:
    here = memory.tokens[..., memory.length]
    here[...] = token
    return _read(memory, memory.weights.embed.take(here + memory.weights.first, axis=0))


def _read(memory: Memory, row: Array) -> Array:
    """Take the next place of the memory for a token, whose embedding is `row` (..., N, D); return its state."""
    here, read = memory.length, slice(memory.length + 1)
    width = row.shape[-1]
    x = row + memory.weights.position[..., here, None, :]
    with np.errstate(over="ignore"):  # one over infinity is 0, as it should be
        for block, (keys, values) in zip(memory.weights.blocks, memory.values, strict=True):
            parts = np.matmul(_norm(x), block.qkv)
            keys[..., here, :], values[..., here, :] = parts[..., width : 2 * width], parts[..., 2 * width :]
            memory.asked[...] = parts[..., :width].reshape(memory.asked.shape)
            total = _attend(memory, keys[..., read, :], values[..., read, :])
            x += np.matmul((memory.told / total).reshape(x.shape), block.out)
            x += np.matmul(_gelu(np.matmul(_norm(x), block.up)), block.down)
    memory.length += 1
    return x


def _attend(memory: Memory, keys: Array, values: Array) -> Array:
    """Write what the heads hear of the places (..., N, T, D) of a text, and return what it is to be divided by.

    The query of a head is 0 beside its part: one product a text is quicker than one for each head.
    """
    weights, ones = np.matmul(memory.queries, keys.swapaxes(-1, -2)), memory.ones[: keys.shape[-2]]
    total = _exponentials(weights, ones)
    if total.size and not (total.min() > LITTLE and total.max() < 1 / LITTLE):
        np.matmul(memory.queries, keys.swapaxes(-1, -2), out=weights)
        weights -= weights.max(axis=-1, keepdims=True)
        total = _exponentials(weights, ones)
    np.matmul(weights, values, out=memory.heard)
    return total


def _own(each: Array) -> Array:
    """Return the part of the width that belongs to each head, (..., N, H, D / H), of (..., N, H, D): a view."""
    *batch, heads, width = each.shape
    return np.einsum("...hhd->...hd", each.reshape(*batch, heads, heads, width // heads))


def _exponentials(weights: Array, ones: Array) -> Array:
    """Replace weights (..., H, T) by their exponentials, and return the sum of these for each head, (..., H, 1)."""
    np.exp(weights, out=weights)
    total = np.matmul(weights.reshape(-1, len(ones)), ones)  # faster than a sum
    return total.reshape(*weights.shape[:-1], 1)


def _gelu(v: Array) -> Array:
    divisor = np.square(v)
    divisor += MIDDLE
    divisor *= v
    np.exp(divisor, out=divisor)
    divisor += 1.0
    return np.divide(v, divisor, out=divisor)


def _norm(x: Array) -> Array:
    """Return states (..., N, D), whose mean is 0, divided by their deviations and by the root of D."""
    scale = np.vecdot(x, x)
    scale += EPS * x.shape[-1]
    np.sqrt(scale, out=scale)
    return x / scale[..., None]


def _logits(weights: Weights, state: Array) -> Array:
    return np.matmul(_norm(state), weights.readout)
