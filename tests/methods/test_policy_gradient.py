"""REINFORCE and its baselines, against gradients that count every answer."""

from functools import partial

import autograd.numpy as anp
import numpy as np
import pytest
import tasks
from autograd import grad
from autograd.tracer import getval

from rlhf_lab.methods import end_points
from rlhf_lab.methods import policy_gradient as pg
from rlhf_lab.models import gibbs, lm
from rlhf_lab.models.recurrent import Recurrent
from rlhf_lab.numerics import optim
from rlhf_lab.numerics.autodiff import log_softmax

TASK = tasks.task()
ADVANTAGES = {
    "none": (pg.no_baseline, 1),
    "constant": (lambda f: f - 0.7, 1),
    "rloo": (pg.rloo_advantages, 3),
}


def exact_gradient(params=tasks.POLICY):
    return grad(lambda p: TASK.objective(tasks.log_pi(p)))(params)["logits"]


def f_of(params):
    return pg.regularised_reward(tasks.REWARDS, tasks.log_pi(params), TASK.log_pi_0, tasks.BETA)


def expected_gradient(advantages, k, params=tasks.POLICY):
    """The mean of minus the gradient of the loss, over every group of k answers to a prompt drawn from rho."""
    groups, pi, f = tasks.samples(k), np.exp(tasks.log_pi(params)), f_of(params)
    weight = tasks.START[:, None] * pi[:, groups].prod(-1)
    advantage = np.stack([advantages(f[x][groups][:, None, :])[:, 0] for x in range(2)])

    def loss(p):
        return anp.sum(weight * pg.reinforce_loss(tasks.log_pi(p)[:, groups], advantage))

    return -grad(loss)(params)["logits"]


@pytest.mark.equation("eq-regularised-reward")
def test_the_mean_of_the_regularised_reward_is_the_objective():
    mean = (np.exp(tasks.log_pi(tasks.POLICY)) * f_of(tasks.POLICY)).sum(-1)
    expected = gibbs.objective(tasks.log_pi(tasks.POLICY), TASK.log_pi_0, tasks.REWARDS, tasks.BETA)
    assert mean == pytest.approx(expected, abs=1e-13)
    assert pg.regularised_reward(2.0, np.log(0.5), np.log(0.25), 0.3) == pytest.approx(2 - 0.3 * np.log(2), rel=1e-14)


@pytest.mark.equation("eq-flat-reward")
def test_at_the_optimum_every_answer_earns_the_same():
    best = f_of(tasks.optimum())
    log_z = gibbs.log_normaliser(TASK.log_pi_0, tasks.REWARDS, tasks.BETA)
    assert best == pytest.approx(np.repeat(tasks.BETA * log_z[:, None], 7, axis=1), abs=1e-12)


@pytest.mark.equation("eq-evidence")
def test_the_mean_of_f_is_a_lower_bound_of_the_evidence_and_the_divergence_is_what_it_lacks():
    pi = np.exp(tasks.log_pi(tasks.POLICY))
    bound = (pi * f_of(tasks.POLICY)).sum(-1) / tasks.BETA
    lacks = (pi * (tasks.log_pi(tasks.POLICY) - TASK.log_optimum)).sum(-1)
    log_z = np.log((np.exp(TASK.log_pi_0 + tasks.REWARDS / tasks.BETA)).sum(-1))
    assert bound + lacks == pytest.approx(log_z, abs=1e-12)
    assert (bound < log_z).all()


@pytest.mark.equation("eq-exact-gradient")
def test_the_exact_gradient_weighs_each_answer_with_its_advantage():
    pi, f = np.exp(tasks.log_pi(tasks.POLICY)), f_of(tasks.POLICY)
    weight = tasks.START[:, None] * pi * (f - (pi * f).sum(-1, keepdims=True))
    by_hand = grad(lambda p: anp.sum(weight * tasks.log_pi(p)))(tasks.POLICY)["logits"]
    loss, collect = pg.exact_loss(TASK, tasks.MODEL)
    assert list(collect(tasks.POLICY, None)) == [None]
    assert -grad(loss)(tasks.POLICY, None)["logits"] == pytest.approx(by_hand, abs=1e-13)
    assert loss(tasks.POLICY, None) == pytest.approx(-TASK.objective(tasks.log_pi(tasks.POLICY)), rel=1e-13)


