"""Bugs of texts in the shapes in which functions hand over their numbers."""

from collections.abc import Callable, Iterator
from inspect import signature
from typing import Any

import autograd.numpy as np

from rlhf_lab.audit.contracts import by_name
from rlhf_lab.audit.zoo import ZOO, Bug, texts
from rlhf_lab.audit.zoo import tokens as zoo
from rlhf_lab.numerics.autodiff import Array, log_prob_of


def _in_other_shapes() -> Iterator[tuple[str, Callable[..., Array]]]:
    """Bugs of the zoo as they look where places are cut off in another way, or counted in another way."""
    yield "shifted twice", lambda logits, tokens, mask: log_prob_of(logits[:, :-2], tokens[:, 2:]) * mask[:, 2:]
    yield "not shifted", lambda logits, tokens, mask: log_prob_of(logits[:, :-1], tokens[:, :-1]) * mask[:, :-1]
    yield (
        "softmax over positions",
        lambda logits, tokens, mask: zoo.wrong_axis(
            np.concatenate([logits[:, :-1], -np.inf + 0 * logits[:, -1:]], axis=1), tokens, mask
        ),
    )
    for more in (0, 1):
        yield (
            "mean over tokens",
            lambda logits, tokens, mask, more=more: (
                np.sum(zoo.log_probs(logits, tokens, mask), axis=-1) / (mask.shape[1] - 1 + more)
            ),
        )
    yield "mean over tokens", lambda logits, tokens, mask: np.sum(zoo.log_probs(logits, tokens, mask)) / np.sum(mask)
    yield "likeliest token", lambda logits, tokens, mask: np.max(logits[:, :-1], axis=-1) * mask[:, 1:]
    yield (
        "prompt in the mean",
        lambda logits, tokens, mask: (
            -np.sum(zoo.log_probs(logits, tokens, mask))
            / np.sum(1.0 * (np.cumsum(mask[:, ::-1], axis=-1) > 0)[:, ::-1][:, 1:])
        ),
    )
    yield "padding in the mean", lambda logits, tokens, mask: -np.sum(zoo.log_probs(logits, tokens, mask)) / mask.size


def bugs_of(kind: str, adapted: Callable[[Bug], Callable[..., Any]]) -> tuple[Bug, ...]:
    """Return the bugs of an audit, and those that look otherwise in other shapes."""
    listed = [bug for bug in ZOO if bug.audit == kind]
    more = [bug._replace(function=other) for name, other in _in_other_shapes() for bug in listed if bug.name == name]
    return tuple(bug._replace(function=adapted(bug)) for bug in (*listed, *more))


def at_temperature(bug: Bug) -> Callable[..., Any]:
    """A function of the zoo that knows no temperature, with logits that are divided by it."""
    if "temperature" in signature(bug.function).parameters:
        return bug.function
    return lambda logits, tokens, mask, temperature: bug.function(logits / temperature, tokens, mask)


def everywhere(bug: Bug) -> Callable[..., Any]:
    """A function of the zoo where every token counts."""
    inner = at_temperature(bug)

    def without_mask(logits: Array, tokens: Array, mask: Array, temperature: float) -> Array:
        case = {"logits": logits, "tokens": tokens, "mask": np.ones(mask.shape), "temperature": temperature}
        return by_name(inner, case)

    return without_mask


BY_TOKEN = {
    "labels not shifted": zoo.not_shifted,
    "labels shifted twice": zoo.shifted_twice,
    "labels without eos": zoo.eos_dropped,
    "labels of the prompt": zoo.prompt_counts,
    "labels without a mask": texts.mask_ignored,
    "labels of the padding": zoo.padding_counts,
    "labels upside down": texts.mask_upside_down,
    "mask of the labels not shifted": zoo.mask_not_shifted,
    "labels shifted the wrong way": texts.shifted_back,
    "label that was read": texts.own_token,
    "first label lost": texts.first_token_lost,
    "logarithm missing in SFT": texts.probabilities,
    "weighted by the probability in SFT": texts.weighted,
    "likeliest token in SFT": zoo.likeliest_token,
    "softmax twice in SFT": texts.softmax_twice,
    "softmax missing in SFT": zoo.softmax_missing,
    "softmax over positions in SFT": zoo.wrong_axis,
}


def by_token(bug: Bug) -> Callable[..., Any]:
    """A loss of the zoo as minus its numbers for each token, where it is a mean over these."""
    inner = BY_TOKEN.get(bug.name)
    return (lambda logits, tokens, mask: -inner(logits, tokens, mask)) if inner else bug.function
