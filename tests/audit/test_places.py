"""Each special case is what its name says, and others are not."""

import numpy as np
import pytest

from rlhf_lab.audit import (
    charges,
    critics,
    dril,
    groups,
    pairs,
    places,
    policies,
    rewards,
    tokens,
    traces,
    whitening,
)
from rlhf_lab.audit.special import first_row, first_token
from rlhf_lab.numerics.autodiff import log_softmax

PLACES = {place.where: place for place in places.PLACES}
GRPO, PPO = policies.cases_of(grpo=True), policies.cases_of(grpo=False)
CASES = {
    "ppo": PPO,
    "grpo": GRPO,
    "dpo": pairs.DPO.cases,
    "ipo": pairs.IPO.cases,
    "rewards": rewards.REWARD_MODEL.cases,
    "answers": traces.answer_cases(),
    "episodes": traces.trajectory_cases(),
    "groups": groups.KINDS["grpo"].cases,
    "values": critics.PLAIN_VALUE.cases,
    "clipped": critics.CLIPPED_VALUE.cases,
    "texts": tokens.LOG_PROBS.cases,
    "whiten": whitening.WHITEN.cases,
    "token rewards": charges.TOKEN_REWARDS.cases,
    "dril": dril.DRIL.cases,
}


def log_ratio(case):
    return case["log_pi"] - case["log_old"]


def unclipped(case):
    return np.all(np.abs(np.exp(log_ratio(case)) - 1) < case["clip_range"])


def margin(case):
    return case["policy_chosen"] - case["reference_chosen"] - case["policy_rejected"] + case["reference_rejected"]


def difference(case):
    return case["chosen_rewards"] - case["rejected_rewards"]


def error(case):
    return case["values"] - case["returns"]


def moments(x, mask):
    mean = np.sum(x * mask) / np.sum(mask)
    return mean, np.sqrt(np.sum((x - mean) ** 2 * mask) / np.sum(mask))


def of_rows(case, which, wanted):
    return np.allclose([moments(row, np.ones(row.shape))[which] for row in case["rewards"]], wanted)


def of_batch(case, which, wanted):
    return np.isclose(moments(case["advantage"], case["mask"])[which], wanted)


