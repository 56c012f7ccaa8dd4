"""Parameters are known by their names: turned round, and with the names that people give them, they take the same."""

import re
from inspect import Parameter, Signature

import numpy as np
import pytest

from rlhf_lab import audit
from rlhf_lab.audit import batches, binding, names
from rlhf_lab.audit.zoo import charges, grpo, kl, pairs, policies, returns, tokens

WRITTEN = [  # names of the inputs of a right function, in the order of its parameters
    (
        "dpo_loss",
        pairs.dpo_loss,
        "policy_chosen_logps policy_rejected_logps reference_chosen_logps reference_rejected_logps beta",
        "pi_yw pi_yl ref_yw ref_yl kl_coef",
        "logp_w logp_l ref_logp_w ref_logp_l dpo_beta",
        "logpiw logpil logrefw logrefl beta",
    ),
    ("ipo_loss", pairs.ipo_loss, "chosen_logps rejected_logps ref_chosen_logps ref_rejected_logps tau"),
    (
        "reward_model_loss",
        pairs.reward_model_loss,
        "chosen_rewards rejected_rewards",
        "rw rl",
        "scores_better scores_worse",
        "reward_preferred reward_dispreferred",
    ),
    (
        "log_probs",
        tokens.log_probs_at,
        "logits input_ids completion_mask temperature",
        "lm_logits labels loss_mask temp",
    ),
    ("sft_loss", tokens.sft_loss, "logits token_ids response_mask", "scores sequences answer_mask"),
    (
        "ppo_loss",
        policies.ppo_loss,
        "new_logprobs old_logprobs advantages response_mask cliprange",
        "logp logp_old adv valid clip_ratio",
        "log_pi_theta b_old_log_probs gae_advantages padding_mask_inverted epsilon",
        "per_token_logps behavior_log_prob a_hat mask clip_eps",
    ),
    (
        "grpo_loss",
        grpo.grpo_loss,
        "per_token_logps old_per_token_logps ref_per_token_logps advantages completion_mask epsilon beta",
        "log_probs fixed_log_probs log_probs_ref adv masks ppo_clip_range kl_coef",
    ),
    ("kl_estimate", kl.k3, "logprobs ref_logprobs", "log_pi log_q"),
    ("gae", returns.gae, "rewards values response_mask gamma lam", "token_level_rewards vpreds mask discount lmbda"),
    (
        "value_loss",
        returns.value_loss,
        "vpreds returns mask",
        "values b_returns response_mask",
        "newvalue targets masks",
    ),
    (
        "value_loss",
        returns.clipped_value_loss,
        "values old_values returns mask cliprange_value",
        "vpred values_old target_values valid clip_range_vf",
        "new_values values returns mask clip_coef",
        "new_values values returns weights clip_coef",
    ),
    (
        "token_rewards",
        charges.token_rewards,
        "scores logprobs ref_logprobs response_mask kl_coef",
        "rm_score log_probs log_probs_ref masks init_kl_coef",
        "final_reward lp lp_ref valid beta",
    ),
]


def turned(right, names):
    """A function whose parameters have other names, and stand the other way round."""
    inputs = dict(zip(names.split(), Signature.from_callable(right).parameters, strict=True))

    def function(**given):
        return right(**{inputs[name]: value for name, value in given.items()})

    function.__signature__ = Signature([Parameter(name, Parameter.KEYWORD_ONLY) for name in reversed(inputs)])
    return function


@pytest.mark.parametrize(
    ("kind", "right", "names"), [(kind, right, names) for kind, right, *ways in WRITTEN for names in ways]
)
def test_names_say_which_input_a_parameter_takes(kind, right, names):
    report, usual = (audit.AUDITS[kind](function) for function in (turned(right, names), right))
    assert report.ok, str(report)
    told = {text for text in report.conventions if "automatic" not in text}
    assert told == {text for text in usual.conventions if "automatic" not in text}


def swept(rewards, values, ends, last_value, gamma, lam):
    """Estimates for rows (N, T) that hold several episodes, whose last steps are marked."""
    found, later, after = np.zeros(rewards.shape), 0.0, last_value
    for t in reversed(range(rewards.shape[1])):
        live = 1.0 - ends[:, t]
        later = rewards[:, t] + gamma * live * after - values[:, t] + gamma * lam * live * later
        found[:, t], after = later, values[:, t]
    return found


def longer(rewards, values, ends, gamma, lam):
    return swept(rewards, values[:, :-1], ends, values[:, -1], gamma, lam)


def closed(rewards, values, ends, gamma, lam):
    return swept(rewards, values, ends, 0.0, gamma, lam)


