"""The audit of advantages from groups: bugs by name and kind, what is right in many layouts."""

from collections import defaultdict

import numpy as np
import pytest
from audited import breaks

from rlhf_lab import audit
from rlhf_lab.audit import groups, standards
from rlhf_lab.audit.zoo import ZOO
from rlhf_lab.methods import policy_gradient

KIND = {right: kind for kind, right in groups.RIGHT_OF.items()}
BUGS = [bug for bug in ZOO if bug.audit == "advantages"]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_bugs_have_names(bug):
    report = audit.advantages(bug.function, kind=KIND[bug.right])
    assert (report.ok, report.verdict, report.told) == (False, bug.name, bug.told)


def trl(rewards, num_generations):
    mean = rewards.reshape(-1, num_generations).mean(1).repeat(num_generations)
    deviation = rewards.reshape(-1, num_generations).std(1, ddof=1).repeat(num_generations)
    return (rewards - mean) / (deviation + 1e-4)


def verl(token_level_rewards, response_mask, index, epsilon=1e-6):
    scores, of = token_level_rewards.sum(-1), defaultdict(list)
    for group, score in zip(index, scores, strict=True):
        of[group].append(score)
    each = [(s - np.mean(of[g])) / (np.std(of[g], ddof=1) + epsilon) for g, s in zip(index, scores, strict=True)]
    found = np.array(each)[:, None] * response_mask
    return found, found


def by_ids(rewards, group_ids):
    found = np.zeros(len(rewards))
    for group in np.unique(group_ids):
        here = group_ids == group
        found[here] = (rewards[here] - rewards[here].mean()) / (rewards[here].std() + 1e-6)
    return found


def rloo_flat(rewards, k):
    rows = rewards.reshape(-1, k)
    return (rows - (rows.sum(1, keepdims=True) - rows) / (k - 1)).ravel()


def rloo_by_factor(rewards):
    k = rewards.shape[1]
    return k / (k - 1) * (rewards - rewards.mean(1, keepdims=True))


def rloo_loop(scores):
    return [[s - np.mean([o for j, o in enumerate(row) if j != i]) for i, s in enumerate(row)] for row in scores]


def centred(r):
    return r - r.mean(axis=-1, keepdims=True)


def under_the_root(r):
    return centred(r) / np.sqrt(r.var(axis=-1, keepdims=True) + 1e-5)


def largest(r):
    return centred(r) / np.maximum(r.std(axis=-1, keepdims=True), 1e-6)


def guarded(r):
    deviation = r.std(axis=-1, keepdims=True, ddof=1)
    return np.divide(centred(r), deviation, out=np.zeros_like(r), where=deviation > 0)


def whitened(rewards):
    return (rewards - rewards.mean()) / (rewards.std() + 1e-8)


def rloo_whitened(rewards):
    found = rloo_by_factor(rewards)
    return (found - found.mean()) / (found.std(ddof=1) + 1e-8)


def single(rewards):
    assert rewards.ndim == 1
    return (rewards - rewards.mean()) / (rewards.std() + 1e-8)


def half_precision(rewards):
    return standards.standardised(rewards, (-1,), (-1,), 0, 1e-4).astype(np.float32)


RIGHT = {
    policy_gradient.rloo_advantages: "RLOO",
    trl: "the number of answers of a group or the group of each",
    verl: "rewards of tokens, (N, T), added up for each answer",
    by_ids: "GRPO",
    rloo_flat: "RLOO",
    rloo_by_factor: "RLOO",
    rloo_loop: "RLOO",
    centred: "Dr. GRPO: less the mean of the group (times k / (k - 1) this is RLOO)",
    under_the_root: "1e-05 is added to the variance",
    largest: "GRPO",
    guarded: "divides by the count less 1; 0 is added",
    whitened: "REINFORCE: whitened over the batch",
    rloo_whitened: "then whitened over the batch",
    single: "one group at a time, (k,)",
    half_precision: "GRPO",
    np.array: "REINFORCE without a baseline",
}


@pytest.mark.parametrize("function", RIGHT, ids=lambda function: function.__name__)
def test_right_advantages_pass_with_their_convention(function):
    report = audit.advantages(function) if function is not np.array else audit.advantages(lambda r: 1.0 * r)
    assert report.ok, str(report)
    assert any(RIGHT[function] in told for told in report.conventions), report.conventions
    assert set(report.identities.values()) == {"holds"}


def no_eps(rewards):
    return centred(rewards) / rewards.std(axis=1, ddof=1, keepdims=True)


def all_of_it(rewards, group_ids):
    return (rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-6)


def batch_deviation(rewards, num_generations):
    return (centred(rewards.reshape(-1, num_generations)) / (rewards.std(ddof=1) + 1e-4)).ravel()


def wrong_cut(rewards, num_generations):
    rows = rewards.reshape(num_generations, -1)
    return ((rows - rows.mean(0)) / (rows.std(0, ddof=1) + 1e-4)).ravel()


def other_wrong_cut(rewards, num_generations):
    rows = rewards.reshape(num_generations, -1)
    return (centred(rows) / (rows.std(1, keepdims=True) + 1e-6)).ravel()


