"""Right functions of other inputs: which are told, in which words, and which are not."""

import functools

import autograd.numpy as anp
import numpy as np
import pytest

from rlhf_lab import audit
from rlhf_lab.audit import twists
from rlhf_lab.audit.zoo import ZOO, charges, grpo, kl, pairs, policies, returns

DPO = pairs.dpo_loss
PPO = policies.ppo_loss


def over(x, mask, axis=None):
    """x whitened over an axis of what a mask marks."""
    count = mask.sum(axis, keepdims=True)
    mean = (x * mask).sum(axis, keepdims=True) / count
    return (x - mean) / (np.sqrt(((x - mean) ** 2 * mask).sum(axis, keepdims=True) / count) + 1e-8)


def margin(change):
    def loss(a, b, c, d, beta):
        return DPO(change(a - c - b + d), 0, 0, 0, beta).mean()

    return loss


OLD = "log ratio to the old policy"


@pytest.mark.parametrize(
    ("name", "function", "what", "where"),
    [
        ("dpo_loss", margin(lambda h: h - h.mean()), "margin less its mean, over the batch", "margin"),
        ("dpo_loss", margin(np.tanh), "the hyperbolic tangent of margin", "margin"),
        ("ppo_loss", lambda p, o, a, m, e: PPO(p, o, over(a, m, 1), m, e),
         "advantage whitened, over each answer by itself", "advantage"),
        ("ppo_loss", lambda p, o, a, m, e: PPO(p, o, over(a, np.ones(a.shape)), m, e),
         "advantage whitened, over the batch, padding with it", "advantage"),
        ("ppo_loss", lambda p, o, a, m, e: PPO(p, o, over(a * m, np.ones(a.shape)), m, e),
         "advantage whitened, over the batch with 0 for padding", "advantage"),
        ("ppo_loss", lambda p, o, a, m, e: PPO(((p - o) * m).sum(1, keepdims=True) + 0 * p, 0 * o, a, m, e),
         f"the sum of {OLD}, over each answer by itself", OLD),
        ("ppo_loss", lambda p, o, a, m, e: PPO(p, o, a, m, np.sqrt(e)), "the root of clip range", "clip range"),
        ("ppo_loss", lambda p, o, a, m, e: PPO(p, o, a, m * (np.arange(m.shape[1]) > 0), e),
         "a mask without the first token", "mask"),
        ("grpo_loss", lambda p, o, r, a, m, e, b: 2 * grpo.grpo_loss(p, o, r, anp.tanh(a), m, e, b),
         "the hyperbolic tangent of advantage", "advantage"),
        ("grpo_loss", lambda p, o, r, a, m, e, b: grpo.grpo_loss(p, o, r, a / m.sum(1), m, e, b),
         "advantage over the length", "advantage"),
        ("reward_model_loss", lambda c, r: pairs.reward_model_loss(*np.split(both(c, r), 2)).mean(),
         "rewards whitened, over the batch", "rewards"),
        ("kl_estimate", lambda p, r: np.clip(p - r, -0.5, 0.5),
         "log ratio to the reference clipped to 0.5", "log ratio to the reference"),
        ("gae", lambda r, v, m, g, lam: returns.gae(np.clip(r, -1, 1), v, m, g, lam),
         "rewards clipped to 1", "rewards"),
        ("token_rewards", lambda score, p, o, m, b: charges.token_rewards(score / m.sum(1), p, o, m, b),
         "score over the length", "score"),
        ("value_loss", lambda v, g, m: 2 * returns.value_loss(anp.tanh(v), g, m),
         "the hyperbolic tangent of values", "values"),
    ],
)  # fmt: skip
def test_a_right_function_of_another_input_is_told_as_that(name, function, what, where):
    with np.errstate(invalid="ignore", divide="ignore"):
        found = audit.AUDITS[name](function)
    assert (found.ok, found.verdict) == (False, f"{what} in place of {where}"), str(found)
    assert found.told == f"It is right but for its input {where}: there it uses {what}."


def both(chosen, rejected):
    joined = np.concatenate([chosen, rejected])
    return (joined - joined.mean()) / (joined.std() + 1e-8)


