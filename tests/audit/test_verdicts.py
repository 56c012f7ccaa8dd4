"""What is told of a function that is not recognised: the layout in which it breaks least, and the bug that it has."""

import functools

import numpy as np
import pytest

from rlhf_lab import audit
from rlhf_lab.audit import auditing, critics
from rlhf_lab.audit.zoo import ZOO, pairs, tokens


def test_an_unknown_bug_is_told_in_the_layout_in_which_it_breaks_least():
    def swept(rewards, values, dones, next_value, next_done, gamma, gae_lambda):
        found, later = np.zeros_like(rewards), 0
        for t in reversed(range(len(rewards))):
            final = t == len(rewards) - 1
            live = 1.0 - (next_done if final else dones[t + 1])
            after = next_value if final else values[t + 1]
            later = 1.1 * rewards[t] + gamma * after * live - values[t] + gamma * gae_lambda * live * later
            found[t] = later
        return found

    report = audit.gae(swept)
    assert not report.ok
    told = "time comes first, (T, N); flags mark the first step of an episode, and what comes after the last one"
    assert report.conventions == (told,)
    assert report.identities["rows have nothing to do with each other"] == "holds"


def test_a_function_that_is_not_recognised_is_told_of_the_bug_whose_identity_it_breaks():
    report = audit.value_loss(lambda values, returns, mask: np.mean(np.abs(values - returns) ** 1.5))
    bug = next(bug for bug in ZOO if bug.name == "critic fitted on padding")
    assert (report.ok, report.verdict, report.told, report.where) == (False, bug.name, bug.told, bug.where)
    assert report.identities["padding changes nothing"].startswith("BROKEN")


UNKNOWN = "It should return sum over k of (gamma lambda)^k delta_(t+k). The zoo does not know this bug."


def swept(rewards, values, last_value, gamma, lam, ends=0.0, *, size=1.1):
    found, later, after = np.zeros_like(rewards), 0.0, last_value
    for t in reversed(range(len(rewards))):
        live = 1.0 - (ends[t] if np.ndim(ends) else ends)
        later = size * rewards[t] + gamma * live * after - values[t] + gamma * lam * live * later
        found[t], after = later, values[t]
    return found


@pytest.mark.parametrize(
    ("function", "layout"),
    [
        (lambda rewards, values, gamma, lam: swept(rewards, values, 0.0, gamma, lam), "time comes first, (T, N)"),
        (
            lambda rewards, values, dones, gamma, lam: swept(rewards, values, 0.0, gamma, lam, dones),
            "time comes first, (T, N); flags mark the last step of an episode",
        ),
        (
            lambda rewards, values, dones, last_value, gamma, lam: swept(
                rewards, values, last_value, gamma, lam, dones
            ),
            "time comes first, (T, N); flags mark the last step of an episode",
        ),
    ],
)
def test_an_unknown_bug_is_told_in_the_first_layout_in_which_rows_are_apart(function, layout):
    report = audit.gae(function)
    assert (report.ok, report.verdict, report.told) == (False, "wrong", UNKNOWN)
    assert report.conventions == (layout,)
    assert report.identities["rows have nothing to do with each other"] == "holds"


def test_advantages_with_the_other_sign_are_wrong_with_flags_too():
    report = audit.gae(
        lambda rewards, values, dones, last_value, gamma, lam: (
            -swept(rewards, values, last_value, gamma, lam, dones, size=1.0)
        )
    )
    assert (report.ok, report.verdict) == (False, "minus the right numbers")


def test_a_function_is_called_by_its_name_or_by_what_it_is():
    report = audit.dpo_loss(functools.partial(pairs.dpo_loss, beta=0.3))
    assert (report.audit, report.function, report.ok) == ("dpo_loss", "partial", True)
    report = audit.dpo_loss(lambda a: 1)
    assert (report.audit, report.function, report.ok) == ("dpo_loss", "<lambda>", False)
    assert report.verdict == "not audited"


