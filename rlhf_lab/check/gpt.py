"""What the checkers of the chapter on a tiny GPT know: answer keys, cases and typical mistakes."""

from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise, log_probs, tenths
from rlhf_lab.models import lm
from rlhf_lab.numerics.autodiff import Array, log_prob_of, log_softmax
from rlhf_lab.numerics.weighted import masked


def _layer_norm_gradient(x: Array, gain: Array, gradient: Array, eps: float) -> Array:
    centred, deviation = _normalise(x, eps)
    return _back(gradient * gain, centred / deviation, deviation)


def _normalise(x: Array, eps: float) -> tuple[Array, Array]:
    centred = x - x.mean(1, keepdims=True)
    return centred, np.sqrt((centred**2).mean(1, keepdims=True) + eps)


def _back(h: Array, unit: Array, deviation: Array) -> Array:
    return (h - h.mean(1, keepdims=True) - unit * (h * unit).mean(1, keepdims=True)) / deviation


def _layer_norm_case(rng: Generator) -> Case:
    rows, width = int(rng.integers(2, 4)), int(rng.integers(3, 6))
    gain = rng.permutation(np.arange(1, width + 1)) / 2
    return tenths(rng, rows, width), gain, tenths(rng, rows, width), float(rng.choice((0.1, 0.2, 0.5)))


def _layer_norm_mistakes(x: Array, gain: Array, gradient: Array, eps: float) -> dict[str, Any]:
    centred, deviation = _normalise(x, eps)
    h, unit = gradient * gain, centred / deviation
    plain = np.sqrt((centred**2).mean(1, keepdims=True))
    width = x.shape[1]
    larger = np.sqrt((centred**2).sum(1, keepdims=True) / (width - 1) + eps)
    return {
        "You hold mean and deviation fixed: they depend on x, too.": h / deviation,
        "You hold the mean fixed: it depends on x, too.": (h - unit * (h * unit).mean(1, keepdims=True)) / deviation,
        "You hold the deviation fixed: it depends on x, too.": (h - h.mean(1, keepdims=True)) / deviation,
        "You forgot the gain: multiply what comes from above by it first.": _back(gradient, unit, deviation),
        "Your gain comes last; multiply what comes from above by it first.": gain * _back(gradient, unit, deviation),
        "You project on what is centred; project on what is normalised, which is divided by the deviation.": (
            (h - h.mean(1, keepdims=True) - centred * (h * centred).mean(1, keepdims=True)) / deviation
        ),
        "You sum over the features; take means over them.": (
            (h - h.sum(1, keepdims=True) - unit * (h * unit).sum(1, keepdims=True)) / deviation
        ),
        "You forgot eps: it stands under the root.": _back(h, centred / plain, plain),
        "Your eps is added to the deviation; add it to the variance, under the root.": _back(
            h, centred / (plain + eps), plain + eps
        ),
        "You divide the variance by D - 1; divide it by D.": _back(h, centred / larger, larger),
        "You divide by the variance; divide by the deviation, its root.": _back(h, unit, deviation**2),
        "You forgot to divide by the deviation, after the two parts are taken off.": _back(h, unit, 1.0),
        "The share along the normalised state is taken off, not added.": 2 * _back(h, 0 * unit, deviation)
        - _back(h, unit, deviation),
        "You take means over the rows; take them over the features of each, the last axis.": _layer_norm_gradient(
            x.T, np.ones(len(x)), h.T, eps
        ).T,
        "That is the layer itself; its gradient is asked for.": gain * unit,
    }


LAYER_NORM_GRADIENT = Exercise(
    "layer_norm_gradient",
    "one number for each entry of x",
    _layer_norm_gradient,
    _layer_norm_case,
    _layer_norm_mistakes,
)


def _per_token_kl(log_pi: Array, log_ref: Array, response: Array, eos: int) -> Array:
    return np.asarray(masked(lm.kl(log_pi, log_ref), lm.response_mask(response, eos)).sum(1).mean())


def _kl_case(rng: Generator) -> Case:
    n, t, v = (int(rng.integers(low, low + 3)) for low in (2, 2, 3))
    eos = v - 1 if rng.random() < 0.6 else int(rng.integers(v))
    response = rng.integers(v, size=(n, t))
    response[0, 0] = eos if rng.random() < 0.5 else response[0, 0]
    padded = np.where(lm.response_mask(response, eos), response, eos)
    return log_probs(rng, n, t, v), log_probs(rng, n, t, v), padded, eos


