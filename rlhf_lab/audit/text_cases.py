"""Texts on which functions of logits are tried: inputs, forms of results, and what leaves these as they are.

L positions    V vocabulary    logits[t] predict tokens[t + 1]; the mask marks the tokens of the answer with its <eos>
"""

from collections.abc import Callable, Iterator, Sequence

import autograd.numpy as np
from autograd.tracer import getval

from rlhf_lab.audit import names
from rlhf_lab.audit.binding import Case, Input
from rlhf_lab.audit.contracts import Form, Function, Shown, by_name
from rlhf_lab.audit.functions import Layout
from rlhf_lab.numerics.autodiff import Array

IGNORED = -100  # a label that does not count


def text(rng: np.random.Generator, rows: int, length: int, answer: int = 0) -> Case:
    """Prompts of two tokens and more, answers of two tokens and more (or of `answer`), padding of one and more."""
    begin = rng.integers(2, 3 if rows == 1 else 4, (rows, 1))
    end = begin + answer if answer else rng.integers(begin + 2, length)
    place = np.arange(length)
    return {
        "logits": np.round(rng.normal(size=(rows, length, 3 + (rows > 1))), 1),
        "tokens": rng.integers(3, size=(rows, length)),
        "mask": 1.0 * ((begin <= place) & (place < end)),
        "temperature": 1.0,
    }


def text_cases() -> tuple[Case, ...]:
    """Return small texts and larger ones, at several temperatures."""
    rng = np.random.default_rng(0)
    small = [text(rng, 1, 5, 2) for _ in range(4)]
    large = [text(rng, 3, 8) for _ in range(2)]
    return tuple(
        case | {"temperature": t} for case, t in zip(small + large, (1.0, 1.0, 2.0, 0.5, 1.0, 0.7), strict=True)
    )


SINGLE = [text(np.random.default_rng(seed), 1, 5, 1) for seed in range(4)]  # means and sums are the same


def _shift(values: Array, mask: Array, at: int) -> Array:
    zeros = np.zeros(mask[..., :1].shape)
    return np.concatenate([values, zeros] if at else [zeros, values], axis=-1)


def _tokenwise(form: Callable[[Array, Case], Array]) -> Callable[[Array, Case], Array]:
    """A form of numbers for each token, (N, L - 1), which others cannot take."""
    return lambda values, case: form(values, case) if values.shape == case["mask"][..., 1:].shape else np.zeros(0)


def _row(values: Array, case: Case) -> Array:
    return values[case["mask"][..., 1:] > 0]


EACH = Form("a number for each place but the first", _tokenwise(lambda values, case: values))
PLACED = (
    EACH,
    Form("a number for each place, 0 for the first", _tokenwise(lambda values, case: _shift(values, case["mask"], 0))),
    Form("a number for each place, 0 for the last", _tokenwise(lambda values, case: _shift(values, case["mask"], 1))),
    Form("the tokens of all answers in one row", _tokenwise(_row)),
)
SUM = Form("the sum over the tokens of each answer", _tokenwise(lambda values, case: np.sum(values, axis=-1)))
AS_IT_IS = Form("")


def _count(values: Array) -> Array:
    return np.sum(getval(values) != 0, axis=-1)


def _means(values: Array, case: Case) -> Array:
    return np.sum(values, axis=-1) / _count(values)


WHOLE = (
    Form("the mean over all tokens", _tokenwise(lambda v, case: np.sum(v) / np.sum(_count(v)))),
    Form("the mean over answers of the mean over their tokens", _tokenwise(lambda v, case: np.mean(_means(v, case)))),
    Form("the sum over all tokens", _tokenwise(lambda v, case: np.sum(v))),
    Form("the sum over tokens, the mean over answers", _tokenwise(lambda v, case: np.mean(np.sum(v, axis=-1)))),
    Form("the mean over the tokens of each answer", _tokenwise(_means)),
)


def _moved(case: Case, where: Array) -> Case:
    """The case with other logits at the places that are marked."""
    noise = np.random.default_rng(0).normal(size=case["logits"].shape)
    return case | {"logits": case["logits"] + noise * where[..., None]}


