"""The recurrent network against its definition."""

import numpy as np
import pytest
from autograd.test_util import check_grads
from small_models import MODELS, PROMPTS

from rlhf_lab.models import lm
from rlhf_lab.models.recurrent import Recurrent
from rlhf_lab.numerics import optim


def test_the_logits_are_those_of_the_definition():
    model, params = MODELS["recurrent"]
    response = np.array([[1, 2, 0], [3, 3, 3], [2, 2, 1]])
    found = model.logits(params, PROMPTS, response)
    for n in range(3):
        h = params["start"]
        read = [*PROMPTS[n], *response[n]]
        for t, token in enumerate(read):
            if t >= 2:
                assert found[n, t - 2] == pytest.approx(h @ params["readout"], abs=1e-13)
            h = np.tanh(params["recurrent"] @ h + params["embed"][token])


def test_an_empty_prompt_starts_from_the_start_state():
    model, params = MODELS["recurrent"]
    empty = np.zeros((2, 0), dtype=int)
    found = model.logits(params, empty, np.array([[0], [1]]))
    assert found == pytest.approx(np.tile(params["start"] @ params["readout"], (2, 1, 1)), abs=1e-14)
    _, first = model.start(params, empty)
    assert first == pytest.approx(found[:, 0], abs=1e-14)


def test_gradients_of_the_likelihood_are_right():
    model, params = MODELS["recurrent"]
    response = np.array([[1, 2, 0], [3, 3, 3], [2, 2, 1]])
    check_grads(lambda p: lm.negative_log_likelihood(model, p, PROMPTS, response), modes=["rev"], order=1)(params)


def test_fresh_parameters_have_the_stated_ranges():
    params = Recurrent(50, 40).init(np.random.default_rng(0))
    assert {name: value.shape for name, value in params.items()} == {
        "recurrent": (40, 40), "embed": (50, 40), "readout": (40, 50), "start": (40,),
    }  # fmt: skip
    for name, bound in (("recurrent", 40**-0.5), ("readout", 40**-0.5), ("embed", 1.0)):
        assert 0.95 * bound < np.abs(params[name]).max() <= bound
        assert abs(params[name].mean()) < 0.05 * bound
        assert params[name].min() < -0.95 * bound
    assert (params["start"] == 0).all()


def test_bad_sizes_are_told():
    with pytest.raises(ValueError, match="at least 1; got 0"):
        Recurrent(4, 0)
    with pytest.raises(ValueError, match="a language needs at least 2 tokens; got a vocabulary of 1"):
        Recurrent(1, 3)
    with pytest.raises(ValueError, match="eos must be the last token, 3, or None; got 2"):
        Recurrent(4, 3, eos=2)
    assert Recurrent(2, 1, eos=1).hidden == 1


def test_prompts_and_responses_may_have_leading_axes():
    model, params = MODELS["recurrent"]
    rng = np.random.default_rng(0)
    prompts, responses = rng.integers(4, size=(5, 2, 3, 6)), rng.integers(4, size=(5, 2, 3, 4))
    together = lm.log_prob(model, params, prompts, responses)
    shared = lm.log_prob(model, params, prompts, responses[0, 0])
    state, first = model.start(params, prompts)
    assert state.shape == (5, 2, 3, 5)
    for k in np.ndindex(5, 2):
        assert together[k] == pytest.approx(lm.log_prob(model, params, prompts[k], responses[k]), abs=1e-13)
        assert shared[k] == pytest.approx(lm.log_prob(model, params, prompts[k], responses[0, 0]), abs=1e-13)
        assert first[k] == pytest.approx(model.start(params, prompts[k])[1], abs=1e-13)


def test_messages_name_the_argument():
    model, params = MODELS["recurrent"]
    with pytest.raises(ValueError, match=r"^prompt: token 4"):
        model.logits(params, np.full((3, 2), 4), np.zeros((3, 2), dtype=int))
    with pytest.raises(ValueError, match=r"^response: token 4"):
        model.logits(params, PROMPTS, np.full((3, 2), 4))
    with pytest.raises(ValueError, match=r"^prompt: token 4"):
        model.start(params, np.full((3, 2), 4))


@pytest.mark.equation("eq-pretraining-loss", "eq-entropy")
def test_pretraining_tends_to_the_entropy_of_the_text():
    model, rng = Recurrent(3, 12, eos=2), np.random.default_rng(0)
    prompts = np.repeat([[0], [1]], 100, axis=0)
    answers = np.repeat([[0, 1, 2], [1, 2, 2], [1, 1, 1], [2, 2, 2]], [60, 40, 70, 30], axis=0)
    loss = lambda p, batch: lm.negative_log_likelihood(model, p, *batch)  # noqa: E731
    batches = lambda p, rng: [(prompts, answers)]  # noqa: E731
    params, history = optim.fit(loss, model.init(rng), batches, rounds=400, optimizer=optim.adam(0.03), rng=rng)
    floor = (lm.entropy(np.log([0.6, 0.4])) + lm.entropy(np.log([0.7, 0.3]))) / 2
    losses = np.array([record["loss"] for record in history])
    assert (losses > floor).all()
    assert loss(params, (prompts, answers)) == pytest.approx(floor, abs=2e-3)


@pytest.mark.parametrize(
    ("name", "shape"), [("embed", (3, 5)), ("readout", (5, 3)), ("recurrent", (4, 4)), ("start", (4,))]
)
def test_parameters_of_another_size_are_told(name, shape):
    model, params = MODELS["recurrent"]
    with pytest.raises(ValueError, match=rf"^params\['{name}'\] has shape .* a model of another size$"):
        model.logits(params | {name: np.zeros(shape)}, PROMPTS, np.full((3, 2), 3))