LENGTH = {name: lambda case: all(len(value) == 1 for value in case.values() if np.ndim(value)) for name in CASES}
SPECIAL = [
    *(("the batch is one row", name, LENGTH[name]) for name in CASES if name != "dril"),
    *(
        ("nothing is padding", name, lambda case: np.all(case["mask"] == 1))
        for name in ("ppo", "grpo", "answers", "values", "clipped", "whiten", "token rewards")
    ),
    ("every answer is one token", "ppo", lambda case: case["advantage"].shape[1] == case["mask"].shape[1] == 1),
    ("every answer is one token", "grpo", lambda case: case["log_ref"].shape[1] == case["mask"].shape[1] == 1),
    ("every answer is one token", "texts", lambda case: np.all(case["mask"].sum(1) == 1)),
    ("there is one step", "answers", lambda case: case["rewards"].shape[1] == case["mask"].shape[1] == 1),
    ("there is one step", "episodes", lambda case: case["values"].shape[1] == case["ends"].shape[1] == 1),
    ("no ratio is clipped", "ppo", unclipped),
    ("the policy is the old one", "ppo", lambda case: np.array_equal(case["log_pi"], case["log_old"])),
    ("advantages are positive", "ppo", lambda case: np.all(case["advantage"] > 0)),
    ("advantages are negative", "grpo", lambda case: np.all(case["advantage"] < 0)),
    ("advantages are 1 and -1", "ppo", lambda case: np.all(np.abs(case["advantage"]) == 1)),
    ("advantages are 1", "grpo", lambda case: np.all(case["advantage"] == 1)),
    ("advantages are 0", "grpo", lambda case: not np.any(case["advantage"])),
    ("beta is 0", "grpo", lambda case: case["beta"] == 0),
    ("beta is 0", "token rewards", lambda case: case["beta"] == 0),
    ("the policy is the reference", "grpo", lambda case: np.array_equal(case["log_pi"], case["log_ref"])),
    ("beta is 1", "dpo", lambda case: case["beta"] == 1),
    ("tau is 1", "ipo", lambda case: case["tau"] == 1),
    (
        "log-ratios to the reference are positive",
        "token rewards",
        lambda case: np.all(case["log_pi"] > case["log_ref"]),
    ),
    (
        "the rejected answer is as likely as under the reference",
        "dpo",
        lambda case: np.array_equal(case["policy_rejected"], case["reference_rejected"]),
    ),
    (
        "the chosen answer is as likely as under the reference",
        "dpo",
        lambda case: np.array_equal(case["policy_chosen"], case["reference_chosen"]),
    ),
    (
        "log-probabilities of the reference are 0",
        "dpo",
        lambda case: not np.any([case["reference_chosen"], case["reference_rejected"]]),
    ),
    ("margins are positive", "dpo", lambda case: np.all(margin(case) >= 0)),
    ("margins are negative", "ipo", lambda case: np.all(margin(case) <= 0)),
    ("the chosen reward is the larger one", "rewards", lambda case: np.all(difference(case) >= 0)),
    ("the chosen reward is the smaller one", "rewards", lambda case: np.all(difference(case) <= 0)),
    (
        "the two rewards add up to 0",
        "rewards",
        lambda case: not np.any(sum(case.values())),
    ),
    ("gamma is 1", "answers", lambda case: case["gamma"] == 1),
    ("lambda is 1", "episodes", lambda case: case["lam"] == 1),
    ("lambda is 0", "answers", lambda case: case["lam"] == 0),
    ("values are 0", "answers", lambda case: not np.any(case["values"])),
    ("rewards are 0", "episodes", lambda case: not np.any(case["rewards"])),
    (
        "rewards and values are small",
        "episodes",
        lambda case: all(np.all(np.abs(case[name]) <= 0.1) for name in ("rewards", "values", "last_value")),
    ),
    ("rewards and values are small", "groups", lambda case: np.all(np.abs(case["rewards"]) < 0.2)),
    ("no episode ends", "episodes", lambda case: not np.any(case["ends"])),
    ("the last value is 0", "episodes", lambda case: not np.any(case["last_value"])),
    ("rewards are 0 and 1", "groups", lambda case: np.all((case["rewards"] == 0) | (case["rewards"] == 1))),
    ("groups have a mean of 0", "groups", lambda case: of_rows(case, 0, 0)),
    ("groups have a deviation of 1", "groups", lambda case: of_rows(case, 1, 1)),
    ("advantages have a mean of 0", "whiten", lambda case: of_batch(case, 0, 0)),
    ("advantages have a deviation of 1", "whiten", lambda case: of_batch(case, 1, 1)),
    ("values are too high", "values", lambda case: np.all(error(case) > 0)),
    ("values are too low", "clipped", lambda case: np.all(error(case) < 0)),
    ("errors are below 1", "values", lambda case: np.all(np.abs(error(case)) < 1)),
    ("returns are 1", "values", lambda case: np.all(case["returns"] == 1)),
    ("returns are 0", "values", lambda case: not np.any(case["returns"])),
    ("errors are 1 and -1", "values", lambda case: np.allclose(np.abs(error(case)), 1)),
    (
        "no value is clipped",
        "clipped",
        lambda case: np.all(np.abs(case["values"] - case["old_values"]) < case["clip_range"]),
    ),
    ("the temperature is 1", "texts", lambda case: case["temperature"] == 1),
    ("logits are small", "texts", lambda case: np.all(np.abs(case["logits"]) < 0.3)),
    ("no token is 0", "texts", lambda case: np.all((case["tokens"] > 0) & (case["tokens"] < case["logits"].shape[-1]))),
    ("logits are log-probabilities", "texts", lambda case: np.allclose(np.exp(case["logits"]).sum(-1), 1)),
    ("scores are 0", "token rewards", lambda case: not np.any(case["score"])),
    ("there is one state", "dril", lambda case: case["log_probs"].shape[1] == len(case["actions"]) == 1),
    ("there are two members", "dril", lambda case: len(case["log_probs"]) == 2),
]


@pytest.mark.parametrize(("where", "kind", "holds"), SPECIAL, ids=lambda part: part if isinstance(part, str) else "")
def test_special_cases_are_what_their_name_says_and_others_are_not(where, kind, holds):
    cases, place = CASES[kind], PLACES[where]
    assert set(place.needs) <= set(cases[-1])
    made = [(special, case) for case in cases if (special := place.change(case))]
    assert len(made) > len(cases) / 2
    assert all(holds(special) for special, _ in made)
    assert not all(holds(case) for case in cases)
    assert all(set(special) == set(case) for special, case in made)


