"""PyTorch finds the same numbers."""

import numpy as np
import pytest
import torch
from autograd import value_and_grad

from rlhf_lab.models import lm
from rlhf_lab.models.recurrent import Recurrent
from rlhf_lab.numerics import autodiff, optim

pytestmark = pytest.mark.peer


def tensor(array):
    return torch.tensor(array, requires_grad=True)


@pytest.mark.parametrize(("vocab", "prompt_length"), [(2, 0), (7, 3)])
def test_the_likelihood_of_a_recurrent_network_and_its_gradients(agree, vocab, prompt_length):
    rng = np.random.default_rng(0)
    model = Recurrent(vocab, 10)
    params = model.init(rng) | {"start": rng.normal(size=10)}
    prompt, response = rng.integers(vocab, size=(32, prompt_length)), rng.integers(vocab, size=(32, 20))
    loss, grads = value_and_grad(lambda p: lm.negative_log_likelihood(model, p, prompt, response))(params)

    rnn = torch.nn.RNN(vocab, 10, bias=False, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(torch.tensor(params["recurrent"]))
        rnn.weight_ih_l0.copy_(torch.tensor(params["embed"].T))
    readout, start = tensor(params["readout"]), tensor(params["start"])
    text = torch.tensor(np.concatenate([prompt, response], axis=1))
    read = torch.nn.functional.one_hot(text[:, :-1], vocab).double()
    first = start.expand(1, 32, 10).contiguous()
    states = torch.cat([first.transpose(0, 1), rnn(read, first)[0]], dim=1)[:, prompt_length:]
    logits, targets = states @ readout, torch.tensor(response)
    expected = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none").sum(1).mean()
    expected.backward()

    agree("recurrent", loss, expected.item())
    agree("recurrent", grads["recurrent"], rnn.weight_hh_l0.grad)
    agree("recurrent", grads["embed"], rnn.weight_ih_l0.grad.T)
    agree("recurrent", grads["readout"], readout.grad)
    agree("recurrent", grads["start"], start.grad)


def test_log_softmax(agree):
    logits = np.random.default_rng(1).normal(size=(3, 4, 5)) * 10
    agree("log-softmax", autodiff.log_softmax(logits), torch.log_softmax(torch.tensor(logits), -1))


def test_embedding():
    rng = np.random.default_rng(2)
    table, tokens = rng.normal(size=(6, 3)), rng.integers(6, size=(2, 5))
    expected = torch.nn.functional.embedding(torch.tensor(tokens), torch.tensor(table))
    assert autodiff.embedding(table, tokens).tolist() == expected.tolist()


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_fifty_steps_of_an_optimiser(agree, name):
    rng = np.random.default_rng(3)
    params, grads = {"w": rng.normal(size=(3, 4))}, rng.normal(size=(50, 3, 4))
    weight = tensor(params["w"])
    mine = getattr(optim, name)(0.05)
    theirs = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[name]([weight], lr=0.05)
    state = mine.init(params)
    for grad in grads:
        params, state = mine.update(params, {"w": grad}, state)
        weight.grad = torch.tensor(grad)
        theirs.step()
    agree(name, params["w"], weight.detach())
