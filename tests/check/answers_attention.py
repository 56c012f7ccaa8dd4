"""The exercises on attention, solved and got wrong by a reader who likes loops."""

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


def hide(hidden):
    """Attention in one go; a token that may read nothing gets 0 / 0, as nothing looks out for it."""

    def attention(query, key, value, mask):
        score = query @ key.T / math.sqrt(query.shape[1])
        score[hidden(len(mask), mask)] = -np.inf
        weight = np.exp(score - score.max(axis=1, keepdims=True))
        return weight / weight.sum(axis=1, keepdims=True) @ value

    return attention


def read(key=lambda query, key: key, scale=math.sqrt, weigh=soft):
    def attention(query, own, value, keys, values):
        seen = [*keys, key(query, own)]
        scores = dict(enumerate(float(query @ k) / scale(len(query)) for k in seen))
        return sum(w * [*values, value][u] for u, w in weigh(scores, list(scores)).items())

    return attention


cached_attention = read()


def ask_with_key(query, key, value, keys, values):
    return cached_attention(key, key, value, keys, values)


def new_key_first(query, key, value, keys, values):
    return cached_attention(query, keys[-1], value, [key, *keys[:-1]], values)


def write_over(query, key, value, keys, values):
    return cached_attention(query, key, value, keys[:-1], values[:-1])


def cache_alone(query, key, value, keys, values):
    return read()(query, keys[-1], values[-1], keys[:-1], values[:-1])


WRONG = {
    "causal_attention": [
        (attend(lambda t, u, mask: mask[u] > 0), "You forgot that the future is hidden: a token"),
        (attend(lambda t, u, mask: u <= t), "You forgot the mask: nobody reads padding."),
        (
            lambda *case: attend(lambda t, u, mask: u <= t)(*case) * case[3][:, None],
            "Your mask is laid on those that read; lay it",
        ),
        (attend(visible, scale=lambda width: 1), "You forgot to divide the scores by the root"),
        (attend(visible, scale=lambda width: width), "You divide the scores by the width; divide"),
        (attend(visible, weigh=hide_late), "You hide after the softmax: the weights"),
        (attend(visible, weigh=hide_with_zeros), "Hidden scores are 0 in yours, which still"),
        (over_readers, "Your softmax runs over the tokens that read; it"),
        (
            lambda query, key, *rest: causal_attention(key, query, *rest),
            "Queries and keys are exchanged: the rows of",
        ),
        (
            attend(visible, weigh=lambda scores, seen: {u: scores[u] for u in seen}),
            "You weigh with the scores; weigh with",
        ),
        (attend(lambda t, u, mask: u < t and mask[u] > 0), "A token does not read itself in yours: hide"),
        (hide(lambda size, mask: np.tri(size) * mask > 0), "Your mask is turned round: it hides"),
        (hide(lambda size, mask: (np.tri(size, k=-1) > 0) | (mask == 0)), "Past and future are exchanged: a token"),
    ],
    "cached_attention": [
        (cache_alone, "The new token does not read itself in yours: its"),
        (read(scale=lambda width: 1), "You forgot to divide the scores by the root"),
        (read(scale=lambda width: width), "You divide the scores by the width; divide"),
        (read(key=lambda query, key: query), "You take the query of the new token for its"),
        (ask_with_key, "The new token asks with its key in yours; it"),
        (new_key_first, "The new token stands first among your keys"),
        (write_over, "You write over the last place of the cache; the"),
        (lambda *case: case[4][0], "Your mask is that of a text: its first row"),
        (lambda *case: cache_alone(*case) + case[2], "The new token stands beside the softmax in yours"),
        (read(weigh=lambda scores, seen: scores), "You weigh with the scores; weigh with"),
        (read(weigh=lambda scores, seen: dict.fromkeys(seen, 1 / len(seen))), "You read all alike; the scores"),
    ],
}
