"""Both ends of a transformer: what it reads, and what is read off it. Kernels, as those of `transformer`.

N batch    T length    D width    O outputs    V vocabulary
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from autograd.extend import defvjp_argnums

from rlhf_lab.numerics.autodiff import Array, kernel, sum_to
from rlhf_lab.numerics.block_parts import normalise, normalise_back


def _embed_text(embed: Array, position: Array, tokens: Array) -> Array:
    """Return position 0, and behind it position t plus the embedding of token t, (..., N, T + 1, D).

    `embed` (..., V, D), `position` (..., C, D) with C > T, integer `tokens` (..., N, T).
    """
    lead = np.broadcast_shapes(embed.shape[:-2], position.shape[:-2], tokens.shape[:-2])
    (batch, length), width = tokens.shape[-2:], embed.shape[-1]
    found = np.empty((*lead, batch, length + 1, width), dtype=np.result_type(embed, position))
    embed, places = embed.astype(found.dtype, copy=False), position[..., None, : length + 1, :]
    found[..., :1, :] = places[..., :1, :]
    for place in np.ndindex(lead):
        table, read = _at(embed, lead, place), _at(tokens, lead, place)
        np.take(table, read, axis=0, out=found[place][:, 1:], mode="clip")  # the other modes go through a buffer
    found[..., 1:, :] += places[..., 1:, :]
    return found


def _at(array: Array, lead: tuple[int, ...], place: tuple[int, ...]) -> Array:
    return np.broadcast_to(array, lead + array.shape[-2:])[place]


def _embed_text_vjp(argnums: Sequence[int], ans: Array, args: Any, kwargs: Any) -> Callable[[Array], Any]:
    embed, position, tokens = args

    def in_embed(g: Array) -> Array:
        # A product with one-hot rows costs no more than the readout does, and needs no sum over repeated indices.
        flat = tokens.reshape(*tokens.shape[:-2], 1, -1)
        one_hot = (flat == np.arange(embed.shape[-2])[:, None]).astype(g.dtype)
        rows = g[..., 1:, :].reshape(*g.shape[:-3], flat.shape[-1], g.shape[-1])
        return sum_to(np.matmul(one_hot, rows), embed.shape)

    def in_position(g: Array) -> Array:
        found = np.zeros((*g.shape[:-3], *position.shape[-2:]), dtype=g.dtype)
        g.sum(axis=-3, out=found[..., : g.shape[-2], :])
        return sum_to(found, position.shape)

    def vjp(g: Array) -> tuple[Array, ...]:
        g = g.astype(ans.dtype, copy=False)
        return tuple((in_embed, in_position)[k](g) for k in argnums)

    return vjp


embed_text = kernel(_embed_text)
defvjp_argnums(embed_text, _embed_text_vjp)


def _project(x: Array, gain: Array, readout: Array, skip: int = 0) -> Array:
    """Return norm(x) R from place `skip` on, (..., N, T - skip, O); `norm` is layer norm with a gain and no shift.

    `x` (..., N, T, D), `gain` (..., D), `readout` R (..., D, O). In memory, outputs lie before texts.
    """
    x = x[..., skip:, :]
    lead = np.broadcast_shapes(x.shape[:-3], gain.shape[:-1], readout.shape[:-2])
    dtype = np.result_type(x, gain, readout)
    batch, length, width = x.shape[-3:]
    outputs, size = readout.shape[-1], x.size // x.shape[-1]
    memory = np.empty(x.size + size + int(np.prod(lead)) * outputs * batch * length, dtype=dtype)
    hat, scale, logits = _memory(memory, x.shape)
    normalise(x.reshape(-1, width).astype(dtype, copy=False), hat, scale)
    logits = logits.reshape(*lead, outputs, batch * length)
    texts = hat.reshape(*x.shape[:-3], batch * length, width)
    np.matmul((readout * gain[..., None]).swapaxes(-1, -2), texts.swapaxes(-1, -2), out=logits)
    return np.moveaxis(logits.reshape(*lead, outputs, batch, length), -3, -1)


def _memory(memory: Array, shape: tuple[int, ...]) -> tuple[Array, Array, Array]:
    width, rows = shape[-1], int(np.prod(shape[:-1]))
    hat, scale, logits = np.split(memory, [rows * width, rows * (width + 1)])
    return hat.reshape(rows, width), scale.reshape(rows, 1), logits


def _project_vjp(argnums: Sequence[int], ans: Array, args: Any, kwargs: Any) -> Callable[[Array], Any]:
    x, gain, readout, *rest = args
    skip = rest[0] if rest else kwargs.get("skip", 0)
    batch, length, outputs = ans.shape[-3:]
    shape = (*x.shape[:-3], batch, length, x.shape[-1])
    hat, scale, _ = _memory(ans.base, shape)
    texts = hat.reshape(*shape[:-3], batch * length, shape[-1])

    def vjp(g: Array) -> tuple[Array, ...]:
        planes = np.moveaxis(g, -1, -3).reshape(*g.shape[:-3], outputs, batch * length).astype(ans.dtype, copy=False)

        def in_x() -> Array:
            turned = (readout * gain[..., None]).swapaxes(-1, -2)
            rows = sum_to(np.matmul(planes.swapaxes(-1, -2), turned), texts.shape).reshape(hat.shape)
            found = np.zeros(x.shape, dtype=ans.dtype)
            found[..., skip:, :] = normalise_back(rows, hat, scale).reshape(shape)
            return found

        product = np.matmul(planes, texts).swapaxes(-1, -2) if argnums != (0,) else None
        grads = (
            in_x,
            lambda: sum_to((product * readout).sum(axis=-1), gain.shape),
            lambda: sum_to(product * gain[..., None], readout.shape),
        )
        return tuple(grads[k]() for k in argnums)

    return vjp


project = kernel(_project)
defvjp_argnums(project, _project_vjp)
