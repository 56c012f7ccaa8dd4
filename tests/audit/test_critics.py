"""The audits of critics, whitening and rewards of tokens."""

import autograd.numpy as anp
import numpy as np
import pytest
from audited import bugs

from rlhf_lab import audit
from rlhf_lab.audit import charges, critics, whitening
from rlhf_lab.audit.zoo import ZOO, returns
from rlhf_lab.audit.zoo import charges as zoo
from rlhf_lab.methods import actor_critic

AUDITS = ("value_loss", "whiten", "token_rewards")
BUGS = [bug for bug in ZOO if bug.audit in AUDITS]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_bugs_have_names(bug):
    report = audit.AUDITS[bug.audit](bug.function)
    assert (report.ok, report.verdict, report.told) == (False, bug.name, bug.told)


def mse(values, returns):
    return ((values - returns) ** 2).mean()


def cleanrl(newvalue, b_values, b_returns, clip_coef):
    near = b_values + np.clip(newvalue - b_values, -clip_coef, clip_coef)
    return 0.5 * np.maximum((newvalue - b_returns) ** 2, (near - b_returns) ** 2).mean()


def sb3(values, old_values, returns, clip_range_vf=0.2):
    return ((returns - old_values - np.clip(values - old_values, -clip_range_vf, clip_range_vf)) ** 2).mean()


def verl(vpreds, returns, values, response_mask, cliprange_value):
    near = np.clip(vpreds, values - cliprange_value, values + cliprange_value)
    losses = np.maximum((vpreds - returns) ** 2, (near - returns) ** 2)
    return 0.5 * (losses * response_mask).sum() / (response_mask.sum() + 1e-8), 0.0


def openrlhf(values, old_values, returns, action_mask):
    near = old_values + (values - old_values).clip(-0.2, 0.2)
    losses = np.maximum((values - returns) ** 2, (near - returns) ** 2)
    return ((losses * action_mask).sum(-1) / action_mask.sum(-1)).mean()


def huber(values, returns):
    size = np.abs(values - returns)
    return np.where(size < 1, 0.5 * size**2, size - 0.5).mean()


def with_gradient(values, returns, mask):
    return 0.5 * anp.sum(((values - returns) * mask) ** 2) / anp.sum(mask)


def of_tokens(values, returns, mask):
    return (values - returns) ** 2 / 2


def of_tokens_with_mask(values, returns, mask):
    return mask * (values - returns) ** 2 / 2


VALUE = {
    mse: "2 times the loss: a matter of the step size",
    cleanrl: "the mean over all tokens",
    sb3: "the error of the clipped value alone, as in Stable-Baselines3",
    verl: "the mean over all tokens",
    openrlhf: "no parameter for the clip range: 0.2, worked out from its values, is fixed inside it",
    huber: "the error is squared only where it is below 1 (Huber)",
    with_gradient: "the mean over all tokens",
    of_tokens: "a loss for each token, not masked yet: do that where you average",
    of_tokens_with_mask: "a loss for each token, 0 on padding",
    returns.clipped_value_loss: "the mean over all tokens",
    actor_critic.value_loss: "the sum over tokens, and the mean over answers",
    actor_critic.clipped_value_loss: "the sum over tokens, and the mean over answers",
}


@pytest.mark.parametrize("function", VALUE, ids=lambda function: function.__name__)
def test_right_losses_of_critics_pass(function):
    report = audit.value_loss(function)
    assert report.ok, str(report)
    assert VALUE[function] in report.conventions
    assert set(report.identities.values()) == {"holds"}


def test_half_of_the_square_is_the_loss_and_the_square_twice_that():
    assert "2 times the loss: a matter of the step size" in audit.value_loss(sb3).conventions
    assert "2 times the loss: a matter of the step size" in audit.value_loss(openrlhf).conventions


def test_a_clip_holds_in_a_loss_that_is_wrong_elsewhere_and_of_another_size():
    def with_more_answers(values, old_values, returns_, mask, clip_range):
        return 2 * returns.clipped_value_loss(values, old_values, returns_, mask, clip_range) + len(values) - 1

    report = audit.value_loss(with_more_answers)
    assert report.verdict == "wrong"
    assert report.identities["the larger of the two errors"] == "holds"
    assert report.identities["a batch is made of its answers"].startswith("BROKEN")