def unended(rewards, values, last_value, gamma, lam):
    return swept(rewards, values, np.zeros(rewards.shape), last_value, gamma, lam)


def unended_and_longer(rewards, values, gamma, lam):
    return unended(rewards, values[:, :-1], values[:, -1], gamma, lam)


def masked_and_longer(rewards, values, mask, gamma, lam):
    return returns.gae(rewards, values[:, :-1], mask, gamma, lam)


def alive(rewards, values, goes_on, last_value, gamma, lam):
    return swept(rewards, values, 1.0 - goes_on, last_value, gamma, lam)


def from_starts(rewards, values, starts, last_value, last_end, gamma, lam):
    ends = np.concatenate([starts[:, 1:], np.reshape(last_end, (-1, 1))], axis=1)
    return swept(rewards, values, ends, last_value, gamma, lam)


def by_model(policy, reference, beta):
    return np.logaddexp(0, -beta * (policy - reference))


def of_margin(margin, beta):
    return np.logaddexp(0, -beta * margin)


def by_place(policy, reference, chosen, rejected, beta):
    ratio = policy - reference
    return np.logaddexp(0, -beta * (ratio[chosen] - ratio[rejected]))


RATIOS = [
    (by_model, "pi_logratios ref_logratios beta", "takes the log-ratio of the answers under policy and reference"),
    (by_model, "policy_ratio reference_ratio kl_coef", "takes the log-ratio of the answers under policy and reference"),
    (
        by_model,
        "chosen_logratios rejected_logratios beta",
        "takes the log-ratio of each answer between policy and reference",
    ),
    (by_model, "winner_rewards loser_rewards beta", "takes the log-ratio of each answer between policy and reference"),
    (by_model, "chosen_ratio rejected_ratio beta", "takes the log-ratio of each answer between policy and reference"),
    (of_margin, "margin beta", "takes the margin h"),
    (of_margin, "log_ratio_diff kl_weight", "takes the margin h"),
    (by_place, "pi_logps ref_logps yw_idxs yl_idxs beta", "takes all answers in one array, and their places"),
    (
        by_place,
        "policy_logprobs pi_ref_logprobs chosen_index rejected_index beta",
        "takes all answers in one array, and their places",
    ),
    (
        by_place,
        "model_logps reference_logps winner_y_indices loser_y_indices beta",
        "takes all answers in one array, and their places",
    ),
]


@pytest.mark.parametrize(("right", "names", "layout"), RATIOS, ids=[names for _, names, _ in RATIOS])
def test_names_say_which_differences_are_handed_over(right, names, layout):
    report = audit.dpo_loss(turned(right, names))
    assert report.ok, str(report)
    assert {text for text in report.conventions if "automatic" not in text} == {layout, "a loss for each comparison"}


LAST = "flags mark the last step of an episode"
FIRST = "flags mark the first step of an episode, and what comes after the last one"
LONG = "values hold one more, behind the last step, (N, T + 1)"
FLAGS = [
    (returns.gae, "rewards values mask gamma lam", ""),
    (swept, "rewards values dones last_value gamma lam", LAST),
    (swept, "r_t state_values terminated next_value gamma tau", LAST),
    (swept, "rews vf is_terminal v_next discount lmbda", LAST),
    (closed, "rewards values dones gamma lam", LAST),
    (closed, "step_rewards baselines terminations gamma gae_lambda", LAST),
    (longer, "rewards values dones gamma lam", f"{LONG}; {LAST}"),
    (alive, "rewards values masks bootstrap_value gamma lam", "flags are 1 where the episode goes on"),
    (alive, "rewards values not_dones final_value gamma lam", "flags are 1 where the episode goes on"),
    (alive, "rewards critic nonterminals v_last gamma lam", "flags are 1 where the episode goes on"),
    (from_starts, "rewards values episode_starts last_values dones gamma gae_lambda", FIRST),
    (from_starts, "rewards values is_first next_value next_done gamma lam", FIRST),
    (from_starts, "rewards values dones next_value next_terminal gamma lam", FIRST),
    (unended, "rewards values last_value gamma lam", ""),
    (unended, "rewards vals bootstrap gamma lam", ""),
    (unended_and_longer, "rewards values gamma lam", LONG),
    (masked_and_longer, "rewards values response_mask gamma lam", LONG),
]


@pytest.mark.parametrize(("right", "names", "layout"), FLAGS, ids=[names for _, names, _ in FLAGS])
def test_names_say_what_flags_and_last_values_are(right, names, layout):
    report = audit.gae(turned(right, names))
    assert report.ok, str(report)
    assert report.conventions == ((layout,) if layout else ())
    assert set(report.identities.values()) == {"holds"}