def test_a_number_inside_is_only_told_where_it_makes_a_function_right_or_a_known_bug():
    def strange(pc, pr, rc, rr):
        return pairs.dpo_loss(pc, pr, rc, rr, 0.3) + 0.1 * np.abs(pc - pr)

    report = audit.dpo_loss(strange)
    assert (report.verdict, report.function) == ("wrong", "strange")
    told = [text for text in report.conventions if text.startswith("no parameter beta")]
    assert [("worked out from its slope" in text) for text in told] == [True]


def test_what_is_only_right_if_it_is_recognised_is_wrong_though_its_identities_hold():
    fourth = auditing.audit(
        critics.HUBER, lambda values, returns, mask: np.mean((values - returns) ** 4, where=mask > 0)
    )
    assert (fourth.ok, fourth.verdict, fourth.where) == (False, "wrong", "")
    assert fourth.told == f"It should return {critics.HUBER.result}. The zoo does not know this bug."
    assert set(fourth.identities.values()) == {"holds"}


def test_what_is_not_finite_is_told_beside_a_contract_whose_identities_hold_for_nan():
    report = audit.whiten(lambda advantage, mask: np.log(-np.abs(advantage)))
    assert (report.ok, report.verdict, report.where) == (False, "not finite", "")
    assert report.told == "It returns NaN or infinity for inputs that have a finite answer."


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.2, 0.05, 0.01, 0.3])
def test_weights_that_people_write_are_tried_where_the_slope_tells_another(beta):
    def tripled(pc, pr, rc, rr):
        return 3 * pairs.dpo_loss(pc, pr, rc, rr, beta)

    report = audit.dpo_loss(tripled)
    assert (report.function, report.verdict, report.smallest) == ("tripled", "right", "")
    inside = [text for text in report.conventions if text.startswith("no parameter")]
    assert inside == [f"no parameter beta: {beta:.4g} is fixed inside it"]
    assert "3 times the loss: a matter of the step size" in report.conventions


@pytest.mark.parametrize("temperature", [0.7, 0.8, 0.9, 0.6, 0.5, 2.0])
def test_temperatures_that_people_write_are_tried(temperature):
    def heated(logits, input_ids, mask):
        return tokens.log_probs(logits / temperature, input_ids, mask)

    report = audit.log_probs(heated)
    assert (report.function, report.verdict) == ("heated", "right")
    assert f"no parameter temperature: {temperature:.4g} is fixed inside it" in report.conventions


def test_what_only_an_identity_sees_is_no_rounding():
    def off_at_the_reference(pc, pr, rc, rr, beta):
        return pairs.dpo_loss(pc, pr, rc, rr, beta) + 0.5 * ((pc == rc) & (pr == rr))

    report = audit.dpo_loss(off_at_the_reference)
    assert (report.ok, report.verdict) == (False, "wrong")
    assert [name for name, state in report.identities.items() if state != "holds"] == [
        "log 2 where the policy is the reference"
    ]
    assert "it gives 1.1931; it should be 0.6931" in report.smallest
    assert not any(text.startswith("equal to four digits") for text in report.conventions)


def test_what_breaks_is_told_with_the_number_that_was_returned():
    report = audit.dpo_loss(lambda pc, pr, rc, rr, beta: np.full(pc.shape, 5.0))
    assert (report.ok, report.verdict) == (False, "wrong")
    state = report.identities["log 2 where the policy is the reference"]
    assert state.startswith("BROKEN: with policy_chosen = [")
    assert state.endswith(" it gives 5.; it should be 0.6931")


def test_what_a_function_does_to_its_inputs_is_told_before_the_shapes_that_it_does_not_take():
    def in_place(rewards, values, gamma, lam):
        if rewards.ndim > 1:
            raise ValueError("one trajectory at a time")
        rewards -= values
        return rewards

    report = audit.gae(in_place)
    assert (report.ok, report.verdict) == (False, "not audited")
    assert report.told == "It changes its input rewards: work on a copy."
