"""Batches of answers as people lay them out: names, cases, and the ways to aggregate tokens.

N answers    T places, of which a mask marks those that count
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import autograd.numpy as np

from rlhf_lab.audit.binding import Case, Input
from rlhf_lab.audit.contracts import Form, Function, Shown, by_name
from rlhf_lab.audit.functions import Layout
from rlhf_lab.numerics.autodiff import Array

MASK = r"(\w+_)?masks?|valid|is_token|padding_mask_inverted"
ADVANTAGE = r"(mb_|b_|gae_|batch_)?(adv(antage)?s?|a|a_hat)(_t)?"
CLIP = (
    r"(ppo_)?(clip|eps(ilon)?)(_?(range|ratio|coef|param|eps(ilon)?|low|clip|value|frac))*|cliprange(_low)?|e|"
    r"(cliprange|clip_range)_?(policy|vf|value)?"
)
CLIP_HIGH = r"(clip|eps(ilon)?|cliprange)(_?(ratio|range|eps(ilon)?|clip))?_?(high|upper|max)"
WEIGHT = r"b(eta)?|kl_(coef|coeff|weight|beta|penalty|loss_coef|ctl)|init_kl_coef|lambda_kl|alpha|kl_coefficient"
LOGS = r"log_?p(rob)?s?|log_?p(robabilitie|i)s?|lp|logprobs"


def logs(who: str, *, alone: bool = False) -> str:
    """The names of log-probabilities: old_logprobs, logp_old, b_old_log_probs, log_pi_old, lp0, ..."""
    front, back = rf"(mb_|b_)?(per_token_)?{who}_?(per_token_)?", rf"_?{who}"
    plain = rf"|(per_token_)?({LOGS})" if alone else ""
    return rf"{front}({LOGS})(_per_token)?|(mb_|b_)?(per_token_)?({LOGS}|log){back}(_per_token)?{plain}"


POLICY = logs(r"(new|curr?(ent)?|policy|pi|theta|actor|model|student)", alone=True) + "|new|pi|log_pi_?theta"
OLD = (
    logs(r"(old|behaviou?r|mu|rollout|sampl(ing|er|ed)|prev(ious)?|inference|generat(ion|or))")
    + rf"|old|fixed_log_probs|(mb|b)_({LOGS})"
)
REFERENCE = logs(r"(ref(erence)?|sft|base|pi_?ref|pi_?0|init(ial)?|frozen|q|0)") + "|ref"


def ones(like: str) -> Callable[[Any, Case], Array]:
    """The mask of a function that has none: everything counts."""
    return lambda subject, case: np.ones(np.shape(case[like]))


def mask_of(like: str) -> Input:
    """Return the input `mask`, which a function may do without."""
    return Input("mask", MASK, ones(like))


def lengths(rng: Any, n: int, t: int) -> Array:
    """Return a mask (n, t) of answers of different lengths, one of them of all places, none of them empty."""
    ends = rng.integers(1, t + 1, size=n)
    ends[0] = t
    return 1.0 * (np.arange(t) < ends[:, None])


def _rows(function: Callable[..., Any], case: Case, masks: Array) -> Array:
    """Call with each answer as a batch of its own, once for each of masks (N, M, T): (N, M)."""
    shape = masks.shape
    given = {"mask": masks[:, :, None, :]}
    for name, value in case.items():
        if name != "mask" and np.ndim(value) == 2:
            given[name] = value[:, None, None, :] * np.ones((1, shape[1], 1, 1))
        elif np.ndim(value) == 1:
            given[name] = value[:, None, None] * np.ones((1, shape[1], 1))
    return by_name(function, case | given)


def by_answer(function: Callable[..., Any], case: Case) -> Array:
    """Return the loss (N,) of each answer as a batch of one."""
    return _rows(function, case, case["mask"][:, None, :])[:, 0]


def by_token(function: Callable[..., Any], case: Case) -> Array:
    """Return the loss (N, T) of each place, as that of its answer with a mask that marks nothing else."""
    n, t = np.shape(case["mask"])
    return _rows(function, case, np.ones((n, 1, 1)) * np.eye(t))


def _count(case: Case) -> Array:
    return np.sum(case["mask"], axis=-1)


TOKENS = Form("the mean over all tokens", lambda v, c: np.sum(v * _count(c)) / np.sum(c["mask"]), by_answer)
ANSWERS = Form("the mean over the tokens of each answer, and over answers", lambda v, c: np.mean(v), by_answer)
CONSTANT = Form(
    "the sum over tokens, divided by a constant: all places, or batch times longest answer",
    lambda v, c: np.sum(v * _count(c)) / np.size(c["mask"]),
    by_answer,
)
FORMS = (
    TOKENS,
    ANSWERS,
    Form("the sum over tokens, and the mean over answers", lambda v, c: np.mean(v * _count(c)), by_answer),
    CONSTANT,
    Form("the sum over all tokens", lambda v, c: np.sum(v * _count(c)), by_answer),
    Form("a loss for each answer, the mean over its tokens", lambda v, c: v, by_answer),
    Form("a loss for each answer, the sum over its tokens", lambda v, c: v * _count(c), by_answer),
    Form("a loss for each token, 0 on padding", lambda v, c: v * c["mask"], by_token),
    Form("a loss for each token, not masked yet: do that where you average", lambda v, c: v, by_token),
    Form(""),  # a bug that needs the whole batch
)


def one_for_each_answer(name: str) -> tuple[Layout, ...]:
    """Layouts in which an input of the tokens (N, T) is one of the answers, (N,) or (N, 1)."""

    def constant(cases: Sequence[Case]) -> list[Case]:
        return [c | {name: c[name][:, :1] * np.ones(c[name].shape)} for c in cases]

    return (
        Layout(f"one {name} for each answer, (N,)", lambda c: c | {name: c[name][:, 0]}, cases=constant),
        Layout(f"one {name} for each answer, (N, 1)", lambda c: c | {name: c[name][:, :1]}, cases=constant),
    )


def padding(names: Sequence[str], loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """What stands behind the end of an answer does not matter: an identity of inputs with a mask."""
    for case in cases:
        off = 1 - case["mask"]
        if np.sum(off):
            moved = case | {name: case[name] - 0.7 * (i + 1) * off for i, name in enumerate(names)}
            there = case["mask"] if np.shape(loss(case)) == case["mask"].shape else 1.0
            yield Shown(moved, loss(moved) * there, loss(case) * there)
