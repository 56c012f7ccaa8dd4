"""The exercises of the chapter on a tiny GPT, solved and got wrong by a reader who likes loops."""

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


def attend(reads, scale=math.sqrt, weigh=None):
    """Attention, token by token; `reads(t, u, mask)` says whether token t reads token u."""

    def attention(query, key, value, mask):
        out = np.zeros((len(query), value.shape[1]))
        for t, q in enumerate(query):
            seen = [u for u in range(len(key)) if reads(t, u, mask)]
            scores = {u: float(q @ key[u]) / scale(len(q)) for u in range(len(key))}
            for u, weight in (weigh or soft)(scores, seen).items():
                out[t] += weight * value[u]
        return out

    return attention


def soft(scores, seen):
    top = max((scores[u] for u in seen), default=0.0)
    total = sum(math.exp(scores[u] - top) for u in seen)
    return {u: math.exp(scores[u] - top) / total for u in seen}


def visible(t, u, mask):
    return u <= t and mask[u] > 0


causal_attention = attend(visible)


def hide_late(scores, seen):
    everything = soft(scores, list(scores))
    return {u: everything[u] for u in seen}


def hide_with_zeros(scores, seen):
    return soft({u: score if u in seen else 0.0 for u, score in scores.items()}, list(scores))


def over_readers(query, key, value, mask):
    score = np.full((len(query), len(query)), -1e30)
    for t in range(len(query)):
        for u in range(len(query)):
            if visible(t, u, mask):
                score[t, u] = query[t] @ key[u] / math.sqrt(query.shape[1])
    columns = [np.exp(c - c.max()) / np.exp(c - c.max()).sum() for c in score.T]
    return np.array(columns).T @ value


def read(key=lambda query, key: key, scale=math.sqrt, weigh=soft):
    def attention(query, own, value, keys, values):
        seen = [*keys, key(query, own)]
        scores = dict(enumerate(float(query @ k) / scale(len(query)) for k in seen))
        return sum(w * [*values, value][u] for u, w in weigh(scores, list(scores)).items())

    return attention


cached_attention = read()


def cache_alone(query, key, value, keys, values):
    return read()(query, keys[-1], values[-1], keys[:-1], values[:-1])


def jacobian(row, gain, eps, deviation=None):
    """d y_j / d x_i of the layer for one row, entry by entry."""
    d = len(row)
    mean = sum(row) / d
    sigma = (deviation or (lambda c: math.sqrt(sum(x * x for x in c) / d + eps)))([x - mean for x in row])
    unit = [(x - mean) / sigma for x in row]
    return [[gain[j] / sigma * ((i == j) - 1 / d - unit[i] * unit[j] / d) for j in range(d)] for i in range(d)]


def by_rows(of_row):
    return lambda x, gain, gradient, eps: np.array(
        [of_row(row, gain, g, eps) for row, g in zip(x, gradient, strict=True)]
    )


def chain(deviation=None, use_gain=True, power=1):
    def of_row(row, gain, g, eps):
        d = len(row)
        gain = gain if use_gain else np.ones(d)
        away = (lambda c: deviation(c, eps)) if deviation else None
        sigma = math.sqrt(np.var(row) + eps)
        found = [sum(j * u for j, u in zip(line, g, strict=True)) for line in jacobian(list(row), gain, eps, away)]
        return [f / sigma ** (power - 1) for f in found]

    return by_rows(of_row)


layer_norm_gradient = chain()


def partly(mean, deviation):
    """The gradient with the mean, the deviation or both held fixed."""

    def of_row(row, gain, g, eps):
        sigma = math.sqrt(np.var(row) + eps)
        unit, h = (row - np.mean(row)) / sigma, g * gain
        found = h / sigma
        if mean:
            found = found - np.mean(h) / sigma
        if deviation:
            found = found - unit * np.mean(h * unit) / sigma
        return found

    return by_rows(of_row)


def over_rows(x, gain, gradient, eps):
    columns = [
        np.array(jacobian(list(column), np.ones(len(x)), eps)) @ (gradient[:, k] * gain[k])
        for k, column in enumerate(x.T)
    ]
    return np.array(columns).T


WRONG = {
    "forward_algorithm": [
        (lambda p, f, n: walks(p, f, n, last=0), "You follow the end as if it were a word: a text"),
        (lambda p, f, n: steps(p, f, n, likeliest), "You keep the likeliest way to each state; add"),
        (lambda p, f, n: steps(p, f, n, overwrite), "Of two words that lead to the same state one"),
        (normalised, "You normalise each row; what is missing from 1"),
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
        (lambda *case: gibbs_by_dynamic_programming(*case)[::-1], "You return the rows in reverse, the horizon"),
    ],
    "causal_attention": [
        (attend(lambda t, u, mask: mask[u] > 0), "You forgot that the future is hidden: a token"),
        (attend(lambda t, u, mask: u <= t), "You forgot the mask: nobody reads padding."),
        (attend(visible, scale=lambda width: 1), "You forgot to divide the scores by the root"),
        (attend(visible, scale=lambda width: width), "You divide the scores by the width; divide"),
        (attend(visible, weigh=hide_late), "You hide after the softmax: the weights"),
        (attend(visible, weigh=hide_with_zeros), "Hidden scores are 0 in yours, which still"),
        (over_readers, "Your softmax runs over the tokens that read; it"),
        (attend(lambda t, u, mask: u < t and mask[u] > 0), "A token does not read itself in yours: hide"),
    ],
    "cached_attention": [
        (cache_alone, "The new token does not read itself in yours: its"),
        (read(scale=lambda width: 1), "You forgot to divide the scores by the root"),
        (read(scale=lambda width: width), "You divide the scores by the width; divide"),
        (read(key=lambda query, key: query), "You take the query of the new token for its"),
        (lambda *case: cache_alone(*case) + case[2], "The new token stands beside the softmax in yours"),
        (read(weigh=lambda scores, seen: scores), "You weigh with the scores; weigh with"),
        (read(weigh=lambda scores, seen: dict.fromkeys(seen, 1 / len(seen))), "You read all alike; the scores"),
    ],
    "layer_norm_gradient": [
        (partly(mean=False, deviation=False), "You hold mean and deviation fixed: they"),
        (partly(mean=False, deviation=True), "You hold the mean fixed: it depends"),
        (partly(mean=True, deviation=False), "You hold the deviation fixed: it depends"),
        (chain(use_gain=False), "You forgot the gain: multiply what"),
        (chain(lambda c, eps: np.std(c)), "You forgot eps: it stands under the root."),
        (chain(lambda c, eps: np.std(c) + eps), "Your eps is added to the deviation; add"),
        (chain(lambda c, eps: math.sqrt(np.var(c, ddof=1) + eps)), "You divide the variance by D - 1; divide"),
        (chain(power=2), "You divide by the variance; divide by the"),
        (over_rows, "You take means over the rows; take them"),
        (
            by_rows(lambda row, gain, g, eps: gain * (row - row.mean()) / np.sqrt(row.var() + eps)),
            "That is the layer itself; its gradient is",
        ),
    ],
}
