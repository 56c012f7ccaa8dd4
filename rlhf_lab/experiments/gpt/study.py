"""A tiny GPT from nothing to each kind of alignment, in a shop whose best policy is known.

Each seed goes the whole way by itself: it hears talk, is shown answers, has pairs of its answers compared, learns a
reward from them, and is then aligned from there in each way. Whatever the way, the reference is the language itself, so
that all are after one optimum, pi* of `shop.BETA`.

The step sizes of each way are multiples of `IN_ROUNDS`, or of `STEP_SIZES["pairs"]`. Four settings of each were tried
on the seeds 1000 and 1001, `TRIED`: all on the first, the best two on the second. `CHOSEN` is nearest to pi* on both.

    pi policy    pi* Gibbs policy    p language, the reference    R reward    beta KL weight
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import autograd.numpy as anp
import numpy as np
from numpy.random import Generator

from rlhf_lab.experiments.gpt.measures import COOLER, Judge, best_of, cooled, how_right, judged
from rlhf_lab.experiments.gpt.stages import (
    BATCH,
    GPT_SIZE,
    STEP_SIZES,
    Pairs,
    asked,
    cut,
    heard,
    length,
    model,
    overheard,
    read,
    reward_model,
    train,
    world,
)
from rlhf_lab.experiments.runner import Numbers, Study, in_blocks
from rlhf_lab.feedback import pairs
from rlhf_lab.feedback.reward_models import Network
from rlhf_lab.methods import direct, group_losses, grpo, ilhf, policy_gradient, ppo
from rlhf_lab.methods.rollouts import Collect, Loss, Task
from rlhf_lab.models import lm
from rlhf_lab.models.critics import ReaderCritic
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params
from rlhf_lab.worlds import shop

TALK, ANSWERS, PAIRS = 72_000, 72_000, 16_384
ROUNDS, LOOKS = 96, 8  # of a policy that learns from its own answers, and how often its distance is measured
WRITTEN = 192  # answers a round
IN_ROUNDS = [0.001, 0.001, 0.0005, 0.0002]  # step sizes of four quarters
TRIED: dict[str, dict[str, list[float]]] = {  # multiples of step sizes, and weights of an SFT term or of an anchor
    "PPO": {"step_size": [1 / 2, 1, 2, 4]},
    "GRPO": {"step_size": [1 / 2, 1, 2, 4]},
    "DPO, own answers": {"step_size": [1 / 2, 1, 2, 4]},
    "DPO": {"step_size": [1 / 16, 1 / 4, 1, 4]},
    "DPO with SFT": {"step_size": [1, 4], "weight": [0.1, 0.3]},
    "ILHF, own answers": {"step_size": [1 / 16, 1 / 4], "weight": [0, 0.1]},
    "ILHF, people who talk": {"step_size": [1 / 16, 1 / 4], "weight": [0, 0.1]},
}
CHOSEN: dict[str, dict[str, float]] = {
    "PPO": {"step_size": 2},
    "GRPO": {"step_size": 2},
    "DPO, own answers": {"step_size": 2},
    "DPO": {"step_size": 1 / 4},
    "DPO with SFT": {"step_size": 4, "weight": 0.1},
    "ILHF, own answers": {"step_size": 1 / 16, "weight": 0},
    "ILHF, people who talk": {"step_size": 1 / 16, "weight": 0},
}
LONG = {name: max(TRIED[name]["step_size"]) for name in ("DPO", "ILHF, people who talk")}
FEW, MANY = 12, 60  # texts to a question that measure a distance: on the way, at an end


def by_pairs(loss: Loss, params: Params, compared: Pairs, rng: Generator, times: float) -> Params:
    """Let pairs train the policy, with `times` the step sizes of `STEP_SIZES`."""
    for step_size in STEP_SIZES["pairs"]:
        params, _ = train(loss, params, compared.collect(compared.some), times * step_size, rng)
    return params


def ilhf_loss(start: Params, weight: float) -> Loss:
    """Return the loss of ILHF of a batch of comparisons (eq-ilhf-loss), with an anchor to `start` (eq-anchor)."""

    def loss(params: Params, batch: pairs.PreferenceBatch) -> Array:
        prompt, answers = np.concatenate([batch.prompt] * 2), np.concatenate([batch.chosen, batch.rejected])
        first, second = anp.split(lm.log_prob(model(), params, prompt, answers), 2)  # one pass costs less than two
        held = sum(ilhf.anchor(params[name].ravel(), value.ravel(), weight) for name, value in start.items())
        return ilhf.loss(first, second, batch.label) + held

    return loss


def own_answers(judge: Judge) -> Collect:
    """Return a `collect` of comparisons of two answers of the current policy, in four batches a round."""

    def collect(params: Params, rng: Generator) -> Iterable[pairs.PreferenceBatch]:
        compared = asked(params, WRITTEN // 2, judge, rng)
        for rows in np.split(np.arange(WRITTEN // 2), 4):
            yield compared.some(rows, compared.longest[rows].max())

    return collect


def by_rounds(loss: Loss, collect: Collect, params: Params, rng: Generator, times: float) -> tuple[Params, Numbers]:
    """Let a policy learn from its own answers for `ROUNDS` rounds, with `times` the step sizes of `IN_ROUNDS`; return
    it, and what was seen, each (1, LOOKS).

    `gap` with its `error`, and the true `reward`, are measured on the way; `paid` is the mean over the rounds before of
    the reward that the policy is trained for, if it is trained for one.
    """
    seen: dict[str, list[float]] = {}
    for k in range(LOOKS):
        step_size = times * IN_ROUNDS[k * len(IN_ROUNDS) // LOOKS]
        params, told = train(loss, params, collect, step_size, rng, rounds=ROUNDS // LOOKS)
        found = judged(params, FEW, np.random.default_rng([k, 1]))
        look = {name: float(found[name][0]) for name in ("gap", "error", "reward")}
        if "reward" in told[0]:
            look["paid"] = float(np.mean([record["reward"] for record in told]))
        for name, value in look.items():
            seen.setdefault(name, []).append(value)
    return params, {name: np.array([values]) for name, values in seen.items()}


def rloo(task: Task) -> tuple[Loss, Collect]:
    """Return GRPO as it is here: groups of eight, mean of the others as baseline, the divergence in the reward."""
    settings: dict[str, Any] = {"advantages": policy_gradient.rloo_advantages, "mean": group_losses.by_constant(1.0)}
    settings |= {"answers": 8, "in_reward": True, "minibatch": WRITTEN // 4}
    return _shorter(grpo.grpo(task, model(), prompts=WRITTEN // 8, **settings))


def proximal(task: Task) -> tuple[Loss, Collect]:
    """Return PPO as it is here."""
    settings: dict[str, Any] = {"minibatch": WRITTEN // 4, "epochs": 1, "value_weight": 0.1}
    return _shorter(ppo.ppo(task, ReaderCritic(model()), prompts=WRITTEN, **settings))


def _shorter(pair: tuple[Loss, Collect]) -> tuple[Loss, Collect]:
    loss, collect = pair
    return loss, lambda params, rng: map(cut, collect(params, rng))


def _judge(learned: Params) -> Judge:
    """The learned reward, a few answers of about one length at a time: little is spent on what stands behind ends."""
    reward = partial(Network(model()).reward, learned)

    def judge(prompt: Array, response: Array) -> Array:
        found, lengths = np.empty(len(response)), length(response)
        order = np.argsort(lengths, kind="stable")
        for rows in np.split(order, range(BATCH, len(order), BATCH)):
            found[rows] = reward(prompt[rows], response[rows, : lengths[rows[-1]]])
        return found

    return judge


def _log_best(prompt: Array, response: Array) -> Array:
    return lm.log_prob(*world().best, prompt, response)


def everything(seeds: Sequence[int]) -> Numbers:
    """Go the whole way once, with one seed."""
    (seed,) = seeds
    shown, own = world(), model()
    rng = {name: np.random.default_rng([seed, k]) for k, name in enumerate(STAGES)}
    talker = read(own.init(rng["talk"]), overheard(TALK, rng["talk"]), STEP_SIZES["talk"], rng["talk"])
    start = read(talker, heard(ANSWERS, rng["answers"]), STEP_SIZES["answers"], rng["answers"])
    compared = asked(start, PAIRS, shop.reward, rng["pairs"])
    learned = reward_model(start, compared, rng["reward"])
    paid = replace(shown.task, mdp=replace(shown.task.mdp, reward=_judge(learned)))
    found = {"after talk": talker, "after answers": start}
    ways: dict[str, Numbers] = {}
    dpo = direct.preference_loss(own, partial(direct.dpo, beta=shop.BETA))
    with_sft = direct.with_sft(own, partial(direct.dpo, beta=shop.BETA), CHOSEN["DPO with SFT"]["weight"])
    asking = ilhf_loss(start, CHOSEN["ILHF, own answers"]["weight"])
    at_hand = ilhf_loss(start, CHOSEN["ILHF, people who talk"]["weight"])
    critic = ReaderCritic(own).head(start)
    times = {name: tuned["step_size"] for name, tuned in CHOSEN.items()}
    for name, begin, (loss, collect), step_size in (
        ("PPO", critic, proximal(paid), times["PPO"]),
        ("PPO, true reward", critic, proximal(shown.task), times["PPO"]),
        ("PPO, a tenth of the price", critic, proximal(replace(paid, beta=shop.BETA / 10)), times["PPO"]),
        ("GRPO", start, rloo(paid), times["GRPO"]),
        ("DPO, own answers", start, (dpo, own_answers(shop.reward)), times["DPO, own answers"]),
        ("ILHF, own answers", start, (asking, own_answers(_log_best)), times["ILHF, own answers"]),
    ):
        found[name], ways[name] = by_rounds(loss, collect, begin, rng[name], step_size)
    as_they_talk = asked(start, PAIRS, _log_best, rng["ILHF, people who talk"])
    for name, loss, heard_of, step_size in (
        ("DPO", dpo, compared, times["DPO"]),
        ("DPO, long steps", dpo, compared, LONG["DPO"]),
        ("DPO with SFT", with_sft, compared, times["DPO with SFT"]),
        ("ILHF", at_hand, compared, times["ILHF, people who talk"]),
        ("ILHF, people who talk", at_hand, as_they_talk, times["ILHF, people who talk"]),
        ("ILHF, long steps", ilhf_loss(start, 0), as_they_talk, LONG["ILHF, people who talk"]),
    ):
        found[name] = by_pairs(loss, start, heard_of, rng[name], step_size)
    ends = {name: judged(params, MANY, np.random.default_rng([seed, 99])) for name, params in found.items()}
    ends["language"] = judged(shown.language[1], MANY, np.random.default_rng([seed, 99]), shown.language[0])
    cooler = {name: judged(cooled(params), MANY, np.random.default_rng([seed, 96])) for name, params in found.items()}
    return {
        "ends": ends,
        "cooler": {name: {key: end[key] for key in end if key != "said"} for name, end in cooler.items()},
        "ways": ways,
        "best of n": {
            "learned": best_of(start, _judge(learned), np.random.default_rng([seed, 98])),
            "true": best_of(start, shop.reward, np.random.default_rng([seed, 98])),
        },
        "reward": how_right(_judge(learned), start, np.random.default_rng([seed, 97])),
    }


STAGES = (
    "talk",
    "answers",
    "pairs",
    "reward",
    "PPO",
    "PPO, true reward",
    "PPO, a tenth of the price",
    "GRPO",
    "DPO, own answers",
    "DPO",
    "DPO with SFT",
    "ILHF, own answers",
    "ILHF",
    "ILHF, people who talk",
    "DPO, long steps",
    "ILHF, long steps",
)
SETTINGS: dict[str, Any] = {
    "size": GPT_SIZE,
    "texts": [TALK, ANSWERS, PAIRS, BATCH],
    "step_sizes": STEP_SIZES,
    "rounds": [ROUNDS, WRITTEN, IN_ROUNDS],
    "tried": TRIED,
    "chosen": CHOSEN,
    "long": LONG,
    "cooler": COOLER,
    "beta": shop.BETA,
}
STUDY: Study = in_blocks(everything, 1, SETTINGS)
