"""Cases of the exercises on sums over automata, and what a careless solution is told."""

import answers_automata
import numpy as np
import pytest

from rlhf_lab.check import automata, diagnosis


def test_cases_come_in_all_sizes_that_the_docstrings_promise():
    sizes = [(*p.shape, horizon) for p, _, horizon in diagnosis.draw_cases(automata.FORWARD_ALGORITHM)]
    assert [set(each) for each in zip(*sizes, strict=True)] == [{2, 3, 4}, {3, 4, 5}, {3, 4, 5}]
    drawn = diagnosis.draw_cases(automata.GIBBS_BY_DYNAMIC_PROGRAMMING)
    sizes = [(*log_p.shape, cost, beta, horizon) for log_p, _, _, cost, beta, horizon in drawn]
    wanted = [{2, 3, 4}, {3, 4, 5}, {0.1, 0.2, 0.3}, {0.3, 0.5, 2.0}, {2, 3, 4}]
    assert [set(each) for each in zip(*sizes, strict=True)] == wanted


def test_states_are_states_and_words_have_probabilities():
    for p, following, _ in diagnosis.draw_cases(automata.FORWARD_ALGORITHM):
        assert p.sum(1) == pytest.approx(1)
        assert following.min() >= 0
        assert following.max() < len(p)
        assert following.shape == p.shape
    for log_p, _, final, *_ in diagnosis.draw_cases(automata.GIBBS_BY_DYNAMIC_PROGRAMMING):
        assert np.exp(log_p).sum(1) == pytest.approx(1)
        assert final.shape == log_p.shape[:1]


def test_large_rewards_are_named_apart():
    (_, (log_p, following, *_)), *_ = automata.GIBBS_BY_DYNAMIC_PROGRAMMING.hard
    assert np.exp(log_p).sum(1) == pytest.approx(1)
    assert following.max() < len(log_p)
    told = diagnosis.diagnose(automata.GIBBS_BY_DYNAMIC_PROGRAMMING, answers_automata.naive_values)
    assert told.startswith("It is right for small rewards, but large ones overflow: subtract the largest exponent")
