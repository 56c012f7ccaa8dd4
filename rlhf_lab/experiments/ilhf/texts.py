"""Texts of many token processes at once: reading them, writing them, and how likely they are to a readout.

    S worlds (one a seed)    M members    B texts    T tokens of a text    D units    phi readout
    S_t state before token t    x_t token, 0 or 1    z_t its logit

Source: ILHF, section 4.1 and appendix D.
"""

import itertools
from collections.abc import Callable

import numpy as np
from scipy.special import logit

from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params

Vjp = Callable[[Array], Array]
BLOCK = 32_768  # numbers that are worked on at a time: they stay in the cache
TOGETHER = 512  # tokens whose factors, at most 2 each, are multiplied: no overflow


def read(params: Params, state: Array, tokens: Array) -> tuple[Array, Array]:
    """Read tokens (S, T, B) from `state` (S, D, B) on: states before each token, (S, D, T, B), and after the last.

    The torso is one for each world, `recurrent` (S, D, D), or one for each text, (S, D, D, B).
    """
    memory, follow = _memory(params, state, tokens.shape[1])
    memory[:-1, :, -1] = np.moveaxis(2 * tokens - 1, 1, 0)
    for before, after in itertools.pairwise(memory):
        follow(before, after)
    return _states(memory)


def roll(params: Params, scale: float, state: Array, uniform: Array) -> tuple[Array, Array, Array]:
    """Write texts: tokens (S, T, B), and states as in `read`; `uniform` (S, T, B) is the chance of each token.

    `readout` is (S, D, B), one for each text.
    """
    memory, follow = _memory(params, state, uniform.shape[1])
    tokens, odds = np.empty(uniform.shape), logit(uniform)
    for t, (before, after) in enumerate(itertools.pairwise(memory)):
        tokens[:, t] = odds[:, t] < scale * np.einsum("sdb,sdb->sb", params["readout"], before[:, :-1])
        before[:, -1] = 2 * tokens[:, t] - 1
        follow(before, after)
    return tokens, *_states(memory)


def _memory(params: Params, state: Array, length: int) -> tuple[Array, Callable[[Array, Array], None]]:
    """Return room for states with the signed token below each, (T + 1, S, D + 1, B), and what fills the next ones."""
    worlds, units, batch = state.shape
    memory = np.empty((length + 1, worlds, units + 1, batch))  # time first, so that each step works in one piece
    memory[0, :, :-1] = state
    weights = np.concatenate([params["recurrent"], params["embed"][:, :, None]], axis=2)

    def follow(before: Array, after: Array) -> None:
        state = after[:, :-1]
        if weights.ndim == 3:
            np.matmul(weights, before, out=state)
        else:
            np.einsum("sijb,sjb->sib", weights, before, out=state)
        np.tanh(state, out=state)

    return memory, follow


def _states(memory: Array) -> tuple[Array, Array]:
    return np.moveaxis(memory[:-1, :, :-1], 0, 2), memory[-1, :, :-1]


def readout_log_prob(readout: Array, scale: float, states: Array, tokens: Array) -> tuple[Array, Vjp]:
    """Return log pi of texts with known states, (S, M, B), and the function that maps its gradient to that of phi.

    log pi = sum_t x_t z_t - log(1 + exp z_t) with z_t = scale phi . S_t (eq-token-likelihood). `readout` (S, M, D),
    `states` (S, D, T, B), `tokens` (S, T, B). A few tokens at a time, so that the work stays in the cache.
    """
    worlds, members = readout.shape[:2]
    length, batch = tokens.shape[1:]
    # With v = (2 x - 1) z and h = tanh(v / 2), what x_t adds is log sigmoid(v) = min(v, 0) + log(1 + |h|) - log 2, and
    # how much it surprises is 1 - sigmoid(v) = (1 - h) / 2. One logarithm of a product serves several tokens.
    signed = np.swapaxes(scale / 2 * states * (2 * tokens[:, None] - 1), 1, 2)  # v / 2 = phi . signed
    total = signed.sum(1)
    log_pi = np.matmul(readout, total) - length * np.log(2)
    halves = np.empty((worlds, length, members, batch))
    step = min(max(1, BLOCK // (members * batch)), TOGETHER)
    blocks = [(s, slice(t, t + step)) for s in range(worlds) for t in range(0, length, step)]
    for s, t in blocks:
        h = np.matmul(readout[s], signed[s, t], out=halves[s, t])
        size = np.abs(h)
        log_pi[s] -= size.sum(0)
        np.tanh(h, out=h)
        np.abs(h, out=size)
        size += 1
        log_pi[s] += np.log(size.prod(0))

    def vjp(g: Array) -> Array:
        slopes = np.matmul(g, np.swapaxes(total, 1, 2))
        for s, t in blocks:
            slopes[s] -= np.matmul(halves[s, t] * g[s], np.swapaxes(signed[s, t], 1, 2)).sum(0)
        return slopes

    return log_pi, vjp


def begin(params: Params, batch: int) -> Array:
    """Return the start state of each world for each text, (S, D, B)."""
    return np.repeat(params["start"][..., None], batch, axis=-1)


def write(params: Params, scale: float, uniform: Array) -> tuple[Array, Array, Array]:
    """Let each world's process write texts from its start; `uniform` (S, T, B), results as in `roll`."""
    batch = uniform.shape[-1]
    return roll(_per_text(params, batch), scale, begin(params, batch), uniform)


def _per_text(params: Params, batch: int) -> Params:
    return params | {"readout": np.repeat(params["readout"][..., None], batch, axis=-1)}
