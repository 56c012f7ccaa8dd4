"""Preferences that need no reward: two policies play a game, and the answer is its equilibrium.

Beside the chapter "Preferences that no reward explains"; functions stand in the order of its equations.

    P[a, b] share that prefers a to b    G payoff, G[a, b] = -G[b, a]    pi, pi' policies    pi_0 reference
    beta price of a nat, above 0    pi* equilibrium    s spectral radius    eta step size

Policies are log-probabilities (..., A) over A answers, preferences and payoffs are (..., A, A); the axes before (games,
policies, steps of a path) broadcast. Payoffs are log-odds, or P - 1/2: the two make different games.
"""

from dataclasses import dataclass

import numpy as np

from rlhf_lab.models import gibbs
from rlhf_lab.models.lm import kl
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, log_softmax

STEPS = 200  # of Newton's method
NEAR = 1e-11  # nats by which the equilibrium may miss its own best response


def log_odds(matrix: Array) -> Array:
    """G[a, b] = log P[a, b] / P[b, a]; under Bradley-Terry a difference of rewards: (..., A, A) (eq-log-odds).

    Raises `ValueError` if the matrix is not complementary, or if an answer always wins: its log-odds are infinite.
    """
    matrix = preferences(matrix)
    if (matrix == 0).any():
        raise ValueError("a preference of 0 or 1 has infinite log-odds; take `win_margin`, or mix in some mis-clicks")
    return np.log(matrix) - np.log(np.swapaxes(matrix, -1, -2))


def win_margin(matrix: Array) -> Array:
    """G[a, b] = P[a, b] - 1/2, how much more often than not a wins: (..., A, A) (eq-win-margin)."""
    return preferences(matrix) - 0.5


def preferences(matrix: Array) -> Array:
    """Return preferences as floats (..., A, A), if P[a, b] + P[b, a] = 1 everywhere."""
    if np.ndim(matrix) > 2:
        return np.stack([preferences(each) for each in matrix])
    return checks.preference_matrix(matrix)


def against(payoff: Array, log_pi: Array) -> Array:
    """Return what each answer earns against an opponent, sum_b G[a, b] pi(b): (..., A)."""
    return np.sum(payoff * np.exp(log_pi)[..., None, :], axis=-1)


@dataclass(frozen=True)
class Game:
    """What two policies play for: payoff (..., A, A) with G[a, b] = -G[b, a], log pi_0 (..., A), and a price beta > 0.

    Raises `ValueError` if the payoff is not antisymmetric, log pi_0 is not normalised, or sizes differ.
    """

    payoff: Array
    log_pi_0: Array
    beta: float

    def __post_init__(self) -> None:
        checks.positive("beta", self.beta)
        payoff, log_pi_0 = np.asarray(self.payoff, dtype=float), np.asarray(self.log_pi_0, dtype=float)
        checks.probabilities("exp(log_pi_0)", np.exp(log_pi_0))
        if payoff.shape != (*log_pi_0.shape, *log_pi_0.shape[-1:]):
            raise ValueError(
                f"a payoff (..., A, A) needs log_pi_0 (..., A); got shapes {payoff.shape} and {log_pi_0.shape}"
            )
        if not np.allclose(payoff, -np.swapaxes(payoff, -1, -2)):  # NaN is not close to anything
            raise ValueError("payoff[a, b] must be -payoff[b, a]: make it of preferences by `log_odds` or `win_margin`")
        object.__setattr__(self, "payoff", payoff)
        object.__setattr__(self, "log_pi_0", log_pi_0)


def value(game: Game, log_pi: Array, log_other: Array) -> Array:
    """J(pi, pi') = sum_ab pi(a) G[a, b] pi'(b) - beta KL(pi || pi_0) + beta KL(pi' || pi_0): (...) (eq-game).

    Xiong 2024. J(pi, pi) = 0, and J(pi, pi') = -J(pi', pi).
    """
    earned = np.sum(np.exp(log_pi) * against(game.payoff, log_other), axis=-1)
    return earned - game.beta * (kl(log_pi, game.log_pi_0) - kl(log_other, game.log_pi_0))


