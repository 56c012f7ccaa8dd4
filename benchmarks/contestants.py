"""The same mathematics in five ways: ours, PyTorch tuned and plain, its own RNN, JAX compiled. All in float64.

h' = tanh(W h + E[token]), logits h R, the mean over a batch of log-likelihoods, and its gradient in W, E, R and the
start state. Parameters and data are numpy arrays with leading axes for seeds, or none.
"""

from functools import partial

import autograd.numpy as anp
import jax
import jax.numpy as jnp
import numpy as np
import torch
from autograd import value_and_grad

from rlhf_lab.feedback import pairs
from rlhf_lab.methods import direct, ppo
from rlhf_lab.methods.rollouts import Task
from rlhf_lab.models import lm
from rlhf_lab.models.critics import ReaderCritic
from rlhf_lab.models.recurrent import Recurrent
from rlhf_lab.numerics import optim

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
    return _eager(_torch_params(params), params, tokens)


def torch_plain(params: dict, tokens: np.ndarray):
    """Return a function that computes the same as most people would write it: texts first, one slice for each step."""
    leaves, x = _torch_params(params), torch.tensor(tokens)

    def run():
        w, e, r, start = leaves
        h, drive = start.expand(len(x), -1), torch.nn.functional.embedding(x, e)
        states = [h]
        for t in range(x.shape[1] - 1):
            h = torch.tanh(drive[:, t] + h @ w.T)
            states.append(h)
        return _torch_finish(torch.log_softmax(torch.stack(states, dim=1) @ r, dim=-1), x, leaves)

    return run


def _eager(leaves: list[torch.Tensor], params: dict, tokens: np.ndarray):
    log_pi, x = _eager_log_softmax(leaves, params, tokens)
    return lambda: _torch_finish(log_pi(), x, leaves)


def _eager_log_softmax(leaves: list[torch.Tensor], params: dict, tokens: np.ndarray):
    # Time first, and the inputs of all steps split by one `unbind`: the gradient of a slice at each step would fill an
    # array of the size of the whole text with zeros, which makes the cost quadratic in the length.
    x = torch.tensor(tokens)
    one_hot = torch.nn.functional.one_hot(x.movedim(-1, 0)[:-1], params["embed"].shape[-2]).double()
    step = torch.addmm if x.dim() == 2 else torch.baddbmm

    def run():
        w, e, r, start = leaves
        back = w.transpose(-1, -2)
        h = start[..., None, :].expand(*x.shape[:-1], start.shape[-1])
        states = [h]
        for drive in (one_hot @ e).unbind(0):
            h = torch.tanh(step(drive, h, back))
            states.append(h)
        log_pi = torch.log_softmax(torch.stack(states) @ r, dim=-1)
        return log_pi.movedim(0, -2)

    return run, x


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


def _jax_loss(leaves, x):
    # Features before batch, as in our kernels: the fastest of six ways to write it for JAX.
    w, e, r, start = leaves
    one_hot = (x.T[:, None] == jnp.arange(e.shape[0])[:, None]) * 1.0

    def step(h, read):
        h = jnp.tanh(w @ h + e.T @ read)
        return h, h

    first = jnp.broadcast_to(start[:, None], (start.shape[0], x.shape[0]))
    _, states = jax.lax.scan(step, first, one_hot[:-1])
    log_pi = jax.nn.log_softmax(r.T @ jnp.concatenate([first[None], states]), axis=1)
    return -jnp.sum(log_pi * one_hot) / x.shape[0]


def jax_jit(params: dict, tokens: np.ndarray):
    """Return a function that computes the same with `jax.jit` and `lax.scan`, compiled before it is timed."""
    x = jnp.asarray(tokens)
    leaves = tuple(jnp.asarray(params[name]) for name in NAMES)

    one = _jax_loss if params["start"].ndim == 1 else lambda ls, x: jax.vmap(_jax_loss)(ls, x).sum()
    both = jax.jit(jax.value_and_grad(one))

    def run():
        value, grads = jax.block_until_ready(both(leaves, x))
        return float(value), [np.asarray(g) for g in grads]

    return run


def sample_ours(model: Recurrent, params: dict, count: int, length: int):
    """Return a function that draws `count` texts with this package."""
    prompt, rng = np.zeros((count, 0), dtype=int), np.random.default_rng(0)
    return lambda: lm.sample(model, params, prompt, length, rng)


