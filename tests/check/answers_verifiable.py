"""The exercises of the chapter "Verifiable rewards", solved and got wrong by a reader who likes loops."""

import itertools
import math
import statistics

import numpy as np


def groups(p, k, first):
    """All verdicts of the k - 1 others, with their chance, behind a first one."""
    for rest in itertools.product((0, 1), repeat=k - 1):
        chance = math.prod(p if r else 1 - p for r in rest)
        yield chance, [first, *rest]


def centred(group):
    return group[0] - statistics.fmean(group)


def weight(advantage, join=lambda right, wrong, p: right - wrong):
    def of(chances, k, c):
        found = []
        for p in chances:
            means = [sum(q * advantage(group, c) for q, group in groups(p, k, first)) for first in (1, 0)]
            found.append(join(*means, p))
        return np.array(found)

    return of


def capped(group, c):
    return min(centred(group), c)


def binomial_of_all(chances, k, c):
    found = []
    for p in chances:
        w = 0.0
        for j in range(k + 1):
            w += math.comb(k, j) * p**j * (1 - p) ** (k - j) * (min(1 - (j + 1) / (k + 1), c) - min(-j / (k + 1), c))
        found.append(w)
    return np.array(found)


def standard(group, c):
    spread = statistics.pstdev(group)
    return min(centred(group) / spread, c) if spread else 0.0


prompt_weight = weight(capped)


def rows(each, mask):
    return [[x for x, m in zip(row, keep, strict=True) if m] for row, keep in zip(each, mask, strict=True)]


def three_means(each, mask, constant):
    answers = rows(each, mask)
    first = statistics.fmean(statistics.fmean(answer) for answer in answers)
    tokens = [x for answer in answers for x in answer]
    return np.array([first, statistics.fmean(tokens), sum(tokens) / len(answers) / constant])


def with_padding(each, mask, constant):
    total = sum(sum(answer) for answer in rows(each, mask))
    return [total / each.size, total / each.size, total / len(each) / constant]


def times(*factors):
    return lambda each, mask, constant: [
        f(each, mask, constant) * x for f, x in zip(factors, three_means(each, mask, constant), strict=True)
    ]


def one(each, mask, constant):
    return 1.0


def pass_estimate(right, n, k):
    found = []
    for c in right:
        verdicts = [1] * int(c) + [0] * (n - int(c))
        picks = list(itertools.combinations(verdicts, k))
        found.append(sum(any(pick) for pick in picks) / len(picks))
    return statistics.fmean(found)


def each_prompt(right, n, k):
    return np.array([pass_estimate([c], n, k) for c in right])


def all_right(right, n, k):
    return statistics.fmean(math.comb(int(c), k) / math.comb(n, k) for c in right)


def passes(chances, k):
    return statistics.fmean(1 - (1 - p) ** k for p in chances)


def crossing(before, after):
    for k in range(1, 1001):
        if passes(before, k) > passes(after, k) + 1e-12:
            return k
    return -1


def pooled(before, after):
    return crossing([statistics.fmean(before)], [statistics.fmean(after)])


def last_ahead(before, after):
    found = crossing(before, after)
    return found - 1 if found > 0 else -1


def earliest(before, after):
    found = [crossing([a], [b]) for a, b in zip(before, after, strict=True)]
    return min([k for k in found if k > 0], default=-1)


WRONG = {
    "prompt_weight": [
        (weight(lambda group, c: centred(group)), "You forgot the cap."),
        (weight(capped, lambda right, wrong, p: right), "You return only what right answers contribute; take"),
        (weight(capped, lambda right, wrong, p: right + wrong), "You add the two; wrong answers pull"),
        (weight(capped, lambda right, wrong, p: p * right - (1 - p) * wrong), "You weigh the advantages with p"),
        (binomial_of_all, "All k answers follow the binomial in your sum; given"),
        (weight(lambda group, c: max(min(centred(group), c), -c)), "Your cap holds on both sides, as in clip; it"),
        (
            weight(lambda group, c: min(centred(group) * len(group) / (len(group) - 1), c)),
            "Your mean leaves the own answer out, as",
        ),
        (weight(standard), "You divide by the deviation of the group; here"),
    ],
    "three_means": [
        (lambda e, m, c: three_means(e, np.ones_like(m), c), "You forgot the mask: what stands behind"),
        (lambda e, m, c: three_means(e, m, c)[[1, 0, 2]], "The first and the second are exchanged: GRPO"),
        (with_padding, "You average over the padding, too: divide"),
        (times(one, one, lambda e, m, c: c), "You forgot to divide the third by the constant"),
        (times(one, one, lambda e, m, c: len(e)), "You divide the third by L alone; it"),
        (times(one, one, lambda e, m, c: c / e.shape[1]), "You divide the third by the longest answer; L"),
        (times(lambda e, m, c: len(e), one, one), "The first is a sum over answers in yours; take"),
        (lambda e, m, c: -three_means(e, m, c), "Losses are not turned: keep the sign"),
    ],
    "pass_estimate": [
        (lambda c, n, k: np.mean(1 - (1 - c / n) ** k), "You draw with replacement, 1 - (1"),
        (each_prompt, "You return one number for each prompt; return"),
        (lambda c, n, k: 1 - pass_estimate(c, n, k), "That is the chance that all k are wrong; take"),
        (lambda c, n, k: np.mean(c / n), "That is pass@1: the share"),
        (all_right, "That is the chance that all k are right."),
        (lambda c, n, k: 1 - (1 - np.mean(c) / n) ** k, "You pool all prompts into one share; prompts"),
        (lambda c, n, k: k * np.mean(c) / n, "That is the mean number of right ones among"),
    ],
    "crossing": [
        (pooled, "You pool the prompts into one chance; pass@k"),
        (last_ahead, "You return the last k at which training"),
        (lambda before, after: crossing(after, before), "Before and after are exchanged."),
        (earliest, "You return the first k at which one of"),
        (lambda before, after: max(crossing(before, after), 0), "If the curves never cross, return -1."),
    ],
}
