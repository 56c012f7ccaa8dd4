"""What audits of the losses of PPO and GRPO share: cases, numbers that are fixed inside, identities.

u ratio pi / pi_old of a token    A advantage    epsilon clip range
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import autograd.numpy as np

from rlhf_lab.audit import batches
from rlhf_lab.audit.binding import Case
from rlhf_lab.audit.contracts import Function, Identity, Right, Shown
from rlhf_lab.audit.functions import Subject
from rlhf_lab.numerics.autodiff import Array

STEPS = ((0.1, 0.4), (0.5, 0.7), (-0.5, 0.9), (0.6, -0.8), (-0.6, -1.1), (-0.1, -0.3), (0.15, 0.6))  # log u, A
CLIPS = (0.2, 0.1, 0.3, 0.2, 0.1, 0.3, 0.2)


def cases_of(*, grpo: bool) -> tuple[Case, ...]:
    """One token with ratios inside the clip range, above and below, and batches of up to 5 answers of up to 3 tokens.

    The last of the single tokens is an unlikely one.
    """
    rng = np.random.default_rng(0)
    found = []
    for (step, advantage), clip in zip(STEPS, CLIPS, strict=True):
        old = -41.3 if step == 0.15 else -rng.integers(5, 31) / 10
        found.append(_batch(np.array([[old]]), np.array([[step]]), np.array([[advantage]]), np.ones((1, 1)), clip))
    for k, (n, clip) in enumerate(zip((1, 1, 3, 3, 5), (0.2, 0.2, 0.1, 0.3, 0.2), strict=True)):
        t = 3  # of one length, since JAX compiles for each
        old, step = (
            -rng.integers(5, 31, (n, t)) / 10,
            np.round(rng.permutation(n * t).reshape(n, t) * 1.7 / (n * t) - 0.83, 2),
        )
        found.append(
            _batch(
                old,
                step,
                rng.integers(-19, 20, (n, t)) / 10 + 0.03,
                batches.lengths(rng, n, t) if k else np.array([[1.0, 0.0, 0.0]]),
                clip,
            )
        )
    if grpo:
        found = [
            case
            | {
                "log_ref": case["log_pi"] + rng.integers(1, 9, case["log_pi"].shape) * rng.choice([-0.1, 0.1]) - 0.02,
                "advantage": case["advantage"][:, 0],
                "beta": beta,
            }
            for case, beta in zip(found, (0.1, 0.3, 0.2, 0.5, 0.1, 0.3, 0.2, 0.2, 0.4, 0.1, 0.3, 0.2), strict=True)
        ]
    return tuple(found)


def _batch(old: Array, step: Array, advantage: Array, mask: Array, clip: float) -> Case:
    logs = {"log_pi": old + step, "log_old": old}
    return logs | {"advantage": advantage, "mask": mask, "clip_range": clip, "clip_high": clip}


def fixed_clip(subject: Subject, case: Case) -> float:
    """The clip range that is fixed inside a function: what it makes of a ratio of 50, beside a ratio of 1."""
    one = case | {name: np.ones((1,) * np.ndim(value)) for name, value in case.items() if np.ndim(value)}
    at = [one | {name: one["log_old"] - 1 for name in ("log_old", "log_ref", "log_pi") if name in one}]
    at.append(at[0] | {"log_pi": at[0]["log_pi"] + np.log(50)})
    small, large = (abs(float(term(subject, c))) for c in at)
    clip = large / small - 1 if small > 1e-9 else np.inf
    if not 1e-3 < clip < 10:
        return 0.2
    subject.note(f"no parameter for the clip range: {clip:.4g}, worked out from its values, is fixed inside it")
    return float(f"{clip:.6g}")


def upper(subject: Subject, case: Case) -> float:
    """The same clip range above as below."""
    return float(case["clip_range"])


def held(log_pi: Array, log_old: Array, advantage: Array, clip_range: float) -> Array:
    """- min(u A, clip(u) A), for each token."""
    ratio = np.exp(log_pi - log_old)
    near = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    return -np.minimum(ratio * advantage, near * advantage)


def single(cases: Sequence[Case]) -> list[Case]:
    """Return the cases of one token."""
    return [case for case in cases if np.size(case["log_pi"]) == 1]


def total(loss: Callable[[Case], Array], case: Case) -> Array:
    """Return a loss as one number."""
    return np.sum(loss(case))


def term(loss: Callable[[Case], Array], case: Case) -> Array:
    """The part of a loss that depends on the advantage."""
    return total(loss, case) - total(loss, case | {"advantage": 0 * case["advantage"]})


def _on_policy(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in single(cases):
        same = case | {"log_old": case["log_pi"]}
        yield Shown(same, term(loss, same), -np.sum(case["advantage"]))


def _clipped(where: Callable[[float, float, float], bool], loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in single(cases):
        ratio, advantage = float(np.exp(np.sum(case["log_pi"] - case["log_old"]))), float(np.sum(case["advantage"]))
        if where(ratio, advantage, case["clip_range"]):
            wanted = np.sum(held(case["log_pi"], case["log_old"], case["advantage"], case["clip_range"]))
            yield Shown(case, term(loss, case), wanted)


def padding(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """What stands behind the end of answers is changed."""
    for case in cases:
        off = 1 - case["mask"]
        if np.sum(off):
            by = {"log_pi": 0.7, "log_old": 0.3, "log_ref": 0.4, "advantage": 2.3}
            moved = case | {name: case[name] - step * off for name, step in by.items() if np.ndim(case.get(name)) == 2}
            there = case["mask"] if np.shape(loss(case)) == case["mask"].shape else 1.0
            yield Shown(moved, loss(moved) * there, loss(case) * there)


def unpadded(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """An answer without its padding costs as much, but for a sum that is divided by all places."""
    for case in cases:
        keep = case["mask"][0] > 0
        for sign in (1.0, -1.0) if len(case["mask"]) == 1 and not np.all(keep) else ():
            padded = case | {"advantage": sign * case["advantage"]}
            short = {name: value[:, keep] if np.ndim(value) == 2 else value for name, value in padded.items()}
            found = np.sum(loss(padded) * (case["mask"] if np.ndim(loss(padded)) == 2 else 1.0))
            wholes = [total(loss, short), total(loss, short) * np.mean(keep)]
            yield Shown(padded, found, min(wholes, key=lambda whole: float(np.abs(whole - found))))


def tokens(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """The loss of one answer is made of those of its tokens, by mean or sum."""
    for case in cases:
        n, t = case["log_pi"].shape
        if n == 1 and t > 1 and np.all(case["mask"]):
            found = loss(case)
            each = [{k: v[:, i : i + 1] if np.ndim(v) == 2 else v for k, v in case.items()} for i in range(t)]
            values = np.array([total(loss, one) for one in each])
            wholes = [np.mean(values), np.sum(values), values[None]]
            wholes = [np.reshape(w, found.shape) for w in wholes if np.size(w) == np.size(found)]
            yield Shown(case, found, min(wholes, key=lambda whole: float(np.max(np.abs(whole - found)))))


def _unlikely(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """A token of log-probability -40 beside one of -1/2, with the same ratio, which 8 bits hold for the second only."""
    for case in single(cases)[:1]:
        old = np.full((1, 1), -0.5)
        near = case | {name: old + (0.125 if name == "log_pi" else 0.0) for name in ("log_old", "log_pi", "log_ref")}
        far = near | {name: near[name] - 40 for name in ("log_old", "log_pi", "log_ref")}
        ratios = [-term(loss, at) / np.sum(case["advantage"]) for at in (near, far)]
        rounded = np.isclose(ratios[1], np.exp([0.0, 0.125, 0.25]), 0.02).any()
        if np.isclose(ratios[0], np.exp(0.125), 0.02) and rounded:
            yield Shown(far, term(loss, far), term(loss, near))


def answers(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """The loss of a batch is made of those of its answers: by mean or sum, or with their lengths as weights."""
    for case in cases:
        n, found = len(case["mask"]), loss(case)
        if n > 1:
            rows = [{k: v[i : i + 1] if np.ndim(v) else v for k, v in case.items()} for i in range(n)]
            parts, count = [loss(row) for row in rows], np.sum(case["mask"], axis=-1)
            if found.ndim:
                yield Shown(case, found, np.concatenate([np.reshape(part, (1, *found.shape[1:])) for part in parts]))
                continue
            each = np.array([np.sum(part) for part in parts])
            wholes = [np.mean(each), np.sum(each), np.sum(each * count) / np.sum(count)]
            yield Shown(case, found, min(wholes, key=lambda whole: float(np.abs(whole - found))))


def key(rights: Sequence[Right], loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """Yield single tokens beside the nearest of what right functions give."""
    for case in single(cases):
        found = total(loss, case)
        wanted = [np.sum(batches.by_token(right.function, case)) for right in rights]
        yield Shown(case, found, min(wanted, key=lambda w: float(np.abs(w - found))))


def _inside(u: float, a: float, e: float) -> bool:
    return abs(u - 1) < e


def _too_far(u: float, a: float, e: float) -> bool:
    return (u - 1 > e) if a > 0 else (1 - u > e)


def _wrong_way(u: float, a: float, e: float) -> bool:
    return (1 - u > e) if a > 0 else (u - 1 > e)


RATIOS = (
    Identity("-A where the policy is the old one", _on_policy),
    Identity("-u A inside the clip range", partial(_clipped, _inside), needs="log_old"),
    Identity(
        "an unlikely token is as exact as a likely one", _unlikely, needs="log_old", bug="ratio of rounded numbers"
    ),
    Identity("clipped where the ratio went too far", partial(_clipped, _too_far), needs="log_old"),
    Identity("-u A where it went the wrong way", partial(_clipped, _wrong_way), needs="log_old"),
)
