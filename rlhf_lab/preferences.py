"""What people say about answers: simulated annotators, how far they agree, and comparisons as data and as files.

    R reward, nats    m = R(x, y) - R(x, y') margin    p probability that the first is preferred    a, b annotators

Annotators are functions of rewards. A label is 1 if the first of two responses is preferred, 0 if the second is, and
1/2 for a tie. Rewards and labels are arrays (..., N), one entry a comparison.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from scipy.special import expit

from . import checks, lm
from .autodiff import Array
from .optim import Params
from .results import write_text

TRIES = 1000  # how often two equal answers are drawn again before the policy is said to have only one


def bradley_terry(margin: Array) -> Array:
    """P(y > y' | x) = 1 / (1 + exp(-m)), the share of people who prefer the first (eq-bradley-terry).

    Bradley and Terry 1952; RLHF Deciphered, eq. 8-10.
    """
    return expit(margin)


def with_misclicks(p: Array, rate: float) -> Array:
    """(1 - epsilon) p + epsilon / 2: with probability epsilon, `rate`, the answer is a coin flip (eq-misclick).

    Christiano et al. 2017 take epsilon = 0.1. Half of the coin flips are right: a share epsilon / 2 is wrong.
    """
    return (1 - checks.share("rate", rate)) * checks.share("p", p) + rate / 2


def with_ties(margin: Array, tie: float) -> Array:
    """Probabilities of loss, tie and win of the first, in proportion to exp(-m/2), nu, exp(m/2): (..., N, 3) (eq-ties).

    `tie` is nu >= 0; two equal answers tie with probability nu / (2 + nu). Davidson 1970.
    """
    checks.not_negative("tie", tie, "the weight nu of a tie")
    half = np.abs(margin) / 2  # the largest of the three weights becomes 1
    weight = np.stack([np.exp(-margin / 2 - half), tie * np.exp(-half), np.exp(margin / 2 - half)], axis=-1)
    return weight / weight.sum(-1, keepdims=True)


def of_population(p: Array, shares: Array) -> Array:
    """sum_z share_z p_z: what a comparison tells if each is answered by whoever comes along (eq-population).

    `p` (Z, ..., N) holds the probability for each kind of person, `shares` (Z,) how many of each there are.
    """
    return np.tensordot(checks.probabilities("shares", shares), checks.share("p", p), axes=1)


def of_matrix(matrix: Array, first: Array, second: Array) -> Array:
    """Look up P(first > second), shape (..., N), in a matrix (A, A) of preferences between A answers.

    Such an annotator need not be transitive. Raises unless P(a > b) + P(b > a) = 1 for all pairs.
    """
    return checks.preference_matrix(matrix)[first, second]


def choose(p: Array, rng: Generator) -> Array:
    """Draw labels, 1 with probability `p` and 0 otherwise, of the shape of `p`."""
    p = checks.share("p", np.asarray(p))
    return np.where(rng.random(p.shape) < p, 1.0, 0.0)


def choose_with_ties(p: Array, rng: Generator) -> Array:
    """Draw labels 0, 1/2 and 1 with the probabilities (..., N, 3) that `with_ties` returns."""
    cumulative = np.cumsum(checks.probabilities("p", p), axis=-1)[..., :-1]
    return (rng.random(cumulative.shape[:-1])[..., None] > cumulative).sum(-1) / 2


def rate(reward: Array, noise: float, rng: Generator) -> Array:
    """z = R(x, y) + tau xi with xi ~ N(0, 1), a rating on an open scale; `noise` is tau >= 0 (eq-rating)."""
    return reward + checks.not_negative("noise", noise, "a standard deviation") * rng.normal(size=np.shape(reward))


def likert(rating: Array, thresholds: Sequence[float]) -> Array:
    """Put ratings on a scale from 1 to K: 1 and the number of the K - 1 `thresholds` that lie below (eq-likert).

    One threshold makes the scale binary. Likert 1932.
    """
    if not len(thresholds) or (np.diff(thresholds) <= 0).any():
        raise ValueError(f"thresholds must rise, and there must be at least one; got {list(thresholds)}")
    return 1 + np.searchsorted(thresholds, rating)


def rank(reward: Array, rng: Generator) -> Array:
    """Draw rankings, best first, of K answers with rewards (..., K): indices (..., K) (eq-plackett-luce).

    Plackett and Luce: the best of all is chosen with softmax probabilities, then the best of the rest, and so on.
    Sorting by reward plus Gumbel noise draws from just that distribution.
    """
    return np.argsort(-(reward + rng.gumbel(size=np.shape(reward))))


def ranked(answers: Array, order: Array) -> Array:
    """Put K answers (..., K, D), tokens or features, into the order (..., K) of a ranking, best first, as `rank` draws.

    Raises `ValueError` unless each ranking names each of its answers once.
    """
    answers, order = np.asarray(answers), np.asarray(order)
    if not np.issubdtype(order.dtype, np.integer) or order.shape != answers.shape[:-1]:
        raise ValueError(
            f"order must hold the indices (..., K) of answers (..., K, D); got {order.dtype} {order.shape} for "
            f"{answers.shape}"
        )
    count = order.shape[-1]
    wrong = (np.sort(order) != np.arange(count)).any(-1)
    if wrong.any():
        raise ValueError(
            f"a ranking of {count} answers names each of 0 to {count - 1} once, best first; got "
            f"{order[wrong][0].tolist()}"
        )
    return np.take_along_axis(answers, order[..., None], axis=-2)


def agreement(p: Array) -> Array:
    """Return how often annotators a and b agree, the mean of p_a p_b + (1 - p_a)(1 - p_b): (A, A) (eq-agreement).

    `p` (A, N) holds the labels 0 and 1 that A annotators gave to the same comparisons, or the probabilities of label
    1: then this is the agreement that one must expect, and the diagonal how often people agree with themselves.
    """
    p = _answers(p)
    return (p @ p.T + (1 - p) @ (1 - p).T) / p.shape[1]


def cohen_kappa(p: Array) -> Array:
    """Return (agreement - chance) / (1 - chance) for each two annotators, (A, A) (eq-kappa). Cohen 1960.

    Chance is the agreement of two who ignore the answers but keep their shares of label 1. `p` as in `agreement`.
    """
    p = _answers(p)
    ones = p.mean(-1)
    chance = np.outer(ones, ones) + np.outer(1 - ones, 1 - ones)
    if (chance > 1 - 1e-12).any():
        raise ValueError("an annotator gave the same label to every comparison: kappa is not defined (0 / 0)")
    return (agreement(p) - chance) / (1 - chance)


def _answers(p: Array) -> Array:
    p = np.asarray(checks.share("p", p))
    if p.ndim != 2 or not p.size:
        raise ValueError(f"p must have shape (A, N), a row for each annotator; got {p.shape}")
    return p


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
        _distinct(self.chosen, self.rejected)

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
        """Prompt, chosen, rejected and label: the batch that `rewards.preference_loss` reads."""
        return self.prompt, self.chosen, self.rejected, self.label


def _distinct(first: Array, second: Array) -> None:
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


def write(
    path: str | os.PathLike[str],
    pairs: Preferences,
    decode: Callable[[Array], str],
    *,
    implicit: bool = False,
    overwrite: bool = False,
) -> None:
    """Write comparisons as JSON lines with the columns that TRL and Hugging Face datasets read.

    Explicit: text `prompt`, `chosen`, `rejected`; a response begins with the space that parts it from the prompt, as
    TRL puts nothing between them. Implicit: `chosen` and `rejected`, each with the prompt in front. A tie gets one
    column more, `tie`. TRL does not read it and would take the tie for a win: leave ties out of a file for TRL
    (`pairs[~pairs.tie]`). `decode` turns a row of tokens into text. The file is written whole or not at all.
    """
    lines = []
    for x, *both, label in zip(*pairs.columns, strict=True):
        prompt = decode(x).removesuffix("…").strip()
        chosen, rejected = (f" {text}" if prompt and text else text for text in map(decode, both))
        line = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
        if implicit:
            line = {"chosen": prompt + chosen, "rejected": prompt + rejected}
        lines.append(json.dumps(line | ({"tie": True} if label == 0.5 else {}), ensure_ascii=False) + "\n")
    write_text(path, "".join(lines), overwrite=overwrite)


def read(
    path: str | os.PathLike[str],
    encode: Callable[[str, int | None], Array],
    horizon: int,
    vocab: int,
    *,
    prompts: Sequence[str] = (),
) -> Preferences:
    """Read what `write` wrote, and any file of that form; columns that it does not know are left alone.

    `encode(text, length)` turns text into tokens. Where the prompt stands only in front of the responses, `prompts`
    must list the known ones: two answers may begin alike, so what they share does not tell where the prompt ends.
    Raises `ValueError` with the number of the first line that cannot be read.
    """
    path, rows = Path(path), list[Any]()
    with path.open(encoding="utf-8-sig") as file:
        try:
            lines = list(file)
        except UnicodeDecodeError as error:
            raise ValueError(f"{path.name} is not UTF-8 text ({error.reason}); save it as UTF-8") from None
    for number, text in enumerate(lines, start=1):
        if text.strip():
            try:
                prompt, *both, tie = _fields(text, prompts)
                first, second = (encode(response, horizon) for response in both)
                _distinct(first[None], second[None])
                rows.append((encode(prompt, None), first, second, tie))
            except (ValueError, RecursionError) as error:
                told = "not JSON" if isinstance(error, json.JSONDecodeError | RecursionError) else str(error)
                raise ValueError(f"{path.name}, line {number}: {told}") from None
    if not rows:
        raise ValueError(f"{path.name} holds no comparisons")
    prompts_read, chosen, rejected, ties = (list(column) for column in zip(*rows, strict=True))
    return Preferences(prompts_read, chosen, rejected, vocab, np.array(ties))


def _fields(text: str, prompts: Sequence[str]) -> tuple[str, str, str, bool]:
    line = json.loads(text)
    if not isinstance(line, dict):
        raise ValueError(f"a line is one JSON object, with chosen and rejected; got {type(line).__name__}")
    for name in ("prompt", "chosen", "rejected"):
        if name not in line and name != "prompt":
            raise ValueError(f"the column {name!r} is missing; there are {', '.join(map(repr, line)) or 'none'}")
        if not isinstance(line.get(name, ""), str):
            raise ValueError(f"the column {name!r} must be text; got {type(line[name]).__name__}")
    if not isinstance(line.get("tie", False), bool):
        raise ValueError(f"the column 'tie' must be true or false; got {line['tie']!r}")
    if "prompt" not in line:
        begins = [p for p in prompts if all(f"{line[name]} ".startswith(f"{p} ") for name in ("chosen", "rejected"))]
        if not begins:
            raise ValueError("no prompt column, and none of the known prompts stands in front of both responses")
        prompt = max(begins)  # of texts that begin alike, the longest
        line |= {"prompt": prompt, "chosen": line["chosen"][len(prompt) :], "rejected": line["rejected"][len(prompt) :]}
    return line["prompt"], line["chosen"], line["rejected"], line.get("tie", False)
