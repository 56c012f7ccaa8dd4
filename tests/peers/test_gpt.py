"""PyTorch finds the same numbers for the same GPT."""

import autograd.numpy as anp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from autograd import value_and_grad

from rlhf_lab.feedback.reward_models import Network
from rlhf_lab.models import lm
from rlhf_lab.models.gpt import GPT
from rlhf_lab.numerics import optim

pytestmark = pytest.mark.peer
BATCH, PROMPT, LENGTH = 6, 3, 12
PRECISION = {"float32": 1e-5, "float64": 1e-10}
every_precision = pytest.mark.parametrize("dtype", PRECISION)


def setting(dtype):
    rng = np.random.default_rng(0)
    model = GPT(11, width=16, layers=2, heads=4, context=20, eos=10, dtype=dtype)
    params = {n: p + (p.ndim == 1) * rng.normal(0, 0.2, p.shape).astype(dtype) for n, p in model.init(rng).items()}
    return model, params, rng.integers(11, size=(BATCH, PROMPT)), rng.integers(11, size=(BATCH, LENGTH))


def leaves_of(params):
    return {name: torch.tensor(value, requires_grad=True) for name, value in params.items()}


def torch_states(model, p, tokens):
    """The states behind the place before the first token and behind each token, normalised."""
    size, places = model.width // model.heads, tokens.shape[1] + 1
    x = F.pad(F.embedding(tokens, p["embed"]), (0, 0, 1, 0)) + p["position"][:places]
    for k in range(model.layers):
        parts = F.layer_norm(x, (model.width,), p[f"{k}.norm_1"]) @ p[f"{k}.qkv"]
        queries, keys, values = (
            part.view(len(tokens), places, model.heads, size).transpose(1, 2) for part in parts.split(model.width, -1)
        )
        heard = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        x = x + heard.transpose(1, 2).reshape(len(tokens), places, model.width) @ p[f"{k}.out"]
        up = F.layer_norm(x, (model.width,), p[f"{k}.norm_2"]) @ p[f"{k}.up"]
        x = x + F.gelu(up, approximate="tanh") @ p[f"{k}.down"]
    return F.layer_norm(x, (model.width,), p["norm"])


def torch_logits(model, p, prompt, response):
    read = torch.tensor(np.concatenate([prompt, response[:, :-1]], axis=1))
    return torch_states(model, p, read)[:, prompt.shape[1] :] @ p["embed"].T


def torch_loss(model, p, prompt, response):
    logits = torch_logits(model, p, prompt, response)
    each = F.cross_entropy(logits.transpose(1, 2), torch.tensor(response), reduction="none")
    return (each * torch.tensor(lm.response_mask(response, model.eos)).to(each.dtype)).sum(1).mean()


def close(found, expected, dtype):
    """Equal to the precision, counted in units of the largest number, or of 1 if none is larger."""
    expected = np.asarray(expected)
    assert found.dtype == expected.dtype == dtype
    assert np.abs(found - expected).max() <= PRECISION[dtype] * max(1, np.abs(expected).max())


@every_precision
def test_logits(dtype):
    model, params, prompt, response = setting(dtype)
    expected = torch_logits(model, leaves_of(params), prompt, response).detach()
    close(model.logits(params, prompt, response), expected, dtype)
    cache, found = model.start(params, prompt)
    for t in range(LENGTH):
        close(found, expected[:, t], dtype)
        cache, found = model.step(params, cache, response[:, t])


@every_precision
def test_loss_and_gradients(agree, dtype):
    model, params, prompt, response = setting(dtype)
    loss, grads = value_and_grad(lambda p: lm.negative_log_likelihood(model, p, prompt, response))(params)
    leaves = leaves_of(params)
    expected = torch_loss(model, leaves, prompt, response)
    expected.backward()
    close(np.asarray(loss), expected.detach(), dtype)
    for name, leaf in leaves.items():
        close(grads[name], leaf.grad, dtype)
        agree("gpt" if dtype == "float64" else "gpt-single", grads[name], leaf.grad, PRECISION[dtype])


@every_precision
def test_ten_steps_of_adam(dtype):
    model, params, prompt, response = setting(dtype)
    leaves = leaves_of(params)
    theirs = torch.optim.Adam(leaves.values(), lr=1e-3)
    for _ in range(10):
        theirs.zero_grad()
        torch_loss(model, leaves, prompt, response).backward()
        theirs.step()
    trained, _ = optim.fit(
        lambda p, batch: lm.negative_log_likelihood(model, p, *batch),
        params,
        lambda p, rng: [(prompt, response)],
        rounds=10,
        optimizer=optim.adam(1e-3),
        rng=np.random.default_rng(0),
    )
    for name, leaf in leaves.items():
        close(trained[name], leaf.detach(), dtype)
        assert np.abs(trained[name] - params[name]).max() > 1e-3


@every_precision
def test_a_reward_head_and_its_gradients(dtype):
    language, params, prompt, response = setting(dtype)
    model = Network(language)
    params = params | {"head": np.random.default_rng(1).normal(size=16).astype(dtype)}
    leaves = leaves_of(params)
    states = torch_states(language, leaves, torch.tensor(np.concatenate([prompt, response], axis=1)))
    last = PROMPT + lm.response_mask(response, language.eos).sum(1).astype(int)
    expected = states[torch.arange(BATCH), torch.tensor(last)] @ leaves["head"]
    expected.sin().sum().backward()
    close(model.reward(params, prompt, response), expected.detach(), dtype)
    grads = value_and_grad(lambda p: anp.sum(anp.sin(model.reward(p, prompt, response))))(params)[1]
    for name, leaf in leaves.items():
        close(grads[name], leaf.grad, dtype)