def test_what_is_right_with_its_inputs_as_they_are_is_no_other_input():
    far = audit.dpo_loss(margin(lambda h: np.clip(h, -30, 30)))  # farther than any case, so that a clip changes nothing
    assert far.verdict == "margin clipped"


def test_a_mean_too_many_is_told():
    def twice(divide):
        return lambda p, o, a, m, e: PPO(p, o, a, m, e) * m.sum() / divide(m)

    for name, divide in (
        ("averaged twice over the batch", lambda m: m.sum() * len(m)),
        ("averaged twice over tokens", lambda m: m.sum() ** 2),
        ("averaged twice over places", lambda m: m.size**2),
    ):
        found = audit.ppo_loss(twice(divide))
        assert (found.ok, found.verdict) == (False, name)
        assert found.told.endswith("Divide once.")
    ipo = audit.ipo_loss(lambda a, b, c, d, tau: pairs.ipo_loss(a, b, c, d, tau).mean() / len(a))
    assert ipo.verdict == "averaged twice over the batch"


def halved(x):
    return x.astype(np.float16)


def test_half_precision_of_some_inputs_is_told():
    def loss(log_pi, log_old, advantage, mask, clip_range):
        ratio = np.exp(halved(log_pi) - halved(log_old)).astype(float)
        held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
        return -(np.minimum(ratio * advantage, held * advantage) * mask).sum() / mask.sum()

    found = audit.ppo_loss(loss)
    assert (found.ok, found.verdict, found.told) == (False, *twists.ROUNDED)


def test_a_wrong_estimate_of_the_divergence_has_its_name_in_a_loss_of_grpo():
    by_answer = {bug.name: bug.function for bug in ZOO if bug.audit == "kl_estimate" and bug.right is kl.k3}
    for name in ("exponential less 1", "negative log-ratios left out", "weighted by the probability again"):
        estimate = by_answer[name]

        def own(p, o, r, a, m, e, b, estimate=estimate):
            free = grpo.grpo_loss(p, o, p, a, m, e, 0.0)
            return free + b * anp.mean(anp.sum(estimate(p, r) * m, axis=1) / anp.sum(m, axis=1))

        assert audit.grpo_loss(own).verdict == name


def test_a_bug_of_the_ratio_has_its_name_beside_any_estimate():
    def own(p, o, r, a, m, e, b):
        ratio, a = anp.exp(p - o), a[:, None]
        each = -anp.minimum(ratio * a, anp.minimum(ratio, 1 + e) * a) + b * (p - r) ** 2 / 2
        return anp.sum(each * m) / anp.sum(m)

    assert audit.grpo_loss(own).verdict == "clipped on one side"


def calls(loss):
    count = [0]

    @functools.wraps(loss)
    def counted(*args, **kwargs):
        count[0] += 1
        return loss(*args, **kwargs)

    return counted, count


def test_a_loss_that_divides_by_a_deviation_is_asked_first_whether_it_whitens():
    def by_root(p, o, a, m, e):
        return PPO(p, o, over(a, m), m, e)

    def by_std(p, o, a, m, e):
        n = m.sum()
        centred = a - (a * m).sum() / n
        return PPO(p, o, centred / (np.sqrt((centred**2 * m).sum() / n) + 1e-8), m, e)

    counts = []
    for loss in (by_root, by_std):
        counted, count = calls(loss)
        assert audit.ppo_loss(counted)
        counts.append(count[0])
    assert counts[1] < counts[0] / 2


def test_gradients_are_taken_only_where_numbers_agree():
    seen = []

    def unknown(p, o, a, m, e):
        seen.append(type(p).__name__)
        return anp.sum((anp.sin(7 * p) * anp.cos(a) + o) * m)

    assert audit.ppo_loss(unknown).verdict == "wrong"
    assert set(seen) == {"ndarray"}
    audit.ppo_loss(lambda p, o, a, m, e: seen.append(type(p).__name__) or PPO(p, o, a, m, e))
    assert set(seen) == {"ndarray", "ArrayBox"}