def test_climbing_the_exact_gradient_ends_at_the_gibbs_policy():
    loss, collect = pg.exact_loss(TASK, tasks.MODEL)
    rng = np.random.default_rng(0)
    params, _ = optim.fit(loss, tasks.POLICY, collect, rounds=200, optimizer=optim.adam(0.2), rng=rng)
    assert TASK.gap(tasks.log_pi(params)) < 1e-4


@pytest.mark.equation("eq-reinforce")
def test_the_loss_by_hand():
    found = pg.reinforce_loss(np.log([[0.5, 0.25], [0.1, 1.0]]), np.array([[2.0, -4.0], [10.0, 3.0]]))
    assert found == pytest.approx([np.log(0.5) * (-2 + 8) / 2, -5 * np.log(0.1)], rel=1e-13)


@pytest.mark.equation("eq-reinforce", "eq-rloo")
@pytest.mark.parametrize("name", ADVANTAGES)
def test_the_expected_estimate_is_the_exact_gradient(name):
    assert expected_gradient(*ADVANTAGES[name]) == pytest.approx(exact_gradient(), abs=1e-12)


@pytest.mark.equation("eq-batch-baseline")
@pytest.mark.parametrize("n", [2, 3])
def test_a_mean_that_holds_the_answer_itself_shrinks_the_gradient(n):
    assert expected_gradient(pg.batch_mean, n) == pytest.approx((1 - 1 / n) * exact_gradient(), abs=1e-12)


@pytest.mark.equation("eq-grpo")
def test_dividing_by_the_deviation_bends_the_gradient():
    found, exact = expected_gradient(pg.grpo_advantages, 3).ravel(), exact_gradient().ravel()
    cosine = found @ exact / np.sqrt((found @ found) * (exact @ exact))
    assert 0.5 < cosine < 0.999


@pytest.mark.equation("eq-grpo", "eq-win-rate")
def test_grpo_with_two_answers_climbs_the_probability_to_win():
    pi, f = np.exp(tasks.log_pi(tasks.POLICY)), f_of(tasks.POLICY)
    wins = np.sign(f[:, :, None] - f[:, None, :])
    weight = tasks.START[:, None] * pi * (wins * pi[:, None, :]).sum(-1) / np.sqrt(2)
    by_hand = grad(lambda p: anp.sum(weight * tasks.log_pi(p)))(tasks.POLICY)["logits"]
    found = expected_gradient(partial(pg.grpo_advantages, eps=1e-12), 2)
    assert found == pytest.approx(by_hand, abs=1e-9)


@pytest.mark.equation("eq-rloo", "eq-grpo", "eq-batch-baseline")
def test_advantages_by_hand():
    f = np.array([[1.0, 2.0, 6.0], [0.0, 0.0, 3.0]])
    assert pg.no_baseline(f) is f
    assert pg.batch_mean(f).tolist() == (f - 2).tolist()
    assert pg.rloo_advantages(f) == pytest.approx(np.array([[-3, -1.5, 4.5], [-1.5, -1.5, 3]]), abs=1e-14)
    deviation = np.array([[np.sqrt(7)], [np.sqrt(3)]])
    expected = (f - [[3], [1]]) / (deviation + 1e-4)
    assert pg.grpo_advantages(f) == pytest.approx(expected, rel=1e-13)
    assert pg.grpo_advantages(f, eps=1.0) == pytest.approx(expected * (deviation + 1e-4) / (deviation + 1), rel=1e-13)
    pair = np.array([[1.0, 4.0]])
    assert pg.rloo_advantages(pair).tolist() == [[-3, 3]]
    assert pg.grpo_advantages(pair, eps=0.0) == pytest.approx(np.array([[-1, 1]]) / np.sqrt(2), rel=1e-13)
    stacked = np.stack([f, f + 9])
    assert pg.batch_mean(stacked) == pytest.approx(np.stack([f - 2] * 2), abs=1e-14)


