"""What the checkers of attention know, in the chapter on a tiny GPT: answer keys, cases and typical mistakes."""

from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise, tenths
from rlhf_lab.numerics.autodiff import Array, log_softmax


def _attention(query: Array, key: Array, value: Array, mask: Array) -> Array:
    return _weights(query @ key.T / np.sqrt(query.shape[1]), _causal(mask)) @ value


def _causal(mask: Array) -> Array:
    return np.tri(len(mask), dtype=bool) & (mask > 0)


def _weights(score: Array, allowed: Array) -> Array:
    with np.errstate(invalid="ignore"):  # where nothing is allowed
        return np.exp(log_softmax(np.where(allowed, score, -np.inf)))


def _attention_case(rng: Generator) -> Case:
    length, width, out = (int(rng.integers(low, low + 3)) for low in (3, 2, 1))
    mask = np.append(1.0, rng.integers(2, size=length - 1) if rng.random() < 0.7 else np.ones(length - 1))
    return tenths(rng, length, width), tenths(rng, length, width), tenths(rng, length, out), mask


def _attention_mistakes(query: Array, key: Array, value: Array, mask: Array) -> dict[str, Any]:
    raw, allowed = query @ key.T, _causal(mask)
    score = raw / np.sqrt(query.shape[1])
    unpadded = _weights(score, _causal(np.ones_like(mask))) @ value
    past = np.tri(len(mask), k=-1, dtype=bool) & (mask > 0)
    before = np.where(past.any(1)[:, None], np.where(past, score, -np.inf), 0.0)
    over_queries = np.where(allowed, score, -1e30)
    return {
        "You forgot that the future is hidden: a token reads what stands before it, and itself.": _weights(
            score, np.ones_like(allowed) & (mask > 0)
        )
        @ value,
        "You forgot the mask: nobody reads padding.": unpadded,
        "Your mask is laid on those that read; lay it on those that are read: nobody reads padding.": (
            unpadded * mask[:, None]
        ),
        "You forgot to divide the scores by the root of the width.": _weights(raw, allowed) @ value,
        "You divide the scores by the width; divide them by its root.": _weights(raw / query.shape[1], allowed) @ value,
        "You hide after the softmax: the weights that are left do not sum to 1.": (np.exp(log_softmax(score)) * allowed)
        @ value,
        "Hidden scores are 0 in yours, which still has weight; they are minus infinity.": np.exp(
            log_softmax(np.where(allowed, score, 0.0))
        )
        @ value,
        "Your softmax runs over the tokens that read; it runs over those that are read, the last axis.": np.exp(
            log_softmax(over_queries.T)
        ).T
        @ value,
        "Queries and keys are exchanged: the rows of the scores belong to those that read.": (
            _weights(score.T, allowed) @ value
        ),
        "You weigh with the scores; weigh with their softmax.": np.where(allowed, score, 0.0) @ value,
        "A token does not read itself in yours: hide what stands behind it, and no more.": (
            np.exp(log_softmax(before)) * past
        )
        @ value,
        "Your mask is turned round: it hides what a token may read, and shows the rest.": (
            _weights(score, ~allowed) @ value
        ),
        "Past and future are exchanged: a token reads what stands before it, and itself.": (
            _weights(score, ~np.tri(len(mask), k=-1, dtype=bool) & (mask > 0)) @ value
        ),
    }


CAUSAL_ATTENTION = Exercise(
    "causal_attention",
    "one row for each token",
    _attention,
    _attention_case,
    _attention_mistakes,
    traits=lambda query, key, value, mask: {"nothing is padded": bool(mask.all())},
    hard=(
        (
            "It is right for small scores, but large ones overflow: subtract the largest of each row before you "
            "exponentiate.",
            (np.array([[100.0, 0.0], [90.0, 1.0]]), np.array([[90.0, 0.0], [80.0, 1.0]]), np.eye(2), np.ones(2)),
        ),
    ),
)


def _cached(query: Array, key: Array, value: Array, keys: Array, values: Array) -> Array:
    scores = np.vstack([keys, key]) @ query / np.sqrt(len(query))
    return np.exp(log_softmax(scores)) @ np.vstack([values, value])


def _cached_case(rng: Generator) -> Case:
    length, width, out = (int(rng.integers(low, 5)) for low in (1, 2, 1))
    new = tenths(rng, width), tenths(rng, width), tenths(rng, out)
    return *new, tenths(rng, length, width), tenths(rng, length, out)


def _cached_mistakes(query: Array, key: Array, value: Array, keys: Array, values: Array) -> dict[str, Any]:
    root = np.sqrt(len(query))
    cache = np.exp(log_softmax(keys @ query / root)) @ values
    weights = np.append(keys @ query, key @ query) / root
    return {
        "The new token does not read itself in yours: its key and value join the cache first.": cache,
        "You forgot to divide the scores by the root of the width.": _cached(query * root, key, value, keys, values),
        "You divide the scores by the width; divide them by its root.": _cached(query / root, key, value, keys, values),
        "You take the query of the new token for its key.": _cached(query, query, value, keys, values),
        "The new token asks with its key in yours; it asks with its query.": _cached(key, key, value, keys, values),
        "The new token stands first among your keys and last among your values; give both one order.": (
            np.exp(log_softmax(np.append(key @ query, keys @ query) / root)) @ np.vstack([values, value])
        ),
        "You write over the last place of the cache; the new token stands behind it.": _cached(
            query, key, value, keys[:-1], values[:-1]
        ),
        "Your mask is that of a text: its first row hides all but the first token. A new token reads all.": values[0],
        "The new token stands beside the softmax in yours, with weight 1: it shares one softmax with the cache.": (
            cache + value
        ),
        "You weigh with the scores; weigh with their softmax.": weights @ np.vstack([values, value]),
        "You read all alike; the scores say how much of each is read.": np.vstack([values, value]).mean(0),
    }


CACHED_ATTENTION = Exercise(
    "cached_attention",
    "one number for each feature of the values",
    _cached,
    _cached_case,
    _cached_mistakes,
    hard=(
        (
            "It is right for small scores, but large ones overflow: subtract the largest before you exponentiate.",
            (
                np.array([100.0, 0.0]),
                np.array([90.0, 1.0]),
                np.array([1.0]),
                np.array([[80.0, 0.0]]),
                np.array([[2.0]]),
            ),
        ),
    ),
)
