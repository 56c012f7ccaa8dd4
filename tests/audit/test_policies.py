"""The audits of PPO's and GRPO's losses: bugs by name, what is right in many forms, identities that can break."""

import autograd.numpy as anp
import numpy as np
import pytest
from audited import breaks
from autograd.tracer import getval

from rlhf_lab import audit
from rlhf_lab.audit import grpo, grpo_bugs, ppo
from rlhf_lab.audit.zoo import ZOO
from rlhf_lab.audit.zoo import grpo as zoo_grpo
from rlhf_lab.audit.zoo import policies as zoo

PPO = [bug for bug in ZOO if bug.audit == "ppo_loss" and bug.name != "sign turned"]
GRPO = [bug for bug in ZOO if bug.audit == "grpo_loss"]


@pytest.mark.parametrize("bug", PPO, ids=lambda bug: bug.name)
def test_bugs_of_ppo_have_names(bug):
    report = audit.ppo_loss(bug.function)
    assert (report.ok, report.verdict, report.told, report.where) == (False, bug.name, bug.told, bug.where)
    assert report.smallest


@pytest.mark.parametrize("bug", GRPO, ids=lambda bug: bug.name)
def test_bugs_of_grpo_have_names(bug):
    report = audit.grpo_loss(bug.function)
    assert (report.ok, report.verdict, report.told) == (False, bug.name, bug.told)


def test_a_loss_with_the_other_sign_may_be_an_objective():
    report = audit.ppo_loss(zoo.sign_turned)
    assert report.ok
    assert "minus the loss: a number to be maximised" in report.conventions


def cleanrl(newlogprob, b_logprobs, mb_advantages, clip_coef):
    ratio = anp.exp(newlogprob - b_logprobs)
    first = -mb_advantages * ratio
    second = -mb_advantages * anp.clip(ratio, 1 - clip_coef, 1 + clip_coef)
    return anp.mean(anp.maximum(first, second))


def verl(old_log_prob, log_prob, advantages, response_mask, cliprange=0.2, clip_ratio_c=3.0):
    ratio = np.exp(np.clip(log_prob - old_log_prob, -20, 20))
    high = np.maximum(-advantages * ratio, -advantages * np.clip(ratio, 1 - cliprange, 1 + cliprange))
    low = np.minimum(-advantages * clip_ratio_c, high)
    losses = np.where(advantages < 0, low, high)
    return (losses * response_mask).sum() / (response_mask.sum() + 1e-8), (losses > high).mean()


def openrlhf(log_probs, old_log_probs, advantages, action_mask):
    ratio = np.exp(log_probs - old_log_probs)
    loss = -np.minimum(ratio * advantages, ratio.clip(0.8, 1.2) * advantages)
    return ((loss * action_mask).sum(-1) / action_mask.sum(-1)).mean()


def of_answers(logp, old_logp, adv, mask, eps_low, eps_high):
    ratio = np.exp(logp - old_logp)
    adv = adv[:, None]
    loss = -np.minimum(ratio * adv, np.clip(ratio, 1 - eps_low, 1 + eps_high) * adv)
    return (loss * mask).sum() / mask.size


def unmasked_tokens(log_pi, log_old, advantage, mask, clip_range):
    ratio = np.exp(log_pi - log_old)
    return -np.minimum(ratio * advantage, np.clip(ratio, 1 - clip_range, 1 + clip_range) * advantage)


def by_parts(logprobs, logprobs_old, A, mask, epsilon):
    """Clipped by the sign of the advantage, in single precision."""
    ratio = np.exp((logprobs - logprobs_old).astype(np.float32))
    near = np.where(A > 0, np.minimum(ratio, 1 + epsilon), np.maximum(ratio, 1 - epsilon))
    return -np.float32((near * A)[mask].sum() / mask.sum())


def objective_of_answers(pi_logp, behavior_logp, advantages, mask, eps):
    ratio = np.exp(pi_logp - behavior_logp)
    each = np.minimum(ratio * advantages, np.clip(ratio, 1 - eps, 1 + eps) * advantages) * mask
    return {"objective": each.sum(-1).mean(), "ratio": ratio.mean()}


def column(log_probs, old_log_probs, advantages, mask, clip_eps):
    assert advantages.shape[1] == 1
    ratio = np.exp(log_probs - old_log_probs)
    return (-np.minimum(ratio * advantages, ratio.clip(1 - clip_eps, 1 + clip_eps) * advantages) * mask).sum()


