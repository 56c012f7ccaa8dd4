"""Comparisons as data: which of two responses was preferred, and how pairs to compare are drawn."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.models import lm
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params

TRIES = 1000  # how often two equal answers are drawn again before the policy is said to have only one


@dataclass(frozen=True)
class Preferences:
    """Comparisons: `chosen` was preferred to `rejected` as a response to `prompt`, or tied with it.

    Integers `prompt` (N, P), `chosen` and `rejected` (N, T) of `vocab` tokens; `tie` (N,) is True where people saw no
    difference. What follows the first `eos` of a response must be `eos`: rows that differ behind it count as two
    answers. Raises `ValueError` if there are no comparisons or a response is compared with itself.
    """

    prompt: Array
    chosen: Array
    rejected: Array
    vocab: int
    tie: Array | None = None

    def __post_init__(self) -> None:
        for name in ("prompt", "chosen", "rejected"):
            object.__setattr__(self, name, checks.tokens(name, getattr(self, name), self.vocab))
        count = len(self.prompt)
        tie = np.zeros(count, dtype=bool) if self.tie is None else np.asarray(self.tie)
        object.__setattr__(self, "tie", tie)
        if not count:
            raise ValueError("there are no comparisons; at least one is needed")
        if self.chosen.shape != self.rejected.shape or len(self.chosen) != count or tie.shape != (count,):
            raise ValueError(
                f"prompt {self.prompt.shape}, chosen {self.chosen.shape}, rejected {self.rejected.shape} and tie "
                f"{tie.shape} must have one row for each comparison, and the responses one length"
            )
        if tie.dtype != bool:
            raise ValueError(f"tie must hold True and False; got {tie.dtype}")
        check_distinct(self.chosen, self.rejected)

    def __len__(self) -> int:
        return len(self.prompt)

    def __getitem__(self, rows: Any) -> "Preferences":
        assert self.tie is not None
        return Preferences(self.prompt[rows], self.chosen[rows], self.rejected[rows], self.vocab, self.tie[rows])

    @property
    def label(self) -> Array:
        """The label of each comparison with the chosen response as the first: 1, or 1/2 for a tie."""
        assert self.tie is not None
        return np.where(self.tie, 0.5, 1.0)

    @property
    def columns(self) -> tuple[Array, Array, Array, Array]:
        """Prompt, chosen, rejected and label: the batch that `likelihoods.preference_loss` reads."""
        return self.prompt, self.chosen, self.rejected, self.label


def check_distinct(first: Array, second: Array) -> None:
    """Raise if a row of `first` is that of `second`: such a pair tells nothing."""
    same = np.flatnonzero((first == second).all(-1))
    if len(same):
        raise ValueError(
            f"row {same[0]} compares a response with itself, and so do {len(same) - 1} more: such pairs tell nothing; "
            "leave them out"
        )


def from_labels(prompt: Array, first: Array, second: Array, label: Array, vocab: int) -> Preferences:
    """Return the comparisons of `first` with `second`, both (N, T), that were labelled 0, 1/2 or 1, `label` (N,)."""
    label = checks.labels("label", label)
    first, second = checks.tokens("first", first, vocab), checks.tokens("second", second, vocab)
    if not first.shape == second.shape == (*label.shape, first.shape[-1]):
        raise ValueError(
            f"first {first.shape}, second {second.shape} and label {label.shape} must have one row for each "
            "comparison, and the responses one length"
        )
    swap = (label == 0)[..., None]
    return Preferences(
        prompt, np.where(swap, second, first), np.where(swap, first, second), vocab, tie=np.equal(label, 0.5)
    )


def draw_pairs(
    model: lm.LanguageModel, params: Params, prompt: Array, horizon: int, rng: Generator
) -> tuple[Array, Array]:
    """Draw two different responses to each prompt (..., N, P) from a policy: first and second, each (..., N, T).

    Pairs are drawn until they differ: comparing an answer with itself would tell nothing.
    """
    prompt = checks.tokens("prompt", prompt, model.vocab)
    first, second = (lm.sample(model, params, prompt, horizon, rng) for _ in range(2))
    for _ in range(TRIES):
        same = (first == second).all(-1)
        if not same.any():
            return first, second
        rows = same.reshape(-1, same.shape[-1]).any(0)  # of any seed
        for drawn in (first, second):
            again = lm.sample(model, params, prompt[..., rows, :], horizon, rng)
            drawn[..., rows, :] = np.where(same[..., rows, None], again, drawn[..., rows, :])
    raise ValueError(f"the policy gave the same answer twice, {TRIES} times in a row: it has nothing to compare")
