"""How far a policy of the shop is from the best one, and what it says; what keeping the best of n of its texts gives.

pi policy    pi* Gibbs policy    p language, the reference    beta KL weight
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.random import Generator

from rlhf_lab.experiments.gpt.stages import asked, length, model, world
from rlhf_lab.experiments.runner import Numbers
from rlhf_lab.feedback import likelihoods
from rlhf_lab.methods import best_of_n
from rlhf_lab.models import lm
from rlhf_lab.numerics.autodiff import Array, log_softmax
from rlhf_lab.numerics.optim import Params
from rlhf_lab.worlds import shop

Judge = Callable[[Array, Array], Array]  # a reward of questions and answers

DRAWS = (1, 2, 4, 8, 12, 16, 32, 64)  # of best-of-n
SHOWN = 2  # texts to a question that are stored
CROWD = 400  # texts to a question for best-of-n
COOLER = (
    0.5  # a temperature: of 0.4, 0.5, ... 0.9 the best for the GPT before it is aligned, on the seeds 1000 and 1001
)


def judged(params: Params, texts: int, rng: Generator, policy: lm.LanguageModel | None = None) -> Numbers:
    """Return what `texts` answers to each question tell of a policy, each (1,).

    `gap` is beta KL(pi || pi*) and `error` its standard error; `left` is KL(pi || p) and `back` KL(pi* || pi), nats,
    with their errors (eq-token-kl); `reward` and `length` are means. All but `back` are of the same answers. `said`
    are `SHOWN` of these to each question, (1, K * SHOWN, T).
    """
    shown, own = world(), (policy or model(), params)
    prompt = np.repeat(shown.task.mdp.prompts, texts, axis=0)
    said, best = (lm.sample(*speaker, prompt, shop.HORIZON, rng) for speaker in (own, shown.best))
    log_pi = _log_choices(own, prompt, said)
    left_of = {"gap": shop.BETA * _left(log_pi, _log_choices(shown.best, prompt, said), said)}
    left_of["left"] = _left(log_pi, _log_choices(shown.language, prompt, said), said)
    left_of["back"] = _left(_log_choices(shown.best, prompt, best), _log_choices(own, prompt, best), best)
    found: dict[str, Array] = {}
    for name, left in left_of.items():
        each = np.reshape(left, (-1, texts))
        found[name] = np.mean(each)
        error = "error" if name == "gap" else f"{name}_error"
        found[error] = np.sqrt(np.sum(np.var(each, axis=-1, ddof=1)) / texts) / len(each)
    found["reward"], found["length"] = np.mean(shop.reward(prompt, said)), np.mean(length(said))
    found["said"] = said.reshape(len(shown.worth), texts, -1)[:, :SHOWN].reshape(-1, shop.HORIZON)
    return {name: np.asarray(value)[None] for name, value in found.items()}


def _log_choices(policy: tuple[lm.LanguageModel, Params], prompt: Array, response: Array) -> Array:
    model, params = policy
    return log_softmax(model.logits(params, prompt, response))


def _left(log_pi: Array, log_ref: Array, response: Array) -> Array:
    return np.sum(lm.kl(log_pi, log_ref) * lm.response_mask(response, shop.EOS), axis=-1)


def cooled(params: Params) -> Params:
    """Return the GPT at the temperature `COOLER`: the readout is linear in `norm`, and so all logits are divided."""
    return params | {"norm": params["norm"] / COOLER}


def best_of(params: Params, judge: Judge, rng: Generator) -> Numbers:
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


def how_right(learned: Judge, params: Params, rng: Generator) -> Numbers:
    """Return how a learned reward agrees with the true one on fresh pairs of answers of a policy, each (1,).

    `loss` and `accuracy` on what people say of them, and the same of the true reward, `loss_of_truth` and
    `accuracy_of_truth`: no reward can do better.
    """
    fresh = asked(params, 2048, shop.reward, rng).batch
    found = {}
    for name, judge in (("", learned), ("_of_truth", shop.reward)):
        margin = judge(fresh.prompt, fresh.chosen) - judge(fresh.prompt, fresh.rejected)
        found[f"loss{name}"] = np.mean(likelihoods.bradley_terry_loss(margin))
        found[f"accuracy{name}"] = np.mean(np.where(margin == 0, 0.5, margin > 0))
    return {name: np.array([value]) for name, value in found.items()}
