"""Worlds of the token process for many seeds, against the one-world definitions of `token_process` and `lm`."""

from dataclasses import replace

import numpy as np
import pytest

from rlhf_lab.experiments.ilhf import texts as ilhf_texts
from rlhf_lab.experiments.ilhf import worlds as ilhf_worlds
from rlhf_lab.experiments.ilhf.worlds import Apart, Setting
from rlhf_lab.models import lm
from rlhf_lab.numerics import optim

SMALL = Setting(length=4, scale=1.5, hidden=3, documents=40, epochs=2, batch=20, evaluation=3000)


@pytest.fixture(scope="module")
def worlds():
    return ilhf_worlds.prepare(SMALL, [3, 8])


def texts(count, length=8):
    return np.random.default_rng(0).integers(0, 2, size=(2, length, count)).astype(float)


def one(params, s):
    return {name: value[s] for name, value in params.items()}


def members(params):
    return {name: value[:, None] for name, value in params.items()}


def test_people_judge_answers_after_their_prompts(worlds):
    prompt, _, state = ilhf_texts.write(worlds.shadow, 1.5, np.random.default_rng(6).random((2, 4, 6)))
    answer = texts(6, 4)
    found = worlds.people(state, answer)
    for s in range(2):
        exact = lm.log_prob(worlds.process(2), one(worlds.ideal, s), prompt[s].T.astype(int), answer[s].T.astype(int))
        assert found[s] == pytest.approx(exact, abs=1e-12)


def enumerated(worlds, agent, s, length=4):
    """KL(ideal || agent) of answers, mean over the prompts that the ideal process writes."""
    prompts = lm.enumerate_responses(2, length, None)
    ideal = one(worlds.ideal, s)
    weight = np.exp(lm.answer_log_probs(worlds.process(2), ideal, np.zeros((1, 0), dtype=int), length))[0]
    log_mu = lm.answer_log_probs(worlds.process(2), ideal, prompts, length)
    return weight @ lm.kl(log_mu, lm.answer_log_probs(worlds.process(3), agent, prompts, length))


@pytest.mark.equation("eq-kl-score")
def test_the_monte_carlo_divergence_is_the_enumerated_one(worlds):
    agent = worlds.pretrained
    found = worlds.kl(members(agent))
    assert found == pytest.approx(worlds.frozen_kl(agent["readout"][:, None]), abs=1e-12)
    terms = worlds.ideal_log_prob - worlds.log_prob(members(agent), worlds.tokens)
    assert found == pytest.approx(terms.mean(-1))
    error = terms.std(-1, ddof=1) / 3000**0.5
    exact = np.array([enumerated(worlds, one(agent, s), s) for s in range(2)])
    assert (abs(found - exact) < 4 * error).all()
    assert worlds.kl(members(worlds.ideal)) == pytest.approx(np.zeros(2), abs=1e-12)


def test_an_ensemble_is_judged_as_a_mixture(worlds):
    phi = np.random.default_rng(1).normal(size=(2, 4, 3))
    torso = {name: np.repeat(worlds.pretrained[name][:, None], 4, axis=1) for name in ("recurrent", "embed", "start")}
    shared = {name: value[:, :1] for name, value in torso.items()}
    each = [worlds.log_prob(shared | {"readout": phi[:, m : m + 1]}, worlds.tokens) for m in range(4)]
    mixed = np.log(np.exp(each).mean(0))
    assert worlds.log_prob(shared | {"readout": phi}, worlds.tokens) == pytest.approx(mixed, abs=1e-10)
    assert worlds.log_prob(torso | {"readout": phi}, worlds.tokens) == pytest.approx(mixed, abs=1e-10)
    assert worlds.frozen_kl(phi) == pytest.approx((worlds.ideal_log_prob - mixed).mean(-1), abs=1e-10)


def test_members_with_torsos_of_their_own_read_with_those(worlds):
    """Two torsos: the pretrained one, and one that reads tokens the other way round."""
    agent = worlds.pretrained
    both = {name: np.stack([value, value + (name == "embed")], axis=1) for name, value in agent.items()}
    both["readout"][:, 1] *= -1
    each = [worlds.log_prob({name: value[:, m : m + 1] for name, value in both.items()}, worlds.tokens) for m in (0, 1)]
    assert abs(each[0] - each[1]).min(-1).max() > 1e-6
    assert worlds.log_prob(both, worlds.tokens) == pytest.approx(np.log(np.exp(each).mean(0)), abs=1e-12)


def test_a_world_is_the_same_whoever_runs_beside_it(worlds):
    alone = ilhf_worlds.prepare(SMALL, [8])
    assert alone.tokens[0] == pytest.approx(worlds.tokens[1])
    for name, value in alone.pretrained.items():
        assert value[0] == pytest.approx(worlds.pretrained[name][1], abs=1e-9)


def test_the_setting_is_that_of_the_paper():
    """ILHF, section 5: lengths and episodes of figure 4; section 4.1: pretraining; section 4.3: texts to judge by."""
    paper = Setting()
    assert (paper.length, paper.scale, paper.episodes, paper.pairs) == (64, 1, 100, 64)
    assert (paper.hidden, paper.documents, paper.epochs, paper.batch) == (10, 1000, 20, 64)
    assert paper.evaluation == 500