def test_every_place_is_tried_and_leaves_a_part_out_that_can_be_told():
    assert {where for where, *_ in SPECIAL} == set(PLACES)
    assert len(PLACES) == len(places.PLACES)
    assert {name for place in places.PLACES for name in place.within} <= set(PLACES)
    for place in places.PLACES:
        assert place.look
        assert not place.look.endswith(".")


@pytest.mark.parametrize("where", ["advantages are positive", "advantages are negative"])
def test_signs_are_changed_and_sizes_kept(where):
    for case in PPO:
        special = PLACES[where].change(case)
        np.testing.assert_array_equal(np.abs(special["advantage"]), np.abs(case["advantage"]))


def test_ratios_and_values_inside_the_clip_range_still_differ_on_either_side():
    inside = [PLACES["no ratio is clipped"].change(case) for case in PPO]
    steps = np.concatenate([log_ratio(case).ravel() for case in inside])
    before = np.concatenate([log_ratio(case).ravel() for case in PPO])
    assert (np.sign(steps) == np.sign(before)).all()
    kept = [PLACES["no value is clipped"].change(case) for case in CASES["clipped"]]
    moved, before = (
        np.concatenate([(case["values"] - case["old_values"]).ravel() for case in cases])
        for cases in (kept, CASES["clipped"])
    )
    assert (np.sign(moved) == np.sign(before)).all()


def test_margins_have_the_sizes_of_the_log_ratios_together():
    case = CASES["dpo"][-1]
    sizes = [np.abs(case[f"policy_{name}"] - case[f"reference_{name}"]) for name in ("chosen", "rejected")]
    for where, sign in (("margins are positive", 1), ("margins are negative", -1)):
        special = PLACES[where].change(case)
        np.testing.assert_allclose(margin(special), sign * sum(sizes))
        np.testing.assert_allclose(special["policy_chosen"] - special["reference_chosen"], sign * sizes[0])


def test_differences_are_kept_where_rewards_add_up_to_0_and_sizes_where_they_are_turned():
    case = CASES["rewards"][-1]
    np.testing.assert_allclose(difference(PLACES["the two rewards add up to 0"].change(case)), difference(case))
    larger = PLACES["the chosen reward is the larger one"].change(case)
    np.testing.assert_allclose(difference(larger), np.abs(difference(case)))
    np.testing.assert_array_equal(larger["rejected_rewards"], case["rejected_rewards"])
    errors = PLACES["errors are 1 and -1"].change(CASES["values"][-1])
    np.testing.assert_allclose(error(errors), np.sign(error(CASES["values"][-1])))


def test_a_mean_of_0_keeps_the_deviation_and_a_deviation_of_1_the_mean():
    case, masked = CASES["groups"][-1], CASES["whiten"][-1]
    row = case["rewards"][0]
    ones = np.ones(row.shape)
    centred = PLACES["groups have a mean of 0"].change(case)["rewards"][0]
    scaled = PLACES["groups have a deviation of 1"].change(case)["rewards"][0]
    assert moments(centred, ones)[1] == pytest.approx(moments(row, ones)[1])
    assert moments(scaled, ones)[0] == pytest.approx(moments(row, ones)[0])
    x, mask = masked["advantage"], masked["mask"]
    scaled = PLACES["advantages have a deviation of 1"].change(masked)["advantage"]
    assert moments(scaled, mask)[0] == pytest.approx(moments(x, mask)[0])
    assert PLACES["groups have a deviation of 1"].change({"rewards": np.ones((1, 3))}) is None
    assert PLACES["groups have a mean of 0"].change(CASES["answers"][-1]) is None
    assert PLACES["advantages have a mean of 0"].change(GRPO[-1]) is None


def test_the_first_token_of_a_text_is_the_first_that_its_mask_marks():
    case = {"logits": np.zeros((2, 4, 3)), "mask": np.array([[0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 0.0]])}
    assert first_token(case)["mask"].tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]
    assert PLACES["nothing is padding"].change(case) is None
    np.testing.assert_allclose(
        PLACES["logits are log-probabilities"].change(case)["logits"], log_softmax(case["logits"])
    )


def test_the_first_row_is_that_of_every_array_where_there_is_one():
    case = {"a": np.array([[1.0, 2.0], [3.0, 4.0]]), "b": np.array([5.0, 6.0]), "c": 7.0}
    special = first_row(case)
    assert [special["a"].tolist(), special["b"].tolist(), special["c"]] == [[[1, 2]], [5], 7]
    assert first_row(case | {"b": np.ones(3)}) is None
