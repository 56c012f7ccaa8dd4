"""What the checkers of the chapter "Verifiable rewards" know: answer keys, cases and typical mistakes."""

from collections.abc import Callable
from math import comb
from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise, tenths
from rlhf_lab.methods import group_ends, group_losses
from rlhf_lab.numerics.autodiff import Array


def _capped(cap: float) -> Callable[[Array], Array]:
    return lambda f: np.minimum(group_losses.mean_advantages(f), cap)


def _prompt_weight(p: Array, k: int, c: float) -> Array:
    return group_ends.difficulty_weight(_capped(c), p, k)


def _prompt_weight_case(rng: Generator) -> Case:
    k = int(rng.integers(3, 9))
    chances = rng.choice(np.arange(1, 20), size=int(rng.integers(2, 8)), replace=False) / 20
    return chances, k, float(rng.choice((0.2, 0.3, 0.4, 0.5)))


def _prompt_weight_mistakes(p: Array, k: int, c: float) -> dict[str, Any]:
    right, wrong = group_ends.expected_advantage(_capped(c), p, k)

    def others(count: int, size: int) -> Array:
        return sum(comb(count, j) * p**j * (1 - p) ** (count - j) * (_pair(j, size, c)) for j in range(count + 1))

    return {
        "You forgot the cap.": group_ends.difficulty_weight(group_losses.mean_advantages, p, k),
        "You return only what right answers contribute; take off the advantage of the wrong ones.": right,
        "You add the two; wrong answers pull against grad p, so take the difference.": right + wrong,
        "You weigh the advantages with p and 1 - p: these are in grad p already.": p * right - (1 - p) * wrong,
        "All k answers follow the binomial in your sum; given one answer, only the k - 1 others are drawn.": others(
            k, k + 1
        ),
        "Your cap holds on both sides, as in clip; it holds only from above.": group_ends.difficulty_weight(
            lambda f: np.clip(group_losses.mean_advantages(f), -c, c), p, k
        ),
        "Your mean leaves the own answer out, as in RLOO; here it is that of the whole group.": (
            group_ends.difficulty_weight(lambda f: np.minimum(k / (k - 1) * (f - f.mean(-1, keepdims=True)), c), p, k)
        ),
        "You divide by the deviation of the group; here nothing is divided.": group_ends.difficulty_weight(
            lambda f: np.minimum(_standard(f), c), p, k
        ),
    }


def _pair(j: int, size: int, c: float) -> float:
    return min(1 - (j + 1) / size, c) - min(-j / size, c)


def _standard(f: Array) -> Array:
    spread = f.std(-1, keepdims=True)
    return np.where(spread > 0, (f - f.mean(-1, keepdims=True)) / np.where(spread > 0, spread, 1.0), 0.0)


PROMPT_WEIGHT = Exercise(
    "prompt_weight", "the weight of each chance", _prompt_weight, _prompt_weight_case, _prompt_weight_mistakes
)


def _three_means(each: Array, mask: Array, constant: float) -> Array:
    means = group_losses.sequence_mean, group_losses.token_mean, group_losses.by_constant(constant)
    return np.array([mean(each, mask) for mean in means])


def _three_means_case(rng: Generator) -> Case:
    n, longest = int(rng.integers(2, 5)), int(rng.integers(3, 6))
    lengths = rng.permutation(np.append(rng.integers(1, longest, size=n - 1), longest))
    return tenths(rng, n, longest), 1.0 * (np.arange(longest) < lengths[:, None]), float(longest + rng.integers(1, 4))


