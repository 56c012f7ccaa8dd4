"""A task so small that every sample of a few answers can be listed: 2 prompts, 7 answers each."""

import itertools

import numpy as np

from rlhf_lab.methods.rollouts import Task
from rlhf_lab.models import lm
from rlhf_lab.models.tabular import Tabular
from rlhf_lab.worlds.token_mdp import TokenMDP

PROMPTS = np.array([[0], [1]])
START = np.array([0.3, 0.7])
MODEL = Tabular(3, 2, ((0,), (1,)), eos=2)
ANSWERS = lm.enumerate_responses(3, 2, 2)
REWARDS = np.random.default_rng(5).normal(size=(2, len(ANSWERS)))
REFERENCE = {"logits": np.random.default_rng(6).normal(size=(2, MODEL.states, 3))}
POLICY = {"logits": np.random.default_rng(7).normal(size=(2, MODEL.states, 3))}
BETA = 0.4


def reward(prompt, response):
    return REWARDS[prompt[..., 0], lm.answer_index(response, 3, 2)]


def task(beta=BETA):
    return Task(TokenMDP(PROMPTS, START, reward, 3, 2, 2), (MODEL, REFERENCE), beta)


def log_pi(params):
    """Return log pi of every answer, (2, 7); differentiable."""
    return lm.answer_log_probs(MODEL, params, PROMPTS, 2)


def optimum():
    """Return parameters of the Gibbs policy: conditional log-probabilities, prefix by prefix."""
    best = np.exp(task().log_optimum)
    logits = np.empty((2, MODEL.states, 3))
    for k, row in enumerate(best):
        mass = {tuple(a): p for a, p in zip(ANSWERS.tolist(), row, strict=True)}
        first = [sum(p for a, p in mass.items() if a[0] == token) for token in range(3)]
        logits[k, 0] = np.log(first)
        for token in range(2):
            logits[k, 1 + token] = np.log([mass[token, following] for following in range(3)])
    return {"logits": logits}


def samples(count):
    """Return every way to draw `count` answers, as indices (7^count, count)."""
    return np.array(list(itertools.product(range(len(ANSWERS)), repeat=count)))
