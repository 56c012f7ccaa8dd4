"""Audits of what becomes of logits: log-probabilities of answers, and the loss of supervised fine-tuning.

L positions    V vocabulary    logits[t] predict tokens[t + 1]; the mask marks the tokens of the answer with its <eos>
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import autograd.numpy as np

from rlhf_lab.audit import names
from rlhf_lab.audit.auditing import audit
from rlhf_lab.audit.binding import Case, Trouble, bound
from rlhf_lab.audit.contracts import Contract, Function, Identity, Right
from rlhf_lab.audit.functions import Layout
from rlhf_lab.audit.report import Report
from rlhf_lab.audit.text_bugs import at_temperature, bugs_of, by_token, everywhere
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
from rlhf_lab.audit.zoo import Bug
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


def _smoothed(loss: Function, cases: Sequence[Case]) -> Iterator[Right | Bug]:
    """Label smoothing: its share, worked out where an answer is one token, so that means and sums are the same."""
    found = np.array([np.sum(loss(case)) for case in SINGLE])
    parts = [[np.sum(_spread(share, **_plain(case))) for case in SINGLE] for share in (0.0, 1.0)]
    if not np.isfinite(found).all():
        return
    (scale, more), *_ = np.linalg.lstsq(np.transpose(parts), found, rcond=None)
    share = float(more / (scale + more)) if abs(scale + more) > 1e-6 else 0.0
    size = SINGLE[0]["logits"].shape[-1]
    if 1e-4 < share < 0.5:
        others, each = share * (size - 1) / size, share / (size * (1 - share) + share)
        yield Right(f"label smoothing of {share:.4g}", partial(_spread, share))
        yield Right(f"label smoothing of {others:.4g}, over the other tokens", partial(_spread_over_others, others))
        told = (
            f"You add up the smoothing of {each:.4g} over the vocabulary, so that its weight grows with the number of "
            "tokens. Take the mean."
        )
        name = "label smoothing added up"
        yield Bug(name, "sft_loss", told, partial(_added_up, each), _loss, "", "sec-pretraining")


def _spread(share: float, logits: Array, tokens: Array, mask: Array) -> Array:
    log_pi = log_softmax(logits[..., :-1, :])
    own = log_prob_of(logits[..., :-1, :], tokens[..., 1:])
    return -((1 - share) * own + share * np.mean(log_pi, axis=-1)) * mask[..., 1:]


def _spread_over_others(share: float, logits: Array, tokens: Array, mask: Array) -> Array:
    size = logits.shape[-1]
    return _spread(share * size / (size - 1), logits, tokens, mask)


def _added_up(share: float, logits: Array, tokens: Array, mask: Array) -> Array:
    size = logits.shape[-1]
    return (1 - share) * _loss(logits, tokens, mask) + share * size * _spread(1.0, logits, tokens, mask)


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
    if "mask" in given or not any(key and names.fits(key, LABELS) for key in names_):
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
    bugs=bugs_of("log_probs", at_temperature),
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
    bugs=bugs_of("log_probs", everywhere),
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
    bugs=bugs_of("sft_loss", by_token),
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
