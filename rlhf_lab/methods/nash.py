"""Preferences that need no reward: two policies play a game, and the answer is its equilibrium.

Beside the chapter "Preferences that no reward explains"; functions stand in the order of its equations.

    P[a, b] share that prefers a to b    G payoff, G[a, b] = -G[b, a]    pi, pi' policies    pi_0 reference
    beta price of a nat, above 0    pi* equilibrium    s spectral radius    eta step size    u log-ratio log pi / pi_0

Policies are log-probabilities (..., A) over the A answers to one prompt; the axes before the last broadcast. Payoffs
are log-odds, or P - 1/2: the two make different games.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import autograd.numpy as np
from autograd.tracer import getval
from numpy.random import Generator
from scipy.special import wrightomega

from rlhf_lab.methods import direct
from rlhf_lab.methods.rollouts import Collect, Loss
from rlhf_lab.models import gibbs, lm
from rlhf_lab.models.lm import kl
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, log_softmax
from rlhf_lab.numerics.optim import Params

STEPS = 200  # of Newton's method
NEAR = 1e-11  # nats by which the equilibrium may miss its own best response


def log_odds(matrix: Array) -> Array:
    """G[a, b] = log P[a, b] / P[b, a]; under Bradley-Terry a difference of rewards: (A, A) (eq-log-odds).

    Raises `ValueError` if the matrix is not complementary, or if an answer always wins: its log-odds are infinite.
    """
    matrix = checks.preference_matrix(matrix)
    if (matrix == 0).any():
        raise ValueError("a preference of 0 or 1 has infinite log-odds; take `win_margin`, or mix in some mis-clicks")
    return np.log(matrix) - np.log(matrix.T)


def win_margin(matrix: Array) -> Array:
    """G[a, b] = P[a, b] - 1/2, how much more often than not a wins: (A, A) (eq-win-margin)."""
    return checks.preference_matrix(matrix) - 0.5


@dataclass(frozen=True)
class Game:
    """What two policies play for: a payoff (A, A) with G[a, b] = -G[b, a], log pi_0 (A,), and the price beta > 0.

    Raises `ValueError` if the payoff is not antisymmetric, log pi_0 is not normalised, or sizes differ.
    """

    payoff: Array
    log_pi_0: Array
    beta: float

    def __post_init__(self) -> None:
        checks.positive("beta", self.beta)
        payoff, log_pi_0 = np.asarray(self.payoff, dtype=float), np.asarray(self.log_pi_0, dtype=float)
        count = len(checks.probabilities("exp(log_pi_0)", np.exp(log_pi_0))) if log_pi_0.ndim == 1 else 0
        if payoff.shape != (count, count):
            raise ValueError(
                f"a payoff (A, A) needs log_pi_0 (A,), one prompt; got shapes {payoff.shape} and {log_pi_0.shape}"
            )
        if not np.allclose(payoff, -payoff.T, atol=1e-9):  # NaN is not close to anything
            raise ValueError("payoff[a, b] must be -payoff[b, a]: make it of preferences by `log_odds` or `win_margin`")
        object.__setattr__(self, "payoff", payoff)
        object.__setattr__(self, "log_pi_0", log_pi_0)

    def against(self, log_pi: Array) -> Array:
        """Return what each answer earns against an opponent, sum_b G[a, b] pi(b): (..., A)."""
        return np.exp(log_pi) @ self.payoff.T


def value(game: Game, log_pi: Array, log_other: Array) -> Array:
    """J(pi, pi') = sum_ab pi(a) G[a, b] pi'(b) - beta KL(pi || pi_0) + beta KL(pi' || pi_0): (...) (eq-game).

    Xiong 2024. J(pi, pi) = 0, and J(pi, pi') = -J(pi', pi).
    """
    earned = np.sum(np.exp(log_pi) * game.against(log_other), axis=-1)
    return earned - game.beta * (kl(log_pi, game.log_pi_0) - kl(log_other, game.log_pi_0))


def best_response(game: Game, log_pi: Array) -> Array:
    """log BR(pi), pi_0(a) exp(sum_b G[a, b] pi(b) / beta) normalised: the Gibbs policy against an opponent that does
    not move: (..., A) (eq-best-response).
    """
    return gibbs.log_policy(game.log_pi_0, game.against(log_pi), game.beta)


def equilibrium(game: Game) -> Array:
    """Return log pi* (A,), the only policy that is its own best response (eq-nash-equilibrium).

    Newton's method, with shorter steps where needed, on the exploitability, which is convex in pi, and 0 only there.
    """
    log_pi, eye = game.log_pi_0, np.eye(len(game.log_pi_0))
    worst = exploitability(game, log_pi)
    for _ in range(STEPS):
        response = best_response(game, log_pi)
        if np.abs(log_pi - response).max() < NEAR:
            return log_pi
        pi, other = np.exp(log_pi), np.exp(response)
        slope = game.beta * (log_pi - response) + game.payoff @ (pi - other)  # of the exploitability, in pi
        spread = game.payoff.T @ (np.diag(other) - np.outer(other, other)) @ game.payoff / game.beta
        step = -np.linalg.solve(game.beta * eye + spread * pi, np.stack([slope, -np.ones_like(slope)], axis=-1))
        step = step[:, 0] - step[:, 1] * (pi @ step[:, 0]) / (pi @ step[:, 1])  # probabilities go on to sum to 1
        size, decrease = 1.0, (pi * slope) @ step
        while True:
            moved = log_softmax(log_pi + size * step)
            left = exploitability(game, moved)
            if left <= worst + 0.1 * size * decrease + 1e-12 * (1 + worst) or size < 1e-8:
                break
            size /= 2
        log_pi, worst = moved, left
    most = np.abs(game.payoff).max() / game.beta
    raise ValueError(f"no equilibrium within {STEPS} steps: payoffs are up to {most:.0f} prices; raise beta")


def exploitability(game: Game, log_pi: Array) -> Array:
    """max_pi' J(pi', pi) = beta log sum_a pi_0(a) exp(sum_b G[a, b] pi(b) / beta) + beta KL(pi || pi_0): (...)
    (eq-exploitability).

    It is beta KL(pi || pi*) + beta KL(pi* || BR(pi)) (eq-exploitability-kl): never below beta KL(pi || pi*), and equal
    to it for log-odds of Bradley-Terry. It is convex in pi.
    """
    found = game.beta * gibbs.log_normaliser(game.log_pi_0, game.against(log_pi), game.beta)
    return found + game.beta * kl(log_pi, game.log_pi_0)


def worst_win_rate(matrix: Array, log_pi: Array) -> Array:
    """min_b sum_a pi(a) P[a, b], the share of comparisons that pi wins against its best opponent: (...)
    (eq-worst-win-rate). At most 1/2.
    """
    return np.min(np.exp(log_pi) @ checks.preference_matrix(matrix), axis=-1)


def spectral_radius(game: Game, log_pi: Array) -> float:
    """s, the largest |eigenvalue| of (diag pi - pi pi') G / beta; at pi*, what an iteration makes of a small error
    (eq-spectral-radius). The eigenvalues are imaginary. Under Bradley-Terry s = 0.
    """
    pi = np.exp(log_pi)
    return float(np.abs(np.linalg.eigvals((np.diag(pi) - np.outer(pi, pi)) @ game.payoff / game.beta)).max())


def mirror_step(game: Game, log_pi: Array, eta: float) -> Array:
    """log of pi^(1 - eta) BR(pi)^eta, normalised: (..., A); eta = 1 is the plain iteration (eq-mirror-step).

    Mirror descent, or multiplicative weights of size eta / beta on the payoff with its price. `eta` lies in (0, 1].
    """
    return log_softmax((1 - _step(eta)) * log_pi + eta * (game.log_pi_0 + game.against(log_pi) / game.beta))


def mirror_rate(s: Array, eta: Array) -> Array:
    """sqrt((1 - eta)^2 + eta^2 s^2), the factor of a small error in one mirror step, below 1 for eta < 2 / (1 + s^2)
    and least at 1 / (1 + s^2) (eq-mirror-rate).
    """
    return np.sqrt((1 - eta) ** 2 + eta**2 * s**2)


def nash_md_step(game: Game, log_pi: Array, eta: float) -> Array:
    """Mirror step against the mixture pi^(1 - eta) pi_0^eta, normalised, in the place of pi: (..., A) (eq-nash-md).

    Munos et al. 2024; their step size is eta / beta. At one eta it stops beside the equilibrium; with
    eta = 2 / (t + 2) in step t = 0, 1, ... it ends there.
    """
    mixture = log_softmax((1 - _step(eta)) * log_pi + eta * game.log_pi_0)
    return log_softmax(mixture + eta * game.against(mixture) / game.beta)


def _step(eta: float) -> float:
    if not 0 < eta <= 1:
        raise ValueError(f"eta is a share of the way to the best response, in (0, 1]; got {eta}")
    return eta


def self_play(loss: direct.Loss, matrix: Array, log_pi_0: Array) -> tuple[Loss, Collect]:
    """Return `loss` and `collect` for `optim.fit`: E_(a, b ~ pi) of a loss of margins from `methods.direct`, exactly.

    Pairs are drawn from the policy as it is at the start of the round, and no gradient goes through the draw
    (eq-self-play-loss). Parameters: `logits` (..., A). Calandriello et al. 2024 for IPO, Guo et al. 2024 for DPO.
    """
    matrix = checks.preference_matrix(matrix)
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
    return log_softmax(log_pi + checks.positive("eta", eta) * (np.exp(log_pi) @ np.asarray(payoff).T))


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
    beaten = checks.positive("eta", eta) * (np.exp(log_pi) @ win_margin(matrix).T)
    return gibbs.log_normaliser(log_pi, beaten, 1.0)


def sppo_step(matrix: Array, log_pi: Array, eta: float) -> Array:
    """Return the policy with the least E_pi of `sppo_loss`, exactly: log pi_(t+1), (A,) (eq-sppo-step).

    u = t - W(m e^t), where t = eta (P(a > pi) - 1/2), W is Lambert's function, and m = KL(pi_t || pi_(t+1)) makes
    probabilities sum to 1. By bisection in log m.
    """
    t = checks.positive("eta", eta) * (win_margin(matrix) @ np.exp(log_pi))
    low, high = -60.0, np.log(np.maximum(t.max(), 1e-20))  # from m = max t on, u < 0 everywhere
    for _ in range(80):
        middle = (low + high) / 2
        total = np.sum(np.exp(log_pi + t - wrightomega(middle + t)))
        low, high = (middle, high) if total > 1 else (low, middle)
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


def token_self_play(
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
    Game(payoff, lm.answer_log_probs(policy, reference, prompt, horizon)[0], beta)  # raises if sizes differ
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
