"""The coin has closed forms."""

import numpy as np
import pytest

from rlhf_lab.models import gibbs, lm
from rlhf_lab.worlds import coin


@pytest.mark.equation("eq-chain-rule")
def test_the_coin_says_one_as_often_as_it_should():
    for p in (coin.PRETRAINED, coin.PEOPLE, 0.9):
        log_pi = lm.answer_log_probs(coin.model(), coin.params(p), coin.PROMPTS, coin.HORIZON)
        assert np.exp(log_pi) == pytest.approx(np.array([[1 - p, p]]), rel=1e-14)
        assert coin.probability(coin.params(p)) == pytest.approx(p, rel=1e-14)
    many = np.array([[0.1, 0.5], [0.7, 0.99]])
    assert coin.probability(coin.params(many)) == pytest.approx(many, rel=1e-13)


def test_the_reward_is_what_people_want():
    prompts = np.repeat(coin.PROMPTS, 2, axis=0)
    assert coin.reward(prompts, np.array([[0], [1]])) == pytest.approx(np.log([2 / 3, 1 / 3]), rel=1e-14)


@pytest.mark.equation("eq-gibbs")
@pytest.mark.parametrize("beta", [0.05, 0.5, 1.0, 10.0, 1e4])
def test_no_price_of_divergence_reaches_what_people_want(beta):
    log_pi_0 = np.log([1 - coin.PRETRAINED, coin.PRETRAINED])
    best = gibbs.log_policy(log_pi_0, np.log([2 / 3, 1 / 3]), beta)
    logit = np.log(coin.PRETRAINED / (1 - coin.PRETRAINED)) + np.log(1 / 2) / beta
    assert best[1] - best[0] == pytest.approx(logit, rel=1e-12)
    assert np.exp(best[1]) < coin.PRETRAINED < coin.PEOPLE


@pytest.mark.parametrize("p", [0.0, 1.0, np.nan])
def test_a_coin_with_one_side_is_refused(p):
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        coin.params(p)


@pytest.mark.equation("eq-chain-rule")
def test_the_coin_is_sampled_as_often_as_it_should():
    model, count = coin.model(), 40_000
    prompts = np.repeat(coin.PROMPTS, count, axis=0)
    drawn = lm.sample(model, coin.params(coin.PRETRAINED), prompts, coin.HORIZON, np.random.default_rng(0))
    assert drawn.shape == (count, 1)
    assert abs(drawn.mean() - 0.23) < 4 * np.sqrt(0.23 * 0.77 / count)


def test_the_numbers_are_those_of_the_paper():
    assert (coin.PRETRAINED, coin.PEOPLE, coin.HORIZON) == (0.23, 1 / 3, 1)
    assert coin.PROMPTS.tolist() == [[1] * 10]


def test_a_prior_that_overstates_one_has_one_beta_that_is_right():
    log_pi_0 = np.log([0.4, 0.6])
    beta = np.log(1 / 2) / (np.log(1 / 2) - np.log(0.6 / 0.4))
    assert np.exp(gibbs.log_policy(log_pi_0, np.log([2 / 3, 1 / 3]), beta)[1]) == pytest.approx(1 / 3, rel=1e-12)


@pytest.mark.parametrize(("logits", "p"), [([1e4, -1e4], 0.0), ([-1e4, 1e4], 1.0), ([1e4, 1e4], 0.5)])
def test_extreme_coins_have_a_probability(logits, p):
    assert coin.probability({"logits": np.array([[logits]])}) == p
