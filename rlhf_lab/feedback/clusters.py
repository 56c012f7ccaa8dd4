"""Which annotators belong together? A mixture of groups, fitted by EM, and when there is anything to find.

Beside the chapter "Whose preferences?"; functions stand in the order of its equations.

    z group, one of Z, with a share w_z    i annotator, one of N    n number of questions (pairs of answers)
    p_z probability of label 1 for each question    h_iz probability that i belongs to z    m labels of an annotator
    a root mean square of p_1 - p_2    x strength of the signal

Labels are counted: `wins` and `asked` (..., N, n) say how often an annotator preferred the first of a pair, and how
often it was shown. The axes before are seeds.
"""

from itertools import permutations
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from rlhf_lab.feedback import hidden_context
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array

STEPS = 300  # of EM
STILL = 1e-6  # probability by which a membership may still move when it stops
VIRTUAL = 0.5  # labels of either kind that every question has from the start, in each group


def ask(p: Array, member: Array, labels: int, rng: Generator, often: Array | None = None) -> tuple[Array, Array]:
    """Draw `labels` answers of each annotator: how often they said 1, and were asked, (..., N, n) each.

    `p` (Z, n) are the groups, `member` (..., N) says who is in which. Questions are drawn anew for each label, with
    the probabilities `often` (n,), equal ones if it is not given.
    """
    p = np.asarray(checks.share("p", p), dtype=float)
    checks.count("labels", labels, "how many labels an annotator gives")
    member = checks.actions("member", member, len(p))
    even = np.full(p.shape[1], 1 / p.shape[1])
    chance = even if often is None else checks.probabilities("often", often)
    asked = rng.multinomial(labels, chance, size=member.shape)
    return rng.binomial(asked, p[member]), asked


def log_likelihood(wins: Array, asked: Array, p: Array) -> Array:
    """sum_n k log p_zn + (t - k) log(1 - p_zn) of k wins among t, for each annotator and group: (..., N, Z)
    (eq-group-likelihood).

    `p` (..., Z, n), within (0, 1).
    """
    return np.matmul(wins, np.swapaxes(np.log(p), -1, -2)) + np.matmul(asked - wins, np.swapaxes(np.log1p(-p), -1, -2))


def membership(log_p: Array, shares: Array) -> Array:
    """h_iz = w_z P(labels of i | z), normalised over z: the E step, (..., N, Z) (eq-em)."""
    weight = np.log(shares)[..., None, :] + log_p
    weight = np.exp(weight - np.max(weight, axis=-1, keepdims=True))
    return weight / np.sum(weight, axis=-1, keepdims=True)


def group_shares(wins: Array, asked: Array, member: Array) -> Array:
    """p_zn = (1/2 + sum_i h_iz k_in) / (1 + sum_i h_iz t_in), the M step, (..., Z, n): the second line
    of the same equation.

    Each question starts with half a label of either kind, which keeps p off 0 and 1.
    """
    weight = np.swapaxes(member, -1, -2)
    return (VIRTUAL + np.matmul(weight, wins)) / (2 * VIRTUAL + np.matmul(weight, asked))


class Groups(NamedTuple):
    """What EM found: `member` (..., N, Z), `p` (..., Z, n), `shares` (..., Z), and the evidence after each step.

    `evidence` (steps, ...) is the log-likelihood with that of the virtual labels: EM raises it with each step.
    """

    member: Array
    p: Array
    shares: Array
    evidence: Array


