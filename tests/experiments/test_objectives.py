"""The study of soups and gates: what is compared with what, and what the stored numbers say."""

import numpy as np
import pytest

from rlhf_lab import experiments
from rlhf_lab.experiments import objectives
from rlhf_lab.feedback.linear_fits import fit_linear
from rlhf_lab.methods.distillation import levels_of
from rlhf_lab.methods.objectives import front, gated, shortfall, token_soup
from rlhf_lab.models import gibbs, lm
from rlhf_lab.worlds import phrase_world


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(objectives, "PRETRAIN", 3)
    monkeypatch.setattr(objectives, "STEPS", 2)


def test_the_heads_add_up_to_the_reward_of_the_world():
    heads = objectives.phrase_heads(3)
    answers = lm.enumerate_responses(11, 3, 10)
    for x, prompt in enumerate(phrase_world.PROMPTS):
        asked = np.tile(prompt, (len(answers), 1))
        assert heads[:, x].sum(0) == pytest.approx(phrase_world.reward(asked, answers))
        assert heads[1, x] == pytest.approx(phrase_world.reward_parts(asked, answers)["polite"])


@pytest.mark.usefixtures("short")
def test_soups_end_at_the_experts_and_strangers_take_the_harmless_one_of_the_next_seed():
    found = objectives.networks([0, 1])
    assert {found[name].shape for name in ("answers", "tokens", "weights", "strangers")} == {(2, 9)}
    for name in ("answers", "tokens", "weights"):
        assert found[name][:, [0, 8]] == pytest.approx(found["trained"][:, [0, 4]], abs=1e-10)
    assert found["strangers"][:, 8] == pytest.approx(found["trained"][:, 4], abs=1e-10)
    assert (found["strangers"][:, 0] > found["trained"][:, 0]).all()
    assert (found["trained"] > 0).all()
    log_pi_0 = objectives.every_answer(objectives.pretrained([0, 1], 0))
    best = front(log_pi_0[0], objectives.phrase_heads(3), [0.5, 0.5], objectives.BETA)
    assert found["start"][0] == pytest.approx(shortfall(log_pi_0[0], best, objectives.BETA, phrase_world.START))
    twice = objectives.networks([0, 1], step_size=0.5)
    assert np.abs(twice["trained"] - found["trained"]).max() > 1e-3


def test_people_compare_by_the_gate_and_rate_by_the_heads():
    rng = np.random.default_rng(0)
    difference, label = objectives.asked(rng, 20_000)
    p = 1 / (1 + np.exp(-np.einsum("xi,id,xnd->xn", objectives.GATE, objectives.HEADS, difference)))
    for weigh in (1.0, p - 0.5):  # as often as p says, and more often where p is high
        error = np.sqrt(np.mean(weigh**2 * p * (1 - p), axis=-1) / 20_000)
        assert (np.abs(np.mean(weigh * (label - p), axis=-1)) < 4 * error).all()
    assert np.abs(np.mean([objectives.rated(rng) for _ in range(30)], axis=0) - objectives.HEADS).max() < 0.1


def test_every_row_sees_as_many_comparisons(monkeypatch):
    monkeypatch.setattr(objectives, "COUNTS", (10, 40))
    found = objectives.gates(3)
    difference, label = objectives.asked(np.random.default_rng([0, 3]), 40)
    for place, count in enumerate((10, 40)):
        d, y = difference[:, :count], label[:, :count]
        free = fit_linear(d, y, objectives.PRECISIONS["free"]).mean
        one = fit_linear(d.reshape(-1, 5), y.ravel(), objectives.PRECISIONS["one"]).mean
        assert found["free"][place] == pytest.approx(objectives.error(free))
        assert found["one"][place] == pytest.approx(objectives.error(np.tile(one, (4, 1))))
    assert found["gate"].shape == found["both"].shape == (2,)
    assert found["gate"][1] != found["both"][1]


def test_a_soup_of_tokens_keeps_97_percent_of_the_gain_where_it_loses_most():
    heads, log_pi_0 = objectives.phrase_heads(5), objectives._log_prior()
    experts = [levels_of(gibbs.log_policy(log_pi_0, head, 0.25), phrase_world.VOCAB, 5) for head in heads]
    soup = lm.answers_of_levels(token_soup(experts, [0.25, 0.75]), phrase_world.EOS)
    best = front(log_pi_0, heads, [0.25, 0.75], 0.25)
    lost, gain = (shortfall(log_pi, best, 0.25, phrase_world.START) for log_pi in (soup, log_pi_0))
    assert (lost, gain) == (pytest.approx(0.025, abs=5e-4), pytest.approx(0.86, abs=5e-3))
    assert 1 - lost / gain == pytest.approx(0.97, abs=5e-3)


def test_the_error_is_the_deviation_of_the_reward_over_answers_of_the_prior():
    reward = objectives.GATE @ objectives.HEADS + np.arange(20).reshape(4, 5) / 10
    rng = np.random.default_rng(1)
    seen = objectives.written(rng, 40_000)
    away = np.einsum("xd,xnd->xn", np.arange(20).reshape(4, 5) / 10, seen)
    assert objectives.error(reward) == pytest.approx(np.mean(away.std(-1)), rel=0.03)
    assert objectives.error(objectives.GATE @ objectives.HEADS) == 0


def test_a_knob_is_what_the_optimum_gains_by_a_weight():
    features = np.moveaxis(objectives.prior()[0], -1, 0)
    heads = np.einsum("id,dxa->ixa", objectives.HEADS, features)
    log_pi_0 = lm.answer_log_probs(phrase_world.model(), phrase_world.pretrained(), phrase_world.PROMPTS, 5)
    laws = [np.exp(gibbs.log_policy(log_pi_0, gated(heads, objectives.GATE + up), 1.0)) for up in ([0, 0], [0, 1])]
    polite = [np.sum(law * features[2], axis=-1) @ phrase_world.START for law in laws]
    found = objectives.knobs(objectives.GATE, objectives.HEADS)
    assert found[1, 0] == pytest.approx(polite[1] - polite[0])


def test_the_stored_numbers_say_what_the_chapter_says():
    found = experiments.stored("objectives")
    middle = {name: found[name][:, 4] for name in ("answers", "tokens", "weights", "strangers")}
    assert (middle["answers"] < middle["tokens"]).all()
    assert (middle["tokens"] < middle["weights"]).all()
    assert (middle["strangers"] > found["start"]).all()
    gap = found["both"] - found["gate"]
    error = gap.std(0, ddof=1) / 10**0.5
    assert (gap[:, 1:4].mean(0) > 3 * error[1:4]).all()
    assert (gap[:, -2:].mean(0) < error[-2:]).all(), "the lead is gone"
    for name, value, spread in (("weights", 0.053, 0.014), ("tokens", 0.0123, 0.0004), ("answers", 0.0101, 0.0004)):
        assert middle[name].mean() == pytest.approx(value, rel=0.01)
        assert middle[name].std(ddof=1) / 10**0.5 == pytest.approx(spread, rel=0.15)
    assert middle["weights"].mean() / found["start"].mean() == pytest.approx(0.05, abs=0.005)
    assert found["knobs, gate"].std(0).max() < 0.1 < 0.5 < found["knobs, both"].std(0).max()