RIGHT = {
    zoo.ppo_loss: "the mean over all tokens",
    cleanrl: "the mean over all tokens",
    verl: "returns 2 results, of which the first is read",
    openrlhf: "no parameter for the clip range: 0.2, worked out from its values, is fixed inside it",
    of_answers: "one advantage for each answer, (N,)",
    unmasked_tokens: "a loss for each token, not masked yet: do that where you average",
    by_parts: "takes a mask of True and False",
    objective_of_answers: "minus the loss: a number to be maximised",
    column: "one advantage for each answer, (N, 1)",
}


@pytest.mark.parametrize("function", RIGHT, ids=lambda function: function.__name__)
def test_right_losses_of_ppo_pass_with_their_convention(function):
    report = audit.ppo_loss(function)
    assert report.ok, str(report)
    assert RIGHT[function] in report.conventions
    assert set(report.identities.values()) == {"holds"}


def test_a_clip_range_may_be_told():
    def fixed(log_pi, log_old, advantage, mask):
        return zoo.ppo_loss(log_pi, log_old, advantage, mask, 0.25)

    assert audit.ppo_loss(fixed, clip_range=0.25)
    assert not audit.ppo_loss(fixed, clip_range=0.2)


def test_a_ratio_that_is_detached_has_no_gradient():
    report = audit.ppo_loss(lambda p, o, a, m, e: zoo.ppo_loss(getval(p), o, a, m, e) + 0 * anp.sum(p))
    assert report.verdict == "wrong gradient"
    assert "there is none" in report.told


@pytest.mark.parametrize("padding", [0.0, 1.0])
def test_bugs_of_ppo_in_other_forms(padding):
    def wrong(new_logprobs, old_logprobs, advantages, mask, eps):
        ratio = np.exp(new_logprobs - old_logprobs)
        each = -np.maximum(ratio * advantages, np.clip(ratio, 1 - eps, 1 + eps) * advantages)
        return (each * mask).sum(-1).mean()

    def leaks(new_logprobs, old_logprobs, advantages, mask, eps):
        ratio = np.exp(new_logprobs - old_logprobs)
        return -np.minimum(ratio * advantages, np.clip(ratio, 1 - eps, 1 + eps) * advantages).sum()

    assert audit.ppo_loss(wrong).verdict == "max in place of min"
    assert audit.ppo_loss(leaks).verdict == "mask ignored"


def grpo_of(kl=lambda difference, ratio: np.exp(-difference) - 1 + difference, add=np.mean):
    def loss(per_token_logps, old_per_token_logps, ref_per_token_logps, advantages, completion_mask, epsilon, beta):
        ratio = np.exp(per_token_logps - old_per_token_logps)
        advantages = advantages.reshape(-1, 1)
        each = -np.minimum(ratio * advantages, np.clip(ratio, 1 - epsilon, 1 + epsilon) * advantages)
        each = each + beta * kl(per_token_logps - ref_per_token_logps, ratio)
        return add(each, completion_mask)

    return loss


def sequence(each, mask):
    return ((each * mask).sum(-1) / mask.sum(-1).clip(min=1.0)).mean()


def token(each, mask):
    return (each * mask).sum() / mask.sum()


def constant(each, mask):
    return (each * mask).sum() / mask.size


def fresh(logps, ref_logps, advantages, mask, beta=0.04):
    """The ratio is 1 and carries the gradient."""
    ratio = anp.exp(logps - getval(logps))
    kl = anp.exp(ref_logps - logps) - (ref_logps - logps) - 1
    each = -(ratio * advantages[:, None] - beta * kl)
    return anp.mean(anp.sum(each * mask, axis=1) / anp.sum(mask, axis=1))


def without_kl(logprobs, old_logprobs, advantages, mask, eps_low=0.2, eps_high=0.2):
    ratio = np.exp(logprobs - old_logprobs)
    each = -np.minimum(ratio * advantages, np.clip(ratio, 1 - eps_low, 1 + eps_high) * advantages)
    return (each * mask).sum() / mask.sum()


def gspo(logps, old_logps, ref_logps, advantages, mask, eps, beta):
    step = ((logps - old_logps) * mask).sum(-1, keepdims=True) / mask.sum(-1, keepdims=True)
    ratio, advantages = np.exp(step), advantages[:, None]
    kl = np.exp(ref_logps - logps) - 1 - (ref_logps - logps)
    each = -np.minimum(ratio * advantages, np.clip(ratio, 1 - eps, 1 + eps) * advantages) + beta * kl
    return ((each * mask).sum(-1) / mask.sum(-1)).mean()