def sample_torch(params: dict, count: int, length: int):
    """Return a function that draws `count` texts with PyTorch."""
    w, e, r, start = (torch.tensor(params[name]) for name in NAMES)

    def run():
        with torch.no_grad():
            h, texts = start.expand(count, len(start)), []
            for _ in range(length):
                texts.append(torch.multinomial(torch.softmax(h @ r, dim=-1), 1)[:, 0])
                h = torch.tanh(h @ w.T + e[texts[-1]])
            return torch.stack(texts, dim=1).numpy()

    return run


def sample_jax(params: dict, count: int, length: int):
    """Return a function that draws `count` texts with JAX, compiled."""
    w, e, r, start = (jnp.asarray(params[name]) for name in NAMES)

    @jax.jit
    def draw(key):
        def step(h, key):
            token = jax.random.categorical(key, h @ r)
            return jnp.tanh(h @ w.T + e[token]), token

        first = jnp.broadcast_to(start, (count, len(start)))
        return jax.lax.scan(step, first, jax.random.split(key, length))[1].T

    key = jax.random.key(0)
    return lambda: np.asarray(jax.block_until_ready(draw(key)))


def enumerate_ours(model: Recurrent, params: dict, horizon: int):
    """Return a function that computes the log-probability of every answer with this package."""
    prompt = np.zeros((1, 1), dtype=int)
    return lambda: lm.answer_log_probs(model, params, prompt, horizon)[0]


def enumerate_torch(params: dict, horizon: int):
    """Return a function that computes the same with PyTorch, level by level of the tree of prefixes."""
    w, e, r, start = (torch.tensor(params[name]) for name in NAMES)
    words = len(e) - 1

    def run():
        with torch.no_grad():
            h = torch.tanh(start @ w.T + e[0])[None]
            total, blocks = torch.zeros(1, dtype=torch.float64), []
            for t in range(horizon):
                longer = total[:, None] + torch.log_softmax(h @ r, dim=-1)
                blocks.append(longer[:, words])
                total = longer[:, :words].reshape(-1)
                if t + 1 < horizon:
                    h = torch.tanh((h @ w.T)[:, None] + e[:words]).reshape(-1, len(start))
            return torch.cat([*blocks, total]).numpy()

    return run


def enumerate_jax(params: dict, horizon: int):
    """Return a function that computes the same with JAX, compiled."""
    leaves = tuple(jnp.asarray(params[name]) for name in NAMES)
    words = len(params["embed"]) - 1

    @jax.jit
    def every(w, e, r, start):
        h, total, blocks = jnp.tanh(start @ w.T + e[0])[None], jnp.zeros(1), []
        for t in range(horizon):
            longer = total[:, None] + jax.nn.log_softmax(h @ r, axis=-1)
            blocks.append(longer[:, words])
            total = longer[:, :words].reshape(-1)
            if t + 1 < horizon:
                h = jnp.tanh((h @ w.T)[:, None] + e[:words]).reshape(-1, len(start))
        return jnp.concatenate([*blocks, total])

    return lambda: np.asarray(jax.block_until_ready(every(*leaves)))


def pretrain_ours(model: Recurrent, params: dict, tokens: np.ndarray, steps: int):
    """Return a function that takes `steps` steps of Adam on all seeds at once with this package."""
    prompt = np.zeros((*tokens.shape[:-1], 0), dtype=int)

    def run():
        trained, _ = optim.fit(
            lambda p, batch: lm.negative_log_likelihood(model, p, prompt, batch),
            params,
            lambda p, rng: [tokens],
            rounds=steps,
            optimizer=optim.adam(1e-2),
            rng=np.random.default_rng(0),
        )
        return [trained[name] for name in NAMES]

    return run


def pretrain_torch(params: dict, tokens: np.ndarray, steps: int):
    """Return a function that does the same with PyTorch."""

    def run():
        leaves = _torch_params(params)
        step, adam = _eager(leaves, params, tokens), torch.optim.Adam(leaves, lr=1e-2)
        for _ in range(steps):
            for leaf, grad in zip(leaves, step()[1], strict=True):
                leaf.grad = torch.from_numpy(grad)
            adam.step()
        return [leaf.detach().numpy() for leaf in leaves]

    return run


