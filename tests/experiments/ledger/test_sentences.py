"""Verdicts on what the sources say in single sentences turn with the numbers that they rest on."""

from types import SimpleNamespace

import numpy as np
import pytest
from turned import NO, ONLY, PARTLY, YES, by_computed, by_stored

from rlhf_lab.experiments.ledger import (
    brantley_text,
    cs188_slides,
    ilhf_sentences,
    small,
    survey_methods,
    survey_optima,
    survey_words,
    xiong_shift,
)
from rlhf_lab.feedback import linear_fits
from rlhf_lab.methods import soft_values
from rlhf_lab.numerics.autodiff import log_softmax


@pytest.mark.parametrize(
    ("part", "claim", "before", "after", "place", "change"),
    [
        (survey_words.texts, "RLHF solves", YES, NO, "cartpole/recipe", lambda x: x - 99),
        (brantley_text.text, "RL algorithms", PARTLY, YES, "knobs/plain PPO/gap", lambda x: x * np.eye(10)[3] * 3 + x),
        (brantley_text.text, "RL algorithms", PARTLY, NO, "knobs/plain PPO/gap", lambda x: x + 9),
    ],
)
def test_a_verdict_turns_with_the_stored_numbers(part, claim, before, after, place, change):
    assert by_stored(part, claim, place, change) == (before, after)


FIT, PSI = linear_fits.fit_linear, soft_values.psi_values


def as_before(log_pi_0, reward, beta):
    return log_pi_0 + 0 * reward


def right(seed, scale=1.0):
    return small.trees()[seed].reward


def downhill(pi, reward):
    return -pi * (reward - np.sum(pi * reward, axis=-1, keepdims=True))


def twice(difference, label, precision):
    found = FIT(difference, label, precision)
    return found._replace(mean=2 * found.mean)


def first_weight(difference, label, precision):
    return SimpleNamespace(mean=np.ones((len(label), 1)) * np.eye(difference.shape[-1])[0])


def without_prices(prior, rewards, price):
    found = PSI(prior, rewards, price)
    return found._replace(q=[0 * q for q in found.q])


@pytest.mark.parametrize(
    ("part", "claim", "before", "after", "name", "wrong"),
    [
        (survey_words.feedback, "the factor", ONLY, NO, "linear_fits.fit_linear", twice),
        (survey_words.feedback, "a reward model", YES, NO, "hidden_context.fit_utility", lambda m: -m.mean(1)),
        (survey_words.feedback, "noisy", YES, NO, "annotators.with_misclicks", lambda p, rate: p),
        (survey_optima.imperfect, "that the learned", YES, PARTLY, "small.mistaken", right),
        (survey_optima.imperfect, "coverage", YES, NO, "_coverage", lambda of: (np.ones(4),) * 3),
        (survey_optima.imperfect, "the performance", PARTLY, NO, "small.mistaken", right),
        (survey_optima.imperfect, "a larger β", PARTLY, YES, "small.mistaken", right),
        (survey_optima.imperfect, "the policy gives", PARTLY, NO, "gibbs.log_policy", as_before),
        (survey_optima.imperfect, "a reward that", YES, NO, "gibbs.log_policy", as_before),
        (survey_methods.supervised, "the benefits", YES, PARTLY, "small.mistaken", right),
        (survey_methods.supervised, "updates", PARTLY, NO, "token_mdp.policy_gradient", downhill),
        (survey_methods.supervised, "behaviour", YES, NO, "imitation.cliff_clone_gap", lambda rate, steps: 0.6),
        (survey_methods.supervised, "starting", YES, NO, "gibbs.log_policy", lambda p, r, b: log_softmax(r)),
        (survey_methods.rewards, "very", YES, NO, "linear_fits.fit_linear", first_weight),
        (survey_methods.rewards, "an entropy", YES, PARTLY, "token_mdp.with_temperature", lambda p, t: p),
        (survey_methods.without, "instead", YES, NO, "best_of_n.log_best_of_n", lambda p, r, n: p),
        (survey_methods.without, "best-of-n on", YES, NO, "best_of_n.log_best_of_n", lambda p, r, n: p),
        (survey_methods.without, "the policy", YES, NO, "gibbs.log_policy", lambda p, r, b: log_softmax(p + 2 * r / b)),
        (xiong_shift.shift, "the learned", YES, NO, "hidden_context.fit_utility", lambda *of: np.arange(16.0)),
        (xiong_shift.shift, "π_0 can", PARTLY, NO, "gibbs.log_policy", as_before),
        (xiong_shift.shift, "PPO", YES, NO, "ilhf.penalised", lambda r, *of: r),
        (xiong_shift.shift, "under coverage", YES, NO, "lm.kl", lambda p, q: np.ones(p.shape[:-1])),
        (xiong_shift.beyond, "it has", YES, PARTLY, "nash.log_odds", lambda m: 0 * m),
        (xiong_shift.beyond, "its optimal", YES, NO, "nash.equilibrium", lambda game: np.full(5, -np.inf)),
        (xiong_shift.beyond, "the KL", YES, NO, "small.mistaken", right),
        (
            cs188_slides.words,
            "Q(a, s)",
            ONLY,
            YES,
            "token_mdp.policy_evaluation",
            lambda policy, paid: SimpleNamespace(q=[0 * r for r in paid]),
        ),
        (cs188_slides.words, "Q(s, a)", ONLY, YES, "soft_values.psi_values", without_prices),
        (cs188_slides.words, "RL can", YES, NO, "lock.chance_to_open", lambda *of: 0.5),
        (cs188_slides.people, "all", YES, PARTLY, "lm.answer_log_probs", lambda *of: np.full((1, 10**5), np.log(1e-5))),
        (cs188_slides.people, "the difference", YES, NO, "VALID", (0.303, 0.304)),
        (cs188_slides.people, "KL control", YES, NO, "REWARDED", {"KL": 0.0, "Batch Q": 0.01}),
        (
            cs188_slides.people,
            "the best",
            YES,
            NO,
            "SELLERS",
            {"CHAI": ((), 0, (), 0.9), "Lewis": ((), 0, (), 0.8), "He et al.": ((), 0, (), 0.7)},
        ),
        (brantley_text.text, "text", YES, NO, "lm.count_responses", lambda *of: 5),
        (brantley_text.experts, "κ", YES, NO, "dril.disagreement", lambda p: np.full(p.shape[1:], 0.1)),
        (ilhf_sentences.rewards, "π maximises", ONLY, NO, "gibbs.log_policy", as_before),
        (ilhf_sentences.rewards, "a model", YES, NO, "annotators.bradley_terry", lambda m: 0.4 + 0 * m),
        (ilhf_sentences.rewards, "the loss", YES, NO, "ilhf.choice_log_probs", lambda a, b: (a, b)),
        (ilhf_sentences.indices, "S_", ONLY, YES, "lm.kl", lambda p, q: 0.0),
        (ilhf_sentences.indices, "the ensemble", ONLY, NO, "ilhf.double_or_nothing", lambda shape, rng: np.ones(shape)),
    ],
)
def test_a_verdict_turns_with_what_is_computed(monkeypatch, part, claim, before, after, name, wrong):
    assert by_computed(monkeypatch, part, claim, name, wrong) == (before, after)
