"""The same mathematics in four ways: ours, PyTorch eager, PyTorch's own RNN, JAX compiled. All in float64.

h' = tanh(W h + E[token]), logits h R, the mean over a batch of log-likelihoods, and its gradient in W, E, R and the
start state. Parameters and data are numpy arrays with leading axes for seeds, or none.
"""

import autograd.numpy as anp
import jax
import jax.numpy as jnp
import numpy as np
import torch
from autograd import value_and_grad

from rlhf_lab import lm
from rlhf_lab.recurrent import Recurrent

jax.config.update("jax_enable_x64", True)
NAMES = ("recurrent", "embed", "readout", "start")


def ours(model: Recurrent, params: dict, tokens: np.ndarray):
    """Return a function that computes value and gradients with this package."""
    prompt = np.zeros((*tokens.shape[:-1], 0), dtype=int)
    both = value_and_grad(lambda p: anp.sum(lm.negative_log_likelihood(model, p, prompt, tokens)))

    def run():
        value, grads = both(params)
        return float(value), [grads[name] for name in NAMES]

    return run


def _torch_params(params: dict) -> list[torch.Tensor]:
    return [torch.tensor(params[name], requires_grad=True) for name in NAMES]


def torch_eager(params: dict, tokens: np.ndarray):
    """Return a function that computes the same with a loop over time in PyTorch."""
    leaves, x = _torch_params(params), torch.tensor(tokens)
    one_hot = torch.nn.functional.one_hot(x, params["embed"].shape[-2]).double()

    def run():
        w, e, r, start = leaves
        drive = one_hot @ (e if e.dim() == 2 else e[:, None])
        back = w.transpose(-1, -2)
        h = start[..., None, :].expand(*x.shape[:-1], start.shape[-1])
        states = [h]
        for t in range(x.shape[-1] - 1):
            h = torch.tanh(h @ back + drive[..., t, :])
            states.append(h)
        logits = torch.stack(states, dim=-2) @ (r if r.dim() == 2 else r[:, None])
        return _torch_finish(torch.log_softmax(logits, dim=-1), x, leaves)

    return run


def torch_rnn(params: dict, tokens: np.ndarray):
    """Return a function that computes the same with `torch.nn.RNN`; no leading axes."""
    x, vocab, hidden = torch.tensor(tokens), *params["embed"].shape
    one_hot = torch.nn.functional.one_hot(x, vocab).double()[:, :-1]
    rnn = torch.nn.RNN(vocab, hidden, bias=False, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(torch.tensor(params["recurrent"]))
        rnn.weight_ih_l0.copy_(torch.tensor(params["embed"].T))
    readout, start = (torch.tensor(params[name], requires_grad=True) for name in ("readout", "start"))
    leaves = [rnn.weight_hh_l0, rnn.weight_ih_l0, readout, start]

    def run():
        first = start.expand(1, len(x), hidden).contiguous()
        states, _ = rnn(one_hot, first)
        states = torch.cat([first.transpose(0, 1), states], dim=1)
        value, grads = _torch_finish(torch.log_softmax(states @ readout, dim=-1), x, leaves)
        return value, [grads[0], grads[1].T, grads[2], grads[3]]

    return run


def _torch_finish(log_pi: torch.Tensor, x: torch.Tensor, leaves: list[torch.Tensor]):
    value = -torch.gather(log_pi, -1, x[..., None])[..., 0].sum(-1).mean(-1).sum()
    grads = torch.autograd.grad(value, leaves)
    return value.item(), [g.numpy() for g in grads]


def jax_jit(params: dict, tokens: np.ndarray):
    """Return a function that computes the same with `jax.jit` and `lax.scan`, compiled before it is timed."""
    x = jnp.asarray(tokens)
    leaves = tuple(jnp.asarray(params[name]) for name in NAMES)

    def loss(leaves, x):
        w, e, r, start = leaves
        one_hot = jax.nn.one_hot(x, e.shape[0], dtype=jnp.float64)

        def step(h, drive):
            h = jnp.tanh(h @ w.T + drive)
            return h, h

        first = jnp.broadcast_to(start, (x.shape[0], start.shape[0]))
        _, states = jax.lax.scan(step, first, jnp.swapaxes(one_hot[:, :-1] @ e, 0, 1))
        states = jnp.concatenate([first[None], states])
        log_pi = jax.nn.log_softmax(states @ r, axis=-1)
        return -jnp.take_along_axis(log_pi, x.T[..., None], axis=-1)[..., 0].sum(0).mean()

    one = loss if params["start"].ndim == 1 else lambda ls, x: jax.vmap(loss)(ls, x).sum()
    both = jax.jit(jax.value_and_grad(one))

    def run():
        value, grads = jax.block_until_ready(both(leaves, x))
        return float(value), [np.asarray(g) for g in grads]

    return run
