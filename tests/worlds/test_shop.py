"""The shop: what it says, what the reward hears, and the sums over a language that nobody can list."""

from functools import cache

import numpy as np
import pytest

from rlhf_lab.methods import best_of_n
from rlhf_lab.methods.rollouts import Task, rollout
from rlhf_lab.models import estimates, lm
from rlhf_lab.numerics import checks
from rlhf_lab.worlds import automaton_mdp, shop, shop_talk

FACTS = {
    "tea": ("two", "shelf", True),
    "bread": ("three", "counter", True),
    "honey": ("nine", "cellar", False),
    "soap": ("five", "door", True),
}


@cache
def reference():
    return shop.mdp().reference()


@cache
def optimum():
    return shop.mdp().gibbs(shop.BETA)


@cache
def laws():
    return {"p": shop.mdp().law(reference()), "pi*": shop.mdp().law(optimum())}


def by_ear(question, text):
    """The reward of an answer as a person reads it."""
    said = set(text.replace(" …", "").split())
    item, kind = question.split()[-1], question.split()[:2]
    price, place, have = FACTS[item]
    prices, places = ({fact[i] for fact in FACTS.values()} for i in (0, 1))
    true = {("price", "of"): {price}, ("where", "is"): {place}, ("is", "there"): {"yes", "plenty", "some"}}
    false = (prices | places | set(FACTS)) - {price, place, item}
    if have:
        false |= {"no", "sold"}
    else:
        true[("is", "there")] = {"no", "sold"}
        false |= {"yes", "plenty", "some"}
    told, wrong = bool(said & true[tuple(kind)]), bool(said & false)
    fact = {(0, 0): 0, (1, 0): 2, (0, 1): -1, (1, 1): -2}[told, wrong]
    greeted, thanked = bool(said & {"hello", "welcome", "morning"}), bool(said & {"thanks", "enjoy", "please"})
    rude = bool(said & {"fool", "pest", "hurry"})
    ended = not text.endswith("…")
    length = len(text.split()) - (not ended) + ended
    return fact + 0.5 * greeted + 0.5 * thanked - 1.5 * rude - length / 32


def drawn(params, times, seed):
    prompt = np.repeat(shop.PROMPTS, times, axis=0)
    return prompt, lm.sample(shop.mdp().model, params, prompt, shop.HORIZON, np.random.default_rng(seed))


