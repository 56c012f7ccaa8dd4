"""The algorithms of the book run unchanged on a tiny GPT, and come near the same exact optimum."""

from functools import partial

import numpy as np
import pytest

from rlhf_lab.feedback import likelihoods, pairs, reward_models
from rlhf_lab.methods import direct, group_losses, grpo, ilhf, ppo, rollouts
from rlhf_lab.models import gibbs, lm
from rlhf_lab.models.critics import ReaderCritic
from rlhf_lab.models.gpt import GPT
from rlhf_lab.numerics import optim
from rlhf_lab.worlds import phrase_world as world
from rlhf_lab.worlds.token_mdp import TokenMDP

MODEL = GPT(world.VOCAB, width=16, layers=2, heads=2, context=5, eos=world.EOS)
START = MODEL.init(np.random.default_rng(0))
TASK = rollouts.Task(TokenMDP(world.PROMPTS, world.START, world.reward, world.VOCAB, 2, world.EOS), (MODEL, START), 1.0)
BEFORE = TASK.gap(TASK.log_pi(MODEL, START))


def trained(loss, collect, start, rounds, step_size=0.01):
    optimizer, rng = optim.adam(step_size), np.random.default_rng(1)
    return optim.fit(loss, start, collect, rounds=rounds, optimizer=optimizer, rng=rng)[0]


def gap(params):
    assert {value.dtype for value in params.values()} == {np.dtype(np.float32)}
    return TASK.gap(TASK.log_pi(MODEL, params))


def test_ppo():
    critic = ReaderCritic(MODEL)
    found = trained(*ppo.ppo(TASK, critic, prompts=256, minibatch=128, epochs=4), critic.head(START), 40)
    assert gap(found) < BEFORE / 10


def test_grpo():
    pair = grpo.grpo(
        TASK, MODEL, prompts=32, answers=16, price=group_losses.k3_with_ratio, advantages=group_losses.mean_advantages
    )
    assert gap(trained(*pair, START, 100)) < BEFORE / 5


def every_pair(answers, rewards):
    """All pairs of all answers to each prompt, with the share of people who prefer the first."""
    first, second = np.triu_indices(len(answers), 1)
    prompt = np.repeat(world.PROMPTS, len(first), axis=0)
    share = 1 / (1 + np.exp(rewards[:, second] - rewards[:, first]))
    return prompt, np.tile(answers[first], (4, 1)), np.tile(answers[second], (4, 1)), share.ravel()


@pytest.fixture(scope="module")
def asked():
    return every_pair(lm.enumerate_responses(world.VOCAB, 2, world.EOS), TASK.rewards)


def test_dpo(asked):
    prompt, chosen, rejected, share = asked
    batch = pairs.compare(MODEL, START, prompt, chosen, rejected, share)
    rows = optim.minibatches(tuple(batch), 512)
    collect = lambda params, rng: (pairs.PreferenceBatch(*part) for part in rows(params, rng))  # noqa: E731
    found = trained(direct.preference_loss(MODEL, partial(direct.dpo, beta=1.0)), collect, START, 5, 0.005)
    assert gap(found) < BEFORE / 10


def test_ilhf():
    people = lambda prompt, response: world.reward(prompt, response)  # noqa: E731
    draw = lambda rng: world.PROMPTS[rng.integers(4, size=256)]  # noqa: E731
    settings = {"horizon": 2, "rounds": 120, "optimizer": optim.adam(0.01), "rng": np.random.default_rng(2)}
    found, _ = ilhf.finetune(MODEL, START, ilhf.inclusive, draw, people, **settings)
    target = lm.log_softmax(TASK.rewards)
    before, after = (lm.kl(TASK.log_pi(MODEL, params), target).mean() for params in (START, found))
    assert after < before / 5


def test_a_reward_model_on_a_gpt_learns_what_people_prefer(asked):
    model = reward_models.Network(MODEL)
    prompt, chosen, rejected, share = asked

    def loss(params, batch):
        prompt, first, second, share = batch
        margin = model.reward(params, prompt, first) - model.reward(params, prompt, second)
        return likelihoods.bradley_terry_loss(margin, share)

    rows = optim.minibatches((prompt, chosen, rejected, share), 512)
    found = trained(loss, rows, model.init(np.random.default_rng(3)), 2, 0.005)
    learned = model.every_reward(found, world.PROMPTS, 2)
    assert np.corrcoef(learned.ravel(), TASK.rewards.ravel())[0, 1] > 0.95


def test_pretraining_comes_near_the_exact_optimum_of_imitation():
    """Cloning the Gibbs policy: cross-entropy on its exact samples, its KL by enumeration."""
    rng = np.random.default_rng(4)
    answers = lm.enumerate_responses(world.VOCAB, 2, world.EOS)
    p = np.exp(gibbs.log_policy(TASK.log_pi_0, TASK.rewards, TASK.beta))
    drawn = np.concatenate([answers[rng.choice(len(answers), size=1000, p=row)] for row in p])
    rows = optim.minibatches((np.repeat(world.PROMPTS, 1000, axis=0), drawn), 250)
    found = trained(lambda params, batch: lm.negative_log_likelihood(MODEL, params, *batch), rows, START, 10)
    assert gap(found) < BEFORE / 10
