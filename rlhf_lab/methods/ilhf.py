"""Inclusive learning from human feedback: a language model that answers as people do, not as most people like best.

    y, y' two answers    c the chosen one    l label, 1 if y is chosen    pi policy    pi_0 its start    m member of M
    l_mu(y) probability of y under what people want    p_0, p_mu the same for token 1 of the coin    beta KL weight

Log-probabilities are arrays (..., N), one entry a comparison; the axes before it are seeds or members. Source: Xu,
Dong, Arumugam and Van Roy 2023 (ILHF).
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import autograd.numpy as np
import numpy
from numpy.random import Generator
from scipy.special import entr, expit, logit

from rlhf_lab.feedback import annotators
from rlhf_lab.models import lm
from rlhf_lab.numerics import checks, optim
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params
from rlhf_lab.numerics.weighted import masked


def tilted_coin(p_pre: Array, p_people: Array, beta: Array) -> Array:
    """p* with logit p* = logit p_0 + logit(p_mu) / beta: where reward log l_mu and a KL weight lead (eq-tilted-coin).

    ILHF, section 2.3, in closed form: the Gibbs policy of the coin.
    """
    if not (np.greater(beta, 0) & np.isfinite(beta)).all():
        raise ValueError(f"beta must be finite and above 0; got {beta}")
    return expit(_log_odds("p_pre", p_pre) + _log_odds("p_people", p_people) / beta)


def matching_beta(p_pre: float, p_people: float) -> float:
    """beta* = logit(p_mu) / (logit(p_mu) - logit(p_0)): the KL weight that happens to be right (eq-matching-beta).

    Raises `ValueError` if none is: where pretraining lies on the same side of p_mu as a fair coin, tilting goes wrong.
    """
    people = _log_odds("p_people", p_people)
    gap = people - _log_odds("p_pre", p_pre)
    if people * gap <= 0:
        raise ValueError(
            f"no beta above 0 turns {p_pre} into {p_people}: rewards push the probability away from 1/2, so p_pre must "
            "lie between 1/2 and p_people, or beyond 1/2"
        )
    return float(people / gap)


def _log_odds(name: str, p: Array) -> Array:
    p = numpy.asarray(p)
    if not ((p > 0) & (p < 1)).all():
        raise ValueError(f"{name} must lie strictly between 0 and 1; got {p}")
    return logit(p)


def choice_log_probs(first: Array, second: Array) -> tuple[Array, Array]:
    """log Q(y) and log Q(y'), with Q(y) = pi(y) / (pi(y) + pi(y')), from log pi of both (eq-ilhf-choice).

    The policy as its own reward model, R = log pi: Bradley and Terry's model of a choice. ILHF, section 3.2.
    """
    both = np.logaddexp(first, second)
    return first - both, second - both


def loss(first: Array, second: Array, label: Array, weight: Array = 1.0) -> Array:
    """L = mean of w KL(P || Q) with P = (l, 1 - l), shape (...): the ILHF loss (eq-ilhf-loss). ILHF, section 3.2.

    `first` and `second` (..., N) hold log pi(y | x) and log pi(y' | x), `label` l lies in [0, 1], a vote or the share
    of people who prefer y.
    """
    log_q, label = choice_log_probs(first, second), np.asarray(checks.share("label", label))
    certain = -entr(label) - entr(1 - label)
    return np.mean(masked(certain - masked(log_q[0], label) - masked(log_q[1], 1 - label), weight), axis=-1)


def coin_slope(p: Array, p_people: Array) -> Array:
    """dE[L] / dlogit = 2 p (1 - p) (p - p_mu): the ILHF gradient on the coin, at probability p (eq-coin-slope).

    Two answers differ with probability 2 p (1 - p); only then do people tell anything.
    """
    return 2 * checks.share("p", p) * (1 - p) * (p - checks.share("p_people", p_people))


def penalised(reward: Array, log_pi: Array, log_pi_0: Array, beta: float) -> Array:
    """R(y) - beta (log pi(y) - log pi_0(y)): a reward that charges for leaving the start (eq-penalised-reward)."""
    return reward - checks.not_negative("beta", beta, "the weight of the KL penalty") * (log_pi - log_pi_0)


def reinforce_loss(first: Array, second: Array, rewards: tuple[Array, Array]) -> Array:
    """L = - mean of [log pi(y) R(y) + log pi(y') R(y')], rewards held constant, shape (...) (eq-two-answer-reinforce).

    ILHF, appendix B. Its gradient is that of the expected reward only if the answers are the policy's own.
    """
    return -np.mean(first * rewards[0] + second * rewards[1], axis=-1)


def double_or_nothing(shape: tuple[int, ...], rng: Generator) -> Array:
    """Draw weights, 0 or 2 with equal probability, mean 1 and variance 1 (eq-double-or-nothing). ILHF, algorithm 2."""
    return 2.0 * rng.integers(2, size=shape)


def anchor(params: Array, start: Array, eta: float) -> Array:
    """eta || phi - phi_0 ||^2 over the last axis: what holds a member near its own start (eq-anchor).

    ILHF, algorithm 2.
    """
    return checks.not_negative("eta", eta, "the weight of the anchor") * np.sum((params - start) ** 2, axis=-1)


def mixture(log_pi: Array) -> Array:
    """log (1/M) sum_m pi_m(y): the policy of an ensemble that draws a member for each answer (eq-mixture).

    (M, ..., N) gives (..., N).
    """
    return numpy.logaddexp.reduce(log_pi) - np.log(len(log_pi))


def agglomerative_score(label: Array) -> Array:
    """Return the share of comparisons that the challenger's answer wins, `label` (..., N) (eq-agglomerative)."""
    return np.mean(checks.labels("label", label), axis=-1)


def inclusive_score(chosen: Array, rejected: Array) -> Array:
    """I = mean of log Q(c) with Q as in the loss, nats, from an agent's log pi of both answers (eq-inclusive-score).

    At most 0; the expected score is highest for the agent whose Q is the share of people. Our reading of
    ILHF, section 5.2.
    """
    return np.mean(choice_log_probs(chosen, rejected)[0], axis=-1)


class Ratios(NamedTuple):
    """Three ways to turn two inclusive scores into one number, above 1 if the challenger wins; each (...)."""

    geometric: Array
    losses: Array
    means: Array


def score_ratios(challenger: tuple[Array, Array], reference: tuple[Array, Array]) -> Ratios:
    """exp(I_Z - I_ref), I_ref / I_Z, and the ratio of the means of Q(c) (eq-score-ratio).

    Each agent is given as its log pi of the chosen and of the rejected answers (..., N). The first is the one that the
    book calls inclusive score ratio; the last is not a proper score: an agent gains by overstating the majority.
    """
    s, s_ref = inclusive_score(*challenger), inclusive_score(*reference)
    q, q_ref = (np.mean(np.exp(choice_log_probs(*agent)[0]), axis=-1) for agent in (challenger, reference))
    return Ratios(np.exp(s - s_ref), s_ref / s, q / q_ref)


People = Callable[[Array, Array], Array]


class Asked(NamedTuple):
    """Comparisons that were asked for: prompts, both answers, labels, and what reward learners see of them."""

    prompt: Array
    first: Array
    second: Array
    label: Array
    rewards: tuple[Array, Array]


def ask(model: lm.LanguageModel, params: Params, prompt: Array, horizon: int, people: People, rng: Generator) -> Asked:
    """Let the policy answer each prompt twice, and draw who is chosen: l = 1 with probability sigmoid(R - R').

    Shapes (..., N, T) with the leading axes of `params`. `people` is the reward R of both answers, `log l_mu` for the
    worlds of the paper. ILHF, section 4.2.
    """
    first, second = (lm.sample(model, params, prompt, horizon, rng) for _ in range(2))
    rewards = people(prompt, first), people(prompt, second)
    label = annotators.sample_labels(annotators.bradley_terry(rewards[0] - rewards[1]), rng)
    return Asked(prompt, first, second, label, rewards)


Objective = Callable[[Array, Array, Asked], Array]


def finetune(
    model: lm.LanguageModel,
    params: Params,
    objective: Objective,
    draw_prompts: Callable[[Generator], Array],
    people: People,
    *,
    horizon: int,
    rounds: int,
    optimizer: optim.Optimizer,
    rng: Generator,
    record: Callable[[Params], dict[str, Any]] | None = None,
) -> tuple[Params, list[dict[str, Any]]]:
    """Ask about fresh answers and take one step, `rounds` times (ILHF, algorithm 1): parameters and history.

    `objective(first, second, asked)` is a loss of the log-probabilities of both answers, one for each leading axis.
    """

    def collect(params: Params, rng: Generator) -> Iterable[Asked]:
        yield ask(model, params, draw_prompts(rng), horizon, people, rng)

    def value(params: Params, asked: Asked) -> Array:
        texts = (np.concatenate(pair, axis=-2) for pair in ((asked.prompt, asked.prompt), (asked.first, asked.second)))
        first, second = np.split(lm.log_prob(model, params, *texts), 2, axis=-1)  # one pass costs less than two
        return objective(first, second, asked)

    return optim.fit(value, params, collect, rounds=rounds, optimizer=optimizer, rng=rng, record=record)


def inclusive(first: Array, second: Array, asked: Asked) -> Array:
    """The objective of ILHF: `loss` of the labels."""
    return loss(first, second, asked.label)


def rewarded(reference: tuple[lm.LanguageModel, Params], beta: float) -> Objective:
    """Return the objective of REINFORCE with oracular rewards and a KL penalty inside the reward."""

    def objective(first: Array, second: Array, asked: Asked) -> Array:
        rewards = []
        answers = (asked.first, asked.second)
        for log_pi, answer, reward in zip((first, second), answers, asked.rewards, strict=True):
            log_pi_0 = lm.log_prob(*reference, asked.prompt, answer)
            rewards.append(penalised(reward, getattr(log_pi, "_value", log_pi), log_pi_0, beta))
        return reinforce_loss(first, second, (rewards[0], rewards[1]))

    return objective