def test_strange_names_without_a_default_come_before_those_with_one():
    inputs = (binding.Input("a"), binding.Input("b"))
    assert binding.bound(lambda *, p=1, q, r: q, inputs) == [("q", "a"), ("r", "b")]
    assert binding.bound(lambda q=1, r=2, s=3: q, inputs) == [("q", "a"), ("r", "b")]


def test_a_function_that_takes_something_else_is_told_what_it_should_take():
    inputs = (binding.Input("a"), binding.Input("mask", absent=lambda subject, case: 1.0))
    with pytest.raises(binding.Trouble) as trouble:
        binding.bound(lambda x, y, z: x, inputs)
    assert str(trouble.value) == (
        "It takes (x, y, z); it is called with (a, mask?), by name or in this order. Wrap it in a function that takes "
        "these."
    )


def test_a_name_is_words_joined_by_underscores_of_which_one_is_needed():
    pattern = names.spelled("chosen|win", also="log|reward")
    for name, fits in {
        "chosen": True, "win": True, "log_win": True, "chosen_reward": True, "reward_log_chosen": True,
        "log": False, "chosenlog": False, "chosen_other": False, "": False,
    }.items():  # fmt: skip
        assert bool(re.fullmatch(pattern, name)) == fits, name


def test_each_of_the_words_that_are_needed_stands_in_a_name_wherever_it_stands():
    pattern = names.spelled("chosen|win", "ref", also="log")
    for name in ("ref_chosen", "win_log_ref"):
        assert re.fullmatch(pattern, name), name
    for name in ("chosen", "ref", "log_ref", "ref_win_other"):
        assert not re.fullmatch(pattern, name), name


def test_a_parameter_takes_an_input_if_its_name_is_one_of_those_that_people_give_to_it():
    taken = binding.Input("mask", "masks?|valid")
    assert names.fits("valid", taken)
    assert not names.fits("labels", taken)


def test_names_of_log_probabilities_hold_whose_they_are_unless_they_may_stand_alone():
    for name in ("mu_logprobs", "logp_mu", "mb_mu_log_p", "per_token_mu_lp", "mu_logps_per_token", "log_mu"):
        assert re.fullmatch(batches.logs("mu"), name), name
    assert not re.fullmatch(batches.logs("mu"), "logprobs")
    assert not re.fullmatch(batches.logs("mu"), "")
    assert re.fullmatch(batches.logs("mu", alone=True), "logprobs")
    assert "X" not in batches.logs("mu")


def test_a_function_without_a_mask_counts_everything():
    mask = batches.mask_of("advantage")
    assert (mask.name, mask.also) == ("mask", batches.MASK)
    assert mask.absent(None, {"advantage": np.zeros((2, 3))}).tolist() == [[1.0] * 3] * 2


def test_what_is_one_for_each_answer_is_asked_for_where_all_places_have_the_same():
    case = {"advantage": np.array([[1.0, 2.0], [3.0, 4.0]]), "mask": np.ones((2, 2))}
    flat, column = batches.one_for_each_answer("advantage")
    for layout, shape, wanted in ((flat, "(N,)", [1.0, 3.0]), (column, "(N, 1)", [[1.0], [3.0]])):
        assert layout.name == f"one advantage for each answer, {shape}"
        (same,) = layout.cases([case])
        assert same["advantage"].tolist() == [[1.0, 1.0], [3.0, 3.0]]
        assert layout.into(case)["advantage"].tolist() == wanted
        assert same["mask"] is layout.into(case)["mask"] is case["mask"]


@pytest.mark.parametrize("plain", ["logprobs", "log_p", "lp", "log_probabilities", "per_token_logps"])
def test_plain_log_probabilities_are_those_of_the_policy(plain):
    assert re.fullmatch(batches.POLICY, plain)
    for pattern, who in ((batches.OLD, "old"), (batches.REFERENCE, "ref")):
        assert not re.fullmatch(pattern, plain)
        assert re.fullmatch(pattern, f"{who}_{plain.removeprefix('per_token_')}")
        assert not re.fullmatch(batches.POLICY, f"{who}_{plain}")


def test_answers_of_a_batch_have_every_length_and_none_is_empty():
    mask = batches.lengths(np.random.default_rng(0), 200, 5)
    ends = mask.sum(axis=1)
    assert ends[0] == 5
    assert set(ends) == {1, 2, 3, 4, 5}
    np.testing.assert_array_equal(mask, np.arange(5) < ends[:, None])
