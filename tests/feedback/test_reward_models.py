"""Reward models judge whole responses, and say what they cannot judge."""

import numpy as np
import pytest
from small_models import HORIZON, PROMPTS
from small_rewards import batch, every_model, gpt_network, linear, network, table

from rlhf_lab.models import lm


@every_model
def test_fresh_models_like_everything_equally(model, params, eos):
    fresh = model.init(np.random.default_rng(0))
    assert {name: np.shape(value) for name, value in fresh.items()} == {n: np.shape(v) for n, v in params.items()}
    prompt, chosen, *_ = batch(eos)
    assert model.reward(fresh, prompt, chosen).tolist() == [0] * 12


@every_model
def test_leading_axes_are_many_models_in_one(model, params, eos):
    prompt, chosen, *_ = batch(eos)
    both = {name: np.stack([value, 2 * value, -value]) for name, value in params.items()}
    together = model.reward(both, prompt, chosen)
    assert together.shape == (3, 12)
    texts = [np.stack([column, column[::-1], column[:1].repeat(12, axis=0)]) for column in (prompt, chosen)]
    of_their_own = model.reward(both, *texts)
    for k, factor in enumerate((1, 2, -1)):
        one = {name: factor * value for name, value in params.items()}
        assert together[k] == pytest.approx(model.reward(one, prompt, chosen), abs=1e-12)
        assert of_their_own[k] == pytest.approx(model.reward(one, texts[0][k], texts[1][k]), abs=1e-12)


@every_model
def test_responses_of_another_vocabulary_are_refused(model, params, eos):
    with pytest.raises(ValueError, match=r"^response: token 4 is outside the vocabulary of 4 tokens"):
        model.reward(params, PROMPTS, np.full((3, HORIZON), 4))
    with pytest.raises(ValueError, match=r"^prompt: token 4 is outside"):
        model.reward(params, PROMPTS + 4, np.zeros((3, HORIZON), int))
    with pytest.raises(ValueError, match="2 prompts, but 3 responses"):
        model.reward(params, PROMPTS[:2], np.zeros((3, HORIZON), int))


def test_parameters_of_another_model_are_refused():
    with pytest.raises(ValueError, match=r"params\['weights'\] has shape \(3,\); it must end in \(2,\)"):
        linear()[0].reward({"weights": np.zeros(3)}, PROMPTS, PROMPTS)
    model, params = network(3)
    with pytest.raises(ValueError, match=r"params\['head'\] has shape \(6,\); it must end in \(5,\)"):
        model.reward(params | {"head": np.zeros(6)}, PROMPTS, PROMPTS)
    model, params = table(3)
    for wrong in (params["rewards"][:2], params["rewards"][:, :-1]):
        with pytest.raises(ValueError, match=r"params\['rewards'\] has shape .*; it must end in \(3, 40\)"):
            model.reward({"rewards": wrong}, PROMPTS, np.zeros((3, HORIZON), int))


@pytest.mark.parametrize("eos", [3, None])
def test_a_table_looks_every_answer_up(eos):
    model, params = table(eos)
    answers = lm.enumerate_responses(4, HORIZON, eos)
    for k, prompt in enumerate(PROMPTS):
        found = model.reward(params, np.tile(prompt, (len(answers), 1)), answers)
        assert found.tolist() == params["rewards"][k].tolist()


@pytest.mark.parametrize("eos", [3, None])
def test_a_network_reads_to_the_end_and_no_further(eos):
    model, params = network(eos)
    response = np.array([[1, 2, 0], [2, 3, 3], [3, 3, 3]])
    ends = [3, 2, 1] if eos else [3, 3, 3]
    rewards = model.reward(params, PROMPTS, response)
    for prompt, answer, end, found in zip(PROMPTS, response, ends, rewards, strict=True):
        state = params["start"]
        for token in [*prompt, *answer[:end]]:
            state = np.tanh(params["recurrent"] @ state + params["embed"][token])
        assert found == pytest.approx(state @ params["head"], rel=1e-12)


@pytest.mark.parametrize("eos", [3, None])
def test_a_head_on_a_gpt_is_read_at_the_last_token(eos):
    model, params = gpt_network(eos)
    response = np.array([[1, 2, 0], [2, 3, 3], [3, 3, 3]])
    rewards = model.reward(params, PROMPTS, response)
    for k, end in enumerate([3, 2, 1] if eos else [3, 3, 3]):
        text = response[k : k + 1, :end]
        states = model.language.project(params, PROMPTS[k : k + 1], text, params["head"][:, None])
        assert rewards[k] == pytest.approx(states[0, -1, 0], abs=1e-13)


def test_rewards_are_as_precise_as_the_reader():
    _, params = gpt_network(3)
    single = {name: value.astype(np.float32) for name, value in params.items()}
    assert gpt_network(3)[0].reward(single, PROMPTS, np.array([[1, 2, 3]] * 3)).dtype == np.float32


@pytest.mark.parametrize("few", [network, gpt_network])
@pytest.mark.parametrize("eos", [3, None])
def test_every_reward_is_the_reward_of_every_answer(eos, few):
    model, params = few(eos)
    both = {name: np.stack([value, 0.5 * value]) for name, value in params.items()}
    answers = lm.enumerate_responses(4, HORIZON, eos)
    found = model.every_reward(both, PROMPTS, HORIZON)
    assert found.shape == (2, 3, len(answers))
    for k, prompt in enumerate(PROMPTS):
        one_by_one = model.reward(both, np.tile(prompt, (len(answers), 1)), answers)
        assert found[:, k] == pytest.approx(one_by_one, abs=1e-12)
    with pytest.raises(ValueError, match="too many to enumerate"):
        model.every_reward(params, PROMPTS, 20)
    if eos and few is network:  # with words only it is not too many
        assert model.every_reward(params, PROMPTS, 10).shape == (3, (3**11 - 1) // 2)
    with pytest.raises(ValueError, match=r"^prompt: token 7 is outside"):
        model.every_reward(params, PROMPTS + 7, HORIZON)
