"""What an estimate of KL(pi || pi_ref) has to be: small distributions of which all samples are enumerated.

l log-ratio log pi / pi_ref    theta logits of a small distribution
"""

from collections.abc import Callable, Iterator, Sequence

import autograd.numpy as np

from rlhf_lab.audit.binding import Case
from rlhf_lab.audit.contracts import Function, Identity, Shown
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.checks import tally

TENTHS = (  # chances of pi, and of pi_ref, in tenths
    ((5, 5), (2, 8)),
    ((1, 9), (4, 6)),
    ((2, 3, 5), (4, 5, 1)),
    ((1, 1, 2, 6), (3, 1, 4, 2)),
)


def enumerated(of: Sequence[int], reference: Sequence[int]) -> tuple[Case, Array]:
    """Return a batch of 10 samples that holds each as often as pi says, and which sample each is, (10,)."""
    which = np.repeat(np.arange(len(of)), of)
    logs = (np.log(np.array(p) / 10)[which] for p in (of, reference))
    return dict(zip(("log_pi", "log_ref"), logs, strict=True)) | {"mask": np.ones(10)}, which


def _per_sample(estimate: Function, case: Case) -> float:
    """What a result has to be divided by so that it is a mean: 1, or the number of samples."""
    values = estimate(case)
    double = {name: np.concatenate([value, value]) for name, value in case.items()}
    added = values.ndim > 0 or (abs(float(values)) > 1e-9 and np.isclose(float(estimate(double)), 2 * float(values)))
    return float(len(case["log_pi"])) if added else 1.0


def divergence(case: Case, which: Array) -> tuple[float, Array]:
    """Return KL(pi || pi_ref) and its gradient in the logits of pi, pi (l - KL)."""
    log_ratio = np.array([np.mean((case["log_pi"] - case["log_ref"])[which == y]) for y in range(which[-1] + 1)])
    pi = tally(which) / len(which)
    kl = float(np.sum(pi * log_ratio))
    return kl, pi * (log_ratio - kl)


def _score(weights: Array, which: Array) -> Array:
    """The sum over samples of a weight times the gradient of log pi in the logits."""
    pi = tally(which) / len(which)
    return tally(which, weights) - pi * np.sum(weights)


def mean(estimate: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """The mean over samples beside the divergence."""
    for chances in TENTHS:
        case, which = enumerated(*chances)
        yield Shown(case, np.sum(estimate(case)) / _per_sample(estimate, case), np.array(divergence(case, which)[0]))


def as_loss(estimate: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """The mean gradient beside that of the divergence."""
    for chances in TENTHS:
        case, which = enumerated(*chances)
        slope = estimate.slope(case, "log_pi") / _per_sample(estimate, case)
        yield Shown(case, _score(slope.ravel(), which), divergence(case, which)[1])


def in_reward(estimate: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """The mean of the product with the score beside the gradient of the divergence."""
    for chances in TENTHS:
        case, which = enumerated(*chances)
        yield Shown(case, _score(estimate(case), which) / len(which), divergence(case, which)[1])


def is_not(
    wrong: Callable[[Case, Array], Array],
    look: Callable[[Function, Sequence[Case]], Iterator[Shown]],
    estimate: Function,
    cases: Sequence[Case],
) -> Iterator[Shown]:
    """Show something only if all of what is seen is what a known mistake gives."""
    seen = list(look(estimate, cases))
    which = [enumerated(*chances)[1] for chances in TENTHS]
    same = [np.allclose(s.found, wrong(s.case, w), 1e-4, 1e-5) for s, w in zip(seen, which, strict=True)]
    yield from seen if all(same) else ()


def forward(case: Case, which: Array) -> Array:
    """The gradient of KL(pi_ref || pi), pi - pi_ref."""
    pi = tally(which) / len(which)
    return pi - np.array([np.exp(np.mean(case["log_ref"][which == y])) for y in range(len(pi))])


def _rows(estimate: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        n, found = len(case["log_pi"]), estimate(case)
        each = np.array([np.sum(estimate({k: v[i : i + 1] for k, v in case.items()})) for i in range(n)])
        wholes = [each] if found.shape == each.shape else [np.mean(each), np.sum(each)]
        yield Shown(case, found, min(wholes, key=lambda whole: float(np.max(np.abs(whole - found)))))


BATCH = Identity("a batch is made of its samples", _rows)
