"""ILHF against what the coin and PhraseWorld know in closed form."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, hessian
from autograd.test_util import check_grads
from scipy.special import expit, logit

from rlhf_lab.methods import direct, ilhf
from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics import optim
from rlhf_lab.worlds import coin, phrase_world

LOG_PEOPLE = np.log([1 - coin.PEOPLE, coin.PEOPLE])


def log_pi(p):
    return np.log(np.stack([1 - np.asarray(p), np.asarray(p)], axis=-1))


@pytest.mark.equation("eq-tilted-coin")
def test_reward_and_kl_weight_tilt_the_coin_as_the_gibbs_policy_says():
    beta = np.array([0.1, 1.0, 30.0])
    p = ilhf.tilted_coin(0.23, 1 / 3, beta)
    exact = [np.exp(gibbs.log_policy(log_pi(0.23), LOG_PEOPLE, b))[1] for b in beta]
    assert p == pytest.approx(exact, abs=1e-12)
    assert logit(p) == pytest.approx(logit(0.23) + np.log(1 / 2) / beta, abs=1e-12)
    everything = ilhf.tilted_coin(0.23, 1 / 3, np.geomspace(1e-3, 1e6, 100))
    assert (np.diff(everything[30:]) > 0).all()
    assert everything.max() < 0.23  # no weight gives people the third that they ask for
    assert ilhf.tilted_coin(0.6, 0.7, 2.0) > 0.6


def test_the_best_that_a_kl_weight_can_do_is_to_change_nothing():
    least = lm.kl(LOG_PEOPLE, log_pi(ilhf.tilted_coin(0.23, 1 / 3, np.geomspace(0.01, 1e4, 50))))
    assert least.min() > lm.kl(LOG_PEOPLE, log_pi(0.23)) > 0.02


@pytest.mark.equation("eq-matching-beta")
def test_one_weight_is_right_if_pretraining_overstates_the_minority():
    beta = ilhf.matching_beta(0.45, 1 / 3)
    assert beta == pytest.approx(np.log(0.5) / (np.log(0.5) - np.log(0.45 / 0.55)), rel=1e-12)
    assert ilhf.tilted_coin(0.45, 1 / 3, beta) == pytest.approx(1 / 3, abs=1e-12)
    assert ilhf.matching_beta(0.5, 0.9) == pytest.approx(1, abs=1e-12)
    assert ilhf.tilted_coin(0.8, 0.9, ilhf.matching_beta(0.8, 0.9)) == pytest.approx(0.9, abs=1e-12)
    for pre, people in ((0.23, 1 / 3), (1 / 3, 1 / 3), (0.2, 0.5)):
        told = f"no beta above 0 turns {pre} into {people}: rewards push the probability away from 1/2, so p_pre must "
        with pytest.raises(ValueError, match=f"^{told}lie between 1/2 and p_people, or beyond 1/2$"):
            ilhf.matching_beta(pre, people)


@pytest.mark.equation("eq-ilhf-choice")
def test_the_policy_is_its_own_reward_model():
    first, second = np.log([0.2, 0.01]), np.log([0.3, 0.03])
    log_q = ilhf.choice_log_probs(first, second)
    assert np.exp(log_q[0]) == pytest.approx([0.4, 0.25], abs=1e-12)
    assert np.exp(log_q[1]) == pytest.approx([0.6, 0.75], abs=1e-12)
    far = ilhf.choice_log_probs(np.array([-1e4]), np.array([1e4]))
    assert (far[0][0], far[1][0]) == (-2e4, 0)


@pytest.mark.equation("eq-ilhf-loss")
def test_the_loss_is_the_divergence_from_the_votes():
    first, second = np.log(np.array([[0.2, 0.1, 0.4], [0.1, 0.1, 0.1]])), np.log([0.3, 0.1, 0.1])
    label = np.array([1.0, 0.0, 0.9])
    by_hand = np.mean([-np.log(0.4), -np.log(0.5), 0.9 * np.log(0.9 / 0.8) + 0.1 * np.log(0.1 / 0.2)])
    found = ilhf.loss(first, second, label)
    assert found.shape == (2,)
    assert found[0] == pytest.approx(by_hand, abs=1e-12)
    share = expit(first - second)
    assert ilhf.loss(first, second, share) == pytest.approx(np.zeros(2), abs=1e-12)
    assert (ilhf.loss(first, second, share * 0.99) > 0).all()
    weight = np.array([2.0, 0.0, 0.0])
    assert ilhf.loss(first, second, label, weight)[0] == pytest.approx(-np.log(0.4) * 2 / 3, abs=1e-12)
    check_grads(lambda a, b: ilhf.loss(a, b, label), order=1)(first, second)


@pytest.mark.equation("eq-coin-slope")
@pytest.mark.parametrize("p", [0.05, 0.23, 1 / 3, 0.9])
def test_the_gradient_on_the_coin_is_a_cubic_that_vanishes_where_people_are(p):
    def expected(z):
        log_p = anp.stack([-anp.logaddexp(0.0, z), z - anp.logaddexp(0.0, z)])
        total = 0.0
        for a in (0, 1):
            for b in (0, 1):
                chance = [1 - p, p][a] * [1 - p, p][b]  # of the pair; answers are data, not differentiated
                share = 0.5 if a == b else coin.PEOPLE if a else 1 - coin.PEOPLE
                total = total + chance * ilhf.loss(log_p[a : a + 1], log_p[b : b + 1], np.array([share]))
        return total

    assert ilhf.coin_slope(p, coin.PEOPLE) == pytest.approx(grad(expected)(logit(p)), abs=1e-12)
    assert ilhf.coin_slope(p, coin.PEOPLE) == pytest.approx(2 * p * (1 - p) * (p - 1 / 3), abs=1e-15)


def test_the_gradient_vanishes_at_the_ideal_in_any_world():
    """With the share of people as label, Q is right for every pair at phi = mu, so its gradient is zero."""
    reward = np.random.default_rng(0).normal(size=8)
    log_mu = reward - np.logaddexp.reduce(reward)
    a, b = np.divmod(np.arange(64), 8)

    def value(z):
        own = z - anp.log(anp.sum(anp.exp(z)))
        return ilhf.loss(own[a], own[b], expit(log_mu[a] - log_mu[b]))

    assert abs(grad(value)(log_mu)).max() < 1e-14
    assert abs(grad(value)(log_mu + 0.1 * np.eye(8)[0])).max() > 1e-4


@pytest.mark.equation("eq-penalised-reward", "eq-two-answer-reinforce")
def test_reinforce_with_a_penalty_follows_the_exact_gradient_of_the_objective():
    z, beta = np.array([0.3, -0.4]), 0.7

    def exact(z):
        log_p = z - anp.log(anp.sum(anp.exp(z)))
        return gibbs.objective(log_p, log_pi(0.23), LOG_PEOPLE, beta)

    def estimated(z, a, b):
        log_p = z - anp.log(anp.sum(anp.exp(z)))
        constant = getattr(log_p, "_value", log_p)
        paid = ilhf.penalised(LOG_PEOPLE, constant, log_pi(0.23), beta)
        return ilhf.reinforce_loss(log_p[a : a + 1], log_p[b : b + 1], (paid[a : a + 1], paid[b : b + 1]))

    p = np.exp(z - np.logaddexp.reduce(z))
    slope = sum(p[a] * p[b] * grad(estimated)(z, a, b) for a in (0, 1) for b in (0, 1))
    assert slope == pytest.approx(-2 * grad(exact)(z), abs=1e-12)  # two answers: twice the gradient
    reward = np.array([1.0, 2.0])
    assert ilhf.penalised(reward, np.zeros(2), np.ones(2), 3.0) == pytest.approx([4, 5], abs=1e-15)
    by_hand = -(0.5 * 1 + 0.1 * 3 + 0.2 * 2 + 0.4 * 4) / 2
    pairs = np.array([0.5, 0.2]), np.array([0.1, 0.4]), (reward, np.array([3.0, 4.0]))
    assert ilhf.reinforce_loss(*pairs) == pytest.approx(by_hand, abs=1e-15)


def test_a_penalty_outside_of_the_reward_has_a_gradient_of_mean_zero():
    z = np.array([0.3, -0.4])
    p = np.exp(z - np.logaddexp.reduce(z))

    def sampled(z, y):
        log_p = z - anp.log(anp.sum(anp.exp(z)))
        return log_p[y] - log_pi(0.23)[y]

    assert abs(sum(p[y] * grad(sampled)(z, y) for y in (0, 1))).max() < 1e-15


@pytest.mark.equation("eq-double-or-nothing")
def test_double_or_nothing_has_mean_one_and_variance_one():
    weight = ilhf.double_or_nothing((4, 10_000), np.random.default_rng(0))
    assert weight.shape == (4, 10_000)
    assert set(weight.ravel()) == {0.0, 2.0}
    assert abs(weight.mean() - 1) < 4 / 200
    assert abs(np.corrcoef(weight)[0, 1]) < 4 / 100


@pytest.mark.equation("eq-anchor")
def test_the_anchor_is_a_squared_distance():
    assert ilhf.anchor(np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([0.0, 4.0]), 0.5) == pytest.approx([2.5, 8.0])
    assert ilhf.anchor(np.ones(3), np.zeros(3), 0.0) == 0
    check_grads(lambda phi: ilhf.anchor(phi, np.ones(3), 0.7), order=2)(np.arange(3.0))


@pytest.mark.equation("eq-mixture")
def test_an_ensemble_answers_with_the_mean_probability():
    probs = np.array([[0.2, 0.8], [0.6, 0.4], [0.1, 0.9]])
    assert np.exp(ilhf.mixture(np.log(probs))) == pytest.approx(probs.mean(0), abs=1e-12)
    assert ilhf.mixture(np.full((2, 1), -1e4)) == pytest.approx([-1e4])


@pytest.mark.equation("eq-agglomerative", "eq-inclusive-score", "eq-score-ratio")
def test_scores_by_hand_and_what_they_reward():
    assert ilhf.agglomerative_score(np.array([1.0, 0.5, 0.0, 1.0])) == pytest.approx(0.625)
    a, b = (np.log([0.2, 0.1]), np.log([0.3, 0.1])), (np.log([0.5, 0.5]), np.log([0.5, 1.5]))
    s, t = np.log([0.4, 0.5]).mean(), np.log([0.5, 0.25]).mean()
    assert ilhf.inclusive_score(*a) == pytest.approx(s, abs=1e-12)
    ratios = ilhf.score_ratios(a, b)
    assert ratios == pytest.approx((np.exp(s - t), t / s, 0.45 / 0.375), abs=1e-12)
    # On pairs (1, 0) of the coin the best inclusive agent is the people's; the mean of Q prefers a zealot.
    p = np.linspace(0.01, 0.99, 99)
    chosen, rejected = (np.log(np.array([1 - p, p])), np.log(np.array([p, 1 - p])))
    share = np.array([1 - 0.33, 0.33])
    scores = share @ ilhf.choice_log_probs(chosen, rejected)[0]
    assert p[scores.argmax()] == pytest.approx(0.33)
    assert p[(share @ np.exp(ilhf.choice_log_probs(chosen, rejected)[0])).argmax()] == pytest.approx(0.01)


def trained(objective, rounds, step_size, count, seeds=8):
    model = coin.model()
    start = coin.params(np.full(seeds, coin.PRETRAINED))
    prompts = np.repeat(coin.PROMPTS, count, axis=0)
    _, history = ilhf.finetune(
        model,
        start,
        objective,
        lambda rng: prompts,
        coin.reward,
        horizon=1,
        rounds=rounds,
        optimizer=optim.adam(step_size),
        rng=np.random.default_rng(0),
        record=lambda params: {"p": coin.probability(params)},
    )
    return np.array([entry["p"] for entry in history])


def test_ilhf_converges_to_people_on_the_coin():
    p = trained(ilhf.inclusive, rounds=150, step_size=0.03, count=512)
    assert p.shape == (150, 8)
    assert abs(p[-100:].mean() - 1 / 3) < 0.01
    assert abs(p[-100:].mean(0) - 1 / 3).max() < 0.02


def test_reinforce_is_agglomerative_and_a_penalty_leads_to_the_tilted_coin():
    reference = coin.model(), coin.params(coin.PRETRAINED)
    assert trained(ilhf.rewarded(reference, 0.0), rounds=60, step_size=0.1, count=64)[-1].max() < 0.01
    held = trained(ilhf.rewarded(reference, 1.0), rounds=150, step_size=0.03, count=512)[-100:].mean(0)
    exact = ilhf.tilted_coin(0.23, 1 / 3, 1.0)
    error = held.std(ddof=1) / 8**0.5
    assert abs(held.mean() - exact) < 4 * error + 0.001
    assert error < 0.002


def test_the_objective_of_reinforce_pays_each_answer_its_own_reward():
    model = coin.model()
    prompt, first, second = coin.PROMPTS, np.array([[1]]), np.array([[0]])
    rewards = coin.reward(prompt, first), coin.reward(prompt, second)
    asked = ilhf.Asked(prompt, first, second, np.array([1.0]), rewards)
    log_p = log_pi(0.4)
    found = ilhf.rewarded((model, coin.params(0.23)), 2.0)(log_p[1:], log_p[:1], asked)
    paid = LOG_PEOPLE - 2 * (log_p - log_pi(0.23))
    assert found == pytest.approx(-(log_p * paid).sum(), abs=1e-12)
    assert ilhf.inclusive(log_p[1:], log_p[:1], asked) == pytest.approx(-np.log(0.4), abs=1e-12)


def test_finetuning_draws_its_prompts_by_chance():
    drawn = []

    def prompts(rng):
        drawn.append(rng.random())
        return coin.PROMPTS

    options = {"horizon": 1, "rounds": 3, "optimizer": optim.sgd(0.1), "rng": np.random.default_rng(0)}
    ilhf.finetune(coin.model(), coin.params(0.3), ilhf.inclusive, prompts, coin.reward, **options)
    assert len(set(drawn)) == 3


def test_a_round_asks_people_about_answers_of_the_policy():
    model, params = phrase_world.model(), phrase_world.pretrained()
    prompt = np.repeat(phrase_world.PROMPTS, 2000, axis=0)
    asked = ilhf.ask(model, params, prompt, 5, phrase_world.reward, np.random.default_rng(1))
    assert asked.first.shape == asked.second.shape == (8000, 5)
    assert (asked.rewards[0] == phrase_world.reward(prompt, asked.first)).all()
    assert (asked.rewards[1] == phrase_world.reward(prompt, asked.second)).all()
    share = expit(asked.rewards[0] - asked.rewards[1])
    z = (asked.label - share).sum() / np.sqrt((share * (1 - share)).sum())
    sure = share > 0.95
    assert abs(z) < 4
    assert asked.label[sure].mean() > 0.95


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ilhf.tilted_coin(0.0, 0.5, 1.0), "p_pre must lie strictly between 0 and 1; got 0.0"),
        (lambda: ilhf.tilted_coin(0.5, 1.0, 1.0), "p_people must lie strictly between 0 and 1; got 1.0"),
        (lambda: ilhf.tilted_coin(0.5, 0.5, 0.0), "beta must be finite and above 0; got 0.0"),
        (lambda: ilhf.tilted_coin(0.5, 0.5, np.inf), "beta must be finite and above 0; got inf"),
        (lambda: ilhf.matching_beta(0.0, 0.5), "^p_pre must lie strictly between 0 and 1; got 0.0"),
        (lambda: ilhf.matching_beta(0.5, 1.0), "^p_people must lie strictly between 0 and 1; got 1.0"),
        (lambda: ilhf.coin_slope(1.5, 0.5), r"p must lie in \[0, 1\]; got 1.5"),
        (lambda: ilhf.coin_slope(0.5, -1), r"p_people must lie in \[0, 1\]; got -1"),
        (lambda: ilhf.penalised(np.zeros(1), np.zeros(1), np.zeros(1), -1), "beta is the weight .* got -1"),
        (lambda: ilhf.penalised(np.zeros(1), np.zeros(1), np.zeros(1), np.inf), "beta is the weight .* got inf"),
        (lambda: ilhf.anchor(np.zeros(1), np.zeros(1), -0.5), "eta is the weight .* got -0.5"),
        (lambda: ilhf.anchor(np.zeros(1), np.zeros(1), np.inf), "eta is the weight .* got inf"),
        (lambda: ilhf.agglomerative_score(np.array([0.3])), "label must be 1 .* got 0.3"),
        (lambda: ilhf.loss(np.zeros(1), np.zeros(1), np.array([2.0])), r"label must lie in \[0, 1\]; got 2.0"),
    ],
)
def test_bad_input_is_told(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("answers", [2, 3, 7])
def test_the_fixed_point_of_ilhf_is_the_only_one_in_tables(answers):
    """The expected loss over pairs curves upwards in every direction that changes the policy, wherever pairs occur."""
    rng = np.random.default_rng(answers)
    people, often = rng.dirichlet(np.ones(answers)), rng.random((answers, answers)) + 0.01
    first, second = np.triu_indices(answers, 1)
    share = people[first] / (people[first] + people[second])

    def expected(logits):
        log_pi = logits - np.log(np.sum(np.exp(logits)))
        return ilhf.loss(log_pi[first], log_pi[second], share, often[first, second])

    assert grad(expected)(np.log(people)) == pytest.approx(np.zeros(answers), abs=1e-12)
    for logits in (np.log(people), *rng.normal(0, 2, size=(3, answers))):
        curvature = np.linalg.eigvalsh(hessian(expected)(logits))
        assert curvature[0] == pytest.approx(0, abs=1e-10)  # all logits by the same amount: the same policy
        assert curvature[1] > 1e-6


def test_ilhf_is_dpo_with_beta_1_and_a_uniform_reference():
    """The same loss and the same gradient on the same numbers."""
    chosen, rejected = np.random.default_rng(0).normal(-3, 2, size=(2, 7))
    uniform = np.full(7, -np.log(7))

    def of_dpo(chosen):
        return np.mean(direct.dpo((chosen - uniform) - (rejected - uniform), 1.0))

    def of_ilhf(chosen):
        return ilhf.loss(chosen, rejected, np.ones(7))

    assert of_ilhf(chosen) == pytest.approx(of_dpo(chosen), abs=1e-12)
    assert grad(of_ilhf)(chosen) == pytest.approx(grad(of_dpo)(chosen), abs=1e-12)


@pytest.mark.equation("eq-ilhf-loss")
def test_who_is_sure_and_right_loses_nothing_and_pairs_that_do_not_count_may_be_impossible():
    first, second, label = np.array([-1.0, -np.inf]), np.array([-np.inf, -2.0]), np.array([1.0, 0.0])
    assert ilhf.loss(first, second, label) == 0
    assert ilhf.loss(first, second, [1, 0]) == 0
    assert ilhf.loss(first, second, 1 - label) == np.inf
    weight = np.array([2.0, 0.0])
    assert ilhf.loss(first, second, np.array([1.0, 1.0]), weight) == 0
