"""RLHF from end to end: demonstrations, comparisons, a reward model, PPO. Everything on the way is kept.

pi_0 reference, after supervised fine-tuning    R_phi learned reward    pi policy    beta KL weight
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from numpy.random import Generator

from rlhf_lab.feedback import annotators, likelihoods, preferences, reward_models
from rlhf_lab.feedback.preferences import Preferences
from rlhf_lab.methods import ppo
from rlhf_lab.methods.rollouts import Task
from rlhf_lab.models import lm
from rlhf_lab.models.critics import Critic
from rlhf_lab.numerics import checks, optim
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params
from rlhf_lab.worlds.token_mdp import TokenMDP


class Stages(NamedTuple):
    """What each stage left: parameters after SFT, comparisons, parameters of the reward model, the task, the policy.

    `task` holds the learned reward; `gold`, its twin, the true one. `last` has the last record of each stage:
    its loss and, for PPO, its diagnostics.
    """

    sft: Params
    pairs: Preferences
    reward: Params
    task: Task
    gold: Task
    policy: Params
    last: dict[str, dict[str, Any]]


def rlhf(
    mdp: TokenMDP,
    critic: Critic,
    pretrained: Params,
    demonstrations: tuple[Array, Array],
    annotator: Callable[[Array], Array],
    reward_model: reward_models.RewardModel,
    *,
    comparisons: int,
    beta: float,
    rng: Generator,
    sft_rounds: int = 20,
    reward_rounds: int = 200,
    ppo_rounds: int = 40,
) -> Stages:
    """Run SFT, collect comparisons, fit the reward model, and optimise it with PPO (InstructGPT, Ouyang et al. 2022).

    `demonstrations` are prompts and answers, of at most H tokens; `annotator` maps the margins R(x, y) - R(x, y') of
    the true reward to the probability that the first is preferred, as `annotators.bradley_terry` does. Raises
    `ValueError`, before any work, if a number of rounds or of comparisons is below 1, if beta is not above 0, if the
    critic speaks another language or if the demonstrations do not fit the MDP.
    """
    model = critic.language
    start = Task(mdp, (model, pretrained), beta)
    counts = {"sft_rounds": sft_rounds, "reward_rounds": reward_rounds, "ppo_rounds": ppo_rounds}
    for name, count in (counts | {"comparisons": comparisons}).items():
        checks.count(name, count, "how many there are to be")
    shown, said = (checks.tokens("demonstrations", part, mdp.vocab) for part in demonstrations)
    checks.same_batch(shown, said)
    if said.shape[-1] > mdp.horizon:
        raise ValueError(f"a demonstration has {said.shape[-1]} tokens; the horizon of the MDP is {mdp.horizon}")

    def imitate(params: Params, batch: tuple[Array, Array]) -> Array:
        return lm.negative_log_likelihood(model, params, *batch)

    demonstrated = optim.minibatches((shown, said), 64)
    sft, told = optim.fit(imitate, pretrained, demonstrated, rounds=sft_rounds, optimizer=optim.adam(0.003), rng=rng)

    prompt = mdp.prompts[rng.choice(len(mdp.prompts), comparisons, p=mdp.start)]
    first, second = preferences.draw_pairs(model, sft, prompt, mdp.horizon, rng)
    margin = mdp.reward(prompt, first) - mdp.reward(prompt, second)
    label = annotators.sample_labels(annotator(margin), rng)
    pairs = preferences.from_labels(prompt, first, second, label, mdp.vocab)

    loss = likelihoods.preference_loss(reward_model, likelihoods.bradley_terry_loss)
    reward, judged = optim.fit(
        loss,
        reward_model.init(rng),
        lambda params, rng: [pairs.columns],
        rounds=reward_rounds,
        optimizer=optim.adam(0.03),
        rng=rng,
    )

    gold = replace(start, reference=(model, sft))
    learned = replace(mdp, reward=lambda prompt, response: reward_model.reward(reward, prompt, response))
    task = replace(gold, mdp=learned)
    ppo_loss, collect = ppo.ppo(task, critic, prompts=512, minibatch=256, epochs=4, value_weight=0.1)
    policy, earned = optim.fit(
        ppo_loss,
        critic.head(sft),
        collect,
        rounds=ppo_rounds,
        optimizer=optim.adam(0.01),
        rng=rng,
    )
    last = {"sft": told[-1], "reward": judged[-1], "ppo": earned[-1]}
    return Stages(sft, pairs, reward, task, gold, policy, last)
