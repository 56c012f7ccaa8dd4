"""Sums over states against sums over the list of all texts."""

import numpy as np
import pytest
from small_automata import ANSWERS, COST, FINAL, FOLLOWING, HORIZON, LOG_P, LOG_REFERENCE, REWARD

from rlhf_lab.models import lm
from rlhf_lab.numerics import automata

every_beta = pytest.mark.parametrize("beta", [0.02, 0.35, 3.0])


@pytest.mark.equation("eq-forward")
@every_beta
def test_the_law_of_texts_is_that_of_the_list(beta):
    values = automata.soft_values(LOG_P, FOLLOWING, FINAL / beta, COST / beta, HORIZON)
    log_pi = LOG_REFERENCE + REWARD / beta
    log_pi = log_pi - np.logaddexp.reduce(log_pi, axis=-1)[:, None]
    for tilt, listed in ((0 * values, LOG_REFERENCE), (values, log_pi)):
        found = automata.law(LOG_P, FOLLOWING, tilt)
        assert found.entropy == pytest.approx(lm.entropy(listed), rel=1e-13)
        assert found.kl == pytest.approx(lm.kl(listed, LOG_REFERENCE), rel=1e-12, abs=1e-14)
        reached, ended, cut = (np.zeros(part.shape) for part in found[:3])
        for k in range(2):
            for answer, mass in zip(ANSWERS, np.exp(listed[k]), strict=True):
                state = 0
                for t, token in enumerate(answer):
                    reached[k, t, state] += mass
                    if token == 2:
                        ended[k, t, state] += mass
                        break
                    state = FOLLOWING[k, state, token]
                else:
                    cut[k, state] += mass
        assert found.reached == pytest.approx(reached, abs=1e-14)
        assert found.ended == pytest.approx(ended, abs=1e-14)
        assert found.cut == pytest.approx(cut, abs=1e-14)


@pytest.mark.equation("eq-soft-sweep")
@every_beta
def test_every_value_is_the_mean_of_what_may_follow(beta):
    values = automata.soft_values(LOG_P, FOLLOWING, FINAL / beta, COST / beta, HORIZON)
    assert values.shape == (2, HORIZON + 1, 4)
    assert (values[:, -1] == FINAL / beta).all()
    for k in range(2):
        for t in range(HORIZON):
            for state in range(4):
                rest = lm.enumerate_responses(3, HORIZON - t, 2)
                total = 0.0
                for answer in rest:
                    here, log_p, spent = state, 0.0, 0.0
                    for token in answer:
                        log_p, spent = log_p + LOG_P[k, here, token], spent + COST
                        if token == 2:
                            break
                        here = FOLLOWING[k, here, token]
                    total += np.exp(log_p + (FINAL[k, here] - spent) / beta)
                assert values[k, t, state] == pytest.approx(np.log(total), rel=1e-13)


def test_products_follow_both_automata():
    rng = np.random.default_rng(3)
    first, second = rng.integers(2, size=(1, 2, 4)), rng.integers(3, size=(2, 3, 4))
    pairs = automata.product(first, second)
    assert pairs.shape == (2, 6, 4)
    for k in range(2):
        for s in range(2):
            for q in range(3):
                for w in range(4):
                    assert divmod(pairs[k, 3 * s + q, w], 3) == (first[0, s, w], second[k, q, w])


def test_counts_of_texts_are_those_of_the_list():
    allowed = np.ones((2, 4, 3), dtype=bool)
    allowed[0, 0, 2] = allowed[1, 0, 0] = False  # the first says a word at least, the second begins with one of them
    found = automata.count(allowed, FOLLOWING, HORIZON)
    for k in range(2):
        texts = 0
        for answer in ANSWERS[(ANSWERS == 2).any(-1)]:
            state, may = 0, True
            for token in answer:
                may &= allowed[k, state, token]
                if token == 2:
                    break
                state = FOLLOWING[k, state, token]
            texts += may
        assert found[k] == texts < 15
    assert automata.count(np.ones((2, 4, 3)), FOLLOWING, HORIZON).tolist() == [1 + 2 + 4 + 8] * 2


def test_horizons_from_one_on():
    with pytest.raises(ValueError, match="the horizon is the greatest number of tokens in a response"):
        automata.soft_values(LOG_P, FOLLOWING, FINAL, COST, 0)
    with pytest.raises(ValueError, match="the horizon is the greatest number of tokens in a response"):
        automata.count(LOG_P < 0, FOLLOWING, 0)


def test_states_that_no_text_reaches_have_no_share():
    nowhere = np.zeros((1, 4, 3), dtype=int)
    log_p = np.full((1, 4, 3), -np.log(3))
    found = automata.law(log_p, nowhere, np.zeros((1, HORIZON + 1, 4)))
    assert found.reached[0, :, 0] == pytest.approx((2 / 3) ** np.arange(HORIZON))
    assert (found.reached[0, :, 1:] == 0).all()
    assert found.cut[0] == pytest.approx([(2 / 3) ** HORIZON, 0, 0, 0])
    assert automata.count(log_p < 0, nowhere, 3).tolist() == [1 + 2 + 4]


def test_large_and_small_values_do_not_overflow():
    for scale in (1e4, -1e4):
        values = automata.soft_values(LOG_P, FOLLOWING, scale * FINAL, COST, HORIZON)
        found = automata.law(LOG_P, FOLLOWING, values)
        assert found.ended.sum((1, 2)) + found.cut.sum(1) == pytest.approx(1)
        best = (scale * FINAL)[:, None] + np.zeros((1, HORIZON, 1))
        assert (np.where(found.ended > 0.5, best, 0) >= 0).all()


def test_arrays_of_different_numbers_of_automata_do_not_fit():
    values = np.zeros((2, HORIZON + 1, 4))
    for call in (
        lambda: automata.law(LOG_P[:1], FOLLOWING, values),
        lambda: automata.soft_values(LOG_P, FOLLOWING[:1], FINAL, COST, HORIZON),
        lambda: automata.count(LOG_P < 0, FOLLOWING[:1], HORIZON),
    ):
        with pytest.raises(ValueError, match="zip"):
            call()
