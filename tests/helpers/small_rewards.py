"""Small reward models that many tests share."""

import numpy as np
import pytest
from small_models import HORIZON, PROMPTS, gpt

from rlhf_lab.feedback import reward_models
from rlhf_lab.models import lm
from rlhf_lab.models.recurrent import Recurrent
from rlhf_lab.models.tabular import Tabular


def linear():
    model = reward_models.Linear(lambda prompt, response: np.stack([response.sum(-1), prompt[..., 0]], -1) / 7, 2, 4)
    return model, {"weights": np.array([0.5, -2.0])}


def table(eos):
    model = reward_models.Table(Tabular(4, HORIZON, tuple(map(tuple, PROMPTS.tolist())), eos))
    params = model.init(None)
    return model, {"rewards": np.random.default_rng(0).normal(size=params["rewards"].shape)}


def network(eos):
    model = reward_models.Network(Recurrent(4, 5, eos))
    params = model.init(np.random.default_rng(1))
    return model, params | {"head": np.random.default_rng(2).normal(size=5)}


def gpt_network(eos):
    model = reward_models.Network(gpt(eos)[0])
    return model, gpt(eos)[1] | {"head": np.random.default_rng(2).normal(size=6)}


REWARD_MODELS = {
    "linear": (*linear(), 3),
    "table": (*table(3), 3),
    "table, no eos": (*table(None), None),
    "network": (*network(3), 3),
    "network, no eos": (*network(None), None),
    "gpt": (*gpt_network(3), 3),
    "gpt, no eos": (*gpt_network(None), None),
}
every_model = pytest.mark.parametrize(("model", "params", "eos"), REWARD_MODELS.values(), ids=REWARD_MODELS)


def batch(eos, n=12):
    rng = np.random.default_rng(9)
    answers = lm.enumerate_responses(4, HORIZON, eos)
    rows = np.array([rng.choice(len(answers), size=2, replace=False) for _ in range(n)])
    label = rng.choice([0.5, 1.0], size=n)
    return PROMPTS[rng.integers(3, size=n)], answers[rows[:, 0]], answers[rows[:, 1]], label
