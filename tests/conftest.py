"""Small worlds that many tests share."""

import matplotlib as mpl
import numpy as np
import pytest

from rlhf_lab import lm
from rlhf_lab.recurrent import Recurrent
from rlhf_lab.tabular import Tabular
from rlhf_lab.token_process import TokenProcess

mpl.use("Agg")

PROMPTS = np.array([[0, 1], [1, 1], [2, 0]])
HORIZON = 3


def tabular(eos):
    model = Tabular(4, HORIZON, tuple(map(tuple, PROMPTS.tolist())), eos)
    return model, {"logits": np.random.default_rng(0).normal(size=(3, model.states, 4))}


def recurrent(eos):
    model = Recurrent(4, 5, eos)
    params = model.init(np.random.default_rng(1))
    return model, params | {"start": np.random.default_rng(2).normal(size=5)}


def process():
    model = TokenProcess(hidden=3, scale=2.0)
    return model, model.init(np.random.default_rng(3))


MODELS = {
    "tabular": tabular(3),
    "tabular, no eos": tabular(None),
    "recurrent": recurrent(3),
    "recurrent, no eos": recurrent(None),
    "token process": process(),
}


@pytest.fixture(params=MODELS, ids=MODELS)
def policy(request):
    """A model, its parameters, and three prompts in its vocabulary."""
    model, params = MODELS[request.param]
    return model, params, PROMPTS % model.vocab if model.vocab < 3 else PROMPTS


@pytest.fixture
def every_answer(policy):
    """Every answer, once for each prompt, and the prompts repeated beside them: (K * A, P), (K * A, T)."""
    model, _, prompts = policy
    answers = lm.enumerate_responses(model.vocab, HORIZON, model.eos)
    return np.repeat(prompts, len(answers), axis=0), np.tile(answers, (len(prompts), 1))