def _kl_mistakes(log_pi: Array, log_ref: Array, response: Array, eos: int) -> dict[str, Any]:
    mask, ratio = lm.response_mask(response, eos), log_pi - log_ref
    each, said = (np.exp(log_pi) * ratio).sum(2), log_prob_of(log_pi, response) - log_prob_of(log_ref, response)
    back = (np.exp(log_ref) * -ratio).sum(2)
    texts, lengths = (each * mask).sum(1), mask.sum(1)
    return {
        "You take the mean over tokens; sum over the tokens of a text, and take the mean over texts.": (
            texts.sum() / mask.sum()
        ),
        "You take the mean over all places, padding included; sum over the tokens of a text.": (each * mask).mean(),
        "You divide each text by its length: the divergence of a text is the sum over its tokens.": (
            texts / lengths
        ).mean(),
        "You count the padding: what follows the first eos is not part of the text.": each.sum(1).mean(),
        "You leave out the eos: stopping is a choice too, and has a divergence.": (
            (each * (response != eos)).sum(1).mean()
        ),
        "That is the other direction: weigh with pi, which wrote the texts, and subtract log_ref.": (
            (back * mask).sum(1).mean()
        ),
        "You take the log ratio of the token that was said. Its mean is the same, but not its noise: sum over all "
        "tokens that could have been said.": (said * mask).sum(1).mean(),
        "That is k3 of the token that was said. Its mean is the same, but not its noise: sum over all tokens that "
        "could have been said.": ((np.exp(-said) - 1 + said) * mask).sum(1).mean(),
        "That is k2, half the square of the log ratio of the token that was said. Its mean is another number: sum over "
        "all tokens that could have been said.": (said**2 / 2 * mask).sum(1).mean(),
        "You forgot to weigh the log ratios with the probabilities under pi.": (ratio.sum(2) * mask).sum(1).mean(),
        "Of each choice you keep the term of the token that was said; sum over the whole vocabulary.": (
            (np.exp(log_prob_of(log_pi, response)) * said * mask).sum(1).mean()
        ),
        "You sum over the texts; take their mean.": texts.sum(),
        "You return one number for each text; take their mean.": texts,
    }


PER_TOKEN_KL = Exercise(
    "per_token_kl",
    "one number, the mean over texts",
    _per_token_kl,
    _kl_case,
    _kl_mistakes,
    traits=lambda log_pi, log_ref, response, eos: {
        "no text is padded": bool(lm.response_mask(response, eos).all()),
        "eos is not the last token of the vocabulary": eos != log_pi.shape[-1] - 1,
    },
    hard=(
        (
            "It is right where pi may say every token; what it never says adds nothing: 0 log 0 is 0.",
            (
                np.array([[[np.log(0.5), -np.inf, np.log(0.5)]]]),
                np.log([[[0.25, 0.25, 0.5]]]),
                np.array([[2]]),
                2,
            ),
        ),
    ),
)


def _weight_tying_gradient(embed: Array, tokens: Array) -> Array:
    return sum(_tying_parts(embed, tokens[:-1], tokens[1:]))


def _tying_parts(embed: Array, read: Array, said: Array) -> tuple[Array, Array]:
    scores = _in_scores(embed, read, said)
    return _collect(embed, read, scores @ embed), scores.T @ embed[read]


def _in_scores(embed: Array, read: Array, said: Array) -> Array:
    return (np.exp(log_softmax(embed[read] @ embed.T)) - np.eye(len(embed))[said]) / len(read)


def _collect(embed: Array, where: Array, what: Array) -> Array:
    found = np.zeros_like(embed)
    np.add.at(found, where, what)
    return found


def _tying_case(rng: Generator) -> Case:
    vocab, width = int(rng.integers(3, 6)), int(rng.integers(2, 4))
    tokens = rng.integers(vocab, size=int(rng.integers(4, 8)))
    if rng.random() < 0.3:  # no token is read twice
        tokens = rng.permutation(vocab)
    return tenths(rng, vocab, width) / 2, tokens


def _tying_mistakes(embed: Array, tokens: Array) -> dict[str, Any]:
    read, said = tokens[:-1], tokens[1:]
    reading, writing = _tying_parts(embed, read, said)
    scores, once, over = _in_scores(embed, read, said), np.zeros_like(embed), writing.copy()
    once[read] = over[read] = scores @ embed
    likely = scores + np.eye(len(embed))[said] / len(read)
    return {
        "That is the part of the readout alone: the rows that are read have a gradient, too.": writing,
        "That is the part of what is read alone: the readout has a gradient, too.": reading,
        "You double the part of the readout; the part of what is read is another one.": 2 * writing,
        "You take the mean of the two parts; add them up, for both are uses of one matrix.": (reading + writing) / 2,
        "Of a token that is read twice you keep one gradient: with an array of places, `+=` adds to each once; "
        "`np.add.at` adds each time.": once + writing,
        "You write the part of what is read over that of the readout; add it.": over,
        "You forgot to take 1 off at the token that follows: the gradient in the scores is softmax less one-hot.": (
            _collect(embed, read, likely @ embed) + likely.T @ embed[read]
        ),
        "You sum over the pairs; the loss is their mean.": (reading + writing) * len(read),
        "You divide by T; T tokens make T - 1 pairs.": (reading + writing) * len(read) / len(tokens),
        "Each token predicts itself in yours; it predicts the one that follows.": sum(
            _tying_parts(embed, tokens, tokens)
        ),
        "Each token predicts the one before it in yours; it predicts the one that follows.": sum(
            _tying_parts(embed, said, read)
        ),
        "The gradient of what is read goes to the token that follows in yours; it goes to the one that was read.": (
            _collect(embed, said, scores @ embed) + writing
        ),
    }


WEIGHT_TYING_GRADIENT = Exercise(
    "weight_tying_gradient",
    "one number for each entry of embed",
    _weight_tying_gradient,
    _tying_case,
    _tying_mistakes,
    traits=lambda embed, tokens: {"no token is read twice": len(set(tokens[:-1])) == len(tokens) - 1},
    hard=(
        (
            "It is right for small scores, but large ones overflow: subtract the largest before you exponentiate.",
            (np.array([[30.0, 0.0], [0.0, 30.0], [-30.0, 1.0]]), np.array([0, 1, 2, 0])),
        ),
    ),
)