def test_a_loss_of_a_reward_model_that_is_maximised_may_ask_for_a_margin():
    found = audit.reward_model_loss(lambda c, r: np.log(1 / (1 + np.exp(-2 * (c - r) + 1))).mean())
    assert found.ok
    assert "a margin of 1 is asked for" in " ".join(found.conventions)
    assert "minus the loss: a number to be maximised" in found.conventions


def test_a_softmax_over_the_batch_of_differences():
    found = audit.reward_model_loss(lambda c, r: -(c - r - np.log(np.exp(c - r).sum())))
    assert (found.ok, found.verdict) == (False, "softmax over the pairs")


def test_charges_and_scores_in_other_places():
    def paid(first):
        def own(score, log_pi, log_ref, mask, beta):
            found = -beta * (log_pi - log_ref) * mask
            place = mask.sum(1).astype(int) - 1
            found[np.arange(len(score)), first(place)] += score
            return found

        return own

    assert audit.token_rewards(paid(lambda place: np.maximum(place - 1, 0))).verdict == "score one token early"
    assert audit.token_rewards(paid(lambda place: place))

    def at_the_end(score, log_pi, log_ref, mask, beta):
        found = np.zeros(mask.shape)
        charge = beta * ((log_pi - log_ref) * mask).sum(1)
        found[np.arange(len(score)), mask.sum(1).astype(int) - 1] = score - charge
        return found

    found = audit.token_rewards(at_the_end)
    assert found.ok
    assert found.conventions[0].startswith("the charges of an answer are added up with its last token")
    every = audit.token_rewards(lambda score, p, o, m, b: score[:, None] - b * (p - o) * m)
    assert every.verdict == "score on every token"
    nothing = audit.token_rewards(lambda score, p, o, m, b: 1.3 * score[:, None] * m - b * (p - o) ** 3 * m)
    assert nothing.verdict == "wrong"


def test_costs_of_dril_by_the_deviation_of_members_less_1_and_by_variances_over_actions():
    def chosen(log_probs, actions):
        return np.exp(log_probs)[:, np.arange(len(actions)), actions]

    assert audit.dril_cost(lambda log_probs, actions: chosen(log_probs, actions).std(0, ddof=1))
    wrong = audit.dril_cost(lambda log_probs, actions: -chosen(log_probs, actions).std(0, ddof=1))
    assert wrong.verdict == "disagreement rewarded"
    for ddof in (0, 1):
        of_each = audit.dril_cost(lambda log_probs, actions, ddof=ddof: np.exp(log_probs).var(-1, ddof=ddof).mean(0))
        of_mean = audit.dril_cost(lambda log_probs, actions, ddof=ddof: np.exp(log_probs).mean(0).var(-1, ddof=ddof))
        assert of_each.verdict == of_mean.verdict == "variance over actions"


def test_inputs_the_wrong_way_round():
    def crossed(rewards, values, mask, gamma, lam):
        return returns.gae(values, rewards, mask, gamma, lam)

    report = audit.gae(crossed)
    assert report.verdict == "values and rewards in place of rewards and values"
    assert report.told == ("It is right but for its input rewards and values: there it uses values and rewards.")


def by_flags(rewards, values, ends, last_value, gamma, lam):
    found, later, after = np.zeros(rewards.shape), last_value, 0.0
    for t in reversed(range(rewards.shape[1])):
        live = 1 - ends[:, t]
        after = rewards[:, t] + gamma * later * live - values[:, t] + gamma * lam * live * after
        found[:, t], later = after, values[:, t]
    return found


FLAGS = {
    "flags one place early": lambda ends: np.roll(ends, -1, axis=1) * (np.arange(ends.shape[1]) < ends.shape[1] - 1),
    "flags one place late": lambda ends: np.roll(ends, 1, axis=1) * (np.arange(ends.shape[1]) > 0),
    "1 less the flags": lambda ends: np.logical_not(ends),
}


@pytest.mark.parametrize("name", FLAGS)
def test_flags_of_other_steps(name):
    assert audit.gae(by_flags).ok

    def gae(rewards, values, dones, last_value, gamma, lam):
        return by_flags(rewards, values, FLAGS[name](dones), last_value, gamma, lam)

    report = audit.gae(gae)
    assert (report.ok, report.verdict) == (False, f"{name} in place of ends")
