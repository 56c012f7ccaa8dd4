"""Special cases, each of which leaves a part of a formula out.

A function that is right there, and wrong in general, goes wrong in the part that was left out.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from rlhf_lab.audit.binding import Case
from rlhf_lab.numerics.autodiff import Array, log_softmax


class Place(NamedTuple):
    """A special case: `change` makes it of any case that has the inputs `needs`, or None where it cannot.

    It leaves out what `look` says. What is right in the place named `within` is right here, too.
    """

    where: str
    needs: tuple[str, ...]
    change: Callable[[Case], Case | None]
    look: str
    within: str = ""


def _set(name: str, value: float, case: Case) -> Case:
    return case | {name: value * np.ones(np.shape(case[name])) if np.ndim(case[name]) else value}


def _equal(name: str, other: str, case: Case) -> Case:
    return case | {name: case[other].copy()}


def _turned(name: str, turn: Callable[[Array], Array], case: Case) -> Case:
    return case | {name: turn(case[name])}


def _apart(name: str, origin: str, turn: Callable[[Array], Array], case: Case) -> Case:
    """The case with another difference between two inputs."""
    return case | {name: case[origin] + turn(case[name] - case[origin])}


def _negative(x: Array) -> Array:
    return -np.abs(x)


def first_row(case: Case) -> Case | None:
    """Return the first row of the batch, where all arrays have as many."""
    rows = {len(value) for value in case.values() if np.ndim(value)}
    return {name: value[:1] if np.ndim(value) else value for name, value in case.items()} if len(rows) == 1 else None


def _first_column(case: Case) -> Case:
    return {name: value[:, :1] if np.ndim(value) == 2 else value for name, value in case.items()}


def first_token(case: Case) -> Case:
    """Return the first token of each answer, also where a mask has to find it in a text."""
    if "logits" not in case:
        return _first_column(case)
    return case | {"mask": case["mask"] * (np.cumsum(case["mask"], axis=-1) == 1)}


def _unpadded(case: Case) -> Case | None:
    return None if "logits" in case else _set("mask", 1.0, case)


def _inside(case: Case) -> Case:
    """The case with ratios that are inside the clip range."""
    return case | {"log_old": case["log_pi"] - case["clip_range"] / 2 * np.tanh(case["log_pi"] - case["log_old"])}


def _kept(case: Case) -> Case:
    """The case with values that are inside the clip range."""
    return case | {"old_values": case["values"] - case["clip_range"] / 2 * np.tanh(case["values"] - case["old_values"])}


def _margins(sign: float, case: Case) -> Case:
    """The case with margins of one sign: of log-ratios that are so."""
    size = {name: np.abs(case[f"policy_{name}"] - case[f"reference_{name}"]) for name in ("chosen", "rejected")}
    chosen, rejected = (
        case[f"reference_{name}"] + by * size[name] for name, by in zip(size, (sign, -sign), strict=True)
    )
    return case | {"policy_chosen": chosen, "policy_rejected": rejected}


def _opposite(case: Case) -> Case:
    half = (case["chosen_rewards"] - case["rejected_rewards"]) / 2
    return case | {"chosen_rewards": half, "rejected_rewards": -half}


def _standard(name: str, mean: bool, deviation: bool, case: Case) -> Case | None:
    """The case with numbers whose mean is 0, or whose deviation is 1: in each group, or where a mask says."""
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


def _first_state(case: Case) -> Case:
    return case | {"log_probs": case["log_probs"][:, :1], "actions": case["actions"][:1]}


def _two_members(case: Case) -> Case:
    return case | {"log_probs": case["log_probs"][:2]}


ROW, COUNTS, CLIP, FREE = "the batch is one row", "nothing is padding", "no ratio is clipped", "beta is 0"
RATIO = ("log_pi", "advantage")
PLACES = (
    Place(ROW, (), first_row, "means, sums and statistics over the batch"),
    Place(COUNTS, ("mask",), _unpadded, "the mask, and answers of different lengths"),
    Place("every answer is one token", ("mask",), first_token, "means and sums over tokens", COUNTS),
    Place("there is one step", ("rewards", "values"), _first_column, "the sum over later steps", COUNTS),
    Place(CLIP, ("log_pi", "log_old", "clip_range"), _inside, "the clip"),
    Place(
        "the policy is the old one",
        ("log_pi", "log_old"),
        partial(_equal, "log_old", "log_pi"),
        "the ratio and the clip",
        CLIP,
    ),
    Place("advantages are positive", RATIO, partial(_turned, "advantage", np.abs), "negative advantages"),
    Place("advantages are negative", RATIO, partial(_turned, "advantage", _negative), "positive advantages"),
    Place(
        "advantages are 1 and -1",
        RATIO,
        partial(_turned, "advantage", np.sign),
        "powers and other functions of the advantage",
    ),
    Place("advantages are 0", RATIO, partial(_set, "advantage", 0.0), "the part that they multiply"),
    Place(FREE, ("beta", "log_ref"), partial(_set, "beta", 0.0), "the divergence from the reference"),
    Place(
        "the policy is the reference",
        ("log_pi", "log_ref"),
        partial(_equal, "log_ref", "log_pi"),
        "the divergence from the reference",
        FREE,
    ),
    Place("beta is 1", ("beta",), partial(_set, "beta", 1.0), "what beta multiplies"),
    Place("tau is 1", ("tau",), partial(_set, "tau", 1.0), "what tau divides"),
    Place(
        "log-ratios to the reference are positive",
        ("log_pi", "log_ref"),
        partial(_apart, "log_pi", "log_ref", np.abs),
        "negative log-ratios",
    ),
    Place(
        "the rejected answer is as likely as under the reference",
        ("policy_rejected",),
        partial(_equal, "policy_rejected", "reference_rejected"),
        "the rejected answer",
    ),
    Place(
        "the chosen answer is as likely as under the reference",
        ("policy_chosen",),
        partial(_equal, "policy_chosen", "reference_chosen"),
        "the chosen answer",
    ),
    Place(
        "log-probabilities of the reference are 0",
        ("policy_chosen",),
        lambda case: _set("reference_chosen", 0.0, _set("reference_rejected", 0.0, case)),
        "the reference",
    ),
    Place("margins are positive", ("policy_chosen",), partial(_margins, 1.0), "negative margins"),
    Place("margins are negative", ("policy_chosen",), partial(_margins, -1.0), "positive margins"),
    Place(
        "the chosen reward is the larger one",
        ("chosen_rewards",),
        partial(_apart, "chosen_rewards", "rejected_rewards", np.abs),
        "pairs in the wrong order",
    ),
    Place(
        "the chosen reward is the smaller one",
        ("chosen_rewards",),
        partial(_apart, "chosen_rewards", "rejected_rewards", _negative),
        "pairs in the right order",
    ),
    Place("the two rewards add up to 0", ("chosen_rewards",), _opposite, "what depends on more than their difference"),
    Place("gamma is 1", ("gamma",), partial(_set, "gamma", 1.0), "the discount"),
    Place("lambda is 1", ("lam",), partial(_set, "lam", 1.0), "the trace"),
    Place("lambda is 0", ("lam",), partial(_set, "lam", 0.0), "the sum over later errors"),
    Place("values are 0", ("rewards", "values"), partial(_set, "values", 0.0), "where values go in"),
    Place("rewards are 0", ("rewards", "values"), partial(_set, "rewards", 0.0), "where rewards go in"),
    Place("no episode ends", ("ends",), partial(_set, "ends", 0.0), "the ends of episodes"),
    Place("the last value is 0", ("last_value",), partial(_set, "last_value", 0.0), "the value behind the last step"),
    Place(
        "rewards are 0 and 1", ("rewards",), partial(_turned, "rewards", lambda r: 1.0 * (r > 0)), "the size of rewards"
    ),
    Place("groups have a mean of 0", ("rewards",), partial(_standard, "rewards", True, False), "the baseline"),
    Place("groups have a deviation of 1", ("rewards",), partial(_standard, "rewards", False, True), "the scale"),
    Place("advantages have a mean of 0", ("advantage",), partial(_standard, "advantage", True, False), "the mean"),
    Place(
        "advantages have a deviation of 1", ("advantage",), partial(_standard, "advantage", False, True), "the scale"
    ),
    Place(
        "values are too high",
        ("values", "returns"),
        partial(_apart, "values", "returns", np.abs),
        "values below returns",
    ),
    Place(
        "values are too low",
        ("values", "returns"),
        partial(_apart, "values", "returns", _negative),
        "values above returns",
    ),
    Place(
        "errors are below 1",
        ("values", "returns"),
        partial(_apart, "values", "returns", np.tanh),
        "large errors",
    ),
    Place("returns are 1", ("values", "returns"), partial(_set, "returns", 1.0), "what divides by returns"),
    Place("returns are 0", ("values", "returns"), partial(_set, "returns", 0.0), "where returns go in"),
    Place(
        "errors are 1 and -1",
        ("values", "returns"),
        partial(_apart, "values", "returns", np.sign),
        "powers and other functions of the error",
    ),
    Place("no value is clipped", ("old_values", "clip_range"), _kept, "the clip"),
    Place("the temperature is 1", ("temperature",), partial(_set, "temperature", 1.0), "the temperature"),
    Place("logits are log-probabilities", ("logits",), partial(_turned, "logits", log_softmax), "the normaliser"),
    Place("scores are 0", ("score",), partial(_set, "score", 0.0), "the score"),
    Place("there is one state", ("log_probs",), _first_state, "means and other statistics over states"),
    Place("there are two members", ("log_probs",), _two_members, "the number of members"),
)
