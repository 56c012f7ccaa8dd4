"""A tiny GPT from nothing to each kind of alignment, in a shop whose best policy is known.

Each seed goes the whole way by itself: it hears talk, is shown answers, has pairs of its answers compared, learns a
reward from them, and is then aligned from there in each way. Whatever the way, the reference is the language itself, so
that all are after one optimum, pi* of `shop.BETA`. Step sizes were chosen on seeds from 100 on.

    pi policy    pi* Gibbs policy    p language, the reference    R reward    beta KL weight
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from rlhf_lab.experiments.runner import Numbers, Study, in_blocks
from rlhf_lab.feedback import annotators, likelihoods, pairs, preferences
from rlhf_lab.feedback.reward_models import Network
from rlhf_lab.methods import best_of_n, direct, group_losses, grpo, ilhf, policy_gradient, ppo
from rlhf_lab.methods.rollouts import Collect, Loss, Task
from rlhf_lab.models import lm
from rlhf_lab.models.critics import ReaderCritic
from rlhf_lab.models.gpt import GPT
from rlhf_lab.numerics import optim
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.batches import by_length
from rlhf_lab.numerics.optim import Params
from rlhf_lab.worlds import shop

GPT_SIZE = {"width": 64, "layers": 2, "heads": 4}
BATCH = 32  # texts, or pairs
TALK, ANSWERS, PAIRS = 72_000, 72_000, 16_384
STEP_SIZES = {  # of each pass over its share of the texts, or over all pairs
    "talk": (0.005, 0.0015),
    "answers": (0.003, 0.001, 0.0003),
    "reward": (0.001, 0.001, 0.0003),
    "pairs": (0.0003, 0.0001),
}
ROUNDS, LOOKS = 96, 8  # of a policy that learns from its own answers, and how often its distance is measured
WRITTEN = 192  # answers a round
IN_ROUNDS = (0.001, 0.001, 0.0005, 0.0002)  # step sizes of four quarters
SFT_WEIGHT = 0.1
DRAWS = (1, 2, 4, 8, 12, 16, 32, 64)  # of best-of-n
SHOWN = 2  # texts to a question that are stored
FEW, MANY, CROWD = 12, 60, 400  # texts to a question: on the way, at an end, for best-of-n


class Shop(NamedTuple):
    """The task, the language and its best policy as models with their parameters, and what the latter is worth."""

    task: Task
    language: tuple[lm.LanguageModel, Params]
    best: tuple[lm.LanguageModel, Params]
    worth: Array  # J* of each question


@cache
def world() -> Shop:
    """Return the shop as a task."""
    mdp = shop.mdp()
    language, best = (mdp.model, mdp.reference()), (mdp.model, mdp.gibbs(shop.BETA))
    return Shop(Task(shop.token_mdp(), language, shop.BETA), language, best, shop.BETA * best[1]["values"][:, 0, 0])


def model() -> GPT:
    """Return the GPT."""
    mdp = world().task.mdp
    width, layers, heads = GPT_SIZE.values()
    return GPT(mdp.vocab, width, layers, heads, context=mdp.prompts.shape[1] + mdp.horizon, eos=mdp.eos)


def length(response: Array) -> Array:
    """Return the number of tokens of each response (N, T), `<eos>` too: integers (N,)."""
    return lm.response_mask(response, shop.EOS).sum(-1).astype(int)


def train(
    loss: Loss, params: Params, collect: Collect, step_size: float, rng: Generator, rounds: int = 1, **settings: Any
) -> tuple[Params, list[dict[str, Any]]]:
    """Train as everything here is trained: with Adam, whose memory of squares is short, as there are few steps."""
    optimizer = optim.adam(step_size, b2=0.99)
    return optim.fit(loss, params, collect, rounds=rounds, optimizer=optimizer, rng=rng, **settings)


def read(params: Params, texts: tuple[Array, Array], step_sizes: Sequence[float], rng: Generator) -> Params:
    """Fit `texts`, questions and answers, with a step size for each share of them."""

    def loss(params: Params, batch: tuple[Array, Array]) -> Array:
        return lm.negative_log_likelihood(model(), params, *batch)

    for k, step_size in enumerate(step_sizes):
        prompt, response = (part[k :: len(step_sizes)] for part in texts)
        batch = partial(_cut, prompt, response)
        params, _ = train(loss, params, by_length(length(response), BATCH, batch), step_size, rng)
    return params


def _cut(prompt: Array, response: Array, rows: Array, longest: int) -> tuple[Array, Array]:
    return prompt[rows], response[rows, :longest]


def heard(size: int, rng: Generator) -> tuple[Array, Array]:
    """Return `size` questions, each equally often, and an answer of the language to each."""
    shown = world()
    prompt = np.repeat(shown.task.mdp.prompts, size // len(shown.worth), axis=0)
    return prompt, lm.sample(*shown.language, prompt, shop.HORIZON, rng)


def overheard(size: int, rng: Generator) -> tuple[Array, Array]:
    """Return answers behind questions that somebody else asked: talk from which only talking can be learned."""
    prompt, response = heard(size, rng)
    return prompt[rng.permutation(len(prompt))], response


class Pairs(NamedTuple):
    """Answers to compare, `chosen` preferred, and what the language says of them, as `pairs.compare` returns it."""

    batch: pairs.PreferenceBatch

    def some(self, rows: Array, longest: int) -> pairs.PreferenceBatch:
        """Return some of the comparisons, cut behind the end of the longest answer."""
        found = pairs.PreferenceBatch._make(column[rows] for column in self.batch)
        return found._replace(chosen=found.chosen[:, :longest], rejected=found.rejected[:, :longest])

    def collect(self, batch: Callable[[Array, int], Any]) -> Collect:
        """Return a `collect` of batches of about one length."""
        longest = np.maximum(length(self.batch.chosen), length(self.batch.rejected))
        return by_length(longest, BATCH, batch)


def asked(params: Params, size: int, judge: Callable[[Array, Array], Array], rng: Generator) -> Pairs:
    """Draw two answers to each of `size` questions, and let people who value them by `judge` choose one."""
    shown = world()
    prompt = shown.task.mdp.prompts[rng.integers(len(shown.worth), size=size)]
    first, second = preferences.draw_pairs(model(), params, prompt, shop.HORIZON, rng)
    margin = judge(prompt, first) - judge(prompt, second)
    label = annotators.sample_labels(annotators.bradley_terry(margin), rng)
    found = preferences.from_labels(prompt, first, second, label, shop.VOCAB)
    return Pairs(pairs.compare(*shown.language, found.prompt, found.chosen, found.rejected))


def reward_model(params: Params, compared: Pairs, rng: Generator) -> Params:
    """Fit a reward model that begins as the policy `params`."""
    network = Network(model())
    learned = params | {"head": np.zeros_like(params["norm"])}
    loss = likelihoods.preference_loss(network, likelihoods.bradley_terry_loss)

    def batch(rows: Array, longest: int) -> tuple[Array, ...]:
        found = compared.some(rows, longest)
        return found.prompt, found.chosen, found.rejected, found.label

    for step_size in STEP_SIZES["reward"]:
        learned, _ = train(loss, learned, compared.collect(batch), step_size, rng)
    return learned


def by_pairs(loss: Loss, params: Params, compared: Pairs, rng: Generator) -> Params:
    """Let pairs train the policy."""
    for step_size in STEP_SIZES["pairs"]:
        params, _ = train(loss, params, compared.collect(compared.some), step_size, rng)
    return params


def ilhf_loss(params: Params, batch: pairs.PreferenceBatch) -> Array:
    """Return the loss of ILHF of a batch of comparisons (eq-ilhf-loss)."""
    first, second = (lm.log_prob(model(), params, batch.prompt, y) for y in (batch.chosen, batch.rejected))
    return ilhf.loss(first, second, batch.label)


def own_answers(judge: Callable[[Array, Array], Array]) -> Collect:
    """Return a `collect` of comparisons of two answers of the current policy, in four batches a round."""

    def collect(params: Params, rng: Generator) -> Iterable[pairs.PreferenceBatch]:
        compared = asked(params, WRITTEN // 2, judge, rng)
        for rows in np.split(np.arange(WRITTEN // 2), 4):
            yield compared.some(rows, shop.HORIZON)

    return collect


def by_rounds(loss: Loss, collect: Collect, params: Params, rng: Generator) -> tuple[Params, Numbers]:
    """Let a policy learn from its own answers for `ROUNDS` rounds; return it, and what was seen, each (1, LOOKS).

    `gap` with its `error`, and the true `reward`, are measured on the way; `paid` is the mean over the rounds before of
    the reward that the policy is trained for, if it is trained for one.
    """
    seen: dict[str, list[float]] = {}
    for k in range(LOOKS):
        step_size = IN_ROUNDS[k * len(IN_ROUNDS) // LOOKS]
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
    return grpo.grpo(task, model(), prompts=WRITTEN // 8, answers=8, in_reward=True, minibatch=WRITTEN // 4, **settings)


def proximal(task: Task) -> tuple[Loss, Collect]:
    """Return PPO as it is here."""
    return ppo.ppo(task, ReaderCritic(model()), prompts=WRITTEN, minibatch=WRITTEN // 4, epochs=1, value_weight=0.1)


def judged(params: Params, texts: int, rng: Generator, policy: lm.LanguageModel | None = None) -> Numbers:
    """Return what `texts` answers to each question tell of a policy, each (1,).

    `gap` is beta KL(pi || pi*) and `error` its standard error; `left` is KL(pi || p) and `back` KL(pi* || pi), nats,
    with their errors; `reward` and `length` are means. `said` are `SHOWN` answers to each question, (1, K * SHOWN, T).
    """
    shown, own = world(), (policy or model(), params)
    found: dict[str, Array] = {}
    for name, here, there in (("gap", own, shown.best), ("left", own, shown.language), ("back", shown.best, own)):
        each = lm.token_kl_estimate(here, there, shown.task.mdp.prompts, shop.HORIZON, texts, rng)
        scale = shop.BETA if name == "gap" else 1.0
        found[name] = scale * np.mean(each.mean)
        error = "error" if name == "gap" else f"{name}_error"
        found[error] = scale * np.sqrt(np.sum(each.standard_error**2)) / len(shown.worth)
    prompt = np.repeat(shown.task.mdp.prompts, texts, axis=0)
    said = lm.sample(*own, prompt, shop.HORIZON, rng)
    found["reward"], found["length"] = np.mean(shop.reward(prompt, said)), np.mean(length(said))
    found["said"] = said.reshape(len(shown.worth), texts, -1)[:, :SHOWN].reshape(-1, shop.HORIZON)
    return {name: np.asarray(value)[None] for name, value in found.items()}


def best_of(params: Params, judge: Callable[[Array, Array], Array], rng: Generator) -> Numbers:
    """Return what keeping the best of n answers of a policy would give, for each n of `DRAWS`, (1, N).

    `CROWD` answers to each question are drawn once; the law of the best of n among them is exact, so that all n share
    their noise. `judge` chooses; `reward` is the true one.
    """
    shown, own = world(), model()
    prompt = np.repeat(shown.task.mdp.prompts, CROWD, axis=0)
    said, log_pi = lm.sample_with_log_prob(own, params, prompt, shop.HORIZON, rng)
    log_ratio = log_pi.sum(-1) - lm.log_prob(*shown.language, prompt, said)
    chosen_by, paid, left = (
        np.reshape(c, (-1, CROWD)) for c in (judge(prompt, said), shop.reward(prompt, said), log_ratio)
    )
    kept = partial(_kept, chosen_by, paid, left)
    gap, reward = kept(np.ones(left.shape))
    counts = rng.multinomial(CROWD, np.full(CROWD, 1 / CROWD), (50, len(shown.worth)))
    again = np.array([kept(count)[0] for count in counts])
    return {"gap": gap[None], "reward": reward[None], "error": again.std(0, ddof=1)[None]}


def _kept(chosen_by: Array, reward: Array, log_ratio: Array, count: Array) -> tuple[Array, Array]:
    """The gap and the reward of the best of n draws from the answers (K, M) that are there `count` times (K, M)."""
    with np.errstate(divide="ignore"):
        log_share = np.log(count / count.sum(-1, keepdims=True))
    here, gaps, rewards = count > 0, [], []
    for n in DRAWS:
        log_kept = best_of_n.log_best_of_n(log_share, chosen_by, n)
        kept = np.exp(log_kept)
        left = np.where(here, log_kept - np.where(here, log_share, 0) + log_ratio, 0)
        earned = np.sum(kept * reward, axis=-1)
        gaps.append(np.mean(world().worth - earned + shop.BETA * np.sum(kept * left, axis=-1)))
        rewards.append(np.mean(earned))
    return np.array(gaps), np.array(rewards)


def how_right(learned: Params, params: Params, rng: Generator) -> Numbers:
    """Return how a learned reward agrees with the true one on fresh pairs of answers of a policy, each (1,).

    `loss` and `accuracy` on what people say of them, and the same of the true reward, `loss_of_truth` and
    `accuracy_of_truth`: no reward can do better.
    """
    fresh = asked(params, 2048, shop.reward, rng).batch
    found = {}
    for name, judge in (("", _judge(learned)), ("_of_truth", shop.reward)):
        margin = judge(fresh.prompt, fresh.chosen) - judge(fresh.prompt, fresh.rejected)
        found[f"loss{name}"] = np.mean(likelihoods.bradley_terry_loss(margin))
        found[f"accuracy{name}"] = np.mean(np.where(margin == 0, 0.5, margin > 0))
    return {name: np.array([value]) for name, value in found.items()}


def _judge(learned: Params) -> Callable[[Array, Array], Array]:
    return partial(Network(model()).reward, learned)


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
    with_sft = direct.with_sft(own, partial(direct.dpo, beta=shop.BETA), SFT_WEIGHT)
    critic = ReaderCritic(own).head(start)
    for name, begin, (loss, collect) in (
        ("PPO", critic, proximal(paid)),
        ("PPO, true reward", critic, proximal(shown.task)),
        ("PPO, a tenth of the price", critic, proximal(replace(paid, beta=shop.BETA / 10))),
        ("GRPO", start, rloo(paid)),
        ("DPO, own answers", start, (dpo, own_answers(shop.reward))),
        ("ILHF, own answers", start, (ilhf_loss, own_answers(_log_best))),
    ):
        found[name], ways[name] = by_rounds(loss, collect, begin, rng[name])
    found["DPO"] = by_pairs(dpo, start, compared, rng["DPO"])
    found["DPO with SFT"] = by_pairs(with_sft, start, compared, rng["DPO with SFT"])
    found["ILHF"] = by_pairs(ilhf_loss, start, compared, rng["ILHF"])
    as_they_talk = asked(start, PAIRS, _log_best, rng["ILHF, people who talk"])
    found["ILHF, people who talk"] = by_pairs(ilhf_loss, start, as_they_talk, rng["ILHF, people who talk"])
    ends = {name: judged(params, MANY, np.random.default_rng([seed, 99])) for name, params in found.items()}
    ends["language"] = judged(shown.language[1], MANY, np.random.default_rng([seed, 99]), shown.language[0])
    return {
        "ends": ends,
        "ways": ways,
        "best of n": {
            "learned": best_of(start, _judge(learned), np.random.default_rng([seed, 98])),
            "true": best_of(start, shop.reward, np.random.default_rng([seed, 98])),
        },
        "reward": how_right(learned, start, np.random.default_rng([seed, 97])),
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
)
SETTINGS: dict[str, Any] = {
    "size": GPT_SIZE,
    "texts": [TALK, ANSWERS, PAIRS, BATCH],
    "step_sizes": STEP_SIZES,
    "rounds": [ROUNDS, WRITTEN, IN_ROUNDS],
    "sft_weight": SFT_WEIGHT,
    "beta": shop.BETA,
}
STUDY: Study = in_blocks(everything, 1, SETTINGS)
