"""Bugs of the ratio and of the divergence in GRPO's loss, beside losses that are written out."""

import numpy as np
import pytest

from rlhf_lab.audit import grpo, grpo_bugs, policies
from rlhf_lab.audit.zoo import ZOO
from rlhf_lab.audit.zoo import grpo as zoo_grpo
from rlhf_lab.audit.zoo.kl import k3

GRPO = policies.cases_of(grpo=True)
INPUTS = ("log_pi", "log_old", "log_ref", "advantage", "mask", "clip_range", "beta")
K3 = next(iter(grpo_bugs.ESTIMATES.values()))


def inputs(case):
    return {name: case[name] for name in INPUTS}


def rows(bug, case):
    """The loss of each answer by itself, without a divergence."""
    p, o, a, m = (case[name] for name in ("log_pi", "log_old", "advantage", "mask"))
    whole = [x[:, None] if x.ndim == 1 else x for x in (p, o, a + 0.0, m)]
    whole[2] = whole[2] + 0 * p
    return np.array([bug.function(*(x[i : i + 1] for x in whole), case["clip_range"]) for i in range(len(p))])


def test_bugs_of_the_ratio_are_bugs_of_grpo_beside_any_estimate_of_the_divergence():
    case = GRPO[-1]
    log_ratio, m, b = case["log_pi"] - case["log_ref"], case["mask"], case["beta"]
    u = np.exp(case["log_pi"] - case["log_old"])
    ratio = next(bug for bug in grpo_bugs.RATIO_BUGS if bug.name == "max in place of min")
    for estimate, kl in (
        (K3, np.exp(-log_ratio) - 1 + log_ratio),
        (lambda d, u: d**2 / 2, log_ratio**2 / 2),
        (lambda d, u: d * u, log_ratio * u),
    ):
        composed = grpo_bugs._composed(ratio, estimate)
        wanted = np.mean(rows(ratio, case) + b * (kl * m).sum(1) / m.sum(1))
        assert composed.function(**inputs(case)) == pytest.approx(wanted)
        assert (composed.name, composed.audit, composed.right) == (ratio.name, "grpo_loss", zoo_grpo.grpo_loss)


def unclipped_or_clipped(step, case):
    """The part of each token that A multiplies, from the logarithm of its ratio."""
    u, a, e = np.exp(step), case["advantage"][:, None], case["clip_range"]
    return -np.minimum(u * a, np.clip(u, 1 - e, 1 + e) * a)


@pytest.mark.parametrize("stored", [False, True])
def test_wrong_estimates_of_the_divergence_are_bugs_of_grpo_too(stored):
    case = GRPO[-1]
    bug = next(bug for bug in ZOO if bug.name == "exponential less 1")
    wrong = grpo_bugs._estimated(bug, bug.function, **({"stored": True} if stored else {}))
    log_pi, mask = case["log_old" if stored else "log_pi"], case["mask"]
    each = unclipped_or_clipped(case["log_pi"] - case["log_old"], case)
    each = each + case["beta"] * (np.exp(case["log_ref"] - log_pi) - 1)
    wanted = np.mean((each * mask).sum(1) / mask.sum(1))
    assert wrong.function(**inputs(case)) == pytest.approx(wanted)
    assert (wrong.name, wrong.audit, wrong.right) == (bug.name, "grpo_loss", zoo_grpo.grpo_loss)
    if not stored:
        known = next(one for one in grpo_bugs.DIVERGENCES if one.name == bug.name)
        assert known.function(**inputs(case)) == pytest.approx(wanted)