@pytest.mark.equation("eq-grpo", "eq-rloo")
@pytest.mark.parametrize(
    ("advantages", "k"), [(pg.grpo_advantages, 2), (pg.grpo_advantages, 3), (pg.rloo_advantages, 3)]
)
def test_expected_advantages_are_the_mean_over_every_group(advantages, k):
    f, policy = f_of(tasks.POLICY)[0], np.exp(tasks.log_pi(tasks.POLICY))[0]
    groups, expected = tasks.samples(k), np.zeros(7)
    chance = policy[groups].prod(-1, keepdims=True)
    np.add.at(expected, groups, chance * advantages(f[groups]) / k)
    drawn = 100_000
    found = pg.expected_advantages(advantages, f, policy, k, drawn, np.random.default_rng(0))
    assert found == pytest.approx(expected, abs=4 * np.abs(f).max() / np.sqrt(drawn))
    if advantages is pg.rloo_advantages:
        assert expected == pytest.approx(policy * (f - policy @ f), abs=1e-12)


@pytest.mark.equation("eq-noise-over-signal")
def test_noise_over_signal_by_hand_without_bias_and_without_a_unit():
    estimates = np.array([[1.0, 2.0], [3.0, 2.0]])
    # mean (2, 2), variance 2: 2 / (8 - 2 / 2)
    assert pg.noise_over_signal(estimates) == pytest.approx(2 / 7, rel=1e-14)
    many = np.random.default_rng(0).normal([3.0, 4.0, 0.0], [1.0, 2.0, 2.0], size=(100_000, 3))
    assert pg.noise_over_signal(many) == pytest.approx(9 / 25, rel=0.01)
    assert pg.noise_over_signal(-7 * many) == pytest.approx(pg.noise_over_signal(many), rel=1e-12)
    with pytest.raises(ValueError, match=r"^a variance needs at least 2 estimates; got 1$"):
        pg.noise_over_signal(many[:1])


def variance(f, baseline):
    """The variance of the estimate from one answer, summed over the parameters."""
    p, scores = tasks.START[:, None] * np.exp(tasks.log_pi(tasks.POLICY)), score_of_each_answer()
    each = (f - baseline)[..., None] * scores
    mean = np.einsum("xy,xyd->d", p, each)
    return np.einsum("xy,xyd->", p, each**2) - mean @ mean


@pytest.mark.equation("eq-reinforce")
def test_where_rewards_are_large_the_mean_of_each_prompt_beats_one_mean_and_that_beats_none():
    f = f_of(tasks.POLICY) + np.array([[6.0], [2.0]])
    values = (np.exp(tasks.log_pi(tasks.POLICY)) * f).sum(-1, keepdims=True)
    assert variance(f, values) < variance(f, tasks.START @ values) < variance(f, 0.0)


@pytest.mark.equation("eq-best-baseline")
def test_the_best_baseline_weighs_answers_with_the_squares_of_their_scores():
    f, pi = f_of(tasks.POLICY), np.exp(tasks.log_pi(tasks.POLICY))
    squares = (score_of_each_answer() ** 2).sum(-1)
    best = pg.best_baseline(f, pi, squares)
    assert pg.best_baseline(np.stack([f, f + 1]), pi, squares) == pytest.approx(np.stack([best, best + 1]), rel=1e-12)
    assert pg.best_baseline(f[0], pi[0], squares[0]) == pytest.approx(best[0], rel=1e-13)
    assert best == pytest.approx((pi * squares * f).sum(1) / (pi * squares).sum(1), rel=1e-13)
    least = variance(f, best[:, None])
    for change in ([0.1, 0.0], [-0.1, 0.0], [0.0, 0.1], [0.0, -0.1]):
        assert variance(f, best[:, None] + np.array([change]).T) > least
    assert least < variance(f, (pi * f).sum(-1, keepdims=True))


def score_of_each_answer():
    """The gradient of log pi(y | x) for every prompt and answer, (2, 7, D)."""
    return np.array(
        [
            [grad(lambda p, x=x, y=y: tasks.log_pi(p)[x, y])(tasks.POLICY)["logits"].ravel() for y in range(7)]
            for x in range(2)
        ]
    )


