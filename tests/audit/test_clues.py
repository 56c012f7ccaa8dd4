"""What is told of functions that nobody knows: where they are right, and to which inputs they answer as they should."""

import autograd.numpy as np
import pytest
from autograd.tracer import getval

from rlhf_lab import audit
from rlhf_lab.audit import clues, pairs, policies, ppo
from rlhf_lab.audit.dril import DRIL
from rlhf_lab.audit.functions import Subject
from rlhf_lab.audit.grpo import GRPO
from rlhf_lab.audit.tokens import LOG_PROBS
from rlhf_lab.audit.whitening import WHITEN
from rlhf_lab.audit.zoo import advantages, grpo, kl, loops, returns, tokens
from rlhf_lab.audit.zoo import pairs as zoo
from rlhf_lab.audit.zoo.policies import masked_mean, ppo_loss

NOWHERE = "No special case that leaves a part out is right: look at the formula itself."


def clues_of(contract, function):
    return clues.clues(contract, Subject(function, contract.inputs, contract.cases), contract.cases)


def each_token(log_pi, log_old, advantage, clip_range):
    u = np.exp(log_pi - log_old)
    return -np.minimum(u * advantage, np.clip(u, 1 - clip_range, 1 + clip_range) * advantage)


def cubed(log_pi, log_old, advantage, mask, clip_range):
    return ppo_loss(log_pi, log_old, advantage**3, mask, clip_range)


def place_by_place(log_pi, log_old, advantage, mask, clip_range):
    each = each_token(log_pi, log_old, advantage, clip_range) * mask
    return np.mean(np.sum(each, 0) / np.maximum(np.sum(mask, 0), 1))


def low_where_negative(log_pi, log_old, advantage, mask, clip_range):
    each = each_token(log_pi, log_old, advantage, clip_range)
    return masked_mean(np.where(advantage < 0, 1.3 * each, each), mask)


def weighted_log_prob(log_pi, log_old, advantage, mask, clip_range):
    return masked_mean(getval(each_token(log_pi, log_old, advantage, clip_range)) * log_pi, mask)


def steeper(log_pi, log_old, advantage, mask, clip_range):
    return ppo_loss(log_old + 1.5 * (log_pi - log_old), log_old, advantage, mask, clip_range)


def without_clip_range(log_pi, log_old, advantage, mask, clip_range):
    u = np.exp(log_pi - log_old)
    return -masked_mean(np.minimum(u * advantage, np.clip(u, 0.83, 1.27) * advantage), mask)


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        (
            cubed,
            [
                "It is right where advantages are 1 and -1: look at powers and other functions of the advantage.",
            ],
        ),
        (
            place_by_place,
            [
                "It is right where the batch is one row: look at means, sums and statistics over the batch.",
                "It is right where nothing is padding: look at the mask, and answers of different lengths.",
            ],
        ),
        (
            low_where_negative,
            [
                "It is right where advantages are positive: look at negative advantages.",
                "It is right where advantages are negative, up to a factor of 1.3: look at positive advantages.",
            ],
        ),
        (steeper, ["It is right where the policy is the old one: look at the ratio and the clip."]),
        (
            weighted_log_prob,
            ["Its numbers are wrong, and its gradient is right where no ratio is clipped: look at the clip."],
        ),
        (
            without_clip_range,
            [
                "It is right where no ratio is clipped: look at the clip.",
                "It does not depend on clip_range, and it should.",
            ],
        ),
    ],
)
def test_where_a_loss_of_ppo_is_right_is_told(loss, told):
    assert list(clues_of(ppo.PPO, loss)) == told


def test_a_report_of_what_nobody_knows_has_its_clues():
    report = audit.ppo_loss(cubed)
    assert (report.ok, report.verdict) == (False, "wrong")
    assert report.clues == clues_of(ppo.PPO, cubed) != ()
    assert f"\n  {report.clues[0]}\n" in str(report)
    assert report.as_dict()["clues"] == report.clues