@pytest.mark.parametrize("ratio", ["token", "answer"])
def test_the_ratio_is_that_of_each_token_or_of_the_whole_answer(ratio):
    case = GRPO[-1]
    step, mask = case["log_pi"] - case["log_old"], case["mask"]
    if ratio == "answer":
        step = 0 * step + ((step * mask).sum(1) / mask.sum(1))[:, None]
    log_ratio = case["log_pi"] - case["log_ref"]
    each = unclipped_or_clipped(step, case) + case["beta"] * log_ratio * np.exp(step)
    wanted = np.mean((each * mask).sum(1) / mask.sum(1))
    options = {} if ratio == "token" else {"ratio": ratio}
    loss = grpo_bugs.grpo(lambda log_ratio, u: log_ratio * u, **options)
    assert loss(**inputs(case)) == pytest.approx(wanted)


def test_wrong_estimates_are_those_of_k3_and_of_what_was_stored():
    names = [bug.name for bug in grpo.GRPO.bugs]
    own = [bug.name for bug in ZOO if bug.audit == "grpo_loss"]
    estimated = [bug.name for bug in ZOO if bug.audit == "kl_estimate" and bug.right is k3]
    stored = [bug.name for bug in ZOO if bug.function is zoo_grpo.kl_of_old] * 2
    assert names == own + estimated + stored


def some(cost):
    """A loss with a part that A multiplies, and what else it costs."""
    return lambda case: 2.0 * np.sum(case["advantage"]) + np.sum(cost(case))


@pytest.mark.parametrize(
    ("cost", "estimates"),
    [
        (lambda c: c["beta"] * (c["log_pi"] - c["log_ref"]) ** 2 / 2, [1]),
        (lambda c: 3 * c["beta"] * (c["log_pi"] - c["log_ref"]) ** 2, [1]),  # six times that
        (lambda c: c["beta"] * K3(c["log_pi"] - c["log_ref"], 1.0), [0, 4]),  # two with the same numbers
        (lambda c: c["beta"] * (c["log_pi"] - c["log_ref"]) * np.exp(c["log_pi"] - c["log_old"]), [3]),
        (lambda c: (1 + 4e-4 * c["clip_range"]) * c["beta"] * (c["log_pi"] - c["log_ref"]) ** 2 / 2, [1]),  # nearly
        (lambda c: c["beta"] * (c["log_pi"] - c["log_ref"]), []),
    ],
)
def test_the_estimate_is_that_which_is_left_where_the_advantage_is_0(cost, estimates):
    found = list(grpo_bugs.of_the_ratio(some(cost), GRPO))
    kinds = list(grpo_bugs.ESTIMATES.values())
    wanted = [grpo_bugs._composed(bug, kinds[k]) for k in estimates for bug in grpo_bugs.RATIO_BUGS]
    assert [bug.name for bug in found] == [bug.name for bug in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.function(**inputs(GRPO[3])) == pytest.approx(other.function(**inputs(GRPO[3])))


def test_without_a_reference_bugs_of_the_ratio_are_tried_once():
    alone = [case | {"log_ref": case["log_pi"]} for case in GRPO]
    for rest in (0.0, 1e-7):
        found = list(grpo_bugs.of_the_ratio(some(lambda case, rest=rest: rest), alone))
        assert [bug.name for bug in found] == [bug.name for bug in grpo_bugs.RATIO_BUGS]
    assert "max in place of min" in [bug.name for bug in found]
    assert not {"mask ignored", "sign turned"} & {bug.name for bug in found}


def test_batches_may_be_stacked():
    ratio = next(bug for bug in grpo_bugs.RATIO_BUGS if bug.name == "max in place of min")
    wrong = next(bug for bug in ZOO if bug.name == "exponential less 1")
    one = inputs(GRPO[-1])
    other = one | {name: 0.9 * one[name] for name in ("log_pi", "advantage")} | {"mask": one["mask"][::-1]}
    stacked = one | {name: np.stack([one[name], other[name]]) for name in INPUTS[:5]}
    for loss in (
        grpo_bugs._composed(ratio, K3).function,
        grpo_bugs._estimated(wrong, wrong.function).function,
        grpo_bugs.grpo(K3),
        grpo_bugs.grpo(K3, ratio="answer"),
    ):
        assert loss(**stacked) == pytest.approx([loss(**one), loss(**other)])