@pytest.mark.equation("eq-reinforce", "eq-rloo")
@pytest.mark.parametrize("name", ADVANTAGES)
def test_sampled_gradients_have_the_exact_gradient_as_their_mean(name):
    advantages, answers = ADVANTAGES[name]
    loss, collect = pg.reinforce(TASK, tasks.MODEL, advantages, prompts=4, answers=answers)
    many = {"logits": np.repeat(tasks.POLICY["logits"][None], 4000, axis=0)}
    (batch,) = collect(many, np.random.default_rng(11))
    each = -grad(lambda p: anp.sum(loss(p, batch).loss))(many)["logits"].reshape(4000, -1)
    error = each.std(0, ddof=1) / 4000**0.5
    assert (np.abs(each.mean(0) - exact_gradient().ravel()) < 4 * error + 1e-12).all()


@pytest.mark.equation("eq-flat-reward")
@pytest.mark.parametrize(("advantages", "k"), [(pg.rloo_advantages, 4), (partial(pg.grpo_advantages, eps=1.0), 4)])
def test_at_the_optimum_the_noise_is_gone(advantages, k):
    loss, collect = pg.reinforce(TASK, tasks.MODEL, advantages, prompts=5, answers=k)
    best = tasks.optimum()
    (batch,) = collect(best, np.random.default_rng(0))
    assert grad(lambda p: loss(p, batch).loss)(best)["logits"] == pytest.approx(np.zeros((2, 3, 3)), abs=1e-12)
    plain, collect = pg.reinforce(TASK, tasks.MODEL, pg.no_baseline, prompts=5, answers=k)
    (batch,) = collect(best, np.random.default_rng(0))
    assert np.abs(grad(lambda p: plain(p, batch).loss)(best)["logits"]).max() > 1e-2


@pytest.mark.parametrize(
    "advantages", [pg.no_baseline, pg.batch_mean, pg.rloo_advantages, pg.grpo_advantages], ids=lambda f: f.__name__
)
def test_with_every_baseline_it_comes_to_rest_at_the_gibbs_policy(advantages):
    loss, collect = pg.reinforce(TASK, tasks.MODEL, advantages, prompts=64, answers=4)
    params = {"logits": np.stack([tasks.REFERENCE["logits"], tasks.POLICY["logits"]])}
    rng = np.random.default_rng(0)
    for step_size in (0.1, 0.03, 0.01):  # without a baseline the noise does not die away, so the steps must
        params, _ = optim.fit(loss, params, collect, rounds=60, optimizer=optim.adam(step_size), rng=rng)
    assert (TASK.gap(tasks.log_pi(params)) < 1e-3).all()


def test_it_runs_unchanged_on_a_recurrent_network():
    model = Recurrent(3, 12, 2)
    loss, collect = pg.reinforce(TASK, model, pg.rloo_advantages, prompts=64, answers=4)
    rng = np.random.default_rng(1)
    start = model.init(rng)
    params, _ = optim.fit(loss, start, collect, rounds=200, optimizer=optim.adam(0.03), rng=rng)
    assert TASK.gap(TASK.log_pi(model, params)) < 0.02 < TASK.gap(TASK.log_pi(model, start)) / 10


@pytest.mark.equation("eq-entropy-bonus")
def test_the_entropy_of_the_next_tokens_by_hand():
    logits = np.log([[[0.5, 0.5], [0.9, 0.1]], [[0.2, 0.8], [0.5, 0.5]]])
    mask = np.array([[1.0, 1.0], [1.0, 0.0]])
    one, two = (-p * np.log(p) - (1 - p) * np.log(1 - p) for p in (0.9, 0.2))
    assert pg.token_entropy(logits, mask) == pytest.approx([np.log(2) + one, two], rel=1e-13)
    seeds = pg.token_entropy(np.stack([logits, 0 * logits]), mask)
    assert seeds == pytest.approx(np.array([[np.log(2) + one, two], [2 * np.log(2), np.log(2)]]), rel=1e-13)


