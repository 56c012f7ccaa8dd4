"""A critic is a language model, and says what a prefix is worth."""

import numpy as np
import pytest
from autograd.test_util import check_grads

from rlhf_lab.models import lm
from rlhf_lab.models.critics import ReaderCritic, TabularCritic
from rlhf_lab.models.gpt import GPT
from rlhf_lab.models.recurrent import Recurrent
from rlhf_lab.models.tabular import Tabular

RNG = np.random.default_rng(0)
PROMPT = np.array([[0, 1], [1, 1], [0, 1]])
RESPONSE = np.array([[0, 1, 2], [2, 2, 2], [1, 1, 0]])
CRITICS = [
    TabularCritic(Tabular(3, 3, ((0, 1), (1, 1)), 2)),
    ReaderCritic(Recurrent(3, 4, 2)),
    ReaderCritic(GPT(3, width=4, layers=2, heads=2, context=5, eos=2, dtype="float64")),
]
every_critic = pytest.mark.parametrize("critic", CRITICS, ids=["tabular", "recurrent", "gpt"])


def params_of(critic, seeds=()):
    fresh = critic.init(np.random.default_rng(1))
    return {name: np.random.default_rng(k).normal(size=seeds + p.shape) for k, (name, p) in enumerate(fresh.items())}


@every_critic
def test_the_logits_are_those_of_the_language_model(critic):
    params = params_of(critic)
    logits, values = critic.judge(params, PROMPT, RESPONSE)
    assert logits == pytest.approx(critic.language.logits(params, PROMPT, RESPONSE), abs=1e-14)
    assert values.shape == (3, 3)


@every_critic
def test_a_new_head_is_zero_and_leaves_the_language_alone(critic):
    params = critic.language.init(np.random.default_rng(2))
    found = critic.head(params)
    assert set(found) == {*params, "value"}
    assert all(found[name] is params[name] for name in params)
    assert (critic.judge(found, PROMPT, RESPONSE)[1] == 0).all()
    fresh, again = critic.init(np.random.default_rng(2)), critic.head(params)
    assert all((fresh[name] == again[name]).all() for name in again)


@every_critic
def test_a_value_depends_on_the_prefix_and_not_on_what_follows(critic):
    params, other = params_of(critic), RESPONSE.copy()
    other[:, 1:] = [[0, 0], [1, 0], [0, 2]]
    before, after = (critic.judge(params, PROMPT, r)[1] for r in (RESPONSE, other))
    assert before[:, :2] == pytest.approx(after[:, :2], abs=1e-14)
    assert before[0, 0] == before[2, 0]
    assert before[0, 0] != before[1, 0]
    assert (before[[0, 2], 2] != after[[0, 2], 2]).all()


def test_a_table_looks_the_value_up():
    critic = CRITICS[0]
    params = params_of(critic)
    values = critic.judge(params, PROMPT, RESPONSE)[1]
    assert values[0].tolist() == [params["value"][0, k] for k in (0, 1, 3 + 0 * 2 + 1)]
    assert values[2].tolist() == [params["value"][0, k] for k in (0, 2, 3 + 1 * 2 + 1)]


def test_the_value_of_a_gpt_is_its_state_projected():
    critic = CRITICS[2]
    params = params_of(critic)
    values = critic.judge(params, PROMPT, RESPONSE)[1]
    units = critic.language.project(params, PROMPT, RESPONSE[:, :-1], np.eye(4))
    assert values == pytest.approx(units @ params["value"], abs=1e-13)


def test_a_new_head_has_the_precision_and_the_leading_axes_of_the_language():
    critic = ReaderCritic(GPT(3, width=4, layers=1, heads=2, context=5, eos=2))
    params = critic.language.init(np.random.default_rng(0))
    found = critic.head({name: np.stack([value] * 3) for name, value in params.items()})
    assert (found["value"].shape, found["value"].dtype) == ((3, 4), np.float32)


def test_a_network_projects_its_state():
    critic = CRITICS[1]
    params = params_of(critic)
    state, _ = critic.language.start(params, PROMPT)
    values = critic.judge(params, PROMPT, RESPONSE)[1]
    for t in range(3):
        assert values[:, t] == pytest.approx(state @ params["value"], abs=1e-13)
        state, _ = critic.language.step(params, state, RESPONSE[:, t])


@every_critic
def test_seeds_lie_on_a_leading_axis_of_parameters_and_texts(critic):
    params = params_of(critic, seeds=(2,))
    response = np.stack([RESPONSE, RESPONSE[::-1]])
    prompt = np.stack([PROMPT, PROMPT[[1, 0, 0]]])
    logits, values = critic.judge(params, prompt, response)
    for k in range(2):
        alone = critic.judge({name: p[k] for name, p in params.items()}, prompt[k], response[k])
        assert logits[k] == pytest.approx(alone[0], abs=1e-14)
        assert values[k] == pytest.approx(alone[1], abs=1e-14)
    shared = critic.judge(params, PROMPT, response)[1]
    assert shared[0] == pytest.approx(critic.judge({n: p[0] for n, p in params.items()}, PROMPT, RESPONSE)[1])
    asked = critic.judge(params, prompt, RESPONSE)[1]
    assert asked[1] == pytest.approx(critic.judge({n: p[1] for n, p in params.items()}, prompt[1], RESPONSE)[1])


@every_critic
def test_gradients_reach_both_heads(critic):
    params = params_of(critic)

    def total(params):
        logits, values = critic.judge(params, PROMPT, RESPONSE)
        return (lm.log_softmax(logits) ** 2).sum() + (values**3).sum()

    check_grads(total, modes=["rev"], order=1)(params)


def test_sampling_and_likelihood_work_on_the_parameters_of_a_critic():
    for critic in CRITICS:
        params = params_of(critic)
        drawn = lm.sample(critic.language, params, PROMPT, 3, np.random.default_rng(0))
        assert lm.log_prob(critic.language, params, PROMPT, drawn).shape == (3,)


def test_prompts_and_responses_must_fit():
    with pytest.raises(ValueError, match="3 prompts, but 2 responses"):
        CRITICS[1].judge(params_of(CRITICS[1]), PROMPT, RESPONSE[:2])
    with pytest.raises(ValueError, match="prompt: token 7 is outside"):
        CRITICS[1].judge(params_of(CRITICS[1]), PROMPT + 7, RESPONSE)
    with pytest.raises(ValueError, match="response: token 9 is outside"):
        CRITICS[1].judge(params_of(CRITICS[1]), PROMPT, RESPONSE + 9)