def fit_groups(wins: Array, asked: Array, groups: int, rng: Generator) -> Groups:
    """Fit a mixture of `groups` by EM from random memberships, until they stand still or for 300 steps.

    Dempster, Laird and Rubin 1977. Raises `ValueError` for counts that are none.
    """
    wins, asked = _counts(wins, asked)
    checks.count("groups", groups, "the number of groups")
    member = rng.dirichlet(np.ones(groups), size=asked.shape[:-1])
    evidence = []
    for _ in range(STEPS):
        p, shares = group_shares(wins, asked, member), _mean_membership(member)
        log_p = log_likelihood(wins, asked, p)
        before, member = member, membership(log_p, shares)
        prior = VIRTUAL * np.sum(np.log(p) + np.log1p(-p), axis=(-2, -1))
        mixed = np.log(shares)[..., None, :] + log_p
        evidence.append(np.sum(np.logaddexp.reduce(mixed, axis=-1), axis=-1) + prior)
        if np.abs(member - before).max() < STILL:
            break
    return Groups(member, p, shares, np.array(evidence))


def _mean_membership(member: Array) -> Array:
    return np.maximum(np.mean(member, axis=-2), 1e-300)


def _counts(wins: Array, asked: Array) -> tuple[Array, Array]:
    wins, asked = np.asarray(wins, dtype=float), np.asarray(asked, dtype=float)
    if wins.shape != asked.shape or wins.ndim < 2 or not wins.size:
        raise ValueError(
            f"wins and asked must have one shape (..., N, n), a row for each annotator, a column for each question; "
            f"got {wins.shape} and {asked.shape}"
        )
    if not ((wins >= 0) & (wins <= asked)).all():
        raise ValueError("wins are counts from 0 to asked; here some are below 0, above it, or NaN")
    return wins, asked


def group_utilities(wins: Array, asked: Array, member: Array) -> Array:
    """Return the reward model of each group, utilities (Z, A) with mean 0: eq-utility-borda with the labels of its own.

    Here the questions are all pairs of A answers, in the order of `np.triu_indices(A, 1)`, for counts (N, n) and
    `member` (N, Z); half a label of either kind stands in each pair.
    """
    wins, asked = _counts(wins, asked)
    answers = round((1 + (1 + 8 * wins.shape[-1]) ** 0.5) / 2)
    if answers * (answers - 1) // 2 != wins.shape[-1]:
        raise ValueError(f"{wins.shape[-1]} questions are not all pairs of any number of answers")
    first, second = np.triu_indices(answers, 1)
    found = []
    for shares, weight in zip(group_shares(wins, asked, member), 2 * VIRTUAL + member.T @ asked, strict=True):
        matrix, often = np.full((answers, answers), 0.5), np.zeros((answers, answers))
        matrix[first, second], matrix[second, first] = shares, 1 - shares
        often[first, second] = often[second, first] = weight
        found.append(hidden_context.fit_utility(matrix, often))
    return np.array(found)


def strength(labels: float, annotators: int, questions: int, gap: float, share: float = 0.5) -> float:
    """x = 4 w (1 - w) m a^2 sqrt(N / n): two groups show from about x = 1 on, if m is well above 1 (eq-strength).

    `gap` is a, the root mean square of p_1 - p_2, `share` w. From the singular values of a matrix of low rank in noise
    (Baik et al. 2005), with labels near level; one label of each annotator tells nothing at any x.
    """
    checks.share("share", share)
    return float(4 * share * (1 - share) * labels * gap**2 * (annotators / questions) ** 0.5)


def accuracy(member: Array, truth: Array) -> Array:
    """Return how often a member of a group is placed in it, mean over groups, (...): 1/2 of two groups is chance.

    `member` (..., N, Z) as found, `truth` (..., N) the groups that they are in, each with somebody in it. Groups that
    were found have no names: they are given those that fit best.
    """
    groups, found = range(member.shape[-1]), np.argmax(member, axis=-1)
    inside = [truth == z for z in groups]
    size = [np.sum(each, axis=-1) for each in inside]
    if np.min(size) == 0:
        raise ValueError("a group has no members; its accuracy is not defined")
    placed = [
        [np.sum(each & (found == name), axis=-1) / count for name in groups]
        for each, count in zip(inside, size, strict=True)
    ]
    fits = [np.mean([placed[z][name] for z, name in enumerate(order)], axis=0) for order in permutations(groups)]
    return np.max(fits, axis=0)