def tiled(rewards, num_generations):
    rows = rewards.reshape(-1, num_generations)
    mean, std = np.tile(rows.mean(1), num_generations), np.tile(rows.std(1, ddof=1), num_generations)
    return (rewards - mean) / (std + 1e-4)


def rloo_with_itself(rewards, k):
    return centred(rewards.reshape(-1, k)).ravel()


def turned(rewards):
    return -standards.standardised(rewards, (-1,), (-1,), 1, 1e-6)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (no_eps, "spread of zero"),
        (all_of_it, "mean of the batch"),
        (batch_deviation, "deviation of the batch"),
        (wrong_cut, "groups cut the wrong way"),
        (other_wrong_cut, "groups cut the wrong way"),
        (tiled, "means of groups tiled"),
        (rloo_with_itself, "own sample in the baseline"),
        (turned, "group advantage turned round"),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_bugs_in_other_layouts(function, name):
    assert audit.advantages(function).verdict == name


@pytest.mark.parametrize("kind", groups.KINDS)
def test_a_kind_is_not_another_and_every_identity_can_break(kind):
    functions = {"rloo": rloo_by_factor, "grpo": largest, "dr_grpo": centred, "reinforce": whitened}
    for other, function in functions.items():
        assert audit.advantages(function, kind=kind).ok == (kind == other)
    wrong = [f for other, f in functions.items() if other != kind]
    wrong += [bug.function for bug in BUGS if KIND[bug.right] == kind]
    wrong += [lambda r: r * r + 1, lambda r: 3 * (r - r[:, :1]) * r.mean(), lambda r: np.sin(r) / np.ptp(r)]
    broken = set().union(*(breaks(groups.KINDS[kind], f) for f in wrong))
    assert broken == {identity.name for identity in groups.KINDS[kind].identities}


def test_another_kind_is_a_question():
    with pytest.raises(ValueError, match="kind is one of grpo, dr_grpo, rloo, reinforce; got 'ppo'"):
        audit.advantages(centred, kind="ppo")


R = np.array([[1.0, 2.0, 6.0], [0.0, 0.0, 3.0]])
CASES = [{"rewards": R[:1]}, {"rewards": R}]
ASKED = {identity.name: identity.look for each in groups.IDENTITIES.values() for identity in each}


def broken(name, advantage):
    shown = list(ASKED[name](lambda case: advantage(case["rewards"]), CASES))
    assert all(s.case["rewards"].shape in (R[:1].shape, R.shape) for s in shown)
    return [not np.allclose(s.found, s.wanted, equal_nan=True) for s in shown]


@pytest.mark.parametrize(
    ("name", "advantage", "where"),
    [
        ("a constant in all rewards cancels", centred, [False, False]),
        ("a constant in all rewards cancels", lambda r: r, [True, True]),
        ("twice the rewards, twice the advantages", centred, [False, False]),
        ("twice the rewards, twice the advantages", lambda r: r**2, [True, True]),
        ("any size of rewards gives the same", guarded, [False, False]),
        ("any size of rewards gives the same", lambda r: 1.002 * guarded(r) + 1e-3 * r, [False, False]),
        ("any size of rewards gives the same", centred, [True, True]),
        ("one more for an answer is one more for its advantage", rloo_by_factor, [False, False]),
        ("one more for an answer is one more for its advantage", centred, [True, True]),
        ("0 on average in a group", centred, [False, False]),
        ("0 on average in a group", lambda r: r - r.mean(), [False, True]),
        ("0 on average in a group", lambda r: r, [True, True]),
        ("groups have nothing to do with each other", centred, [False]),
        ("groups have nothing to do with each other", lambda r: r - r.mean(), [True]),
        ("0 where all rewards are equal", centred, [False, False]),
        ("0 where all rewards are equal", lambda r: r, [True, True]),
        ("and a number there", lambda r: r, []),
        ("and a number there", lambda r: np.where(r == r.max(), np.nan, r), [True, True]),
        ("and not the same ones", lambda r: guarded(r) * (1.015 if np.ptp(r) > 8 else 1.0), [True, True]),
        ("and not the same ones", lambda r: centred(r) / np.ptp(r) ** 0.5, []),
        ("and not the same ones", lambda r: 0.05 * centred(r) * np.ptp(r) ** 0.5, []),
        ("better rewards, larger advantages", centred, [False, False]),
        ("better rewards, larger advantages", lambda r: -r, [True, True]),
        ("better rewards, larger advantages", lambda r: np.where(r > 2, -r, r), [True, True]),
    ],
)
def test_identities_hold_and_break_where_they_should(name, advantage, where):
    assert broken(name, advantage) == where


def test_advantages_are_beside_the_nearest_of_what_right_functions_give():
    rights = groups.RIGHTS["reinforce"]
    for right in rights:
        for shown in groups._key(rights, lambda case, f=right.function: f(case["rewards"]) + 0.01, CASES[1:]):
            np.testing.assert_array_equal(shown.wanted, right.function(R))


