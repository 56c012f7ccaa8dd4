"""Batches of texts of about one length: little is spent on what stands behind their ends."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params

SORTED = 16  # batches that are sorted at a time: a batch is of one length, an epoch goes through all of them at random


def by_length(
    lengths: Array, size: int, batch: Callable[[Array, int], Any]
) -> Callable[[Params, Generator], Iterable[Any]]:
    """Return a `collect` for `optim.fit` that goes once through texts of `lengths` (N,), `size` of them at a time.

    `batch(rows, longest)` makes a batch of the texts with the numbers `rows`, of which the longest has `longest`
    tokens. Each text comes once in an epoch, with others of about its length, and the lengths come in random order.
    Raises `ValueError` if there is no text, if a length is below 1, or if `size` is.
    """
    lengths = np.asarray(lengths)
    if lengths.ndim != 1 or not lengths.size or not np.issubdtype(lengths.dtype, np.integer) or lengths.min() < 1:
        raise ValueError(f"lengths are whole numbers of tokens from 1 on, (N,); got {lengths.dtype}, {lengths.shape}")
    size = checks.count("size", size, "the number of texts in a batch")

    def collect(params: Params, rng: Generator) -> Iterable[Any]:
        order = rng.permutation(len(lengths))
        for first in range(0, len(order), size * SORTED):
            some = order[first : first + size * SORTED]
            some = some[np.argsort(lengths[some], kind="stable")]
            starts = np.arange(0, len(some), size)
            for start in rng.permutation(starts):
                rows = some[start : start + size]
                yield batch(rows, int(lengths[rows[-1]]))

    return collect
