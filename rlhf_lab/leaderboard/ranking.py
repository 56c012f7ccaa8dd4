"""Rank named items from comparisons: Bradley-Terry strengths, Davidson's ties, their errors, and what they hide.

Item i has a strength r_i in nats; m = r_i - r_j. Without ties P(i beats j) = sigmoid(m). With ties (Davidson 1970)
win, loss and tie have the weights e^{m/2}, e^{-m/2} and nu = e^delta, divided by their sum.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array
from scipy.sparse.csgraph import NegativeCycleError, bellman_ford, connected_components
from threadpoolctl import threadpool_limits

from rlhf_lab.numerics.checks import BoolArray, FloatArray, IntArray, tally

MOST_ITEMS = 5_000  # the Hessian is dense: 200 MB at this size
STEPS = 500  # of the damped Newton method
NAMED = 10  # items that a message lists


class Fit(NamedTuple):
    """Strengths (n,) that sum to zero, their covariance (n, n), nu (0 without ties), comparisons of each item (n,).

    `robust` (n, n) is the covariance that holds though the model may not, if it was asked for.
    """

    strength: FloatArray
    covariance: FloatArray
    tie: float
    comparisons: IntArray
    robust: FloatArray | None = None


class Pairs(NamedTuple):
    """For each two items that met, first < second: how often the first won, lost and tied. Arrays (P,)."""

    items: int
    first: IntArray
    second: IntArray
    wins: IntArray
    losses: IntArray
    ties: IntArray


def groups(winner: IntArray, loser: IntArray, tie: BoolArray | None = None, items: int | None = None) -> list[IntArray]:
    """Return the items that chains of comparisons link, largest group first: only inside a group can you compare."""
    winner, loser, tie, items = checked(winner, loser, tie, items)
    return _parts(_graph(np.ones(len(winner)), winner, loser, items), "weak")


def fit(
    winner: IntArray,
    loser: IntArray,
    tie: BoolArray | None = None,
    items: int | None = None,
    prior_precision: float = 0.0,
) -> Fit:
    """Maximise the likelihood of strengths r, and of delta = log nu if there are ties.

    `winner`, `loser` (N,) are indices of items, `tie` (N,) says which comparisons had no winner. A Gaussian prior
    around 0 with `prior_precision` (0: none; otherwise at least 1e-6) lies on each strength and on delta. The
    covariance is the inverse of the observed information, with delta profiled out, of strengths that sum to zero.
    Raises `ValueError` if there is no maximum and no prior: then some items never lost, or never won, to the rest.
    """
    if prior_precision != 0 and not 1e-6 <= prior_precision < np.inf:
        raise ValueError(f"prior_precision must be 0 (no prior) or finite and at least 1e-6; got {prior_precision}")
    pairs = counted(*checked(winner, loser, tie, items))
    reason = unbounded(pairs, [f"item {index}" for index in range(pairs.items)])
    if reason and not prior_precision:
        raise ValueError(f"no finite strengths fit best: {reason}; collect more comparisons or pass prior_precision")
    with few_threads(pairs.items):
        return fit_pairs(pairs, prior_precision)


def checked(
    winner: IntArray, loser: IntArray, tie: BoolArray | None, items: int | None
) -> tuple[IntArray, IntArray, BoolArray, int]:
    """Return the arrays and the number of items, checked and filled in; raises as `fit` does."""
    winner, loser = np.asarray(winner), np.asarray(loser)
    tie = np.zeros(winner.shape, bool) if tie is None else np.asarray(tie, bool)
    if winner.ndim != 1 or not winner.shape == loser.shape == tie.shape or not winner.size:
        shapes = f"{winner.shape}, {loser.shape} and {tie.shape}"
        raise ValueError(f"winner, loser and tie must have one shape (N,) with N at least 1; got {shapes}")
    if not (np.issubdtype(winner.dtype, np.integer) and np.issubdtype(loser.dtype, np.integer)):
        raise ValueError(f"winner and loser must be integers, the indices of items; got {winner.dtype}, {loser.dtype}")
    least, most = min(winner.min(), loser.min()), max(winner.max(), loser.max())
    items = int(most) + 1 if items is None else items
    if least < 0 or most >= items:
        raise ValueError(f"item {least if least < 0 else most} is not among the {items} items, 0 to {items - 1}")
    if (winner == loser).any():
        raise ValueError(
            f"comparison {(winner == loser).argmax()} compares item {winner[winner == loser][0]} with itself"
        )
    return winner.astype(np.intp, copy=False), loser.astype(np.intp, copy=False), tie, items


def counted(
    winner: IntArray, loser: IntArray, tie: BoolArray, items: int, count: FloatArray | IntArray | None = None
) -> Pairs:
    """Return how often each two items met, and how it ended: what the likelihood depends on.

    `count` (N,), above 0, says how many comparisons each entry stands for, in whole numbers or not.
    """
    if items > MOST_ITEMS:
        raise ValueError(
            f"{items:,} items are more than {MOST_ITEMS:,}, the most that fit in memory; rank fewer at once"
        )
    upset = winner > loser
    key = np.where(upset, loser * items + winner, winner * items + loser)
    met = np.flatnonzero(tally(key))

    def total(rows: BoolArray) -> Any:
        found = tally(key[rows], None if count is None else count[rows], size=int(key.max()) + 1)[met]
        return found if count is None or count.dtype.kind == "f" else np.rint(found).astype(np.intp)

    return Pairs(items, met // items, met % items, total(~upset & ~tie), total(upset & ~tie), total(tie))


def _graph(weight: FloatArray, tail: IntArray, head: IntArray, items: int) -> csr_array:
    # The algorithms of csgraph count in 32 bits on every machine; before scipy 1.15 they take nothing else.
    return csr_array((weight, (tail.astype(np.int32), head.astype(np.int32))), shape=(items, items))


def _parts(graph: csr_array, connection: str) -> list[IntArray]:
    _, label = connected_components(graph, connection=connection)
    parts = np.split(np.argsort(label, kind="stable"), np.cumsum(tally(label))[:-1])
    return sorted(parts, key=lambda part: (-len(part), part[0]))


def unbounded(pairs: Pairs, names: Sequence[str]) -> str:
    """Return why the likelihood has no maximum, or nothing if it has one."""
    # A win is an edge of weight -1 from the winner to the loser, a tie an edge of weight 1 both ways.
    forth = np.where(pairs.wins > 0, -1.0, pairs.ties > 0)
    back = np.where(pairs.losses > 0, -1.0, pairs.ties > 0)
    weight = np.concatenate([forth, back])
    tail, head = np.concatenate([pairs.first, pairs.second]), np.concatenate([pairs.second, pairs.first])
    edge = weight != 0
    graph = _graph(weight[edge], tail[edge], head[edge], pairs.items)
    largest, *others = _parts(graph, "weak")
    if others:
        return f"no chain of comparisons links {listed(names, largest)} with {listed(names, np.concatenate(others))}"
    parts = _parts(graph, "strong")
    if len(parts) > 1:
        part_of = np.empty(pairs.items, np.intp)
        for number, part in enumerate(parts):
            part_of[part] = number
        across = edge & (part_of[tail] != part_of[head])
        never_lost = np.flatnonzero(~np.isin(part_of, part_of[head[across]]))
        never_won = np.flatnonzero(~np.isin(part_of, part_of[tail[across]]))
        even = " or tied" if pairs.ties.any() else ""
        sides = [(never_lost, "lost"), (never_won, "won")]
        if len(parts) == 2 and len(never_lost) != len(never_won):  # one side is all that the other is not
            sides = [min(sides, key=lambda side: len(side[0]))]
        return "; ".join(f"never {verb}{even} against the rest: {listed(names, side)}" for side, verb in sides)
    if not pairs.ties.any() or (pairs.wins * pairs.losses).any():
        return ""
    # Strengths and delta can grow together without end unless some cycle holds more wins than ties.
    try:
        bellman_ford(graph, indices=0)
    except NegativeCycleError:
        return ""
    return "no item won against one that is as good or better, so that ties say nothing about how far items are apart"


def few_threads(items: int) -> Any:
    """Return a context in which small fits use one thread: on a busy machine, several wait longer than they work."""
    return threadpool_limits(limits=1 if items <= 1_000 else None)


def fit_pairs(pairs: Pairs, prior_precision: float, robust: bool = False) -> Fit:
    """Do what `fit` does for comparisons that are counted and have a maximum, or a prior.

    With `robust` the covariance H^-1 M H^-1 is found, too (Huber 1967, White 1982): H is the observed information, M
    the sum of g g^T over comparisons, with g the gradient of one. It holds if comparisons are independent, though their
    chances may not be those of the model.
    """
    n, first, second, wins, losses, ties = pairs
    total = (wins + losses + ties).astype(float)
    davidson = int(ties.any())
    theta = np.zeros(n + davidson)

    def by_item(values: FloatArray, sign: int) -> FloatArray:
        return np.asarray(tally(first, values, n) + sign * tally(second, values, n), float)

    hessian = np.zeros((n + davidson, n + davidson))
    for _ in range(STEPS):
        strength, delta = theta[:n], theta[n] if davidson else -np.inf
        half = (strength[first] - strength[second]) / 2
        peak = np.maximum(np.abs(half), delta)
        win, loss, even = np.exp(half - peak), np.exp(-half - peak), np.exp(delta - peak)
        scale = win + loss + even
        win, loss, even = win / scale, loss / scale, even / scale
        gradient = -prior_precision * theta
        gradient[:n] += by_item((wins - losses - total * (win - loss)) / 2, -1)
        curvature = total * (win * loss + even * (win + loss) / 4)
        # The strengths' mean is free, or held by the prior alone: a curvature along it changes nothing else.
        # Only the upper triangle is read.
        hessian[:n, :n] = 1 / n
        hessian[first, second] -= curvature
        hessian[np.arange(n), np.arange(n)] += by_item(curvature, 1) + prior_precision
        if davidson:
            gradient[n] += (ties - total * even).sum()
            hessian[:n, n] = by_item(-total * even * (win - loss) / 2, -1)
            hessian[n, n] = (total * even * (1 - even)).sum() + prior_precision
        try:
            factor = cho_factor(hessian)
        except np.linalg.LinAlgError:
            raise ValueError(
                "some comparisons are so many more than others that the fit is lost in rounding; leave the rare items "
                "out, or pass prior_precision"
            ) from None
        step = cho_solve(factor, gradient)
        # Along the step the curvature changes by at most a factor e^reach, so that this length never overshoots.
        lead = np.abs(step[first] - step[second]).max()
        reach = lead / 2 + max(lead / 2, abs(step[n]) if davidson else 0)
        theta += step * (np.log1p(reach) / reach if reach else 1)
        if reach < 1e-8:
            break
    else:
        raise ValueError(f"the fit has not converged after {STEPS} steps; pass a larger prior_precision")
    inverse = cho_solve(factor, np.eye(n + davidson))
    covariance = inverse[:n, :n] - 1 / (n * (1 + prior_precision))
    sandwich = None
    if robust:
        counts = np.stack([wins, losses, ties])
        by_lead = (np.array([[1.0], [-1.0], [0.0]]) - (win - loss)) / 2  # the gradient of each outcome in r_i - r_j
        by_delta = np.array([[0.0], [0.0], [1.0]]) - even
        meat, squares = np.zeros_like(hessian), (counts * by_lead**2).sum(0)
        meat[first, second] = meat[second, first] = -squares
        meat[np.arange(n), np.arange(n)] = by_item(squares, 1)
        if davidson:
            meat[:n, n] = meat[n, :n] = by_item((counts * by_lead * by_delta).sum(0), -1)
            meat[n, n] = (counts * by_delta**2).sum()
        sandwich = (inverse @ meat @ inverse)[:n, :n]
    met: Any = by_item(total, 1) if wins.dtype.kind == "f" else by_item(total, 1).astype(np.intp)
    nu = float(np.exp(theta[n])) if davidson else 0.0
    return Fit(theta[:n] - theta[:n].mean(), covariance, nu, met, sandwich)


def listed(names: Sequence[str], which: IntArray) -> str:
    """Return the names of some items as text, no more of them than a sentence holds."""
    more = f" and {len(which) - NAMED:,} more" if len(which) > NAMED else ""
    return ", ".join(names[index] for index in which[:NAMED]) + more