@pytest.mark.parametrize("clip", [0.05, 0.35, 2.0])
def test_a_clip_range_inside_is_worked_out(clip):
    report = audit.value_loss(lambda values, old_values, returns_, mask: returns.clipped_value_loss(
        values, old_values, returns_, mask, clip))  # fmt: skip
    told = f"no parameter for the clip range: {clip:.4g}, worked out from its values, is fixed inside it"
    assert report.ok
    assert set(report.conventions) >= {told, "the mean over all tokens"}


def test_a_loss_that_costs_nothing_has_no_clip_range():
    report = audit.value_loss(lambda values, old_values, returns, mask: 0.0 * values.sum())
    assert not report.ok
    assert not any("clip range" in told for told in report.conventions)


def test_charges_of_one_answer_at_a_time_and_scores_in_columns():
    case = {"score": np.array([2.0]), "log_pi": np.array([[-1.0, -3.0]]), "mask": np.ones((1, 2)), "beta": 0.1}
    _, column, single = charges.TOKEN_REWARDS.layouts
    assert column.into(case)["score"].tolist() == [[2.0]]
    given = single.into(case)
    assert (given["score"], given["log_pi"].tolist(), given["beta"]) == (2.0, [-1, -3], 0.1)
    assert isinstance(given["score"], float)
    assert single.back(np.array([1.0, 2.0]), case).tolist() == [[1, 2]]
    assert single.back(np.ones((1, 2)), case).shape == (1, 2)
    assert [len(c["score"]) for c in single.cases(charges.TOKEN_REWARDS.cases)] == [
        1 for c in charges.TOKEN_REWARDS.cases if c["log_pi"].shape[0] == 1
    ]


@pytest.mark.parametrize(
    ("name", "right", "flat"),
    [("PLAIN_VALUE", returns.value_loss, returns.every_return), ("CLIPPED_VALUE", returns.clipped_value_loss, None)],
)
def test_bugs_of_a_critic_are_those_of_its_kind(name, right, flat):
    contract = getattr(critics, name)
    more = [bug.name for bug in ZOO if bug.function is flat]
    assert [bug.name for bug in contract.bugs] == [bug.name for bug in bugs("value_loss") if bug.right is right] + more
    assert {(bug.audit, bug.right) for bug in contract.bugs} == {("value_loss", right)}
    assert all(("old_values" in case) == (name == "CLIPPED_VALUE") for case in contract.cases)


def test_other_right_losses_of_a_critic_have_to_be_recognised():
    for contract in (critics.HUBER, critics.CLIPPED_ONLY):
        assert (contract.strict, contract.bugs) == (True, ())


def test_a_score_one_token_early_is_known_with_the_first_token_where_none_is_earlier():
    contract = charges.TOKEN_REWARDS
    assert not contract.loss
    early = [bug.name for bug in bugs("token_rewards") if bug.function is zoo.score_early]
    assert [bug.name for bug in contract.bugs] == [bug.name for bug in bugs("token_rewards")] + early


def test_charges_of_padding_are_no_score_behind_the_end():
    report = audit.token_rewards(zoo.kl_of_padding)
    assert report.identities["no score behind the end"] == "holds"
    assert report.identities["score and charge of every token"].startswith("BROKEN")


def test_a_clip_range_may_be_told():
    assert audit.value_loss(openrlhf, clip_range=0.2)
    assert not audit.value_loss(openrlhf, clip_range=0.4)


@pytest.mark.parametrize("power", [1.5, 3, 4])
def test_other_powers_of_the_error_are_no_squares(power):
    named = {4: "the square of error in place of error"}.get(power, "wrong")
    assert audit.value_loss(lambda values, returns: (np.abs(values - returns) ** power).mean()).verdict == named


def all_numbers(x):
    return (x - x.mean()) / (x.std() + 1e-8)


