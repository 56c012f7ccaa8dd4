"""The audit of PPO's clipped loss, which may whiten its advantages inside.

u ratio pi / pi_old of a token    A advantage    epsilon clip range
"""

import inspect
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import autograd.numpy as np

from rlhf_lab.audit import batches
from rlhf_lab.audit.auditing import audit
from rlhf_lab.audit.binding import Case, Input, Trouble, bound
from rlhf_lab.audit.contracts import Contract, Identity, Right, positive
from rlhf_lab.audit.functions import Layout
from rlhf_lab.audit.libraries import written
from rlhf_lab.audit.policies import RATIOS, answers, cases_of, fixed_clip, key, padding, tokens, unpadded, upper
from rlhf_lab.audit.report import Report
from rlhf_lab.audit.zoo import policies
from rlhf_lab.numerics.autodiff import Array

PPO_RIGHTS = (Right("", policies.ppo_loss),)


PPO = Contract(
    "ppo_loss",
    (
        Input("log_pi", batches.POLICY),
        Input("log_old", batches.OLD),
        Input("advantage", batches.ADVANTAGE),
        batches.mask_of("log_pi"),
        Input("clip_range", batches.CLIP, fixed_clip),
        Input("clip_high", batches.CLIP_HIGH, upper),
    ),
    "-min(u A, clip(u, 1 - epsilon, 1 + epsilon) A), for each token, averaged or added up",
    PPO_RIGHTS,
    cases_of(grpo=False),
    batches.FORMS,
    (
        *RATIOS,
        Identity("an answer is made of its tokens", tokens),
        Identity("a batch is made of its answers", answers),
        Identity("padding changes nothing", padding, needs="mask", bug="mask ignored"),
        Identity("an answer costs as much without its padding", unpadded, needs="mask", bug="mask ignored"),
        Identity("-min(u A, clip(u) A)", partial(key, PPO_RIGHTS)),
    ),
    ("log_pi",),
    general=True,
    layouts=(Layout(""), *batches.one_for_each_answer("advantage")),
)


def _whitened(ddof: int, masked: bool, case: Case) -> Case:
    """The case with advantages that are whitened, beside those that a function gets."""
    mask = case["mask"] if masked else np.ones(case["mask"].shape)
    count, given = np.sum(mask), case["advantage"]
    mean = np.sum(given * mask) / count
    variance = np.sum((given - mean) ** 2 * mask) / (count - ddof)
    return case | {"mask": mask, "given": given, "advantage": (given - mean) / np.sqrt(variance)}


def _batches(ddof: int, masked: bool, cases: Sequence[Case]) -> list[Case]:
    """The cases of more than one token, which alone can be whitened."""
    many = [case for case in cases if np.sum(case["mask"] if masked else np.size(case["mask"])) > 1]
    return [_whitened(ddof, masked, case) for case in many]


def _given(case: Case) -> Case:
    return case | {"advantage": case["given"]}


def _flat(case: Case) -> Case:
    return {name: np.ravel(value) if np.ndim(value) else value for name, value in _given(case).items()}


def _regrouped(values: Array, case: Case) -> Array:
    return values.reshape(case["mask"].shape) if values.shape == (np.size(case["mask"]),) else values


def _whitening(function: Callable[..., Any]) -> Contract:
    """What a loss returns that whitens its advantages: over the tokens of a mask, or over a flat batch."""
    try:
        masked = any(name == "mask" for _, name in bound(function, PPO.inputs))
    except Trouble:
        masked = True
    layouts = []
    for ddof, count in ((0, "the count"), (1, "the count less 1")):
        told = f"advantages are whitened inside, over the batch, by a variance that divides by {count}"
        cases = partial(_batches, ddof, masked)
        layouts.append(Layout(told, _given, cases=cases) if masked else Layout(told, _flat, _regrouped, cases=cases))
    usual = [i._replace(usual=(0.1, 0.3)) if i.name == "clip_range" else i for i in PPO.inputs]
    return PPO._replace(inputs=tuple(usual), layouts=tuple(layouts), identities=(), strict=True)


def _divides(function: Callable[..., Any]) -> bool:
    """Whether a loss seems to divide by a deviation: then it is quicker to try at first that it whitens."""
    words = getattr(getattr(inspect.unwrap(written(function)), "__code__", None), "co_names", ())
    return any(re.search("std|var|sqrt|whiten|normali|standardi", word) for word in words)


def ppo_loss(function: Callable[..., Any], *, clip_range: float | None = None) -> Report:
    """Audit PPO's clipped loss: `function(log_pi, log_old, advantage, mask, clip_range)`.

    Arrays (N, T) over the tokens of answers, or one number for each of a batch; `mask` is 1 where a token counts, and
    may be left out. It may return a loss for each token, or their mean or sum. Parameters are read by name
    (`old_logprobs`, say) or taken in this order; `clip_range` may be fixed inside: it is then worked out, or tell it
    here. Advantages may be whitened inside, over the batch: that is told as a convention.
    """
    contracts = (PPO, _whitening(function))

    likely_first = contracts[::-1] if _divides(function) else contracts
    return audit(likely_first, function, **positive(clip_range=clip_range))
