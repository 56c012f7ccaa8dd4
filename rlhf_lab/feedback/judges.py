"""Judges: which tables can be their agreement, whom screening removes, and a bias towards the answer shown first.

Beside the chapter "Whose preferences?"; functions stand in the order of its equations.

    m margin of two answers    b position bias, nats in favour of what is shown first    p, q probability that the first
    answer is preferred, shown first and shown second    a, b, c judges    A_ab agreement
    rho correlation of two judges' margins

Verdicts are 1 for the first answer, 0 for the second, 1/2 for a tie.
"""

from itertools import combinations, product
from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit, ndtri

from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array

GRID = 4001  # angles on which the agreement of two tastes is integrated


def forced_choice_excess(agreement: Array) -> Array:
    """Return A_ab + A_ac + A_bc - 1 for all triples of judges, in order: at least 0 for forced choices
    (eq-forced-choice).

    Of three verdicts out of two, at least two agree. `agreement` (A, A) with A >= 3.
    """
    matrix = _agreement(agreement, judges=3)
    return np.array([matrix[a, b] + matrix[a, c] + matrix[b, c] - 1 for a, b, c in combinations(range(len(matrix)), 3)])


class Nearest(NamedTuple):
    """The nearest possible agreement (A, A), and by how much its worst entry is off."""

    agreement: Array
    distance: float


def nearest_agreement(agreement: Array, verdicts: int) -> Nearest:
    """Find the table nearest to `agreement` (A, A) that judges with so many possible verdicts can have.

    A table is possible if and only if it is a mixture of those of single questions, where each two judges agree or do
    not. A linear programme over all of these makes the largest difference least. Two verdicts are a forced choice,
    three have ties.
    """
    matrix = _agreement(agreement, judges=2)
    checks.count("verdicts", verdicts, "how many verdicts there are to choose from")
    pairs = list(combinations(range(len(matrix)), 2))
    answers = np.array([(0, *rest) for rest in product(range(verdicts), repeat=len(matrix) - 1)])
    single = np.unique([[row[a] == row[b] for a, b in pairs] for row in answers], axis=0).astype(float)
    wanted = np.array([matrix[pair] for pair in pairs])
    off = -np.ones((len(pairs), 1))
    from scipy.optimize import linprog  # only who looks for a table waits for it

    found = linprog(
        np.append(np.zeros(len(single)), 1.0),
        A_ub=np.block([[single.T, off], [-single.T, off]]),
        b_ub=np.concatenate([wanted, -wanted]),
        A_eq=np.append(np.ones(len(single)), 0.0)[None],
        b_eq=[1.0],
    )
    nearest = np.eye(len(matrix))
    for (a, b), value in zip(pairs, found.x[:-1] @ single, strict=True):
        nearest[a, b] = nearest[b, a] = value
    return Nearest(nearest, float(found.fun))


def of_lower_triangle(rows: list[list[float]]) -> Array:
    """Return the table (A, A) whose rows are printed up to the diagonal, as [[1], [.5, 1], ...]."""
    if [len(row) for row in rows] != list(range(1, len(rows) + 1)):
        raise ValueError(f"row k must have k + 1 numbers, the last on the diagonal; got {[len(row) for row in rows]}")
    lower = np.zeros((len(rows), len(rows)))
    for place, row in enumerate(rows):
        lower[place, : place + 1] = row
    return lower + np.tril(lower, -1).T


def agreement_of_tastes(correlation: Array, ties: float) -> Array:
    """Return how often two judges agree whose margins are normal with this correlation, (...) (eq-agreement-tastes).

    Each calls a tie where its margin is small, which is a share `ties` of the questions, in [0, 1). For ties = 0 it is
    1/2 + arcsin(rho) / pi (Sheppard 1899).
    """
    angle, agree = _curve(ties)
    return np.interp(np.arcsin(_correlation(correlation)), angle, agree)


def tastes_of_agreement(agreement: Array, ties: float) -> Array:
    """Return the correlations of margins that make judges agree so often, (A, A), with 1 on the diagonal.

    The inverse of `agreement_of_tastes` where that rises; NaN for an agreement that no tastes have, with so many ties.
    There are such judges if and only if the smallest eigenvalue is not negative.
    """
    matrix = _agreement(agreement, judges=2)
    angle, agree = _curve(ties)
    lowest = np.argmin(agree)
    rho = np.sin(np.interp(matrix, agree[lowest:], angle[lowest:]))
    rho = np.where(matrix < agree[lowest], np.nan, rho)
    np.fill_diagonal(rho, 1.0)
    return rho