def less_one(adv):
    return (adv - adv.mean()) / (adv.std(ddof=1) + 1e-5)


def trl(values, mask, shift_mean=True):
    mean = (values * mask).sum() / mask.sum()
    variance = ((values - mean) ** 2 * mask).sum() / mask.sum() * mask.sum() / (mask.sum() - 1)
    found = (values - mean) / np.sqrt(variance + 1e-8)
    return found if shift_mean else found + mean


def of_rewards(rewards, mask):
    return trl(rewards, mask, shift_mean=False)


def selected(advantages, mask):
    found = np.zeros_like(advantages)
    found[mask] = (advantages[mask] - advantages[mask].mean()) / (advantages[mask].std() + 1e-8)
    return found


def flat(advantages):
    assert advantages.ndim == 1
    return all_numbers(advantages)


def by_squares(a, mask):
    mean, square = (a * mask).sum() / mask.sum(), (a * a * mask).sum() / mask.sum()
    return np.where(mask > 0, (a - mean) / np.sqrt(square - mean**2), np.nan)


WHITE = {
    all_numbers: "the variance divides by the count, and 1e-08 is added to its root",
    less_one: "the variance divides by the count less 1, and 1e-05 is added to its root",
    trl: "the variance divides by the count less 1",
    of_rewards: "the mean is put back, as for rewards",
    selected: "the variance divides by the count, and 1e-08 is added to its root",
    flat: "flat, one number for each sample of a batch",
    by_squares: "the variance divides by the count",
    actor_critic.normalise: "the variance divides by the count, and 1e-08 is added to its root",
}


@pytest.mark.parametrize("function", WHITE, ids=lambda function: function.__name__)
def test_right_whitening_passes(function):
    report = audit.whiten(function)
    assert report.ok, str(report)
    assert any(WHITE[function] in told for told in report.conventions), report.conventions
    assert set(report.identities.values()) == {"holds"}


def by_row(x, mask):
    return (x - x.mean(1, keepdims=True)) / (x.std(1, keepdims=True) + 1e-8) * mask


def by_column(x):
    return (x - x.mean(0)) / (x.std(0) + 1e-8)


def with_padding(x, mask):
    return all_numbers(x) * mask


def own(ddof, eps, change):
    """A change of what is whitened, with another way to count and another small number."""

    def whitened(x, mask):
        seen = x[mask > 0]
        return change(x, seen.mean(), seen.std(ddof=ddof), eps) * mask

    return whitened


WAYS = [(0, 1e-6), (1, 1e-8), (1, 1e-4), (1, 0.0)]
CHANGES = {
    "whitened by the variance": lambda x, mean, std, eps: (x - mean) / (std**2 + eps),
    "mean left in": lambda x, mean, std, eps: x / (std + eps),
    "multiplied by the deviation": lambda x, mean, std, eps: (x - mean) * (std + eps),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize(("ddof", "eps"), WAYS)
def test_bugs_of_whitening_have_names_whatever_the_count_and_the_small_number(name, ddof, eps):
    assert audit.whiten(own(ddof, eps, CHANGES[name])).verdict == name


@pytest.mark.parametrize(("ddof", "eps"), WAYS[:3])  # an answer of one token has no deviation
def test_whitening_over_one_axis_has_a_name_whatever_the_count(ddof, eps):
    def over(axis):
        def whitened(x, mask):
            count = mask.sum(axis, keepdims=True)
            mean = (x * mask).sum(axis, keepdims=True) / np.maximum(count, 1)
            variance = ((x - mean) ** 2 * mask).sum(axis, keepdims=True) / np.maximum(count - ddof, 1)
            return (x - mean) / (np.sqrt(variance) + eps) * mask

        return whitened

    assert audit.whiten(over(1)).verdict == "whitened in a batch of one"
    assert audit.whiten(over(0)).verdict == "whitened place by place"


def test_every_value_against_every_return_has_a_name_where_both_are_flat():
    def flat(values, returns):
        return np.square(values.reshape(-1, 1) - returns.reshape(-1)).mean()

    assert audit.value_loss(flat).verdict == "every return for every value"


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (by_row, "whitened with padding"),
        (by_column, "whitened place by place"),
        (with_padding, "whitened with padding"),
    ],
)
def test_whitening_that_is_wrong_in_another_way(function, name):
    assert audit.whiten(function).verdict == name


