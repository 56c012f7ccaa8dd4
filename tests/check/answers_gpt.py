"""The exercises on the parts of a tiny GPT, solved and got wrong by a reader who likes loops."""

import math

import numpy as np


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