def _three_means_mistakes(each: Array, mask: Array, constant: float) -> dict[str, Any]:
    right = _three_means(each, mask, constant)
    summed = (each * mask).sum(1)

    def times(*factors: float) -> Array:
        return right * np.array(factors)

    n, longest = each.shape
    return {
        "You forgot the mask: what stands behind the end of an answer does not count.": _three_means(
            each, np.ones(mask.shape), constant
        ),
        "The first and the second are exchanged: GRPO takes the mean of each answer first.": right[[1, 0, 2]],
        "You average over the padding, too: divide by the number of tokens, not by the length of a row.": np.array(
            [summed.mean() / longest, summed.sum() / each.size, right[2]]
        ),
        "You forgot to divide the third by the constant L.": times(1, 1, constant),
        "You divide the third by L alone; it is a mean over answers as well.": times(1, 1, n),
        "You divide the third by the longest answer; L is given.": times(1, 1, constant / longest),
        "The first is a sum over answers in yours; take their mean.": times(n, 1, 1),
        "Losses are not turned: keep the sign of `each`.": -right,
    }


THREE_MEANS = Exercise(
    "three_means", "one number for each mean", _three_means, _three_means_case, _three_means_mistakes
)


def _pass_estimate(right: Array, n: int, k: int) -> Array:
    return group_ends.pass_estimate(right, n, k).mean()


def _pass_estimate_case(rng: Generator) -> Case:
    n = int(rng.integers(6, 12))
    return rng.integers(0, n // 2 + 1, size=int(rng.integers(2, 6))), n, int(rng.integers(2, 5))


def _pass_estimate_mistakes(right: Array, n: int, k: int) -> dict[str, Any]:
    share, each = right / n, group_ends.pass_estimate(right, n, k)
    return {
        "You draw with replacement, 1 - (1 - c/n)^k, which is too low; draw k different answers.": (
            1 - (1 - share) ** k
        ).mean(),
        "You return one number for each prompt; return their mean.": each,
        "That is the chance that all k are wrong; take it from 1.": 1 - each.mean(),
        "That is pass@1: the share that is right.": share.mean(),
        "That is the chance that all k are right.": np.mean([comb(int(c), k) / comb(n, k) for c in right]),
        "You pool all prompts into one share; prompts differ, so estimate each by itself, then take the mean.": 1
        - (1 - share.mean()) ** k,
        "That is the mean number of right ones among k, which can exceed 1.": k * share.mean(),
    }


PASS_ESTIMATE = Exercise("pass_estimate", "one number", _pass_estimate, _pass_estimate_case, _pass_estimate_mistakes)


def _crossing(before: Array, after: Array) -> Array:
    k = np.arange(1, 1001)
    gain = [1 - np.mean((1 - p[:, None]) ** k, axis=0) for p in (after, before)]
    above = np.flatnonzero(gain[1] > gain[0] + 1e-12)
    return np.array(k[above[0]] if len(above) else -1)


def _crossing_case(rng: Generator) -> Case:
    count = int(rng.integers(2, 6))
    before = rng.integers(1, 30, size=count) / 100
    after = np.minimum(before * rng.integers(2, 5), 0.99).round(2)
    if rng.random() < 0.8:
        after[0] = np.round(before[0] / int(rng.integers(2, 9)), 3)
    return before, after


def _crossing_mistakes(before: Array, after: Array) -> dict[str, Any]:
    right = int(_crossing(before, after))
    pooled = _crossing(before.mean(keepdims=True), after.mean(keepdims=True))
    each = [int(_crossing(before[i : i + 1], after[i : i + 1])) for i in range(len(before))]
    found = [k for k in each if k > 0]
    return {
        "You pool the prompts into one chance; pass@k is the mean of the prompts' own.": pooled,
        "You return the last k at which training is ahead; return the first at which it is behind.": right - 1
        if right > 0
        else -1,
        "Before and after are exchanged.": _crossing(after, before),
        "You return the first k at which one of the prompts is behind; the mean over prompts counts.": min(found)
        if found
        else -1,
        "If the curves never cross, return -1.": right if right > 0 else 0,
    }


CROSSING = Exercise("crossing", "the first k", _crossing, _crossing_case, _crossing_mistakes)