def same(change: Callable[[Case], Case], loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """A change of the inputs that changes nothing in the result."""
    for case in cases[:4]:  # of one text
        changed = change(case)
        yield Shown(changed, np.sum(loss(changed)), np.sum(loss(case)))


def constant(case: Case) -> Case:
    """Add a number to all logits of a place."""
    by = np.arange(case["logits"].shape[-2])[:, None] % 3
    return case | {"logits": case["logits"] + by}


def other_prompt(case: Case) -> Case:
    """Change the logits that predict the prompt."""
    following = np.concatenate([case["mask"][..., 1:], np.zeros(case["mask"][..., :1].shape)], axis=-1)
    return _moved(case, np.cumsum(following, axis=-1) == 0)


def other_end(case: Case) -> Case:
    """Change the logits from the last token of the answer on."""
    behind = np.cumsum(case["mask"][..., ::-1], axis=-1)[..., ::-1] <= case["mask"]
    return _moved(case, behind & (np.cumsum(case["mask"], axis=-1) > 0))


def more_padding(case: Case) -> Case:
    """Repeat the last place, which is padding."""
    longer = {name: np.concatenate([case[name], case[name][:, -1:]], axis=1) for name in ("logits", "tokens", "mask")}
    return case | longer


def hotter(case: Case) -> Case:
    """Double the logits and the temperature."""
    return case | {"logits": 2 * case["logits"], "temperature": 2 * case["temperature"]}


def sums_to_one(sign: int, loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """Over the next tokens, probabilities of answers of one token sum to 1."""
    for case in SINGLE[:2]:
        place, total = int(np.argmax(case["mask"])), 0.0
        for token in range(case["logits"].shape[-1]):
            other = case["tokens"].copy()
            other[0, place] = token
            total += float(np.exp(sign * np.sum(loss(case | {"tokens": other}))))
        yield Shown(case, np.array(total), np.array(1.0))


def ends(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """Where all logits are 0, a likelier last token changes the result as much as a likelier first one."""
    for case in [case for case in cases if case["mask"].shape[0] == 1 and np.sum(case["mask"]) > 1]:
        found = []
        for place in np.flatnonzero(case["mask"])[[-1, 0]]:
            logits = np.zeros(case["logits"].shape)
            logits[0, place - 1, case["tokens"][0, place]] = 1.0
            found.append(np.sum(loss(case | {"logits": logits})))
            shown = case | {"logits": logits}
        zero = np.sum(loss(case | {"logits": np.zeros(case["logits"].shape)}))
        yield Shown(shown, found[0] - zero, found[1] - zero)


def key_of(
    right: Callable[..., Array], forms: Sequence[Form], loss: Function, cases: Sequence[Case]
) -> Iterator[Shown]:
    """What is returned is what the right function returns in one of the forms, the same in all cases."""
    found = [np.asarray(loss(case)) for case in cases]
    wanted = [[form.shape(by_name(right, case), case) for case in cases] for form in forms]
    fits = [row for row in wanted if all(a.shape == b.shape for a, b in zip(found, row, strict=True))]
    gaps = [sum(float(np.max(np.abs(a - b))) for a, b in zip(found, row, strict=True)) for row in fits]
    if fits:
        for case, a, b in zip(cases, found, fits[int(np.argmin(gaps))], strict=True):
            yield Shown(case, a, b)


LOGITS = Input("logits", "logit|scores?|lm_logits|shift_logits|model_logits|policy_logits|x|z")
TOKENS = Input(
    "tokens",
    "(input_|token_|response_|sequence_|target_)?ids|tokens?|sequences?|index|labels?|targets?|texts?|y|actions?",
)
MASK = Input("mask", names.spelled("mask|masks|m", also=names.MASK), lambda subject, case: case["mask"])
TEMPERATURE = Input("temperature", "temp|t|tau", lambda subject, case: 1.0, (0.7, 0.8, 0.9, 0.6, 0.5, 2.0))
LABELS = Input("labels", "labels?|targets?|y|shift_labels|lm_labels")
ONE = Layout(
    "takes one text at a time",
    lambda case: case | {name: case[name][0] for name in ("logits", "tokens", "mask")},
    lambda values, case: values[None],
    cases=lambda cases: [case for case in cases if case["mask"].shape[0] == 1],
)


def labelled(case: Case) -> Case:
    """Put the mask into labels."""
    return case | {"labels": np.where(case["mask"] > 0, case["tokens"], IGNORED)}