def _curve(ties: float) -> tuple[Array, Array]:
    """Return arcsin(rho) from -pi/2 to pi/2, and the agreement there: the integral of Plackett's derivative."""
    if not 0 <= ties < 1:
        raise ValueError(f"ties is the share of questions that a judge calls a tie, at least 0 and below 1; got {ties}")
    angle = np.linspace(-np.pi / 2, np.pi / 2, GRID)
    middle = np.sin((angle[1:] + angle[:-1]) / 2)
    band = ndtri((1 + ties) / 2) ** 2
    slope = (2 * np.exp(-band / (1 + middle)) - np.exp(-band / (1 - middle))) / np.pi
    return angle, 1 - np.append(np.cumsum((slope * np.diff(angle))[::-1])[::-1], 0.0)


def _correlation(value: Array) -> Array:
    if not (np.abs(value) <= 1).all():
        raise ValueError(f"a correlation lies in [-1, 1]; got {np.asarray(value)[~(np.abs(value) <= 1)].flat[0]}")
    return np.asarray(value, dtype=float)


def agreement_with_others(agreement: Array) -> Array:
    """Return for each judge the mean agreement with all others, (A, A) to (A,): what screening looks at."""
    matrix = _agreement(agreement, judges=2)
    return (matrix.sum(-1) - matrix.diagonal()) / (len(matrix) - 1)


def retest(verdict: Array, again: Array) -> Array:
    """Return how often judges give the same verdict when asked twice, (A, N) and (A, N) to (A,) (eq-retest).

    It expects p^2 + (1 - p)^2, and knows nothing of what others think.
    """
    verdict, again = checks.labels("verdict", verdict), checks.labels("again", again)
    if verdict.shape != again.shape:
        raise ValueError(f"each verdict needs a second one; got shapes {verdict.shape} and {again.shape}")
    return np.mean(verdict == again, axis=-1)


class Orders(NamedTuple):
    """How likely an answer is to win, shown first and shown second; each (...)."""

    first: Array
    second: Array


def with_position_bias(margin: Array, bias: Array) -> Orders:
    """p = sigmoid(m + b) and q = sigmoid(m - b): a judge who favours what is shown first, if b > 0 (eq-position-bias).

    `margin` (...) is that of the answer, `bias` broadcasts with it.
    """
    return Orders(expit(np.add(margin, bias)), expit(np.subtract(margin, bias)))


def mean_log_odds(orders: Orders) -> Array:
    """(logit p + logit q) / 2, which is m: the bias cancels (eq-mean-log-odds). It takes probabilities, no verdicts."""
    return (logit(_open(orders.first)) + logit(_open(orders.second))) / 2


def mean_verdict(orders: Orders) -> Array:
    """(p + q) / 2: the share of wins over both orders, or over one that is shuffled (eq-mean-verdict).

    Its log-odds are log((cosh b + e^m) / (cosh b + e^-m)): nearer to 0 than m if b is not 0.
    """
    return (checks.share("first", orders.first) + checks.share("second", orders.second)) / 2


def consistent(orders: Orders) -> tuple[Array, Array]:
    """Return p q / (p q + (1 - p)(1 - q)), the share of wins where both orders give one verdict, and how often they do.

    The log-odds of the first are logit p + logit q = 2 m: no bias, and twice the margin (eq-consistent-verdicts).
    """
    both = _open(orders.first) * _open(orders.second)
    kept = both + (1 - orders.first) * (1 - orders.second)
    return both / kept, kept


def _open(p: Array) -> Array:
    p = np.asarray(checks.share("a probability of preference", p), dtype=float)
    if ((p == 0) | (p == 1)).any():
        raise ValueError("a probability of preference of 0 or 1 has infinite log-odds; count some more verdicts")
    return p


def _agreement(value: Array, judges: int) -> Array:
    matrix = np.asarray(checks.share("agreement", value), dtype=float)
    if matrix.ndim != 2 or len(matrix) != matrix.shape[1] or len(matrix) < judges:
        raise ValueError(
            f"agreement must be (A, A), a row and a column for each of at least {judges} judges; got {matrix.shape}"
        )
    if not np.allclose(matrix, matrix.T, atol=1e-9):
        raise ValueError("agreement must be symmetric: fill in both halves, for instance by `of_lower_triangle`")
    return matrix