def grpo_averaged_in_two_ways(log_pi, log_old, log_ref, advantage, mask, clip_range, beta):
    divergence = kl.k3(log_pi, log_ref)
    each = each_token(log_pi, log_old, advantage[:, None], clip_range)
    return np.mean(np.sum(each * mask, -1) / np.sum(mask, -1)) + beta * masked_mean(divergence, mask)


def k3_of_half(log_pi, log_old, log_ref, advantage, mask, clip_range, beta):
    half = log_ref + 0.37 * (log_pi - log_ref)
    return grpo.grpo_loss(log_pi, log_old, log_pi - half + log_ref, advantage, mask, clip_range, beta)


def test_a_part_of_grpo_is_left_out_and_inputs_are_told_to_which_it_answers():
    assert clues_of(GRPO, grpo_averaged_in_two_ways) == (
        "It is right where the batch is one row: look at means, sums and statistics over the batch.",
        "It is right where nothing is padding: look at the mask, and answers of different lengths.",
        "It is right where advantages are 0: look at the part that they multiply.",
        "It is right where beta is 0: look at the divergence from the reference.",
        "It answers to log_old, advantage and clip_range as it should: what is wrong has nothing to do with that.",
    )
    found = clues_of(GRPO, k3_of_half)
    assert "It is right where beta is 0: look at the divergence from the reference." in found
    assert not any("where the policy is the reference" in text for text in found)  # that is within beta = 0


def focal(pc, pr, rc, rr, beta):
    h = pc - rc - pr + rr
    return zoo.dpo_loss(pc, pr, rc, rr, beta) / (1 + np.exp(beta * h))


def only_wrong_pairs(pc, pr, rc, rr, beta):
    return np.mean(zoo.dpo_loss(pc, pr, rc, rr, beta) * (pc - rc - pr + rr < 0))


def by_the_batch(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    weight = getval(1 + np.mean(policy_chosen) ** 2)
    return np.mean(zoo.dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta)) * weight


def test_where_a_loss_of_pairs_is_right_is_told():
    assert clues_of(pairs.DPO, only_wrong_pairs) == (
        "It is right where margins are negative: look at positive margins.",
    )
    (told,) = clues_of(pairs.DPO, focal)
    assert told.startswith("Row by row, its gradients are right but for their size, ")
    assert told.endswith(" times that: look at what weighs them.")
    (told,) = clues_of(pairs.DPO, by_the_batch)
    wanted = " and ".join(f"{1 + np.mean(case['policy_chosen']) ** 2:.4g}" for case in pairs.DPO.cases[-4:])
    assert (
        told
        == f"In each case, its gradients are right but for their size, {wanted} times that: look at what you divide by."
    )
    apart = clues_of(
        pairs.IPO, lambda pc, pr, rc, rr, tau: np.mean((pc - rc - 0.25 / tau) ** 2 + (pr - rr + 0.25 / tau) ** 2)
    )
    assert apart == (NOWHERE,)


def test_the_normaliser_of_log_probabilities_has_nothing_to_do_with_tokens():
    def less_the_mean(logits, input_ids, mask):
        normaliser = np.log(np.sum(np.exp(logits), -1)) - np.mean(logits, -1)
        return tokens.log_probs(logits, input_ids, mask) + (normaliser * 1.0)[:, :-1] * mask[:, 1:]

    cases = [case | {"temperature": 1.0} for case in LOG_PROBS.cases]
    (told,) = clues_of(LOG_PROBS._replace(cases=cases), less_the_mean)
    assert told == "It answers to tokens as it should: what is wrong has nothing to do with that."


def test_any_kind_of_advantages_may_be_meant():
    report = audit.advantages(lambda rewards: advantages.dr_grpo(rewards**3))
    assert report.clues == ("It is right where rewards are 0 and 1: look at the size of rewards.",)


def test_a_function_that_is_right_or_known_gets_no_clues():
    assert audit.ppo_loss(ppo_loss).clues == ()
    assert audit.dpo_loss(zoo.beta_twice).clues == ()
    assert audit.dril_cost(loops.dril_cost).clues == ()
    assert audit.gae(returns.gae).clues == ()


