"""The coin: one prompt, one answer of one token, everything in closed form.

Token 0 stands for the paper's -1, token 1 for its 1. Source: ILHF, section 2.3 and appendix B.

The trap: the pretrained model says 1 less often than people want it. Staying close to it can then only ever
understate 1; had it overstated 1, one KL weight would be exactly right, by luck.
"""

import numpy as np

from rlhf_lab.models.tabular import Tabular
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params
from rlhf_lab.worlds.token_mdp import TokenMDP

PRETRAINED = 0.23
PEOPLE = 1 / 3
PROMPTS = np.ones((1, 10), dtype=np.intp)
HORIZON = 1


def model() -> Tabular:
    """Return the model of this world, a table with a single row."""
    return Tabular(vocab=2, horizon=HORIZON, prompts=tuple(map(tuple, PROMPTS.tolist())))


def params(probability: Array) -> Params:
    """Return the parameters of `model()` that say 1 with this probability (...), strictly between 0 and 1."""
    p = np.asarray(probability)
    if not ((p > 0) & (p < 1)).all():
        raise ValueError(f"the probability of saying 1 must lie strictly between 0 and 1; got {probability}")
    return {"logits": np.stack([np.log1p(-p), np.log(p)], axis=-1)[..., None, None, :]}


def probability(params: Params) -> Array:
    """Return the probability (...) with which the model says 1."""
    logits = params["logits"][..., 0, 0, :]
    return np.exp(-np.logaddexp(0.0, logits[..., 0] - logits[..., 1]))


def reward(prompt: Array, response: Array) -> Array:
    """Return log l(y), nats, shape (..., N): the log-probability that people want the answer y. ILHF, appendix B."""
    return np.log(np.where(np.asarray(response)[..., 0] == 1, PEOPLE, 1 - PEOPLE))


def mdp() -> TokenMDP:
    """Return this world as an MDP: one prompt, one token, reward log l(y)."""
    return TokenMDP(PROMPTS, np.ones(1), reward, vocab=2, horizon=HORIZON)
