"""The exercises of the chapter on a tiny GPT, solved and got wrong by a reader who likes loops."""

import math
from itertools import pairwise

import numpy as np


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


def by_formula(finish):
    """The gradient from h, what is centred and normalised, the deviation and the gain."""

    def of_row(row, gain, g, eps):
        sigma = math.sqrt(np.var(row) + eps)
        centred = row - np.mean(row)
        return finish(g, gain, centred, centred / sigma) / sigma

    return by_rows(of_row)


def over_rows(x, gain, gradient, eps):
    columns = [
        np.array(jacobian(list(column), np.ones(len(x)), eps)) @ (gradient[:, k] * gain[k])
        for k, column in enumerate(x.T)
    ]
    return np.array(columns).T


def texts_of(response, eos):
    """The places of each text, its first `eos` included, and nothing behind it."""
    for row in response.tolist():
        yield range(row.index(eos) + 1 if eos in row else len(row))


def divergence(p, q, said):
    return sum(math.exp(a) * (a - b) for a, b in zip(p, q, strict=True) if a > -math.inf)


def log_ratio(p, q, said):
    return p[said] - q[said]


def k3(p, q, said):
    return math.exp(q[said] - p[said]) - 1 - q[said] + p[said]


def own_term(p, q, said):
    return math.exp(p[said]) * (p[said] - q[said])


def along(of_choice=divergence, leave_eos=False, padding=False, join=np.mean, text=sum):
    def estimate(log_pi, log_ref, response, eos):
        found = []
        for n, places in enumerate(texts_of(response, eos)):
            places = range(response.shape[1]) if padding else places
            kept = [t for t in places if not leave_eos or response[n, t] != eos]
            found.append(text([of_choice(log_pi[n, t], log_ref[n, t], response[n, t]) for t in kept]))
        return join(found)

    return estimate


per_token_kl = along()


def over_tokens(log_pi, log_ref, response, eos):
    return per_token_kl(log_pi, log_ref, response, eos) / np.mean([len(p) for p in texts_of(response, eos)])


def over_places(log_pi, log_ref, response, eos):
    return per_token_kl(log_pi, log_ref, response, eos) / response.shape[1]


def tied(pairs=lambda text: list(pairwise(text)), into=None, reads=1, writes=1, hit=1, count=len):
    """The gradient pair by pair; `into` says to which token what is read sends its gradient."""

    def gradient(embed, tokens):
        found = np.zeros_like(embed)
        for x, y in pairs(tokens):
            score = embed @ embed[x]
            slope = np.exp(score - score.max()) / np.exp(score - score.max()).sum()
            slope[y] -= hit
            found[y if into else x] += reads * sum(s * row for s, row in zip(slope, embed, strict=True))
            found += writes * np.outer(slope, embed[x])
        return found / count(pairs(tokens))

    return gradient


weight_tying_gradient = tied()


def by_places(write):
    """Right, if what is read were written place by place."""

    def gradient(embed, tokens):
        found, x = tied(reads=0)(embed, tokens), tokens[:-1]
        score = embed[x] @ embed.T
        slope = np.exp(score) / np.exp(score).sum(1)[:, None]
        slope[np.arange(len(x)), tokens[1:]] -= 1
        return write(found, x, slope @ embed / len(x))

    return gradient


def add_once(found, x, part):
    found[x] += part
    return found


def set_rows(found, x, part):
    found[x] = part
    return found


WRONG = {
    "layer_norm_gradient": [
        (partly(mean=False, deviation=False), "You hold mean and deviation fixed: they"),
        (partly(mean=False, deviation=True), "You hold the mean fixed: it depends"),
        (partly(mean=True, deviation=False), "You hold the deviation fixed: it depends"),
        (chain(use_gain=False), "You forgot the gain: multiply what"),
        (
            by_formula(lambda g, gain, c, u: gain * (g - np.mean(g) - u * np.mean(g * u))),
            "Your gain comes last; multiply what",
        ),
        (
            by_formula(lambda g, gain, c, u: g * gain - np.mean(g * gain) - c * np.mean(g * gain * c)),
            "You project on what is centred; project",
        ),
        (
            by_formula(lambda g, gain, c, u: g * gain - np.sum(g * gain) - u * np.sum(g * gain * u)),
            "You sum over the features; take",
        ),
        (chain(lambda c, eps: np.std(c)), "You forgot eps: it stands under the root."),
        (chain(lambda c, eps: np.std(c) + eps), "Your eps is added to the deviation; add"),
        (chain(lambda c, eps: math.sqrt(np.var(c, ddof=1) + eps)), "You divide the variance by D - 1; divide"),
        (chain(power=2), "You divide by the variance; divide by the"),
        (chain(power=0), "You forgot to divide by the deviation, after"),
        (
            by_formula(lambda g, gain, c, u: g * gain - np.mean(g * gain) + u * np.mean(g * gain * u)),
            "The share along the normalised state is taken",
        ),
        (over_rows, "You take means over the rows; take them"),
        (
            by_rows(lambda row, gain, g, eps: gain * (row - row.mean()) / np.sqrt(row.var() + eps)),
            "That is the layer itself; its gradient is",
        ),
    ],
    "per_token_kl": [
        (over_tokens, "You take the mean over tokens; sum over"),
        (over_places, "You take the mean over all places, padding"),
        (along(text=np.mean), "You divide each text by its length: the"),
        (along(padding=True), "You count the padding: what follows the first"),
        (along(leave_eos=True), "You leave out the eos: stopping is a choice"),
        (along(lambda p, q, said: divergence(q, p, said)), "That is the other direction: weigh with pi"),
        (along(log_ratio), "You take the log ratio of the token that was said."),
        (along(k3), "That is k3 of the token that was said. Its"),
        (along(lambda p, q, said: log_ratio(p, q, said) ** 2 / 2), "That is k2, half the square of the log ratio"),
        (along(lambda p, q, said: sum(p - q)), "You forgot to weigh the log ratios with"),
        (along(own_term), "Of each choice you keep the term of the token"),
        (along(join=sum), "You sum over the texts; take their mean."),
        (along(join=np.array), "You return one number for each text; take"),
    ],
    "weight_tying_gradient": [
        (tied(reads=0), "That is the part of the readout alone: the"),
        (tied(writes=0), "That is the part of what is read alone: the"),
        (tied(reads=0, writes=2), "You double the part of the readout; the"),
        (tied(reads=0.5, writes=0.5), "You take the mean of the two parts; add"),
        (by_places(add_once), "Of a token that is read twice you keep one"),
        (by_places(set_rows), "You write the part of what is read over"),
        (tied(hit=0), "You forgot to take 1 off at the token that"),
        (tied(count=lambda pairs: 1), "You sum over the pairs; the loss is their"),
        (tied(count=lambda pairs: len(pairs) + 1), "You divide by T; T tokens make"),
        (tied(lambda text: list(zip(text, text, strict=True))), "Each token predicts itself in yours; it"),
        (tied(lambda text: list(pairwise(text[::-1]))), "Each token predicts the one before"),
        (tied(into=True), "The gradient of what is read goes to the token"),
    ],
}