def place_by_index(scores, logprobs, ref_logprobs, mask, kl_coef):
    found = -kl_coef * (logprobs - ref_logprobs) * mask
    found[np.arange(len(found)), mask.sum(1).astype(int) - 1] += scores
    return found, found.sum()


def one_answer(score, lp, ref, beta=0.1):
    found = -beta * (lp - ref)
    found[-1] += score
    return found


def fixed(scores, logprobs, ref_logprobs, mask):
    return place_by_index(scores, logprobs, ref_logprobs, mask, 0.05)[0]


def columns(score, log_pi, log_ref, mask, beta):
    assert score.shape == (len(mask), 1)
    last = mask * (mask.cumsum(1) == mask.sum(1, keepdims=True))
    return last * score - beta * mask * (log_pi - log_ref)


def with_bool(reward_score, logp, ref_logp, response_mask, beta):
    kl = np.where(response_mask, logp - ref_logp, 0.0)
    ends = [np.flatnonzero(row)[-1] for row in response_mask]
    return [
        [s * (t == end) - beta * k for t, k in enumerate(row)]
        for s, end, row in zip(reward_score, ends, kl, strict=True)
    ]


def by_loop(scores, pi_logprobs, ref_logprobs, attention_mask, kl_ctl):
    found = np.zeros_like(pi_logprobs)
    for i, t in zip(*np.nonzero(attention_mask), strict=True):
        found[i, t] = -kl_ctl * (pi_logprobs[i, t] - ref_logprobs[i, t])
        found[i, t] += scores[i] if t == attention_mask[i].sum() - 1 else 0.0
    return found


def single_precision(score, logp, logp_ref, mask, beta):
    return zoo.token_rewards(score, logp, logp_ref, mask, beta).astype(np.float32)


PAID = (
    zoo.token_rewards,
    actor_critic.kl_rewards,
    place_by_index,
    one_answer,
    fixed,
    columns,
    with_bool,
    by_loop,
    single_precision,
)


@pytest.mark.parametrize("function", PAID, ids=lambda function: function.__name__)
def test_right_rewards_of_tokens_pass(function):
    report = audit.token_rewards(function)
    assert report.ok, str(report)
    assert set(report.identities.values()) == {"holds"}


def behind(scores, logprobs, ref_logprobs, mask, kl_coef):
    found = -kl_coef * (logprobs - ref_logprobs) * mask
    found[np.arange(len(found)), np.minimum(mask.sum(1).astype(int), mask.shape[1] - 1)] += scores
    return found


def last_place(scores, logprobs, ref_logprobs, mask, kl_coef):
    found = -kl_coef * (logprobs - ref_logprobs) * mask
    found[:, -1] += scores
    return found


def every_place(scores, logprobs, ref_logprobs, mask, kl_coef):
    return (scores[:, None] - 2 * kl_coef * (logprobs - ref_logprobs)) * mask


@pytest.mark.parametrize(
    ("function", "name"),
    [(behind, "score one token late"), (last_place, "score on padding"), (every_place, "score on every token")],
)
def test_rewards_that_are_wrong_in_another_way(function, name):
    assert audit.token_rewards(function).verdict == name


def test_a_weight_inside_is_worked_out_or_told():
    told = "no parameter for the KL weight: 0.05, worked out from its values, is fixed inside it"
    assert told in audit.token_rewards(fixed).conventions
    assert audit.token_rewards(fixed, beta=0.05).conventions == ()
    assert not audit.token_rewards(fixed, beta=0.1)