def pretrain_jax(params: dict, tokens: np.ndarray, steps: int):
    """Return a function that does the same with JAX, one compiled step at a time."""
    x, first = jnp.asarray(tokens), tuple(jnp.asarray(params[name]) for name in NAMES)

    @jax.jit
    def step(t, leaves, m, v):
        grads = jax.grad(lambda ls: jax.vmap(_jax_loss)(ls, x).sum())(leaves)
        m = tuple(0.9 * a + 0.1 * g for a, g in zip(m, grads, strict=True))
        v = tuple(0.999 * a + 0.001 * g**2 for a, g in zip(v, grads, strict=True))
        down = [a / (1 - 0.9**t) / (jnp.sqrt(b / (1 - 0.999**t)) + 1e-8) for a, b in zip(m, v, strict=True)]
        return tuple(p - 1e-2 * d for p, d in zip(leaves, down, strict=True)), m, v

    def run():
        leaves, m, v = first, *(tuple(jnp.zeros_like(p) for p in first) for _ in range(2))
        for t in range(1, steps + 1):
            leaves, m, v = step(float(t), leaves, m, v)
        return [np.asarray(leaf) for leaf in jax.block_until_ready(leaves)]

    return run


def dpo_ours(model: Recurrent, params: dict, reference: dict, chosen: np.ndarray, rejected: np.ndarray):
    """Return a function that computes the DPO loss of a batch and its gradients with this package."""
    prompt = np.zeros((*chosen.shape[:-1], 0), dtype=int)
    batch = pairs.compare(model, reference, prompt, chosen, rejected)
    both = value_and_grad(direct.preference_loss(model, partial(direct.dpo, beta=0.1)))

    def run():
        value, grads = both(params, batch)
        return float(value), [grads[name] for name in NAMES]

    return run


def dpo_torch(model: Recurrent, params: dict, reference: dict, chosen: np.ndarray, rejected: np.ndarray):
    """Return a function that computes the same with PyTorch; chosen and rejected go through the network together."""
    texts = np.concatenate([chosen, rejected])
    leaves = _torch_params(params)
    log_pi, x = _eager_log_softmax(leaves, params, texts)
    known = torch.tensor(lm.log_prob(model, reference, np.zeros((len(texts), 0), dtype=int), texts))

    def run():
        log_ratio = torch.gather(log_pi(), -1, x[..., None])[..., 0].sum(-1) - known
        u_w, u_l = log_ratio.chunk(2)
        value = -torch.nn.functional.logsigmoid(0.1 * (u_w - u_l)).mean()
        return value.item(), [g.numpy() for g in torch.autograd.grad(value, leaves)]

    return run


def ppo_ours(task: Task, critic: ReaderCritic, params: dict, batch: ppo.TokenBatch):
    """Return a function that computes the loss of PPO on a minibatch, and its gradients, with this package."""
    count = batch.response.shape[-2]
    loss, _ = ppo.ppo(task, critic, prompts=count, minibatch=count, epochs=1)
    both = value_and_grad(lambda p: anp.sum(loss(p, batch).loss))

    def run():
        value, grads = both(params)
        return float(value), [grads[name] for name in (*NAMES, "value")]

    return run


def ppo_torch(params: dict, batch: ppo.TokenBatch):
    """Return a function that computes the same with a loop over time in PyTorch; seeds on one leading axis."""
    leaves = [*_torch_params(params), torch.tensor(params["value"], requires_grad=True)]
    read = torch.tensor(np.concatenate([batch.prompt, batch.response[..., :-1]], axis=-1))
    one_hot = torch.nn.functional.one_hot(read.movedim(-1, 0), params["embed"].shape[-2]).double()
    response, mask, log_old, advantage, returns = (
        torch.tensor(column) for column in (batch.response, batch.mask, batch.log_old, batch.advantage, batch.returns)
    )
    skipped = batch.prompt.shape[-1] - 1

    def run():
        w, e, r, start, v = leaves
        back, states = w.transpose(-1, -2), []
        h = start[:, None, :].expand(*read.shape[:-1], start.shape[-1])
        for drive in (one_hot @ e).unbind(0):
            h = torch.tanh(torch.baddbmm(drive, h, back))
            states.append(h)
        seen = torch.stack(states[skipped:], dim=-2)
        log_pi = torch.log_softmax(seen @ r[:, None], dim=-1)
        log_pi = torch.gather(log_pi, -1, response[..., None])[..., 0] * mask
        values = (seen @ v[:, None, :, None])[..., 0]
        ratio = torch.exp(log_pi - log_old)
        gain = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage) * mask
        wrong = (values - returns) ** 2 * mask
        total = (0.25 * wrong.sum(-1).mean(-1) - gain.sum(-1).mean(-1)).sum()
        return total.item(), [g.numpy() for g in torch.autograd.grad(total, leaves)]

    return run