@pytest.mark.equation("eq-entropy-bonus")
def test_in_the_mean_over_answers_the_entropies_of_the_tokens_are_that_of_the_answers():
    prompt, response = np.repeat(tasks.PROMPTS, 7, axis=0), np.tile(tasks.ANSWERS, (2, 1))
    logits = tasks.MODEL.logits(tasks.POLICY, prompt, response)
    each = pg.token_entropy(logits, lm.response_mask(response, 2)).reshape(2, 7)
    exact = lm.entropy(tasks.log_pi(tasks.POLICY))
    assert (np.exp(tasks.log_pi(tasks.POLICY)) * each).sum(-1) == pytest.approx(exact, rel=1e-12)


def states_held_constant(params, weight):
    """J_beta plus the entropies of the next tokens, in which no token earns the entropy of what it leads to."""
    prompt, response = np.repeat(tasks.PROMPTS, 7, axis=0), np.tile(tasks.ANSWERS, (2, 1))
    logits = tasks.MODEL.logits(params, prompt, response)
    each = anp.reshape(pg.token_entropy(logits, lm.response_mask(response, 2)), (2, 7))
    drawn = tasks.START[:, None] * np.exp(getval(tasks.log_pi(params)))
    return TASK.objective(tasks.log_pi(params)) + weight * anp.sum(drawn * each)


def entropy_of_answers(params):
    return TASK.mean(lm.entropy(tasks.log_pi(params)))


@pytest.mark.equation("eq-entropy-bonus")
def test_in_the_mean_the_bonus_moves_the_entropies_of_the_next_tokens_and_not_that_of_the_answers():
    loss, collect = pg.reinforce(TASK, tasks.MODEL, lambda f: 0 * f, prompts=4, entropy_weight=0.3)
    many = {"logits": np.repeat(tasks.POLICY["logits"][None], 4000, axis=0)}
    (batch,) = collect(many, np.random.default_rng(12))
    each = -grad(lambda p: anp.sum(loss(p, batch).loss))(many)["logits"].reshape(4000, -1)
    error = each.std(0, ddof=1) / 4000**0.5
    held = grad(lambda p: states_held_constant(p, 0.3))(tasks.POLICY)["logits"] - exact_gradient()
    assert (np.abs(each.mean(0) - held.ravel()) < 4 * error + 1e-12).all()
    full = 0.3 * grad(entropy_of_answers)(tasks.POLICY)["logits"]
    assert np.linalg.norm(held - full) / np.linalg.norm(full) == pytest.approx(0.72, abs=0.005)


@pytest.mark.equation("eq-entropy-bonus")
def test_the_bonus_does_not_end_where_the_objective_with_entropy_has_its_optimum():
    levels = lm.policy_levels(tasks.MODEL, tasks.REFERENCE, tasks.PROMPTS, 2)
    for weight, apart in ((0.0, 0.0), (0.1, 0.0005), (0.5, 0.0045)):
        end = tasks.MODEL.of_levels(end_points.entropy_bonus(levels, TASK.mdp.token_rewards(), tasks.BETA, weight))
        slope = grad(lambda p, w=weight: states_held_constant(p, w))(end)["logits"]
        assert slope == pytest.approx(np.zeros((2, 3, 3)), abs=1e-12)
        optimum = gibbs.log_policy(*tilted(weight))
        assert TASK.mean(lm.kl(tasks.log_pi(end), optimum)) == pytest.approx(apart, abs=5e-5)
    paid = grad(lambda p: TASK.objective(tasks.log_pi(p)) + 0.5 * entropy_of_answers(p))(end)["logits"]
    assert np.abs(paid).max() > 0.01


def tilted(weight):
    """A reference, a reward and a price whose Gibbs policy maximises J_beta + weight * entropy."""
    price = tasks.BETA + weight
    return log_softmax(tasks.BETA / price * TASK.log_pi_0), tasks.REWARDS, price


