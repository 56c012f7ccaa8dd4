"""The same mathematics in four ways: ours, PyTorch eager, PyTorch's own RNN, JAX compiled. All in float64.

h' = tanh(W h + E[token]), logits h R, the mean over a batch of log-likelihoods, and its gradient in W, E, R and the
start state. Parameters and data are numpy arrays with leading axes for seeds, or none.
"""

from dataclasses import replace
from functools import cache

import autograd.numpy as anp
import jax
import jax.numpy as jnp
import numpy as np
import torch
from autograd import value_and_grad

from rlhf_lab import ilhf, ilhf_agents, ilhf_worlds, lm, optim
from rlhf_lab.ilhf_worlds import Setting
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
    return _eager(_torch_params(params), params, tokens)


def _eager(leaves: list[torch.Tensor], params: dict, tokens: np.ndarray):
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
        return _torch_finish(log_pi.movedim(0, -2), x, leaves)

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


def ilhf_ours(setting: Setting, members: int, episodes: int):
    """Return a function that runs episodes of Ensemble-ILHF in five worlds with this package: the last readouts."""
    worlds, agent, seeds = _worlds(setting), _agent(members), range(5)
    short = replace(worlds, setting=replace(setting, episodes=episodes, every=episodes + 1))
    return lambda: [ilhf_agents.finetune(agent, short, seeds)[0]["readout"]]


def ilhf_torch(setting: Setting, members: int, episodes: int):
    """Return a function that does the same in PyTorch, with loops over time, frozen states and autograd for readouts.

    Chance comes from the same generators, so that both meet the same prompts, coins and votes.
    """
    worlds, agent, seeds, s = _worlds(setting), _agent(members), range(5), setting.scale
    start = torch.tensor(ilhf_agents.start(agent, worlds, seeds)["readout"])
    ideal, shadow, torso = (_tensors(params) for params in (worlds.ideal, worlds.shadow, worlds.pretrained))

    def roll(params, state, readout=None, chance=None, tokens=None):
        length, states, written = (tokens if chance is None else chance).shape[1], [], []
        for t in range(length):
            states.append(state)
            if tokens is None:
                x = (chance[:, t] < torch.sigmoid(s * (readout * state).sum(1))).double()
                written.append(x)
            else:
                x = tokens[:, t]
            drive = params["embed"][..., None] * (2 * x[:, None] - 1)
            state = torch.tanh(torch.baddbmm(drive, params["recurrent"], state))
        return torch.stack(states, 2), torch.stack(written, 1) if written else tokens, state

    def log_prob(phi, states, tokens):
        z = s * torch.einsum("smd,sdtb->smtb", phi, states)
        return (tokens[:, None] * z - torch.nn.functional.softplus(z)).sum(2)

    def begin(params, count):
        return params["start"][..., None].expand(-1, -1, count).contiguous()

    def run():
        luck = [[np.random.default_rng([seed, stream]) for seed in seeds] for stream in (1, 2)]
        phi = start.clone().requires_grad_()
        adam = torch.optim.Adam([phi], lr=agent.step_size)
        n, length = setting.pairs, setting.length

        def draw(*shape):
            return torch.tensor(ilhf_worlds.uniform(luck[0], *shape))

        for _ in range(episodes):
            with torch.no_grad():
                mean = shadow["readout"][..., None]
                _, prompt, after = roll(shadow, begin(shadow, n), mean, chance=draw(length, n))
                member = (members * draw(n)).long()
                chance = draw(length, 2 * n)
                both = torch.cat([member, member], 1)
                readout = torch.take_along_dim(phi, both[..., None], 1).swapaxes(1, 2)
                _, _, state = roll(torso, begin(torso, 2 * n), tokens=torch.cat([prompt, prompt], 2))
                states, answer, _ = roll(torso, state, readout, chance=chance)
                seen, _, _ = roll(ideal, torch.cat([after, after], 2), tokens=answer)
                reward = log_prob(ideal["readout"][:, None], seen, answer)[:, 0]
                label = (draw(n) < torch.sigmoid(reward[:, :n] - reward[:, n:])).double()
                coins = [ilhf.double_or_nothing((members, n), rng) for rng in luck[1]]
                weight = torch.tensor(np.stack(coins))
            log_pi = log_prob(phi, states, answer)
            margin = (log_pi[..., :n] - log_pi[..., n:]) * (2 * label[:, None] - 1)
            loss = (weight * torch.nn.functional.softplus(-margin)).mean(-1).sum()
            loss = loss + agent.eta * ((phi - start) ** 2).sum()
            adam.zero_grad()
            loss.backward()
            adam.step()
        return [phi.detach().numpy().copy()]

    return run


def _agent(members: int) -> ilhf_agents.Agent:
    return ilhf_agents.Agent(members=members, prior=0.01, eta=1.0, perturb=True)


@cache
def _worlds(setting: Setting) -> ilhf_worlds.Worlds:
    return ilhf_worlds.prepare(setting, range(5))


def _tensors(params: dict) -> dict:
    return {name: torch.tensor(value) for name, value in params.items()}
