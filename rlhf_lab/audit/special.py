"""What makes a case a special one: numbers that are equal, of one sign, small, or one row of them."""

from collections.abc import Callable

import numpy as np

from rlhf_lab.audit.binding import Case
from rlhf_lab.numerics.autodiff import Array


def constant(name: str, value: float, case: Case) -> Case:
    """Return the case with one number in an input."""
    return case | {name: value * np.ones(np.shape(case[name])) if np.ndim(case[name]) else value}


def equal(name: str, other: str, case: Case) -> Case:
    """Return the case where one input is another."""
    return case | {name: case[other].copy()}


def turned(name: str, turn: Callable[[Array], Array], case: Case) -> Case:
    """Return the case where an input is turned into something else."""
    return case | {name: turn(case[name])}


def apart(name: str, origin: str, turn: Callable[[Array], Array], case: Case) -> Case:
    """Return the case with another difference between two inputs."""
    return case | {name: case[origin] + turn(case[name] - case[origin])}


def negative(x: Array) -> Array:
    """Return minus the sizes of numbers."""
    return -np.abs(x)


def first_row(case: Case) -> Case | None:
    """Return the first row of the batch, where all arrays have as many."""
    rows = {len(value) for value in case.values() if np.ndim(value)}
    return {name: value[:1] if np.ndim(value) else value for name, value in case.items()} if len(rows) == 1 else None


def first_column(case: Case) -> Case:
    """Return the first token or step of each row."""
    return {name: value[:, :1] if np.ndim(value) == 2 else value for name, value in case.items()}


def first_token(case: Case) -> Case:
    """Return the first token of each answer, also where a mask has to find it in a text."""
    if "logits" not in case:
        return first_column(case)
    return case | {"mask": case["mask"] * (np.cumsum(case["mask"], axis=-1) == 1)}


def unpadded(case: Case) -> Case | None:
    """Return the case where everything counts, but not in texts."""
    return None if "logits" in case else constant("mask", 1.0, case)


def inside(case: Case) -> Case:
    """Return the case with ratios that are inside the clip range."""
    return case | {"log_old": case["log_pi"] - case["clip_range"] / 2 * np.tanh(case["log_pi"] - case["log_old"])}


def kept(case: Case) -> Case:
    """Return the case with values that are inside the clip range."""
    return case | {"old_values": case["values"] - case["clip_range"] / 2 * np.tanh(case["values"] - case["old_values"])}


def margins(sign: float, case: Case) -> Case:
    """Return the case with margins of one sign: of log-ratios that are so."""
    size = {name: np.abs(case[f"policy_{name}"] - case[f"reference_{name}"]) for name in ("chosen", "rejected")}
    chosen, rejected = (
        case[f"reference_{name}"] + by * size[name] for name, by in zip(size, (sign, -sign), strict=True)
    )
    return case | {"policy_chosen": chosen, "policy_rejected": rejected}


def opposite(case: Case) -> Case:
    """Return the case with rewards of a pair that differ as much and add up to 0."""
    half = (case["chosen_rewards"] - case["rejected_rewards"]) / 2
    return case | {"chosen_rewards": half, "rejected_rewards": -half}


def standard(name: str, mean: bool, deviation: bool, case: Case) -> Case | None:
    """Return the case with numbers whose mean is 0, or whose deviation is 1: in each group, or where a mask says."""
    x, mask = case[name], case.get("mask", np.ones(case[name].shape))
    axis = None if "mask" in case else -1
    if np.shape(mask) != x.shape or "values" in case:  # no statistics of these are in the formula
        return None
    count = np.sum(mask, axis=axis, keepdims=True)
    middle = np.sum(x * mask, axis=axis, keepdims=True) / count
    size = np.sqrt(np.sum((x - middle) ** 2 * mask, axis=axis, keepdims=True) / count)
    if np.any(size < 1e-9):
        return None
    return case | {name: (x - middle) / (size if deviation else 1.0) + (0.0 if mean else middle)}


def small(case: Case) -> Case:
    """Return the case with a twentieth of rewards and values."""
    return case | {name: 0.05 * case[name] for name in ("rewards", "values", "last_value") if name in case}


def without_0(case: Case) -> Case:
    """Return the case with tokens other than 0."""
    return case | {"tokens": 1 + case["tokens"] % (case["logits"].shape[-1] - 1)}


def first_state(case: Case) -> Case:
    """Return the first state of an ensemble."""
    return case | {"log_probs": case["log_probs"][:, :1], "actions": case["actions"][:1]}


def two_members(case: Case) -> Case:
    """Return two members of an ensemble."""
    return case | {"log_probs": case["log_probs"][:2]}