@pytest.mark.equation("eq-entropy-bonus")
def test_paid_with_the_reward_the_entropy_is_that_of_the_answers():
    """With -w log pi in the reward, the estimate has the gradient of J_beta + w H(pi) as its mean."""

    def loss(p):
        weight = tasks.START[:, None] * PI
        return anp.sum(weight[..., None] * pg.reinforce_loss(tasks.log_pi(p)[..., None], paid[..., None])[..., None])

    paid = f_of(tasks.POLICY) - 0.3 * tasks.log_pi(tasks.POLICY)
    expected = grad(lambda p: TASK.objective(tasks.log_pi(p)) + 0.3 * entropy_of_answers(p))(tasks.POLICY)["logits"]
    assert -grad(loss)(tasks.POLICY)["logits"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.equation("eq-entropy-bonus")
def test_the_bonus_is_paid_for_each_answer():
    plain, collect = pg.reinforce(TASK, tasks.MODEL, pg.no_baseline, prompts=6)
    many = {"logits": np.stack([tasks.POLICY["logits"], tasks.REFERENCE["logits"]])}
    (batch,) = collect(many, np.random.default_rng(0))
    assert batch.response.shape == (2, 6, 2)
    paid, _ = pg.reinforce(TASK, tasks.MODEL, pg.no_baseline, prompts=6, entropy_weight=0.5)
    logits = tasks.MODEL.logits(many, batch.prompt, batch.response)
    bonus = pg.token_entropy(logits, lm.response_mask(batch.response, 2)).mean(-1)
    assert paid(many, batch).loss == pytest.approx(plain(many, batch).loss - 0.5 * bonus, rel=1e-13)
    alone = pg.AnswerBatch(*(column[0] for column in batch))
    assert paid(tasks.POLICY, alone).loss == pytest.approx(paid(many, batch).loss[0], rel=1e-13)


RATIO = tasks.log_pi(tasks.POLICY) - TASK.log_pi_0
PI = np.exp(tasks.log_pi(tasks.POLICY))


@pytest.mark.equation("eq-k1", "eq-k2", "eq-k3")
def test_k1_and_k3_are_unbiased_as_numbers_and_k2_is_not():
    exact = lm.kl(tasks.log_pi(tasks.POLICY), TASK.log_pi_0)
    assert (PI * pg.k1(RATIO)).sum(-1) == pytest.approx(exact, abs=1e-13)
    assert (PI * pg.k3(RATIO)).sum(-1) == pytest.approx(exact, abs=1e-13)
    assert (np.abs((PI * pg.k2(RATIO)).sum(-1) - exact) > 0.01).all()
    assert (pg.k3(RATIO) >= 0).all()
    assert pg.k2(np.array([-3.0])) == 4.5
    assert pg.k3(np.log(2.0)) == pytest.approx(0.5 - 1 + np.log(2), rel=1e-13)


def kl_gradient(estimator, in_reward):
    def loss(p):
        each = pg.surrogate(estimator, tasks.log_pi(p)[..., None], TASK.log_pi_0[..., None], in_reward=in_reward)
        return anp.sum(PI * each)

    return grad(loss)(tasks.POLICY)["logits"]


@pytest.mark.equation("eq-k1", "eq-k2", "eq-k3")
def test_the_gradients_of_the_estimators():
    reverse = grad(lambda p: anp.sum(lm.kl(tasks.log_pi(p), TASK.log_pi_0)))(tasks.POLICY)["logits"]
    forward = grad(lambda p: anp.sum(lm.kl(TASK.log_pi_0, tasks.log_pi(p))))(tasks.POLICY)["logits"]
    assert np.abs(reverse - forward).max() > 0.01
    assert kl_gradient(pg.k1, in_reward=False) == pytest.approx(0 * reverse, abs=1e-12)
    assert kl_gradient(pg.k2, in_reward=False) == pytest.approx(reverse, abs=1e-12)
    assert kl_gradient(pg.k3, in_reward=False) == pytest.approx(forward, abs=1e-12)
    assert kl_gradient(pg.k1, in_reward=True) == pytest.approx(reverse, abs=1e-12)
    assert kl_gradient(pg.k3, in_reward=True) == pytest.approx(reverse - forward, abs=1e-12)
    assert np.abs(kl_gradient(pg.k2, in_reward=True) - reverse).max() > 0.01


@pytest.mark.equation("eq-k3")
def test_in_the_reward_k3_climbs_an_objective_that_has_no_highest_point():
    """J_beta + beta KL(pi_0 || pi) grows with every nat by which an answer of the reference becomes rarer."""
    worth = []
    for nats in (10, 100, 1000):
        rarer = log_softmax(TASK.log_optimum - nats * (np.arange(7) == 3))
        worth.append(TASK.objective(rarer) + tasks.BETA * TASK.mean(lm.kl(TASK.log_pi_0, rarer)))
    each = tasks.BETA * TASK.mean(np.exp(TASK.log_pi_0[:, 3]))
    assert np.diff(worth) == pytest.approx([90 * each, 900 * each], rel=1e-3)


@pytest.mark.parametrize("entropy_weight", [0.0, 0.3])
def test_the_history_tells_entropy_and_length(entropy_weight):
    loss, collect = pg.reinforce(
        TASK, tasks.MODEL, pg.rloo_advantages, prompts=3, answers=2, entropy_weight=entropy_weight
    )
    many = {"logits": np.repeat(tasks.POLICY["logits"][None], 4000, axis=0)}
    (batch,) = collect(many, np.random.default_rng(3))
    told = loss(many, batch).diagnostics
    assert set(told) == {"entropy", "length"}
    log_pi = lm.log_prob(tasks.MODEL, many, batch.prompt, batch.response)
    assert told["entropy"] == pytest.approx(-log_pi.mean(-1), rel=1e-13)
    exact = {
        "entropy": entropy_of_answers(tasks.POLICY),
        "length": TASK.mean(np.exp(tasks.log_pi(tasks.POLICY)) @ lm.response_mask(tasks.ANSWERS, 2).sum(-1)),
    }
    for name, values in told.items():
        assert abs(values.mean() - exact[name]) < 4 * values.std(ddof=1) / 4000**0.5


def test_bad_input_is_told():
    for advantages in (pg.rloo_advantages, pg.grpo_advantages):
        with pytest.raises(
            ValueError, match=r"^a group needs at least 2 answers to each prompt: pass answers=2 or more$"
        ):
            advantages(np.zeros((4, 1)))
    for weight in (-1.0, np.nan):
        with pytest.raises(ValueError, match=f"entropy_weight is w, .* finite and at least 0; got {weight}"):
            pg.reinforce(TASK, tasks.MODEL, pg.no_baseline, prompts=2, entropy_weight=weight)
    other = Recurrent(5, 2)
    for make in (partial(pg.exact_loss, TASK), lambda m: pg.reinforce(TASK, m, pg.no_baseline, prompts=2)):
        with pytest.raises(ValueError, match="the policy has 5 tokens and eos None, the task 3 tokens and eos 2"):
            make(other)


@pytest.mark.equation("eq-grpo")
@pytest.mark.parametrize("eps", [0.0, 1e-4])
def test_a_group_whose_answers_earn_the_same_teaches_nothing(eps):
    assert pg.grpo_advantages(np.full((1, 3), 0.1), eps=eps).tolist() == [[0, 0, 0]]
    f = np.array([[0.1, 0.1, 0.1], [0.1, 0.2, 0.6]])
    found = pg.grpo_advantages(f, eps=eps)
    assert found[0].tolist() == [0, 0, 0]
    assert found[1] == pytest.approx((f[1] - 0.3) / (np.std(f[1], ddof=1) + eps), rel=1e-12)
    with pytest.raises(ValueError, match="eps is what keeps a small deviation from blowing up"):
        pg.grpo_advantages(f, eps=-1.0)


@pytest.mark.equation("eq-entropy-bonus")
def test_forbidden_tokens_have_no_entropy_and_padding_has_none():
    logits, mask = np.array([[[0.0, 1.0, -np.inf], [0.3, 0.2, 0.1]]]), np.array([[1.0, 0.0]])
    p = 1 / (1 + np.e)
    wanted = -p * np.log(p) - (1 - p) * np.log(1 - p)
    assert pg.token_entropy(logits, mask) == pytest.approx([wanted], abs=1e-15)
    slope = grad(lambda z: pg.token_entropy(z, mask)[0])(logits)
    assert slope[0, 0] == pytest.approx([p * (1 - p), -p * (1 - p), 0.0], abs=1e-15)
    for padding in (np.nan, np.inf, -np.inf, 1e10):
        logits[0, 1] = padding
        assert pg.token_entropy(logits, mask > 0) == pytest.approx([wanted], abs=1e-15)
        assert (grad(lambda z: pg.token_entropy(z, mask)[0])(logits) == slope).all()
