"""Costs of DRIL, right ones and wrong ones, beside loops over members and actions."""

import numpy as np
import pytest

from rlhf_lab.audit import dril

LOGITS = np.random.default_rng(0).normal(size=(3, 2, 4))
P = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
TAKEN = np.array([2, 0])
CASE = {"log_probs": np.log(P), "actions": TAKEN}


def over_members(ddof):
    return np.array([np.var([P[k, n, a] for k in range(3)], ddof=ddof) for n, a in enumerate(TAKEN)])


def over_actions(ddof, mean_first):
    if mean_first:
        return np.array([np.var([np.mean(P[:, n, a]) for a in range(4)], ddof=ddof) for n in range(2)])
    return np.array([np.mean([np.var(P[k, n], ddof=ddof) for k in range(3)]) for n in range(2)])


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("", over_members(0)),
        ("the variance divides by the number of members less 1", over_members(1)),
        ("the deviation in place of the variance: its root", over_members(0) ** 0.5),
        ("the deviation, whose variance divides by the number of members less 1", over_members(1) ** 0.5),
    ],
)
def test_right_costs_are_what_their_names_say(name, wanted):
    (right,) = [right for right in dril.DRIL.rights if right.name == name]
    np.testing.assert_allclose(right.function(**CASE), wanted)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("disagreement rewarded", -over_members(0)),
        ("disagreement rewarded", -over_members(1)),
        ("disagreement rewarded", -(over_members(0) ** 0.5)),
        ("disagreement rewarded", -(over_members(1) ** 0.5)),
        ("variance over actions", over_actions(0, True)),
        ("variance over actions", over_actions(1, True)),
        ("variance over actions", over_actions(0, False)),
        ("variance over actions", over_actions(1, False)),
    ],
)
def test_wrong_costs_are_known_in_each_form(name, wanted):
    found = [bug.function(**CASE) for bug in dril.DRIL.known() if bug.name == name]
    assert any(np.allclose(cost, wanted) for cost in found)


def test_each_bug_is_known_by_the_number_of_members_less_1_too():
    bugs = dril.DRIL.known()
    for bug in bugs[: len({bug.name for bug in bugs})]:
        found = [other.function(**CASE) for other in bugs if other.name == bug.name]
        assert any(np.allclose(cost, bug.function(**CASE) * 3 / 2) for cost in found), bug.name


def test_what_a_cost_is_asked():
    asked = {identity.name: identity.look for identity in dril.DRIL.identities}
    variance = lambda case: np.var(np.exp(case["log_probs"]), axis=0)[range(len(case["actions"])), case["actions"]]  # noqa: E731
    for name, look in asked.items():
        for shown in look(variance, dril.DRIL.cases):
            np.testing.assert_allclose(shown.found, shown.wanted, atol=1e-15, err_msg=name)
    for name, wrong in (
        ("0 where the members agree", lambda case: variance(case) + 1),
        ("never negative", lambda case: -variance(case)),
        ("the variance over members of pi_k(a | s)", lambda case: 2 * variance(case)),
    ):
        shown = list(asked[name](wrong, dril.DRIL.cases))
        assert len(shown) == len(dril.DRIL.cases)
        assert not all(np.allclose(s.found, s.wanted) for s in shown)


def test_the_mean_over_states_is_a_form_and_probabilities_are_a_layout():
    _, mean = dril.DRIL.forms
    assert mean.shape(over_members(0), CASE) == over_members(0).mean()
    np.testing.assert_allclose(dril.OF_PROBS.into(CASE)["probs"], P)


def test_a_cost_of_an_action_is_counted_by_one_action_less():
    cost = lambda log_probs, actions: 1.0 * actions  # noqa: E731
    np.testing.assert_allclose(dril._less_one_action(cost, CASE["log_probs"], TAKEN), [8 / 3, 0])


def test_a_cost_is_no_loss_and_its_mean_is_a_form_of_the_whole():
    assert not dril.DRIL.loss
    assert [form.opaque for form in dril.DRIL.forms] == [False, True]
