"""Numbers of explorables that need a trained network: best-of-n of a reference, and a round of PPO."""

from functools import cache

import numpy as np
from explorable_worlds import levels

from rlhf_lab.experiments import policy_gradients as studies
from rlhf_lab.methods import best_of_n as drawn
from rlhf_lab.methods import ppo
from rlhf_lab.models import lm
from rlhf_lab.numerics import optim
from rlhf_lab.numerics.autodiff import Array

COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
FIRST = 3  # of the counts, at the start
ROUNDS, PASSES, SHOWN = 5, 4, 100  # rounds before the one that is shown, its passes, and its answers that are shown
SETTINGS = {"prompts": 512, "minibatch": 256, "value_weight": 0.1}


@cache
def best_of_n() -> dict:
    """Return the levels of the network's answers to each question, and how often each question is asked."""
    task, _ = studies.pretrained()
    questions = [levels(log_pi_0, reward) for log_pi_0, reward in zip(task.log_pi_0, task.rewards, strict=True)]
    return {"start": task.mdp.start.tolist(), "questions": questions, "counts": COUNTS, "first": FIRST}


def best_of_n_still(numbers: dict) -> str:
    """Tell what best of n earns at the start."""
    n, told = COUNTS[FIRST], []
    for question in numbers["questions"]:
        mass, reward = np.array(question["mass"]), np.array(question["reward"])
        log_pi_n = drawn.log_best_of_n(np.log(mass), reward, n)
        told.append((np.exp(log_pi_n) @ reward, lm.kl(log_pi_n, np.log(mass))))
    earned, kl = numbers["start"] @ np.array(told)
    return (
        f"Best of {n} earns {earned:.2f} at {kl:.2f} nats. The bound on its divergence is {drawn.kl_bound(n):.2f} nats."
    )


@cache
def clip() -> dict:
    """Return advantages of tokens of one round of PPO, and their ratios after each pass, (passes + 1, tokens)."""
    task, pretrained = studies.pretrained()
    critic, begin = studies.CRITIC, studies.CRITIC.head(pretrained)
    adam = optim.adam(0.01)

    def train(params: optim.Params, epochs: int, rounds: int, seed: int) -> optim.Params:
        loss, collect = ppo.ppo(task, critic, epochs=epochs, **SETTINGS)
        return optim.fit(loss, params, collect, rounds=rounds, optimizer=adam, rng=np.random.default_rng(seed))[0]

    begin = train(begin, PASSES, ROUNDS, 0)
    # The answers are drawn before they are shuffled, so runs that differ in their passes share them.
    _, collect = ppo.ppo(task, critic, epochs=1, **SETTINGS | {"minibatch": SETTINGS["prompts"]})
    batch = next(iter(collect(begin, np.random.default_rng(1)))).rows(np.arange(SHOWN))
    written = batch.mask == 1

    def ratios(params: optim.Params) -> Array:
        now = lm.token_log_prob(studies.NETWORK, params, batch.prompt, batch.response)
        return np.exp(now - batch.log_old)[written]

    passes = [ratios(begin), *(ratios(train(begin, epochs, 1, 1)) for epochs in range(1, PASSES + 1))]
    return {"advantage": batch.advantage[written].round(4).tolist(), "ratio": np.array(passes).round(6).tolist()}


def clip_still(numbers: dict) -> str:
    """Tell how many tokens are clipped after the last pass."""
    ratio, advantage = np.array(numbers["ratio"][-1]), np.array(numbers["advantage"])
    flat = np.where(advantage > 0, ratio > 1.2, ratio < 0.8)
    outside = np.abs(ratio - 1) > 0.2
    return (
        f"After {PASSES} passes over one batch, the ratios of {outside.sum()} of {len(ratio)} tokens lie outside "
        f"1 ± 0.2. The gradient of {flat.sum()} of them is zero."
    )