def test_every_identity_is_broken_by_something():
    more = {
        "value_loss": [lambda v, g, m: anp.mean(v) * anp.mean(g), lambda v, o, g, m, e: anp.mean(v) * anp.mean(g)],
        "whiten": [lambda x, m: x * m + x.mean()],
        "token_rewards": [behind],
    }
    contracts = (critics.PLAIN_VALUE, critics.CLIPPED_VALUE, whitening.WHITEN, charges.TOKEN_REWARDS)
    for name in AUDITS:
        functions = [bug.function for bug in BUGS if bug.audit == name] + more[name]
        seen = [audit.AUDITS[name](f).identities for f in functions]
        broken = {what for states in seen for what, state in states.items() if state != "holds"}
        assert broken == {identity.name for c in contracts if c.name == name for identity in c.identities}


@pytest.mark.parametrize("loss", [lambda e: 0 * e, lambda e: e * np.abs(e), lambda e: np.where(e > 0, 3, 1) * e**2])
@pytest.mark.parametrize("whole", [np.mean, lambda e: e])
def test_an_error_that_costs_nothing_on_one_side_or_both_is_no_loss_of_a_critic(loss, whole):
    report = audit.value_loss(lambda values, returns: whole(loss(values - returns)))
    assert not report.ok
    assert report.identities["an error costs as much above as below"].startswith("BROKEN")


def test_a_clipped_value_that_is_compared_with_the_old_one():
    """Only a value near its return, which moved far, tells this from the right loss."""

    def near_its_return(values, old_values, returns, mask, clip_range):
        near = returns + np.clip(values - returns, -clip_range, clip_range)
        return np.mean(np.maximum((values - returns) ** 2, (near - old_values) ** 2) / 2, where=mask > 0)

    assert audit.value_loss(near_its_return).verdict == "wrong"


def test_losses_of_critics_by_hand():
    values, target, both = np.array([[0.5, 3.0]]), np.zeros((1, 2)), np.ones((1, 2))
    assert critics._huber(values, target, both) == pytest.approx((0.5**2 / 2 + 2.5) / 2)
    assert critics._huber(values, target, np.array([[1.0, 0.0]])) == pytest.approx(0.125)
    old = np.array([[2.0, -1.0]])  # the values moved by -1.5 and by 4: they count as 1.8 and -0.8
    assert critics._clipped_only(values, old, target, both, 0.2) == pytest.approx((1.8**2 + 0.8**2) / 4)
    squares = [(a - b) ** 2 for a in (0.5, 3.0) for b in (1.0, 2.0)]
    assert critics._flat_pairs(values, np.array([[1.0, 2.0]]), both) == pytest.approx(np.mean(squares) / 2)
    assert critics._flat_pairs(values[None], target[None], both[None]).shape == (1,)


def test_an_error_is_turned_about_its_return_and_costs_something():
    case = {"values": np.ones((1, 1)), "old_values": np.full((1, 1), 0.5), "returns": np.full((1, 1), 2.0)}
    case["mask"] = np.ones((1, 1))
    (shown,) = critics._either_way(lambda c: (c["values"] - c["returns"]) ** 2, [case])
    assert [float(shown.case[name].item()) for name in ("values", "old_values", "returns")] == [3.0, 3.5, 2.0]
    assert shown.found == shown.wanted == 1.0
    (shown,) = critics._either_way(lambda c: 0 * c["values"], [case])
    assert (shown.found, shown.wanted) == (0.0, 0.5)


def test_a_loss_of_an_answer_is_beside_the_nearest_of_what_its_tokens_make():
    case = {"values": np.array([[1.0, 3.0]]), "returns": np.zeros((1, 2)), "mask": np.ones((1, 2))}
    squares = lambda c: (c["values"] - c["returns"]) ** 2  # noqa: E731
    for loss in (lambda c: np.sum(squares(c)), lambda c: np.mean(squares(c)), squares):
        (shown,) = critics._tokens(loss, [case])
        np.testing.assert_array_equal(shown.found, shown.wanted)


def test_five_inputs_without_known_names_are_those_of_a_clipped_loss():
    assert audit.value_loss(lambda a, b, c, d, e: returns.clipped_value_loss(a, b, c, d, e)).ok
    assert audit.value_loss(lambda values, b, c, d, e: returns.clipped_value_loss(values, b, c, d, e)).ok
