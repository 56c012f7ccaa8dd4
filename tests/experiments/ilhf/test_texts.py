"""Texts of many token processes at once, against the definitions for one of `token_process` and `lm`."""

import numpy as np
import pytest
from autograd import grad

from rlhf_lab.experiments.ilhf import texts as ilhf_texts
from rlhf_lab.experiments.ilhf import worlds as ilhf_worlds
from rlhf_lab.experiments.ilhf.worlds import Setting
from rlhf_lab.models import lm
from rlhf_lab.worlds.token_process import TokenProcess


@pytest.fixture(scope="module")
def worlds():
    setting = Setting(length=4, scale=1.5, hidden=3, documents=40, epochs=2, batch=20, evaluation=10)
    return ilhf_worlds.prepare(setting, [3, 8])


def texts(count, length=8):
    return np.random.default_rng(0).integers(0, 2, size=(2, length, count)).astype(float)


def one(params, s):
    return {name: value[s] for name, value in params.items()}


@pytest.mark.equation("eq-token-likelihood")
def test_the_likelihood_of_frozen_states_is_that_of_the_model(worlds):
    tokens = texts(5)
    agent = worlds.pretrained
    begin = np.repeat(agent["start"][..., None], 5, axis=-1)
    states, after = ilhf_texts.read(agent, begin, tokens)
    phi = np.random.default_rng(1).normal(size=(2, 4, 3))
    log_pi, vjp = ilhf_texts.readout_log_prob(phi, 1.5, states, tokens)
    model, empty = TokenProcess(3, 1.5), np.zeros((5, 0), dtype=int)
    slope = np.random.default_rng(2).normal(size=log_pi.shape)
    found = vjp(slope)
    for s in range(2):
        text = tokens[s].T.astype(int)
        for m in range(4):

            def value(readout, s=s, text=text):
                return lm.log_prob(model, one(agent, s) | {"readout": readout}, empty, text)

            assert log_pi[s, m] == pytest.approx(value(phi[s, m]), abs=1e-12)
            exact = grad(lambda r, s=s, m=m, value=value: (value(r) * slope[s, m]).sum())(phi[s, m])
            assert found[s, m] == pytest.approx(exact, abs=1e-10)
        last, _ = model.start(one(agent, s), text)
        assert pytest.approx(last, abs=1e-12) == after[s].T
    extreme, _ = ilhf_texts.readout_log_prob(1e4 * phi, 1.5, states, tokens)
    assert np.isfinite(extreme).all()


def test_processes_write_with_the_probabilities_of_the_model(worlds):
    chance = np.random.default_rng(5).random((2, 3, 40_000))
    tokens = ilhf_texts.write(worlds.ideal, 1.5, chance)[0]
    for s in range(2):
        seen = np.bincount(lm.answer_index(tokens[s].T.astype(int), 2, None), minlength=8) / 40_000
        empty = np.zeros((1, 0), dtype=int)
        exact = np.exp(lm.answer_log_probs(TokenProcess(2, 1.5), one(worlds.ideal, s), empty, 3))[0]
        assert (abs(seen - exact) < 4 * np.sqrt(exact * (1 - exact) / 40_000)).all()