def test_what_raises_in_special_cases_is_judged_by_the_others():
    def wants_two(log_pi, log_old, advantage, mask, clip_range):
        if len(mask) == 3 and not np.any(mask - 1):
            raise ValueError("padding is missing")
        return place_by_place(log_pi, log_old, advantage, mask, clip_range)

    assert clues_of(ppo.PPO, wants_two) == (
        "It is right where the batch is one row: look at means, sums and statistics over the batch.",
    )


def test_a_number_that_is_fixed_inside_is_not_changed():
    def inside(log_pi, log_old, advantage, mask):
        return steeper(log_pi, log_old, advantage, mask, 0.2)

    cases = [case | {"clip_range": 0.2, "clip_high": 0.2} for case in policies.cases_of(grpo=False)]
    assert clues_of(ppo.PPO._replace(cases=cases), inside) == (
        "It is right where the policy is the old one: look at the ratio and the clip.",
    )


def test_what_is_not_finite_is_told_where_it_is_right():
    def infinite_where_negative(log_pi, log_old, advantage, mask, clip_range):
        each = each_token(log_pi, log_old, advantage, clip_range)
        return masked_mean(np.where(advantage < 0, np.inf, each), mask)

    report = audit.ppo_loss(infinite_where_negative)
    assert (report.ok, report.verdict) == (False, "not finite")
    assert report.clues == ("It is right where advantages are positive: look at negative advantages.",)


def by_the_norm(advantage, mask):
    centred = (advantage - np.sum(advantage * mask) / np.sum(mask)) * mask
    return centred / np.sqrt(np.sum(centred**2))


def test_numbers_that_are_right_but_for_their_size_are_told():
    (told,) = clues_of(WHITEN, by_the_norm)
    sizes = " and ".join(f"{np.sum(case['mask']) ** -0.5:.4g}" for case in WHITEN.cases[-4:])
    assert (
        told
        == f"In each case, its numbers are right but for their size, {sizes} times that: look at what you divide by."
    )


def test_an_input_that_is_not_used_is_told():
    def of_the_first(log_probs, actions):
        return loops.dril_cost(log_probs, 0 * actions)

    told = "It does not depend on actions, and it should."
    assert told in clues_of(DRIL, of_the_first)
    assert told not in clues_of(DRIL, lambda log_probs, actions: loops.dril_cost(log_probs, actions) ** 2)


def test_special_cases_are_others_than_those_that_there_were_and_change_no_number_that_is_fixed_inside():
    places = {place.where: place for place in clues.PLACES}
    inside = Subject(lambda log_pi, log_old, advantage, mask: log_pi, ppo.PPO.inputs, ppo.PPO.cases)
    assert len(clues._made(places["nothing is padding"], inside, ppo.PPO.cases)) == len(ppo.PPO.cases)
    unmasked = Subject(lambda log_pi, log_old, advantage, clip_range: log_pi, ppo.PPO.inputs, ppo.PPO.cases)
    assert len(clues._made(places["nothing is padding"], unmasked, ppo.PPO.cases)) == len(ppo.PPO.cases)
    full = [case | {"mask": np.ones(case["mask"].shape)} for case in ppo.PPO.cases]
    assert clues._made(places["nothing is padding"], inside, full) == []
    assert clues._made(places["beta is 0"], inside, ppo.PPO.cases) == []
    without_beta = Subject(
        lambda log_pi, log_old, log_ref, advantage, mask, clip_range: log_pi, GRPO.inputs, GRPO.cases
    )
    assert clues._made(places["beta is 0"], without_beta, GRPO.cases) == []


def test_a_size_is_told_of_two_numbers_and_more():
    one, two = np.array([2.0]), np.array([1.0, -3.0])
    assert clues._times(2.5 * two, two) == 2.5
    assert clues._times(two + 1, two) == clues._times(one, one) == clues._times(0 * two, two) == 0.0
    assert clues._times(two, one) == 0.0


def test_every_case_has_to_have_a_size():
    def apart(advantage, mask):
        right = WHITEN.rights[0].function(advantage, mask)
        return right**3 if mask.shape == (2, 3) else 2 * right

    assert clues_of(WHITEN, apart) == (NOWHERE,)