@pytest.mark.parametrize("embed", [1.0, 0.316])
def test_an_agent_starts_with_token_weights_in_a_range(embed):
    drawn = ilhf_worlds.first_weights(400, embed, np.random.default_rng(0))
    assert 0.95 * embed < abs(drawn["embed"]).max() < embed
    for name in ("recurrent", "readout"):
        assert 0.9 * 400**-0.5 < abs(drawn[name]).max() < 400**-0.5
    assert (drawn["start"] == 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": 0.0}, "scale must be finite and above 0; got 0.0"),
        ({"scale": np.nan}, "scale must be finite and above 0"),
        ({"agents": 0.0}, "agents must be finite and above 0; got 0.0"),
        ({"people": np.inf}, "people must be finite and above 0; got inf"),
        ({"embed": 0.0}, "embed must be finite and above 0; got 0.0"),
        ({"documents": 63}, "a batch of 64 texts needs as many documents; got 63"),
        ({"documents": 0}, "documents is a whole number, at least 1; got 0"),
        ({"pairs": 0}, "pairs is a whole number, at least 1; got 0"),
        ({"pairs": 1.5}, "pairs is a whole number, at least 1; got 1.5"),
        ({"length": np.inf}, "length is a whole number, at least 1; got inf"),
        ({"every": 0}, "every is a whole number, at least 1; got 0"),
        ({"evaluation": 0}, "evaluation is a whole number, at least 1; got 0"),
        ({"epochs": -1}, "epochs is a whole number, at least 1; got -1"),
        ({"episodes": 5, "every": 3}, "every must divide episodes, to show the last; got 3 and 5"),
    ],
)
def test_bad_settings_are_told(settings, message):
    with pytest.raises(ValueError, match=message):
        (Apart if {"agents", "people"} & set(settings) else Setting)(**settings)
    assert Setting(documents=64, episodes=5, every=5, length=1, embed=0.5).batch == 64


@pytest.mark.parametrize(("documents", "batches"), [(40, 2), (39, 1), (41, 2)])
def test_an_epoch_shows_each_text_once_in_whole_batches(monkeypatch, documents, batches):
    epochs, original = [], optim.fit

    def spy(loss, params, collect, **settings):
        epochs.extend([list(collect(params, settings["rng"])) for _ in range(2)])
        return original(loss, params, collect, **settings)

    monkeypatch.setattr(optim, "fit", spy)
    ilhf_worlds.prepare(replace(SMALL, length=12, documents=documents, epochs=1), [3, 8])
    for epoch in epochs:
        assert [batch.shape for batch in epoch] == [(2, 20, 24)] * batches
    shown = [{tuple(text) for batch in epoch for text in batch[1]} for epoch in epochs]
    assert [len(texts) for texts in shown] == [20 * batches] * 2
    assert not (epochs[0][0] == epochs[1][0]).all()
    if documents == 40:
        assert shown[0] == shown[1]


def test_pretraining_comes_close_to_the_shadow_and_not_to_the_ideal():
    """200 steps of 0.001 are too few; here the text is short and the steps are many."""
    setting = Setting(length=4, scale=1.5, hidden=6, documents=2000, epochs=300, batch=500, evaluation=4000)
    worlds = ilhf_worlds.prepare(setting, [3, 8])
    for s in range(2):
        empty = np.zeros((1, 0), dtype=int)
        shadow = lm.answer_log_probs(worlds.process(2), one(worlds.shadow, s), empty, 8)
        gap = lm.kl(shadow, lm.answer_log_probs(worlds.process(6), one(worlds.pretrained, s), empty, 8))
        begin = lm.answer_log_probs(worlds.process(6), one(worlds.pretrained, s) | {"readout": np.zeros(6)}, empty, 8)
        assert gap[0] < 0.1 < lm.kl(shadow, begin)[0]


def test_a_temperature_for_all_is_one_for_each(worlds):
    apart = ilhf_worlds.prepare(Apart(**vars(SMALL), agents=1.5, people=1.5), [3, 8])
    assert (apart.tokens == worlds.tokens).all()
    assert all((apart.pretrained[name] == value).all() for name, value in worlds.pretrained.items())
    assert (SMALL.agents, SMALL.people) == (1.5, 1.5)


@pytest.mark.parametrize("who", ["scale", "agents", "people"])
def test_a_temperature_for_one_leaves_the_others_alone(worlds, who):
    """Process: what is written; agents: what they make of it, and their model; people: how they judge."""
    factors = {"scale": 1.5, "agents": 1.5, "people": 1.5, who: 0.5}
    other = ilhf_worlds.prepare(Apart(**{**vars(SMALL), **factors}), [3, 8])
    state, answer = np.ones((2, 2, 7)), texts(7, 4)
    same = {
        "scale": (other.tokens == worlds.tokens).all() and np.allclose(other.ideal_log_prob, worlds.ideal_log_prob),
        "people": np.allclose(other.people(state, answer), worlds.people(state, answer)),
    }
    agent = members(worlds.pretrained)
    same["agents"] = np.allclose(other.log_prob(agent, texts(5)), worlds.log_prob(agent, texts(5)))
    assert {name for name, equal in same.items() if not equal} == {who}
    assert other.process(3).scale == factors["agents"]
    pretrained = np.allclose(other.pretrained["readout"], worlds.pretrained["readout"], atol=1e-6)
    assert pretrained == (who == "people")
