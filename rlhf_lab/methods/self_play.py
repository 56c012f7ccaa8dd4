"""Self-play: a policy learns from preferences between its own answers.

Beside the chapter "Preferences that no reward explains"; functions stand in the order of its equations.

    P[a, b] share that prefers a to b    G payoff, G[a, b] = -G[b, a]    pi policy    pi_0 reference    eta step size
    f(a) what a earns, sum_b G[a, b] pi(b)    u log-ratio log pi / pi_t    t tokens, or steps

Policies are log-probabilities (..., A), payoffs (..., A, A), as in `methods.nash`.
"""

from collections.abc import Callable, Iterable

import autograd.numpy as np
from autograd.tracer import getval
from numpy.random import Generator
from scipy.special import wrightomega

from rlhf_lab.methods import direct, nash
from rlhf_lab.methods.nash import against, win_margin
from rlhf_lab.methods.rollouts import Collect, Loss
from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, log_softmax
from rlhf_lab.numerics.optim import Params


def on_pairs(loss: direct.Loss, matrix: Array, log_pi_0: Array) -> tuple[Loss, Collect]:
    """Return `loss` and `collect` for `optim.fit`: E_(a, b ~ pi) of a loss of margins, exactly.

    Pairs are drawn from the policy as it is at the start of the round, and no gradient goes through the draw
    (eq-self-play-loss). Parameters: `logits` (..., A). Calandriello et al. 2024; Guo et al. 2024.
    """
    matrix = nash.preferences(matrix)
    checks.answer_rewards(log_pi_0, matrix.shape)

    def collect(params: Params, rng: Generator) -> Iterable[Array]:
        pi = np.exp(log_softmax(params["logits"]))
        yield pi[..., :, None] * pi[..., None, :]

    def mean(params: Params, weight: Array) -> Array:
        u = log_softmax(params["logits"]) - log_pi_0
        return np.sum(weight * direct.expected(loss, u[..., :, None] - u[..., None, :], matrix), axis=(-1, -2))

    return mean, collect


def replicator(payoff: Array, pi: Array) -> Array:
    """d pi(a) / dt = pi(a) (f(a) - E_pi f), f = G pi, with pi as probabilities: (..., A) (eq-replicator).

    The natural gradient of E f with the opponent frozen.
    """
    f = pi @ np.asarray(payoff).T
    return pi * (f - np.sum(pi * f, axis=-1, keepdims=True))


def logit_flow(payoff: Array, pi: Array) -> Array:
    """d pi(a) / dt if the logits follow the gradient of E f, the opponent frozen: (..., A) (eq-logit-flow).

    The logits change by v = `replicator`, and pi(a) by pi(a) (v(a) - E_pi v).
    """
    v = replicator(payoff, pi)
    return pi * (v - np.sum(pi * v, axis=-1, keepdims=True))


def multiplicative_weights(payoff: Array, log_pi: Array, eta: float) -> Array:
    """log of pi(a) exp(eta sum_b G[a, b] pi(b)), normalised: self-play without a price, (..., A)
    (eq-multiplicative-weights). `eta` > 0. Freund and Schapire 1999.
    """
    return log_softmax(log_pi + checks.positive("eta", eta) * against(payoff, log_pi))


def averages(path: Array) -> Array:
    """log of the mean of the first 1, 2, ... policies of a path (T, ..., A), same shape (eq-average-policy)."""
    count = np.reshape(np.arange(1, len(path) + 1), (-1,) + (1,) * (np.ndim(path) - 1))
    return np.log(np.cumsum(np.exp(path), axis=0) / count)


def sppo_loss(u: Array, beaten: Array, eta: float) -> Array:
    """(u - eta (P(a > pi_t) - 1/2))^2, u = log pi / pi_t: squared error of SPPO for each answer (..., A) (eq-sppo)."""
    return (u - checks.positive("eta", eta) * (beaten - 0.5)) ** 2


def sppo_error(matrix: Array, log_pi: Array, eta: float) -> Array:
    """log sum_a pi(a) exp(eta P(a > pi)) - eta / 2, at least 0: what SPPO neglects, (...) (eq-sppo-error).

    Wu et al. 2025 set log Z to eta / 2.
    """
    return gibbs.log_normaliser(log_pi, checks.positive("eta", eta) * against(win_margin(matrix), log_pi), 1.0)


def sppo_step(payoff: Array, log_pi: Array, eta: float) -> Array:
    """Return the policy with the least E_pi of `sppo_loss`, exactly: log pi_(t+1), (..., A) (eq-sppo-step).

    `payoff` is P - 1/2. u = t - W(m e^t), where t = eta (P(a > pi) - 1/2), W is Lambert's function, and
    m = KL(pi_t || pi_(t+1)) makes probabilities sum to 1. By bisection in log m.
    """
    t = checks.positive("eta", eta) * against(payoff, log_pi)
    high = np.log(np.maximum(np.max(t, axis=-1, keepdims=True), 1e-20))  # from m = max t on, u < 0 everywhere
    low = high - 60.0
    for _ in range(45):
        middle = (low + high) / 2
        large = np.sum(np.exp(log_pi + t - wrightomega(middle + t)), axis=-1, keepdims=True) > 1
        low, high = np.where(large, middle, low), np.where(large, high, middle)
    return log_softmax(log_pi + t - wrightomega(low + t))


def sppo_hard(chosen: Array, rejected: Array, eta: float) -> Array:
    """(u_w - eta / 2)^2 + (u_l + eta / 2)^2: SPPO from single labels, log-ratios (..., N) (eq-sppo-hard).

    TRL's `sppo_hard`, where eta is 1 / beta. Pairs drawn from pi_t make its mean that of two `sppo_loss`, plus a
    constant.
    """
    return sppo_loss(chosen, np.ones(1), eta) + sppo_loss(rejected, np.zeros(1), eta)


def to_go(log_ratio: Array) -> Array:
    """sum_(k >= t) of the log-ratios (..., T) of the tokens from t on, same shape (eq-kl-to-go)."""
    return np.flip(np.cumsum(np.flip(log_ratio, -1), axis=-1), -1)


def on_tokens(
    payoff: Array,
    beta: float,
    policy: lm.LanguageModel,
    reference: Params,
    prompt: Array,
    horizon: int,
    weigh: Callable[[Array], Array],
) -> tuple[Loss, Collect]:
    """Return `loss` and `collect` for `optim.fit`: self-play by policy gradients over all answers to one prompt (1, P).

    Its gradient is that of -sum_y pi(y) sum_t (f(y) - beta w_t) log pi(y_t | s_t) in log pi alone (eq-token-self-play):
    f = G pi, and w = `weigh`(log-ratios (A, T)). With `to_go` it is minus the gradient of E f - beta KL.
    """
    nash.Game(payoff, lm.answer_log_probs(policy, reference, prompt, horizon)[0], beta)  # raises if sizes differ
    answers = lm.enumerate_responses(policy.vocab, horizon, policy.eos)
    asked = np.repeat(prompt, len(answers), axis=-2)
    log_pi_0 = lm.token_log_prob(policy, reference, asked, answers)

    def collect(params: Params, rng: Generator) -> Iterable[Array]:
        log_pi = getval(lm.token_log_prob(policy, params, asked, answers))
        pi = np.exp(np.sum(log_pi, axis=-1))
        yield pi[:, None] * ((payoff @ pi)[:, None] - beta * weigh(log_pi - log_pi_0))

    def loss(params: Params, weight: Array) -> Array:
        return -np.sum(weight * lm.token_log_prob(policy, params, asked, answers))

    return loss, collect