def test_numbers_of_an_input_are_changed_by_a_share_and_a_step():
    case = {"a": np.array([0.0, 10.0]), "tokens": np.array([0, 2]), "logits": np.zeros((2, 3))}
    assert clues._moved("a", case)["a"].tolist() == pytest.approx([0.02, 11.02])
    assert clues._moved("tokens", case)["tokens"].tolist() == [1, 0]


def test_an_input_that_the_right_function_does_not_use_either_is_not_told():
    def with_an_upper_bound(log_pi, log_old, advantage, mask, clip_range, clip_high):
        return cubed(log_pi, log_old, advantage, mask, clip_range)

    assert clues_of(ppo.PPO, with_an_upper_bound) == clues_of(ppo.PPO, cubed)


def test_three_numbers_or_one_number_again_and_again_tell_nothing():
    subject, cases = Subject(ppo_loss, ppo.PPO.inputs, ppo.PPO.cases), ppo.PPO.cases[-4:]
    found = clues._right(ppo.PPO, ppo.PPO.rights, subject, cases)
    assert (found.candidate, found.factor) == (ppo.PPO.rights[0], 1.0)
    assert clues._right(ppo.PPO, ppo.PPO.rights, subject, cases[1:]) is None
    assert clues._right(ppo.PPO, ppo.PPO.rights, subject, 4 * cases[:1]) is None


def told_by(of, contract, function, *more):
    subject = Subject(function, contract.inputs, contract.cases)
    rights = [right for right in contract.rights if right.when(subject)]
    return of(contract, rights, subject, contract.cases, *more)


def test_what_a_function_answers_to_is_told_and_what_it_does_not_hear():
    assert told_by(clues._answers, ppo.PPO, without_clip_range) == ["It does not depend on clip_range, and it should."]
    assert told_by(clues._answers, GRPO, grpo_averaged_in_two_ways) == [
        "It answers to log_old, advantage and clip_range as it should: what is wrong has nothing to do with that."
    ]
    assert told_by(clues._answers, WHITEN, lambda advantage, mask: advantage[:, 0]) == []  # of another shape


def test_sizes_are_those_of_numbers_or_gradients_of_cases_or_rows():
    sizes = " and ".join(f"{np.sum(case['mask']) ** -0.5:.4g}" for case in WHITEN.cases[-4:])
    assert told_by(clues._sized, WHITEN, by_the_norm, {}) == [
        f"In each case, its numbers are right but for their size, {sizes} times that: look at what you divide by."
    ]
    sizes = " and ".join(f"{1 + np.mean(case['policy_chosen']) ** 2:.4g}" for case in pairs.DPO.cases[-4:])
    assert told_by(clues._sized, pairs.DPO, by_the_batch, {}) == [
        f"In each case, its gradients are right but for their size, {sizes} times that: look at what you divide by."
    ]
    place = next(place for place in clues.PLACES if place.where == "no ratio is clipped")
    inside = [place.change(case) for case in ppo.PPO.cases]
    assert told_by(clues._sized, ppo.PPO, weighted_log_prob, {place: inside}) == [
        "Its numbers are wrong, and its gradient is right where no ratio is clipped: look at the clip."
    ]
    (told,) = told_by(clues._sized, pairs.DPO, focal, {})
    assert told.startswith("Row by row, its gradients are right but for their size, ")
    assert told.endswith(" times that: look at what weighs them.")
    assert told_by(clues._sized, ppo.PPO, steeper, {}) == []


def test_names_are_listed_with_an_and_before_the_last():
    assert [clues._listed(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]


def test_masks_and_ends_may_not_have_any_numbers_and_choices_are_moved_on():
    case = {"a": np.array([0.5]), "beta": 0.1, "mask": np.ones(1), "ends": np.ones(1), "tokens": np.ones(1, int)}
    assert [name for name in case if clues._moves(name, case)] == ["a", "beta", "tokens"]
    assert not clues._moves("labels", {"labels": np.ones(1, int)})
