"""Advantages token by token, and the losses of A2C and PPO, against definitions, exact values and exact gradients."""

from functools import partial

import autograd.numpy as anp
import numpy as np
import pytest
import tasks
from autograd import elementwise_grad, grad
from autograd.test_util import check_grads

from rlhf_lab.methods import actor_critic
from rlhf_lab.methods.rollouts import rollout
from rlhf_lab.models import lm
from rlhf_lab.models.critics import TabularCritic
from rlhf_lab.numerics.autodiff import log_softmax
from rlhf_lab.worlds import token_mdp

TASK = tasks.task()
CRITIC = TabularCritic(tasks.MODEL)
RNG = np.random.default_rng(0)
MASK = np.array([[1.0, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
REWARDS, VALUES = RNG.normal(size=(3, 4)) * MASK, RNG.normal(size=(3, 4))
ADVANTAGE = RNG.normal(size=(3, 4))
LOG_OLD = -RNG.exponential(size=(3, 4))


@pytest.mark.equation("eq-kl-reward")
def test_the_reward_comes_with_the_last_token_and_each_token_pays_for_its_divergence():
    log_pi, log_pi_0 = -RNG.exponential(size=(2, 3, 4)) * MASK
    found = actor_critic.kl_rewards(np.array([5.0, 7.0, 9.0]), log_pi, log_pi_0, MASK, 0.3)
    expected = -0.3 * (log_pi - log_pi_0)
    for row, (last, paid) in enumerate([(3, 5.0), (1, 7.0), (0, 9.0)]):
        expected[row, last] += paid
    assert found == pytest.approx(expected, abs=1e-14)
    assert found.sum(-1) == pytest.approx(np.array([5, 7, 9]) - 0.3 * (log_pi - log_pi_0).sum(-1), rel=1e-13)


@pytest.mark.equation("eq-kl-reward")
def test_what_stands_behind_the_end_is_not_paid_and_each_seed_has_its_own_beta():
    log_ratio = RNG.normal(size=(2, 3, 4))
    found = actor_critic.kl_rewards(np.zeros((2, 3)), log_ratio, 0 * log_ratio, MASK, np.array([0.5, 2.0]))
    assert found[0] == pytest.approx(-0.5 * log_ratio[0] * MASK, abs=1e-14)
    assert found[1] == pytest.approx(-2.0 * log_ratio[1] * MASK, abs=1e-14)


@pytest.mark.equation("eq-td-error")
def test_the_td_error_by_hand():
    found = actor_critic.td_errors(REWARDS, VALUES, MASK, 0.9)
    for n, length in enumerate((4, 2, 1)):
        for t in range(4):
            following = VALUES[n, t + 1] if t + 1 < length else 0.0
            expected = REWARDS[n, t] + 0.9 * following - VALUES[n, t] if t < length else 0.0
            assert found[n, t] == pytest.approx(expected, abs=1e-14)


@pytest.mark.equation("eq-gae")
@pytest.mark.parametrize("lam", [0.0, 0.3, 0.95, 1.0])
@pytest.mark.parametrize("gamma", [0.8, 1.0])
def test_gae_is_the_discounted_sum_of_td_errors(gamma, lam):
    errors = actor_critic.td_errors(REWARDS, VALUES, MASK, gamma)
    found = actor_critic.gae(REWARDS, VALUES, MASK, gamma, lam)
    assert found == pytest.approx(token_mdp.return_to_go(errors, gamma * lam), abs=1e-13)


@pytest.mark.equation("eq-gae")
def test_gae_of_whole_numbers_is_no_whole_number():
    found = actor_critic.gae(np.array([[1, 2, 3]]), np.zeros((1, 3), dtype=int), np.ones((1, 3), dtype=int), 1, 0.5)
    assert found.tolist() == [[2.75, 3.5, 3.0]]


@pytest.mark.equation("eq-gae")
def test_gae_of_one_is_the_return_minus_the_value_and_of_zero_the_td_error():
    returns = token_mdp.return_to_go(REWARDS, 0.9)
    assert actor_critic.gae(REWARDS, VALUES, MASK, 0.9, 1.0) == pytest.approx((returns - VALUES) * MASK, abs=1e-13)
    assert actor_critic.gae(REWARDS, VALUES, MASK, 0.9, 0.0) == pytest.approx(
        actor_critic.td_errors(REWARDS, VALUES, MASK, 0.9)
    )
    usual = actor_critic.gae(REWARDS, VALUES, MASK, 1.0, 0.95)
    assert actor_critic.gae(REWARDS, VALUES, MASK).tolist() == usual.tolist()
    assert (
        actor_critic.td_errors(REWARDS, VALUES, MASK).tolist()
        == actor_critic.td_errors(REWARDS, VALUES, MASK, 1.0).tolist()
    )


def expected_gradient(params, advantage, prompt, response, mask, weight):
    def loss(p):
        log_pi = lm.token_log_prob(tasks.MODEL, p, prompt, response)
        each = actor_critic.actor_critic_loss(log_pi[:, None], advantage[:, None], mask[:, None])
        return anp.sum(weight * each)

    return -grad(loss)(params)["logits"]


@pytest.mark.equation("eq-actor-critic")
def test_the_expected_step_is_the_exact_gradient_whatever_the_critic_says_if_lambda_is_one():
    prompt, response, mask, weight, rewards = tasks.all_answers(tasks.POLICY)
    exact = grad(lambda p: TASK.objective(tasks.log_pi(p)))(tasks.POLICY)["logits"]
    wrong = CRITIC.judge(tasks.POLICY | {"value": RNG.normal(size=(2, 3))}, prompt, response)[1]
    right = tasks.exact_values(tasks.POLICY, prompt, response)
    for values, lam in ((wrong, 1.0), (right, 1.0), (right, 0.5), (right, 0.0)):
        found = expected_gradient(
            tasks.POLICY, actor_critic.gae(rewards, values, mask, 1.0, lam), prompt, response, mask, weight
        )
        assert found == pytest.approx(exact, abs=1e-12)
    biased = expected_gradient(
        tasks.POLICY, actor_critic.gae(rewards, wrong, mask, 1.0, 0.5), prompt, response, mask, weight
    )
    assert np.abs(biased - exact).max() > 0.01


@pytest.mark.equation("eq-actor-critic", "eq-value-loss")
def test_losses_by_hand():
    log_pi = LOG_OLD + 0.1
    total = sum(ADVANTAGE[n, t] * log_pi[n, t] for n, length in enumerate((4, 2, 1)) for t in range(length))
    assert actor_critic.actor_critic_loss(log_pi, ADVANTAGE, MASK) == pytest.approx(-total / 3, rel=1e-13)
    errors = sum((VALUES[n, t] - REWARDS[n, t]) ** 2 for n, length in enumerate((4, 2, 1)) for t in range(length))
    assert actor_critic.value_loss(VALUES, REWARDS, MASK) == pytest.approx(errors / 6, rel=1e-13)


@pytest.mark.equation("eq-value-loss")
def test_the_best_value_is_the_mean_return():
    returns = np.array([[1.0], [2.0], [6.0]])
    slope = grad(lambda v: actor_critic.value_loss(v * np.ones((3, 1)), returns, np.ones((3, 1))))
    assert slope(3.0) == pytest.approx(0, abs=1e-14)
    assert slope(4.0) == pytest.approx(1.0, rel=1e-13)


@pytest.mark.equation("eq-value-clip")
def test_a_clipped_value_takes_the_larger_error():
    one = np.ones((1, 1))
    for value, old, target, expected in (
        (1.0, 0.0, 3.0, (0.2 - 3) ** 2),  # held back: the error is that of 0.2
        (-1.0, 0.0, 3.0, 16.0),  # already worse: the error is its own
        (0.1, 0.0, 3.0, 2.9**2),
        (-1.0, 0.0, -3.0, (-0.2 + 3) ** 2),
    ):
        found = actor_critic.clipped_value_loss(value * one, old * one, target * one, one, 0.2)
        assert found == pytest.approx(expected / 2, rel=1e-13)
    values, mask = np.array([[1.0, 5.0, 5.0], [0.1, 5.0, 5.0]]), np.array([[1.0, 0, 0], [1, 0, 0]])
    both = actor_critic.clipped_value_loss(values, np.zeros((2, 3)), np.full((2, 3), 3.0), mask, 0.2)
    assert both == pytest.approx((2.8**2 + 2.9**2) / 4, rel=1e-13)


@pytest.mark.equation("eq-ppo")
def test_at_the_old_parameters_the_gradient_of_ppo_is_the_policy_gradient():
    seen = rollout(TASK, tasks.MODEL, tasks.POLICY, 20, np.random.default_rng(3))
    advantage = np.random.default_rng(4).normal(size=seen.log_pi.shape)

    def gradient(loss):
        return grad(lambda p: loss(lm.token_log_prob(tasks.MODEL, p, seen.prompt, seen.response)))(tasks.POLICY)

    clipped = gradient(lambda log_pi: actor_critic.ppo_loss(log_pi, seen.log_pi, advantage, seen.mask, 0.2))
    plain = gradient(lambda log_pi: actor_critic.actor_critic_loss(log_pi, advantage, seen.mask))
    assert clipped["logits"] == pytest.approx(plain["logits"], abs=1e-12)
    assert np.abs(plain["logits"]).max() > 0.01


@pytest.mark.equation("eq-ppo")
@pytest.mark.parametrize(
    ("advantage", "ratio", "slope"),
    [(2.0, 1.25, 0), (2.0, 1.15, 1), (2.0, 0.5, 1), (-2.0, 0.75, 0), (-2.0, 0.85, 1), (-2.0, 1.5, 1)],
)
def test_the_gradient_is_zero_where_a_good_move_went_far_enough_and_nowhere_else(advantage, ratio, slope):
    one = np.ones((1, 1))
    loss = partial(
        actor_critic.ppo_loss, log_old=np.log(0.3) * one, advantage=advantage * one, mask=one, clip_range=0.2
    )
    log_pi = (np.log(0.3) + np.log(ratio)) * one
    assert elementwise_grad(loss)(log_pi).item() == pytest.approx(-advantage * ratio * slope, abs=1e-13)
    kept = ratio if slope else np.clip(ratio, 0.8, 1.2)
    assert loss(log_pi) == pytest.approx(-advantage * kept, rel=1e-13)


@pytest.mark.equation("eq-ppo")
def test_ppo_sums_over_tokens_and_averages_over_answers():
    log_pi = LOG_OLD + RNG.normal(size=(3, 4)) * 0.5
    ratio = np.exp(log_pi - LOG_OLD)
    each = np.minimum(ratio * ADVANTAGE, np.clip(ratio, 0.9, 1.1) * ADVANTAGE)
    expected = -sum(each[n, :length].sum() for n, length in enumerate((4, 2, 1))) / 3
    assert actor_critic.ppo_loss(log_pi, LOG_OLD, ADVANTAGE, MASK, 0.1) == pytest.approx(expected, rel=1e-13)
    check_grads(lambda z: actor_critic.ppo_loss(z, LOG_OLD, ADVANTAGE, MASK, 0.1), modes=["rev"])(log_pi)


def test_diagnostics_by_hand():
    log_old = np.log(np.array([[0.5, 0.25], [0.5, 0.1]]))
    ratio = np.array([[1.0, 1.5], [0.7, 9.0]])
    mask = np.array([[1.0, 1.0], [1.0, 0.0]])
    log_pi = log_old + np.log(ratio)
    assert actor_critic.clip_fraction(log_pi, log_old, mask, 0.2) == pytest.approx(2 / 3)
    assert actor_critic.clip_fraction(log_pi, log_old, mask, 0.4) == pytest.approx(1 / 3)
    by_hand = (0 + (0.5 - np.log(1.5)) + (-0.3 - np.log(0.7))) / 3
    assert actor_critic.approximate_kl(log_pi, log_old, mask) == pytest.approx(by_hand)
    values, returns = np.array([[1.0, 2.0], [4.0, 50.0]]), np.array([[1.0, 3.0], [5.0, -7.0]])
    assert actor_critic.explained_variance(values, returns, mask) == pytest.approx(1 - (2 / 9) / (8 / 3))
    assert actor_critic.explained_variance(returns + 7, returns, mask) == pytest.approx(1)
    assert actor_critic.explained_variance(0 * returns, returns, mask) == pytest.approx(0)
    assert actor_critic.explained_variance(values, 0 * returns + 3, mask) == 0


def test_the_mean_of_the_approximate_kl_is_the_divergence_of_the_old_policy():
    log_old, log_pi = (log_softmax(RNG.normal(size=5)) for _ in range(2))
    each = [actor_critic.approximate_kl(log_pi[[[k]]], log_old[[[k]]], np.ones((1, 1))) for k in range(5)]
    assert np.exp(log_old) @ each == pytest.approx(lm.kl(log_old, log_pi), rel=1e-12)
    assert min(each) >= 0


@pytest.mark.equation("eq-adaptive-beta")
def test_the_price_follows_the_divergence_by_at_most_a_fifth_of_the_rate():
    found = actor_critic.adapt_beta(
        np.array([1.0, 1.0, 2.0, 1.0]), np.array([2.2, 1.0, 30.0, 0.0]), target=2.0, rate=0.5
    )
    assert found == pytest.approx([1 + 0.5 * 0.1, 1 - 0.5 * 0.2, 2 * 1.1, 0.9], rel=1e-13)
    assert actor_critic.adapt_beta(1.0, 9.0, target=1.0) == pytest.approx(1.02, rel=1e-14)


def test_normalised_advantages_have_mean_zero_and_deviation_one_over_real_tokens():
    found = actor_critic.normalise(ADVANTAGE, MASK)
    real = found[MASK > 0]
    assert real.mean() == pytest.approx(0, abs=1e-13)
    assert real.std() == pytest.approx(1, rel=1e-6)
    assert (found[MASK == 0] == 0).all()
    assert actor_critic.normalise(np.stack([ADVANTAGE, 3 * ADVANTAGE]), MASK)[1] == pytest.approx(found, rel=1e-6)
    assert (actor_critic.normalise(0 * ADVANTAGE, MASK) == 0).all()
    centred = (ADVANTAGE - ADVANTAGE[MASK > 0].mean()) * MASK
    spread = ADVANTAGE[MASK > 0].std()
    assert actor_critic.normalise(ADVANTAGE, MASK, eps=0.5) == pytest.approx(centred / (spread + 0.5), rel=1e-12)


def test_seeds_with_masks_of_their_own_do_not_touch_each_other():
    masks, advantage = np.stack([MASK, MASK[::-1]]), np.stack([ADVANTAGE, 2 - ADVANTAGE])
    log_pi, values, returns = (
        LOG_OLD + 0.3 * RNG.normal(size=(2, 3, 4)),
        RNG.normal(size=(2, 3, 4)),
        RNG.normal(size=(2, 3, 4)),
    )
    losses = (
        lambda k: actor_critic.normalise(advantage[k], masks[k]),
        lambda k: actor_critic.actor_critic_loss(log_pi[k], advantage[k], masks[k]),
        lambda k: actor_critic.ppo_loss(log_pi[k], LOG_OLD, advantage[k], masks[k], 0.2),
        lambda k: actor_critic.value_loss(values[k], returns[k], masks[k]),
        lambda k: actor_critic.clipped_value_loss(values[k], VALUES, returns[k], masks[k], 0.2),
    )
    for loss in losses:
        assert loss(slice(None)) == pytest.approx(np.stack([loss(0), loss(1)]), rel=1e-13)


@pytest.mark.equation("eq-adaptive-beta")
@pytest.mark.parametrize("rate", [0, 5, -1, np.nan])
def test_a_rate_that_could_make_the_price_negative_is_told(rate):
    with pytest.raises(ValueError, match=rf"rate must lie in \(0, 5\), so that the price stays above 0; got {rate}"):
        actor_critic.adapt_beta(1.0, 0.0, target=1.0, rate=rate)
    assert actor_critic.adapt_beta(1.0, 0.0, target=1.0, rate=4.9) == pytest.approx(0.02)


def test_bad_input_is_told():
    for clip_range in (0.0, 1.0, -0.1, np.nan):
        with pytest.raises(ValueError, match=rf"clip_range is epsilon, in \(0, 1\); got {clip_range}"):
            actor_critic.ppo_loss(LOG_OLD, LOG_OLD, ADVANTAGE, MASK, clip_range)
    for bad in (-0.1, 1.1):
        with pytest.raises(ValueError, match=rf"gamma must lie in \[0, 1\]; got {bad}"):
            actor_critic.td_errors(REWARDS, VALUES, MASK, bad)
        with pytest.raises(ValueError, match=rf"lambda must lie in \[0, 1\]; got {bad}"):
            actor_critic.gae(REWARDS, VALUES, MASK, 1.0, bad)
    with pytest.raises(ValueError, match="target must be finite and above 0; got 0"):
        actor_critic.adapt_beta(1.0, 1.0, target=0)


LOG_PI, RETURNS, PAID = LOG_OLD + 0.1 * ADVANTAGE, RNG.normal(size=(3, 4)), np.array([5.0, 7.0, 9.0])
EVERY = {
    "kl_rewards": (lambda x, y, mask: actor_critic.kl_rewards(PAID, x, y, mask, 0.3), LOG_PI, LOG_OLD),
    "td_errors": (actor_critic.td_errors, REWARDS, VALUES),
    "gae": (actor_critic.gae, REWARDS, VALUES),
    "gae, cut off": (lambda x, y, mask: actor_critic.gae(x, y, mask, 0.9, 0.8, PAID), REWARDS, VALUES),
    "actor_critic_loss": (actor_critic.actor_critic_loss, LOG_PI, ADVANTAGE),
    "value_loss": (actor_critic.value_loss, VALUES, RETURNS),
    "clipped_value_loss": (
        lambda x, y, mask: actor_critic.clipped_value_loss(x, y, np.where(mask, RETURNS, y), mask, 0.2),
        VALUES,
        VALUES + 0.3 * ADVANTAGE,
    ),
    "ppo_loss": (
        lambda x, y, mask: actor_critic.ppo_loss(x, y, np.where(mask, ADVANTAGE, y), mask, 0.2),
        LOG_PI,
        LOG_OLD,
    ),
    "clip_fraction": (lambda x, y, mask: actor_critic.clip_fraction(x, y, mask, 0.05), LOG_PI, LOG_OLD),
    "approximate_kl": (actor_critic.approximate_kl, LOG_PI, LOG_OLD),
    "explained_variance": (actor_critic.explained_variance, VALUES, RETURNS),
    "normalise": (lambda x, y, mask: actor_critic.normalise(x, mask), ADVANTAGE, ADVANTAGE),
}


@pytest.mark.parametrize("padding", [0.0, 1e10, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("name", EVERY)
def test_it_never_matters_what_stands_behind_the_end(name, padding):
    function, x, y = EVERY[name]
    wanted = function(x, y, MASK)
    assert np.isfinite(wanted).all()
    padded = [np.where(MASK > 0, each, padding) for each in (x, y)]
    for mask in (MASK, MASK > 0, MASK.astype(int), MASK.tolist()):
        assert function(*padded, mask) == pytest.approx(wanted, abs=1e-15)


@pytest.mark.parametrize("padding", [1e10, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("name", ["actor_critic_loss", "value_loss", "clipped_value_loss", "ppo_loss"])
def test_gradients_are_zero_behind_the_end_whatever_stands_there(name, padding):
    function, x, y = EVERY[name]
    padded = [np.where(MASK > 0, each, padding) for each in (x, y)]
    found = grad(function)(*padded, MASK)
    assert found == pytest.approx(grad(function)(x, y, MASK) * MASK, abs=1e-15)
    assert (found[MASK == 0] == 0).all()


@pytest.mark.equation("eq-kl-reward")
def test_tokens_of_others_before_the_first_that_is_trained_are_paid_nothing():
    mask = np.array([[0.0, 1, 1, 0]])
    found = actor_critic.kl_rewards(PAID[:1], LOG_PI[:1], LOG_OLD[:1], mask, 0.0)
    assert found.tolist() == [[0, 0, 5.0, 0]]


@pytest.mark.equation("eq-td-error", "eq-gae")
def test_an_answer_that_was_cut_off_goes_on_with_the_value_behind_its_last_token():
    behind = np.array([2.0, 0.0, -1.0])
    longer = np.concatenate([VALUES, np.zeros((3, 1))], axis=-1)
    longer[[0, 1, 2], [4, 2, 1]] = behind
    following = longer[:, 1:]
    found = actor_critic.td_errors(REWARDS, VALUES, MASK, 0.9, behind)
    for n, length in enumerate((4, 2, 1)):
        wanted = REWARDS[n, :length] + 0.9 * following[n, :length] - VALUES[n, :length]
        assert found[n] == pytest.approx([*wanted, *np.zeros(4 - length)], abs=1e-14)
    one = actor_critic.gae(REWARDS, VALUES, MASK, 0.9, 1.0, behind)
    for n, length in enumerate((4, 2, 1)):
        discounted = token_mdp.return_to_go(np.append(REWARDS[n, :length], behind[n]), 0.9)[:length]
        assert one[n, :length] == pytest.approx(discounted - VALUES[n, :length], abs=1e-14)
    assert (
        actor_critic.gae(REWARDS, VALUES, MASK, behind=0.5)[2]
        == actor_critic.td_errors(REWARDS, VALUES, MASK, behind=np.full(3, 0.5))[2]
    ).all()


@pytest.mark.parametrize("eps", [0.0, 1e-8])
def test_equal_advantages_are_normalised_to_zero(eps):
    assert (actor_critic.normalise(np.full((3, 4), 0.1), MASK, eps) == 0).all()
