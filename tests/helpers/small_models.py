"""Small policies that many tests share."""

import numpy as np

from rlhf_lab.models.automaton import Automaton
from rlhf_lab.models.gpt import GPT
from rlhf_lab.models.recurrent import Recurrent
from rlhf_lab.models.tabular import Tabular
from rlhf_lab.models.tied import Tied
from rlhf_lab.worlds.token_process import TokenProcess

PROMPTS = np.array([[0, 1], [1, 1], [2, 0]])
HORIZON = 3


def tabular(eos):
    model = Tabular(4, HORIZON, tuple(map(tuple, PROMPTS.tolist())), eos)
    return model, {"logits": np.random.default_rng(0).normal(size=(3, model.states, 4))}


def tied(eos):
    table, _ = tabular(eos)
    rng = np.random.default_rng(4)
    model = Tied(table, rng.integers([0, 5], [5, 9], size=(3 * table.states, 2)))  # one of 5 rows and one of 4
    return model, {"rows": rng.normal(size=(9, 4)) / 2**0.5}


def recurrent(eos):
    model = Recurrent(4, 5, eos)
    params = model.init(np.random.default_rng(1))
    return model, params | {"start": np.random.default_rng(2).normal(size=5)}


def gpt(eos):
    model = GPT(4, width=6, layers=2, heads=2, context=5, eos=eos, dtype="float64")
    rng = np.random.default_rng(5)
    return model, {name: rng.normal(size=shape) / shape[0] ** 0.5 for name, shape in model.shapes().items()}


def process():
    model = TokenProcess(hidden=3, scale=2.0)
    return model, model.init(np.random.default_rng(3))


def automaton():
    rng = np.random.default_rng(5)
    model = Automaton(PROMPTS, rng.integers(5, size=(3, 5, 4)), HORIZON)
    return model, {name: rng.normal(size=value.shape) for name, value in model.init(rng).items()}


MODELS = {
    "tabular": tabular(3),
    "tabular, no eos": tabular(None),
    "tied": tied(3),
    "tied, no eos": tied(None),
    "recurrent": recurrent(3),
    "recurrent, no eos": recurrent(None),
    "gpt": gpt(3),
    "gpt, no eos": gpt(None),
    "token process": process(),
    "automaton": automaton(),
}
