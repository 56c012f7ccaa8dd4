"""What the checkers of the chapter "A reward from behaviour" know: answer keys, cases and typical mistakes."""

from typing import Any

import numpy as np
from numpy.random import Generator
from scipy.special import expit

from rlhf_lab.check.diagnosis import Case, Exercise, log_probs, tenths
from rlhf_lab.methods import inverse, segments
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.worlds import gridworlds


def _moment_case(rng: Generator) -> Case:
    s, a, t, d = (int(rng.integers(low, high)) for low, high in ((2, 4), (2, 4), (1, 4), (1, 3)))
    start = rng.dirichlet(np.ones(s)) if rng.random() < 0.5 else np.eye(s)[0]
    policy = np.exp(log_probs(rng, t, s, a))
    return np.exp(log_probs(rng, s, a, s)), policy, start, tenths(rng, s, d), tenths(rng, d)


def _spent(transition: Array, policy: Array, start: Array) -> Array:
    return inverse.visits(gridworlds.Grid(transition, np.zeros(len(start)), start), policy)


def _moment_gradient(transition: Array, policy: Array, start: Array, features: Array, shown: Array) -> Array:
    return shown - _spent(transition, policy, start).sum(0) @ features


def _moment_mistakes(transition: Array, policy: Array, start: Array, features: Array, shown: Array) -> dict[str, Any]:
    own = _spent(transition, policy, start) @ features
    later = _spent(transition, np.concatenate([policy, policy[-1:]]), start)[1:] @ features
    first = _spent(transition, np.broadcast_to(policy[0], policy.shape), start) @ features
    turned = _spent(transition, policy[::-1], start) @ features
    anywhere = _spent(transition, policy, np.full(len(start), 1 / len(start))) @ features
    even = _spent(transition, np.full(policy.shape, 1 / policy.shape[2]), start) @ features
    return {
        "The sign is flipped: it is what the demonstrations collect, less what the policy does.": own.sum(0) - shown,
        "You return what the policy collects; subtract it from the moments of the demonstrations.": own.sum(0),
        "You take the mean over the steps; moments are sums over a drive.": shown - own.mean(0),
        "You look at the last step only; sum over all of them.": shown - own[-1],
        "You begin one step too late: the first states count, too.": shown - later.sum(0),
        "You use the policy of the first step all the way; it has one for each step.": shown - first.sum(0),
        "You use the policies from the last to the first; step t has its own, policy[t].": shown - turned.sum(0),
        "You begin anywhere; begin where the demonstrations do, in `start`.": shown - anywhere.sum(0),
        "You forgot the policy: weigh each action with pi_t(a | s), not evenly.": shown - even.sum(0),
        "You return one row for each step; sum over the steps.": shown - own,
    }


MOMENT_GRADIENT = Exercise(
    "moment_gradient",
    "one number for each feature",
    _moment_gradient,
    _moment_case,
    _moment_mistakes,
    traits=lambda transition, policy, start, features, shown: {
        "there is one step": len(policy) == 1,
        "the first state is certain": start.max() == 1,
    },
)


def _doubt_case(rng: Generator) -> Case:
    n, m, d = int(rng.integers(1, 4)), int(rng.integers(2, 5)), int(rng.integers(1, 4))
    return tenths(rng, n, d), tenths(rng, m, d)


def _doubt_mistakes(difference: Array, theta: Array) -> dict[str, Any]:
    margin = difference @ theta.T
    p = expit(margin)
    return {
        "You take the variance of the margins; it is that of the probabilities, so a sigmoid comes first.": margin.var(
            1
        ),
        "You return the standard deviation; the doubt is a variance.": p.std(1),
        "You divide by M - 1; the doubt is the variance of the ensemble itself, divided by M.": p.var(1, ddof=1),
        "You take the variance over the comparisons; take it over the members.": p.var(0),
        "You measure how unsure the mean is, p (1 - p); the doubt is how far the members differ.": p.mean(1)
        * (1 - p.mean(1)),
        "You return what the members say; the doubt is the variance over them.": p,
    }


SEGMENT_DOUBT = Exercise(
    "segment_doubt",
    "one number for each comparison",
    lambda difference, theta: segments.disagreement(difference, theta),
    _doubt_case,
    _doubt_mistakes,
    traits=lambda difference, theta: {"there are two members": len(theta) == 2, "there is one": len(difference) == 1},
)