def test_the_reward_is_what_a_person_hears():
    rng = np.random.default_rng(0)
    for params in (reference(), optimum(), shop.mdp().model.init(rng)):  # talk, good talk, words at random
        prompt, response = drawn(params, 30, 1)
        expected = [by_ear(shop.QUESTIONS[k // 30], shop.decode(y)) for k, y in enumerate(response)]
        assert shop.reward(prompt, response).tolist() == expected
        assert len(set(expected)) > 15


@pytest.mark.parametrize(
    ("question", "text", "reward"),
    [
        ("price of tea", "hello , it costs two coins . thanks .", 2 + 0.5 + 0.5 - 10 / 32),
        ("price of tea", "it costs two and three coins .", -2 - 8 / 32),
        ("price of tea", "the bread costs two coins .", -2 - 7 / 32),
        ("where is soap", "it is by the door , fool .", 2 - 1.5 - 9 / 32),
        ("where is soap", "it costs five coins .", 0 - 6 / 32),
        ("is there honey", "yes .", -1 - 3 / 32),
        ("is there honey", "", 0 - 1 / 32),
        ("price of tea", "two thanks hello", 3 - 4 / 32),
    ],
)
def test_rewards_by_hand(question, text, reward):
    assert shop.reward([shop.encode(question)], [shop.encode(text, shop.HORIZON)]) == [reward]


def test_what_stands_behind_the_end_is_not_heard_and_costs_nothing():
    text, junk = shop.encode("hello two", 6), shop.encode("fool fool nine", 3)
    assert shop.reward(shop.PROMPTS[:1], [[*text[:3], *junk]]) == shop.reward(shop.PROMPTS[:1], [text])


def test_leading_axes_are_carried():
    prompt, response = drawn(optimum(), 2, 7)
    both = np.stack([response, response[::-1]])
    found = shop.reward(np.stack([prompt, prompt[::-1]]), both)
    assert found.tolist() == [shop.reward(prompt, response).tolist(), shop.reward(prompt, response)[::-1].tolist()]


def test_the_automaton_pays_what_the_reward_says():
    for params in (reference(), optimum(), shop.mdp().model.init(np.random.default_rng(0))):
        prompt, response = drawn(params, 30, 2)
        log_p = lm.log_prob(shop.mdp().model, reference(), prompt, response)
        log_pi = lm.log_prob(shop.mdp().model, optimum(), prompt, response)
        log_z = np.repeat(automaton_mdp.log_normaliser(optimum()), 30)
        paid = shop.BETA * (log_pi - log_p + log_z)
        assert paid == pytest.approx(shop.reward(prompt, response), abs=1e-12)


def test_every_word_is_possible_everywhere_and_a_slip_costs_fourteen_bits():
    assert np.exp(shop.mdp().log_p).sum(-1) == pytest.approx(1, abs=1e-13)
    assert shop.mdp().log_p.min() == pytest.approx(-14 * np.log(2), rel=1e-14)
    assert (np.isclose(shop.mdp().log_p, -14 * np.log(2)) == (np.repeat(shop_talk.language().p, 32, axis=1) == 0)).all()


def test_nobody_can_list_the_answers():
    with pytest.raises(ValueError, match="too many to enumerate"):
        lm.answer_log_probs(shop.mdp().model, reference(), shop.PROMPTS, shop.HORIZON)


def test_texts_end_before_the_horizon():
    assert automaton_mdp.length_law(laws()["p"])[:, -1].max() < 0.02
    assert automaton_mdp.length_law(laws()["pi*"])[:, -1].max() < 0.002


def test_the_optimum_earns_what_it_is_worth_and_the_reference_misses_it_by_its_divergence():
    earned = {}
    for name, law in laws().items():
        log_prob, paid = automaton_mdp.reward_law(shop.mdp(), law)
        assert np.exp(log_prob).sum(-1) == pytest.approx(1, abs=1e-12)
        earned[name] = np.exp(log_prob) @ paid
    worth = shop.BETA * automaton_mdp.log_normaliser(optimum())
    assert earned["pi*"] - shop.BETA * laws()["pi*"].kl == pytest.approx(worth, abs=1e-12)
    assert laws()["p"].kl == pytest.approx(0, abs=1e-13)
    policies = (shop.mdp().model, reference()), (shop.mdp().model, optimum())
    found = estimates.token_kl_estimate(*policies, shop.PROMPTS, shop.HORIZON, 200, np.random.default_rng(3))
    assert (np.abs(found.mean - (worth - earned["p"]) / shop.BETA) < 4 * found.standard_error).all()
    back = estimates.token_kl_estimate(*policies[::-1], shop.PROMPTS, shop.HORIZON, 200, np.random.default_rng(4))
    assert (np.abs(back.mean - laws()["pi*"].kl) < 4 * back.standard_error).all()


def test_at_its_price_nearly_every_answer_is_right_and_a_lower_one_buys_manners_alone():
    heard = np.arange(shop.mdp().model.states) % 32
    told, false, greeted, _, rude = (heard >> bit & 1 == 1 for bit in range(5))

    def shares(law):
        mass = law.ended.sum(1) + law.cut
        return [mass[:, which].sum(1) for which in (told & ~false & ~rude, greeted)]

    lower = shop.mdp().law(shop.mdp().gibbs(0.1))
    (few, some), (most, more), (all_but_none, nearly_all) = map(shares, (laws()["p"], laws()["pi*"], lower))
    assert few.max() < 0.45
    assert most.min() > 0.99
    assert (all_but_none - most < 0.01).all()
    assert some.max() < 0.4 < 0.7 < more.min() < more.max() < 0.8 < 0.95 < nearly_all.min()
    assert (lower.entropy < laws()["pi*"].entropy - 1).all()


def test_best_of_n_has_a_best_n_and_overshoots_behind_it():
    log_prob, paid = automaton_mdp.reward_law(shop.mdp(), laws()["p"])
    worth = []
    for n in 2 ** np.arange(13):
        best = best_of_n.log_best_of_n(log_prob, paid, int(n))
        worth.append(np.exp(best) @ paid - shop.BETA * lm.kl(best, log_prob))
    worth = np.array(worth)
    top = worth.argmax(0)
    assert ((top > 0) & (top < 12)).all()
    assert (worth[-1] < worth.max(0) - 0.5).all(), "too many draws cost more than they earn"
    assert (worth.max(0) < shop.BETA * automaton_mdp.log_normaliser(optimum())).all()


def test_samples_have_the_mean_and_entropy_of_the_sums():
    prompt, response = drawn(optimum(), 400, 5)
    log_prob, paid = automaton_mdp.reward_law(shop.mdp(), laws()["pi*"])
    for found, exact in (
        (shop.reward(prompt, response), np.exp(log_prob) @ paid),
        (-lm.log_prob(shop.mdp().model, optimum(), prompt, response), laws()["pi*"].entropy),
        (lm.response_mask(response, shop.EOS).sum(-1), laws()["pi*"].reached.sum((-1, -2))),
    ):
        found = found.reshape(12, 400)
        assert (np.abs(found.mean(-1) - exact) < 4 * found.std(-1) / 20).all()


def test_the_world_as_methods_that_sample_want_it():
    found = shop.token_mdp()
    assert (found.vocab, found.eos, found.horizon) == (64, 63, 32)
    assert (found.prompts == shop.PROMPTS).all()
    assert found.start.tolist() == [1 / 12] * 12
    assert found.reward is shop.reward
    task = Task(found, (shop.mdp().model, reference()), shop.BETA)
    seen = rollout(task, shop.mdp().model, optimum(), 50, np.random.default_rng(6))
    log_z = automaton_mdp.log_normaliser(optimum())[checks.place("prompt", seen.prompt, shop.PROMPTS, shop.VOCAB)]
    gained = shop.BETA * (seen.log_pi - seen.log_pi_0).sum(-1)
    assert gained == pytest.approx(seen.reward - shop.BETA * log_z, abs=1e-12)


class TestBadInput:
    def test_words_that_are_not_sold_here(self):
        with pytest.raises(ValueError, match="'coffee' is not one of the words: tea bread"):
            shop.encode("is there coffee")

    def test_questions_that_are_not_asked_here(self):
        unknown = [shop.encode("price of coins")]
        with pytest.raises(ValueError, match=r"prompt \[\d+, \d+, \d+\] is not in the table, which knows 12 prompts"):
            shop.reward(unknown, [shop.encode("yes", 32)])

    def test_tokens_outside_the_vocabulary(self):
        with pytest.raises(ValueError, match="response: token 64 is outside the vocabulary of 64 tokens"):
            shop.reward(shop.PROMPTS[:1], [[64]])

    def test_numbers_of_prompts_and_responses(self):
        with pytest.raises(ValueError, match="12 prompts, but 1 responses"):
            shop.reward(shop.PROMPTS, [[63]])

    def test_prices_that_are_not_above_0(self):
        with pytest.raises(ValueError, match="beta must be finite and above 0; got 0"):
            shop.mdp().gibbs(0)
