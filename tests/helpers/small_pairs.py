"""Two prompts with four answers each, their rewards, the Gibbs policy, and all comparisons of them."""

import numpy as np
from scipy.special import expit

from rlhf_lab.feedback import pairs
from rlhf_lab.models import gibbs, lm
from rlhf_lab.models.tabular import Tabular
from rlhf_lab.numerics import optim

BETA = 0.5
REWARD = np.random.default_rng(0).normal(size=(2, 4))  # two prompts, four answers
LOG_PI_0 = np.log(np.random.default_rng(1).dirichlet(np.ones(4), size=2))
STAR = gibbs.log_policy(LOG_PI_0, REWARD, BETA)
MODEL = Tabular(4, 1, ((0,), (1,)))
REFERENCE = {"logits": LOG_PI_0[:, None]}


def all_pairs(label=None, model=MODEL, reference=REFERENCE):
    """All ordered pairs of different answers to both prompts, with the share of people who prefer the first."""
    first, second = (index.ravel() for index in np.nonzero(1 - np.eye(4)))
    prompt, first, second = np.repeat([0, 1], 12), np.tile(first, 2), np.tile(second, 2)
    p = expit(REWARD[prompt, first] - REWARD[prompt, second]) if label is None else label
    return pairs.compare(model, reference, prompt[:, None], first[:, None], second[:, None], p)


def trained(loss, batch, rounds, step_size, start=REFERENCE):
    found, _ = optim.fit(
        loss,
        start,
        lambda params, rng: [batch],
        rounds=rounds,
        optimizer=optim.sgd(step_size),
        rng=np.random.default_rng(0),
    )
    return lm.log_softmax(found["logits"][..., 0, :])
