"""The inputs that audits hand to a function: small ones first, and among them those that tell bugs apart."""

import numpy as np
import pytest

from rlhf_lab.audit import groups, grpo, kl, pairs, policies, ppo, text_cases, traces, whitening

DRAWN = {
    "dpo": lambda: pairs._cases("beta"),
    "ipo": lambda: pairs._cases("tau"),
    "kl": kl._cases,
    "groups": groups._cases,
    "whiten": whitening._whiten_cases,
    "ppo": lambda: policies.cases_of(grpo=False),
    "grpo": lambda: policies.cases_of(grpo=True),
    "answers": traces.answer_cases,
    "episodes": traces.trajectory_cases,
    "texts": text_cases.text_cases,
}


@pytest.mark.parametrize("name", DRAWN)
def test_cases_are_the_same_each_time(name):
    np.testing.assert_equal(DRAWN[name](), DRAWN[name]())


def in_tenths(x, low, high):
    return np.allclose(10 * x, np.round(10 * x)) and np.all((low - 1e-9 <= x) & (x <= high + 1e-9))


def step(case):
    return case["log_pi"] - case["log_old"]


@pytest.mark.parametrize("weight", ["beta", "tau"])
def test_comparisons_are_single_at_first_and_have_weights_of_three_sizes(weight):
    cases = pairs._cases(weight)
    assert [len(case["policy_chosen"]) for case in cases] == [1, 1, 1, 2, 2, 7, 7]
    for case in cases:
        assert set(case) == {"policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected", weight}
        assert all(in_tenths(x, -3, -0.1) for name, x in case.items() if name != weight)
    assert sorted(case[weight] for case in cases[:3]) == [0.1, 0.5, 2.0]


def test_samples_of_a_policy_are_single_at_first():
    cases = kl._cases()
    assert [len(case["log_pi"]) for case in cases] == [1, 1, 1, 2, 3, 5]
    for case in cases:
        assert in_tenths(case["log_pi"], -3, -0.1)
        assert in_tenths(case["log_ref"], -3, -0.1)
        assert case["mask"].tolist() == [1.0] * len(case["log_pi"])


def test_among_the_groups_are_two_that_agree_alone_and_beside_others():
    cases = [case["rewards"] for case in groups._cases()]
    assert [case.shape for case in cases] == [(1, 2), (1, 3), (1, 4), (1, 3), (2, 3), (3, 4), (4, 2)]
    assert all(in_tenths(case, -3, 3) for case in cases)
    agree = [[bool(np.ptp(row) == 0) for row in case] for case in cases]
    assert agree[3] == [True]
    assert agree[5] == [False, True, False]
    assert sum(map(sum, agree)) == 2


def test_advantages_to_be_whitened_have_answers_of_different_lengths():
    cases = whitening._whiten_cases()
    assert [case["advantage"].shape for case in cases] == [(1, 2), (1, 3), (2, 2), (2, 3), (4, 5)]
    for case in cases:
        assert in_tenths(case["advantage"], -2.6, 3.4)
        assert np.ptp(case["advantage"]) > 0
        assert case["mask"].shape == case["advantage"].shape
    assert not cases[-1]["mask"].all()


@pytest.mark.parametrize("name", ["ppo", "grpo"])
def test_single_tokens_lie_on_either_side_of_the_clip_range_with_either_sign(name):
    cases = DRAWN[name]()
    assert len(cases) == len({"ppo": ppo.PPO, "grpo": grpo.GRPO}[name].cases)
    single = policies.single(cases)
    assert [case is other for case, other in zip(single, cases, strict=False)] == [True] * 7
    seen = set()
    for case, (log_ratio, advantage), clip in zip(single, policies.STEPS, policies.CLIPS, strict=True):
        assert step(case) == pytest.approx(log_ratio)
        assert case["advantage"] == pytest.approx(advantage)
        assert case["clip_range"] == case["clip_high"] == clip
        assert case["mask"].tolist() == [[1.0]]
        ratio = np.exp(log_ratio)
        seen.add((advantage > 0, "below" if ratio < 1 - clip else "above" if ratio > 1 + clip else "inside"))
    assert seen == {(sign, where) for sign in (True, False) for where in ("below", "above", "inside")}
    likely = [case["log_old"].item() for case in single]
    assert likely[-1] == -41.3
    assert in_tenths(np.array(likely[:-1]), -3, -0.5)