def test_layouts_by_hand():
    plain, alone, flat, tokens = groups.LAYOUTS
    assert plain.into(CASES[1]) == CASES[1]
    assert [case["rewards"].tolist() for case in alone.cases(CASES)] == [[[1, 2, 6]], [[1, 2, 6]], [[0, 0, 3]]]
    short = [{"rewards": R}, {"rewards": np.ones((1, 2))}]
    assert [case["rewards"].shape for case in alone.cases(short)] == [(1, 2), (1, 3), (1, 3)]
    assert alone.into(CASES[0])["rewards"].tolist() == [1, 2, 6]
    assert alone.back(np.array([1.0, 2, 3]), CASES[0]).tolist() == [[1, 2, 3]]
    given = flat.into(CASES[1])
    assert (given["rewards"].tolist(), given["k"], given["ids"].tolist()) == ([1, 2, 6, 0, 0, 3], 3, [0, 0, 0, 1, 1, 1])
    assert flat.back(np.arange(6.0), CASES[1]).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert flat.back(np.arange(5.0), CASES[1]).tolist() == [0, 1, 2, 3, 4]
    given = tokens.into(CASES[1])
    assert given["mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]] * 2
    assert given["rewards"].tolist() == [
        [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 6], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 3],
    ]  # fmt: skip
    assert given["ids"].tolist() == [0, 0, 0, 1, 1, 1]
    assert tokens.back(np.arange(24.0).reshape(6, 4), CASES[1]).tolist() == [[0, 4, 8], [12, 16, 20]]
    assert tokens.back(np.arange(6.0), CASES[1]).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("RLOO_advantages", "rloo"),
        ("leave_one_out", "rloo"),
        ("my_grpo", "grpo"),
        ("dr_grpo", "dr_grpo"),
        ("DrGRPO", "dr_grpo"),
        ("rloo_not_grpo", "rloo"),
    ],
)
def test_a_kind_is_read_from_the_name(name, kind, monkeypatch):
    monkeypatch.setattr(groups, "audit", lambda contracts, function: (tuple(contracts), function))

    def named(rewards):
        return rewards

    named.__name__ = name
    assert groups.advantages(named) == (groups._of_kind(kind), named)


def test_whitened_or_not_is_a_question_for_those_who_leave_one_out():
    assert groups._of_kind("rloo") == (groups.KINDS["rloo"], groups.RLOO_WHITENED)
    for kind in ("grpo", "dr_grpo", "reinforce"):
        assert groups._of_kind(kind) == (groups.KINDS[kind],)


def test_an_object_without_a_name_may_be_of_any_kind(monkeypatch):
    monkeypatch.setattr(groups, "audit", lambda contracts, function: tuple(contracts))

    class Called:
        def __call__(self, rewards):
            return rewards

    every = tuple(contract for kind in groups.ORDER for contract in groups._of_kind(kind))
    assert groups.advantages(Called()) == every
    assert {contract.rights for contract in every} >= set(standards.RIGHTS.values())


@pytest.mark.parametrize(
    "nonsense",
    [
        lambda r: r**3,
        lambda r: np.sign(r - r.mean(1, keepdims=True)),
        lambda r: np.random.default_rng(0).normal(size=r.shape),
    ],
)
def test_nonsense_is_not_told_as_a_deviation_that_was_kept(nonsense):
    report = audit.advantages(nonsense, kind="dr_grpo")
    assert (report.ok, report.verdict) == (False, "wrong")


def test_a_spread_of_another_kind_is_told_as_a_deviation_that_was_kept():
    def by_distance(rewards):
        centred = rewards - rewards.mean(1, keepdims=True)
        return centred / (np.abs(centred).mean(1, keepdims=True) + 1e-6)

    assert audit.advantages(by_distance, kind="dr_grpo").verdict == "deviation kept"
    assert audit.advantages(lambda r: -by_distance(r), kind="dr_grpo").verdict == "wrong"


def test_ranks_in_place_of_rewards():
    def ranked(rewards):
        ranks = (rewards[:, :, None] > rewards[:, None]).sum(2)
        return ranks - ranks.mean(1, keepdims=True)

    report = audit.advantages(lambda r: ranked(r + 1e-9 * np.arange(r.shape[1])), kind="dr_grpo")
    assert report.verdict == "ranks of rewards in place of rewards"


def test_each_kind_says_what_it_is_and_rloo_that_is_whitened_has_to_be_recognised():
    for kind, contract in groups.KINDS.items():
        assert contract.result == standards.RIGHTS[kind][0].name
        assert (contract.patient, contract.general, contract.strict) == (True, True, False)
        assert contract.layouts == (groups.LAYOUTS[:1] if kind == "reinforce" else groups.LAYOUTS)
    whole, _, flat, _ = groups.LAYOUTS
    assert groups.RLOO_WHITENED.strict
    assert groups.RLOO_WHITENED.layouts == (whole, flat)


def test_a_group_that_agrees_does_not_hide_that_advantages_are_divided_by_a_deviation():
    case = {"rewards": np.array([[0.5, 0.5], [1.0, 3.0]])}
    (shown,) = groups._scaled_by_spread(lambda c: guarded(c["rewards"]), [case])
    np.testing.assert_allclose(shown.wanted, 2 * shown.found, atol=1e-3)
