"""One factor where another belongs: losses of DPO and IPO that multiply some of their log-probabilities by it.

h margin log pi(y_w)/pi_0(y_w) - log pi(y_l)/pi_0(y_l)    beta, tau KL weights
"""

from collections.abc import Callable, Iterator
from functools import partial

from rlhf_lab.audit.zoo import Bug, pairs
from rlhf_lab.numerics.autodiff import Array

FACTORS: dict[str, Callable[[float], float]] = {
    "1": lambda weight: 1.0,
    "{}": lambda weight: weight,
    "0": lambda weight: 0.0,
    "the square of {}": lambda weight: weight**2,
    "1 / {}": lambda weight: 1 / weight,
    "twice {}": lambda weight: 2 * weight,
    "half of {}": lambda weight: weight / 2,
    "the root of {}": lambda weight: weight**0.5,
    "1 less {}": lambda weight: 1 - weight,
    "minus 1": lambda weight: -1.0,
    "minus {}": lambda weight: -weight,
}
PLACES = {  # among policy chosen, policy rejected, reference chosen, reference rejected
    "the policy": (0, 1),
    "the reference": (2, 3),
    "the chosen answer": (0, 2),
    "the rejected answer": (1, 3),
    "the policy's chosen answer": (0,),
    "the policy's rejected answer": (1,),
    "the reference's chosen answer": (2,),
    "the reference's rejected answer": (3,),
    "both answers": (0, 1, 2, 3),
}


def weighed(right: Callable[..., Array]) -> Iterator[Bug]:
    """Yield losses that multiply some log-probabilities by another factor than the loss of DPO or IPO does."""
    weight, usual = ("beta", "{}") if right is pairs.dpo_loss else ("tau", "1")
    wanted = usual.format(weight)
    for what, factor in FACTORS.items():
        for where, spots in PLACES.items():
            if what != usual:
                got = what.format(weight)
                told = f"You multiply what {where} gives to the margin by {got}. Multiply all of it by {wanted}."
                function = partial(_loss, right=right, spots=spots, factor=factor, usual=FACTORS[usual])
                yield Bug(f"{got} in place of {wanted} before {where}", "", told, function, right, "", "")


def _loss(
    policy_chosen: Array,
    policy_rejected: Array,
    reference_chosen: Array,
    reference_rejected: Array,
    beta: float = 0.0,
    tau: float = 0.0,
    *,
    right: Callable[..., Array],
    spots: tuple[int, ...],
    factor: Callable[[float], float],
    usual: Callable[[float], float],
) -> Array:
    weight = beta or tau
    four = (policy_chosen, policy_rejected, reference_chosen, reference_rejected)
    change = factor(weight) / usual(weight)
    return right(*(change * x if i in spots else x for i, x in enumerate(four)), weight)
