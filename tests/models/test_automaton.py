"""A model whose state is a function of the tokens; what holds for every model is in `test_lm`."""

import numpy as np
import pytest
from small_models import HORIZON, MODELS, PROMPTS

from rlhf_lab.models import lm
from rlhf_lab.models.automaton import Automaton

MODEL, PARAMS = MODELS["automaton"]


def test_logits_are_those_of_the_state_and_of_what_is_ahead():
    response = np.array([[2, 0, 1], [1, 3, 3], [0, 0, 2]])
    found = MODEL.logits(PARAMS, PROMPTS, response)
    for k, answer in enumerate(response):
        state = 0
        for t, token in enumerate(answer):
            for word in range(4):
                if word == 3:
                    ahead = PARAMS["values"][k, HORIZON, state]
                else:
                    ahead = PARAMS["values"][k, t + 1, MODEL.following[k, state, word]]
                expected = PARAMS["logits"][k, state, word] + ahead
                assert found[k, t, word] == pytest.approx(expected, rel=1e-14)
            if token == 3:
                break
            state = MODEL.following[k, state, token]


def test_the_state_is_a_function_of_the_tokens():
    response = np.array([[2, 0, 1], [1, 3, 3], [0, 0, 2]])
    rows = MODEL.rows(PROMPTS, response)
    assert (rows[:, 0] == [0, 5, 10]).all()
    assert rows[1, 2] == rows[1, 1], "it stays where the answer ended"
    for k in (0, 2):
        for t in range(2):
            assert rows[k, t + 1] == 5 * k + MODEL.following[k, rows[k, t] % 5, response[k, t]]


def test_leading_axes_of_responses_and_of_tokens_are_carried():
    response = np.array([[[2, 0], [1, 3], [0, 0]], [[0, 1], [3, 3], [2, 2]]])
    both = MODEL.logits(PARAMS, PROMPTS, response)
    for each, found in zip(response, both, strict=True):
        assert (MODEL.logits(PARAMS, PROMPTS, each) == found).all()
    cache, _ = MODEL.step(PARAMS, MODEL.start(PARAMS, PROMPTS)[0], response[..., 0])
    _, found = MODEL.step(PARAMS, MODEL.repeat(cache, 2), np.repeat(response[..., 1], 2, axis=-1))
    cache, _ = MODEL.step(PARAMS, MODEL.start(PARAMS, PROMPTS)[0], response[1, :, 0])
    _, alone = MODEL.step(PARAMS, cache, response[1, :, 1])
    assert (found[1] == np.repeat(alone, 2, axis=0)).all()


def test_leading_axes_of_parameters_are_carried():
    other = {name: value[::-1] for name, value in PARAMS.items()}
    both = {name: np.stack([value, other[name]]) for name, value in PARAMS.items()}
    response = np.array([[2, 0, 1], [1, 3, 3], [0, 0, 2]])
    found = MODEL.logits(both, PROMPTS, response)
    for each, params in zip(found, (PARAMS, other), strict=True):
        assert (each == MODEL.logits(params, PROMPTS, response)).all()


def test_fresh_parameters_find_every_token_equally_likely():
    log_pi = lm.token_log_prob(MODEL, MODEL.init(np.random.default_rng(0)), PROMPTS, np.array([[0, 1, 2]] * 3))
    assert log_pi == pytest.approx(np.log(1 / 4), abs=1e-15)


def test_sizes():
    assert (MODEL.vocab, MODEL.eos, MODEL.states) == (4, 3, 5)


class TestBadInput:
    def test_unknown_prompts(self):
        with pytest.raises(ValueError, match=r"prompt \[0, 0\] is not in the table, which knows 3 prompts"):
            MODEL.start(PARAMS, [[0, 0]])
        with pytest.raises(ValueError, match="the table knows prompts of 2 tokens; got 3"):
            MODEL.rows([[0, 1, 1]], [[0]])

    def test_tokens_outside_the_vocabulary(self):
        with pytest.raises(ValueError, match="response: token 4 is outside the vocabulary of 4 tokens"):
            MODEL.logits(PARAMS, PROMPTS, np.full((3, 2), 4))
        with pytest.raises(ValueError, match=r"^response: token 4 is outside the vocabulary of 4 tokens"):
            MODEL.rows(PROMPTS, np.full((3, 2), 4))
        with pytest.raises(ValueError, match="prompts: token 4 is outside the vocabulary of 4 tokens"):
            Automaton(PROMPTS + 3, MODEL.following, HORIZON)

    def test_what_lies_behind_the_horizon(self):
        with pytest.raises(ValueError, match="the values end with the horizon of 3 tokens; asked for token 4"):
            MODEL.logits(PARAMS, PROMPTS, np.zeros((3, 4), dtype=int))
        cache, _ = MODEL.start(PARAMS, PROMPTS)
        for _ in range(2):
            cache, _ = MODEL.step(PARAMS, cache, np.zeros(3, dtype=int))
        with pytest.raises(ValueError, match="the values end with the horizon of 3 tokens; asked for token 4"):
            MODEL.step(PARAMS, cache, np.zeros(3, dtype=int))
        with pytest.raises(ValueError, match="the horizon is the greatest number of tokens"):
            Automaton(PROMPTS, MODEL.following, 0)

    def test_tables_that_do_not_fit(self):
        with pytest.raises(ValueError, match=r"a table for each of the 3 prompts; got \(2, 5, 4\)"):
            Automaton(PROMPTS, MODEL.following[:2], HORIZON)
        with pytest.raises(ValueError, match=r"following must have shape \(K, S, V\)"):
            Automaton(PROMPTS, MODEL.following[0], HORIZON)
        with pytest.raises(ValueError, match="following: token 5 is outside"):
            Automaton(PROMPTS, MODEL.following + 1, HORIZON)

    def test_parameters_of_another_size(self):
        with pytest.raises(ValueError, match=r"params\['values'\] has shape \(3, 3, 5\); it must end in \(3, 4, 5\)"):
            MODEL.start(PARAMS | {"values": PARAMS["values"][:, 1:]}, PROMPTS)

    def test_numbers_of_prompts_and_responses(self):
        with pytest.raises(ValueError, match="3 prompts, but 2 responses"):
            MODEL.logits(PARAMS, PROMPTS, np.zeros((2, 2), dtype=int))
