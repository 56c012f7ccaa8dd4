"""Texts as a person reads them, and as models do: the words of a small language, of which the last is `<eos>`."""

from collections.abc import Sequence

import numpy as np

from rlhf_lab.numerics.autodiff import Array


def encode(words: Sequence[str], text: str, length: int | None = None) -> Array:
    """Return the tokens of a text, padded with `<eos>` to `length` if one is given.

    A text that ends in "…" was cut off: it has no `<eos>`, so it must have `length` words already. Raises `ValueError`
    for a word that is not one of `words`.
    """
    said = text.split()
    cut_off = said[-1:] == ["…"]
    said = said[: len(said) - cut_off]
    unknown = [word for word in said if word not in words]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not one of the words: {' '.join(words)}")
    tokens = [words.index(word) for word in said]
    if cut_off and length is not None and len(tokens) < length:
        raise ValueError(f"{text!r} was cut off after {len(tokens)} words; here answers are cut off after {length}")
    if length is not None and len(tokens) > length:
        raise ValueError(f"{text!r} has {len(tokens)} words; at most {length} fit")
    return np.array(tokens + [len(words) - 1] * ((length or 0) - len(tokens)), dtype=np.intp)


def decode(words: Sequence[str], tokens: Array) -> str:
    """Return the text of one row of tokens up to the first `<eos>`; "…" marks an answer that the horizon cut off."""
    said = [words[token] for token in np.asarray(tokens)]
    return " ".join(said[: said.index("<eos>")]) if "<eos>" in said else " ".join([*said, "…"])
