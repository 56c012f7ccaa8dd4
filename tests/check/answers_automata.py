"""The exercises on sums over automata, solved and got wrong by a reader who likes loops and recursion."""

import math

import numpy as np


def walks(p, following, horizon, start=None, last=1):
    """Row t: the probability of each state, as a sum over all ways of t words."""
    states, words = len(p), p.shape[1] - last
    rows = [dict.fromkeys(range(states), 0.0) | ({0: 1.0} if start is None else dict(enumerate(start)))]
    for _ in range(horizon - 1):
        onward = dict.fromkeys(range(states), 0.0)
        for s, mass in rows[-1].items():
            for w in range(words):
                onward[int(following[s, w])] += mass * p[s, w]
        rows.append(onward)
    return np.array([[row[s] for s in range(states)] for row in rows])


def forward_algorithm(p, following, horizon):
    return walks(p, following, horizon)


def steps(p, following, horizon, put):
    rows = [[1.0] + [0.0] * (len(p) - 1)]
    for _ in range(horizon - 1):
        onward = [0.0] * len(p)
        for s in range(len(p)):
            for w in range(p.shape[1] - 1):
                put(onward, int(following[s, w]), s, p[s, w] * rows[-1][s], p[s, w] * rows[-1][following[s, w]])
        rows.append(onward)
    return np.array(rows)


def likeliest(onward, to, s, mass, back):
    onward[to] = max(onward[to], mass)


def overwrite(onward, to, s, mass, back):
    onward[to] = mass


def backward(onward, to, s, mass, back):
    onward[s] += back


def normalised(p, following, horizon):
    rows = walks(p, following, horizon)
    return np.array([row / row.sum() for row in rows])  # the last word is what is normalised away


def without_end(p, following, horizon):
    words = p[:, :-1] / (1 - p[:, -1:])
    return walks(np.hstack([words, p[:, -1:]]), following, horizon)


def value(log_p, following, last, cost, state, left, join=None, end=None):
    """What is ahead of a state with `left` tokens to go, by recursion."""
    if left == 0:
        return last[state]
    ahead = []
    for w in range(log_p.shape[1]):
        if w + 1 < log_p.shape[1]:
            ahead.append(value(log_p, following, last, cost, following[state, w], left - 1, join, end))
        elif end is None:
            ahead.append(last[state])
        else:
            ahead.append(end(log_p, following, last, cost, state, left - 1, join))
    return (join or log_mean)(log_p[state], ahead) - cost


def go_on(log_p, following, last, cost, state, left, join):
    return value(log_p, following, last, cost, following[state, -1], left, join, go_on)


def log_mean(log_p, ahead):
    weights = [a + b for a, b in zip(log_p, ahead, strict=True)]
    return max(weights) + math.log(sum(math.exp(w - max(weights)) for w in weights))


def values(divide=lambda final, cost, beta: (final / beta, cost / beta), join=None, end=None):
    def solve(log_p, following, final, cost, beta, horizon):
        last, price = divide(final, cost, beta)
        return np.array(
            [
                [value(log_p, following, last, price, s, horizon - t, join, end) for s in range(len(log_p))]
                for t in range(horizon + 1)
            ]
        )

    return solve


gibbs_by_dynamic_programming = values()


def naive_values(log_p, following, final, cost, beta, horizon):
    """Right, but exponentials of large rewards overflow."""
    return values(join=lambda p, ahead: np.log(np.sum(np.exp(p) * np.exp(ahead))))(
        log_p, following, final, cost, beta, horizon
    )


def cut_for_nothing(log_p, following, final, cost, beta, horizon):
    rows = [np.zeros(len(final))]
    for _ in range(horizon):
        ahead = [[rows[0][to] for to in states[:-1]] + [f / beta] for states, f in zip(following, final, strict=True)]
        rows.insert(0, np.array([log_mean(p, a) - cost / beta for p, a in zip(log_p, ahead, strict=True)]))
    return np.array(rows)


WRONG = {
    "forward_algorithm": [
        (lambda p, f, n: walks(p, f, n, last=0), "You follow the end as if it were a word: a text"),
        (lambda p, f, n: steps(p, f, n, likeliest), "You keep the likeliest way to each state; add"),
        (lambda p, f, n: steps(p, f, n, overwrite), "Of two words that lead to the same state one"),
        (normalised, "You normalise each row; what is missing from 1"),
        (without_end, "You normalise the words of each state without"),
        (lambda p, f, n: walks(p, f, n + 1)[1:], "Your first row is behind the first word; before"),
        (lambda p, f, n: walks(p, f, n, start=[1 / len(p)] * len(p)), "You start in all states alike; every"),
        (lambda p, f, n: steps(p, f, n, backward), "You sweep backward: from the state behind a word"),
    ],
    "gibbs_by_dynamic_programming": [
        (values(lambda final, cost, beta: (final / beta, 0.0)), "You forgot what a token costs."),
        (values(lambda final, cost, beta: (final / beta, cost)), "You forgot to divide the cost by beta: it"),
        (values(lambda final, cost, beta: (final, cost)), "You forgot beta: rewards and costs are"),
        (values(lambda final, cost, beta: (final * beta, cost * beta)), "You multiply by beta; divide"),
        (values(join=lambda p, ahead: max(map(sum, zip(p, ahead, strict=True)))), "You take the best word; sum"),
        (values(join=lambda p, ahead: np.exp(p) @ ahead), "You take the mean of what is ahead; take the log"),
        (values(join=lambda p, ahead: log_mean(0 * p, ahead)), "You forgot how likely each word is: add"),
        (values(end=go_on), "You go on behind the end: it is followed by F"),
        (values(end=lambda *where: 0.0), "The end pays nothing in yours: it is followed"),
        (cut_for_nothing, "A text that the horizon cuts off is paid, too"),
        (values(end=lambda p, f, last, cost, s, left, join: last[s] + cost), "The end is a token, and costs as much"),
        (lambda *case: case[4] * gibbs_by_dynamic_programming(*case), "You return beta h, which is in units of"),
        (lambda *case: gibbs_by_dynamic_programming(*case)[::-1], "You return the rows in reverse, the horizon"),
    ],
}
