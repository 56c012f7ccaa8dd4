"""A task so small that every sample of a few answers can be listed: 2 prompts, 7 answers each."""

import itertools

import numpy as np

from rlhf_lab.methods import actor_critic
from rlhf_lab.methods.rollouts import Task
from rlhf_lab.models import lm
from rlhf_lab.models.critics import TabularCritic
from rlhf_lab.models.tabular import Tabular
from rlhf_lab.worlds import token_mdp
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


def all_answers(params):
    """Every answer to every prompt as one batch, with the weight rho(x) pi(y | x) of each."""
    prompt, response = np.repeat(PROMPTS, 7, axis=0), np.tile(ANSWERS, (2, 1))
    weight = (START[:, None] * np.exp(log_pi(params))).ravel()
    log_p, log_p_0 = (lm.token_log_prob(MODEL, p, prompt, response) for p in (params, REFERENCE))
    mask = lm.response_mask(response, 2)
    rewards = actor_critic.kl_rewards(reward(prompt, response), log_p, log_p_0, mask, BETA)
    return prompt, response, mask, weight, rewards


def exact_values(params, prompt, response):
    """V of the regularised reward at every state, by a sweep over the tree, looked up along each answer."""
    levels, reference = (lm.policy_levels(MODEL, p, PROMPTS, 2) for p in (params, REFERENCE))
    paid = [r - BETA * (a - b) for r, a, b in zip(task().mdp.token_rewards(), levels, reference, strict=True)]
    v = token_mdp.policy_evaluation(levels, paid, eos=2).v
    table = {"logits": REFERENCE["logits"], "value": np.concatenate(v, axis=-1)}
    return TabularCritic(MODEL).judge(table, prompt, response)[1]