RIGHT_GRPO = {
    "sequence": (grpo_of(add=sequence), "over answers"),
    "token": (grpo_of(add=token), "the mean over all tokens"),
    "constant": (grpo_of(add=constant), "divided by a constant"),
    "k2": (grpo_of(lambda d, u: d**2 / 2, sequence), "KL by k2: its gradient is on average that of KL(pi || pi_ref)"),
    "k3 times ratio": (grpo_of(lambda d, u: u * (np.exp(-d) - 1 + d), token), "KL by k3 times the ratio"),
    "k1 times ratio": (grpo_of(lambda d, u: u * d, token), "KL by k1 times the ratio"),
    "fresh": (fresh, "takes no old log-probabilities"),
    "without KL": (without_kl, "takes no reference: no KL term in this loss"),
    "GSPO": (gspo, "a geometric mean (GSPO)"),
    "fixed": (lambda lp, old, ref, a, m: zoo_grpo.grpo_loss(lp, old, ref, a, m, 0.2, 0.04), "KL weight: 0.04"),
}


@pytest.mark.parametrize("name", RIGHT_GRPO)
def test_right_losses_of_grpo_pass_with_their_convention(name):
    function, convention = RIGHT_GRPO[name]
    report = audit.grpo_loss(function)
    assert report.ok, str(report)
    assert any(convention in told for told in report.conventions), report.conventions
    assert set(report.identities.values()) == {"holds"}


@pytest.mark.parametrize("wanted", ["sequence", "token", "constant"])
@pytest.mark.parametrize("add", [sequence, token, constant])
def test_an_aggregation_can_be_asked_for(add, wanted):
    report = audit.grpo_loss(grpo_of(add=add), aggregation=wanted)
    assert report.ok == (add.__name__ == wanted)
    assert report.verdict == ("right" if report.ok else "another aggregation")
    with pytest.raises(ValueError, match="aggregation is one of token, sequence, constant; got 'mean'"):
        audit.grpo_loss(zoo_grpo.grpo_loss, aggregation="mean")


@pytest.mark.parametrize("bug", [b for b in PPO if b.name not in ("mask ignored", "clipped after the mean")])
def test_bugs_of_the_ratio_have_their_names_in_grpo_too(bug):
    def loss(log_pi, log_old, log_ref, advantage, mask, clip_range, beta):
        rows = (x[..., None, :] for x in (log_pi, log_old, advantage[..., None] * anp.ones(mask.shape), mask))
        kl = anp.exp(log_ref - log_pi) - 1 - (log_ref - log_pi)
        return anp.mean(bug.function(*rows, clip_range) + beta * anp.sum(kl * mask, -1) / anp.sum(mask, -1), -1)

    assert audit.grpo_loss(loss).verdict == bug.name


def test_every_identity_is_broken_by_something():
    strange = [lambda p, o, a, m, e: zoo.ppo_loss(p, o, a, m, e) ** 2, lambda p, o, a, m, e: anp.sum((p - o) * a * m)]
    broken = set().union(*(breaks(ppo.PPO, f) for f in [bug.function for bug in PPO] + strange))
    assert broken == {identity.name for identity in ppo.PPO.identities}
    names = ("KL maximised", "padding in the loss", "max in place of min", "ratio of rounded numbers")
    estimate = next(iter(grpo_bugs.ESTIMATES.values()))
    known = [*grpo.GRPO.known(), *(grpo_bugs._composed(bug, estimate) for bug in grpo_bugs.RATIO_BUGS)]
    composed = [bug.function for bug in known if bug.name in (*names, "advantage one token late")]
    composed.append(lambda p, o, r, a, m, e, b: zoo_grpo.grpo_loss(p, o, r, a[..., ::-1], m, e, b))
    composed.append(lambda p, o, r, a, m, e, b: zoo_grpo.grpo_loss(p, o, r, a, m, e, b) ** 2)
    broken = set().union(*(breaks(grpo.GRPO, f) for f in composed))
    assert broken == {identity.name for identity in grpo.GRPO.identities}


def test_an_unknown_bug_is_told_by_its_identities():
    def strange(log_pi, log_old, advantage, mask, clip_range):
        return zoo.ppo_loss(log_pi, log_old, advantage, mask, clip_range) + 0.1 * anp.sum(log_pi**2 * advantage * mask)

    report = audit.ppo_loss(strange)
    assert report.verdict == "wrong"
    assert report.identities["-A where the policy is the old one"].startswith("BROKEN: with log_pi")
