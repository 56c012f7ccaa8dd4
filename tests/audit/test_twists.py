"""What goes wrong in any function: signs, rounding, one input for another; and what is none of these."""

import functools

import autograd.numpy as anp
import numpy as np
import pytest

from rlhf_lab import audit
from rlhf_lab.audit import twists
from rlhf_lab.audit.zoo import advantages, charges, loops, pairs, policies, returns
from rlhf_lab.audit.zoo.charges import token_rewards as paid
from rlhf_lab.audit.zoo.grpo import grpo_loss as grpo

NUMBERS = {
    "gae": returns.gae,
    "whiten": returns.whiten,
    "token_rewards": charges.token_rewards,
    "advantages": returns.grpo,
}


def test_each_twist_is_what_its_name_says():
    values, case = np.array([[6.0, -12.0, 18.0]] * 2), {"mask": np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]])}
    found = {name: twist(values, case)[0].tolist() for (name, _), twist in (twists.AVERAGED | twists.SIGNS).items()}
    assert found == {
        "averaged twice over the batch": [3, -6, 9],
        "averaged twice over tokens": [1.5, -3, 4.5],
        "averaged twice over places": [1, -2, 3],
        "minus the right numbers": [-6, 12, -18],
        "sign lost": [6, 12, 18],
    }


@pytest.mark.parametrize("name", NUMBERS)
def test_a_sign_that_is_no_convention_has_a_name(name):
    right = NUMBERS[name]

    @functools.wraps(right)
    def turned(*args, **kwargs):
        return -right(*args, **kwargs)

    @functools.wraps(right)
    def sizes(*args, **kwargs):
        return anp.abs(right(*args, **kwargs))

    options = {"kind": "grpo"} if name == "advantages" else {}
    named = {"advantages": "group advantage turned round"}
    for wrong, known in ((turned, named.get(name, "minus the right numbers")), (sizes, "sign lost")):
        found = audit.AUDITS[name](wrong, **options)
        assert (found.ok, found.verdict) == (False, known), str(found)
        assert found.smallest


def test_the_sign_of_leave_one_out_and_of_dr_grpo():
    assert audit.advantages(lambda r: -returns.rloo(r), kind="rloo").verdict == "leave-one-out turned round"
    assert audit.advantages(lambda r: -advantages.dr_grpo(r), kind="dr_grpo").verdict == "minus the right numbers"


def test_a_deviation_that_is_rewarded_has_the_name_of_its_variance():
    found = audit.dril_cost(lambda log_probs, actions: -np.sqrt(loops.dril_cost(log_probs, actions)))
    assert found.verdict == "disagreement rewarded"
    assert found.where == "sec-dril"


def halved(*arrays):
    return [np.asarray(x).astype(np.float16) for x in arrays]


def test_half_precision_inside_is_told_where_the_result_is_double():
    def dpo(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
        four = halved(policy_chosen, policy_rejected, reference_chosen, reference_rejected)
        h = (four[0] - four[1]) - (four[2] - four[3])
        return np.logaddexp(0, -beta * h.astype(float)).mean()

    found = audit.dpo_loss(dpo)
    assert (found.ok, found.verdict, found.told) == (False, *twists.ROUNDED)
    assert "single precision" in found.told


def test_single_precision_inside_is_no_half_precision():
    def dpo(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
        four = [x.astype(np.float32) for x in (policy_chosen, policy_rejected, reference_chosen, reference_rejected)]
        h = (four[0] - four[1]) - (four[2] - four[3])
        return np.logaddexp(0, -beta * h.astype(float)).mean()

    assert audit.dpo_loss(dpo)


def test_a_loss_that_is_near_but_not_rounded_is_no_half_precision():
    found = audit.dpo_loss(lambda pc, pr, rc, rr, beta: 1.01 * pairs.dpo_loss(pc, pr, rc, rr, beta) + 1e-3 * pc**2)
    assert found.verdict == "wrong"
    coarse = audit.dpo_loss(lambda pc, pr, rc, rr, beta: np.round(pairs.dpo_loss(pc, pr, rc, rr, beta)))
    assert coarse.verdict == "wrong"  # it does not hear of a millionth, and is nowhere near


EXPONENTIAL = "the exponential of advantage in place of advantage"


def ppo(log_pi, log_old, advantage, mask, clip_range):
    return policies.ppo_loss(log_pi, log_old, advantage, mask, clip_range)


@pytest.mark.parametrize(
    ("name", "function", "verdict"),
    [
        ("ppo_loss", lambda p, o, a, m, e: ppo(p, o, anp.exp(a), m, e), EXPONENTIAL),
        (
            "ppo_loss",
            lambda p, o, a, m, e: ppo(p, o, anp.sum(a * m) / anp.sum(m) + 0 * a, m, e),
            "the mean of advantage in place of advantage",
        ),
        ("ppo_loss", lambda p, o, a, m, e: ppo(p, o, a, m, 2 * e), "twice clip range in place of clip range"),
        (
            "grpo_loss",
            lambda p, o, r, a, m, e, b: grpo(p, r, r, a, m, e, b),
            "log ref in place of log old",
        ),
        ("grpo_loss", lambda p, o, r, a, m, e, b: grpo(p, o, r, a, m, b, b), "beta in place of clip range"),
        ("grpo_loss", lambda p, o, r, a, m, e, b: grpo(p, o, r, a, m, e, b**2), "the square of beta in place of beta"),
        ("grpo_loss", lambda p, o, r, a, m, e, b: grpo(p, o, r, a, m, e, b / 2), "half of beta in place of beta"),
        (
            "token_rewards",
            lambda score, p, r, m, b: paid(score, anp.exp(p), anp.exp(r), m, b),
            "exponentials in place of logarithms",
        ),
        ("token_rewards", lambda score, p, r, m, b: paid(-score, p, r, m, b), "minus score in place of score"),
        ("token_rewards", lambda score, p, r, m, b: paid(0 * score, p, r, m, b), "0 in place of score"),
        ("value_loss", lambda v, g, m: returns.value_loss(anp.abs(v), g, m), "the size of values in place of values"),
        (
            "ppo_loss",
            lambda p, o, a, m, e: ppo(p, o, anp.concatenate([a[:, 1:], 0 * a[:, :1]], axis=1), m, e),
            "advantage one place early in place of advantage",
        ),
        (
            "gae",
            lambda r, v, m, g, lam: returns.gae(r, anp.concatenate([0 * v[:, :1], v[:, :-1]], axis=1), m, g, lam),
            "values one place late in place of values",
        ),
    ],
)  # fmt: skip
def test_a_right_function_of_other_inputs_is_told_as_that(name, function, verdict):
    found = audit.AUDITS[name](function)
    assert (found.ok, found.verdict) == (False, verdict), str(found)
    what, _, where = verdict.partition(" in place of ")
    assert found.told == f"It is right but for its input {where}: there it uses {what}."


def test_a_gradient_that_is_missing_is_no_other_input():
    from autograd.tracer import getval

    def loss(log_pi, log_old, log_ref, advantage, mask, clip_range, beta):
        free = grpo(log_pi, log_old, log_pi, advantage, mask, clip_range, beta)
        difference = log_pi - log_ref
        kl_ = anp.sum((anp.exp(-difference) - 1 + difference) * mask, axis=-1) / anp.sum(mask, axis=-1)
        return free + beta * getval(anp.mean(kl_))

    assert audit.grpo_loss(loss).verdict == "wrong gradient"
