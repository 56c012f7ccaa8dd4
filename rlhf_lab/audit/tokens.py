"""Audits of what becomes of logits: log-probabilities of answers, and the loss of supervised fine-tuning.

L positions    V vocabulary    logits[t] predict tokens[t + 1]; the mask marks the tokens of the answer with its <eos>
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from inspect import signature
from typing import Any

import autograd.numpy as np

from rlhf_lab.audit import names
from rlhf_lab.audit.auditing import audit
from rlhf_lab.audit.binding import Case, Trouble, bound
from rlhf_lab.audit.contracts import Contract, Function, Identity, Right, by_name
from rlhf_lab.audit.functions import Layout
from rlhf_lab.audit.report import Report
from rlhf_lab.audit.text_cases import (
    AS_IT_IS,
    IGNORED,
    LABELS,
    LOGITS,
    MASK,
    ONE,
    PLACED,
    SINGLE,
    SUM,
    TEMPERATURE,
    TOKENS,
    WHOLE,
    constant,
    ends,
    hotter,
    key_of,
    labelled,
    more_padding,
    other_end,
    other_prompt,
    same,
    sums_to_one,
    text_cases,
)
from rlhf_lab.audit.zoo import ZOO, Bug, texts
from rlhf_lab.audit.zoo import tokens as zoo
from rlhf_lab.numerics.autodiff import Array, log_prob_of, log_softmax


def _unmasked(logits: Array, tokens: Array, temperature: float) -> Array:
    return log_prob_of(logits[..., :-1, :] / temperature, tokens[..., 1:])


def _in_place(logits: Array, tokens: Array, temperature: float) -> Array:
    return log_prob_of(logits / temperature, tokens)


def _loss(logits: Array, tokens: Array, mask: Array) -> Array:
    return -log_prob_of(logits[..., :-1, :], tokens[..., 1:]) * mask[..., 1:]


def _loss_unmasked(logits: Array, tokens: Array) -> Array:
    return -log_prob_of(logits[..., :-1, :], tokens[..., 1:])


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


def _bugs(kind: str, adapted: Callable[[Bug], Callable[..., Any]]) -> tuple[Bug, ...]:
    listed = [bug for bug in ZOO if bug.audit == kind]
    more = [bug._replace(function=other) for name, other in _in_other_shapes() for bug in listed if bug.name == name]
    return tuple(bug._replace(function=adapted(bug)) for bug in (*listed, *more))


def _at_temperature(bug: Bug) -> Callable[..., Any]:
    """A function of the zoo that knows no temperature, with logits that are divided by it."""
    if "temperature" in signature(bug.function).parameters:
        return bug.function
    return lambda logits, tokens, mask, temperature: bug.function(logits / temperature, tokens, mask)


def _everywhere(bug: Bug) -> Callable[..., Any]:
    """A function of the zoo where every token counts."""
    inner = _at_temperature(bug)

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
    "likeliest token in SFT": zoo.likeliest_token,
    "softmax twice in SFT": texts.softmax_twice,
    "softmax missing in SFT": zoo.softmax_missing,
    "softmax over positions in SFT": zoo.wrong_axis,
}


def _by_token(bug: Bug) -> Callable[..., Any]:
    """A loss of the zoo as minus its numbers for each token, where it is a mean over these."""
    inner = BY_TOKEN.get(bug.name)
    return (lambda logits, tokens, mask: -inner(logits, tokens, mask)) if inner else bug.function


def _smoothed(loss: Function, cases: Sequence[Case]) -> Iterator[Right]:
    """Label smoothing: its share, worked out where an answer is one token, so that means and sums are the same."""
    found = np.array([np.sum(loss(case)) for case in SINGLE])
    parts = [[np.sum(_spread(share, **_plain(case))) for case in SINGLE] for share in (0.0, 1.0)]
    if not np.isfinite(found).all():
        return
    (scale, more), *_ = np.linalg.lstsq(np.transpose(parts), found, rcond=None)
    share = float(more / (scale + more)) if abs(scale + more) > 1e-6 else 0.0
    if 1e-4 < share < 0.5:
        yield Right(f"label smoothing of {share:.4g}", partial(_spread, share))


def _spread(share: float, logits: Array, tokens: Array, mask: Array) -> Array:
    log_pi = log_softmax(logits[..., :-1, :])
    own = log_prob_of(logits[..., :-1, :], tokens[..., 1:])
    return -((1 - share) * own + share * np.mean(log_pi, axis=-1)) * mask[..., 1:]


def _plain(case: Case) -> Case:
    return {name: case[name] for name in ("logits", "tokens", "mask")}


def _layouts(contract: Contract, function: Callable[..., Any]) -> tuple[bool, tuple[Layout, ...]]:
    """Whether a function is told what counts, and the layouts to try."""
    usual = contract.layouts
    try:
        given = {name for _, name in bound(function, contract.inputs)}
        names_ = [key for key, _ in bound(function, contract.inputs)]
    except Trouble:
        return True, usual
    if "mask" in given or not any(key and key != "index" and names.fits(key, LABELS) for key in names_):
        return "mask" in given, usual
    also = tuple(i for i in contract.inputs if i.name not in ("tokens", "mask"))
    label = Layout(
        f"the labels hold the mask: {IGNORED} where a token does not count", labelled, inputs=(*also, LABELS)
    )
    return True, (label,)


def _log_prob_identities(*key: Identity, masked: bool) -> tuple[Identity, ...]:
    shared = (
        Identity("a constant in all logits of a place cancels", partial(same, constant)),
        Identity("twice the temperature undoes twice the logits", partial(same, hotter), needs="temperature"),
    )
    more = (
        Identity("probabilities of the next token sum to 1", partial(sums_to_one, 1)),
        Identity("<eos> counts as much as the first token", ends),
        Identity("what predicts the prompt does not count", partial(same, other_prompt)),
        Identity("what stands from <eos> on predicts nothing", partial(same, other_end)),
        Identity("more padding changes nothing", partial(same, more_padding)),
    )
    return (*shared, *(more if masked else ()), *key)


INPUTS = (LOGITS, TOKENS, MASK, TEMPERATURE)
LOG_PROBS = Contract(
    "log_probs",
    INPUTS,
    "log pi(token[t + 1]), for each token of the answer or their sum",
    (
        Right("", zoo.log_probs_at),
        Right("what the mask leaves out is returned, too", _unmasked, lambda s: s.several),
    ),
    text_cases(),
    (*PLACED, SUM, AS_IT_IS),
    _log_prob_identities(
        Identity("log softmax of the logits before, at the token", partial(key_of, zoo.log_probs_at, (*PLACED, SUM))),
        masked=True,
    ),
    ("logits",),
    loss=False,
    layouts=(Layout(""), ONE),
    bugs=_bugs("log_probs", _at_temperature),
)
UNMASKED = LOG_PROBS._replace(
    rights=(
        Right("takes no mask: every token counts", _unmasked),
        Right("takes no mask and does not shift: hand over logits[:, :-1] and tokens[:, 1:]", _in_place),
    ),
    identities=_log_prob_identities(
        Identity("log softmax of the logits before, at the token", partial(key_of, _unmasked, (*PLACED, SUM))),
        masked=False,
    ),
    bugs=_bugs("log_probs", _everywhere),
)
SFT = Contract(
    "sft_loss",
    INPUTS[:3],
    "-log pi(token[t + 1]), the mean over the tokens of all answers",
    (Right("", _loss),),
    tuple({name: value for name, value in case.items() if name != "temperature"} for case in text_cases()),
    (*WHOLE, SUM, *PLACED, AS_IT_IS),
    (
        Identity("a constant in all logits of a place cancels", partial(same, constant)),
        Identity("probabilities of the next token sum to 1", partial(sums_to_one, -1)),
        Identity("<eos> counts as much as the first token", ends),
        Identity("what predicts the prompt does not count", partial(same, other_prompt)),
        Identity("what stands from <eos> on predicts nothing", partial(same, other_end)),
        Identity("more padding changes nothing", partial(same, more_padding)),
        Identity("-log softmax of the logits before, at the token", partial(key_of, _loss, (*WHOLE, SUM, *PLACED))),
    ),
    ("logits",),
    layouts=(Layout(""), ONE._replace(back=lambda values, case: values[None] if values.ndim else values)),
    bugs=_bugs("sft_loss", _by_token),
    fitted=_smoothed,
)
PRETRAINING = SFT._replace(
    rights=(Right("takes no mask: every token counts, as in pretraining", _loss_unmasked),),
    identities=(
        SFT.identities[0],
        Identity(
            "-log softmax of the logits before, at the token", partial(key_of, _loss_unmasked, (*WHOLE, SUM, *PLACED))
        ),
    ),
    bugs=(),
    fitted=lambda loss, cases: (),
)


def log_probs(function: Callable[..., Any]) -> Report:
    """Audit log-probabilities: `function(logits, tokens, mask)`, or with a `temperature`.

    `logits` (N, L, V), integer `tokens` (N, L) and `mask` (N, L), which marks the tokens of answers: not the prompt
    before, not the padding behind. It may return a number for each token, (N, L - 1) or (N, L), or the sums (N,). In
    place of tokens and mask it may take `labels`, -100 where a token does not count; or one text at a time, (L, V).
    """
    masked, layouts = _layouts(LOG_PROBS, function)
    plain = UNMASKED._replace(inputs=(LOGITS, TOKENS, TEMPERATURE))
    if not masked:
        return audit(plain, function)
    report = audit(LOG_PROBS._replace(layouts=layouts), function)
    if layouts != LOG_PROBS.layouts and report.verdict in ("not audited", "not finite", "wrong"):
        return audit(plain, function)  # its labels are tokens, and hold no mask
    return report


def sft_loss(function: Callable[..., Any]) -> Report:
    """Audit a loss of supervised fine-tuning: `function(logits, tokens, mask)`, or `function(logits, labels)`.

    As `log_probs`. It may return the mean over all tokens, that of each answer, a sum, or a loss for each token.
    """
    masked, layouts = _layouts(SFT, function)
    plain = PRETRAINING._replace(inputs=(LOGITS, TOKENS))
    return audit(SFT._replace(layouts=layouts) if masked else plain, function)
