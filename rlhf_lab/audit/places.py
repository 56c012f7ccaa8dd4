"""Special cases, each of which leaves a part of a formula out.

A function that is right there, and wrong in general, goes wrong in the part that was left out.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from rlhf_lab.audit.binding import Case
from rlhf_lab.audit.special import (
    apart,
    constant,
    equal,
    first_column,
    first_row,
    first_state,
    first_token,
    inside,
    kept,
    margins,
    negative,
    opposite,
    small,
    standard,
    turned,
    two_members,
    unpadded,
    without_0,
)
from rlhf_lab.numerics.autodiff import log_softmax


class Place(NamedTuple):
    """A special case: `change` makes it of any case that has the inputs `needs`, or None where it cannot.

    It leaves out what `look` says. What is right in a place named in `within` is right here, too.
    """

    where: str
    needs: tuple[str, ...]
    change: Callable[[Case], Case | None]
    look: str
    within: tuple[str, ...] = ()


ROW, COUNTS, CLIP, FREE = "the batch is one row", "nothing is padding", "no ratio is clipped", "beta is 0"
RATIO = ("log_pi", "advantage")
PLACES = (
    Place(ROW, (), first_row, "means, sums and statistics over the batch"),
    Place(COUNTS, ("mask",), unpadded, "the mask, and answers of different lengths"),
    Place("every answer is one token", ("mask",), first_token, "means and sums over tokens", (COUNTS,)),
    Place("there is one step", ("rewards", "values"), first_column, "the sum over later steps", (COUNTS,)),
    Place(CLIP, ("log_pi", "log_old", "clip_range"), inside, "the clip"),
    Place(
        "the policy is the old one",
        ("log_pi", "log_old"),
        partial(equal, "log_old", "log_pi"),
        "the ratio and the clip",
        (CLIP,),
    ),
    Place("advantages are positive", RATIO, partial(turned, "advantage", np.abs), "negative advantages"),
    Place("advantages are negative", RATIO, partial(turned, "advantage", negative), "positive advantages"),
    Place(
        "advantages are 1 and -1",
        RATIO,
        partial(turned, "advantage", np.sign),
        "powers and other functions of the advantage",
    ),
    Place(
        "advantages are 1",
        RATIO,
        partial(constant, "advantage", 1.0),
        "where the advantage goes in",
        ("advantages are positive", "advantages are 1 and -1"),
    ),
    Place("advantages are 0", RATIO, partial(constant, "advantage", 0.0), "the part that they multiply"),
    Place(FREE, ("beta", "log_ref"), partial(constant, "beta", 0.0), "the divergence from the reference"),
    Place(
        "the policy is the reference",
        ("log_pi", "log_ref"),
        partial(equal, "log_ref", "log_pi"),
        "the divergence from the reference",
        (FREE,),
    ),
    Place("beta is 1", ("beta",), partial(constant, "beta", 1.0), "what beta multiplies"),
    Place("tau is 1", ("tau",), partial(constant, "tau", 1.0), "what tau divides"),
    Place(
        "log-ratios to the reference are positive",
        ("log_pi", "log_ref"),
        partial(apart, "log_pi", "log_ref", np.abs),
        "negative log-ratios",
    ),
    Place(
        "the rejected answer is as likely as under the reference",
        ("policy_rejected",),
        partial(equal, "policy_rejected", "reference_rejected"),
        "the rejected answer",
    ),
    Place(
        "the chosen answer is as likely as under the reference",
        ("policy_chosen",),
        partial(equal, "policy_chosen", "reference_chosen"),
        "the chosen answer",
    ),
    Place(
        "log-probabilities of the reference are 0",
        ("policy_chosen",),
        lambda case: constant("reference_chosen", 0.0, constant("reference_rejected", 0.0, case)),
        "the reference",
    ),
    Place("margins are positive", ("policy_chosen",), partial(margins, 1.0), "negative margins"),
    Place("margins are negative", ("policy_chosen",), partial(margins, -1.0), "positive margins"),
    Place(
        "the chosen reward is the larger one",
        ("chosen_rewards",),
        partial(apart, "chosen_rewards", "rejected_rewards", np.abs),
        "pairs in the wrong order",
    ),
    Place(
        "the chosen reward is the smaller one",
        ("chosen_rewards",),
        partial(apart, "chosen_rewards", "rejected_rewards", negative),
        "pairs in the right order",
    ),
    Place("the two rewards add up to 0", ("chosen_rewards",), opposite, "what depends on more than their difference"),
    Place("gamma is 1", ("gamma",), partial(constant, "gamma", 1.0), "the discount"),
    Place("lambda is 1", ("lam",), partial(constant, "lam", 1.0), "the trace"),
    Place("lambda is 0", ("lam",), partial(constant, "lam", 0.0), "the sum over later errors"),
    Place("values are 0", ("rewards", "values"), partial(constant, "values", 0.0), "where values go in"),
    Place("rewards are 0", ("rewards", "values"), partial(constant, "rewards", 0.0), "where rewards go in"),
    Place("rewards and values are small", ("rewards",), small, "what happens to large numbers"),
    Place("no episode ends", ("ends",), partial(constant, "ends", 0.0), "the ends of episodes"),
    Place(
        "the last value is 0", ("last_value",), partial(constant, "last_value", 0.0), "the value behind the last step"
    ),
    Place(
        "rewards are 0 and 1", ("rewards",), partial(turned, "rewards", lambda r: 1.0 * (r > 0)), "the size of rewards"
    ),
    Place("groups have a mean of 0", ("rewards",), partial(standard, "rewards", True, False), "the baseline"),
    Place("groups have a deviation of 1", ("rewards",), partial(standard, "rewards", False, True), "the scale"),
    Place("advantages have a mean of 0", ("advantage",), partial(standard, "advantage", True, False), "the mean"),
    Place("advantages have a deviation of 1", ("advantage",), partial(standard, "advantage", False, True), "the scale"),
    Place(
        "values are too high",
        ("values", "returns"),
        partial(apart, "values", "returns", np.abs),
        "values below returns",
    ),
    Place(
        "values are too low",
        ("values", "returns"),
        partial(apart, "values", "returns", negative),
        "values above returns",
    ),
    Place(
        "errors are below 1",
        ("values", "returns"),
        partial(apart, "values", "returns", np.tanh),
        "large errors",
    ),
    Place("returns are 1", ("values", "returns"), partial(constant, "returns", 1.0), "what divides by returns"),
    Place("returns are 0", ("values", "returns"), partial(constant, "returns", 0.0), "where returns go in"),
    Place(
        "errors are 1 and -1",
        ("values", "returns"),
        partial(apart, "values", "returns", np.sign),
        "powers and other functions of the error",
    ),
    Place("no value is clipped", ("old_values", "clip_range"), kept, "the clip"),
    Place("the temperature is 1", ("temperature",), partial(constant, "temperature", 1.0), "the temperature"),
    Place(
        "logits are small", ("logits",), partial(turned, "logits", lambda x: 0.05 * x), "what happens to large numbers"
    ),
    Place("no token is 0", ("tokens",), without_0, "token 0, if you take it for padding"),
    Place("logits are log-probabilities", ("logits",), partial(turned, "logits", log_softmax), "the normaliser"),
    Place("scores are 0", ("score",), partial(constant, "score", 0.0), "the score"),
    Place("there is one state", ("log_probs",), first_state, "means and other statistics over states"),
    Place("there are two members", ("log_probs",), two_members, "the number of members"),
)