@pytest.mark.parametrize("name", ["ppo", "grpo"])
def test_batches_of_answers_have_padding_and_ratios_of_all_sizes(name):
    many = DRAWN[name]()[7:]
    assert [case["log_pi"].shape for case in many] == [(1, 3), (1, 3), (3, 3), (3, 3), (5, 3)]
    assert many[0]["mask"].tolist() == [[1.0, 0.0, 0.0]]
    assert many[1]["mask"].all()
    assert not many[-1]["mask"].all()
    for case in many:
        n = case["log_pi"].size
        assert case["log_old"].shape == case["log_pi"].shape
        assert len(case["mask"]) == 1 or set(np.sign(case["advantage"]).ravel()) == {-1.0, 1.0}
        steps = np.sort(step(case).ravel())
        np.testing.assert_allclose(100 * steps, np.round(100 * steps), atol=1e-9)
        np.testing.assert_allclose(steps, np.arange(n) * 1.7 / n - 0.83, atol=0.0051)
        assert in_tenths(case["log_old"], -3, -0.5)
        assert in_tenths(case["advantage"] - 0.03, -1.9, 1.9)
        assert 0 < case["clip_range"] == case["clip_high"] < 0.4


def test_a_reference_is_between_a_tenth_and_one_nat_away():
    with_reference = policies.cases_of(grpo=True)
    for plain, case in zip(policies.cases_of(grpo=False), with_reference, strict=True):
        away = case["log_ref"] - case["log_pi"] + 0.02
        assert in_tenths(np.abs(away), 0.1, 0.8)
        assert case["advantage"].shape == (len(case["log_pi"]),)
        assert case["advantage"].tolist() == plain["advantage"][:, 0].tolist()
        assert 0 < case["beta"] < 1
        assert "log_ref" not in plain
        assert "beta" not in plain
    signs = [np.sign(case["log_ref"] - case["log_pi"] + 0.02).ravel() for case in with_reference]
    assert set(np.concatenate(signs)) == {-1.0, 1.0}


def test_answers_of_a_trajectory_end_before_the_last_place_in_one_case_of_one_row():
    cases = traces.answer_cases()
    assert [case["rewards"].shape for case in cases] == [(1, 2), (1, 3), (2, 3), (4, 5)]
    assert [case["mask"].tolist() for case in cases[:2]] == [[[1.0, 1.0]], [[1.0, 1.0, 0.0]]]
    assert all(case["mask"].shape == case["values"].shape == case["rewards"].shape for case in cases)
    assert not cases[-1]["mask"].all()


def test_trajectories_end_nowhere_at_once_at_the_end_and_in_between():
    cases = traces.trajectory_cases()
    ends = [case["ends"].tolist() for case in cases]
    assert ends[:5] == [[[0]], [[1]], [[0, 0]], [[0, 1]], [[1, 0, 0]]]
    assert ends[5] == [[0, 1, 0], [0, 0, 0]]
    assert ends[6] == [[0, 1, 0, 0, 1, 0], [1, 0, 0, 0, 0, 1], [0] * 6]
    for case in cases:
        assert case["rewards"].shape == case["values"].shape == case["ends"].shape
        assert case["last_value"].shape == (len(case["ends"]),)
        assert in_tenths(case["last_value"], 0.3, 1.9)


@pytest.mark.parametrize("name", ["answers", "episodes"])
def test_no_reward_and_no_value_of_a_trajectory_is_0(name):
    cases = DRAWN[name]()
    for case in cases:
        for each in ("rewards", "values"):
            assert in_tenths(np.abs(case[each]), 0.1, 1.9)
        assert 0 < case["lam"] < 1
        assert 0 < case["gamma"] < 1
    for each in ("rewards", "values"):
        assert {np.sign(x) for case in cases for x in case[each].ravel()} == {-1.0, 1.0}


def test_texts_are_single_with_two_tokens_at_first_and_colder_and_hotter():
    cases = text_cases.text_cases()
    assert [case["logits"].shape for case in cases] == [(1, 5, 3)] * 4 + [(3, 8, 4)] * 2
    for case in cases:
        assert set(case) == {"logits", "tokens", "mask", "temperature"}
        assert case["tokens"].shape == case["mask"].shape == case["logits"].shape[:2]
    assert [case["mask"].sum() for case in cases[:4]] == [2, 2, 2, 2]
    heat = [case["temperature"] for case in cases]
    assert {np.sign(t - 1) for t in heat[:4]} == {-1, 0, 1}  # one that a function without a temperature is right for
    assert {np.sign(t - 1) for t in heat[4:]} == {-1, 0}