def best_response(game: Game, log_pi: Array) -> Array:
    """log BR(pi), pi_0(a) exp(sum_b G[a, b] pi(b) / beta) normalised: the Gibbs policy against an opponent that does
    not move: (..., A) (eq-best-response).
    """
    return gibbs.log_policy(game.log_pi_0, against(game.payoff, log_pi), game.beta)


def equilibrium(game: Game) -> Array:
    """Return log pi* (..., A), the only policy that is its own best response (eq-nash-equilibrium).

    Newton's method, with shorter steps where needed, on the exploitability, which is convex in pi, and 0 only there.
    """
    if game.payoff.ndim > 2:
        each = zip(game.payoff, game.log_pi_0, strict=True)
        return np.stack([equilibrium(Game(payoff, log_pi_0, game.beta)) for payoff, log_pi_0 in each])
    log_pi, eye = game.log_pi_0, np.eye(len(game.log_pi_0))
    worst = exploitability(game, log_pi)
    for _ in range(STEPS):
        response = best_response(game, log_pi)
        if np.abs(log_pi - response).max() < NEAR:
            return log_pi
        pi, other = np.exp(log_pi), np.exp(response)
        slope = game.beta * (log_pi - response) + game.payoff @ (pi - other)  # of the exploitability, in pi
        spread = game.payoff.T @ (np.diag(other) - np.outer(other, other)) @ game.payoff / game.beta
        step = -np.linalg.solve(game.beta * eye + spread * pi, np.stack([slope, np.ones_like(slope)], axis=-1))
        step = step[:, 0] - step[:, 1] * (pi @ step[:, 0]) / (pi @ step[:, 1])  # probabilities go on to sum to 1
        size, decrease = 1.0, (pi * slope) @ step
        while True:
            moved = log_softmax(log_pi + size * step)
            left = exploitability(game, moved)
            if left <= worst + 0.1 * size * decrease + 1e-12 or size < 1e-8:
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
    found = game.beta * gibbs.log_normaliser(game.log_pi_0, against(game.payoff, log_pi), game.beta)
    return found + game.beta * kl(log_pi, game.log_pi_0)


def worst_win_rate(matrix: Array, log_pi: Array) -> Array:
    """min_b sum_a pi(a) P[a, b], the share of comparisons that pi wins against its best opponent: (...)
    (eq-worst-win-rate). At most 1/2.
    """
    return 0.5 - np.max(against(win_margin(matrix), log_pi), axis=-1)


def mirror_step(game: Game, log_pi: Array, eta: float) -> Array:
    """log of pi^(1 - eta) BR(pi)^eta, normalised: (..., A); eta = 1 is the plain iteration (eq-mirror-step).

    Mirror descent, or multiplicative weights of size eta / beta on the payoff with its price. `eta` lies in (0, 1].
    """
    return log_softmax((1 - _step(eta)) * log_pi + eta * (game.log_pi_0 + against(game.payoff, log_pi) / game.beta))


def spectral_radius(game: Game, log_pi: Array) -> Array:
    """s, the largest |eigenvalue| of (diag pi - pi pi') G / beta; at pi*, what an iteration makes of a small error:
    (...) (eq-spectral-radius). The eigenvalues are imaginary. Under Bradley-Terry s = 0.
    """
    root = np.exp(log_pi / 2)
    along = np.eye(root.shape[-1]) - root[..., :, None] * root[..., None, :]
    turn = along @ (root[..., :, None] * game.payoff * root[..., None, :]) @ along / game.beta
    return np.linalg.norm(turn, 2, axis=(-2, -1))  # of the same matrix in other coordinates, where it is antisymmetric


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
    return log_softmax(mixture + eta * against(game.payoff, mixture) / game.beta)


def _step(eta: float) -> float:
    if not 0 < eta <= 1:
        raise ValueError(f"eta is a share of the way to the best response, in (0, 1]; got {eta}")
    return eta
