"""Audit of the loss of a reward model: -log sigmoid(R(y_w) - R(y_l))."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import autograd.numpy as np

from rlhf_lab.audit import names
from rlhf_lab.audit.auditing import audit
from rlhf_lab.audit.binding import Case, Input
from rlhf_lab.audit.contracts import Contract, Function, Identity, Right, Shown, near
from rlhf_lab.audit.pair_identities import clipped, moved_by, rows, singles
from rlhf_lab.audit.pairs import FORMS
from rlhf_lab.audit.report import Report
from rlhf_lab.audit.zoo import ZOO, Bug, pairs
from rlhf_lab.audit.zoo import rewards as zoo
from rlhf_lab.numerics.autodiff import Array

REWARDS = ("chosen_rewards", "rejected_rewards")


def _equal_rewards(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in singles(cases):
        same = case | {REWARDS[1]: case[REWARDS[0]]}
        yield Shown(same, np.sum(loss(same)), np.log(2))


def _constants_cancel(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in singles(cases):
        moved = moved_by(case, **dict.fromkeys(REWARDS, 0.7))
        yield Shown(moved, np.sum(loss(moved)), np.sum(loss(case)))


def _rewards_exchanged(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in singles(cases):
        other = dict(zip(REWARDS, [case[name] for name in REWARDS[::-1]], strict=True))
        yield Shown(case, np.sum(loss(case)) - np.sum(loss(case | other)), np.sum(case[REWARDS[1]] - case[REWARDS[0]]))


FAR = tuple(dict(zip(REWARDS, (np.array([r]), np.array([-r])), strict=True)) for r in (4.0, -4.0))


def _reward_key(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in singles(cases):
        yield Shown(case, np.sum(loss(case)), np.sum(pairs.reward_model_loss(*(case[name] for name in REWARDS))))
    for case in FAR:
        wanted = np.sum(pairs.reward_model_loss(*(case[name] for name in REWARDS)))
        yield Shown(case, near(np.sum(loss(case)), wanted), wanted)


def _at(difference: float, case: Case) -> Case:
    return dict(zip(REWARDS, (np.array([difference]), np.zeros(1)), strict=True))


def _reward_cases() -> tuple[Case, ...]:
    rng = np.random.default_rng(1)
    return tuple({name: rng.integers(-30, 31, size=n) / 10 for name in REWARDS} for n in (1, 1, 1, 2, 5, 5))


def _of_differences(chosen_rewards: Array, rejected_rewards: Array) -> Array:
    """The softmax over the pairs of a batch, of their differences."""
    return zoo.softmax_over_batch(chosen_rewards - rejected_rewards, rejected_rewards)


def _fitted(loss: Function, cases: Sequence[Case]) -> Iterator[Right | Bug]:
    """Units, margins, label smoothing and centred rewards: numbers that are fixed inside a loss, worked out from it."""

    def at(difference: float) -> float:
        return float(np.sum(loss({REWARDS[0]: np.array([difference]), REWARDS[1]: np.array([0.0])})))

    slopes = [abs(at(-3 * far) - at(-2 * far)) / far for far in (1000.0, 100.0, 10.0)]  # some overflow far out
    units, tie = next((s for s in slopes if np.isfinite(s)), np.nan), abs(at(0.0))  # minus the loss has its size, too
    margin = np.log(np.expm1(tie)) if tie > 0 else np.nan
    if np.isfinite(units + margin) and units > 1e-4:
        notes = [f"rewards are multiplied by {units:.4g}, which only changes their unit"] * bool(abs(units - 1) > 1e-4)
        notes += [f"a margin of {margin:.4g} is asked for"] * bool(abs(margin) > 1e-4)

        def asked(chosen_rewards: Array, rejected_rewards: Array) -> Array:
            return -pairs.log_sigmoid(units * (chosen_rewards - rejected_rewards) - margin)

        granted = next(bug for bug in ZOO if bug.function is zoo.margin_granted)
        yield granted._replace(function=asked) if margin < -1e-4 else Right("; ".join(notes), asked)
    both = [np.concatenate([case[name] for case in cases]) for name in REWARDS]
    single = [{name: x[i : i + 1] for name, x in zip(REWARDS, both, strict=True)} for i in range(len(both[0]))]
    found = np.array([np.sum(loss(case)) for case in single])
    for told, parts in MORE.items():
        shape = np.transpose([pairs.reward_model_loss(*both), parts(*both)])
        (scale, c), *_ = np.linalg.lstsq(shape, found, rcond=None) if np.isfinite(found).all() else [(0.0, 0.0)]
        if abs(scale) > 1e-6 and 1e-6 < c / scale < 0.4999:
            yield Right(
                told.format(c / scale),
                lambda chosen_rewards, rejected_rewards, c=c / scale, parts=parts: (
                    pairs.reward_model_loss(chosen_rewards, rejected_rewards)
                    + c * parts(chosen_rewards, rejected_rewards)
                ),
            )


MORE: dict[str, Callable[[Array, Array], Array]] = {
    "label smoothing of {:.4g}": lambda chosen, rejected: chosen - rejected,
    "{:.4g} times the squared sum of the rewards keeps them centred": lambda chosen, rejected: (chosen + rejected) ** 2,
    "{:.4g} times the squared rewards keeps them small": lambda chosen, rejected: chosen**2 + rejected**2,
}
REWARD_MODEL = Contract(
    "reward_model_loss",
    tuple(
        Input(name, names.spelled(which, also=names.REWARDS) + f"|[rs]{short}")
        for name, which, short in zip(REWARDS, (names.CHOSEN, names.REJECTED), "wl", strict=True)
    ),
    "log(1 + exp(-(R(y_w) - R(y_l)))), for each comparison or averaged",
    (Right("", pairs.reward_model_loss),),
    _reward_cases(),
    FORMS,
    (
        Identity("log 2 for equal rewards", _equal_rewards),
        Identity("a constant in all rewards cancels", _constants_cancel),
        Identity("exchanging the answers changes it by their difference", _rewards_exchanged),
        Identity("a batch is made of its comparisons", partial(rows, REWARDS)),
        Identity(
            "far differences still count",
            partial(clipped, pairs.reward_model_loss, _at),
            bug="difference clipped",
        ),
        Identity("-log sigmoid of the difference", _reward_key),
    ),
    REWARDS,
    fitted=_fitted,
    bugs=(
        *(bug for bug in ZOO if bug.audit == "reward_model_loss"),
        *(bug._replace(function=_of_differences) for bug in ZOO if bug.function is zoo.softmax_over_batch),
    ),
)


def reward_model_loss(function: Callable[..., Any]) -> Report:
    """Audit a loss of a reward model: `function(chosen_rewards, rejected_rewards)`, rewards (N,) of the two answers."""
    return audit(REWARD_MODEL, function)
