"""What goes wrong in any function: signs, rounding, one input for another; and what is none of these."""

import functools

import autograd.numpy as anp
import numpy as np
import pytest

from rlhf_lab import audit
from rlhf_lab.audit import twists
from rlhf_lab.audit.zoo import advantages, charges, loops, pairs, policies, returns
from rlhf_lab.audit.zoo import tokens as texts
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
    assert twists._counts({"beta": 0.1, "rewards": np.zeros((4, 2))}).tolist() == [1, 1, 1, 1]  # without a mask


RESULTS = {
    "sums of the right numbers up to each place": [[3, -3, -1], [0, 1, 1]],
    "sums of the right numbers up to each place, 0 on padding": [[3, -3, -1], [0, 1, 0]],
    "the right numbers one place late": [[0, 3, -6], [0, 0, 1]],
    "the right numbers one place early": [[-6, 2, 0], [1, 0, 0]],
    "the right numbers from the end to the beginning": [[2, -6, 3], [0, 1, 0]],
    "the right numbers without what is negative": [[3, 0, 2], [0, 1, 0]],
    "the right numbers clipped to 1": [[1, -1, 1], [0, 1, 0]],
    "the right numbers discounted once more, by gamma for each step": [[3, -3, 0.5], [0, 0.5, 0]],
}


@pytest.mark.parametrize("name", RESULTS)
def test_what_is_done_to_right_numbers_is_what_its_name_says(name):
    values = np.array([[3.0, -6.0, 2.0], [0.0, 1.0, 0.0]])
    twist = twists.RESULTS[name, f"You return {name}. Leave that out."]
    assert twist(values, {"gamma": 0.5}).tolist() == RESULTS[name]
    assert [twist(row, {"gamma": 0.5}).tolist() for row in values] == RESULTS[name]
    assert np.shape(twist(values, {})) == values.shape


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


LAST = {
    "sums of the right numbers up to each place": lambda x: np.cumsum(x, axis=1),
    "the right numbers one place late": lambda x: np.roll(x, 1, axis=1) * (np.arange(x.shape[1]) > 0),
    "the right numbers one place early": lambda x: np.roll(x, -1, axis=1) * (np.arange(x.shape[1]) < x.shape[1] - 1),
    "the right numbers from the end to the beginning": lambda x: np.flip(x, axis=1),
    "the right numbers without what is negative": lambda x: np.where(x > 0, x, 0),
    "the right numbers clipped to 1": lambda x: np.where(np.abs(x) > 1, np.sign(x), x),
}


@pytest.mark.parametrize("name", LAST)
def test_what_is_done_to_right_numbers_at_last_has_a_name(name):
    def rewards(score, log_pi, log_ref, mask, beta):
        return LAST[name](paid(score, log_pi, log_ref, mask, beta))

    report = audit.token_rewards(rewards)
    assert (report.ok, report.verdict, report.told) == (False, name, f"You return {name}. Leave that out.")


def test_sums_of_log_probabilities_that_stop_with_the_answer():
    def running(logits, tokens, mask):
        return np.cumsum(texts.log_probs(logits, tokens, mask), axis=1) * mask[:, 1:]

    assert audit.log_probs(running).verdict == "sums of the right numbers up to each place, 0 on padding"


def test_advantages_that_are_discounted_once_more():
    def faded(rewards, values, mask, gamma, lam):
        return returns.gae(rewards, values, mask, gamma, lam) * gamma ** np.arange(mask.shape[1])

    assert audit.gae(faded).verdict == "the right numbers discounted once more, by gamma for each step"


def test_a_division_by_the_length_that_comes_twice():
    def short(logits, tokens, mask):
        return -np.mean(np.sum(texts.log_probs(logits, tokens, mask), axis=1) / np.sum(mask, axis=1) ** 2)

    report = audit.sft_loss(short)
    assert (report.ok, report.verdict) == (False, "divided by the length twice")
    assert report.told == (
        "You divide by the number of tokens of each answer twice, so that long ones count for little. Divide once."
    )


def test_the_length_is_that_of_the_answer_of_each_number():
    assert twists._lengths(np.ones((2, 3)), {"mask": np.array([[1, 1, 0], [1, 1, 1]])}).tolist() == [[2], [3]]
    assert twists._lengths(np.ones(2), {"mask": np.array([[1, 1, 0], [1, 1, 1]])}).tolist() == [2, 3]
    assert twists._lengths(np.ones(2), {}).tolist() == [1, 1]
    assert twists._lengths(np.ones(()), {"mask": np.ones((2, 3))}) == 1


def test_rows_are_whitened_by_what_counts():
    values = np.array([[1.0, 5.0, 100.0], [0.0, 3.0, 6.0], [4.0, 4.0, 4.0]])
    mask = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    far = np.sqrt(1.5)  # 3 by the deviation, sqrt(6)
    found = twists._whitened(values, {"mask": mask})
    np.testing.assert_allclose(found, [[-1, 1, 0], [-far, 0, far], [0, 0, 0]], atol=1e-9)
    for case in ({}, {"mask": mask}):  # which is not that of one row
        np.testing.assert_allclose(twists._whitened(values[1], case), [-far, 0, far], atol=1e-9)
