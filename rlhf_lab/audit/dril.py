"""The audit of the cost of DRIL, the disagreement of an ensemble."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import autograd.numpy as np

from rlhf_lab.audit.auditing import audit
from rlhf_lab.audit.binding import Case, Input, names
from rlhf_lab.audit.contracts import Contract, Form, Function, Identity, Right, Shown
from rlhf_lab.audit.functions import Layout
from rlhf_lab.audit.report import Report
from rlhf_lab.audit.zoo import ZOO, Bug, loops
from rlhf_lab.numerics.autodiff import Array


def _ensembles() -> tuple[Case, ...]:
    rng = np.random.default_rng(0)
    found = []
    for members, n, actions in ((2, 1, 2), (3, 1, 3), (3, 2, 4), (4, 5, 3)):
        logits = rng.integers(-15, 16, (members, n, actions)) / 10
        log_probs = logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))
        found.append({"log_probs": log_probs, "actions": rng.integers(actions, size=n)})
    return tuple(found)


def _agreed(cost: Function, cases: Sequence[Case]) -> Any:
    for case in cases:
        same = case | {"log_probs": case["log_probs"][:1] + 0 * case["log_probs"]}
        yield Shown(same, cost(same), np.zeros(len(case["actions"])))


def _not_negative(cost: Function, cases: Sequence[Case]) -> Any:
    for case in cases:
        yield Shown(case, cost(case), np.maximum(cost(case), 0.0))


def _cost_key(cost: Function, cases: Sequence[Case]) -> Any:
    for case in cases:
        yield Shown(case, cost(case), loops.dril_cost(**case))


def _unbiased(log_probs: Array, actions: Array) -> Array:
    return _less_one(loops.dril_cost, log_probs, actions)


def _deviation(log_probs: Array, actions: Array) -> Array:
    return np.sqrt(loops.dril_cost(log_probs, actions))


def _unbiased_deviation(log_probs: Array, actions: Array) -> Array:
    return np.sqrt(_unbiased(log_probs, actions))


def _bugs() -> tuple[Bug, ...]:
    """The bugs of the zoo, and these where the variance divides by the number less 1, or where its root is taken."""
    known = [bug for bug in ZOO if bug.audit == "dril_cost"]
    less_one = [bug._replace(function=partial(_less_one, bug.function)) for bug in known]
    rewarded = next(bug for bug in known if bug.function is loops.cost_rewarded)
    by_member = next(bug for bug in known if bug.function is loops.variance_over_actions)
    more = (
        rewarded._replace(function=lambda log_probs, actions: -_deviation(log_probs, actions)),
        rewarded._replace(function=lambda log_probs, actions: -_unbiased_deviation(log_probs, actions)),
        by_member._replace(function=_of_each_member),
        by_member._replace(function=partial(_less_one_action, _of_each_member)),
        by_member._replace(function=partial(_less_one_action, loops.variance_over_actions)),
    )
    return (*known, *less_one, *more)


def _of_each_member(log_probs: Array, actions: Array) -> Array:
    return np.mean(np.var(np.exp(log_probs), axis=-1), axis=0)


def _less_one_action(cost: Callable[..., Array], log_probs: Array, actions: Array) -> Array:
    return cost(log_probs, actions) * log_probs.shape[-1] / (log_probs.shape[-1] - 1)


def _less_one(cost: Callable[..., Array], log_probs: Array, actions: Array) -> Array:
    return cost(log_probs, actions) * len(log_probs) / (len(log_probs) - 1)


ACTIONS = Input("actions", r"(taken_?)?(actions?|acts?|a)")


DRIL = Contract(
    "dril_cost",
    (Input("log_probs", r"(ensemble_?|member_?)?(log_?p(rob)?s?|logits|log_pi)"), ACTIONS),
    "the variance over members of pi_k(a | s), of the action that was taken",
    (
        Right("", loops.dril_cost),
        Right("the variance divides by the number of members less 1", _unbiased),
        Right("the deviation in place of the variance: its root", _deviation),
        Right("the deviation, whose variance divides by the number of members less 1", _unbiased_deviation),
    ),
    _ensembles(),
    (Form("a cost for each state"), Form("the mean over states", lambda v, c: np.mean(v), opaque=True)),
    (
        Identity("0 where the members agree", _agreed),
        Identity("never negative", _not_negative, bug="disagreement rewarded"),
        Identity("the variance over members of pi_k(a | s)", _cost_key),
    ),
    (),
    False,
    bugs=_bugs(),
)
PROBS = r"(ensemble_?|member_?)?(p(rob(abilitie)?)?s?|pis?|policy_probs)"


OF_PROBS = Layout(
    "takes probabilities, not their logarithms",
    lambda case: case | {"probs": np.exp(case["log_probs"])},
    inputs=(Input("probs", PROBS), ACTIONS),
)


def dril_cost(function: Callable[..., Any]) -> Report:
    """Audit the cost of DRIL: `function(log_probs, actions)`, from (members, N, A) and (N,): a cost for each state."""
    known = DRIL._replace(layouts=(OF_PROBS,)) if any(re.fullmatch(PROBS, name) for name in names(function)) else DRIL
    return audit(known, function)
