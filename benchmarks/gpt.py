"""The same GPT in three ways: ours, PyTorch eager, JAX compiled; and sampling from it with a cache.

PyTorch gets its own fused kernels: layer norm, GELU, scaled dot-product attention, cross-entropy.
"""

import autograd.numpy as anp
import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from autograd import value_and_grad

from rlhf_lab.models import lm
from rlhf_lab.models.gpt import GPT

SIZES = {"vocab": 64, "width": 64, "layers": 2, "heads": 4, "context": 64}


def world(dtype: str, batch: int = 32, **sizes: int):
    """Return a model, parameters and texts of `context` tokens."""
    sizes = SIZES | sizes
    model, rng = GPT(**sizes, dtype=dtype), np.random.default_rng(0)
    return model, model.init(rng), rng.integers(model.vocab, size=(batch, model.context))


def ours(model: GPT, params: dict, tokens: np.ndarray):
    """Return a function that computes loss and gradients of a batch of texts with this package."""
    prompt = np.zeros((len(tokens), 0), dtype=int)
    both = value_and_grad(lambda p: anp.sum(lm.negative_log_likelihood(model, p, prompt, tokens)))

    def run():
        value, grads = both(params)
        return float(value), [grads[name] for name in params]

    return run


def _torch_norm(x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x, gain.shape, gain)


def _torch_feed(x: torch.Tensor, p: dict, k: int) -> torch.Tensor:
    return x + F.gelu(_torch_norm(x, p[f"{k}.norm_2"]) @ p[f"{k}.up"], approximate="tanh") @ p[f"{k}.down"]


def torch_eager(model: GPT, params: dict, tokens: np.ndarray):
    """Return a function that computes the same with PyTorch."""
    p = {name: torch.tensor(value, requires_grad=True) for name, value in params.items()}
    x, (batch, length), size = torch.tensor(tokens), tokens.shape, model.width // model.heads

    def run():
        state = F.pad(F.embedding(x[:, :-1], p["embed"]), (0, 0, 1, 0)) + p["position"][:length]
        for k in range(model.layers):
            parts = (_torch_norm(state, p[f"{k}.norm_1"]) @ p[f"{k}.qkv"]).view(batch, length, 3, model.heads, size)
            heard = F.scaled_dot_product_attention(*parts.permute(2, 0, 3, 1, 4), is_causal=True)
            state = state + heard.transpose(1, 2).reshape(state.shape) @ p[f"{k}.out"]
            state = _torch_feed(state, p, k)
        logits = _torch_norm(state, p["norm"]) @ p["embed"].T
        value = F.cross_entropy(logits.view(-1, model.vocab), x.view(-1), reduction="sum") / batch
        return value.item(), [g.numpy() for g in torch.autograd.grad(value, list(p.values()))]

    return run


def _jax_norm(x, gain):
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5) * gain


def jax_jit(model: GPT, params: dict, tokens: np.ndarray):
    """Return a function that computes the same with `jax.jit`, compiled before it is timed."""
    (batch, length), size = tokens.shape, model.width // model.heads
    mask = jnp.tril(jnp.ones((length, length), dtype=bool))

    def loss(p, x):
        state = jnp.pad(p["embed"][x[:, :-1]], ((0, 0), (1, 0), (0, 0))) + p["position"][:length]
        for k in range(model.layers):
            parts = (_jax_norm(state, p[f"{k}.norm_1"]) @ p[f"{k}.qkv"]).reshape(batch, length, 3, model.heads, size)
            queries, keys, values = jnp.moveaxis(parts, 2, 0)
            scores = jnp.where(mask, jnp.einsum("nqhd,nkhd->nhqk", queries, keys) * size**-0.5, -jnp.inf)
            heard = jnp.einsum("nhqk,nkhd->nqhd", jax.nn.softmax(scores), values)
            state = state + heard.reshape(state.shape) @ p[f"{k}.out"]
            state = state + jax.nn.gelu(_jax_norm(state, p[f"{k}.norm_2"]) @ p[f"{k}.up"]) @ p[f"{k}.down"]
        log_pi = jax.nn.log_softmax(_jax_norm(state, p["norm"]) @ p["embed"].T)
        return -jnp.take_along_axis(log_pi, x[..., None], -1).sum() / batch

    both, leaves, x = jax.jit(jax.value_and_grad(loss)), jax.tree.map(jnp.asarray, params), jnp.asarray(tokens)

    def run():
        value, grads = jax.block_until_ready(both(leaves, x))
        return float(value), [np.asarray(grads[name]) for name in params]

    return run


def contestants(dtype: str) -> dict:
    """Return the functions of one contest."""
    given = world(dtype)
    return {"ours": ours(*given), "PyTorch eager": torch_eager(*given), "jax.jit": jax_jit(*given)}


def sample_ours(model: GPT, params: dict, count: int):
    """Return a function that draws `count` texts of `context` tokens with this package."""
    rng, prompt = np.random.default_rng(0), np.zeros((count, 0), dtype=int)
    return lambda: lm.sample(model, params, prompt, model.context, rng)


def sample_torch(model: GPT, params: dict, count: int):
    """Return a function that draws as many with PyTorch; keys and values are written to memory that is set aside."""
    p, heads, size = (
        {name: torch.tensor(value) for name, value in params.items()},
        model.heads,
        model.width // model.heads,
    )

    def run():
        with torch.no_grad():
            memory = torch.empty(2, model.layers, count, heads, model.context, size, dtype=p["embed"].dtype)
            tokens = torch.empty(count, model.context, dtype=torch.long)
            state = p["position"][0].expand(count, -1)
            for t in range(model.context):
                for k in range(model.layers):
                    parts = (_torch_norm(state, p[f"{k}.norm_1"]) @ p[f"{k}.qkv"]).view(count, 3, heads, size)
                    memory[0, k, :, :, t], memory[1, k, :, :, t] = parts[:, 1], parts[:, 2]
                    keys, values = memory[:, k, :, :, : t + 1]
                    heard = F.scaled_dot_product_attention(parts[:, 0, :, None], keys, values)
                    state = _torch_feed(state + heard.reshape(count, -1) @ p[f"{k}.out"], p, k)
                weights = torch.softmax(_torch_norm(state, p["norm"]) @ p["embed"].T, -1)
                tokens[:, t] = torch.multinomial(weights, 1)[:, 0]
                if t + 1 < model.context:
                    state = F.embedding(tokens[:, t], p["embed"]) + p["position"][t + 1]
            return tokens.numpy()

    return run


def sampling(count: int) -> dict:
    """Return the functions of the contest in sampling."""
    model, params, _ = world("float32")
    return {"ours": sample_ours(model, params, count), "PyTorch eager": sample_torch(model, params, count)}


GROWTH = {"width": (32, 64, 128), "context": (32, 64, 128), "layers": (1, 2, 4)}


def growth() -> dict:
    """Return our functions at other sizes, one size changed at a time, by (what is changed, to what)."""
    return {
        f"{what} {size}": ours(*world("float32", **{what: size})) for what, sizes in GROWTH.items() for size in sizes
    }
